"""Instant queries to a Prometheus server that scrapes the brokers.

An instant query returns a sample of up to five minutes ago (`--query.lookback-delta`) with the time of the query, not of the
sample. So each query runs ambiguous: for the value, and wrapped in `timestamp()` for the time of the scrape.
"""

import json
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any, NamedTuple

import httpx

from kafka_runbooks.clients.errors import Refused, Unreachable
from kafka_runbooks.clients.metrics.exporter import METRICS, REMAINING_LOGS, REMAINING_SEGMENTS, STATE
from kafka_runbooks.clients.metrics.http import TIMEOUT_SECONDS, get_json
from kafka_runbooks.clients.metrics.report import Sample, Samples, broker_ids_of, parse_broker_id, parse_time, report
from kafka_runbooks.clients.metrics.settings import PrometheusSource, with_defaults
from kafka_runbooks.models.kubernetes import BrokerPod
from kafka_runbooks.models.recovery import BrokerProgress, BrokerState, RecoveryReport
from kafka_runbooks.models.traffic import TrafficReport

QUERIES_AT_ONCE = 6


class Vector(NamedTuple):
    """An instant vector by broker.

    Attributes:
        ambiguous: brokers with several series, of which none can be used.
        evaluated_at: by the server's clock; None if no series was returned.
    """

    values: dict[int, float]
    ambiguous: frozenset[int]
    warnings: str
    evaluated_at: datetime | None


class PrometheusMetrics:
    """Each query covers all brokers; series of other brokers are ignored."""

    def __init__(self, settings: PrometheusSource) -> None:
        self._settings = settings
        self._queries = with_defaults(settings.queries, METRICS)
        self._server = f"Prometheus {settings.url}"

    def traffic(self, pods: Iterable[BrokerPod]) -> TrafficReport:
        broker_ids = broker_ids_of(pods)
        measured_at = self._settings.measured_at
        times = {f: measured_at or f"timestamp({query})" for f, query in self._queries.items()}
        wanted = list(dict.fromkeys([*self._queries.values(), *times.values()]))
        with self._client() as client, ThreadPoolExecutor(QUERIES_AT_ONCE) as threads:
            vectors = dict(zip(wanted, threads.map(lambda query: self._vector(client, query), wanted), strict=True))
        samples: Samples = {}
        for figure, query in self._queries.items():
            for broker_id in broker_ids:
                sample = self._sample(broker_id, vectors[query], vectors[times[figure]])
                samples[broker_id, figure] = sample
        # Samples are stamped by the server's clock, and the worker's may be off.
        clocks = [vector.evaluated_at for vector in vectors.values() if vector.evaluated_at is not None]
        now = max(clocks, default=datetime.now(UTC))
        return report(broker_ids, self._queries, samples, now, self._settings.max_age_seconds)

    def recovery(self, pods: Iterable[BrokerPod]) -> RecoveryReport:
        broker_ids = broker_ids_of(pods)
        series = {name: self._selector(name) for name in (STATE, REMAINING_LOGS, REMAINING_SEGMENTS)}
        # All three are of one scrape; the remains of a log are known by directory and thread, and end with the recovery.
        queries = [series[STATE], f"timestamp({series[STATE]})"]
        queries += [f"sum by ({self._settings.broker_label}) ({series[name]})" for name in (REMAINING_LOGS, REMAINING_SEGMENTS)]
        with self._client() as client, ThreadPoolExecutor(QUERIES_AT_ONCE) as threads:
            states, times, logs, segments = threads.map(lambda query: self._vector(client, query, is_narrow=True), queries)
        now = states.evaluated_at or datetime.now(UTC)
        by_broker, problems = {}, {}
        for broker_id in broker_ids:
            sample = self._sample(broker_id, states, times)
            if isinstance(sample, str):
                problems[broker_id] = f"{STATE}: {sample}"
            elif (age_seconds := (now - sample.measured_at).total_seconds()) > self._settings.max_age_seconds:
                problems[broker_id] = f"{STATE}: stale, {age_seconds:.0f} s old"
            else:
                by_broker[broker_id] = BrokerProgress(
                    state=BrokerState(int(sample.value)),
                    remaining_logs=int(logs.values.get(broker_id, 0)),
                    remaining_segments=int(segments.values.get(broker_id, 0)),
                )
        return RecoveryReport(by_broker=by_broker, problems=problems)

    def _selector(self, metric: str) -> str:
        return metric + "{" + ",".join(f"{name}={json.dumps(value)}" for name, value in self._settings.labels.items()) + "}"

    def _sample(self, broker_id: int, values: Vector, times: Vector) -> Sample | str:
        label = self._settings.broker_label
        for vector, what in ((values, "series"), (times, "times")):
            if vector.warnings:
                return f"Prometheus warns: {vector.warnings}"
            if broker_id in vector.ambiguous:
                return f'more than one {what} with {label}="{broker_id}": narrow `metrics.labels` or the query'
            if broker_id not in vector.values:
                return f'no {what} with {label}="{broker_id}"'
        measured_at = parse_time(times.values[broker_id])
        return "its time is out of range" if measured_at is None else Sample(values.values[broker_id], measured_at)

    def _vector(self, client: httpx.Client, query: str, *, is_narrow: bool = False) -> Vector:
        """The answer to a query, of the series with our labels; `is_narrow`: the query itself asks for no others."""
        try:
            answer = get_json(client, "api/v1/query", {"query": query, "timeout": f"{TIMEOUT_SECONDS:g}s"}, self._server)
        except Refused as error:
            raise Refused(f"{error} (query: {query})") from error
        is_wanted = (lambda _: True) if is_narrow else self._is_wanted
        return read_vector(answer, is_wanted, self._settings.broker_label, f"{self._server}, query {query},")

    def _is_wanted(self, labels: Mapping[str, str]) -> bool:
        return all(labels.get(name) == value for name, value in self._settings.labels.items())

    def _client(self) -> httpx.Client:
        headers = {}
        if (file := self._settings.bearer_token_file) is not None:
            try:
                headers["Authorization"] = f"Bearer {file.read_text().strip()}"
            except OSError as error:
                raise Refused(f"metrics.bearer_token_file {file}: {error.strerror}") from error
        return httpx.Client(base_url=f"{str(self._settings.url).rstrip('/')}/", timeout=TIMEOUT_SECONDS, headers=headers)


def read_vector(
    answer: Mapping[str, Any], is_wanted: Callable[[Mapping[str, str]], bool], broker_label: str, server: str
) -> Vector:
    """Parse an answer of `/api/v1/query`.

    Raises:
        Refused: the query's result isn't an instant vector.
        Unreachable: the answer isn't in the API's format.
    """
    values: dict[int, float] = {}
    ambiguous: set[int] = set()
    evaluated_at = None
    try:
        kind, series = answer["data"]["resultType"], answer["data"]["result"]
        if kind != "vector":
            raise Refused(f"{server} answers with a {kind}: write a query whose result is an instant vector")
        for one in series:
            labels, (evaluated, value) = one["metric"], one["value"]
            broker_id = parse_broker_id(labels.get(broker_label))
            if broker_id is None or not is_wanted(labels):
                continue
            if broker_id in values:
                ambiguous.add(broker_id)
            values[broker_id] = float(value)
            evaluated_at = parse_time(evaluated)
        warnings = ", ".join(answer.get("warnings") or ())
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise Unreachable(f"{server} answers something that isn't Prometheus' format: {error!r}") from error
    return Vector(values, frozenset(ambiguous), warnings, evaluated_at)
