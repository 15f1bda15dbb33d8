"""`TopicReconcile` on a real Kafka of four brokers: topics as Kafka makes, grows, configures, moves and deletes them.

Kubernetes is the world in memory, whose pods carry the real brokers' ids.
"""

from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from typing import Any

import pytest
import pytest_asyncio
from confluent_kafka import Producer
from temporalio.testing import WorkflowEnvironment

from activities import applied_topics, step
from kafka_runbooks.clients import store
from kafka_runbooks.clients.kafka import KafkaAdmin
from kafka_runbooks.models.results import Outcome, RunbookResult
from kafka_runbooks.models.topic_changes import NewTopic
from tests.clients.local_kafka import LocalKafka, running
from tests.clients.test_kafka import until
from tests.fakes import FakeKubernetes
from tests.fakes.world import World
from tests.temporal_env import Bench, bench
from tests.topics.builders import topic
from tests.workflows.test_moves import failure, holds

pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
RACKS = {1001: "zone-a", 1002: "zone-b", 1003: "zone-c", 1004: "zone-d"}
NOW: dict[str, Any] = {"wait_for_approval": False, "throttle": {"mode": "fixed", "rate_bytes_per_s": 50_000_000}}
MAPS = "maps:\n  - {name: events, topics: '.*'}\ntopics:\n"
FIRST = MAPS + topic("a", 4, 2, configs="{retention.ms: 3600000}") + topic("b", 1, 3)


@pytest.fixture(scope="module")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalKafka]:
    with running(LocalKafka(tmp_path_factory.mktemp("kafka"), RACKS)) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def admin(kafka: LocalKafka) -> Iterator[KafkaAdmin]:
    admin = KafkaAdmin(kafka.bootstrap_servers)
    yield admin
    admin.close()


@pytest.fixture(scope="module")
def known() -> World:
    """One for all tests: it has the record of what was applied."""
    return World(maps=("events",), zones=tuple(RACKS.values()))


@pytest_asyncio.fixture
async def real(
    server: WorkflowEnvironment, admin: KafkaAdmin, known: World, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Bench]:
    monkeypatch.setattr(step, "POLL_SECONDS", 0.5)
    async with bench(server, known, admin, cluster="real") as ready:
        yield ready


async def run(real: Bench, text: str, **fields: Any) -> RunbookResult:
    real.world.definitions["topics"] = {"topics.yaml": text}
    return await (await real.start_runbook("TopicReconcile", **NOW, **fields)).result()


def rows(admin: KafkaAdmin, name: str) -> list[tuple[int, ...]]:
    return [partition.replicas for partition in admin.snapshot([name]).partitions]


async def test_topics_are_made_and_then_there_is_nothing_to_do(real: Bench, admin: KafkaAdmin) -> None:
    result = await run(real, FIRST)
    assert result.outcome is Outcome.DONE, result.summary
    holds(result)
    assert sorted(broker for row in rows(admin, "a") for broker in row) == sorted([*RACKS, *RACKS])
    assert sorted(row[0] for row in rows(admin, "a")) == sorted(RACKS)
    assert admin.topic_configs(["a", "b"]).own == {"a": {"retention.ms": "3600000"}, "b": {}}
    assert (await run(real, FIRST)).outcome is Outcome.NOTHING_TO_DO


async def test_they_are_grown_configured_and_moved_in_one_run(real: Bench, admin: KafkaAdmin) -> None:
    before = rows(admin, "a")
    text = MAPS + topic("a", 6, 3, configs="{min.insync.replicas: 2}") + topic("b", 1, 1)
    result = await run(real, text, acknowledged_risks=["keys-move:a", "no-spare-replica:b"])
    assert result.outcome is Outcome.DONE, result.summary
    holds(result)
    assert [set(old) <= set(new) for old, new in zip(before, rows(admin, "a"), strict=False)] == [True] * 4
    assert [len(row) for row in rows(admin, "a")] == [3] * 6 and len(rows(admin, "b")[0]) == 1
    assert admin.topic_configs(["a"]).own == {"a": {"min.insync.replicas": "2"}}
    assert admin.reassignments() == ()
    assert (await run(real, text)).outcome is Outcome.NOTHING_TO_DO


async def test_what_kafka_refuses_is_told_by_line_and_nothing_is_made(real: Bench, admin: KafkaAdmin) -> None:
    real.world.definitions["topics"] = {"x.yaml": MAPS + topic("c", 1, 1) + topic("d", 1, 1, configs="{retention.ms: soon}")}
    result = await failure(await real.start_runbook("TopicReconcile", **NOW))
    assert result.outcome is Outcome.REFUSED
    assert [reason.message.partition(": Kafka says")[0] for reason in result.reasons] == ["ConfigMap topics x.yaml:5: d"]
    assert rows(admin, "c") == []


async def test_a_broker_that_goes_down_during_the_creation_gets_its_replicas_when_it_is_back(
    real: Bench, admin: KafkaAdmin, kafka: LocalKafka
) -> None:
    def before(act: str) -> None:
        if act == "write_record" and 1004 not in killed:
            killed.append(1004)
            kafka.kill(1004)

    killed: list[int] = []
    real.world.before_act = before
    text = MAPS + topic("a", 6, 3, configs="{min.insync.replicas: 2}") + topic("b", 1, 1) + topic("down", 4, 3)
    try:
        result = await run(real, text)
    finally:
        real.world.before_act = lambda act: None
        if killed:
            kafka.start_broker(1004)
            kafka.wait_for_brokers(4)
    assert killed and result.outcome in (Outcome.DONE, Outcome.NOTHING_TO_DO), result.summary
    assert (await run(real, text)).outcome in (Outcome.DONE, Outcome.NOTHING_TO_DO)
    until(lambda: all(len(one.in_sync) == 3 for one in admin.snapshot(["down"]).partitions) and len(rows(admin, "down")) == 4, 60)


async def test_a_topic_is_deleted_once_nothing_was_produced_to_it_for_an_hour(
    real: Bench, admin: KafkaAdmin, kafka: LocalKafka
) -> None:
    admin.create_topics([NewTopic(name="old", replicas=((1001,), (1002,)))])
    until(lambda: len(rows(admin, "old")) == 2)
    text = MAPS + topic("old", 2, 1, delete="true")
    real.clusters.allow_deletion()
    for produces in (True, False):
        assert (await run(real, text)).outcome is Outcome.NOTHING_TO_DO
        kubernetes, name = FakeKubernetes(real.world), applied_topics.name_of("real")
        seen = applied_topics.load(kubernetes, "real")
        earlier = tuple(one.model_copy(update={"since": one.since - timedelta(hours=2)}) for one in seen.quiet)
        store.save(kubernetes, store.TOPICS, name, seen.model_copy(update={"quiet": earlier}), "earlier")
        if produces:
            producer = Producer({"bootstrap.servers": kafka.bootstrap_servers})
            producer.produce("old", b"x", partition=1)
            assert producer.flush(30) == 0
    result = await run(real, text)
    assert result.outcome is Outcome.DONE, result.summary
    holds(result)
    until(lambda: "old" not in admin.snapshot().topic_ids)
    assert {"a", "b"} <= admin.snapshot().topic_ids.keys(), "what no definition has is nobody's to delete"
