"""Do clients feel it? Each broker's request times against their limits, and what follows for the rates.

Two measures, because each is blind where the other sees:

- **The mean of the window** between two looks (`measuring.window`) is prompt in both directions: it is over its limit in the
  look after requests became slow, and under it in the look after they no longer are. It doesn't see a thin tail.
- **The 99th percentile** sees the tail, but forgets in minutes (a decaying reservoir). So it cuts when it is first over its
  limit; after that it cuts again only where it has risen since, or has stayed over the limit for longer than it could
  remember; in between it only forbids to rise. While the window was slow lately and isn't any more, a high percentile is
  the echo of that, and is passed over.

Requests that hang count nowhere until they end. Where produce requests came a moment ago and now none completes, that is no
good news: the rate doesn't rise. A request that hangs ends at the latest with its timeout, and then shows as slow.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from enum import IntEnum
from typing import NamedTuple

from kafka_runbooks.models.throttles import AdaptiveThrottle, Slowness
from kafka_runbooks.models.traffic import BrokerTraffic
from kafka_runbooks.throttle.measurements import RequestTimes, RequestWindow, trouble

ECHO = timedelta(minutes=5)
"""The reservoir's weights fall by e^(-0.015 per second): half of all values slow are under one percent after 261 s."""
RISEN = 1.1
"""A percentile this much higher than when it last cut is worse, not an echo."""
SILENCE = timedelta(seconds=40)
"""Longer than clients' `request.timeout.ms` (30 s): whoever produces nothing for so long is idle, not stuck."""
MEAN_SHARE_OF_P99_LIMIT = 0.2


class News(IntEnum):
    """What request times say of a broker; the higher, the worse."""

    GOOD = 0
    UNSURE = 1
    """Don't rise."""
    UNKNOWN = 2
    SLOW = 3
    """Halve."""


class Finding(NamedTuple):
    news: News
    why: str = ""


def mean_limit_ms(throttle: AdaptiveThrottle) -> float:
    given = throttle.produce_mean_limit_ms
    return MEAN_SHARE_OF_P99_LIMIT * throttle.produce_p99_limit_ms if given is None else given


def judge(
    throttle: AdaptiveThrottle, traffic: BrokerTraffic | None, times: RequestTimes, before: Slowness, at: datetime
) -> tuple[Finding, Slowness]:
    """One broker's request times at one look, and what must be remembered of them."""
    wrong = trouble(traffic, at)
    if wrong is not None or traffic is None:
        return Finding(News.UNKNOWN, wrong or "no metrics"), before
    if before.measured_at == traffic.measured_at:
        return Finding(News.UNSURE, "nothing was measured since the last look"), before
    was_slow_at = before.window_slow_at
    memory = before.model_copy(update={"measured_at": traffic.measured_at})
    found, memory = _window("produce", times.produce, mean_limit_ms(throttle), memory, at)
    findings = [found]
    measured = [("produce", traffic.produce_p99_ms, throttle.produce_p99_limit_ms, times.produce)]
    if throttle.fetch_p99_limit_ms is not None:
        # Consumers' fetches wait for data by design, so that only a mean beyond the percentile's own limit says something.
        found, memory = _window("fetch", times.fetch, throttle.fetch_p99_limit_ms, memory, at)
        findings.append(found)
        measured.append(("fetch", traffic.fetch_p99_ms, throttle.fetch_p99_limit_ms, times.fetch))
    is_echo = was_slow_at is not None and at - was_slow_at < ECHO
    tails = [(name, p99_ms, limit_ms) for name, p99_ms, limit_ms, seen in measured if not (is_echo and seen is not None)]
    found, memory = _tails(tails, memory, at)
    findings.append(found)
    missing = [name for name, p99_ms, *_ in measured if p99_ms is None]
    if missing:
        findings.append(Finding(News.UNKNOWN, f"its {missing[0]} p99 is not known"))
    return max(findings, key=lambda finding: finding.news), memory


def _window(name: str, seen: RequestWindow | None, limit_ms: float, memory: Slowness, at: datetime) -> tuple[Finding, Slowness]:
    if seen is None:
        return Finding(News.GOOD), memory
    is_produce = name == "produce"
    if seen.mean_ms is None:
        if is_produce and memory.produced_at is not None and at - memory.produced_at < SILENCE:
            since = (at - memory.produced_at).total_seconds()
            return Finding(News.UNSURE, f"no produce request has completed for {since:.0f} s"), memory
        return Finding(News.GOOD), memory
    if is_produce:
        memory = memory.model_copy(update={"produced_at": at})
    if seen.mean_ms <= limit_ms:
        return Finding(News.GOOD), memory
    why = f"{name} took {seen.mean_ms:.0f} ms on average since the last look, limit {limit_ms:.0f} ms"
    return Finding(News.SLOW, why), memory.model_copy(update={"window_slow_at": at})


def _tails(tails: Sequence[tuple[str, float | None, float]], memory: Slowness, at: datetime) -> tuple[Finding, Slowness]:
    over = [
        (p99_ms / limit_ms, name, p99_ms, limit_ms)
        for name, p99_ms, limit_ms in tails
        if p99_ms is not None and p99_ms > limit_ms
    ]
    if not over:
        return Finding(News.GOOD), memory.model_copy(update={"p99_cut_at": None, "p99_cut_ratio": 0.0})
    ratio, name, p99_ms, limit_ms = max(over)
    why = f"{name} p99 {p99_ms:.0f} ms, limit {limit_ms:.0f} ms"
    is_old = memory.p99_cut_at is None or at - memory.p99_cut_at >= ECHO
    if is_old or ratio > RISEN * memory.p99_cut_ratio:
        return Finding(News.SLOW, why), memory.model_copy(update={"p99_cut_at": at, "p99_cut_ratio": ratio})
    return Finding(News.UNSURE, f"{why}, not worse since the rate was halved for it"), memory


def slow_for_destinations(
    findings: Mapping[int, Finding], waits_for: Mapping[int, frozenset[int]]
) -> dict[int, tuple[int, Finding]]:
    """Destination -> a slow leader that waits for it (acks=all waits for every replica in sync), with what was found.

    Args:
        findings: by broker, participants or not.
        waits_for: leader -> the destinations that are in sync for a partition that it leads.
    """
    found: dict[int, tuple[int, Finding]] = {}
    for leader, destinations in sorted(waits_for.items()):
        finding = findings.get(leader)
        if finding is not None and finding.news is News.SLOW:
            for destination in destinations:
                found.setdefault(destination, (leader, finding))
    return found
