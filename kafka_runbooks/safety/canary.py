"""Is the first broker of a new release as good as its peers, which run the old one?

Request times depend on the hour and on what clients do, so a limit in milliseconds says little. The canary is compared with the
median of its peers at the same moment, and with how it compared with them before: a broker that leads the largest topics has
always been slower. Worse in one look is noise; worse in several in a row isn't. A figure that isn't known is no good one.
"""

from collections.abc import Collection, Mapping
from datetime import datetime
from statistics import median
from typing import NamedTuple

from kafka_runbooks.models.traffic import Figure, TrafficReport

FIGURES: Mapping[Figure, str] = {"produce_p99_ms": "produce p99", "fetch_p99_ms": "fetch p99"}
NOTICEABLE_MS = 5.0
"""Two milliseconds instead of one are twice as many, and no reason to stop."""
LOOKS_IN_A_ROW = 3


class Comparison(NamedTuple):
    """One figure of the canary beside its peers'."""

    name: str
    canary_ms: float
    peers_ms: float
    """Their median."""
    limit_ms: float

    @property
    def is_worse(self) -> bool:
        return self.canary_ms > self.limit_ms

    def __str__(self) -> str:
        return f"{self.name} {self.canary_ms:.1f} ms, its peers {self.peers_ms:.1f} ms, limit {self.limit_ms:.1f} ms"


def usual_ratios(report: TrafficReport, canary: int, peers: Collection[int]) -> dict[str, float]:
    """Figure -> how many times its peers' median the canary's is; what isn't known is left out."""
    found = {figure: _both(report, figure, canary, peers) for figure in FIGURES}
    return {figure: both[0] / both[1] for figure, both in found.items() if both is not None}


def compare(
    report: TrafficReport, canary: int, peers: Collection[int], usual: Mapping[str, float], tolerated_slowdown: float
) -> tuple[Comparison, ...]:
    """The figures that can be compared, each with its limit.

    Args:
        report: all of them at the same moment.
        canary: its id.
        peers: those that it is compared with.
        usual: what `usual_ratios` has found before. A canary that was faster than its peers may be as slow as they are. A figure
            that is missing says nothing now either: consumers' fetches from one broker only, say. None at all: nobody looked.
        tolerated_slowdown: how many times slower than usual is still good.
    """
    found = []
    for figure, name in FIGURES.items():
        if (not usual or figure in usual) and (both := _both(report, figure, canary, peers)) is not None:
            own, other = both
            expected = other * max(1.0, usual.get(figure, 1.0))
            found.append(Comparison(name, own, other, max(expected * tolerated_slowdown, expected + NOTICEABLE_MS)))
    return tuple(found)


def _both(report: TrafficReport, figure: Figure, canary: int, peers: Collection[int]) -> tuple[float, float] | None:
    """The canary's figure and its peers' median, if both are known. 0 is none: there were no such requests."""
    own = getattr(report.by_broker.get(canary), figure, None)
    known = [value for peer in peers if (value := getattr(report.by_broker.get(peer), figure, None))]
    return (own, median(known)) if own and known else None


class Looks(NamedTuple):
    """What was seen so far."""

    good: int = 0
    worse: int = 0
    """The last ones, in a row."""
    measured_at: datetime | None = None

    def after(self, measured_at: datetime, *, is_worse: bool) -> "Looks":
        """With one more look; one at which nothing was newly measured counts for nothing."""
        if measured_at == self.measured_at:
            return self
        return Looks(self.good + (not is_worse), self.worse + 1 if is_worse else 0, measured_at)

    @property
    def is_worse(self) -> bool:
        """The canary is worse, not only in passing."""
        return self.worse >= LOOKS_IN_A_ROW

    @property
    def is_good(self) -> bool:
        """It was good often enough, and was at last."""
        return self.good >= LOOKS_IN_A_ROW and self.worse == 0
