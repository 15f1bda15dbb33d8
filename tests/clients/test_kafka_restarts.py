"""What a rolling restart asks of real brokers: configurations by level, and how far one is with its start after a kill."""

import time
from collections.abc import Iterator

import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewTopic

from kafka_runbooks.clients.errors import Unreachable
from kafka_runbooks.clients.kafka import KafkaAdmin
from kafka_runbooks.clients.metrics.exporter import ExporterMetrics
from kafka_runbooks.clients.own_configs import OwnConfigsClient
from kafka_runbooks.models.recovery import BrokerProgress, BrokerState
from tests.clients.local_kafka import LocalKafka, running
from tests.clients.test_metrics_report import pod

# kafka-python leaves sockets to brokers that went away for the garbage collector.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
FIRST, SECOND = 1001, 1002
BROKERS = (FIRST, SECOND)
MEGABYTES = 120
PROPERTIES = """log.segment.bytes=1048576
num.recovery.threads.per.data.dir=1
log.flush.offset.checkpoint.interval.ms=3600000
num.io.threads=3
log.retention.hours=100
"""
"""Small segments, one thread, and no checkpoint of what is on the disk already: there is much to recover."""


@pytest.fixture(scope="module")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalKafka]:
    racks = {FIRST: "zone-a", SECOND: "zone-b"}
    with running(LocalKafka(tmp_path_factory.mktemp("kafka"), racks, exporter=True, properties=PROPERTIES)) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def admin(kafka: LocalKafka) -> Iterator[KafkaAdmin]:
    admin = KafkaAdmin(kafka.bootstrap_servers)
    yield admin
    admin.close()


def test_configurations_say_at_which_level_they_are_set(admin: KafkaAdmin) -> None:
    found = admin.broker_configs(BROKERS, ["num.io.threads", "log.dirs", "ssl.keystore.password", "log.retention.ms", "no.such"])
    assert found.keys() == set(BROKERS) and found[FIRST].keys() == {
        "num.io.threads",
        "log.dirs",
        "ssl.keystore.password",
        "log.retention.ms",
    }
    threads = found[FIRST]["num.io.threads"]
    assert (threads.in_force, threads.own, threads.for_all, threads.in_file) == ("3", None, None, "3")
    assert not threads.is_read_only and not threads.is_sensitive
    assert found[FIRST]["log.dirs"].is_read_only and found[FIRST]["ssl.keystore.password"].is_sensitive
    retention = found[FIRST]["log.retention.ms"]
    assert retention.in_file is None and retention.in_force is None, "the hours in the file are another key, also for Kafka"
    assert len(admin.broker_configs([FIRST])[FIRST]) > 200 and admin.broker_configs([4711]) == {}


def test_values_are_set_on_one_or_all_read_back_and_given_back(admin: KafkaAdmin) -> None:
    assert admin.set_broker_configs(FIRST, {"num.io.threads": "4", "background.threads": "12"}) == {}
    assert admin.set_broker_configs(None, {"num.io.threads": "5"}) == {}
    found = {broker: configs["num.io.threads"] for broker, configs in admin.broker_configs(BROKERS, ["num.io.threads"]).items()}
    assert found[FIRST][:4] == ("4", "4", "5", "3") and found[SECOND][:4] == ("5", None, "5", "3")
    assert admin.set_broker_configs(FIRST, {"num.io.threads": None, "background.threads": None}) == {}
    assert admin.set_broker_configs(None, {"num.io.threads": None}) == {}
    assert {one["num.io.threads"].in_force for one in admin.broker_configs(BROKERS, ["num.io.threads"]).values()} == {"3"}


def test_what_kafka_refuses_is_named_and_the_rest_is_set(admin: KafkaAdmin) -> None:
    refused = admin.set_broker_configs(FIRST, {"num.io.threads": "4", "log.dirs": "/elsewhere", "num.network.threads": "many"})
    assert refused.keys() == {"log.dirs", "num.network.threads"} and "dynamically" in refused["log.dirs"]
    assert admin.broker_configs([FIRST], ["num.io.threads"])[FIRST]["num.io.threads"].own == "4"
    assert admin.set_broker_configs(FIRST, {"num.io.threads": None}) == {} == admin.set_broker_configs(FIRST, {})
    assert admin.set_broker_configs(None, {"log.dirs": "/elsewhere"}).keys() == {"log.dirs"}
    with pytest.raises(Unreachable):
        admin.set_broker_configs(4711, {"num.io.threads": "4"})


def test_the_agent_is_told_what_its_broker_can_apply(kafka: LocalKafka) -> None:
    own = OwnConfigsClient(f"127.0.0.1:{kafka.ports[FIRST]}", FIRST)
    names = ["num.io.threads", "log.dirs", "ssl.keystore.password", "no.such", "listener.name.x.ssl.key.password"]
    assert own.updatable(names) == {"num.io.threads"}


def test_after_a_kill_the_rest_of_the_recovery_is_told_until_the_broker_serves(kafka: LocalKafka) -> None:
    """Last of the file: the broker is killed."""
    confluent = AdminClient({"bootstrap.servers": kafka.bootstrap_servers})
    confluent.create_topics([NewTopic("events", num_partitions=4, replica_assignment=[[FIRST]] * 4)])["events"].result()
    producer = Producer({"bootstrap.servers": kafka.bootstrap_servers, "acks": "all", "batch.size": 2_000})
    for number in range(MEGABYTES * 1_000):
        producer.produce("events", b"x" * 1_000, partition=number % 4)
        if number % 1_000 == 0:
            producer.poll(0)
            while len(producer) > 20_000:
                producer.poll(0.1)
    assert producer.flush(60) == 0
    exporter, pods = ExporterMetrics(kafka.metrics_port), [pod(FIRST, kafka.metrics_hosts[FIRST])]
    assert exporter.recovery(pods).by_broker == {FIRST: BrokerProgress(state=BrokerState.RUNNING)}
    kafka.kill(FIRST)
    down = exporter.recovery(pods)
    assert not down.by_broker and "doesn't answer" in down.problems[FIRST], "all are silent, and that is no error here"
    kafka.start_broker(FIRST)
    seen: list[BrokerProgress] = []
    deadline = time.monotonic() + 90
    while not seen or seen[-1].state is not BrokerState.RUNNING:
        assert time.monotonic() < deadline, seen[-5:]
        if (found := exporter.recovery(pods).by_broker.get(FIRST)) is not None and found not in seen[-1:]:
            seen.append(found)
        time.sleep(0.02)
    recovering = [one for one in seen if one.remaining_logs]
    assert recovering and {one.state for one in recovering} <= {BrokerState.STARTING, BrokerState.RECOVERY}
    # Segments are those of the log in hand, so they rise again with the next one.
    logs = [one.remaining_logs for one in recovering]
    assert logs == sorted(logs, reverse=True), recovering
    assert max(one.remaining_segments for one in recovering) > 10 and len({one.remaining_segments for one in recovering}) > 1
    assert seen[-1] == BrokerProgress(state=BrokerState.RUNNING)
