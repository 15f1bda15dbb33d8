"""May brokers go down: against Kafka's rule for acks=all writes, stated again here, on every small cluster."""

from collections.abc import Collection, Iterator
from dataclasses import replace
from itertools import chain, combinations

from hypothesis import given
from hypothesis import strategies as st

from kafka_runbooks.models.cluster import ClusterSnapshot
from kafka_runbooks.models.results import Reason
from kafka_runbooks.safety.availability import may_go_down, min_isr_margin, only_copy_on, out_of_sync, under_min_isr
from tests.safety.builders import BROKERS, cluster, clusters, part


def subsets(items: Collection[int]) -> Iterator[tuple[int, ...]]:
    return chain.from_iterable(combinations(items, size) for size in range(len(items) + 1))


def takes_writes(replicas: Collection[int], in_sync: Collection[int], minimum: int, up: Collection[int]) -> bool:
    """Kafka's rule: with acks=all a leader takes a write if as many replicas are in sync as min.insync.replicas asks for, or all
    there are. Without an in-sync replica there is no leader.
    """
    still_in_sync = set(in_sync) & set(up)
    return bool(still_in_sync) and (len(still_in_sync) >= minimum or len(still_in_sync) == len(set(replicas)))


def verdict(
    replicas: Collection[int],
    in_sync: Collection[int],
    minimum: int,
    live: Collection[int],
    going: Collection[int],
    headroom: int | None,
) -> list[str]:
    """The names of the reasons that must be given, by cases."""
    now_up, then_up = set(live), set(live) - set(going)
    if not set(replicas) & set(going):
        return []
    if not set(replicas) & set(going) & set(in_sync) & now_up:
        return [] if takes_writes(replicas, in_sync, minimum, then_up) else ["already-below-min-isr:t"]
    can_spare_one = takes_writes(replicas, replicas, minimum, set(replicas) - {next(iter(replicas))})
    left, others = set(replicas) & set(in_sync) & then_up, len(replicas) - 1
    enough = len(left) >= others or (headroom is not None and len(left) >= minimum + headroom)
    return [*([] if can_spare_one else ["no-spare-replica:t"]), *([] if enough else ["below-min-isr:t"])]


def every_partition() -> Iterator[tuple[tuple[int, ...], tuple[int, ...], int]]:
    for size in (1, 2, 3):
        replicas = BROKERS[:size]
        for in_sync in subsets(replicas):
            for minimum in (1, 2, 3):
                yield replicas, in_sync, minimum


def test_the_margin_is_kafka_s_rule_on_every_small_cluster() -> None:
    cases = 0
    for replicas, in_sync, minimum in every_partition():
        for live in subsets(BROKERS):
            for without in subsets(BROKERS):
                margin = min_isr_margin(part(replicas, in_sync), minimum, live, without)
                assert (margin >= 0) == takes_writes(replicas, in_sync, minimum, set(live) - set(without))
                cases += 1
    assert cases == (2 + 4 + 8) * 3 * 16 * 16


def test_the_answer_is_right_on_every_small_cluster() -> None:
    for replicas, in_sync, minimum in every_partition():
        for live in subsets(BROKERS):
            snapshot = cluster(part(replicas, in_sync), minimum=minimum, live=live)
            for going in subsets(BROKERS):
                for headroom in (0, 1, 2, None):
                    found = may_go_down(snapshot, going, headroom=headroom)
                    wanted = verdict(replicas, in_sync, minimum, live, going, headroom)
                    case = (replicas, in_sync, minimum, live, going, headroom)
                    assert [reason.name for reason in found] == wanted, case
                    assert all(reason.message and reason.remedy for reason in found), case


@given(clusters(), st.sets(st.integers(1, 9)), st.integers(0, 3))
def test_each_topic_s_reasons_are_those_of_its_partitions(snapshot: ClusterSnapshot, going: set[int], headroom: int) -> None:
    wanted = set()
    for one in snapshot.partitions:
        found = verdict(one.replicas, one.in_sync, snapshot.minimum_in_sync[one.topic], snapshot.live_broker_ids, going, headroom)
        wanted |= {name.replace(":t", f":{one.topic}") for name in found}
    names = [reason.name for reason in may_go_down(snapshot, going, headroom=headroom)]
    assert set(names) == wanted and len(names) == len(wanted)


@given(clusters(), st.sets(st.integers(1, 9)), st.integers(1, 9), st.integers(0, 3))
def test_more_brokers_or_more_headroom_never_unblock(
    snapshot: ClusterSnapshot, going: set[int], more: int, headroom: int
) -> None:
    def blocked(brokers: set[int], kept: int) -> set[str]:
        return {r.name.partition(":")[2] for r in may_go_down(snapshot, brokers, headroom=kept) if not r.can_be_acknowledged}

    assert blocked(going, headroom) <= blocked(going | {more}, headroom)
    assert blocked(going, headroom) <= blocked(going, headroom + 1)


@given(clusters(), st.sets(st.integers(1, 9)))
def test_where_the_answer_is_yes_no_partition_stops_taking_writes(snapshot: ClusterSnapshot, going: set[int]) -> None:
    if may_go_down(snapshot, going) == []:
        assert under_min_isr(snapshot, going) == under_min_isr(snapshot)


@given(clusters(), st.integers(1, 9))
def test_the_lists_follow_their_definitions(snapshot: ClusterSnapshot, broker: int) -> None:
    own = [one for one in snapshot.partitions if broker in one.replicas]
    others = snapshot.live_broker_ids - {broker}
    assert out_of_sync(snapshot, broker) == [one for one in own if broker not in one.in_sync]
    assert only_copy_on(snapshot, [broker]) == [one for one in own if not set(one.replicas) & set(one.in_sync) & others]
    refusing = [
        one
        for one in snapshot.partitions
        if not takes_writes(one.replicas, one.in_sync, snapshot.minimum_in_sync[one.topic], others)
    ]
    assert under_min_isr(snapshot, [broker]) == refusing


def test_a_healthy_cluster_may_lose_one_broker_with_nothing_to_say() -> None:
    snapshot = cluster(*(part((1, 2, 3), (1, 2, 3), number) for number in range(5)), minimum=2)
    assert may_go_down(snapshot, [1]) == []
    assert may_go_down(snapshot, [1], headroom=9) == may_go_down(snapshot, [1], headroom=None) == [], "all that three can keep"
    assert may_go_down(snapshot, [4]) == [] and may_go_down(snapshot, []) == []


def test_the_reason_names_partitions_and_the_broker_to_wait_for() -> None:
    lagging = [part((1, 2, 3), (1, 2), number) for number in (7, 2)]
    snapshot = cluster(*lagging, part((1, 2, 3), (1, 2, 3), 3), minimum=2)
    assert may_go_down(snapshot, [1]) == [
        Reason(
            name="below-min-isr:t",
            message="topic t, partition 2, 7: too few in-sync replicas without broker 1 (min.insync.replicas 2)",
            remedy="wait until broker 3 is in sync again",
        )
    ]
    assert may_go_down(snapshot, [3]) == [], "a replica that isn't in sync can't lower the margin"


def test_two_at_once_are_told_to_go_one_at_a_time() -> None:
    snapshot = cluster(part((1, 2, 3), (1, 2, 3)), minimum=2)
    (reason,) = may_go_down(snapshot, [1, 2])
    assert reason.name == "below-min-isr:t" and reason.remedy == "take brokers 1, 2 down one at a time"
    assert may_go_down(snapshot, [1, 4]) == []


def test_headroom_asks_for_more_than_the_minimum() -> None:
    snapshot = cluster(part((1, 2, 3), (1, 2)), minimum=1)
    assert may_go_down(snapshot, [1]) == []
    (reason,) = may_go_down(snapshot, [1], headroom=1)
    assert (
        reason.remedy == "wait until broker 3 is in sync again, or set headroom to 0"
        and "(min.insync.replicas 1, and 1 more to be kept)" in reason.message
    )


def test_what_can_never_be_spared_is_a_risk_to_acknowledge() -> None:
    snapshot = cluster(part((1, 2), (1, 2)), part((1,), (1,), 4), minimum=2)
    assert may_go_down(snapshot, [1]) == [
        Reason(
            name="no-spare-replica:t",
            message="topic t, partition 0, 4: no more replicas than min.insync.replicas (2): acks=all writes are refused "
            "while any of them is down",
            remedy="raise the replication factor, lower min.insync.replicas, or acknowledge with acknowledged_risks "
            '["no-spare-replica:t"]',
            can_be_acknowledged=True,
        )
    ]


def test_the_broken_broker_itself_may_restart_once_somebody_says_so() -> None:
    """Strimzi never restarts it (its issue 8878), which no operator can get out of."""
    snapshot = cluster(part((1, 2, 3), (2,)), minimum=2)
    (reason,) = may_go_down(snapshot, [1])
    assert reason == Reason(
        name="already-below-min-isr:t",
        message="topic t, partition 0: already below min.insync.replicas (2), and the replica on broker 1 may be "
        "the next to catch up",
        remedy='wait until broker 3 is in sync again, or acknowledge with acknowledged_risks ["already-below-min-isr:t"]',
        can_be_acknowledged=True,
    )
    (reason,) = may_go_down(snapshot, [2])
    assert reason.name == "below-min-isr:t" and not reason.can_be_acknowledged


def test_a_replica_in_sync_on_a_broker_that_just_died_does_not_count() -> None:
    snapshot = cluster(part((1, 2, 3), (1, 2, 3)), minimum=2, live=(1, 2))
    assert [reason.name for reason in may_go_down(snapshot, [1])] == ["below-min-isr:t"]


def test_five_replicas_let_three_go_at_once_less_the_headroom() -> None:
    snapshot = cluster(part((1, 2, 3, 4, 5), (1, 2, 3, 4, 5)), minimum=2, live=(1, 2, 3, 4, 5))
    for headroom, most in ((0, 3), (1, 2), (2, 1), (3, 1), (None, 1)):
        allowed = [size for size in range(1, 6) if may_go_down(snapshot, range(1, size + 1), headroom=headroom) == []]
        assert allowed == list(range(1, most + 1)), headroom


@given(clusters(), st.lists(st.integers(1, 9), min_size=2, max_size=4, unique=True), st.sampled_from((0, 1, 2, None)))
def test_several_at_once_is_one_after_the_other_while_those_before_are_down(
    snapshot: ClusterSnapshot, going: list[int], headroom: int | None
) -> None:
    if may_go_down(snapshot, going, headroom=headroom) == []:
        for broker in going:
            assert may_go_down(snapshot, [broker], headroom=headroom) == []
            left = tuple(one for one in snapshot.brokers if one.id != broker)
            snapshot = replace(snapshot, brokers=left)


def test_an_acknowledged_topic_without_a_spare_replica_still_goes_one_replica_at_a_time() -> None:
    snapshot = cluster(part((1, 2), (1, 2)), minimum=2)
    assert [reason.name for reason in may_go_down(snapshot, [1])] == ["no-spare-replica:t"]
    assert [reason.name for reason in may_go_down(snapshot, [1, 2])] == ["no-spare-replica:t", "below-min-isr:t"]
