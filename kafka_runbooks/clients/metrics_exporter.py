"""The brokers' own figures, from the JMX exporter that runs in each of them: no server between, nothing to set up.

The names are those that `deploy/kubernetes/kafka/config/jmx.yaml` gives to Kafka's MBeans. Rates are Kafka's one-minute
moving averages, so that one look is enough and a worker needs no memory of the last.
"""

from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import httpx
from prometheus_client.parser import text_string_to_metric_families

from kafka_runbooks.clients.errors import Unreachable
from kafka_runbooks.clients.metrics import Sample, Samples, report
from kafka_runbooks.models.kubernetes import BrokerPod
from kafka_runbooks.models.traffic import Figure, TrafficReport

TIMEOUT_SECONDS = 3.0
METRICS: dict[Figure, str] = {
    "in_bytes_per_s": "kafka_server_bytesin_one_minute_rate",
    "out_bytes_per_s": "kafka_server_bytesout_one_minute_rate",
    "replication_in_bytes_per_s": "kafka_server_replicationbytesin_one_minute_rate",
    "replication_out_bytes_per_s": "kafka_server_replicationbytesout_one_minute_rate",
    "produce_p99_ms": 'kafka_network_request_total_time_ms{request="Produce",percentile="99"}',
    "fetch_p99_ms": 'kafka_network_request_total_time_ms{request="FetchConsumer",percentile="99"}',
}
"""As PromQL would select them, too."""

TOTALS: dict[Figure, str] = {
    "produce_requests": 'kafka_network_requests_total{request="Produce"}',
    "produce_mean_ms": 'kafka_network_request_total_time_mean_ms{request="Produce"}',
    "fetch_requests": 'kafka_network_requests_total{request="FetchConsumer"}',
    "fetch_mean_ms": 'kafka_network_request_total_time_mean_ms{request="FetchConsumer"}',
}
"""A number and its mean belong together, so they have to be of one scrape: this backend alone has them."""

SCRAPE_ERROR = "jmx_scrape_error"
"""The exporter's own: not 0 where it could not read all MBeans."""

MAX_AGE_SECONDS = 60.0
"""Never reached: the exporter reads the MBeans when it is asked."""


class ExporterMetrics:
    """Asks every broker's `/metrics` at once."""

    def __init__(self, port: int) -> None:
        self._port = port

    def traffic(self, pods: Iterable[BrokerPod]) -> TrafficReport:
        asked = {pod.broker_id: pod for pod in pods if pod.broker_id is not None}
        samples: Samples = {}
        failures: dict[int, str] = {}
        # A proxy from the environment leads nowhere near a pod.
        client = httpx.Client(timeout=TIMEOUT_SECONDS, trust_env=False)
        with client, ThreadPoolExecutor(max(1, min(16, len(asked)))) as threads:
            answers = list(threads.map(lambda pod: self._scrape(client, pod), asked.values()))
        now = datetime.now(UTC)
        for broker_id, answer in zip(asked, answers, strict=True):
            if isinstance(answer, str):
                failures[broker_id] = answer
            else:
                samples |= {(broker_id, figure): Sample(value, now) for figure, value in answer.items()}
        if asked and len(failures) == len(asked):
            first = min(failures)
            raise Unreachable(f"no broker's metrics exporter answers; broker {first}: {failures[first]}")
        found = report(set(asked) - set(failures), METRICS, samples, now, MAX_AGE_SECONDS, TOTALS)
        return TrafficReport(by_broker=found.by_broker, problems=found.problems | failures)

    def _scrape(self, client: httpx.Client, pod: BrokerPod) -> dict[Figure, float] | str:
        if pod.pod_ip is None:
            return f"pod {pod.name} has no address yet, so its metrics exporter can't be asked"
        host = f"[{pod.pod_ip}]" if ":" in pod.pod_ip else pod.pod_ip
        address = f"http://{host}:{self._port}/metrics"
        try:
            answer = client.get(address)
            answer.raise_for_status()
            return figures(answer.text)
        except httpx.HTTPStatusError as error:
            return f"metrics exporter {address} answers {error.response.status_code}"
        except httpx.HTTPError as error:
            return f"metrics exporter {address} doesn't answer: {error or type(error).__name__}"
        except ValueError as error:
            return f"metrics exporter {address} answers nonsense: {error}"


def figures(exposition: str) -> dict[Figure, float]:
    """The figures in an exporter's text.

    Raises:
        ValueError: it isn't in Prometheus' text format, or says itself that it isn't whole.
    """
    found: dict[Figure, float] = {}
    for name, labels, value in _samples(exposition):
        if name == SCRAPE_ERROR and value != 0:
            raise ValueError(f"{SCRAPE_ERROR} is {value:g}: not all MBeans could be read")
        selector = name + _labels(labels)
        for figure, metric in {**METRICS, **TOTALS}.items():
            if selector == metric:
                found[figure] = value
    return found


def _labels(labels: Mapping[str, str]) -> str:
    text = ",".join(f'{name}="{labels[name]}"' for name in ("request", "percentile") if name in labels)
    return f"{{{text}}}" if text else ""


def _samples(exposition: str) -> Iterator[tuple[str, dict[str, str], float]]:
    """Only the lines that matter are parsed: an exporter without a filter gives tens of thousands."""
    names = tuple({metric.partition("{")[0] for metric in (*METRICS.values(), *TOTALS.values())} | {SCRAPE_ERROR})
    lines = [line for line in exposition.splitlines() if line.startswith(names)]
    for family in text_string_to_metric_families("\n".join(lines) + "\n"):
        for sample in family.samples:
            yield sample.name, dict(sample.labels), float(sample.value)
