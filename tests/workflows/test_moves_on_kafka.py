"""The mover on a real Kafka of four brokers: reassignments, throttles, log directories and registrations as Kafka has them.

Kubernetes is the world in memory, whose pods carry the real brokers' ids; the lab is the place for both together.
"""

import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
import pytest_asyncio
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewTopic
from temporalio.testing import WorkflowEnvironment

from activities import step
from kafka_runbooks.clients.kafka import KafkaAdmin
from kafka_runbooks.models.cluster import ThrottledReplicas, ThrottleRates
from kafka_runbooks.models.operator import Abort, OperatorAction
from kafka_runbooks.models.results import Outcome
from tests.clients.local_kafka import LocalKafka, running
from tests.clients.test_kafka import until as eventually
from tests.fakes.world import World
from tests.temporal_env import Bench, bench
from tests.workflows.test_moves import failure, holds, until
from workflows.rebalance import Rebalance

pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
RACKS = {1001: "zone-a", 1002: "zone-b", 1003: "zone-c", 1004: "zone-d"}
PARTITIONS = 12
FAST: dict[str, Any] = {"throttle": {"mode": "fixed", "rate_bytes_per_s": 50_000_000}, "wait_for_approval": False}
SLOW: dict[str, Any] = {"throttle": {"mode": "fixed", "rate_bytes_per_s": 1_000_000}, "wait_for_approval": False}
ME = OperatorAction(by="alice", reason="because")


@pytest.fixture(scope="module")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalKafka]:
    with running(LocalKafka(tmp_path_factory.mktemp("kafka"), RACKS)) as cluster:
        produce(cluster)
        yield cluster


def produce(cluster: LocalKafka) -> None:
    """About 48 MB in twelve partitions on the first three brokers."""
    admin = AdminClient({"bootstrap.servers": cluster.bootstrap_servers})
    rows = [[1001 + number % 3, 1001 + (number + 1) % 3] for number in range(PARTITIONS)]
    topic = NewTopic("events.a", num_partitions=PARTITIONS, replica_assignment=rows, config={"min.insync.replicas": "1"})
    for future in admin.create_topics([topic]).values():
        future.result()
    producer = Producer({"bootstrap.servers": cluster.bootstrap_servers, "acks": "all"})
    for number in range(40 * PARTITIONS):
        producer.produce("events.a", b"x" * 100_000, partition=number % PARTITIONS)
        producer.poll(0)
    assert producer.flush(60) == 0


@pytest.fixture(scope="module")
def admin(kafka: LocalKafka) -> Iterator[KafkaAdmin]:
    admin = KafkaAdmin(kafka.bootstrap_servers)
    yield admin
    admin.close()


@pytest_asyncio.fixture
async def real(server: WorkflowEnvironment, admin: KafkaAdmin, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Bench]:
    monkeypatch.setattr(step, "POLL_SECONDS", 0.5)
    world = World(maps=("events",), zones=tuple(RACKS.values()))
    async with bench(server, world, admin) as ready:
        yield ready


def assignment(admin: KafkaAdmin) -> dict[str, tuple[int, ...]]:
    return {str(partition.name): partition.replicas for partition in admin.snapshot().partitions if partition.topic == "events.a"}


def nothing_is_left(admin: KafkaAdmin, world: World) -> None:
    assert admin.reassignments() == ()
    assert admin.throttled_replicas(["events.a"]) == {"events.a": ThrottledReplicas()}
    live = sorted(admin.snapshot().live_broker_ids)
    assert set(admin.throttle_rates(live).values()) == {ThrottleRates()}
    assert not [name for name, (kind, _) in world.records.items() if kind == "ledger"]


async def test_a_new_broker_takes_its_share_throttled(real: Bench, admin: KafkaAdmin) -> None:
    throttle = {"throttle": {"mode": "fixed", "rate_bytes_per_s": 4_000_000}, "wait_for_approval": False}
    began = time.monotonic()
    handle = await real.start_runbook("ScaleUp", brokers=[1004], level="replica count", **throttle)
    status = await until(handle, lambda status: status.progress is not None and status.progress.done_bytes > 0, 60)
    assert status.progress is not None and status.progress.total_bytes > 0
    assert any(rates.leader_bytes_per_s == 4_000_000 for rates in admin.throttle_rates([1001, 1002, 1003]).values())
    result = await handle.result()
    seconds = time.monotonic() - began
    assert result.outcome is Outcome.DONE, result.summary
    holds(result)
    assert result.copied_bytes >= 16_000_000
    assert seconds > 0.5 * result.copied_bytes / (3 * 4_000_000), "obeyed"
    assert any(1004 in row for row in assignment(admin).values())
    nothing_is_left(admin, real.world)


async def test_an_abort_with_rollback_ends_at_the_byte_exact_start(real: Bench, admin: KafkaAdmin) -> None:
    before = assignment(admin)
    wanted = [
        {"topic": "events.a", "partition": number, "replicas": [broker for broker in RACKS if broker not in row][::-1]}
        for number, row in enumerate(before[f"events.a-{number}"] for number in range(PARTITIONS))
    ]
    handle = await real.start_runbook("RunPlan", plan={"partitions": wanted}, **SLOW)
    await until(handle, lambda status: status.progress is not None and status.progress.done_partitions >= 1, 60)
    assert assignment(admin) != before
    await handle.execute_update(Rebalance.abort, Abort(by="alice", reason="wrong night", rollback=True))
    result = await failure(handle)
    assert result.outcome is Outcome.ABORTED
    assert assignment(admin) == before, result.summary
    holds(result)
    nothing_is_left(admin, real.world)


async def test_an_abort_without_rollback_leaves_no_order_that_nobody_planned(real: Bench, admin: KafkaAdmin) -> None:
    before = assignment(admin)
    wanted = [
        {"topic": "events.a", "partition": number, "replicas": [broker for broker in RACKS if broker not in row]}
        for number, row in enumerate(before[f"events.a-{number}"] for number in range(PARTITIONS))
    ]
    handle = await real.start_runbook("RunPlan", plan={"partitions": wanted}, **SLOW)
    await until(handle, lambda status: status.progress is not None and status.progress.done_bytes > 0, 60)
    await handle.execute_update(Rebalance.abort, Abort(by="alice", reason="enough"))
    assert (await failure(handle)).outcome is Outcome.ABORTED
    after = {name: tuple(broker for broker in RACKS if broker not in row) for name, row in before.items()}
    for name, row in assignment(admin).items():
        assert row in (before[name], after[name]), name
    nothing_is_left(admin, real.world)


async def test_leaders_out_and_back(real: Bench, admin: KafkaAdmin) -> None:
    before = assignment(admin)
    out = await (await real.start_runbook("EvacuateLeaders", brokers=[1001], **FAST)).result()
    assert out.outcome is Outcome.DONE, out.summary
    assert not any(partition.leader == 1001 for partition in admin.snapshot().partitions)
    back = await (await real.start_runbook("EvacuateLeaders", brokers=[1001], back=True, **FAST)).result()
    assert back.outcome is Outcome.DONE, back.summary
    assert assignment(admin) == before
    nothing_is_left(admin, real.world)


async def test_replication_factor_three_and_two_again(real: Bench, admin: KafkaAdmin) -> None:
    for factor in (3, 2):
        fields = {"topics": ["events.a"], "replication_factor": factor}
        result = await (await real.start_runbook("SetReplicationFactor", **fields, **FAST)).result()
        assert result.outcome is Outcome.DONE, result.summary
        holds(result)
        assert {len(row) for row in assignment(admin).values()} == {factor}
    assert result.copied_bytes == 0
    nothing_is_left(admin, real.world)


async def test_a_broker_leaves_for_good(real: Bench, admin: KafkaAdmin, kafka: LocalKafka) -> None:
    """New topics don't land on it, its pod goes only once it is empty, and it can be registered anew."""
    seen: list[dict[int, str | None]] = []
    confluent = AdminClient({"bootstrap.servers": kafka.bootstrap_servers})

    def before(act: str) -> None:
        if act == "write_record" and not seen and admin.log_directory_cordons([1004]) == {1004: "*"}:
            seen.append(admin.log_directory_cordons([1003, 1004]))
            confluent.create_topics([NewTopic("late", num_partitions=8, replication_factor=3)])["late"].result()

    def after(act: str) -> None:
        if act == "scale":
            kafka.kill(1004)

    wanted = [{"topic": "events.a", "partition": 0, "replicas": [1004, 1001]}]
    await (await real.start_runbook("RunPlan", plan={"partitions": wanted}, **FAST)).result()
    assert any(1004 in row for row in assignment(admin).values())
    real.world.before_act, real.world.after_act = before, after
    result = await (await real.start_runbook("Decommission", brokers=[1004], remove_pods=True, **FAST)).result()
    assert result.outcome is Outcome.DONE, result.summary
    holds(result)
    assert seen == [{1003: "", 1004: "*"}]
    snapshot = admin.snapshot()
    assert snapshot.live_broker_ids == {1001, 1002, 1003}
    assert len([partition for partition in snapshot.partitions if partition.topic == "late"]) == 8
    assert not any(1004 in partition.replicas for partition in snapshot.partitions)
    nothing_is_left(admin, real.world)
    admin.unregister_broker(1004)
    kafka.start_broker(1004)
    kafka.wait_for_brokers(4)
    fresh = KafkaAdmin(kafka.bootstrap_servers)
    try:  # Whoever comes with this id is not cordoned.
        eventually(lambda: fresh.log_directory_cordons([1004]) == {1004: ""}, 120)
    finally:
        fresh.close()
