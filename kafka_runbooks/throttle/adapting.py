"""How fast recovery may go right now: up in small steps while producers don't feel it, halved as soon as they do.

Additive increase and multiplicative decrease, as TCP and Cruise Control's concurrency adjuster do it, but on the rate
itself. Unknown is not good news: where a live source's produce latency can't be read, the rate goes no higher, and after a
while back to the floor. It is never cleared.
"""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from kafka_runbooks.models.runbooks import AdaptiveThrottle, FixedThrottle

STEPS_FROM_FLOOR_TO_CEILING = 12
"""So many good looks in a row lead from the floor to the ceiling."""

LOOKS_WITHOUT_METRICS = 3
"""After so many looks in a row without the sources' metrics, the rate is the floor."""

HEADROOM = 0.8
"""Share of a node's capacity that recovery may take at most: produce and consume traffic need the rest."""

DEFAULT_CEILING_BYTES_PER_S = 100_000_000


class Adaptation(NamedTuple):
    """A rate in bytes per second, why it is so, and how many looks in a row lacked metrics."""

    rate_bytes_per_s: int
    why: str
    blind_looks: int = 0


def ceiling(throttle: AdaptiveThrottle, capacities_bytes_per_s: Iterable[int]) -> int:
    """The highest rate: what the operator gave, else `HEADROOM` of the weakest source's capacity; never below the floor."""
    if throttle.ceiling_bytes_per_s is not None:
        return throttle.ceiling_bytes_per_s
    capacities = list(capacities_bytes_per_s)
    highest = int(HEADROOM * min(capacities)) if capacities else DEFAULT_CEILING_BYTES_PER_S
    return max(throttle.floor_bytes_per_s, highest)


def first_rate(throttle: AdaptiveThrottle | FixedThrottle) -> int:
    """The rate to begin with, before anything was measured."""
    return throttle.rate_bytes_per_s if isinstance(throttle, FixedThrottle) else throttle.floor_bytes_per_s


def adapt(
    throttle: AdaptiveThrottle | FixedThrottle,
    now: Adaptation,
    highest_bytes_per_s: int,
    produce_p99_ms: Mapping[int, float],
    sources: Iterable[int],
) -> Adaptation:
    """The next rate, one look later.

    Args:
        throttle: what the operator asked for.
        now: the rate in force.
        highest_bytes_per_s: from `ceiling`.
        produce_p99_ms: by broker, as far as they answered.
        sources: brokers that send; each must answer for the rate to go up.
    """
    if isinstance(throttle, FixedThrottle):
        return Adaptation(throttle.rate_bytes_per_s, "fixed by the operator")
    floor = throttle.floor_bytes_per_s
    rate = min(max(now.rate_bytes_per_s, floor), highest_bytes_per_s)
    slow = sorted(broker for broker, p99 in produce_p99_ms.items() if not p99 <= throttle.produce_p99_limit_ms)
    if slow:
        worst = max(slow, key=lambda broker: produce_p99_ms[broker])
        why = f"broker {worst}: produce p99 {produce_p99_ms[worst]:.0f} ms, limit {throttle.produce_p99_limit_ms:.0f} ms"
        return Adaptation(max(floor, rate // 2), why)
    unanswered = [broker for broker in sources if broker not in produce_p99_ms]
    if unanswered:
        blind = now.blind_looks + 1
        why = f"no metrics from {', '.join(map(str, unanswered))}"
        return Adaptation(floor if blind >= LOOKS_WITHOUT_METRICS else rate, why, blind)
    step = max(1, (highest_bytes_per_s - floor) // STEPS_FROM_FLOOR_TO_CEILING)
    return Adaptation(min(highest_bytes_per_s, rate + step), "produce latency holds")
