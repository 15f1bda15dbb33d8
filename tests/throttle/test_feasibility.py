"""The feasibility verdict against a simulation that copies byte by byte under Kafka's quota rules."""

import math
from collections.abc import Mapping, Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kafka_runbooks.models.cluster import Direction, Partition, Replica, ThrottleRates, TopicPartition
from kafka_runbooks.models.moves import Copy
from kafka_runbooks.throttle.feasibility import Copying, Feasibility, copying_of, judge
from tests.examples import examples

MEGABYTE = 1_000_000


def simulate(moving: Sequence[Copying], rates: Mapping[int, ThrottleRates], until_seconds: float, step: float) -> float | None:
    """Seconds until every destination has everything; None if it takes longer than `until_seconds`.

    At each step, producers append; in-sync followers fetch that regardless of the quota, and it counts; then the destinations
    share the rest of each broker's quota in proportion to what they lack. A quota can be negative.
    """
    lack = {(copying.name, broker): float(left) for copying in moving for broker, left in copying.left_bytes.items()}
    budget: dict[tuple[Direction, int], float] = {}
    time = 0.0
    while time < until_seconds:
        time += step
        for broker, rate in rates.items():
            for direction in Direction:
                limit = rate.of(direction)
                if limit is not None:
                    budget[direction, broker] = min(limit * step, budget.get((direction, broker), 0.0) + limit * step)
        asked: dict[tuple[Direction, int], float] = {}
        for copying in moving:
            produced = (copying.produced_bytes_per_s or 0.0) * step
            source = (Direction.LEADER, copying.leader)
            if source in budget:
                budget[source] -= copying.in_sync_followers * produced
            for broker in copying.left_bytes:
                lack[copying.name, broker] += produced
                for key in (source, (Direction.FOLLOWER, broker)):
                    asked[key] = asked.get(key, 0.0) + lack[copying.name, broker]
        share = {key: min(1.0, max(0.0, budget.get(key, math.inf)) / amount) if amount else 1.0 for key, amount in asked.items()}
        for copying in moving:
            source = (Direction.LEADER, copying.leader)
            for broker in copying.left_bytes:
                key = (Direction.FOLLOWER, broker)
                copied = lack[copying.name, broker] * min(share[source], share[key])
                lack[copying.name, broker] -= copied
                for one in (source, key):
                    if one in budget:
                        budget[one] -= copied
        if all(missing < 1.0 for missing in lack.values()):
            return time
    return None


def partition(number: int) -> TopicPartition:
    return TopicPartition("t", number)


def one_source(left: int, produced: float, followers: int, destinations: int) -> list[Copying]:
    return [Copying(partition(0), 1, dict.fromkeys(range(10, 10 + destinations), left), produced, followers)]


@settings(max_examples=examples(40), deadline=None)
@given(
    st.integers(10 * MEGABYTE, 500 * MEGABYTE),
    st.floats(0, 5 * MEGABYTE),
    st.integers(0, 2),
    st.integers(1, 2),
    st.floats(20, 200),
)
def test_one_source_takes_the_time_that_it_says(
    left: int, produced: float, followers: int, destinations: int, seconds: float
) -> None:
    moving = one_source(left, produced, followers, destinations)
    need = judge(moving, {1: ThrottleRates(leader_bytes_per_s=1)}).needs[-1]
    assert (need.broker_id, need.direction) == (1, Direction.LEADER)
    rates = {1: ThrottleRates(leader_bytes_per_s=math.ceil(need.keeps_up_bytes_per_s + need.left_bytes / seconds))}
    predicted = judge(moving, rates).seconds
    assert predicted is not None and predicted == pytest.approx(seconds, rel=0.001)
    ended = simulate(moving, rates, seconds * 1.05, seconds / 200)
    assert ended is not None and ended > seconds * 0.95


copies = st.lists(
    st.builds(
        lambda leader, left, produced, followers: (leader, left, produced, followers),
        st.integers(1, 3),
        st.dictionaries(st.integers(10, 12), st.integers(MEGABYTE, 50 * MEGABYTE), min_size=1, max_size=2),
        st.floats(0, MEGABYTE),
        st.integers(0, 2),
    ),
    min_size=1,
    max_size=5,
)
limit = st.none() | st.integers(100_000, 20 * MEGABYTE)
all_rates = st.fixed_dictionaries(
    {broker: st.builds(ThrottleRates, leader_bytes_per_s=limit, follower_bytes_per_s=limit) for broker in (1, 2, 3, 10, 11, 12)}
)


@settings(max_examples=examples(60), deadline=None)
@given(copies, all_rates)
def test_nothing_ends_sooner_than_it_says_and_what_never_ends_does_not(
    several: list[tuple[int, dict[int, int], float, int]], rates: dict[int, ThrottleRates]
) -> None:
    moving = [Copying(partition(number), *one) for number, one in enumerate(several)]
    verdict = judge(moving, rates)
    within = 400.0 if verdict.seconds is None else max(1.0, verdict.seconds)
    ended = simulate(moving, rates, within * 0.95, within / 400)
    if verdict.seconds is None or verdict.seconds > 1.0:
        assert ended is None, verdict.report()


def test_a_rate_at_the_produce_rate_never_catches_up_and_the_report_says_so() -> None:
    moving = one_source(60 * MEGABYTE, 2 * MEGABYTE, 1, 1)
    rates = {1: ThrottleRates(leader_bytes_per_s=4 * MEGABYTE), 10: ThrottleRates(follower_bytes_per_s=3 * MEGABYTE)}
    verdict = judge(moving, rates)
    assert verdict.seconds is None
    assert verdict.report() == (
        "broker 1: leader replication throttle 4.00 MB/s never catches up: 4.00 MB/s are needed only to keep up",
    )
    assert simulate(moving, rates, 600, 0.5) is None


def test_a_partition_that_is_done_still_uses_the_source_s_rate_while_it_is_listed() -> None:
    done = Copying(partition(1), 1, {10: 0}, 3 * MEGABYTE, 1)
    late = Copying(partition(0), 1, {10: 10 * MEGABYTE}, 0.0, 1)
    rates = {1: ThrottleRates(leader_bytes_per_s=6 * MEGABYTE)}
    assert judge([late], rates).seconds == pytest.approx(10 / 6)
    assert judge([late, done], rates).seconds is None


def test_without_a_throttle_or_anything_left_the_report_is_empty() -> None:
    assert judge(one_source(5, 1e6, 1, 1), {}).report() == ()
    assert judge(one_source(0, 1e6, 1, 1), {1: ThrottleRates(leader_bytes_per_s=1)}).report() == ()
    assert judge([], {}) == Feasibility(())
    assert judge([], {}).seconds == 0.0


@pytest.mark.parametrize("produced", [None, math.nan, -1.0])
def test_an_unknown_produce_rate_is_named(produced: float | None) -> None:
    verdict = judge([Copying(partition(3), 1, {10: 5}, produced)], {1: ThrottleRates(leader_bytes_per_s=1_000)})
    assert verdict.report() == ("the produce rate of 1 partitions is not known: t-3",)


def test_copies_are_derived_from_measurements() -> None:
    both = Partition(topic="t", partition=0, leader=1, replicas=(1, 2, 3, 4), in_sync=(1, 2, 4))
    headless = Partition(topic="t", partition=1, leader=None, replicas=(1, 3), in_sync=(1,))
    unasked = Partition(topic="t", partition=2, leader=2, replicas=(2, 3), in_sync=(2,))
    sizes = {Replica("t", 0, 1): 900, Replica("t", 0, 3): 300, Replica("t", 0, 4): 880}
    moves = [Copy(both, (3, 4)), Copy(headless, (3,)), Copy(unasked, (3,))]
    assert copying_of(moves, sizes, {partition(0): 7.0}) == (Copying(partition(0), 1, {3: 600, 4: 0}, 7.0, 1),)
    assert copying_of(moves, sizes, {})[0].produced_bytes_per_s is None
