"""kafka-kit's znodes on a real ZooKeeper: written and read byte for byte as its own tools do."""

import gzip
import json
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from kazoo.client import KazooClient
from kazoo.security import OPEN_ACL_UNSAFE, READ_ACL_UNSAFE

from kafka_runbooks.clients.errors import Conflict, Refused, Unreachable
from kafka_runbooks.clients.metrics_settings import ZookeeperSource
from kafka_runbooks.clients.metrics_znodes import ZnodeMetrics
from kafka_runbooks.models.cluster import TopicPartition
from kafka_runbooks.models.traffic import BrokerTraffic, StorageReport, TrafficReport
from tests.clients.local_zookeeper import LocalZookeeper
from tests.clients.test_metrics_report import pod

PARTITIONS, BROKERS = "/topicmappr/partitionmeta", "/topicmappr/brokermetrics"
STORAGE = StorageReport(
    measured_at=datetime(2026, 1, 1, tzinfo=UTC),
    size_bytes={TopicPartition("events", 0): 3_000_000_000, TopicPartition("events", 10): 5, TopicPartition("__x", 0): 0},
    free_bytes={1001: 80_000_000_000, 1002: 0},
)


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
        for path in ("/topicmappr", "/partitionmeta", "/brokermetrics"):
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


def test_what_is_written_is_kafka_kits_json_raw_or_gzipped_and_both_znodes_change_at_once(
    metrics: ZnodeMetrics, client: Any
) -> None:
    metrics.write(STORAGE, compress=False)
    partitions, first = client.get(PARTITIONS)
    brokers, second = client.get(BROKERS)
    assert partitions == b'{"__x":{"0":{"Size":0}},"events":{"0":{"Size":3000000000},"10":{"Size":5}}}'
    assert brokers == b'{"1001":{"StorageFree":80000000000},"1002":{"StorageFree":0}}'
    assert first.mzxid == second.mzxid
    metrics.write(STORAGE)
    zipped, third = client.get(PARTITIONS)
    assert zipped[:2] == b"\x1f\x8b" and gzip.decompress(zipped) == partitions
    assert gzip.decompress(client.get(BROKERS)[0]) == brokers
    assert third.version == 1 and client.get(BROKERS)[1].mzxid == third.mzxid


@pytest.mark.parametrize("pack", [bytes, gzip.compress], ids=["raw", "gzip"])
def test_what_metricsfetcher_wrote_is_read_raw_and_gzipped_alike(
    metrics: ZnodeMetrics, client: Any, pack: Callable[[bytes], bytes]
) -> None:
    """As Go prints float64: exponents from 1e21 on, fractions where an average has them."""
    partitions = b'{"__consumer_offsets":{"3":{"Size":1048.25}},"events":{"0":{"Size":2.5e+21},"1":{"Size":0}}}'
    client.create(PARTITIONS, pack(partitions), makepath=True)
    client.create(BROKERS, pack(b'{"1001":{"StorageFree":10000.5},"1002":{"StorageFree":20000}}'))
    found = metrics.storage()
    assert found.size_bytes == {
        TopicPartition("__consumer_offsets", 3): 1048,
        TopicPartition("events", 0): 2_500_000_000_000_000_000_000,
        TopicPartition("events", 1): 0,
    }
    assert found.free_bytes == {1001: 10_000, 1002: 20_000}
    assert not found.problems
    assert found.measured_at == datetime.fromtimestamp(client.get(PARTITIONS)[1].mtime / 1000, UTC)


def test_sizes_come_back_as_they_were_written(metrics: ZnodeMetrics) -> None:
    metrics.write(STORAGE)
    found = metrics.storage()
    assert found.model_copy(update={"measured_at": STORAGE.measured_at}) == STORAGE
    assert abs(found.measured_at - datetime.now(UTC)) < timedelta(seconds=30)


@pytest.mark.parametrize(("prefix", "path"), [("", "/partitionmeta"), ("/", "/partitionmeta"), ("a/b", "/a/b/partitionmeta")])
def test_a_prefix_is_kafka_kits_and_parents_are_made(zookeeper: LocalZookeeper, client: Any, prefix: str, path: str) -> None:
    metrics = opened(zookeeper, prefix=prefix)
    metrics.write(STORAGE)
    assert client.exists(path)
    assert metrics.storage().free_bytes == STORAGE.free_bytes


def test_traffic_is_carried_beside_the_free_bytes_that_kafka_kit_reads(metrics: ZnodeMetrics, client: Any) -> None:
    now = datetime.now(UTC)
    written = TrafficReport(by_broker={b: traffic(b, now) for b in (1001, 1003)}, problems={1002: "stale"})
    metrics.write(STORAGE, written, compress=False)
    brokers = json.loads(client.get(BROKERS)[0])
    assert {name: entry["StorageFree"] for name, entry in brokers.items()} == {"1001": 80_000_000_000, "1002": 0}
    found = metrics.traffic([pod(1001), pod(1002), pod(1003)])
    assert found.by_broker == {1001: written.by_broker[1001]}
    assert set(found.problems) == {1002, 1003}
    assert "in_bytes_per_s (/topicmappr/brokermetrics Traffic.in_bytes_per_s): missing" in found.problems[1002]


def test_stale_or_half_traffic_is_a_problem(metrics: ZnodeMetrics) -> None:
    now = datetime.now(UTC)
    late = traffic(1001, now - timedelta(seconds=300))
    half = traffic(1002, now, replication_in_bytes_per_s=None)
    metrics.write(STORAGE, TrafficReport(by_broker={1001: late, 1002: half}))
    found = metrics.traffic([pod(1001), pod(1002)])
    assert not found.by_broker
    assert "stale, 300 s old, at most 60 s" in found.problems[1001]
    assert found.problems[1002].endswith("Traffic.replication_in_bytes_per_s): missing")


def test_stale_sizes_are_an_error_that_names_the_older_znode(metrics: ZnodeMetrics, client: Any) -> None:
    metrics.write(STORAGE)
    time.sleep(1.1)
    client.set(BROKERS, client.get(BROKERS)[0])
    with pytest.raises(Unreachable, match=r"znode /topicmappr/partitionmeta is stale: 1 s old, at most 1 s"):
        metrics.storage(max_age_seconds=1)


def test_sizes_that_are_missing_or_nonsense_are_problems_not_zeros(metrics: ZnodeMetrics, client: Any) -> None:
    client.create(PARTITIONS, b'{"a":{"0":{"Size":-1},"1":{},"2":{"Size":NaN},"3":{"Size":7}}}', makepath=True)
    client.create(BROKERS, b'{"1001":{},"1002":{"StorageFree":"1"}}')
    found = metrics.storage()
    assert found.size_bytes == {TopicPartition("a", 3): 7} and not found.free_bytes
    assert found.problems == (
        "a-0 Size is -1",
        "a-1 Size is missing",
        "a-2 Size is nan",
        "broker 1001 StorageFree is missing",
        "broker 1002 StorageFree is '1'",
    )


@pytest.mark.parametrize(
    "value", [b"", b"{", b"\x1f\x8bhalf", gzip.compress(b"{}", mtime=0)[:-4], b"[]", b'{"x":1}', b'{"x":{"y":{}}}']
)
def test_a_znode_in_another_format_is_an_error_that_names_it(metrics: ZnodeMetrics, client: Any, value: bytes) -> None:
    client.create(PARTITIONS, value, makepath=True)
    client.create(BROKERS, b"{}")
    with pytest.raises(Unreachable, match="znode /topicmappr/partitionmeta isn't in kafka-kit's format"):
        metrics.storage()


def test_nobody_wrote_metrics(metrics: ZnodeMetrics) -> None:
    with pytest.raises(Unreachable, match=r"no znode /topicmappr/brokermetrics on ZooKeeper .*nobody has written"):
        metrics.traffic([pod(1001)])


def test_too_much_for_one_znode_is_refused_before_anything_is_written(metrics: ZnodeMetrics, client: Any) -> None:
    sizes = {TopicPartition(f"topic-with-a-long-name-{n}", 0): n for n in range(25_000)}
    with pytest.raises(Refused, match=r"znode /topicmappr/partitionmeta would have \d+ bytes, at most 1000000"):
        metrics.write(STORAGE.model_copy(update={"size_bytes": sizes}), compress=False)
    assert not client.exists("/topicmappr")
    metrics.write(STORAGE.model_copy(update={"size_bytes": sizes}))
    assert len(metrics.storage().size_bytes) == 25_000


def test_a_znode_that_is_not_ours_to_write_is_refused(metrics: ZnodeMetrics, client: Any) -> None:
    metrics.write(STORAGE)
    client.set_acls(BROKERS, READ_ACL_UNSAFE)
    before = client.get(PARTITIONS)[1].mzxid
    with pytest.raises(Refused, match="doesn't allow it: NoAuthError"):
        metrics.write(STORAGE)
    assert client.get(PARTITIONS)[1].mzxid == before, "one without the other"
    client.delete(BROKERS)
    client.create(BROKERS, b"{}", acl=OPEN_ACL_UNSAFE)


def test_a_znode_that_appears_meanwhile_is_a_conflict_and_nothing_is_written(
    metrics: ZnodeMetrics, client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    client.create(BROKERS, b"{}", makepath=True)
    monkeypatch.setattr(KazooClient, "exists", lambda self, path: None)
    with pytest.raises(Conflict, match=r"changed while they were written: .*NodeExistsError"):
        metrics.write(STORAGE)
    monkeypatch.undo()
    assert not client.exists(PARTITIONS)


def test_a_server_that_hangs_or_is_not_there_is_unreachable_in_bounded_time(
    zookeeper: LocalZookeeper, metrics: ZnodeMetrics
) -> None:
    metrics.write(STORAGE)
    zookeeper.pause()
    began = time.monotonic()
    try:
        with pytest.raises(Unreachable, match=f"ZooKeeper {zookeeper.hosts} doesn't answer in 5 s"):
            metrics.storage()
    finally:
        zookeeper.resume()
    assert time.monotonic() - began < 15
    with pytest.raises(Unreachable, match=r"ZooKeeper 127\.0\.0\.1:1 doesn't answer"):
        ZnodeMetrics(ZookeeperSource(source="zookeeper", hosts="127.0.0.1:1")).traffic([pod(1001)])
