"""Figures from a JSON file: for metrics of a kind that no backend here speaks, a script writes what it finds.

The format is `TrafficReport`'s own:
`{"by_broker": {"1001": {"measured_at": "2026-01-01T00:00:00Z", "in_bytes_per_s": 1.5e6, …}}, "problems": {"1002": "…"}}`.
"""

import json
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from pydantic import AwareDatetime, TypeAdapter, ValidationError

from kafka_runbooks.clients.errors import Unreachable
from kafka_runbooks.clients.metrics import Sample, Samples, ids, report
from kafka_runbooks.clients.metrics_settings import FileSource
from kafka_runbooks.models.kubernetes import BrokerPod
from kafka_runbooks.models.traffic import FIGURES, TOTALS, TrafficReport

_TIME = TypeAdapter(AwareDatetime)


class FileMetrics:
    """Reads the file at every look. Its writer should rename a whole file into place: half a file is no answer."""

    def __init__(self, settings: FileSource) -> None:
        self._settings = settings

    def traffic(self, pods: Iterable[BrokerPod]) -> TrafficReport:
        path = self._settings.path
        try:
            written = json.loads(path.read_bytes())
            by_broker, said = written["by_broker"], written.get("problems") or {}
            samples = read_traffic(by_broker)
            said = {int(broker_id): str(why) for broker_id, why in said.items()}
        except OSError as error:
            raise Unreachable(f"metrics file {path}: {error.strerror}") from error
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise Unreachable(f"metrics file {path} isn't a traffic report: {error!r}") from error
        broker_ids = ids(pods)
        names, totals, now = {f: f for f in FIGURES}, {t: t for t in TOTALS}, datetime.now(UTC)
        found = report(broker_ids, names, samples, now, self._settings.max_age_seconds, totals)
        said = {broker_id: why for broker_id, why in said.items() if broker_id in broker_ids}
        good = {broker_id: traffic for broker_id, traffic in found.by_broker.items() if broker_id not in said}
        return TrafficReport(by_broker=good, problems=found.problems | said)


def read_traffic(by_broker: Mapping[str, Mapping[str, Any]]) -> Samples:
    """`TrafficReport.by_broker` as JSON gives it, each figure read by itself: one bad value spoils one broker.

    Raises:
        ValueError: a broker id is no number.
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
                    samples[broker_id, figure] = "measured_at is no time with a zone, or the value is out of range"
    return samples
