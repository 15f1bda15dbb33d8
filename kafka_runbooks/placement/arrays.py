"""An observed cluster as arrays, so that millions of replicas are planned in seconds.

Brokers and racks are indices here, never ids: row `b` of every broker array is broker `broker_ids[b]`. A partition's replicas
are one row of a padded matrix, in preference order (the first is the preferred leader). Bytes are integers throughout: sums of
floats depend on the order and the machine, and two machines must plan the same map.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]
Indices = npt.NDArray[np.int32]
Flags = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float64]

NONE = -1
"""Padding in a replica row: no replica in this slot."""
OFFLINE = -2
"""A replica whose broker id is unknown (Kafka's -1): it counts towards the replication factor, but cannot be kept."""

UNLIMITED = np.iinfo(np.int64).max

OWN_RACK = "(broker {})"
"""Name of the rack that a broker without one gets."""


@dataclass(frozen=True)
class Cluster:
    """The observed cluster. Arrays are indexed by broker (B), partition (P) or both (P x W, W = the longest replica list).

    `unexplained_bytes` is used space that no listed replica accounts for (other topics, the system); it never moves.
    A broker without a rack is a rack of its own, as kafka-kit's empty rack never collides. A broker that appears only in replica
    lists is included, with `is_live` False.
    """

    broker_ids: Ints
    racks: Indices
    rack_names: tuple[str, ...]
    capacity_bytes: Ints
    unexplained_bytes: Ints
    is_live: Flags
    topics: tuple[str, ...]
    topic: Indices
    partition: Ints
    replicas: Indices
    size_bytes: Ints
    in_sync: Flags
    """P x W: whether the replica in this slot is in sync and its broker live."""
    bytes_in: Ints | None = None
    """P, per second: produced into the partition, written once by every replica."""
    bytes_out: Ints | None = None
    """P, per second: consumed from the partition's leader."""
    leader: Indices | None = None
    """P: who leads now; NONE: nobody. Where it isn't known, the first in-sync live replica is taken to lead."""
    takes: Flags | None = None
    """B: whether a broker may get replicas that it hasn't; None: every live one. With a failed log directory it may not."""
    volumes: Mapping[int, tuple[tuple[int, int], ...]] = field(default_factory=dict)
    """(capacity, free bytes) of each volume of the brokers (by index) whose log directories are on several."""
    max_utilisation: float = 1.0
    """How full a plan may make a disk, as a share of its capacity."""
    remarks: tuple[str, ...] = ()
    """What an operator should know about the brokers' log directories."""
    adding: Flags | None = None
    """P x W: replicas being added by a reassignment in progress (KIP-455)."""
    removing: Flags | None = None

    @property
    def broker_count(self) -> int:
        return len(self.broker_ids)

    @property
    def partition_count(self) -> int:
        return len(self.size_bytes)

    @cached_property
    def leads(self) -> Indices:
        """P: who leads each partition now; NONE: nobody."""
        return would_lead(self.replicas, self.in_sync) if self.leader is None else self.leader

    @cached_property
    def limit_bytes(self) -> Ints:
        """B: the most that a broker may hold after it has got a replica, as many as fit where its capacity isn't known."""
        most = [usable(capacity, self.max_utilisation) for capacity in self.capacity_bytes.tolist()]
        return np.where(self.capacity_bytes > 0, np.array(most, dtype=np.int64), UNLIMITED)

    @cached_property
    def largest_bytes(self) -> Ints | None:
        """B: the largest replica that fits into one of its log directories; None: whatever its free space allows."""
        if not self.volumes:
            return None
        largest = np.full(self.broker_count, UNLIMITED, dtype=np.int64)
        for broker, volumes in self.volumes.items():
            left = [free - (capacity - usable(capacity, self.max_utilisation)) for capacity, free in volumes]
            largest[broker] = max(0, *left)
        return largest

    @property
    def keeps_only(self) -> Flags:
        """B: live brokers that keep what they have and get nothing new."""
        return np.asarray(self.is_live & ~(self.is_live if self.takes is None else self.takes))

    @property
    def in_flight(self) -> Flags:
        """P: which partitions are being reassigned."""
        flags: Flags = np.zeros(self.partition_count, dtype=np.bool_)
        for mask in (self.adding, self.removing):
            if mask is not None:
                flags |= mask.any(axis=1)
        return flags

    def on_target(self) -> "Cluster":
        """The cluster as it will be once reassignments in progress complete: removing replicas are gone (KIP-455)."""
        if self.removing is None:
            return replace(self, adding=None)
        kept = np.where(self.removing, NONE, self.replicas)
        order = np.argsort(kept == NONE, axis=1, kind="stable")
        return replace(
            self,
            replicas=np.take_along_axis(kept, order, axis=1),
            in_sync=np.take_along_axis(self.in_sync & ~self.removing, order, axis=1),
            adding=None,
            removing=None,
        )

    def name(self, row: int) -> tuple[str, int]:
        """(topic, partition number) of a row."""
        return self.topics[self.topic[row]], int(self.partition[row])

    def rack_name(self, broker: int) -> str | None:
        """The rack of a broker (by index); None where it has none."""
        name = self.rack_names[self.racks[broker]]
        return None if name == OWN_RACK.format(int(self.broker_ids[broker])) else name

    def ids(self, row: "npt.NDArray[np.int32] | Sequence[int]") -> list[int]:
        """Broker ids of one replica row without padding; -1 for an offline replica."""
        return [int(self.broker_ids[b]) if b >= 0 else -1 for b in row if b != NONE]


def usable(capacity_bytes: int, max_utilisation: float) -> int:
    """What of a disk may be used."""
    return capacity_bytes if max_utilisation == 1.0 else int(capacity_bytes * max_utilisation)


def sum_by(index: npt.NDArray[Any], values: npt.NDArray[Any], length: int) -> Ints:
    """Exact integer sums of `values` by `index` (np.bincount would go through floats)."""
    out = np.zeros(length, dtype=np.int64)
    np.add.at(out, index, values)
    return out


def loads(replicas: Indices, weight: Ints, length: int) -> Ints:
    """Per broker: sum of the weights of the partitions it holds."""
    mask = replicas >= 0
    return sum_by(replicas[mask], np.broadcast_to(weight[:, None], replicas.shape)[mask], length)


def distinct_racks(replicas: Indices, racks: Indices) -> Ints:
    """P: number of distinct racks in each replica row, not counting padding and offline replicas."""
    width = replicas.shape[1]
    rack = np.where(replicas >= 0, racks[np.maximum(replicas, 0)], -1)
    count = np.zeros(len(replicas), dtype=np.int64)
    for slot in range(width):
        fresh = rack[:, slot] >= 0
        for earlier in range(slot):
            fresh &= rack[:, slot] != rack[:, earlier]
        count += fresh
    return count


def holds(replicas: Indices, brokers: npt.NDArray[Any] | int) -> Flags:
    """P: whether each row holds its broker (`brokers` is one per row, or one for all)."""
    wanted = np.asarray(brokers)
    flags: Flags = (replicas == (wanted[:, None] if wanted.ndim else wanted)).any(axis=1)
    return flags


def holds_any(replicas: Indices, brokers: Flags) -> Flags:
    """P: whether each row holds one of the flagged brokers (B)."""
    held: Flags = (replicas >= 0) & brokers[np.maximum(replicas, 0)]
    return np.asarray(held.any(axis=1))


def added(before: Indices, after: Indices) -> Flags:
    """P x W: slots of `after` whose broker did not hold the partition before, so that its bytes must be copied."""
    fresh: Flags = after >= 0
    for slot in range(before.shape[1]):
        fresh &= after != before[:, slot, None]
    return fresh


def moved_bytes(before: Indices, after: Indices, size_bytes: Ints) -> int:
    """Bytes that must be copied to get from `before` to `after`."""
    return int((added(before, after).sum(axis=1) * size_bytes).sum())


def leader_counts(replicas: Indices, brokers: int) -> Ints:
    """B: partitions whose preferred leader each broker is."""
    first = replicas[:, 0]
    led: Ints = np.bincount(first[first >= 0], minlength=brokers).astype(np.int64)
    return led


def would_lead(replicas: Indices, in_sync: Flags) -> Indices:
    """P: the broker that Kafka elects, the first in-sync live replica of each row; NONE where there is none."""
    first = in_sync.argmax(axis=1)
    found: Indices = np.where(in_sync.any(axis=1), replicas[np.arange(len(replicas)), first], NONE).astype(np.int32)
    return found


def with_leaders(replicas: Indices, rows: Ints, leader: Indices) -> Indices:
    """The replica lists with each row's leader (one per row of `rows`) first; the others keep their order."""
    reordered = replicas.copy()
    picked = replicas[rows]
    order = np.argsort(picked != leader[:, None], axis=1, kind="stable")
    reordered[rows] = np.take_along_axis(picked, order, axis=1)
    return reordered


def widen(replicas: Indices, width: int) -> Indices:
    """The replica lists padded to `width`."""
    if replicas.shape[1] == width:
        return replicas
    wide: Indices = np.full((len(replicas), width), NONE, dtype=np.int32)
    wide[:, : replicas.shape[1]] = replicas
    return wide
