"""The rule by which every backend turns what it found into a report.

Throttles trust these figures unattended. So a broker's figures count together or not at all, and one that is missing, stale or
implausible becomes a problem that names the metric: never a 0, never the last known value.
"""

import math
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import NamedTuple

from kafka_runbooks.models.kubernetes import BrokerPod
from kafka_runbooks.models.recovery import RecoveryReport
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
"""A figure above these (800 Gbit/s; an hour) is implausible: a counter was reset, or the unit is another one."""

Samples = dict[tuple[int, Figure], "Sample | str"]
"""By broker and figure; a string is the reason why there is no value."""


class Sample(NamedTuple):
    """A figure as the backend returned it, not yet checked."""

    value: float
    measured_at: datetime


def report(
    broker_ids: Iterable[int],
    names: Mapping[Figure, str],
    samples: Samples,
    now: datetime,
    max_age_seconds: float,
    optional: Mapping[Figure, str] | None = None,
) -> TrafficReport:
    """Check samples and report each broker's figures, or what is wrong with them.

    Args:
        broker_ids: the brokers to report on.
        names: the required figures, with the backend's name of each. Figures that aren't required stay None.
        samples: what the backend returned; a required figure that isn't in it is missing.
        now: by the clock that stamped the samples, where there is a choice.
        max_age_seconds: the oldest sample that counts. One as far in the future means that clocks differ.
        optional: figures that may be missing but not wrong, with the backend's name of each.
    """
    by_broker: dict[int, BrokerTraffic] = {}
    problems: dict[int, str] = {}
    all_names = {**names, **(optional or {})}
    for broker_id in sorted(set(broker_ids)):
        found: dict[Figure, Sample | str] = {figure: samples.get((broker_id, figure), "missing") for figure in names}
        found |= {figure: samples[broker_id, figure] for figure in optional or () if (broker_id, figure) in samples}
        faults = {figure: _fault(figure, sample, now, max_age_seconds) for figure, sample in found.items()}
        named_faults = [f"{figure} ({all_names[figure]}): {fault}" for figure, fault in faults.items() if fault is not None]
        good = {figure: sample for figure, sample in found.items() if isinstance(sample, Sample)}
        if named_faults:
            problems[broker_id] = "; ".join(named_faults)
        elif good:
            oldest = min(sample.measured_at for sample in good.values())
            figures = {figure: sample.value for figure, sample in good.items()}
            by_broker[broker_id] = BrokerTraffic.model_validate({"broker_id": broker_id, "measured_at": oldest, **figures})
    return TrafficReport(by_broker=by_broker, problems=problems)


def broker_ids_of(pods: Iterable[BrokerPod]) -> list[int]:
    """The broker IDs of these pods; a pod that has none yet is left out."""
    return sorted({pod.broker_id for pod in pods if pod.broker_id is not None})


def no_recovery(pods: Iterable[BrokerPod], source: str) -> RecoveryReport:
    """The answer of a backend that has only the figures of traffic."""
    why = f"metrics.source {source} has no state of brokers; exporter and prometheus have"
    return RecoveryReport(problems=dict.fromkeys(broker_ids_of(pods), why))


def parse_broker_id(text: str | None) -> int | None:
    """The broker ID in a label's or tag's value, or None: "N/A", an empty tag, another process."""
    return int(text) if text is not None and text.isascii() and text.isdigit() else None


def parse_time(unix_seconds: float) -> datetime | None:
    """A time, or None for a number out of range."""
    try:
        return datetime.fromtimestamp(unix_seconds, UTC)
    except (ValueError, OverflowError, OSError):
        return None


def _fault(figure: Figure, sample: Sample | str, now: datetime, max_age_seconds: float) -> str | None:
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
        return f"is implausible, {sample.value:g}"
    if figure in ("produce_requests", "fetch_requests") and not sample.value.is_integer():
        return f"is not a number of requests, {sample.value:g}"
    return None
