"""The world behaves as the real parts do where runbooks depend upon it; the lab is the proof for the real parts."""

import pytest

from kafka_runbooks.clients.errors import Conflict, Refused, Unreachable
from kafka_runbooks.models.cluster import ThrottledReplicas, ThrottleRates, TopicPartition
from tests.fakes import MEGABYTE, FakeKafka, FakeKubernetes, World

EVENTS = (1001, 1002, 1003)


@pytest.fixture
def world() -> World:
    world = World(advance_at_look=False)
    world.add_topic("events.a", 6, EVENTS, size_bytes=5 * MEGABYTE)
    return world


def test_starts_in_sync_one_broker_a_node(world: World) -> None:
    assert {pod.node for pod in world.pods.values()} == set(world.nodes)
    assert all(world.is_in_sync(pod.broker_id) for pod in world.pods.values())
    assert all(pod.is_ready for pod in FakeKubernetes(world).broker_pods())


def test_a_lost_node_comes_back_elsewhere_on_an_empty_disk_and_catches_up(world: World) -> None:
    kubernetes, kafka = FakeKubernetes(world), FakeKafka(world)
    world.lose_node("node-events-a")
    assert all(1001 not in partition.in_sync for partition in kafka.snapshot().partitions)
    assert all(partition.leader in (1002, 1003) for partition in kafka.snapshot().partitions)

    pod = next(pod for pod in kubernetes.broker_pods() if pod.broker_id == 1001)
    kubernetes.delete_pod(pod.name, pod.uid, force=False)
    assert world.pods[pod.name].uid == pod.uid and world.pods[pod.name].is_terminating
    claim = kubernetes.claim(*pod.claims)
    assert claim is not None and claim.volume_nodes == ("node-events-a",)
    kubernetes.delete_claim(claim.name, claim.uid)
    assert world.claims[claim.name].is_terminating
    kubernetes.delete_pod(pod.name, pod.uid, force=True)
    assert world.pods[pod.name].uid != pod.uid and world.claims[claim.name].uid != claim.uid
    assert kubernetes.broker_pods()[3].why_pending is not None

    world.add_node("node-spare", "zone-a", "events")
    world.advance()
    assert world.pods[pod.name].node == "node-spare"
    assert world.nodes["node-events-a"].broker_id == world.nodes["node-spare"].broker_id == 1001
    assert kafka.replica_sizes([1001]).size_bytes  # some bytes after a step, not all: 10 MB/s of 30 MB
    assert not world.is_in_sync(1001)
    world.advance(5)
    assert world.is_in_sync(1001)
    assert all(partition.leader != 1001 for partition in kafka.snapshot().partitions)
    assert kafka.elect_preferred_leaders(world.partitions) == {}
    assert all(partition.leader == partition.replicas[0] for partition in kafka.snapshot().partitions)


def test_a_claim_bound_to_a_lost_node_pins_the_pod(world: World) -> None:
    world.lose_node("node-events-a")
    world.add_node("node-spare", "zone-a", "events")
    kubernetes = FakeKubernetes(world)
    kubernetes.delete_pod("events-0", world.pods["events-0"].uid, force=True)
    world.advance()
    pod = next(pod for pod in kubernetes.broker_pods() if pod.name == "events-0")
    assert pod.node is None and "node-events-a" in (pod.why_pending or "")
    world.restore_node("node-events-a")
    world.advance(2)
    assert world.is_in_sync(1001)


def test_a_throttle_on_the_sources_slows_the_catch_up(world: World) -> None:
    kafka = FakeKafka(world)
    for source in (1002, 1003):
        kafka.set_throttle_rates(source, ThrottleRates(leader_bytes_per_s=MEGABYTE))
    entries = ",".join(f"{partition}:{source}" for partition in range(6) for source in (1002, 1003))
    kafka.set_throttled_replicas({"events.a": ThrottledReplicas(leader=entries)})
    world.lose_node("node-events-a")
    world.claims["data-events-0"].is_terminating = True
    world.add_node("node-spare", "zone-a", "events")
    world.remove_pod(world.pods["events-0"])
    world.advance(10)
    assert 18 * MEGABYTE <= sum(kafka.replica_sizes([1001]).size_bytes.values()) <= 20 * MEGABYTE


def test_a_reassignment_ends_by_itself_and_can_be_cancelled(world: World) -> None:
    kafka = FakeKafka(world)
    name = TopicPartition("events.a", 0)
    assert kafka.alter_reassignments({name: [1004, 1002, 1003]}) == {}
    assert kafka.reassignments()[0].adding == (1004,) and kafka.reassignments()[0].removing == (1001,)
    assert kafka.reassignments()[0].target == (1004, 1002, 1003)
    assert kafka.alter_reassignments({name: None}) == {} == kafka.alter_reassignments({name: None})
    assert kafka.snapshot().partitions[0].replicas == (1002, 1003, 1001)  # Kafka too keeps the order of the union
    kafka.alter_reassignments({name: [1004, 1002, 1003]})
    world.advance(2)
    assert kafka.reassignments() == ()
    assert kafka.snapshot().partitions[0].replicas == (1004, 1002, 1003)
    assert "InvalidReplicationAssignmentError" in kafka.alter_reassignments({name: [9999]}).values()


def test_crash_hooks_uids_and_absence(world: World) -> None:
    kubernetes, uid = FakeKubernetes(world), world.nodes["node-events-a"].uid

    def crash(name: str) -> None:
        raise RuntimeError(name)

    world.before_act = crash
    with pytest.raises(RuntimeError, match="cordon"):
        kubernetes.cordon("node-events-a", uid, "me")
    assert not world.nodes["node-events-a"].is_cordoned
    world.before_act, world.after_act = (lambda name: None), crash
    with pytest.raises(RuntimeError, match="cordon"):
        kubernetes.cordon("node-events-a", uid, "me")
    world.after_act = lambda name: None
    kubernetes.uncordon("node-events-a", uid, "someone else")
    assert world.nodes["node-events-a"].is_cordoned
    with pytest.raises(Conflict):
        kubernetes.delete_pod("events-0", "another uid", force=True)
    world.is_kafka_away = True
    with pytest.raises(Unreachable):
        FakeKafka(world).snapshot()


def test_the_last_in_sync_replica_stays_in_the_isr_without_a_leader(world: World) -> None:
    for broker_id in EVENTS:
        world.kill_broker(broker_id)
    partition = FakeKafka(world).snapshot().partitions[0]
    assert partition.leader is None and partition.in_sync == (1003,)
    world.revive_broker(1001)
    assert FakeKafka(world).snapshot().partitions[0].leader is None
    world.revive_broker(1003)
    assert FakeKafka(world).snapshot().partitions[0].leader == 1003


def test_a_power_cut_is_noticed_late_and_the_broker_answers_nobody_until_then(world: World) -> None:
    kubernetes, kafka = FakeKubernetes(world), FakeKafka(world)
    world.lose_node("node-events-a", noticed_after=2)
    world.advance()
    assert 1001 in kafka.snapshot().live_broker_ids and 1001 in kafka.snapshot().partitions[0].in_sync
    assert all(node.is_ready for node in kubernetes.nodes())
    assert kafka.replica_sizes([1001, 1002]).unanswered_broker_ids == (1001,)
    for ask in (kafka.throttle_rates, kafka.log_directory_cordons):
        with pytest.raises(Unreachable):
            ask([1002, 1001])
    with pytest.raises(Unreachable):
        kafka.set_throttle_rates(1001, ThrottleRates())
    world.advance()
    assert 1001 not in kafka.snapshot().live_broker_ids
    assert [node.name for node in kubernetes.nodes() if not node.is_ready] == ["node-events-a"]


def test_a_pod_is_ready_some_probes_after_its_broker_is_in_sync(world: World) -> None:
    world.readiness_lag = 3
    world.kill_broker(1001)
    world.advance()
    world.revive_broker(1001)
    world.advance(2)
    kubernetes = FakeKubernetes(world)
    pod = next(pod for pod in kubernetes.broker_pods() if pod.broker_id == 1001)
    assert world.is_in_sync(1001) and not pod.is_ready
    world.advance()
    assert next(pod for pod in kubernetes.broker_pods() if pod.broker_id == 1001).is_ready


def test_the_controller_refuses_one_partition_and_takes_the_others(world: World) -> None:
    kafka = FakeKafka(world)
    first, second = TopicPartition("events.a", 0), TopicPartition("events.a", 1)
    world.refusals[first] = ["NotControllerError"]
    targets = {first: [1004, 1002, 1003], second: [1002, 1003, 1004]}
    assert kafka.alter_reassignments(targets) == {first: "NotControllerError"}
    assert [one.partition for one in kafka.reassignments()] == [1]
    assert kafka.alter_reassignments(targets) == {}
    world.unregistered.add(1006)
    assert "InvalidReplicationAssignmentError" in kafka.alter_reassignments({first: [1006]}).values()


def test_an_unclean_election_needs_a_live_replica(world: World) -> None:
    kafka, name = FakeKafka(world), TopicPartition("events.a", 0)
    for broker_id in EVENTS:
        world.kill_broker(broker_id)
    gone = TopicPartition("gone", 0)
    assert kafka.elect_unclean_leaders([name, gone]) == {
        name: "EligibleLeadersNotAvailableError",
        gone: "UnknownTopicOrPartitionError",
    }
    world.revive_broker(1001)
    assert kafka.elect_unclean_leaders([name]) == {}
    assert kafka.snapshot().partitions[0].leader == 1001


def test_a_config_map_holds_a_mebibyte(world: World) -> None:
    kubernetes = FakeKubernetes(world)
    kubernetes.write_record("small", "plan", {"json.gz": bytes(1_000_000)}, "", None, {})
    with pytest.raises(Refused, match="too long"):
        kubernetes.write_record("large", "plan", {"json.gz": bytes(1_000_000)}, "x" * 50_000, None, {})
    with pytest.raises(Refused, match="annotations is too long"):
        kubernetes.write_record("large", "plan", {}, "", None, {"parts": "x" * 262_144})
