"""Rates rise only on good observations and by small steps, fall at most by half, and stay between floor and ceiling."""

import itertools
from datetime import datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from kafka_runbooks.models.cluster import Direction
from kafka_runbooks.models.throttles import AdaptiveThrottle, FixedThrottle, Rate, Rates
from kafka_runbooks.models.traffic import TrafficReport
from kafka_runbooks.throttle.controller import (
    FIXED,
    STEPS_FROM_FLOOR_TO_CEILING,
    Observation,
    Participants,
    adapt,
    ceiling,
    rate_before_data_flows,
    with_participants,
)
from kafka_runbooks.throttle.headroom import Capacity
from kafka_runbooks.throttle.measurements import PerBroker, RequestTimes, RequestWindow
from tests.throttle.observations import INTERVAL, MEGABYTE, START, all_used, good_observation, report, traffic
from tests.throttle.quota import FETCH_BYTES, passed

FLOOR, CEILING = 10 * MEGABYTE, 100 * MEGABYTE
THROTTLE = AdaptiveThrottle(floor_bytes_per_s=FLOOR, ceiling_bytes_per_s=CEILING, produce_p99_limit_ms=200)
TWO = Participants(frozenset({1001, 1002}), frozenset({1003}))
STEP = (CEILING - FLOOR) / STEPS_FROM_FLOOR_TO_CEILING


def at_rate(bytes_per_s: int, participants: Participants = TWO) -> Rates:
    first = with_participants(THROTTLE, Rates(), participants)
    return Rates(
        leader={broker: rate.model_copy(update={"bytes_per_s": bytes_per_s}) for broker, rate in first.leader.items()},
        follower={broker: rate.model_copy(update={"bytes_per_s": bytes_per_s}) for broker, rate in first.follower.items()},
    )


def numbers(rates: Rates) -> dict[tuple[Direction, int], int]:
    return {(direction, broker): rate.bytes_per_s for direction in Direction for broker, rate in rates.of(direction).items()}


figure = st.floats(0, 2e8) | st.none() | st.just(float("nan")) | st.just(-1.0)
milliseconds = st.floats(0, 20_000) | st.none() | st.just(float("nan"))


@st.composite
def observations(draw: st.DrawFn, brokers: tuple[int, ...] = (1001, 1002, 1003)) -> Observation:
    """Any values that a metrics backend, a clock and a cluster can produce."""
    at = START + timedelta(seconds=draw(st.integers(0, 4_000)))
    found = []
    for broker in draw(st.sets(st.sampled_from(brokers))):
        age = timedelta(seconds=draw(st.sampled_from([0, 5, 59, 61, 3_600, -60])))
        names = ("in_bytes_per_s", "out_bytes_per_s", "replication_in_bytes_per_s", "replication_out_bytes_per_s")
        figures = {name: draw(figure) for name in names}
        found.append(traffic(broker, at - age, **figures, produce_p99_ms=draw(milliseconds), fetch_p99_ms=draw(milliseconds)))
    rates = st.dictionaries(st.sampled_from(brokers), st.floats(0, 2e8) | st.just(float("nan")))
    windows = st.none() | st.just(RequestWindow(0, None)) | st.builds(RequestWindow, st.integers(1, 900), st.floats(0, 9_000))
    keys = st.tuples(st.sampled_from(Direction), st.sampled_from(brokers))
    some = st.builds(Participants, *[st.frozensets(st.sampled_from(brokers))] * 2)
    return Observation(
        at=at,
        traffic=TrafficReport(by_broker={broker.broker_id: broker for broker in found}),
        times={broker: RequestTimes(draw(windows)) for broker in brokers},
        moved=draw(st.none() | st.builds(PerBroker, rates, rates)),
        lag=draw(st.none() | st.builds(PerBroker, rates, rates)),
        capacities={broker: Capacity(capacity, capacity) for broker, capacity in draw(rates).items() if capacity > 0},
        waits_for={1001: frozenset({1003})} if draw(st.booleans()) else {},
        held=draw(st.dictionaries(keys, st.just("broker 9 is down"), max_size=2)),
        urgent=draw(some),
        beside=draw(some),
        keeps_up=draw(st.none() | st.builds(PerBroker, rates, rates)),
    )


@given(st.lists(observations(), max_size=25))
def test_rates_stay_between_floor_and_ceiling_and_change_by_bounded_steps(several: list[Observation]) -> None:
    now = with_participants(THROTTLE, Rates(), TWO)
    for observation in several:
        after = adapt(THROTTLE, now, TWO, observation)
        for key, rate in numbers(after).items():
            before = numbers(now)[key]
            assert FLOOR <= rate <= CEILING
            assert rate <= before + 2 * STEP + 1
            direction, broker = key
            assert rate >= before // 2 or key in observation.held or broker in observation.beside.of(direction)
        assert all(rate.why for direction in Direction for rate in after.of(direction).values())
        now = Rates.model_validate_json(after.model_dump_json())
        assert now == after, "a heartbeat carries it to the next attempt"


@given(observations(), st.integers(FLOOR, CEILING))
def test_unknown_never_raises_a_rate(observation: Observation, rate: int) -> None:
    now = at_rate(rate)
    after = adapt(THROTTLE, now, TWO, observation)
    for (direction, broker), new in numbers(after).items():
        found = observation.traffic.by_broker.get(broker)
        moved = None if observation.moved is None else observation.moved.of(direction, broker)
        unknown = (
            found is None
            or abs((observation.at - found.measured_at).total_seconds()) > 59
            or any(figure is not None and not figure >= 0 for figure in (found.in_bytes_per_s, found.out_bytes_per_s))
            or found.produce_p99_ms is None
            or found.fetch_p99_ms is None
            or moved is None
            or not moved >= 0
        )
        if unknown:
            assert new <= rate, (direction, broker, after)


@given(st.integers(FLOOR, CEILING), st.floats(1e6, 5e8), st.floats(0, 5e8))
def test_with_constant_headroom_it_settles_near_it_and_then_stays(start: int, capacity: float, others: float) -> None:
    throttle, now, found = THROTTLE, at_rate(start, Participants(frozenset({1001}))), []
    for number in range(2 * STEPS_FROM_FLOOR_TO_CEILING):
        used = all_used(now)
        at = START + number * INTERVAL
        busy = traffic(1001, at, out_bytes_per_s=others, replication_out_bytes_per_s=used.leader[1001])
        observation = Observation(at=at, traffic=report(busy), moved=used, capacities={1001: Capacity(capacity, capacity)})
        now = adapt(throttle, now, Participants(frozenset({1001})), observation)
        found.append(now.leader[1001].bytes_per_s)
    settled = found[-1]
    assert len(set(found[STEPS_FROM_FLOOR_TO_CEILING:])) == 1, "it doesn't oscillate"
    over = max(others + settled - capacity, 0)
    fits = min(max((capacity - others - over) * 0.8, FLOOR), CEILING)
    assert abs(fits - settled) <= 0.1 * settled + 1


def test_good_news_leads_to_the_ceiling_in_small_steps() -> None:
    now, rates = at_rate(FLOOR), [FLOOR]
    for number in range(STEPS_FROM_FLOOR_TO_CEILING):
        now = adapt(THROTTLE, now, TWO, good_observation(now, START + number * INTERVAL))
        rates.append(now.leader[1001].bytes_per_s)
    assert rates[-1] == CEILING
    assert max(b - a for a, b in itertools.pairwise(rates)) == STEP


def test_a_slow_broker_halves_its_own_rates_and_is_named() -> None:
    now = at_rate(80 * MEGABYTE)
    good = good_observation(now)
    slow = good._replace(traffic=report(*[traffic(1001), traffic(1002, produce_p99_ms=900), traffic(1003)]))
    after = adapt(THROTTLE, now, TWO, slow)
    assert after.leader[1002].bytes_per_s == 40 * MEGABYTE
    assert after.leader[1001].bytes_per_s >= 80 * MEGABYTE
    assert after.follower[1003].bytes_per_s >= 80 * MEGABYTE
    assert "produce p99 900 ms" in after.leader[1002].why
    assert "1002 out: halved" in after.reason()


def test_slow_fetches_count_like_slow_produce() -> None:
    now = at_rate(80 * MEGABYTE)
    observation = good_observation(now)._replace(traffic=report(traffic(1001, fetch_p99_ms=3_000), traffic(1002), traffic(1003)))
    after = adapt(THROTTLE, now, TWO, observation)
    assert after.leader[1001].bytes_per_s == 40 * MEGABYTE
    assert "fetch p99 3000 ms" in after.leader[1001].why
    blind = THROTTLE.model_copy(update={"fetch_p99_limit_ms": None})
    assert adapt(blind, now, TWO, observation).leader[1001].bytes_per_s >= 80 * MEGABYTE


def test_a_slow_leader_that_waits_for_a_destination_halves_what_goes_into_it() -> None:
    now = at_rate(80 * MEGABYTE)
    observation = good_observation(now)
    bystander = traffic(1009, produce_p99_ms=5_000)
    observation = observation._replace(traffic=TrafficReport(by_broker={**observation.traffic.by_broker, 1009: bystander}))
    assert adapt(THROTTLE, now, TWO, observation).follower[1003].bytes_per_s >= 80 * MEGABYTE, (
        "no producer of 1009 waits for a destination"
    )
    after = adapt(THROTTLE, now, TWO, observation._replace(waits_for={1009: frozenset({1003})}))
    assert after.follower[1003].bytes_per_s == 40 * MEGABYTE
    assert "broker 1009 waits for it" in after.follower[1003].why


def test_without_metrics_it_stays_and_then_is_halved_at_each_observation_down_to_the_floor() -> None:
    now, found = at_rate(80 * MEGABYTE), []
    for number in range(6):
        now = adapt(
            THROTTLE,
            now,
            TWO,
            Observation(at=START + number * INTERVAL, traffic=TrafficReport(problems={1001: "exporter: refused"})),
        )
        found.append(now.leader[1001].bytes_per_s // MEGABYTE)
    assert found == [80, 80, 40, 20, 10, 10]
    assert "exporter: refused, for 6 observations in a row" in now.leader[1001].why


def test_metrics_that_stand_still_are_soon_no_metrics() -> None:
    """If the backend scrapes less often than the controller polls, a rate rises once per scrape; if it has stopped, never."""
    now, found = at_rate(80 * MEGABYTE), []
    for number in range(14):
        now = adapt(THROTTLE, now, TWO, good_observation(now, START)._replace(at=START + number * INTERVAL))
        found.append(now.leader[1001].bytes_per_s)
        if number == 5:
            assert now.leader[1001].why == "unchanged: nothing was measured since the last observation"
    assert found[:11] == [80 * MEGABYTE + STEP] * 11, "one step, for the only new measurement"
    assert found[-1] < found[0] and "s old" in now.leader[1001].why


def test_one_broker_without_metrics_holds_back_nobody_else() -> None:
    now = at_rate(20 * MEGABYTE)
    observation = good_observation(now)
    without = TrafficReport(
        by_broker={broker: found for broker, found in observation.traffic.by_broker.items() if broker != 1001}
    )
    after = adapt(THROTTLE, now, TWO, observation._replace(traffic=without))
    assert after.leader[1001].bytes_per_s == 20 * MEGABYTE
    assert after.leader[1002].bytes_per_s > 20 * MEGABYTE


def test_a_rate_that_is_not_used_does_not_rise() -> None:
    now = at_rate(20 * MEGABYTE)
    quiet = traffic(1001, replication_out_bytes_per_s=1e6)
    observation = good_observation(now)
    observation = observation._replace(
        traffic=TrafficReport(by_broker={**observation.traffic.by_broker, 1001: quiet}),
        moved=PerBroker({1001: 1e6, 1002: 20e6}, {1003: 20e6}),
    )
    after = adapt(THROTTLE, now, TWO, observation)
    assert after.leader[1001].bytes_per_s == 20 * MEGABYTE
    assert "only 1.0 of 20.0 MB/s are used" in after.leader[1001].why
    assert after.leader[1002].bytes_per_s > 20 * MEGABYTE


def test_a_rate_that_in_sync_followers_use_up_rises() -> None:
    """Their fetches of listed partitions count against the leader's quota without being delayed by it."""
    now = at_rate(20 * MEGABYTE)
    busy = traffic(1001, replication_out_bytes_per_s=30e6)
    observation = good_observation(now)
    observation = observation._replace(
        traffic=TrafficReport(by_broker={**observation.traffic.by_broker, 1001: busy}),
        moved=PerBroker({1001: 0.0, 1002: 20e6}, {1003: 20e6}),
    )
    assert adapt(THROTTLE, now, TWO, observation).leader[1001].bytes_per_s > 20 * MEGABYTE


def test_a_destination_that_falls_behind_rises_twice_as_fast() -> None:
    now = at_rate(20 * MEGABYTE)
    for number, lag in enumerate((1e9, 1.1e9)):
        observation = good_observation(now, START + number * INTERVAL)._replace(lag=PerBroker({}, {1003: lag}))
        before, now = now, adapt(THROTTLE, now, TWO, observation)
    assert now.follower[1003].bytes_per_s - before.follower[1003].bytes_per_s == 2 * STEP
    assert now.leader[1001].bytes_per_s - before.leader[1001].bytes_per_s == STEP
    assert "more is produced than arrives" in now.follower[1003].why


def test_while_another_broker_is_down_those_that_share_with_it_are_at_the_floor_at_once() -> None:
    after = adapt(
        THROTTLE,
        at_rate(80 * MEGABYTE),
        TWO,
        good_observation(at_rate(80 * MEGABYTE))._replace(
            held={(Direction.LEADER, 1001): "broker 1009 is down", (Direction.FOLLOWER, 1003): "broker 1009 is down"}
        ),
    )
    assert after.leader[1001].bytes_per_s == after.follower[1003].bytes_per_s == FLOOR
    assert after.leader[1002].bytes_per_s == 80 * MEGABYTE + STEP, "it shares nothing with the one that is down"
    assert "1001 out, 1003 in: broker 1009 is down" in after.reason()


def test_without_metrics_or_headroom_no_rate_falls_below_what_keeps_up_and_a_share() -> None:
    """At 10 MB/s where 40 are needed only to keep up, a copy never ends."""
    keeps_up = PerBroker({1001: 40.0 * MEGABYTE}, {1003: 40.0 * MEGABYTE})
    lowest = FLOOR + 50 * MEGABYTE
    blind = busy = at_rate(CEILING)
    for number in range(8):
        at = START + number * INTERVAL
        blind = adapt(THROTTLE, blind, TWO, Observation(at=at, traffic=TrafficReport(), keeps_up=keeps_up))
        full = report(*(traffic(broker, at, in_bytes_per_s=2e8, out_bytes_per_s=2e8) for broker in (1001, 1002, 1003)))
        capacities = dict.fromkeys((1001, 1002, 1003), Capacity(2e8, 2e8))
        busy = adapt(THROTTLE, busy, TWO, Observation(at, full, moved=all_used(busy), capacities=capacities, keeps_up=keeps_up))
    for found in (blind, busy):
        assert found.leader[1001].bytes_per_s == found.follower[1003].bytes_per_s == lowest
        assert found.leader[1002].bytes_per_s == FLOOR, "nothing keeps up there"


def test_what_can_not_wait_gets_the_room_of_the_capacity_and_the_rest_what_it_needs() -> None:
    """Whatever the ceiling: that is for what can wait."""
    one, capacity = Participants(frozenset({1001})), 1_000.0 * MEGABYTE
    now, budgets = at_rate(80 * MEGABYTE, one), []
    for number in range(6):
        observation = good_observation(now, START + number * INTERVAL, capacity)
        now = adapt(THROTTLE, now, one, observation._replace(urgent=one, beside=one if number else Participants(frozenset())))
        budgets.append(now.leader[1001].urgent.bytes_per_s)
        assert now.leader[1001].bytes_per_s == (FLOOR if number else 80 * MEGABYTE + STEP), "it gives way once the others go"
    room = 0.8 * capacity - FLOOR
    assert budgets == [room / 8, room / 4, room / 2, room, room, room]
    now = adapt(THROTTLE, now, one, good_observation(now, START + 6 * INTERVAL, capacity))
    assert now.leader[1001].urgent.bytes_per_s == 0, "nothing is urgent any more"


def test_beyond_what_is_known_to_go_well_it_goes_in_small_steps() -> None:
    one = Participants(frozenset({1001}))
    now = at_rate(50 * MEGABYTE, one)
    at = START

    def advance(**figures: float) -> None:
        nonlocal now, at
        at += INTERVAL
        used = all_used(now)
        found = traffic(1001, at, replication_out_bytes_per_s=used.leader[1001], **figures)
        now = adapt(THROTTLE, now, one, Observation(at=at, traffic=report(found), moved=used))

    advance()
    advance()
    advance(produce_p99_ms=900.0)
    rates = [now.leader[1001].bytes_per_s]
    for _ in range(15):
        advance()
        rates.append(now.leader[1001].bytes_per_s)
    steps = [b - a for a, b in itertools.pairwise(rates)]
    assert steps[0] == STEP, "full steps below the traffic known to be safe"
    assert steps[-1] == STEP / 4 and "beyond the traffic known to be safe" in now.leader[1001].why


def test_a_fixed_rate_stays() -> None:
    fixed = FixedThrottle(rate_bytes_per_s=4 * MEGABYTE)
    after = adapt(fixed, at_rate(FLOOR), TWO, Observation(at=START, traffic=TrafficReport()))
    assert set(numbers(after).values()) == {4 * MEGABYTE}
    assert after.reason() == FIXED


def test_the_ceiling_is_a_share_of_the_weakest_capacity() -> None:
    assert ceiling(AdaptiveThrottle(), [200_000_000, 100_000_000]) == 80_000_000
    assert ceiling(AdaptiveThrottle(floor_bytes_per_s=95_000_000), [100_000_000]) == 95_000_000
    assert ceiling(THROTTLE, [1_000]) == CEILING


def test_whoever_comes_begins_at_the_floor_and_whoever_ends_is_left_out() -> None:
    now = at_rate(50 * MEGABYTE)
    after = adapt(THROTTLE, now, Participants(frozenset({1001, 1004})), Observation(at=START, traffic=TrafficReport()))
    assert {broker: rate.bytes_per_s for broker, rate in after.leader.items()} == {1001: 50 * MEGABYTE, 1004: FLOOR}
    assert after.follower == {}
    assert after.wanted()[1004].follower_bytes_per_s is None


def test_time_may_go_backwards() -> None:
    now = at_rate(50 * MEGABYTE)
    earlier: datetime = START - timedelta(days=1)
    for at in (START, earlier, START):
        now = adapt(THROTTLE, now, TWO, good_observation(now, at))
    assert all(FLOOR <= rate <= CEILING for rate in numbers(now).values())


def test_the_reasons_of_a_hundred_brokers_are_a_note_of_some_lines() -> None:
    each = {broker: Rate(bytes_per_s=1, why=f"{'up: ' if broker % 2 else 'halved: '}{broker} of them") for broker in range(100)}
    assert Rates(leader=each).reason() == (
        "0 out: halved: 0 of them; 2 out: halved: 2 of them; 4 out: halved: 4 of them; 6 out: halved: 6 of them; and 96 more"
    )
    alike = {broker: Rate(bytes_per_s=1, why="halved" if broker else "up") for broker in range(100)}
    assert Rates(leader=alike).reason() == "1 out, 2 out, 3 out, 4 out, …: halved; 0 out: up"


def test_what_passes_at_once_stays_small_under_the_window_of_kafka_s_quota() -> None:
    """A source's quota, from before its destination is up, through the floor, up by a step every 6 s."""
    throttle = AdaptiveThrottle(floor_bytes_per_s=FLOOR, ceiling_bytes_per_s=CEILING)
    assert max(passed(lambda _: FLOOR, 40, idle_before=True)) > 100 * MEGABYTE, "the burst that must be avoided"
    assert max(passed(lambda _: rate_before_data_flows(throttle), 40, idle_before=True)) <= 2 * FETCH_BYTES
    risen = passed(lambda at: FLOOR + STEP * (at // 6), 120, idle_before=False)
    assert max(risen) <= 70 * MEGABYTE
    in_twelve = passed(lambda at: FLOOR + (CEILING - FLOOR) / 12 * (at // 6), 72, idle_before=False)
    assert max(in_twelve) > 2 * max(risen[:72])
