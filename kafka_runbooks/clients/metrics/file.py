"""A JSON file, which a script of the operator's writes: for metrics systems that have no backend here.

The format is that of `TrafficReport`:
`{"by_broker": {"1001": {"measured_at": "2026-01-01T00:00:00Z", "in_bytes_per_s": 1.5e6, …}}, "problems": {"1002": "…"}}`.
"""

import json
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from pydantic import AwareDatetime, TypeAdapter, ValidationError

from kafka_runbooks.clients.errors import Unreachable
from kafka_runbooks.clients.metrics.report import Sample, Samples, broker_ids_of, no_recovery, report
from kafka_runbooks.clients.metrics.settings import FileSource
from kafka_runbooks.models.kubernetes import BrokerPod
from kafka_runbooks.models.recovery import RecoveryReport
from kafka_runbooks.models.traffic import FIGURES, TOTALS, TrafficReport

_TIME = TypeAdapter(AwareDatetime)


class FileMetrics:
    """Reads the file on every poll. Its writer should rename a complete file into place: half a file is an error."""

    def __init__(self, settings: FileSource) -> None:
        self._settings = settings

    def traffic(self, pods: Iterable[BrokerPod]) -> TrafficReport:
        path = self._settings.path
        try:
            written = json.loads(path.read_bytes())
            samples = read_traffic(written["by_broker"])
            reported = {int(broker_id): str(why) for broker_id, why in (written.get("problems") or {}).items()}
        except OSError as error:
            raise Unreachable(f"metrics file {path}: {error.strerror}") from error
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise Unreachable(f"metrics file {path} isn't a traffic report: {error!r}") from error
        broker_ids = broker_ids_of(pods)
        names, totals, now = {f: f for f in FIGURES}, {t: t for t in TOTALS}, datetime.now(UTC)
        found = report(broker_ids, names, samples, now, self._settings.max_age_seconds, totals)
        reported = {broker_id: why for broker_id, why in reported.items() if broker_id in broker_ids}
        good = {broker_id: traffic for broker_id, traffic in found.by_broker.items() if broker_id not in reported}
        return TrafficReport(by_broker=good, problems=found.problems | reported)

    def recovery(self, pods: Iterable[BrokerPod]) -> RecoveryReport:
        return no_recovery(pods, "file")


def read_traffic(by_broker: Mapping[str, Mapping[str, Any]]) -> Samples:
    """Parse `TrafficReport.by_broker` from JSON, each figure by itself, so that one bad value affects one broker only.

    Raises:
        ValueError: a broker ID is not a number.
    """
    samples: Samples = {}
    for name, figures in by_broker.items():
        broker_id = int(name)
        for figure in (*FIGURES, *TOTALS):
            value = figures.get(figure)
            if value is None:
                continue
            if isinstance(value, bool) or not isinstance(value, (int, float)):
                samples[broker_id, figure] = f"is {value!r}, not a number"
            else:
                try:
                    samples[broker_id, figure] = Sample(float(value), _TIME.validate_python(figures.get("measured_at")))
                except (ValidationError, OverflowError):
                    samples[broker_id, figure] = "measured_at is not a time with a time zone, or the value is out of range"
    return samples
