"""Kafka's percentiles forget late: the window's mean shows when requests became slow, and when they recovered."""

import heapq
import math
import random
from datetime import timedelta

from kafka_runbooks.models.cluster import Partition, Replica, ReplicaSizes
from kafka_runbooks.models.moves import Copy
from kafka_runbooks.models.throttles import AdaptiveThrottle, Slowness
from kafka_runbooks.throttle.latency_guard import ECHO, Finding, Latency, judge, mean_limit_ms
from kafka_runbooks.throttle.measurements import (
    RequestTimes,
    RequestTotals,
    RequestWindow,
    lag,
    moved,
    produced,
    request_times,
    trouble,
    waits_for,
    window,
)
from tests.safety.builders import cluster
from tests.throttle.observations import INTERVAL, START, traffic

THROTTLE = AdaptiveThrottle(produce_p99_limit_ms=250)


class Reservoir:
    """yammer's `ExponentiallyDecayingSample(1028, 0.015)`, with the clock as an argument: the source of Kafka's percentiles."""

    def __init__(self) -> None:
        self._random = random.Random(1)
        self._values: list[tuple[float, float]] = []
        self.requests = 0
        self.spent_ms = 0.0

    def add(self, at_seconds: float, took_ms: float) -> None:
        self.requests += 1
        self.spent_ms += took_ms
        priority = 0.015 * at_seconds - math.log(1.0 - self._random.random())
        heapq.heappush(self._values, (priority, took_ms))
        if len(self._values) > 1028:
            heapq.heappop(self._values)

    def p99_ms(self) -> float:
        values = sorted(value for _, value in self._values)
        return values[min(len(values) - 1, int(0.99 * len(values)))]

    def totals(self) -> RequestTotals:
        return RequestTotals(self.requests, self.spent_ms / self.requests)


def test_a_stall_halves_the_rate_within_one_observation_and_is_over_within_one_though_the_percentile_stays_high() -> None:
    """40 requests per second of 5 ms each; during a minute of catch-up, 2 per second of 5 s each."""
    reservoir, memory, found, percentiles = Reservoir(), Slowness(), {}, {}
    before: RequestTotals | None = None
    for second in range(900):
        is_stalled = 300 <= second < 360
        for _ in range(2 if is_stalled else 40):
            reservoir.add(second, 5_000.0 if is_stalled else 5.0)
        if second % 6 == 5:
            at = START + timedelta(seconds=second)
            times = RequestTimes(window(before, reservoir.totals()))
            percentiles[second] = reservoir.p99_ms()
            measured = traffic(1001, at, produce_p99_ms=percentiles[second])
            found[second], memory = judge(THROTTLE, measured, times, memory, at)
            before = reservoir.totals()
    slow = {second for second, finding in found.items() if finding.latency is Latency.SLOW}
    assert slow == set(range(305, 360, 6)), "exactly the observations with a slow window"
    assert percentiles[305] < 250, "too few requests complete in a stall for the percentile to show its start"
    late = [second for second, p99 in percentiles.items() if p99 > 250 and second >= 366]
    assert late and max(late) > 420, "the percentile is still high more than a minute later"
    assert all(finding.latency is Latency.GOOD for second, finding in found.items() if second >= 366)


def test_a_tail_hidden_from_the_mean_halves_the_rate_once_and_again_only_if_it_gets_worse_or_lasts() -> None:
    fine = RequestTimes(RequestWindow(500, 8.0))
    memory, found = Slowness(), []
    for number, p99 in enumerate([400, 410, 420, 430, 700, 700, 100, 300]):
        at = START + number * INTERVAL
        finding, memory = judge(THROTTLE, traffic(1001, at, produce_p99_ms=p99), fine, memory, at)
        found.append(finding.latency)
    slow, unsure, good = Latency.SLOW, Latency.UNSURE, Latency.GOOD
    assert found == [slow, unsure, unsure, unsure, slow, unsure, good, slow]
    at += ECHO
    finding, memory = judge(THROTTLE, traffic(1001, at, produce_p99_ms=300), fine, memory, at)
    assert finding.latency is slow, "longer than the reservoir remembers, so not an echo"


def test_without_a_window_the_percentile_alone_judges() -> None:
    finding, memory = judge(THROTTLE, traffic(1001, produce_p99_ms=900), RequestTimes(), Slowness(), START)
    assert finding == Finding(Latency.SLOW, "produce p99 900 ms, limit 250 ms")
    assert (
        judge(THROTTLE, traffic(1001, START + INTERVAL, produce_p99_ms=900), RequestTimes(), memory, START + INTERVAL)[0].latency
        is Latency.UNSURE
    )


def test_hanging_requests_keep_the_rate_from_rising_until_clients_are_known_to_be_idle() -> None:
    memory = judge(THROTTLE, traffic(1001), RequestTimes(RequestWindow(100, 5.0)), Slowness(), START)[1]
    found = []
    for number in range(1, 9):
        at = START + number * INTERVAL
        finding, memory = judge(THROTTLE, traffic(1001, at), RequestTimes(RequestWindow(0, None)), memory, at)
        found.append(finding.latency)
    assert found == [Latency.UNSURE] * 6 + [Latency.GOOD] * 2
    assert judge(THROTTLE, traffic(1001), RequestTimes(RequestWindow(0, None)), Slowness(), START)[0].latency is Latency.GOOD


def test_fetches_are_slow_where_even_their_mean_is_beyond_the_percentile_s_limit() -> None:
    """A consumer's fetch waits half a second for data by design."""
    waiting, stuck = RequestWindow(100, 480.0), RequestWindow(5, 4_000.0)
    assert judge(THROTTLE, traffic(1001), RequestTimes(None, waiting), Slowness(), START)[0].latency is Latency.GOOD
    finding = judge(THROTTLE, traffic(1001), RequestTimes(None, stuck), Slowness(), START)[0]
    assert finding == Finding(Latency.SLOW, "fetch took 4000 ms on average since the last observation, limit 1000 ms")


def test_the_same_reading_twice_counts_once() -> None:
    """A backend that scrapes every 15 s is polled every 6 s: an unchanged request count is not a stall."""
    reading = traffic(1001, START, produce_requests=100, produce_mean_ms=5.0)
    assert request_times(reading, reading) == RequestTimes()
    memory = judge(THROTTLE, reading, RequestTimes(RequestWindow(9, 5.0)), Slowness(), START)[1]
    again = judge(THROTTLE, reading, RequestTimes(), memory, START + INTERVAL)
    assert again == (Finding(Latency.UNSURE, "nothing was measured since the last observation"), memory)


def test_windows_come_from_two_readings_of_what_the_broker_counts() -> None:
    first = traffic(1001, START, produce_requests=100, produce_mean_ms=5.0, fetch_requests=10, fetch_mean_ms=400.0)
    second = traffic(1001, START + INTERVAL, produce_requests=110, produce_mean_ms=50.0, fetch_requests=10, fetch_mean_ms=400.0)
    assert request_times(first, second) == (RequestWindow(10, 500.0), RequestWindow(0, None))
    assert request_times(None, second) == request_times(second, first) == RequestTimes()
    without = traffic(1001, START + INTERVAL)
    assert request_times(first, without) == RequestTimes()


def test_the_limit_of_the_mean_follows_that_of_the_percentile() -> None:
    assert mean_limit_ms(THROTTLE) == 50
    assert mean_limit_ms(THROTTLE.model_copy(update={"produce_mean_limit_ms": 30.0})) == 30


def test_a_window_is_what_completed_in_between() -> None:
    assert window(RequestTotals(1_000, 4.0), RequestTotals(1_010, 8.0)) == RequestWindow(10, (1_010 * 8 - 4_000) / 10)
    assert window(RequestTotals(5, 4.0), RequestTotals(5, 4.0)) == RequestWindow(0, None)
    assert window(RequestTotals(1_000, 4.0), RequestTotals(10, 4.0)) is None, "the broker restarted"
    assert window(None, RequestTotals(10, 4.0)) is None
    assert window(RequestTotals(1, 4.0), RequestTotals(2, math.nan)) is None


def test_old_or_impossible_figures_are_named() -> None:
    assert trouble(None, START) == "no metrics"
    assert trouble(traffic(1001), START) is None
    assert trouble(traffic(1001), START + timedelta(seconds=75)) == "its metrics are 75 s old"
    assert trouble(traffic(1001), START - timedelta(hours=1)) == "its metrics are 3600 s ahead of this clock"
    assert trouble(traffic(1001, in_bytes_per_s=-5.0), START) == "in_bytes_per_s is -5.0"
    assert trouble(traffic(1001, fetch_p99_ms=math.inf), START) == "fetch_p99_ms is inf"


def partition(number: int, leader: int | None, *replicas: int) -> Partition:
    return Partition(topic="t", partition=number, leader=leader, replicas=replicas, in_sync=replicas[:1])


def test_what_moved_is_what_grew_on_the_destinations_sent_by_the_leaders() -> None:
    moves = [Copy(partition(0, 1, 1, 3), (3,)), Copy(partition(1, 2, 2, 3), (3,)), Copy(partition(2, 2, 2, 4), (4,))]
    before = ReplicaSizes(size_bytes={Replica("t", 0, 3): 100, Replica("t", 2, 4): 900})
    after = ReplicaSizes(size_bytes={Replica("t", 0, 3): 700, Replica("t", 1, 3): 60, Replica("t", 2, 4): 800})
    rates = moved(before, after, 6.0, moves)
    assert rates is not None
    assert rates.leader == {1: 100.0, 2: 10.0}
    assert rates.follower == {3: 110.0, 4: 0.0}, "4 deleted old segments, so arrivals are unknown and count as 0"
    assert moved(before, after, 0.0, moves) is None
    silent = moved(before, after.model_copy(update={"unanswered_broker_ids": (4,)}), 6.0, moves)
    assert silent is not None and silent.leader == {1: 100.0} and silent.follower == {3: 110.0}


def test_lag_is_what_the_leader_has_more() -> None:
    moves = [Copy(partition(0, 1, 1, 3), (3,)), Copy(partition(1, None, 2, 3), (3,)), Copy(partition(2, 2, 2, 4), (4,))]
    sizes = {Replica("t", 0, 1): 500, Replica("t", 0, 3): 200, Replica("t", 2, 4): 5}
    assert lag(sizes, moves) == ({1: 300.0}, {3: 300.0})


def test_what_is_produced_is_what_the_leaders_logs_grew_by() -> None:
    partitions = [partition(0, 1, 1, 3), partition(1, 2, 2, 3), partition(2, None, 2, 3), partition(3, 1, 1, 3)]
    before = ReplicaSizes(size_bytes={Replica("t", 0, 1): 100, Replica("t", 1, 2): 500})
    after = ReplicaSizes(size_bytes={Replica("t", 0, 1): 160, Replica("t", 1, 2): 400, Replica("t", 3, 1): 9})
    assert produced(before, after, 6.0, partitions) == {("t", 0): 10.0}, "1 lost a segment to retention, 3 was not there before"
    assert produced(before, after, 0.0, partitions) == {}


def test_leaders_wait_for_destinations_that_are_in_sync() -> None:
    one = Partition(topic="t", partition=0, leader=1, replicas=(1, 3), in_sync=(1, 3))
    late = Partition(topic="t", partition=1, leader=2, replicas=(2, 3), in_sync=(2,))
    led_there = Partition(topic="t", partition=2, leader=3, replicas=(3, 2), in_sync=(3, 2))
    snapshot = cluster(one, late, led_there, minimum=1)
    assert snapshot.followers == {1: {3: 1}, 2: {}, 3: {2: 1}}
    assert waits_for(snapshot.followers, {3}) == {1: frozenset({3})}
