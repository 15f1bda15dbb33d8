"""Progress of a copy: bytes arrived, their rate, the time left, and how far off the first estimate was."""

from collections import deque
from collections.abc import Iterable, Mapping, Sequence

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


def arrived_bytes(move: Move, reassignments: Mapping[TopicPartition, Reassignment], sizes: ReplicaSizes) -> int:
    """Bytes of a move that are on its destinations; 0 where it isn't in flight."""
    if move.name not in reassignments:
        return 0
    return sum(
        min(move.size_bytes, sizes.size_bytes.get(Replica(move.topic, move.partition, broker), 0)) for broker in move.arriving
    )


def headroom(plan: MovePlan, reassignments: Mapping[TopicPartition, Reassignment], sizes: ReplicaSizes) -> dict[int, int]:
    """Free bytes on the destinations that report them, less what is in flight to them and hasn't arrived."""
    free = dict(sizes.usable_bytes)
    for move in plan.moves:
        if move.name in reassignments:
            for broker in move.arriving:
                if broker in free:
                    arrived = sizes.size_bytes.get(Replica(move.topic, move.partition, broker), 0)
                    free[broker] -= max(0, move.size_bytes - arrived)
    return free


def copy_seconds(sizes_bytes: Iterable[int], sources: int, rate_bytes_per_s: int) -> float:
    """The least time for a copy when `sources` brokers each send at most `rate_bytes_per_s`."""
    total = sum(sizes_bytes)
    return total / (max(1, sources) * rate_bytes_per_s) if total else 0.0
