"""What happened between two observations: the request times of just that window, and the bytes that moved.

Two figures mislead a controller that polls every few seconds:

- The percentiles of `RequestMetrics` come from an exponentially decaying reservoir (yammer's biased sample: 1028 values,
  alpha 0.015). After a stall they stay high for minutes, until the slow values weigh less than one percent; and during a stall
  few requests complete, so they hardly rise. The same histogram also has `Count` and `Mean`, both exact since the broker
  started: two readings give the true mean of the requests that completed in between.
- The throttle that was set last doesn't show how much replicates. What moved is the growth on the destinations' disks
  (DescribeLogDirs), each byte of it sent by the partition's leader.

An unavailable figure is None, never 0.
"""

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

from kafka_runbooks.models.cluster import Direction, Partition, Replica, ReplicaSizes, TopicPartition
from kafka_runbooks.models.moves import Copy
from kafka_runbooks.models.traffic import BrokerTraffic

STALE_AFTER = timedelta(seconds=60)
"""Older metrics don't reflect the rate in force."""
CLOCK_SKEW = timedelta(seconds=30)


class RequestTotals(NamedTuple):
    """`RequestMetrics,name=TotalTimeMs`: requests completed since the broker started, and their mean."""

    requests: int
    mean_ms: float


class RequestWindow(NamedTuple):
    """The requests that completed between two observations; `mean_ms` is None if none did."""

    requests: int
    mean_ms: float | None


class RequestTimes(NamedTuple):
    """One broker's windows; None where a reading is missing or the broker restarted in between."""

    produce: RequestWindow | None = None
    fetch: RequestWindow | None = None


class PerBroker(NamedTuple):
    """One figure for each broker that takes part, by direction."""

    leader: Mapping[int, float]
    follower: Mapping[int, float]

    def of(self, direction: Direction, broker: int) -> float | None:
        return (self.leader if direction is Direction.LEADER else self.follower).get(broker)


def request_times(before: BrokerTraffic | None, after: BrokerTraffic | None) -> RequestTimes:
    """What completed on one broker between two readings of it."""
    if before is None or after is None or after.measured_at <= before.measured_at:
        return RequestTimes()
    return RequestTimes(
        produce=window(
            _totals(before.produce_requests, before.produce_mean_ms), _totals(after.produce_requests, after.produce_mean_ms)
        ),
        fetch=window(_totals(before.fetch_requests, before.fetch_mean_ms), _totals(after.fetch_requests, after.fetch_mean_ms)),
    )


def _totals(requests: int | None, mean_ms: float | None) -> RequestTotals | None:
    return None if requests is None or mean_ms is None else RequestTotals(requests, mean_ms)


def window(before: RequestTotals | None, after: RequestTotals | None) -> RequestWindow | None:
    """What completed between two readings of one broker's histogram."""
    if before is None or after is None or after.requests < before.requests:
        return None
    if not all(is_sound(mean) for mean in (before.mean_ms, after.mean_ms)):
        return None
    requests = after.requests - before.requests
    if requests == 0:
        return RequestWindow(0, None)
    spent_ms = after.requests * after.mean_ms - before.requests * before.mean_ms
    return RequestWindow(requests, max(0.0, spent_ms / requests))


def moved(before: ReplicaSizes, after: ReplicaSizes, seconds: float, moves: Sequence[Copy]) -> PerBroker | None:
    """Bytes per second that arrived on the moving replicas, by destination and by the leader that sent them.

    Args:
        before: replica sizes at the last observation (DescribeLogDirs), of the destinations at least.
        after: the same now.
        seconds: between the two.
        moves: partitions, each with the brokers that receive its data.

    Returns:
        None if `seconds` isn't positive. A destination that didn't answer both times is left out, and so are the leaders that
        send to it. A replica that shrank (retention, truncation) counts as 0: underestimating is the safe side.
    """
    if seconds <= 0:
        return None
    silent = {*before.unanswered_broker_ids, *after.unanswered_broker_ids}
    sent: dict[int, float] = {}
    received: dict[int, float] = {}
    unknown: set[int] = set()
    for partition, destinations in moves:
        for destination in destinations:
            if destination in silent:
                unknown.update(() if partition.leader is None else (partition.leader,))
                continue
            replica = Replica(partition.topic, partition.partition, destination)
            grown = max(0, after.size_bytes.get(replica, 0) - before.size_bytes.get(replica, 0)) / seconds
            received[destination] = received.get(destination, 0.0) + grown
            if partition.leader is not None:
                sent[partition.leader] = sent.get(partition.leader, 0.0) + grown
    return PerBroker({broker: rate for broker, rate in sent.items() if broker not in unknown}, received)


def lag(sizes: Mapping[Replica, int], moves: Sequence[Copy]) -> PerBroker:
    """Bytes that the moving replicas still lack, by destination and by leader: the leader's size less the replica's.

    A partition whose leader's size isn't known isn't counted.
    """
    leader: dict[int, float] = {}
    follower: dict[int, float] = {}
    for partition, destinations in moves:
        if partition.leader is None:
            continue
        whole = sizes.get(Replica(partition.topic, partition.partition, partition.leader))
        if whole is None:
            continue
        for destination in destinations:
            left = max(0, whole - sizes.get(Replica(partition.topic, partition.partition, destination), 0))
            leader[partition.leader] = leader.get(partition.leader, 0.0) + left
            follower[destination] = follower.get(destination, 0.0) + left
    return PerBroker(leader, follower)


def produced(
    before: ReplicaSizes, after: ReplicaSizes, seconds: float, partitions: Iterable[Partition]
) -> dict[TopicPartition, float]:
    """Bytes per second by which the leaders' logs grew. A partition whose leader's log shrank or isn't known is left out."""
    found = {}
    for partition in partitions:
        if partition.leader is None or seconds <= 0:
            continue
        replica = Replica(partition.topic, partition.partition, partition.leader)
        if replica in before.size_bytes and replica in after.size_bytes:
            grown = after.size_bytes[replica] - before.size_bytes[replica]
            if grown >= 0:
                found[partition.name] = grown / seconds
    return found


def waits_for(followers: Mapping[int, Collection[int]], destinations: Collection[int]) -> dict[int, frozenset[int]]:
    """Leader -> the destinations in sync for a partition that it leads: its acks=all producers wait for them.

    Args:
        followers: leader -> every broker that is.
        destinations: of what is copied.
    """
    among = {leader: frozenset(destinations).intersection(in_sync) for leader, in_sync in followers.items()}
    return {leader: waited_for for leader, waited_for in among.items() if waited_for}


def is_sound(figure: float) -> bool:
    """Whether a measured rate, time or count is possible: finite and not negative."""
    return math.isfinite(figure) and figure >= 0


def trouble(traffic: BrokerTraffic | None, at: datetime) -> str | None:
    """Why a broker's figures can't be used; None if they can."""
    if traffic is None:
        return "no metrics"
    age = at - traffic.measured_at
    if age > STALE_AFTER:
        return f"its metrics are {age.total_seconds():.0f} s old"
    if age < -CLOCK_SKEW:
        return f"its metrics are {-age.total_seconds():.0f} s ahead of this clock"
    figures = traffic.model_dump(exclude={"broker_id", "measured_at"})
    wrong = [name for name, figure in figures.items() if isinstance(figure, int | float) and not is_sound(figure)]
    return f"{wrong[0]} is {figures[wrong[0]]}" if wrong else None


def total(traffic: BrokerTraffic, direction: Direction) -> float | None:
    """The broker's whole network traffic in one direction, bytes per second; None if a part isn't known."""
    if direction is Direction.LEADER:
        parts = (traffic.out_bytes_per_s, traffic.replication_out_bytes_per_s)
    else:
        parts = (traffic.in_bytes_per_s, traffic.replication_in_bytes_per_s)
    clients, replication = parts
    return None if clients is None or replication is None else clients + replication
