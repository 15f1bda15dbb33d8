"""A broker that catches up: bytes that count, losses that were acknowledged, and every reason why it stands still."""

from kafka_runbooks.models.cluster import Replica, TopicPartition
from kafka_runbooks.models.kubernetes import BrokerPlace
from kafka_runbooks.models.plans import PlannedPartition
from kafka_runbooks.models.replacement import ReplacementPlan
from kafka_runbooks.moves.catch_up import STILL_SECONDS, acknowledged_losses, bytes_arrived, hold
from tests.safety.builders import cluster, part

PLAN = ReplacementPlan(
    cluster="c",
    kind="ReplaceBroker",
    title="",
    steps=(),
    made_at="",
    place=BrokerPlace(broker_id=1, pod="p-0"),
    partitions=tuple(PlannedPartition(topic="t", partition=n, before=(1, 2), after=(1, 2), size_bytes=100) for n in range(3)),
)


def test_bytes_on_disk_count_up_to_the_planned_size_and_a_partition_in_sync_in_full() -> None:
    on_disk = {Replica("t", 0, 1): 30, Replica("t", 1, 1): 500, Replica("t", 2, 1): 10, Replica("t", 2, 2): 100}
    assert bytes_arrived(PLAN, on_disk, {TopicPartition("t", 2)}) == 30 + 100 + 100
    assert bytes_arrived(PLAN, {}, set()) == 0


def test_only_a_sole_replica_whose_loss_was_acknowledged_is_elected_unclean() -> None:
    alone, led, shared = part((1,), ()), part((1,), (1,), 1), part((1, 2), (), 2)
    assert acknowledged_losses(1, [alone, led, shared], ["data-loss:t"]) == [alone.name]
    assert acknowledged_losses(1, [alone], []) == []
    assert acknowledged_losses(2, [alone], ["data-loss:t"]) == []


def test_why_nothing_arrives() -> None:
    late, fine = part((1, 2), (2,)), part((2, 3), (2, 3), 1)
    away = hold(cluster(late, minimum=1, live=(2, 3)), 1, [late], 0.0)
    assert away is not None and away.reason == "broker 1 is not registered with the controller"
    whole = cluster(late, fine, minimum=1)
    assert hold(whole, 1, [late], STILL_SECONDS) is None
    still = hold(whole, 1, [late], STILL_SECONDS + 1)
    assert still is not None and "nothing arrived on broker 1 for 61 s" in still.reason and still.blocking == ("t-0",)
    assert hold(whole, 1, [], STILL_SECONDS + 1) is None


def test_another_broker_that_is_down_is_named_with_what_has_no_source_left() -> None:
    late = part((1, 2), (2,))
    found = hold(cluster(late, minimum=1, live=(1, 3)), 1, [late], 0.0)
    assert found is not None and found.blocking == ("broker 2",)
    why = "broker 2 is down too, which holds replicas of the same partitions: recovery is no faster than needed"
    assert found.reason == f"{why}; 1 partitions have no live source: t-0"
