"""Two real brokers with the JMX exporter as deployed, looked at directly and through a real Prometheus that scrapes them.

The brokers' traffic is known: a producer sends to the leader 1001, the follower 1002 fetches, a consumer reads from 1001.
"""

import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from kafka_runbooks.clients.errors import Refused, Unreachable
from kafka_runbooks.clients.metrics.exporter import METRICS, ExporterMetrics
from kafka_runbooks.clients.metrics.prometheus import PrometheusMetrics
from kafka_runbooks.clients.metrics.settings import PrometheusSource
from kafka_runbooks.clients.protocols import BrokerMetrics
from kafka_runbooks.models.kubernetes import BrokerPod
from kafka_runbooks.models.traffic import FIGURES, BrokerTraffic, TrafficReport
from kafka_runbooks.throttle import measurements
from tests.clients.local_kafka import LocalKafka, running
from tests.clients.local_prometheus import LocalPrometheus
from tests.clients.test_metrics_report import pod

# kafka-python leaves sockets to brokers that went away for the garbage collector.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
LEADER, FOLLOWER = 1001, 1002
SENT_BYTES = 40_000_000
TOPIC = "events"


@pytest.fixture(scope="module")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalKafka]:
    with running(LocalKafka(tmp_path_factory.mktemp("kafka"), {LEADER: "zone-a", FOLLOWER: "zone-b"}, exporter=True)) as cluster:
        admin = AdminClient({"bootstrap.servers": cluster.bootstrap_servers})
        admin.create_topics([NewTopic(TOPIC, num_partitions=1, replica_assignment=[[LEADER, FOLLOWER]])])[TOPIC].result()
        yield cluster


@pytest.fixture(scope="module")
def prometheus(kafka: LocalKafka, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalPrometheus]:
    targets = {broker_id: f"{host}:{kafka.metrics_port}" for broker_id, host in kafka.metrics_hosts.items()}
    server = LocalPrometheus(tmp_path_factory.mktemp("prometheus"), targets, "main")
    try:
        server.start()
        server.wait_for(METRICS["produce_p99_ms"], 2)
        yield server
    finally:
        server.stop()


@pytest.fixture(scope="module")
def traffic(kafka: LocalKafka) -> None:
    """40 MB written, replicated and read."""
    producer = Producer({"bootstrap.servers": kafka.bootstrap_servers, "acks": "all"})
    for _ in range(SENT_BYTES // 100_000):
        producer.produce(TOPIC, b"x" * 100_000, partition=0)
        producer.poll(0)
    assert producer.flush(30) == 0
    consumer = Consumer({"bootstrap.servers": kafka.bootstrap_servers, "group.id": "reader", "enable.auto.commit": False})
    consumer.assign([TopicPartition(TOPIC, 0, 0)])
    deadline = time.monotonic() + 30
    read = 0
    while read < SENT_BYTES and time.monotonic() < deadline:
        read += sum(len(message.value() or b"") for message in consumer.consume(100, timeout=1) if not message.error())
    consumer.close()
    assert read == SENT_BYTES


def pods(kafka: LocalKafka) -> list[BrokerPod]:
    return [pod(broker_id, host) for broker_id, host in kafka.metrics_hosts.items()]


def until(poll: Callable[[], TrafficReport], condition: Callable[[TrafficReport], bool], timeout_s: float = 30) -> TrafficReport:
    """A one-minute rate is brought up to date by Kafka every 5 s."""
    deadline = time.monotonic() + timeout_s
    while not condition(found := poll()):
        assert time.monotonic() < deadline, found
        time.sleep(0.3)
    return found


def flows(found: TrafficReport) -> bool:
    """Every direction that has traffic shows some."""
    if set(found.by_broker) != {LEADER, FOLLOWER}:
        return False
    leader, follower = found.by_broker[LEADER], found.by_broker[FOLLOWER]
    shown = (leader.in_bytes_per_s, leader.out_bytes_per_s, leader.replication_out_bytes_per_s)
    return all(rate is not None and rate > 10_000 for rate in (*shown, follower.replication_in_bytes_per_s))


def check_directions(leader: BrokerTraffic, follower: BrokerTraffic) -> None:
    assert leader.replication_in_bytes_per_s == 0 == follower.replication_out_bytes_per_s
    assert follower.in_bytes_per_s == 0 == follower.out_bytes_per_s
    # No equalities: a one-minute average weighs the same burst by where it falls between the meter's ticks, every 5 s.
    shown = (leader.in_bytes_per_s, leader.out_bytes_per_s, leader.replication_out_bytes_per_s)
    assert all(rate is not None and 0 < rate < SENT_BYTES for rate in (*shown, follower.replication_in_bytes_per_s))
    assert leader.produce_p99_ms and 0 < leader.produce_p99_ms < 60_000
    assert leader.fetch_p99_ms is not None and follower.produce_p99_ms == 0


@pytest.mark.usefixtures("traffic")
def test_the_exporter_of_each_broker_gives_traffic_by_direction_and_latency(kafka: LocalKafka) -> None:
    metrics = ExporterMetrics(kafka.metrics_port)
    found = until(lambda: metrics.traffic(pods(kafka)), flows)
    assert not found.problems
    check_directions(found.by_broker[LEADER], found.by_broker[FOLLOWER])
    assert abs((datetime.now(UTC) - found.by_broker[LEADER].measured_at).total_seconds()) < 30


@pytest.mark.usefixtures("traffic")
def test_two_polls_give_the_number_of_requests_completed_in_between_and_their_mean(kafka: LocalKafka) -> None:
    metrics = ExporterMetrics(kafka.metrics_port)
    before = metrics.traffic(pods(kafka)).by_broker[LEADER]
    producer = Producer({"bootstrap.servers": kafka.bootstrap_servers, "acks": "all"})
    took_ms = []
    for _ in range(20):
        began = time.monotonic()
        producer.produce(TOPIC, b"x", partition=0)
        assert producer.flush(30) == 0
        took_ms.append((time.monotonic() - began) * 1000)
    after = metrics.traffic(pods(kafka)).by_broker[LEADER]
    window = measurements.window(_totals(before), _totals(after))
    assert window is not None and window.requests == 20
    assert window.mean_ms is not None and 0 < window.mean_ms <= sum(took_ms) / len(took_ms)


def _totals(traffic: BrokerTraffic) -> measurements.RequestTotals:
    assert traffic.produce_requests is not None and traffic.produce_mean_ms is not None
    return measurements.RequestTotals(traffic.produce_requests, traffic.produce_mean_ms)


def source(prometheus: LocalPrometheus, **settings: object) -> PrometheusSource:
    return PrometheusSource.model_validate({"source": "prometheus", "url": prometheus.url, **settings})


@pytest.mark.usefixtures("traffic")
def test_prometheus_says_the_same_with_the_time_of_the_scrape(kafka: LocalKafka, prometheus: LocalPrometheus) -> None:
    metrics = PrometheusMetrics(source(prometheus, labels={"cluster": "main"}))
    found = until(lambda: metrics.traffic(pods(kafka)), flows)
    assert not found.problems
    check_directions(found.by_broker[LEADER], found.by_broker[FOLLOWER])
    scraped = found.by_broker[LEADER].measured_at
    age = (datetime.now(UTC) - scraped).total_seconds()
    assert 0 <= age < 10
    until(lambda: metrics.traffic(pods(kafka)), lambda later: flows(later) and later.by_broker[LEADER].measured_at > scraped)


def test_prometheus_queries_of_ones_own_with_their_own_time(kafka: LocalKafka, prometheus: LocalPrometheus) -> None:
    rate = "sum by (broker_id) (rate(kafka_server_bytesin_total[10s]))"
    measured_at = "min by (broker_id) (timestamp(kafka_server_bytesin_total))"
    queries = {"in_bytes_per_s": rate, "fetch_p99_ms": None}
    metrics = PrometheusMetrics(source(prometheus, queries=queries, measured_at=measured_at))
    found = until(lambda: metrics.traffic(pods(kafka)), lambda found: len(found.by_broker) == 2)
    assert found.by_broker[LEADER].fetch_p99_ms is None
    stale = PrometheusMetrics(source(prometheus, queries=queries, measured_at=f"{measured_at} - 90")).traffic(pods(kafka))
    assert not stale.by_broker
    assert f"in_bytes_per_s ({rate}): stale, 9" in stale.problems[LEADER]


def test_prometheus_of_another_cluster_or_label_has_no_series(kafka: LocalKafka, prometheus: LocalPrometheus) -> None:
    other = PrometheusMetrics(source(prometheus, labels={"cluster": "other"})).traffic(pods(kafka))
    assert not other.by_broker
    assert 'in_bytes_per_s (kafka_server_bytesin_one_minute_rate): no series with broker_id="1001"' in other.problems[LEADER]
    unknown = PrometheusMetrics(source(prometheus, broker_label="broker")).traffic(pods(kafka))
    assert 'no series with broker="1002"' in unknown.problems[FOLLOWER]


def test_prometheus_several_series_of_one_broker_are_no_figure(kafka: LocalKafka, prometheus: LocalPrometheus) -> None:
    ambiguous = {"produce_p99_ms": "kafka_network_request_total_time_ms"}
    found = PrometheusMetrics(source(prometheus, queries=ambiguous)).traffic(pods(kafka))
    assert not found.by_broker
    assert (
        'produce_p99_ms (kafka_network_request_total_time_ms): more than one series with broker_id="1001"' in found.problems[1001]
    )


@pytest.mark.parametrize(
    ("query", "why"),
    [("sum(", "answers 400: invalid parameter"), ("1 + 1", "answers with a scalar"), ("up[1m]", "answers with a matrix")],
)
def test_prometheus_refuses_a_query_by_its_text(prometheus: LocalPrometheus, query: str, why: str) -> None:
    metrics = PrometheusMetrics(source(prometheus, queries={"in_bytes_per_s": query}))
    with pytest.raises(Refused, match=why) as refused:
        metrics.traffic([pod(LEADER)])
    assert query in str(refused.value)


def test_a_broker_that_goes_is_a_problem_and_the_other_is_still_known(kafka: LocalKafka, prometheus: LocalPrometheus) -> None:
    """Last of the file: the follower stays down."""
    kafka.kill(FOLLOWER)
    found = ExporterMetrics(kafka.metrics_port).traffic(pods(kafka))
    assert set(found.by_broker) == {LEADER}
    assert f"{kafka.metrics_hosts[FOLLOWER]}:{kafka.metrics_port}/metrics doesn't answer" in found.problems[FOLLOWER]
    # A failed scrape ends the target's series at once, long before the five minutes of look-back.
    metrics = PrometheusMetrics(source(prometheus))
    found = until(lambda: metrics.traffic(pods(kafka)), lambda found: FOLLOWER in found.problems)
    assert set(found.by_broker) == {LEADER} and "no series" in found.problems[FOLLOWER]


def test_a_prometheus_that_stops_scraping_is_stale_and_one_that_is_down_unreachable(
    kafka: LocalKafka, prometheus: LocalPrometheus
) -> None:
    """Last of the file. Stopped and started without targets, it still answers with the old samples; their time shows it."""
    before = PrometheusMetrics(source(prometheus)).traffic(pods(kafka)).by_broker[LEADER]
    prometheus.stop()
    metrics: BrokerMetrics = PrometheusMetrics(source(prometheus))
    with pytest.raises(Unreachable, match=f"Prometheus {prometheus.url}/ doesn't answer"):
        metrics.traffic(pods(kafka))
    prometheus.configuration["scrape_configs"] = []
    prometheus.start()
    prometheus.wait_for(METRICS["in_bytes_per_s"] + f'{{broker_id="{LEADER}"}}', 1)
    time.sleep(2)
    found = PrometheusMetrics(source(prometheus, max_age_seconds=1)).traffic(pods(kafka))
    assert set(found.problems) == {LEADER, FOLLOWER}
    assert all(f"{figure} ({METRICS[figure]}): stale, " in found.problems[LEADER] for figure in FIGURES)
    fresh_enough = PrometheusMetrics(source(prometheus)).traffic(pods(kafka)).by_broker.get(LEADER)
    assert fresh_enough is not None and fresh_enough.measured_at >= before.measured_at
