"""Every reason not to move, at once, from plain snapshots."""

from dataclasses import replace

from kafka_runbooks.models.cluster import Broker, ClusterSnapshot, Partition, Reassignment, TopicPartition
from kafka_runbooks.models.kubernetes import BrokerPod, StatefulSet
from kafka_runbooks.models.moves import Move, MovePlan
from kafka_runbooks.safety.availability import leaders_that_stay, would_lead
from kafka_runbooks.safety.given_plan import leaves_its_map
from kafka_runbooks.safety.moves import reasons_not_to_move, reasons_not_to_remove


def move(before: tuple[int, ...], after: tuple[int, ...], partition: int = 0) -> Move:
    return Move(topic="t", partition=partition, before=before, after=after, size_bytes=1, in_sync=before)


def plan_of(*moves: Move, leaving: tuple[int, ...] = (), is_given: bool = False) -> MovePlan:
    made_at = "2026-01-01T00:00:00+00:00"
    return MovePlan(
        cluster="c", kind="", title="", moves=moves, leaving=leaving, checks_racks=is_given, is_given=is_given, made_at=made_at
    )


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


def names_of(plan: MovePlan, seen: ClusterSnapshot, *acknowledged: str) -> list[str]:
    return [reason.name for reason in reasons_not_to_move(plan, seen, [], acknowledged)]


def test_a_given_plan_is_not_taken_at_its_word() -> None:
    """Each of these was carried out without a question."""
    seen = snapshot(((1, 2), 1), ((1, 2), 1))
    fewer = plan_of(move((1, 2), (1,)), is_given=True)
    assert names_of(fewer, seen) == ["no-spare-replica:t", "fewer-replicas:t", "mixed-replication-factor:t"]
    assert names_of(fewer, seen, "no-spare-replica:t", "fewer-replicas:t", "mixed-replication-factor:t") == []
    both = plan_of(move((1, 2), (1, 2, 3)), move((1, 2), (1, 2, 3), 1), is_given=True)
    assert names_of(both, seen) == []
    one = plan_of(move((1, 2), (1, 2, 3)), is_given=True)
    assert names_of(one, seen) == ["mixed-replication-factor:t"]
    stretched = snapshot(((1, 2, 4, 5), 1), live=(1, 2, 4, 5, 7))  # racks 1, 2, 1, 2
    assert names_of(plan_of(move((1, 2, 4, 5), (1, 2, 4, 7)), is_given=True), stretched) == ["uneven-racks:t"]
    assert names_of(plan_of(move((1, 2, 4, 5), (1, 2, 4)), is_given=True), stretched, "fewer-replicas:t") == [], (
        "three replicas on two racks can't be more even"
    )
    down = snapshot(((8, 1), 1), live=(1, 4))
    assert names_of(plan_of(move((8, 1), (4, 1)), is_given=True), down, "broker-is-down:8") == [], "8's rack isn't known"


def test_another_maps_brokers() -> None:
    name, maps = TopicPartition("t", 0), {1: "events", 2: "events", 4: "checks"}
    (reason,) = leaves_its_map([(name, (1, 2), (1, 4))], maps)
    assert reason.name == "another-map:t" and reason.can_be_acknowledged and "map checks" in reason.message
    assert leaves_its_map([(name, (1, 2), (2, 1)), (name, (1, 2), (1, 9)), (name, (9, 8), (4, 8))], maps) == []


def test_a_move_that_stops_writes_meanwhile_is_named() -> None:
    """Two replicas and a minimum of three take writes; with a third one arriving they don't until it is in sync."""
    seen = snapshot(((1, 2), 1), minimum=3)
    plan = plan_of(move((1, 2), (3, 2)))
    assert names_of(plan, seen) == ["refuses-writes-meanwhile:t"]
    assert names_of(plan, seen, "refuses-writes-meanwhile:t") == []
    assert names_of(plan, snapshot(((1, 2), 1), minimum=2)) == []
    assert names_of(plan_of(move((1, 2), (2, 1))), seen) == [], "nothing arrives"


def test_as_few_replicas_as_the_minimum_can_spare_none() -> None:
    seen = snapshot(((1, 2, 3), 1), minimum=2)
    assert names_of(plan_of(move((1, 2, 3), (1, 2))), seen) == ["no-spare-replica:t"]
    assert names_of(plan_of(move((1, 2, 3), (1, 4, 3))), seen) == [], "as many as before"


def in_sync(seen: ClusterSnapshot, *brokers: int, leader: int | None) -> ClusterSnapshot:
    (partition,) = seen.partitions
    return replace(seen, partitions=(partition._replace(in_sync=brokers, leader=leader),))


def test_nobody_can_acknowledge_the_loss_of_the_last_good_replica() -> None:
    """Three replicas, of which the dead one alone has the data: fewer replicas would have thrown it away, on the word that the
    broker is down."""
    plan = plan_of(move((1, 2, 3), (2, 3)))
    dead = in_sync(snapshot(((1, 2, 3), None), live=(2, 3, 4)), 1, leader=None)
    found = reasons_not_to_move(plan, dead, [], ("broker-is-down:1", "last-in-sync-replica:t"))
    assert [reason.name for reason in found] == ["last-in-sync-replica:t"]
    assert not found[0].can_be_acknowledged and "broker 1" in found[0].message
    alone = in_sync(snapshot(((1, 2, 3), 1)), 1, leader=1)
    assert names_of(plan, alone) == ["last-in-sync-replica:t"], "up, but the only good one"
    assert names_of(plan_of(move((1, 2, 3), (1, 2))), alone) == []
    assert names_of(plan_of(move((1, 2, 3), (2, 3, 1))), dead) == [], "order alone takes nothing away"
    assert names_of(plan_of(move((1, 2, 3), (4, 3))), alone) == [], "what arrives is in sync before anything leaves"


def test_who_leads_now_counts_and_not_who_is_preferred() -> None:
    seen = in_sync(snapshot(((1, 2, 3), 2), live=(2, 3)), 2, leader=2)
    (reason,) = leaders_that_stay(seen, {}, [2])
    assert reason.name == "no-other-in-sync:t" and not reason.can_be_acknowledged
    assert leaders_that_stay(seen, {}, [3]) == []
    both = in_sync(snapshot(((1, 2, 3), 2), live=(2, 3)), 2, 3, leader=2)
    assert leaders_that_stay(both, {}, [2]) == []
    assert would_lead(both, (1, 3, 2), both.partitions[0].in_sync) == 3, "the first one that is live and in sync"


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


def test_the_highest_ordinals_follow_from_the_first_one() -> None:
    wanted = [StatefulSet(name="events", version="1", replicas=4, first_ordinal=5)]
    moved = [pod.model_copy(update={"name": f"events-{5 + number}"}) for number, pod in enumerate(pods(4))]
    assert reasons_not_to_remove([1004], moved, wanted) == []
    (reason,) = reasons_not_to_remove([1002], moved, wanted)
    assert reason.name == "not-the-highest-ordinals:events" and "events-8 (broker 1004)" in reason.message


def test_pods_of_an_unknown_stateful_set_or_whose_claims_go_unseen_are_not_removed() -> None:
    assert [one.name for one in reasons_not_to_remove([1004], pods(4), [])] == ["no-stateful-set:events"]
    deletes = StatefulSet(name="events", version="1", replicas=4, deletes_claims=True)
    assert [one.name for one in reasons_not_to_remove([1004], pods(4), [deletes])] == ["claims-are-deleted:events"]
