"""The figures that topicmappr prints about a map, computed on broker ids: change texts, broker changes, degree, storage.

They are printed so that its users find the figures they know.
"""

import statistics
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass


def change(before: Sequence[int], after: Sequence[int]) -> str:
    """How one replica list changes, in topicmappr's terms."""
    if list(before) == list(after):
        return "no-op"
    words = []
    if len(after) < len(before):
        words.append("decreased replication")
    if len(after) > len(before):
        words.append("increased replication")
    if any(broker not in before for broker in after[: len(before)]):
        words.append("replaced broker")
    elif after[:1] != before[:1]:
        words.append("preferred leader")
    return ", ".join(words) or "reordered followers"


@dataclass(frozen=True)
class BrokerChanges:
    """A broker list compared with the brokers in a map and the live ones."""

    new: tuple[int, ...]
    missing: tuple[int, ...]
    """Listed, but not live."""
    old_missing: tuple[int, ...]
    """In the map, not live and not listed: dead brokers that are replaced."""
    replaced: tuple[int, ...]
    """In the map and not listed, live or not."""
    without_rack: tuple[int, ...]


def broker_changes(mapped: Collection[int], listed: Iterable[int], live_racks: Mapping[int, str | None]) -> BrokerChanges:
    """The brokers added and removed when a map moves to a broker list.

    Args:
        mapped: brokers that hold replicas.
        listed: brokers that may hold replicas afterwards.
        live_racks: rack of every live broker.
    """
    wanted = set(listed)
    new = sorted(b for b in wanted - set(mapped) if b in live_racks)
    present = {b for b in mapped if b in live_racks} | set(new)
    return BrokerChanges(
        new=tuple(new),
        missing=tuple(sorted(b for b in wanted if b not in live_racks)),
        old_missing=tuple(sorted(b for b in mapped if b not in live_racks and b not in wanted)),
        replaced=tuple(sorted(set(mapped) - wanted)),
        without_rack=tuple(sorted(b for b in present & wanted if live_racks[b] is None)),
    )


def degrees(sets: Iterable[Sequence[int]]) -> dict[int, int]:
    """By broker: the number of other brokers it shares a replica set with, that is of peers that can feed its recovery."""
    peers: dict[int, set[int]] = {}
    for members in sets:
        for broker in members:
            peers.setdefault(broker, set()).update(members)
    return {broker: len(others - {broker}) for broker, others in sorted(peers.items())}


@dataclass(frozen=True)
class Storage:
    """Free bytes of brokers: the figures of topicmappr's storage section."""

    range: int
    range_spread_percent: float
    """(highest - lowest) / lowest."""
    standard_deviation: float


def storage(free_bytes: Collection[int]) -> Storage:
    """Storage figures of some brokers' free bytes."""
    low, high = min(free_bytes), max(free_bytes)
    return Storage(
        range=high - low,
        range_spread_percent=(high - low) / low * 100 if low > 0 else float("inf") if high > low else 0.0,
        standard_deviation=statistics.pstdev(free_bytes),
    )


def difference(before: int, after: int) -> tuple[int, float]:
    """The change of a broker's free bytes, and its percentage of the value before (0 where that was 0)."""
    return after - before, (after - before) / before * 100 if before > 0 else 0.0
