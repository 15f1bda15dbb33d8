"""Whether replication slows clients down: each broker's request times against their limits, and what follows for the rates.

Two measures, because each covers what the other misses:

- **The mean of the window** between two observations (`measurements.window`) reacts at once in both directions: it exceeds its
  limit in the first observation after requests became slow, and is below it in the first one after they recovered. It misses a
  thin tail.
- **The 99th percentile** covers the tail, but takes minutes to forget (a decaying reservoir). So it halves the rate when it first
  exceeds its limit, and again only if it has risen since, or has stayed above the limit for longer than the reservoir remembers;
  in between it only prevents the rate from rising. If the window was slow recently and has recovered, a high percentile is an
  echo of that, and is ignored.

Requests that hang aren't counted until they end. If produce requests completed a moment ago and none does now, the rate doesn't
rise. A request that hangs ends with its timeout at the latest, and then counts as slow.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from enum import IntEnum
from typing import NamedTuple

from kafka_runbooks.models.throttles import AdaptiveThrottle, Slowness
from kafka_runbooks.models.traffic import BrokerTraffic
from kafka_runbooks.throttle.measurements import RequestTimes, RequestWindow, trouble

ECHO = timedelta(minutes=5)
"""The reservoir's weights decay by e^(-0.015 per second): if half of the values were slow, they weigh under 1 % after 261 s."""
RISEN = 1.1
"""A percentile higher by this factor than when it last halved the rate is a new problem, not an echo."""
SILENCE = timedelta(seconds=40)
"""Longer than clients' `request.timeout.ms` (30 s): without produce requests for this long, clients are idle, not stuck."""
MEAN_SHARE_OF_P99_LIMIT = 0.2


class Latency(IntEnum):
    """A broker's request times against their limits; the higher, the worse."""

    GOOD = 0
    UNSURE = 1
    """The rate must not rise."""
    UNKNOWN = 2
    SLOW = 3
    """The rate is halved."""


class Finding(NamedTuple):
    latency: Latency
    why: str = ""


def mean_limit_ms(throttle: AdaptiveThrottle) -> float:
    given = throttle.produce_mean_limit_ms
    return MEAN_SHARE_OF_P99_LIMIT * throttle.produce_p99_limit_ms if given is None else given


def judge(
    throttle: AdaptiveThrottle, traffic: BrokerTraffic | None, times: RequestTimes, before: Slowness, at: datetime
) -> tuple[Finding, Slowness]:
    """Judge one broker's request times in one observation; returns also the state to keep for the next."""
    problem = trouble(traffic, at)
    if problem is not None or traffic is None:
        return Finding(Latency.UNKNOWN, problem or "no metrics"), before
    if before.measured_at == traffic.measured_at:
        return Finding(Latency.UNSURE, "nothing was measured since the last observation"), before
    was_slow_at = before.window_slow_at
    memory = before.model_copy(update={"measured_at": traffic.measured_at})
    found, memory = _window("produce", times.produce, mean_limit_ms(throttle), memory, at)
    findings = [found]
    measured = [("produce", traffic.produce_p99_ms, throttle.produce_p99_limit_ms, times.produce)]
    if throttle.fetch_p99_limit_ms is not None:
        # Consumers' fetches wait for data by design, so only a mean beyond the percentile's own limit is significant.
        found, memory = _window("fetch", times.fetch, throttle.fetch_p99_limit_ms, memory, at)
        findings.append(found)
        measured.append(("fetch", traffic.fetch_p99_ms, throttle.fetch_p99_limit_ms, times.fetch))
    is_echo = was_slow_at is not None and at - was_slow_at < ECHO
    tails = [(name, p99_ms, limit_ms) for name, p99_ms, limit_ms, window in measured if not (is_echo and window is not None)]
    found, memory = _tails(tails, memory, at)
    findings.append(found)
    missing = [name for name, p99_ms, *_ in measured if p99_ms is None]
    if missing:
        findings.append(Finding(Latency.UNKNOWN, f"its {missing[0]} p99 is not known"))
    return max(findings, key=lambda finding: finding.latency), memory


def _window(name: str, window: RequestWindow | None, limit_ms: float, memory: Slowness, at: datetime) -> tuple[Finding, Slowness]:
    if window is None:
        return Finding(Latency.GOOD), memory
    is_produce = name == "produce"
    if window.mean_ms is None:
        if is_produce and memory.produced_at is not None and at - memory.produced_at < SILENCE:
            since = (at - memory.produced_at).total_seconds()
            return Finding(Latency.UNSURE, f"no produce request has completed for {since:.0f} s"), memory
        return Finding(Latency.GOOD), memory
    if is_produce:
        memory = memory.model_copy(update={"produced_at": at})
    if window.mean_ms <= limit_ms:
        return Finding(Latency.GOOD), memory
    why = f"{name} took {window.mean_ms:.0f} ms on average since the last observation, limit {limit_ms:.0f} ms"
    return Finding(Latency.SLOW, why), memory.model_copy(update={"window_slow_at": at})


def _tails(tails: Sequence[tuple[str, float | None, float]], memory: Slowness, at: datetime) -> tuple[Finding, Slowness]:
    over = [
        (p99_ms / limit_ms, name, p99_ms, limit_ms)
        for name, p99_ms, limit_ms in tails
        if p99_ms is not None and p99_ms > limit_ms
    ]
    if not over:
        return Finding(Latency.GOOD), memory.model_copy(update={"p99_cut_at": None, "p99_cut_ratio": 0.0})
    ratio, name, p99_ms, limit_ms = max(over)
    why = f"{name} p99 {p99_ms:.0f} ms, limit {limit_ms:.0f} ms"
    is_old = memory.p99_cut_at is None or at - memory.p99_cut_at >= ECHO
    if is_old or ratio > RISEN * memory.p99_cut_ratio:
        return Finding(Latency.SLOW, why), memory.model_copy(update={"p99_cut_at": at, "p99_cut_ratio": ratio})
    return Finding(Latency.UNSURE, f"{why}, not worse than when the rate was halved for it"), memory


def slow_for_destinations(
    findings: Mapping[int, Finding], waits_for: Mapping[int, frozenset[int]]
) -> dict[int, tuple[int, Finding]]:
    """Destination -> a slow leader that waits for it (acks=all waits for every in-sync replica), with its finding.

    Args:
        findings: by broker, participants or not.
        waits_for: leader -> the destinations in sync for a partition that it leads.
    """
    found: dict[int, tuple[int, Finding]] = {}
    for leader, destinations in sorted(waits_for.items()):
        finding = findings.get(leader)
        if finding is not None and finding.latency is Latency.SLOW:
            for destination in destinations:
                found.setdefault(destination, (leader, finding))
    return found
