"""What topicmappr prints about a map, computed on ids: change texts, broker changes, degree, storage figures.

`range spread` and the harmonic mean are topicmappr's own measures; they are printed so that its users find their figures again.
"""

import statistics
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass


def change(before: Sequence[int], after: Sequence[int]) -> str:
    """What happens to one replica list, in topicmappr's words."""
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
    """A broker list against the brokers in a map and those that are live."""

    new: tuple[int, ...]
    missing: tuple[int, ...]
    """Listed, but not live."""
    old_missing: tuple[int, ...]
    """In the map, not live and not listed: dead ones that are replaced."""
    replaced: tuple[int, ...]
    """In the map and not listed, live or not."""
    without_rack: tuple[int, ...]


def broker_changes(mapped: Collection[int], listed: Iterable[int], live_racks: Mapping[int, str | None]) -> BrokerChanges:
    """Who comes and goes when a map moves to a broker list.

    :param live_racks: rack of every live broker
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
    """By broker: how many other brokers it shares a replica set with, that is how many peers can feed its recovery."""
    peers: dict[int, set[int]] = {}
    for members in sets:
        for broker in members:
            peers.setdefault(broker, set()).update(members)
    return {broker: len(others - {broker}) for broker, others in sorted(peers.items())}


@dataclass(frozen=True)
class Storage:
    """Free bytes of brokers: the figures of topicmappr's storage section."""

    lowest: int
    highest: int
    range: int
    range_spread_percent: float
    """(highest - lowest) / lowest."""
    standard_deviation: float
    mean: float
    harmonic_mean: float
    """Of brokers with free space."""


def storage(free_bytes: Mapping[int, int]) -> Storage:
    """Figures over some brokers' free bytes."""
    values = list(free_bytes.values())
    low, high = min(values), max(values)
    positive = [value for value in values if value > 0]
    return Storage(
        lowest=low,
        highest=high,
        range=high - low,
        range_spread_percent=(high - low) / low * 100 if low > 0 else float("inf") if high > low else 0.0,
        standard_deviation=statistics.pstdev(values),
        mean=statistics.fmean(positive) if positive else 0.0,
        harmonic_mean=statistics.harmonic_mean(positive) if positive else 0.0,
    )


def difference(before: int, after: int) -> tuple[int, float]:
    """What a broker's free bytes change by, and that in percent of what they were (0 where there were none)."""
    return after - before, (after - before) / before * 100 if before > 0 else 0.0


def beyond(free_bytes: Mapping[int, int], level: float, share: float, *, above: bool) -> list[int]:
    """Brokers whose free bytes are more than `share` above (or below) a level such as the mean."""
    if above:
        return sorted(b for b, free in free_bytes.items() if free > level * (1 + share))
    return sorted(b for b, free in free_bytes.items() if free < level * (1 - share))
