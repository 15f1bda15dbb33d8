"""Runbooks that move data, on a real Kafka 3.9 of four brokers in ZooKeeper mode: each once, and what can't be done is refused.

Kubernetes is the world in memory, whose pods carry the real brokers' ids.
"""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import pytest
import pytest_asyncio
from temporalio.testing import WorkflowEnvironment

from activities import step
from kafka_runbooks.clients.kafka import KafkaAdmin
from kafka_runbooks.clients.protocols import ZooKeeper
from kafka_runbooks.clients.zookeeper.client import ZooKeeperClient
from kafka_runbooks.clients.zookeeper.settings import ZookeeperSettings
from kafka_runbooks.models.diagnosis import Diagnosis, DoctorInput
from kafka_runbooks.models.results import Outcome
from tests.clients.local_kafka import running
from tests.clients.local_zookeeper_kafka import LocalZookeeperKafka
from tests.fakes.world import World
from tests.temporal_env import Bench, bench
from tests.workflows import test_moves_on_kafka
from tests.workflows.test_moves import failure, holds, until
from tests.workflows.test_moves_on_kafka import (
    FAST,
    PARTITIONS,
    RACKS,
    SLOW,
    admin,
    assignment,
    nothing_is_left,
    produce,
    test_a_new_broker_takes_its_share_throttled,
    test_leaders_out_and_back,
    test_replication_factor_three_and_two_again,
)
from workflows.doctor import Doctor

__all__ = [
    "admin",
    "test_a_new_broker_takes_its_share_throttled",
    "test_leaders_out_and_back",
    "test_replication_factor_three_and_two_again",
]

pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


@pytest.fixture(scope="module")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalZookeeperKafka]:
    with running(LocalZookeeperKafka(tmp_path_factory.mktemp("kafka"), RACKS)) as cluster:
        produce(cluster)
        yield cluster


@pytest.fixture(autouse=True)
def quick_polls(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(step, "POLL_SECONDS", 0.5)


@asynccontextmanager
async def runbooks(server: WorkflowEnvironment, kafka: KafkaAdmin, zookeeper: ZooKeeper | None) -> AsyncIterator[Bench]:
    async with bench(server, World(maps=("events",), zones=tuple(RACKS.values())), kafka, zookeeper=zookeeper) as ready:
        yield ready


@pytest_asyncio.fixture
async def real(server: WorkflowEnvironment, kafka: LocalZookeeperKafka, admin: KafkaAdmin) -> AsyncIterator[Bench]:
    async with runbooks(server, admin, ZooKeeperClient(ZookeeperSettings(hosts=kafka.hosts))) as ready:
        yield ready


@pytest_asyncio.fixture
async def without_ensemble(server: WorkflowEnvironment, admin: KafkaAdmin) -> AsyncIterator[Bench]:
    """A worker whose clusters.yaml names no ZooKeeper."""
    async with runbooks(server, admin, None) as ready:
        yield ready


async def test_a_plan_is_run_and_a_rebalance_undoes_it(real: Bench, admin: KafkaAdmin) -> None:
    wanted = [{"topic": "events.a", "partition": number, "replicas": [1001, 1002]} for number in range(4)]
    result = await (await real.start_runbook("RunPlan", plan={"partitions": wanted}, **FAST)).result()
    assert result.outcome is Outcome.DONE, result.summary
    holds(result)
    result = await (await real.start_runbook("Rebalance", level="replica count", **FAST)).result()
    assert result.outcome is Outcome.DONE, result.summary
    holds(result)
    held = [sum(broker in row for row in assignment(admin).values()) for broker in RACKS]
    assert max(held) - min(held) <= 1, held
    nothing_is_left(admin, real.world)


# test_a_plan_is_run_and_a_rebalance_undoes_it is the same without a failover.
@pytest.mark.soak
async def test_moves_go_on_when_the_controller_loses_its_session(
    real: Bench, admin: KafkaAdmin, kafka: LocalZookeeperKafka
) -> None:
    """The former one goes on to take itself for the controller until it hears from ZooKeeper again."""
    before = assignment(admin)
    after = {name: tuple(broker for broker in RACKS if broker not in row)[:2] for name, row in before.items()}
    wanted = [{"topic": "events.a", "partition": number, "replicas": after[f"events.a-{number}"]} for number in range(PARTITIONS)]
    handle = await real.start_runbook("RunPlan", plan={"partitions": wanted}, **SLOW)
    await until(handle, lambda status: status.progress is not None and status.progress.done_bytes > 0, 60)
    former = admin.snapshot().controller_id
    assert former is not None
    kafka.cut(former)
    try:
        await asyncio.to_thread(kafka.until_registered, former, False)
    finally:
        kafka.mend(former)
    result = await handle.result()
    assert result.outcome is Outcome.DONE, result.summary
    holds(result)
    assert admin.snapshot().controller_id != former
    assert assignment(admin) == after
    nothing_is_left(admin, real.world)


# tests/workflows/test_moves_on_kafka.py has the same in KRaft mode.
@pytest.mark.soak
async def test_an_abort_takes_everything_back(real: Bench, admin: KafkaAdmin) -> None:
    await test_moves_on_kafka.test_an_abort_with_rollback_ends_at_the_byte_exact_start(real, admin)


async def test_what_lets_a_disk_go_is_refused_without_the_ensemble_and_the_line_is_told(without_ensemble: Bench) -> None:
    for runbook, fields in (
        ("Decommission", {"brokers": [1004], "remove_pods": True}),
        ("ReplaceBroker", {"broker_id": 1004, "node_is_gone": True}),
    ):
        result = await failure(await without_ensemble.start_runbook(runbook, wait_for_approval=False, **fields))
        assert result.outcome is Outcome.REFUSED, result.summary
        (reason,) = [one for one in result.reasons if one.name == "no-zookeeper"]
        assert "zookeeper: {hosts: 'HOST:2181,HOST:2181,HOST:2181/CHROOT'}" in reason.remedy


async def test_what_upgrade_would_finalise_is_a_configuration_here(real: Bench) -> None:
    for name in {pod.stateful_set for pod in real.world.pods.values()}:
        real.world.change_template(name)
    result = await failure(await real.start_runbook("Upgrade", reason="3.9.3", wait_for_approval=False))
    assert result.outcome is Outcome.REFUSED
    assert "no-metadata-version" in [one.name for one in result.reasons], result.reasons


async def test_doctor_says_what_stands_in_the_way_of_kraft(real: Bench, without_ensemble: Bench) -> None:
    async def diagnosed(where: Bench) -> Diagnosis:
        request = DoctorInput(cluster=where.cluster)
        found: Diagnosis = await where.client.execute_workflow(
            Doctor.run, request, id=f"{where.cluster}/doctor", task_queue=where.task_queue
        )
        return found

    found = await diagnosed(real)
    assert [check.fault for check in found.faults if check.about in ("ZooKeeper", "Kafka", "version", "StatefulSet")] == []
    assert any("4 brokers have sessions" in check.what for check in found.checks)
    migration = [check for check in found.checks if check.hinders == "migration"]
    assert len(migration) == 8 and not [check.fault for check in migration if check.fault is not None]
    (missing,) = [check for check in (await diagnosed(without_ensemble)).faults if check.about == "ZooKeeper"]
    assert missing.remedy is not None and "zookeeper: {hosts:" in missing.remedy


async def test_a_broker_leaves_for_good(real: Bench, admin: KafkaAdmin, kafka: LocalZookeeperKafka) -> None:
    """Nothing is unregistered: its registration ends with its session. Last of the file: the broker is gone."""
    assert any(1004 in row for row in assignment(admin).values())

    def after(act: str) -> None:
        if act == "scale":
            kafka.kill(1004)

    real.world.after_act = after
    result = await (await real.start_runbook("Decommission", brokers=[1004], remove_pods=True, **FAST)).result()
    assert result.outcome is Outcome.DONE, result.summary
    holds(result)
    snapshot = admin.snapshot()
    assert snapshot.live_broker_ids == {1001, 1002, 1003}
    assert not any(1004 in partition.replicas for partition in snapshot.partitions)
    assert not [name for name in real.world.claims if name.endswith("-3")], real.world.claims
    nothing_is_left(admin, real.world)
