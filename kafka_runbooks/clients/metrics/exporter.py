"""The JMX exporter in each broker, scraped directly: no metrics server needed.

The names are those that `deploy/kubernetes/kafka/config/jmx.yaml` gives to Kafka's MBeans. Rates are Kafka's one-minute
moving averages, so that one scrape is enough and a worker need not remember the previous one.
"""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import TypeVar

import httpx
from prometheus_client.parser import text_string_to_metric_families

from kafka_runbooks.clients.errors import Unreachable
from kafka_runbooks.clients.metrics.report import Sample, Samples, report
from kafka_runbooks.models.kubernetes import BrokerPod, KafkaPod
from kafka_runbooks.models.recovery import BrokerProgress, BrokerState, RecoveryReport
from kafka_runbooks.models.traffic import Figure, TrafficReport

T = TypeVar("T")

TIMEOUT_SECONDS = 3.0
METRICS: dict[Figure, str] = {
    "in_bytes_per_s": "kafka_server_bytesin_one_minute_rate",
    "out_bytes_per_s": "kafka_server_bytesout_one_minute_rate",
    "replication_in_bytes_per_s": "kafka_server_replicationbytesin_one_minute_rate",
    "replication_out_bytes_per_s": "kafka_server_replicationbytesout_one_minute_rate",
    "produce_p99_ms": 'kafka_network_request_total_time_ms{request="Produce",percentile="99"}',
    "fetch_p99_ms": 'kafka_network_request_total_time_ms{request="FetchConsumer",percentile="99"}',
}
"""Also valid as PromQL selectors."""

TOTALS: dict[Figure, str] = {
    "produce_requests": 'kafka_network_requests_total{request="Produce"}',
    "produce_mean_ms": 'kafka_network_request_total_time_mean_ms{request="Produce"}',
    "fetch_requests": 'kafka_network_requests_total{request="FetchConsumer"}',
    "fetch_mean_ms": 'kafka_network_request_total_time_mean_ms{request="FetchConsumer"}',
}
"""A count and its mean must come from the same scrape, which only this backend can do."""

STATE = "kafka_server_broker_state"
REMAINING_LOGS = "kafka_log_manager_remaining_logs"
"""By log directory; absent while no logs are loaded."""
REMAINING_SEGMENTS = "kafka_log_manager_remaining_segments"
"""By log directory and thread; likewise."""

SCRAPE_ERROR = "jmx_scrape_error"
"""The exporter's own metric: not 0 if it could not read all MBeans."""

MAX_AGE_SECONDS = 60.0
"""Never exceeded: the exporter reads the MBeans on each scrape."""


class ExporterMetrics:
    """Scrapes the brokers' `/metrics` in parallel."""

    def __init__(self, port: int) -> None:
        self._port = port

    def traffic(self, pods: Iterable[BrokerPod]) -> TrafficReport:
        answers = self._scrape_each(pods, figures)
        now = datetime.now(UTC)
        failures = {broker_id: answer for broker_id, answer in answers.items() if isinstance(answer, str)}
        if answers and len(failures) == len(answers):
            first = min(failures)
            raise Unreachable(f"no broker's metrics exporter answers; broker {first}: {failures[first]}")
        samples: Samples = {
            (broker_id, figure): Sample(value, now)
            for broker_id, answer in answers.items()
            if not isinstance(answer, str)
            for figure, value in answer.items()
        }
        found = report(answers.keys() - failures.keys(), METRICS, samples, now, MAX_AGE_SECONDS, TOTALS)
        return TrafficReport(by_broker=found.by_broker, problems=found.problems | failures)

    def recovery(self, pods: Iterable[BrokerPod]) -> RecoveryReport:
        answers = self._scrape_each(pods, progress)
        return RecoveryReport(
            by_broker={broker_id: found for broker_id, found in answers.items() if not isinstance(found, str)},
            problems={broker_id: why for broker_id, why in answers.items() if isinstance(why, str)},
        )

    def _scrape_each(self, pods: Iterable[BrokerPod], read: Callable[[str], T]) -> dict[int, T | str]:
        """What is read from each broker's text, or why it can't be had."""
        by_id = {pod.broker_id: pod for pod in pods if pod.broker_id is not None}
        # Pods are not reached through a proxy named in the environment.
        client = httpx.Client(timeout=TIMEOUT_SECONDS, trust_env=False)
        with client, ThreadPoolExecutor(max(1, min(16, len(by_id)))) as threads:
            answers = threads.map(lambda pod: scrape(client, pod, self._port, read), by_id.values())
            return dict(zip(by_id, answers, strict=True))


def scrape(client: httpx.Client, pod: KafkaPod, port: int, read: Callable[[str], T]) -> T | str:
    """What is read from the text of a pod's exporter, or why it can't be had."""
    if pod.pod_ip is None:
        return f"pod {pod.name} has no address yet, so its metrics exporter can't be scraped"
    host = f"[{pod.pod_ip}]" if ":" in pod.pod_ip else pod.pod_ip
    address = f"http://{host}:{port}/metrics"
    try:
        answer = client.get(address)
        answer.raise_for_status()
        return read(answer.text)
    except httpx.HTTPStatusError as error:
        return f"metrics exporter {address} answers {error.response.status_code}"
    except httpx.HTTPError as error:
        return f"metrics exporter {address} doesn't answer: {error or type(error).__name__}"
    except ValueError as error:
        return f"metrics exporter {address} answers something else than metrics: {error}"


def figures(exposition: str) -> dict[Figure, float]:
    """The figures in an exporter's text.

    Raises:
        ValueError: it isn't in Prometheus' text format, or the exporter could not read all MBeans.
    """
    found: dict[Figure, float] = {}
    labelled: dict[Figure, list[float]] = {}
    for name, labels, value in samples(exposition, _NAMES):
        if name == SCRAPE_ERROR and value != 0:
            raise ValueError(f"{SCRAPE_ERROR} is {value:g}: not all MBeans could be read")
        for figure, (metric, wanted) in _SERIES.items():
            if name != metric or not wanted.items() <= labels.items():
                continue
            if labels.keys() == wanted.keys():
                found[figure] = value
            else:
                # Of one topic, say: its figure is not the broker's.
                labelled.setdefault(figure, []).append(value)
    for figure, values in labelled.items():
        if figure not in found:
            if len(values) > 1:
                raise ValueError(f"more than one series of {({**METRICS, **TOTALS})[figure]}, each with further labels")
            found[figure] = values[0]
    return found


def progress(exposition: str) -> BrokerProgress:
    """How far a broker is with its start, by its exporter's text.

    Raises:
        ValueError: it isn't in Prometheus' text format, or has no state: its rules are older than these metrics.
    """
    found: dict[str, float] = {}
    for name, _, value in samples(exposition, (STATE, REMAINING_LOGS, REMAINING_SEGMENTS)):
        found[name] = found.get(name, 0) + value
    if STATE not in found:
        raise ValueError(f"no {STATE}: do the exporter's rules name the MBean?")
    return BrokerProgress(
        state=BrokerState(int(found[STATE])),
        remaining_logs=int(found.get(REMAINING_LOGS, 0)),
        remaining_segments=int(found.get(REMAINING_SEGMENTS, 0)),
    )


def _parsed(selector: str) -> tuple[str, dict[str, str]]:
    """A selector's metric, and its labels."""
    name, _, labels = selector.rstrip("}").partition("{")
    pairs = (label.partition("=") for label in labels.split(",") if label)
    return name, {key: value.strip('"') for key, _, value in pairs}


_NAMES = {metric.partition("{")[0] for metric in (*METRICS.values(), *TOTALS.values())} | {SCRAPE_ERROR}
_SERIES = {figure: _parsed(selector) for figure, selector in {**METRICS, **TOTALS}.items()}


def samples(exposition: str, metrics: Iterable[str]) -> Iterator[tuple[str, dict[str, str], float]]:
    """Only the lines of these metrics are parsed: an exporter without a filter has tens of thousands."""
    lines = [line for line in exposition.splitlines() if line.startswith(tuple(metrics))]
    for family in text_string_to_metric_families("\n".join(lines) + "\n"):
        for sample in family.samples:
            yield sample.name, dict(sample.labels), float(sample.value)
