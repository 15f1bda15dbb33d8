"""What a metrics backend finds becomes a report here, by one rule for all of them.

A throttle trusts these figures at night. So a broker's figures count together or not at all, and one that is missing, stale
or nonsense becomes a problem that names the metric: never a 0, never the last value seen.
"""

import math
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import NamedTuple

from kafka_runbooks.models.kubernetes import BrokerPod
from kafka_runbooks.models.traffic import BrokerTraffic, Figure, TrafficReport

HIGHEST: dict[Figure, float] = {
    "in_bytes_per_s": 1e11,
    "out_bytes_per_s": 1e11,
    "replication_in_bytes_per_s": 1e11,
    "replication_out_bytes_per_s": 1e11,
    "produce_p99_ms": 3_600_000,
    "fetch_p99_ms": 3_600_000,
    "produce_requests": 1e18,
    "produce_mean_ms": 3_600_000,
    "fetch_requests": 1e18,
    "fetch_mean_ms": 3_600_000,
}
"""Above these (800 Gbit/s; an hour) a figure is nonsense, say of a counter that was reset or of another unit."""

Samples = dict[tuple[int, Figure], "Sample | str"]
"""By broker and figure; a string says why there is none."""


class Sample(NamedTuple):
    """A figure as a backend gave it, not judged yet."""

    value: float
    measured_at: datetime


def report(
    broker_ids: Iterable[int],
    names: Mapping[Figure, str],
    samples: Samples,
    now: datetime,
    max_age_seconds: float,
    totals: Mapping[Figure, str] | None = None,
) -> TrafficReport:
    """Judge what was found.

    Args:
        broker_ids: the brokers asked for.
        names: what the backend calls the figures that it was asked for; the others stay None and are no problem.
        samples: what isn't in it, the backend doesn't have.
        now: by the same clock as the samples' times, where there is a choice.
        max_age_seconds: of a sample; one that is as far in the future is of a clock that can't be trusted.
        totals: what the backend calls these, where it has them; only nonsense in them is a problem.
    """
    by_broker: dict[int, BrokerTraffic] = {}
    problems: dict[int, str] = {}
    for broker_id in sorted(set(broker_ids)):
        found: dict[Figure, Sample | str] = {figure: samples.get((broker_id, figure), "missing") for figure in names}
        found |= {total: samples[broker_id, total] for total in totals or () if (broker_id, total) in samples}
        called = {**names, **(totals or {})}
        wrong = {figure: _wrong(figure, sample, now, max_age_seconds) for figure, sample in found.items()}
        said = [f"{figure} ({called[figure]}): {why}" for figure, why in wrong.items() if why is not None]
        good = {figure: sample for figure, sample in found.items() if isinstance(sample, Sample)}
        if said:
            problems[broker_id] = "; ".join(said)
        elif good:
            oldest = min(sample.measured_at for sample in good.values())
            figures = {figure: sample.value for figure, sample in good.items()}
            by_broker[broker_id] = BrokerTraffic.model_validate({"broker_id": broker_id, "measured_at": oldest, **figures})
    return TrafficReport(by_broker=by_broker, problems=problems)


def ids(pods: Iterable[BrokerPod]) -> list[int]:
    """The brokers of these pods; a pod that has no id yet is no broker."""
    return sorted({pod.broker_id for pod in pods if pod.broker_id is not None})


def broker_id_in(text: str | None) -> int | None:
    """The broker id that a label's or tag's value says, or None ("N/A", an empty tag, another process)."""
    return int(text) if text is not None and text.isascii() and text.isdigit() else None


def at(unix_seconds: float) -> datetime | None:
    """A moment, or None of a number that is none."""
    try:
        return datetime.fromtimestamp(unix_seconds, UTC)
    except (ValueError, OverflowError, OSError):
        return None


def _wrong(figure: Figure, sample: Sample | str, now: datetime, max_age_seconds: float) -> str | None:
    if isinstance(sample, str):
        return sample
    age_seconds = (now - sample.measured_at).total_seconds()
    if age_seconds > max_age_seconds:
        return f"stale, {age_seconds:.0f} s old, at most {max_age_seconds:g} s"
    if age_seconds < -max_age_seconds:
        return f"measured {-age_seconds:.0f} s in the future: clocks differ"
    if not math.isfinite(sample.value):
        return f"is {sample.value}"
    if sample.value < 0:
        return f"is negative, {sample.value:g}"
    if sample.value > HIGHEST[figure]:
        return f"is absurd, {sample.value:g}"
    if figure in ("produce_requests", "fetch_requests") and not sample.value.is_integer():
        return f"is no number of requests, {sample.value:g}"
    return None
