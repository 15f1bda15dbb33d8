"""The lab's brokers through a Prometheus that runs in the lab, as users deploy both: found by Kubernetes, known by broker id."""

import json
import sys
import time
from collections.abc import Iterator

import pytest
from kafka_runbooks_lab import prometheus
from kafka_runbooks_lab.lab import Lab

from kafka_runbooks.models.kubernetes import BrokerPod
from kafka_runbooks.models.traffic import FIGURES, TrafficReport

pytestmark = pytest.mark.timeout(1_800)  # it builds Prometheus where nothing is built

LOOK = """
import json, sys
from kafka_runbooks.clients.metrics.exporter import ExporterMetrics
from kafka_runbooks.clients.metrics.prometheus import PrometheusMetrics
from kafka_runbooks.clients.metrics.settings import PrometheusSource
from kafka_runbooks.models.kubernetes import BrokerPod
pods = [BrokerPod.model_validate(pod) for pod in json.load(sys.stdin)]
source = PrometheusSource(source="prometheus", url=sys.argv[1], labels={"namespace": "kafka"}, max_age_seconds=30)
backend = PrometheusMetrics(source) if sys.argv[2] == "prometheus" else ExporterMetrics(9404)
print(backend.traffic(pods).model_dump_json())
"""


def broker_pods(lab: Lab) -> list[BrokerPod]:
    found = json.loads(lab.kubectl("-n", "kafka", "get", "pods", "-l", "app.kubernetes.io/component=broker", "-o", "json"))
    return [
        BrokerPod(
            name=pod["metadata"]["name"],
            uid=pod["metadata"]["uid"],
            broker_id=int(pod["metadata"]["labels"]["kafka-runbooks.io/broker-id"]),
            map=None,
            stateful_set="",
            pod_ip=pod["status"].get("podIP"),
        )
        for pod in found["items"]
    ]


def look(lab: Lab, backend: str, pods: list[BrokerPod]) -> TrafficReport:
    told = json.dumps([pod.model_dump(mode="json") for pod in pods])
    done = lab.exec([sys.executable, "-c", LOOK, prometheus.URL, backend], input=told, timeout=60)
    assert done.returncode == 0, done.stderr
    return TrafficReport.model_validate_json(done.stdout)


@pytest.fixture(scope="module")
def scraped(lab: Lab) -> Iterator[Lab]:
    prometheus.deploy(lab, lambda line: print(line, file=sys.__stderr__, flush=True))
    try:
        yield lab
    finally:
        prometheus.remove(lab)


def test_every_broker_is_found_by_its_id_with_all_figures(scraped: Lab) -> None:
    pods = broker_pods(scraped)
    deadline = time.monotonic() + 60
    while (found := look(scraped, "prometheus", pods)).problems:
        assert time.monotonic() < deadline, found.problems
        time.sleep(2)
    direct = look(scraped, "exporter", pods)
    assert found.by_broker.keys() == direct.by_broker.keys() == {pod.broker_id for pod in pods}
    for traffic in found.by_broker.values():
        assert all(getattr(traffic, figure) is not None for figure in FIGURES)
