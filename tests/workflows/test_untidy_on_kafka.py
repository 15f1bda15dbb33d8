"""What operators report of clusters that are not tidy, on a real Kafka: the last in-sync copy on a broker that is down, throttles
that are set for the whole cluster, brokers with several log directories.

Kubernetes is the world in memory; what brokers do is Kafka's own.
"""

import asyncio
import json
import re
import shutil
import subprocess
import sys
import time
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic
from temporalio.client import WorkflowFailureError
from temporalio.exceptions import ApplicationError
from temporalio.testing import WorkflowEnvironment

from activities import step
from kafka_runbooks.clients.kafka import KafkaAdmin
from kafka_runbooks.models.cluster import ThrottleRates
from kafka_runbooks.models.results import Outcome, RunbookResult
from tests.clients.local_kafka import LocalKafka
from tests.clients.test_kafka import until as eventually
from tests.fakes.world import World
from tests.temporal_env import Bench, bench
from tests.throttle.test_on_kafka import set_for_the_whole_cluster

pytestmark = [
    pytest.mark.server,
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]
RACKS = {1001: "zone-a", 1002: "zone-b", 1003: "zone-c", 1004: "zone-d"}
DEFAULT = 1_000_000
RESULT_SECONDS = 90.0
RATE_KEYS = ("leader.replication.throttled.rate", "follower.replication.throttled.rate")
FAST: dict[str, Any] = {"throttle": {"mode": "fixed", "rate_bytes_per_s": 50_000_000}, "wait_for_approval": False}


@contextmanager
def cluster(folder: Path, racks: dict[int, str] = RACKS, **more: Any) -> Iterator[LocalKafka]:
    kafka = LocalKafka(folder, racks, **more)
    try:
        kafka.start()
        yield kafka
    finally:
        kafka.stop()


@asynccontextmanager
async def runbooks(server: WorkflowEnvironment, kafka: LocalKafka) -> AsyncIterator[tuple[Bench, KafkaAdmin]]:
    """A worker, and the client that its steps use."""
    admin = KafkaAdmin(kafka.bootstrap_servers)
    world = World(maps=("events",), zones=tuple(kafka.racks.values()))
    try:
        async with bench(server, world, admin) as ready:
            yield ready, admin
    finally:
        admin.close()


@pytest.fixture(autouse=True)
def quick_polls(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(step, "POLL_SECONDS", 0.5)


def create(kafka: LocalKafka, topic: str, rows: list[list[int]]) -> None:
    admin = AdminClient({"bootstrap.servers": kafka.bootstrap_servers})
    config = {"min.insync.replicas": "1"}
    for future in admin.create_topics([NewTopic(topic, len(rows), replica_assignment=rows, config=config)]).values():
        future.result(30)


def produce(kafka: LocalKafka, topic: str, records: int, size_bytes: int = 1_000) -> None:
    kafka.wait_for_topics(topic)
    producer = Producer({"bootstrap.servers": kafka.bootstrap_servers, "acks": "all"})
    partitions = len(producer.list_topics(topic, timeout=20).topics[topic].partitions)
    for number in range(records):
        producer.produce(topic, b"x" * size_bytes, partition=number % partitions)
        producer.poll(0)
    assert producer.flush(60) == 0


def records(kafka: LocalKafka, topic: str) -> int:
    """How many records of partition 0 can be read."""
    consumer = Consumer({"bootstrap.servers": kafka.bootstrap_servers, "group.id": "any", "enable.auto.commit": False})
    try:
        _, end = consumer.get_watermark_offsets(TopicPartition(topic, 0), timeout=20)
        consumer.assign([TopicPartition(topic, 0, 0)])
        found, ends = 0, time.monotonic() + 30
        while found < end and time.monotonic() < ends:
            found += sum(message.error() is None for message in consumer.consume(1000, timeout=1.0))
        return found
    finally:
        consumer.close()


def in_sync(admin: KafkaAdmin, topic: str) -> set[int]:
    return {broker for one in admin.snapshot().partitions if one.topic == topic for broker in one.in_sync}


async def result_of(handle: Any) -> RunbookResult:
    """However it ends; where it doesn't, its status is the failure."""
    try:
        found: RunbookResult = await asyncio.wait_for(handle.result(), RESULT_SECONDS)
        return found
    except TimeoutError:
        status = json.dumps(await handle.query("status"))
        await handle.terminate("its test is over")
        raise AssertionError(f"no result after {RESULT_SECONDS} s: {status[:2000]}") from None
    except WorkflowFailureError as error:
        assert isinstance(error.cause, ApplicationError), error.cause
        return RunbookResult.model_validate(error.cause.details[0])


def place(kafka: LocalKafka, *arguments: str) -> tuple[int, dict[str, Any], str]:
    """Exit code, the answer as JSON, and all that was printed."""
    executable = Path(sys.executable).parent / "kafka-runbooks"
    argv = [str(executable), "place", "rebalance", "--bootstrap", kafka.bootstrap_servers, *arguments, "-o", "json"]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=120, stdin=subprocess.DEVNULL)
    return done.returncode, json.loads(done.stdout) if done.returncode == 0 else {}, done.stdout + done.stderr


async def test_no_set_loses_its_last_in_sync_copy_while_that_is_down(server: WorkflowEnvironment, tmp_path: Path) -> None:
    """Whatever a person acknowledges of a broker that is down: 1,000 records are on it alone."""
    with cluster(tmp_path, dict(list(RACKS.items())[:3])) as kafka:
        create(kafka, "events.last", [[1001, 1002, 1003]])
        async with runbooks(server, kafka) as (ready, admin):
            eventually(lambda: in_sync(admin, "events.last") == {1001, 1002, 1003}, 60)
            kafka.kill(1002)
            kafka.kill(1003)
            eventually(lambda: in_sync(admin, "events.last") == {1001}, 60)
            produce(kafka, "events.last", 1_000)
            kafka.kill(1001)
            kafka.start_broker(1002)
            kafka.start_broker(1003)
            eventually(lambda: admin.snapshot().live_broker_ids == {1002, 1003}, 90)
            asked: dict[str, Any] = {"topics": ["events.last"], "replication_factor": 2, **FAST}
            first = await result_of(await ready.start_runbook("SetReplicationFactor", **asked))
            risks = [reason.name for reason in first.reasons if reason.can_be_acknowledged and "data-loss" not in reason.name]
            again = await result_of(await ready.start_runbook("SetReplicationFactor", **asked, acknowledged_risks=risks))
            assert first.outcome is again.outcome is Outcome.REFUSED, again.summary
            assert any("events.last" in reason.message for reason in again.reasons), again.reasons
            kafka.start_broker(1001)
            kafka.wait_for_brokers(3)
            eventually(lambda: in_sync(admin, "events.last") == {1001, 1002, 1003}, 60)
            # Read by a fresh client, after all that.
            assert records(kafka, "events.last") == 1_000


def described(kafka: LocalKafka) -> dict[str, str]:
    """Broker 1001's rates, as Kafka has them in the end."""
    from confluent_kafka.admin import ConfigResource, ResourceType

    admin = AdminClient({"bootstrap.servers": kafka.bootstrap_servers})
    resource = ConfigResource(ResourceType.BROKER, "1001")
    entries = admin.describe_configs([resource])[resource].result(30)
    return {key: entries[key].value for key in RATE_KEYS if key in entries and entries[key].value}


async def levelled_under_a_default(server: WorkflowEnvironment, kafka: LocalKafka) -> None:
    """A Rebalance neither goes faster than what is set for all brokers, without a word, nor takes it away."""
    topic = f"events.{uuid.uuid4().hex[:6]}"
    create(kafka, topic, [[1001, 1002] if number % 2 else [1002, 1001] for number in range(8)])
    produce(kafka, topic, 80, 100_000)
    before = described(kafka)
    async with runbooks(server, kafka) as (ready, admin):
        handle = await ready.start_runbook("Rebalance", topics=[topic], level="replica count", **FAST)
        fastest, named, over = 0, False, False
        ends = time.monotonic() + RESULT_SECONDS
        while not over and time.monotonic() < ends:
            status = await handle.query("status")
            text = json.dumps([status["notes"], status["reasons"], (status["plan"] or {}).get("foreign_throttles")])
            named = named or re.search(r"default|server\.properties|all brokers|\b1 MB/s|1,?000,?000", text) is not None
            for rates in admin.throttle_rates([1001, 1002]).values():
                fastest = max(fastest, rates.leader_bytes_per_s or 0)
            over = (await handle.describe()).close_time is not None
        result = await result_of(handle)
        assert result.outcome is Outcome.DONE, result.summary
        assert result.copied_bytes > 1_000_000
        assert fastest <= DEFAULT or named, f"{fastest} B/s were set where {DEFAULT} hold for all, and nobody was told"
        assert described(kafka) == before, "still there afterwards"


async def test_the_cluster_s_default_throttle_is_seen(server: WorkflowEnvironment, tmp_path: Path) -> None:
    with cluster(tmp_path) as kafka:
        for key in RATE_KEYS:
            set_for_the_whole_cluster(kafka, key, str(DEFAULT))
        eventually(lambda: described(kafka) == dict.fromkeys(RATE_KEYS, str(DEFAULT)), 30)
        await levelled_under_a_default(server, kafka)
        assert described(kafka) == dict.fromkeys(RATE_KEYS, str(DEFAULT))


@pytest.mark.soak  # test_the_cluster_s_default_throttle_is_seen
async def test_a_throttle_in_server_properties_is_seen(server: WorkflowEnvironment, tmp_path: Path) -> None:
    with cluster(tmp_path, properties="".join(f"{key}={DEFAULT}\n" for key in RATE_KEYS)) as kafka:
        await levelled_under_a_default(server, kafka)


@pytest.fixture(scope="module")
def two_directories(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalKafka]:
    """Four brokers of two log directories on one volume; topics on the first three."""
    with cluster(tmp_path_factory.mktemp("kafka"), log_directories=2) as kafka:
        create(kafka, "events.jbod", [[1001 + number % 3, 1001 + (number + 1) % 3] for number in range(12)])
        produce(kafka, "events.jbod", 120, 100_000)
        yield kafka


def test_two_log_directories_on_one_volume_are_one_volume(two_directories: LocalKafka) -> None:
    code, planned, text = place(two_directories)
    assert code == 0, text
    size = shutil.disk_usage(two_directories.folder).total
    capacities = {broker["id"]: broker["capacity_bytes"] for broker in planned["summary"]["brokers"]}
    assert set(capacities) == set(RACKS)
    assert all(abs(capacity - size) < size / 100 for capacity in capacities.values()), (capacities, size)


@pytest.fixture
def failed(two_directories: LocalKafka) -> LocalKafka:
    """Broker 1002's second log directory is gone under it; it goes on with the first one."""
    directory = two_directories.log_directory(1002, 2)
    if directory.exists():
        directory.rename(directory.with_suffix(".gone"))
        admin = KafkaAdmin(two_directories.bootstrap_servers)
        try:  # Kafka notices when it next writes its checkpoints.
            eventually(lambda: any(1002 not in one.in_sync for one in admin.snapshot().partitions if 1002 in one.replicas), 90)
            assert 1002 in admin.snapshot().live_broker_ids
        finally:
            admin.close()
    return two_directories


def on_1002(reassignment: dict[str, Any], before: dict[str, list[int]]) -> list[str]:
    """Partitions that a plan newly gives to broker 1002."""
    rows = {f"{one['topic']}-{one['partition']}": one["replicas"] for one in reassignment["partitions"]}
    return [name for name, replicas in rows.items() if 1002 in replicas and 1002 not in before[name]]


def replicas(kafka: LocalKafka) -> dict[str, list[int]]:
    metadata = AdminClient({"bootstrap.servers": kafka.bootstrap_servers}).list_topics(timeout=20)
    return {f"{topic.topic}-{one.id}": one.replicas for topic in metadata.topics.values() for one in topic.partitions.values()}


def test_place_gives_nothing_to_a_broker_whose_log_directory_failed(failed: LocalKafka) -> None:
    code, planned, text = place(failed)
    assert code in (0, 1) and "Traceback" not in text, text
    assert "1002" in text and "log director" in text, text
    if planned:
        assert on_1002(planned["reassignment"], replicas(failed)) == []


async def test_another_broker_takes_the_place_of_one_whose_log_directory_failed(
    server: WorkflowEnvironment, failed: LocalKafka
) -> None:
    """Its offline replicas are copied from those that are in sync, and nothing of them is left on it."""
    async with runbooks(server, failed) as (ready, admin):
        asked = {"broker_id": 1002, "replacement_broker_id": 1004, "node_state": "returns", **FAST}
        first = await result_of(await ready.start_runbook("ReplaceBroker", **asked))
        if first.outcome is Outcome.REFUSED:  # a person reads why, and goes on
            risks = [reason.name for reason in first.reasons]
            assert all(reason.can_be_acknowledged for reason in first.reasons), first.reasons
            first = await result_of(await ready.start_runbook("ReplaceBroker", **asked, acknowledged_risks=risks))
        assert first.outcome is Outcome.DONE, first.summary
        assert not [name for name, row in replicas(failed).items() if 1002 in row]
        assert all(len(one.in_sync) == len(one.replicas) for one in admin.snapshot().partitions if one.topic == "events.jbod")


async def test_rebalance_gives_nothing_to_a_broker_whose_log_directory_failed(
    server: WorkflowEnvironment, failed: LocalKafka
) -> None:
    before = replicas(failed)
    async with runbooks(server, failed) as (ready, admin):
        handle = await ready.start_runbook("Rebalance", level="replica count", **FAST)
        result = await result_of(handle)
        status = json.dumps(await handle.query("status"))
        assert "log director" in result.model_dump_json() + status, result.summary
        newly = [name for name, row in replicas(failed).items() if 1002 in row and 1002 not in before[name]]
        assert newly == []
        assert result.outcome in (Outcome.DONE, Outcome.NOTHING_TO_DO, Outcome.REFUSED), result.summary
        assert set(admin.throttle_rates([1001, 1003, 1004]).values()) == {ThrottleRates()}
