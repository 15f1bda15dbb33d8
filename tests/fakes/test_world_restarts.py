"""The world restarts brokers and controllers as Kubernetes and Kafka do."""

import pytest

from kafka_runbooks.clients.errors import Unreachable
from kafka_runbooks.models.kubernetes import BrokerPod
from kafka_runbooks.models.recovery import BrokerState
from tests.fakes import MEGABYTE, FakeKafka, FakeKubernetes, FakeMetrics, World
from tests.fakes.world import RELEASE

EVENTS = (1001, 1002, 1003)


@pytest.fixture
def world() -> World:
    world = World(advance_at_look=False, controllers=3)
    world.add_topic("events.a", 6, EVENTS, size_bytes=5 * MEGABYTE)
    return world


def pod(world: World, broker_id: int) -> BrokerPod:
    return next(pod for pod in FakeKubernetes(world).broker_pods() if pod.broker_id == broker_id)


def led(world: World, broker_id: int) -> int:
    return sum(partition.leader == broker_id for partition in FakeKafka(world).snapshot().partitions)


def test_a_pod_stops_in_steps_and_its_successor_is_of_the_new_template(world: World) -> None:
    world.shutdown_steps, world.start_steps = 3, 2
    new = world.change_template("events")
    before = pod(world, 1001)
    assert before.revision != new == FakeKubernetes(world).stateful_sets()[2].update_revision
    FakeKubernetes(world).delete_pod(before.name, before.uid, force=False)
    assert pod(world, 1001).is_terminating and led(world, 1001) == 2
    world.advance()
    assert pod(world, 1001).uid == before.uid and led(world, 1001) == 0, "its leaders are off before it has stopped"
    assert 1001 in FakeKafka(world).snapshot().live_broker_ids
    assert FakeMetrics(world).recovery([before]).by_broker[1001].state is BrokerState.PENDING_CONTROLLED_SHUTDOWN
    world.advance(2)
    after = pod(world, 1001)
    assert after.uid != before.uid and (after.node, after.claims, after.revision) == (before.node, before.claims, new)
    assert after.started_at is not None and not world.is_up(1001)
    assert FakeMetrics(world).recovery([after]).by_broker[1001].state is BrokerState.STARTING
    world.advance(2)
    assert world.is_in_sync(1001) and led(world, 1001) == 0
    FakeKubernetes(world).delete_pod(before.name, after.uid, force=False)
    with pytest.raises(Exception, match="another one"):
        FakeKubernetes(world).delete_pod(before.name, before.uid, force=False)


def test_a_broker_that_was_killed_recovers_its_logs_and_one_that_closed_them_does_not(world: World) -> None:
    world.shutdown_steps, world.recovery_steps = 1, 3
    victim = pod(world, 1001)
    FakeKubernetes(world).delete_pod(victim.name, victim.uid, force=False)
    world.advance()
    assert world.is_up(1001), "it closed its logs"
    world.kill_broker(1002)
    assert pod(world, 1002).started_at is None and 1002 in FakeMetrics(world).recovery([pod(world, 1002)]).problems
    world.revive_broker(1002)
    assert pod(world, 1002).restarts == 1 and not world.is_up(1002)
    remaining = []
    while not world.is_up(1002):
        found = FakeMetrics(world).recovery([pod(world, 1002)]).by_broker[1002]
        assert found.state is BrokerState.RECOVERY and 1002 not in FakeKafka(world).broker_configs([1002])
        remaining.append((found.remaining_logs, found.remaining_segments))
        world.advance()
    assert remaining == [(3, 30), (2, 20), (1, 10)]
    forced = pod(world, 1003)
    FakeKubernetes(world).delete_pod(forced.name, forced.uid, force=True)
    world.advance()
    assert FakeMetrics(world).recovery([forced]).by_broker[1003].state is BrokerState.RECOVERY


def test_a_pod_of_a_bad_template_is_stuck_until_the_template_is_another_one(world: World) -> None:
    world.stuck[world.change_template("events")] = "ErrImagePull: no such image"
    victim = pod(world, 1001)
    FakeKubernetes(world).delete_pod(victim.name, victim.uid, force=False)
    world.advance(5)
    stuck = pod(world, 1001)
    assert stuck.stuck == "kafka: ErrImagePull: no such image" and stuck.started_at is None and not world.is_up(1001)
    world.change_template("events")
    world.advance(5)
    assert pod(world, 1001).stuck, "under OnDelete its pod stays what it was"
    FakeKubernetes(world).delete_pod(stuck.name, stuck.uid, force=False)
    world.advance()
    assert pod(world, 1001).stuck is None and world.is_up(1001)


def test_the_active_controller_changes_and_the_old_one_catches_up(world: World) -> None:
    kubernetes, kafka = FakeKubernetes(world), FakeKafka(world)
    world.controller_catch_up_steps = 3
    quorum = kafka.metadata_quorum()
    assert quorum is not None and (quorum.leader_id, [voter.id for voter in quorum.voters]) == (1, [1, 2, 3])
    first, second, third = kubernetes.controller_pods()
    assert [one.node_id for one in (first, second, third)] == [1, 2, 3] and first.is_controller and first.is_ready
    world.start_steps = 1
    kubernetes.delete_pod(first.name, first.uid, force=False)
    world.advance()
    quorum = kafka.metadata_quorum()
    assert quorum is not None and (quorum.leader_id, quorum.leader_epoch) == (2, 2)
    world.advance(2)
    assert kubernetes.controller_pods()[0].is_ready
    quorum = kafka.metadata_quorum()
    assert quorum is not None
    lag = {one.id: quorum.high_watermark - one.log_end_offset for one in quorum.voters}
    assert lag[1] > 0 and lag[2] == lag[3] == 0, "ready is not caught up"
    world.advance(3)
    quorum = kafka.metadata_quorum()
    assert quorum is not None and {one.log_end_offset for one in quorum.voters} == {quorum.high_watermark}
    world.stuck[second.name] = world.stuck[third.name] = "CrashLoopBackOff"
    for one in (second, third):
        kubernetes.delete_pod(one.name, one.uid, force=False)
    with pytest.raises(Unreachable):
        kafka.metadata_quorum()
    with pytest.raises(Unreachable):
        kafka.reassignments()


def test_a_changed_file_is_read_at_the_next_start_and_dynamic_values_hold_at_once(world: World) -> None:
    kubernetes, kafka = FakeKubernetes(world), FakeKafka(world)
    assert not any(one.changed for one in kubernetes.file_changes().values())
    world.file |= {"num.io.threads": "16", "queued.max.requests": "600", "ssl.keystore.password": "secret"}
    changes = kubernetes.file_changes()["events-0"]
    assert changes.changed == {"num.io.threads": "16", "queued.max.requests": None, "ssl.keystore.password": None}
    refused = kafka.set_broker_configs(1001, {"num.io.threads": "16", "queued.max.requests": "600"})
    assert refused.keys() == {"queued.max.requests"}
    found = kafka.broker_configs(EVENTS, ["num.io.threads", "unknown"])
    assert {broker: configs["num.io.threads"].in_force for broker, configs in found.items()} == {1001: "16", 1002: "8", 1003: "8"}
    victim = pod(world, 1002)
    kubernetes.delete_pod(victim.name, victim.uid, force=False)
    world.advance()
    after = kubernetes.file_changes()
    assert after["events-1"].changed == {} and after["events-1"].pod_uid != victim.uid
    assert kafka.broker_configs([1002])[1002]["num.io.threads"].in_file == "16"


def test_a_budget_allows_no_eviction_while_a_broker_is_not_ready(world: World) -> None:
    assert {one.allowed_disruptions for one in FakeKubernetes(world).disruption_budgets()} == {0}, "as deployed"
    world.max_unavailable = 1
    found = {one.name: one for one in FakeKubernetes(world).disruption_budgets()}
    assert {name: one.allowed_disruptions for name, one in found.items()} == {"events": 1, "checks": 1, "controller": 1}
    world.kill_broker(1001)
    found = {one.name: one for one in FakeKubernetes(world).disruption_budgets()}
    assert {name: one.allowed_disruptions for name, one in found.items()} == {"events": 0, "checks": 1, "controller": 1}
    assert found["events"].selected_pods == 3


def test_a_feature_is_finalised_once_every_pods_release_supports_it() -> None:
    world = World(controllers=3)
    kafka, newer = FakeKafka(world), {**RELEASE, "metadata.version": (7, 29)}
    for stateful_set in ("events", "checks", "controller"):
        world.supported[world.change_template(stateful_set)] = newer
    assert kafka.update_features({"metadata.version": 29}).keys() == {"metadata.version"}
    for pod in [*world.pods.values(), *world.controllers.values()]:
        assert "doesn't support" in kafka.update_features({"metadata.version": 29})["metadata.version"]
        world.end_pod(pod, is_killed=False)
        world.advance(2)
    assert kafka.features([1001])[1001].supported == newer
    assert kafka.update_features({"metadata.version": 29}, validate_only=True) == {}
    assert kafka.features([1001])[1001].finalised["metadata.version"] == 27
    assert kafka.update_features({"metadata.version": 29}) == {} == kafka.update_features({"metadata.version": 29})
    assert kafka.features([1001, 4711])[1001].finalised["metadata.version"] == 29
    assert "downgrade" in kafka.update_features({"metadata.version": 27})["metadata.version"]
