"""A broker's state and the rest of its recovery, by its exporter and through a real Prometheus that scrapes it."""

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from kafka_runbooks.clients.metrics.datadog import DatadogMetrics
from kafka_runbooks.clients.metrics.exporter import STATE, ExporterMetrics, progress
from kafka_runbooks.clients.metrics.file import FileMetrics
from kafka_runbooks.clients.metrics.prometheus import PrometheusMetrics
from kafka_runbooks.clients.metrics.settings import DatadogSource, FileSource, PrometheusSource, ZookeeperSource
from kafka_runbooks.clients.metrics.znodes import ZnodeMetrics
from kafka_runbooks.clients.protocols import BrokerMetrics
from kafka_runbooks.models.recovery import BrokerProgress, BrokerState
from tests.clients.local_prometheus import LocalPrometheus
from tests.clients.test_metrics_report import pod

TEXT = """kafka_server_broker_state 2.0
kafka_log_manager_remaining_logs{directory="/data/1"} 3.0
kafka_log_manager_remaining_logs{directory="/data/2"} 4.0
kafka_log_manager_remaining_segments{directory="/data/1",thread="0"} 10.0
kafka_log_manager_remaining_segments{directory="/data/1",thread="1"} 20.0
kafka_log_manager_remaining_segments{directory="/data/2",thread="0"} 30.0
kafka_server_replica_manager_underreplicatedpartitions 5.0
"""
RECOVERS = BrokerProgress(state=BrokerState.RECOVERY, remaining_logs=7, remaining_segments=60)


def test_remains_are_summed_over_directories_and_threads() -> None:
    assert progress(TEXT) == RECOVERS
    assert progress("kafka_server_broker_state 3.0\n") == BrokerProgress(state=BrokerState.RUNNING)
    assert progress("kafka_server_broker_state 42.0\n").state is BrokerState.UNKNOWN, "of a newer Kafka"


def test_a_broker_whose_exporter_has_older_rules_is_a_problem() -> None:
    with pytest.raises(ValueError, match=f"no {STATE}"):
        progress("kafka_server_bytesin_one_minute_rate 5.0E7\n")


@pytest.mark.parametrize(
    "metrics",
    [
        DatadogMetrics(DatadogSource(source="datadog")),
        FileMetrics(FileSource(source="file", path=Path("/none"))),
        ZnodeMetrics(ZookeeperSource(source="zookeeper", hosts="none:2181")),
    ],
    ids=["datadog", "file", "zookeeper"],
)
def test_other_backends_say_that_they_have_no_states(metrics: BrokerMetrics) -> None:
    found = metrics.recovery([pod(1, "10.0.0.1"), pod(2, "10.0.0.2")])
    assert not found.by_broker and found.problems.keys() == {1, 2} and "exporter and prometheus have" in found.problems[1]


@pytest.fixture
def exporter() -> Iterator[ThreadingHTTPServer]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/plain; version=0.0.4")
            self.end_headers()
            self.wfile.write(TEXT.encode())

        def log_message(self, *_: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def test_both_backends_say_the_same_of_a_broker_that_recovers(exporter: ThreadingHTTPServer, tmp_path: Path) -> None:
    assert ExporterMetrics(exporter.server_port).recovery([pod(1, "127.0.0.1")]).by_broker == {1: RECOVERS}
    server = LocalPrometheus(tmp_path, {1: f"127.0.0.1:{exporter.server_port}"}, "main")
    try:
        server.start()
        server.wait_for(STATE, 1)
        found = of_cluster(server, "main").recovery([pod(1, "127.0.0.1"), pod(2, "127.0.0.2")])
        assert found.by_broker == {1: RECOVERS} and f'{STATE}: no series with broker_id="2"' in found.problems[2]
        assert not of_cluster(server, "other").recovery([pod(1, "127.0.0.1")]).by_broker
    finally:
        server.stop()


def of_cluster(server: LocalPrometheus, cluster: str) -> PrometheusMetrics:
    source = {"source": "prometheus", "url": server.url, "labels": {"cluster": cluster}}
    return PrometheusMetrics(PrometheusSource.model_validate(source))
