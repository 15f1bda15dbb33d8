"""Traffic in kafka-kit's znode, on a real ZooKeeper."""

import gzip
import json
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from kazoo.client import KazooClient
from kazoo.security import OPEN_ACL_UNSAFE, make_acl

from kafka_runbooks.clients.errors import Refused, Unreachable
from kafka_runbooks.clients.metrics.settings import ZookeeperSource
from kafka_runbooks.clients.metrics.znodes import ZnodeMetrics
from kafka_runbooks.models.traffic import BrokerTraffic
from tests.clients.local_zookeeper import LocalZookeeper
from tests.clients.test_metrics_report import pod

ZNODE = "/topicmappr/brokermetrics"


@pytest.fixture(scope="module")
def zookeeper(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalZookeeper]:
    server = LocalZookeeper(tmp_path_factory.mktemp("zookeeper"))
    try:
        server.start()
        yield server
    finally:
        server.stop()


@pytest.fixture
def client(zookeeper: LocalZookeeper) -> Iterator[Any]:
    """A client of the test's own; the metrics' znodes are gone before each test."""
    client = KazooClient(hosts=zookeeper.hosts)
    client.start(timeout=15)
    try:
        for path in ("/topicmappr", "/brokermetrics", "/a"):
            client.delete(path, recursive=True)
        yield client
    finally:
        client.stop()
        client.close()


@pytest.fixture
def metrics(zookeeper: LocalZookeeper, client: Any) -> ZnodeMetrics:
    return opened(zookeeper)


def opened(zookeeper: LocalZookeeper, **settings: object) -> ZnodeMetrics:
    return ZnodeMetrics(ZookeeperSource.model_validate({"source": "zookeeper", "hosts": zookeeper.hosts, **settings}))


def traffic(broker_id: int, at: datetime, **changed: float | None) -> BrokerTraffic:
    figures: dict[str, float | None] = {
        "in_bytes_per_s": 1.5e6,
        "out_bytes_per_s": 2e6,
        "replication_in_bytes_per_s": 3e6,
        "replication_out_bytes_per_s": 0.0,
        "produce_p99_ms": 4.25,
        "fetch_p99_ms": 500.0,
    }
    return BrokerTraffic.model_validate({"broker_id": broker_id, "measured_at": at, **figures, **changed})


def value(*brokers: BrokerTraffic) -> bytes:
    """The znode's JSON: each broker's free bytes as metricsfetcher writes them, and beside them its traffic."""
    figures = {str(one.broker_id): one.model_dump(mode="json", exclude={"broker_id"}, exclude_none=True) for one in brokers}
    return json.dumps({name: {"StorageFree": 10000.5, "Traffic": traffic} for name, traffic in figures.items()}).encode()


@pytest.mark.parametrize("pack", [bytes, gzip.compress], ids=["raw", "gzip"])
def test_traffic_beside_the_free_bytes_is_read_raw_and_gzipped(
    metrics: ZnodeMetrics, client: Any, pack: Callable[[bytes], bytes]
) -> None:
    first, third = traffic(1001, datetime.now(UTC)), traffic(1003, datetime.now(UTC))
    client.create(ZNODE, pack(value(first, third)), makepath=True)
    found = metrics.traffic([pod(1001), pod(1003)])
    assert found.by_broker == {1001: first, 1003: third} and not found.problems


def test_znodes_of_metricsfetcher_alone_make_each_broker_a_problem(metrics: ZnodeMetrics, client: Any) -> None:
    client.create(ZNODE, b'{"1001":{"StorageFree":10000.5},"1002":{"StorageFree":2.5e+21}}', makepath=True)
    found = metrics.traffic([pod(1001), pod(1002), pod(1003)])
    assert not found.by_broker and set(found.problems) == {1001, 1002, 1003}
    assert "in_bytes_per_s (/topicmappr/brokermetrics Traffic.in_bytes_per_s): missing" in found.problems[1002]


@pytest.mark.parametrize(("prefix", "path"), [("", "/brokermetrics"), ("/", "/brokermetrics"), ("a/b", "/a/b/brokermetrics")])
def test_the_prefix_is_kafka_kits(zookeeper: LocalZookeeper, client: Any, prefix: str, path: str) -> None:
    client.ensure_path(path)
    client.set(path, value(traffic(1001, datetime.now(UTC))))
    assert set(opened(zookeeper, prefix=prefix).traffic([pod(1001)]).by_broker) == {1001}


def test_stale_or_partial_traffic_is_a_problem(metrics: ZnodeMetrics, client: Any) -> None:
    now = datetime.now(UTC)
    late = traffic(1001, now - timedelta(seconds=300))
    partial = traffic(1002, now, replication_in_bytes_per_s=None)
    client.create(ZNODE, value(late, partial), makepath=True)
    found = metrics.traffic([pod(1001), pod(1002)])
    assert not found.by_broker
    assert "stale, 300 s old, at most 60 s" in found.problems[1001]
    assert found.problems[1002].endswith("Traffic.replication_in_bytes_per_s): missing")


@pytest.mark.parametrize(
    "written", [b"", b"{", b"\x1f\x8bhalf", gzip.compress(b"{}", mtime=0)[:-4], b"[]", b'{"x":1}', b'{"x":{"y":{}}}']
)
def test_a_znode_in_another_format_is_an_error_that_names_it(metrics: ZnodeMetrics, client: Any, written: bytes) -> None:
    client.create(ZNODE, written, makepath=True)
    with pytest.raises(Unreachable, match="znode /topicmappr/brokermetrics isn't in kafka-kit's format"):
        metrics.traffic([pod(1001)])


def test_no_znode_at_all_is_unreachable(metrics: ZnodeMetrics) -> None:
    with pytest.raises(Unreachable, match=r"no znode /topicmappr/brokermetrics on ZooKeeper .*nothing has written metrics"):
        metrics.traffic([pod(1001)])


def test_a_znode_that_may_not_be_read_is_refused(metrics: ZnodeMetrics, client: Any) -> None:
    write_only = make_acl("world", "anyone", write=True, delete=True, create=True, admin=True)
    client.create(ZNODE, value(traffic(1001, datetime.now(UTC))), makepath=True)
    client.set_acls(ZNODE, [write_only])
    try:
        with pytest.raises(Refused, match="doesn't allow it: NoAuthError"):
            metrics.traffic([pod(1001)])
    finally:
        client.set_acls(ZNODE, OPEN_ACL_UNSAFE)


def test_a_server_that_hangs_or_is_not_there_is_unreachable_in_bounded_time(
    zookeeper: LocalZookeeper, metrics: ZnodeMetrics
) -> None:
    zookeeper.pause()
    began = time.monotonic()
    try:
        with pytest.raises(Unreachable, match=f"ZooKeeper {zookeeper.hosts} doesn't answer in 5 s"):
            metrics.traffic([pod(1001)])
    finally:
        zookeeper.resume()
    assert time.monotonic() - began < 15
    with pytest.raises(Unreachable, match=r"ZooKeeper 127\.0\.0\.1:1 doesn't answer"):
        ZnodeMetrics(ZookeeperSource(source="zookeeper", hosts="127.0.0.1:1")).traffic([pod(1001)])
