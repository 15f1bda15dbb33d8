"""Progress of a copy: bytes arrived, their rate, the time left, and how far off the first estimate was."""

from collections import deque
from collections.abc import Collection, Iterable, Mapping, Sequence

from kafka_runbooks.models.cluster import Partition, Reassignment, Replica, ReplicaSizes, TopicPartition
from kafka_runbooks.models.moves import Copy, Move, MovePlan

WINDOW_SECONDS = 30.0
"""The rate is taken over this long: replication comes in bursts of the quota's windows."""


class Pace:
    """Bytes that arrived over time, as a rate and as the time that remains."""

    def __init__(self) -> None:
        self._samples: deque[tuple[float, int]] = deque()
        self._last_change: float | None = None

    def observe(self, at_seconds: float, done_bytes: int) -> None:
        """Note that `done_bytes` have arrived at this time of a monotonic clock. Fewer than before starts over."""
        if self._samples and done_bytes < self._samples[-1][1]:
            self._samples.clear()
        if not self._samples or done_bytes != self._samples[-1][1]:
            self._last_change = at_seconds
        self._samples.append((at_seconds, done_bytes))
        while len(self._samples) > 2 and at_seconds - self._samples[0][0] > WINDOW_SECONDS:
            self._samples.popleft()

    @property
    def bytes_per_s(self) -> float:
        """Over the last `WINDOW_SECONDS`; 0.0 before the second observation."""
        if len(self._samples) < 2:
            return 0.0
        (began, first), (now, last) = self._samples[0], self._samples[-1]
        return (last - first) / (now - began) if now > began else 0.0

    def seconds_left(self, left_bytes: int) -> float | None:
        """None where nothing arrives."""
        if left_bytes <= 0:
            return 0.0
        return left_bytes / self.bytes_per_s if self.bytes_per_s > 0 else None

    def still_for_seconds(self, at_seconds: float) -> float:
        """How long nothing has arrived."""
        return 0.0 if self._last_change is None else at_seconds - self._last_change


class EtaError:
    """How far off the first estimate of the duration was; a reader trusts the current one accordingly."""

    def __init__(self) -> None:
        self._first: tuple[float, float] | None = None

    def observe(self, at_seconds: float, eta_seconds: float | None) -> str:
        """`; first estimate 120 s, now 150 s in all (+25%)`; empty until there is an estimate to compare with."""
        if eta_seconds is None:
            return ""
        if self._first is None:
            if eta_seconds > 0:
                self._first = (at_seconds, eta_seconds)
            return ""
        began, first = self._first
        total = at_seconds - began + eta_seconds
        return f"; first estimate {first:.0f} s, now {total:.0f} s in all ({(total - first) / first:+.0%})"


def copies(moves: Sequence[Move], partitions: Mapping[TopicPartition, Partition]) -> list[Copy]:
    """What these moves still copy: destinations that are in sync are left out, and so are moves without any other."""
    found = []
    for move in moves:
        partition = partitions[move.name]
        lagging = tuple(broker for broker in move.arriving if broker not in partition.in_sync)
        if lagging:
            found.append(Copy(partition, lagging))
    return found


def source_bytes(move: Move, partition: Partition | None, sizes: ReplicaSizes) -> int:
    """A partition's size now, by its leader's disk: producers and retention change it. As planned where that isn't known."""
    if partition is None or partition.leader is None:
        return move.size_bytes
    return sizes.size_bytes.get(Replica(move.topic, move.partition, partition.leader), move.size_bytes)


def copied(move: Move, partition: Partition | None, sizes: ReplicaSizes) -> tuple[int, int]:
    """Bytes of a move that are on its destinations, and those that are left to copy, as its source is now.

    A destination that is in sync has everything. Another one has what its disk says, even where that is as much as was planned.
    """
    there, left, whole = 0, 0, source_bytes(move, partition, sizes)
    for broker in move.arriving:
        if partition is not None and broker in partition.in_sync:
            there += whole
        elif partition is not None and broker in partition.replicas:
            on_disk = sizes.size_bytes.get(Replica(move.topic, move.partition, broker), 0)
            there += on_disk
            left += max(0, whole - on_disk)
        else:
            left += whole
    return there, left


class CopyProgress:
    """What of a plan has been copied, and what is left, from what is on the disks at each observation.

    A move that arrived counts with its size when it was last seen in flight: what is produced later is not copied by the run. One
    that had arrived before the first observation counts as planned, for nothing else is known of it; in a rollback, where it may
    never have moved, it counts for nothing.
    """

    def __init__(self, plan: MovePlan, *, is_rollback: bool) -> None:
        self._plan = plan
        self._is_rollback = is_rollback
        self._there: dict[TopicPartition, int] = {}
        self._whole: dict[TopicPartition, int] = {}
        """Of those seen in flight: everything that they copy."""
        self.left_bytes = plan.total_bytes

    @property
    def done_bytes(self) -> int:
        return sum(self._there.values())

    def observe(
        self,
        partitions: Mapping[TopicPartition, Partition],
        arrived: Collection[TopicPartition],
        in_flight: Collection[TopicPartition],
        gone: Collection[TopicPartition],
        sizes: ReplicaSizes,
    ) -> None:
        """Count again."""
        self.left_bytes = 0
        for move in self._plan.moves:
            if move.name in gone:
                continue  # What was copied of it was copied.
            if move.name in arrived:
                unseen = self._there.get(move.name, 0 if self._is_rollback else move.copied_bytes)
                self._there[move.name] = self._whole.pop(move.name, unseen)
                continue
            there, left = copied(move, partitions.get(move.name), sizes)
            self.left_bytes += left
            if move.name in in_flight:
                self._there[move.name], self._whole[move.name] = there, there + left


def headroom(
    plan: MovePlan,
    reassignments: Mapping[TopicPartition, Reassignment],
    partitions: Mapping[TopicPartition, Partition],
    sizes: ReplicaSizes,
) -> dict[int, int]:
    """Free bytes on the destinations that report them, less what the plan leaves free, and what hasn't arrived yet."""
    spare = 1.0 - plan.max_utilisation
    free = {broker: usable - int(sizes.total_bytes.get(broker, 0) * spare) for broker, usable in sizes.usable_bytes.items()}
    for move in plan.moves:
        if move.name in reassignments:
            partition = partitions.get(move.name)
            for broker in move.arriving:
                if broker in free and (partition is None or broker not in partition.in_sync):
                    there = sizes.size_bytes.get(Replica(move.topic, move.partition, broker), 0)
                    free[broker] -= max(0, source_bytes(move, partition, sizes) - there)
    return free


def copy_seconds(size_bytes: int, rates_bytes_per_s: Iterable[int]) -> float:
    """The least time for a copy to which each source sends at most its rate."""
    return size_bytes / max(1, sum(rates_bytes_per_s)) if size_bytes else 0.0
