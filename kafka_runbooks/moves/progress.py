"""How far, how fast, how long still: progress figures of a copy, from what is seen on the disks."""

from collections import deque
from collections.abc import Iterable

WINDOW_SECONDS = 30.0
"""The rate is taken over this long: replication comes in bursts of the quota's windows."""


class Pace:
    """Bytes seen over time, as a rate and a time that remains."""

    def __init__(self) -> None:
        self._seen: deque[tuple[float, int]] = deque()
        self._last_change: float | None = None

    def look(self, at_seconds: float, done_bytes: int) -> None:
        """Note that `done_bytes` were there at this time of a monotonic clock. Fewer than before starts anew."""
        if self._seen and done_bytes < self._seen[-1][1]:
            self._seen.clear()
        if not self._seen or done_bytes != self._seen[-1][1]:
            self._last_change = at_seconds
        self._seen.append((at_seconds, done_bytes))
        while len(self._seen) > 2 and at_seconds - self._seen[0][0] > WINDOW_SECONDS:
            self._seen.popleft()

    @property
    def bytes_per_s(self) -> float:
        """Over the last `WINDOW_SECONDS`; 0.0 before the second look."""
        if len(self._seen) < 2:
            return 0.0
        (began, first), (now, last) = self._seen[0], self._seen[-1]
        return (last - first) / (now - began) if now > began else 0.0

    def seconds_left(self, left_bytes: int) -> float | None:
        """None where nothing moves."""
        if left_bytes <= 0:
            return 0.0
        return left_bytes / self.bytes_per_s if self.bytes_per_s > 0 else None

    def still_for_seconds(self, at_seconds: float) -> float:
        """How long the figure hasn't changed."""
        return 0.0 if self._last_change is None else at_seconds - self._last_change


def copy_seconds(sizes_bytes: Iterable[int], sources: int, rate_bytes_per_s: int) -> float:
    """The least time for a copy when `sources` brokers each send at most `rate_bytes_per_s`."""
    total = sum(sizes_bytes)
    return total / (max(1, sources) * rate_bytes_per_s) if total else 0.0
