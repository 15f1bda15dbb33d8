"""What the brokers measure about themselves, from the Prometheus exporter that runs in each of them."""

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from urllib.error import URLError
from urllib.request import urlopen

from prometheus_client.parser import text_string_to_metric_families

from kafka_runbooks.models.pods import BrokerPod

TIMEOUT_SECONDS = 3.0
PRODUCE_TIME = "kafka_network_request_total_time_ms"
"""So `deploy/kubernetes/kafka/config/jmx.yaml` names Kafka's `RequestMetrics,name=TotalTimeMs`, by request and percentile."""


class PrometheusMetrics:
    """`protocols.BrokerMetrics`: asks every broker's `/metrics` at once."""

    def __init__(self, port: int) -> None:
        self._port = port

    def produce_p99_ms(self, pods: Iterable[BrokerPod]) -> dict[int, float]:
        asked = [pod for pod in pods if pod.pod_ip is not None and pod.broker_id is not None]
        with ThreadPoolExecutor(max(1, min(16, len(asked)))) as threads:
            found = zip(asked, threads.map(self._ask, asked), strict=True)
            return {pod.broker_id: p99 for pod, p99 in found if p99 is not None and pod.broker_id is not None}

    def _ask(self, pod: BrokerPod) -> float | None:
        try:
            with urlopen(f"http://{pod.pod_ip}:{self._port}/metrics", timeout=TIMEOUT_SECONDS) as answer:
                return produce_p99_ms(answer.read().decode())
        except (URLError, OSError, ValueError):
            return None


def produce_p99_ms(text: str) -> float | None:
    """The 99th percentile of produce requests in an exposition, or None where it isn't in it."""
    for family in text_string_to_metric_families(text):
        if family.name == PRODUCE_TIME:
            for sample in family.samples:
                if sample.labels.get("request") == "Produce" and sample.labels.get("percentile") == "99":
                    return float(sample.value)
    return None
