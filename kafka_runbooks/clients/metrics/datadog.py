"""Datadog's query API (`GET /api/v1/query`), which kafka-kit's autothrottle uses too.

All queries go in one request: Datadog limits requests (to 1,600 an hour per organisation by default), and a throttle polls
every few seconds. The newest point of each series that has a value counts; empty points are gaps, not zeros.
"""

import os
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx

from kafka_runbooks.clients.errors import Refused, Unreachable
from kafka_runbooks.clients.metrics.http import TIMEOUT_SECONDS, get_json
from kafka_runbooks.clients.metrics.report import Sample, Samples, broker_ids_of, no_recovery, parse_broker_id, parse_time, report
from kafka_runbooks.clients.metrics.settings import DatadogSource, with_defaults
from kafka_runbooks.models.kubernetes import BrokerPod
from kafka_runbooks.models.recovery import RecoveryReport
from kafka_runbooks.models.traffic import Figure, TrafficReport

METRICS: dict[Figure, str] = {
    "in_bytes_per_s": "kafka.net.bytes_in.rate",
    "out_bytes_per_s": "kafka.net.bytes_out.rate",
    "replication_in_bytes_per_s": "kafka.net.replication_bytes_in.rate",
    "replication_out_bytes_per_s": "kafka.net.replication_bytes_out.rate",
    "produce_p99_ms": "kafka.request.produce.time.99percentile",
    "fetch_p99_ms": "kafka.request.fetch_consumer.time.99percentile",
}
"""The names of Datadog's Kafka integration. It lacks the two for replication; `docs/metrics.md` has the configuration to add."""


class DatadogMetrics:
    """One request for all brokers and figures."""

    def __init__(self, settings: DatadogSource) -> None:
        self._settings = settings
        group = f"{{{settings.scope}}} by {{{settings.broker_tag}}}"
        self._queries = with_defaults(settings.queries, {f: f"avg:{metric}{group}" for f, metric in METRICS.items()})
        self._server = f"Datadog {settings.url}"

    def traffic(self, pods: Iterable[BrokerPod]) -> TrafficReport:
        now = datetime.now(UTC)
        begin = now.timestamp() - 2 * self._settings.max_age_seconds
        parameters = {"from": f"{begin:.0f}", "to": f"{now.timestamp():.0f}", "query": ",".join(self._queries.values())}
        with self._client() as client:
            answer = get_json(client, "api/v1/query", parameters, self._server)
        broker_ids, figures = broker_ids_of(pods), tuple(self._queries)
        gap = f"no point in the last {2 * self._settings.max_age_seconds:g} s tagged {self._settings.broker_tag}:"
        samples: Samples = {(broker_id, figure): f"{gap}{broker_id}" for broker_id in broker_ids for figure in figures}
        try:
            if answer["status"] != "ok":
                raise Refused(f"{self._server} answers {answer['status']}: {answer.get('error') or answer.get('message')}")
            samples |= read_series(answer["series"], figures, self._settings.broker_tag)
        except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
            raise Unreachable(f"{self._server} answers something that isn't Datadog's format: {error!r}") from error
        return report(broker_ids, self._queries, samples, now, self._settings.max_age_seconds)

    def recovery(self, pods: Iterable[BrokerPod]) -> RecoveryReport:
        return no_recovery(pods, "datadog")

    def _client(self) -> httpx.Client:
        """Keys are read on each poll, so that they can be rotated without restarting the worker."""
        settings = self._settings
        headers = {
            "DD-API-KEY": _key("api_key_file", settings.api_key_file, "DD_API_KEY"),
            "DD-APPLICATION-KEY": _key("application_key_file", settings.application_key_file, "DD_APP_KEY"),
        }
        return httpx.Client(base_url=f"{str(settings.url).rstrip('/')}/", timeout=TIMEOUT_SECONDS, headers=headers)


def read_series(series: Sequence[Mapping[str, Any]], figures: Sequence[Figure], broker_tag: str) -> Samples:
    """The newest point that has a value, of each broker and query (`query_index`).

    A series whose tag holds no broker ID is skipped: it is of another host, or untagged ("N/A").
    """
    found: Samples = {}
    for one in series:
        tags = dict(tag.split(":", 1) for tag in one["tag_set"] if ":" in tag)
        broker_id = parse_broker_id(tags.get(broker_tag))
        points = [(milliseconds, value) for milliseconds, value in one["pointlist"] if value is not None]
        if broker_id is None or not points:
            continue
        name = broker_id, figures[one["query_index"]]
        milliseconds, value = max(points)
        measured_at = parse_time(milliseconds / 1000)
        if name in found:
            found[name] = f"more than one series tagged {broker_tag}:{broker_id}: group by that tag alone"
        else:
            found[name] = "its time is out of range" if measured_at is None else Sample(float(value), measured_at)
    return found


def _key(field: str, file: Path | None, variable: str) -> str:
    try:
        key = os.environ.get(variable, "").strip() if file is None else file.read_text().strip()
    except OSError as error:
        raise Refused(f"metrics.{field} {file}: {error.strerror}") from error
    if not key.isascii() or not key.isprintable() or not key:
        where = f"{file} holds" if file is not None else f"{variable} is set to"
        raise Refused(f"metrics.{field}: {where} no key; give a file with only the key, or the environment variable {variable}")
    return key
