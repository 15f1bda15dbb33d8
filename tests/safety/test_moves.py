"""Every reason not to move, at once, from plain snapshots."""

from kafka_runbooks.models.cluster import Broker, ClusterSnapshot, Partition, Reassignment
from kafka_runbooks.models.kubernetes import BrokerPod, StatefulSet
from kafka_runbooks.models.moves import Move, MovePlan
from kafka_runbooks.safety.moves import reasons_not_to_move, reasons_not_to_remove


def move(before: tuple[int, ...], after: tuple[int, ...], partition: int = 0) -> Move:
    return Move(topic="t", partition=partition, before=before, after=after, size_bytes=1, in_sync=before)


def plan_of(*moves: Move, leaving: tuple[int, ...] = (), is_given: bool = False) -> MovePlan:
    made_at = "2026-01-01T00:00:00+00:00"
    return MovePlan(cluster="c", kind="", title="", moves=moves, leaving=leaving, checks_racks=is_given, made_at=made_at)


def snapshot(
    *partitions: tuple[tuple[int, ...], int | None], live: tuple[int, ...] = (1, 2, 3, 4), minimum: int = 1
) -> ClusterSnapshot:
    return ClusterSnapshot(
        cluster_id="c",
        brokers=tuple(Broker(id=broker, host="h", port=1, rack=f"zone-{broker % 3}") for broker in live),
        partitions=tuple(
            Partition(topic="t", partition=number, leader=leader, replicas=replicas, in_sync=replicas)
            for number, (replicas, leader) in enumerate(partitions)
        ),
        minimum_in_sync={"t": minimum},
    )


def test_all_reasons_come_at_once() -> None:
    plan = plan_of(move((1, 2), (3, 2)), move((1, 2), (9, 2), 1), move((8, 2), (3, 2), 2), move((1, 2), (1,), 3))
    seen = snapshot(((1, 2), None), ((1, 2), 1), ((8, 2), 2), ((1, 2), 1), minimum=2)
    foreign = [Reassignment(topic="t", partition=1, replicas=(1, 2, 4), adding=(4,), removing=())]
    names = [reason.name for reason in reasons_not_to_move(plan, seen, foreign)]
    assert names == ["foreign-reassignment", "destination-is-down:9", "no-leader:t", "broker-is-down:8", "below-minimum:t"]
    words = ("broker-is-down:8", "below-minimum:t", "no-leader:t")
    names = [reason.name for reason in reasons_not_to_move(plan, seen, foreign, words)]
    assert names == ["foreign-reassignment", "destination-is-down:9", "no-leader:t"], "a word is not enough for these"


def test_a_broker_that_leaves_may_be_down() -> None:
    assert reasons_not_to_move(plan_of(move((8, 2), (3, 2)), leaving=(8,)), snapshot(((8, 2), 2)), []) == []


def test_order_alone_needs_no_leader() -> None:
    assert reasons_not_to_move(plan_of(move((1, 2), (2, 1))), snapshot(((1, 2), None)), []) == []


def test_only_a_plan_that_somebody_brings_is_asked_about_racks() -> None:
    seen = snapshot(((1, 2), 1))
    assert [r.name for r in reasons_not_to_move(plan_of(move((1, 2), (1, 4)), is_given=True), seen, [])] == ["fewer-racks:t"]
    assert reasons_not_to_move(plan_of(move((1, 2), (1, 4))), seen, []) == []
    assert reasons_not_to_move(plan_of(move((1, 2), (1, 3)), is_given=True), seen, []) == []
    assert reasons_not_to_move(plan_of(move((1, 2), (1,)), is_given=True), seen, []) == [], "one replica spans one rack"


def pods(count: int) -> list[BrokerPod]:
    return [
        BrokerPod(
            name=f"events-{n}", uid=str(n), broker_id=1001 + n, map="events", stateful_set="events", claims=(f"data-events-{n}",)
        )
        for n in range(count)
    ]


def test_only_the_highest_ordinals_go() -> None:
    wanted = [StatefulSet(name="events", version="1", replicas=4), StatefulSet(name="checks", version="1", replicas=3)]
    assert reasons_not_to_remove([1004], pods(4), wanted) == []
    assert reasons_not_to_remove([1003, 1004], pods(4), wanted) == []
    (reason,) = reasons_not_to_remove([1002, 1004], pods(4), wanted)
    assert reason.name == "not-the-highest-ordinals:events"
    assert "broker 1002 is pod events-1" in reason.message and "events-2 (broker 1003), events-3 (broker 1004)" in reason.message
    assert [r.name for r in reasons_not_to_remove([1001, 1002, 1003, 1004], pods(4), wanted)] == ["last-pods:events"]
