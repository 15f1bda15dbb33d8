"""`MigrateToKraft` on a real Kafka 3.9 of three brokers and three controllers, while records are written: to the end, and back.

Kubernetes is the world in memory: its pods carry the real brokers, and a pod that is deleted restarts its broker with what is
applied then.
"""

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from confluent_kafka import Consumer, Producer
from confluent_kafka.admin import (
    AclBinding,
    AclBindingFilter,
    AclOperation,
    AclPermissionType,
    AdminClient,
    NewTopic,
    ResourcePatternType,
    ResourceType,
)
from temporalio.testing import WorkflowEnvironment

from activities import step
from kafka_runbooks.clients.kafka import KafkaAdmin
from kafka_runbooks.clients.metrics.controllers import ExporterControllers
from kafka_runbooks.clients.zookeeper.client import ZooKeeperClient
from kafka_runbooks.clients.zookeeper.settings import ZookeeperSettings
from kafka_runbooks.models.kraft_migration import BrokerMode
from kafka_runbooks.models.kubernetes import ControllerPod, FileChanges, StatefulSet
from kafka_runbooks.models.operator import Abort, Approval
from kafka_runbooks.models.results import Outcome, RunbookResult
from kafka_runbooks.models.status import Status
from tests.clients.local_kafka import running
from tests.clients.local_migration import LocalMigration
from tests.fakes.kubernetes import FakeKubernetes
from tests.fakes.world import World
from tests.temporal_env import Bench, bench
from tests.workflows.conftest import record
from tests.workflows.test_moves import failure, until
from workflows.migrate_to_kraft import MigrateToKraft

pytestmark = [pytest.mark.timeout(1200), pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")]

RACKS = {1001: "zone-a", 1002: "zone-b", 1003: "zone-c"}
MIGRATES, ROLES = "zookeeper.metadata.migration.enable", "process.roles"
YES = Approval(by="alice", reason="applied")
SET = "controller"


class Deployed(FakeKubernetes):
    """What is applied (`mode` of brokers, `has_controllers`), and the pods in which the real nodes run."""

    def __init__(self, world: World, kafka: LocalMigration) -> None:
        super().__init__(world)
        self.kafka = kafka
        self.mode = BrokerMode.ZOOKEEPER
        self.has_controllers = False
        self.controllers = {node_id: (world.new_uid(), world.revision(SET)) for node_id in kafka.controller_ports}

    def controller_pods(self) -> tuple[ControllerPod, ...]:
        if not self.has_controllers:
            return ()
        return tuple(
            ControllerPod(
                name=f"{SET}-{node_id}",
                uid=uid,
                stateful_set=SET,
                node=f"node-{node_id}",
                pod_ip=self.kafka.metrics_hosts[node_id],
                phase="Running",
                is_ready=True,
                revision=revision,
                started_at=self.world.now,
                node_id=node_id,
            )
            for node_id, (uid, revision) in self.controllers.items()
        )

    def stateful_sets(self) -> tuple[StatefulSet, ...]:
        own = StatefulSet(
            name=SET,
            version="1",
            replicas=3,
            update_strategy="OnDelete",
            update_revision=self.world.revision(SET),
            has_brokers=False,
        )
        return (*super().stateful_sets(), *((own,) if self.has_controllers else ()))

    def file_changes(self) -> dict[str, FileChanges]:
        return {
            pod.name: FileChanges(pod_uid=pod.uid, started_at=pod.started_at, changed=dict.fromkeys(self._changed(pod.broker_id)))
            for pod in self.world.pods.values()
            if pod.started_at is not None
        }

    def _changed(self, broker_id: int) -> set[str]:
        pair = {self.kafka.modes[broker_id], self.mode}
        return set() if len(pair) == 1 else {ROLES, MIGRATES} if BrokerMode.KRAFT in pair else {MIGRATES}

    def delete_pod(self, name: str, uid: str, *, force: bool) -> None:
        ours = {f"{SET}-{node_id}": node_id for node_id in self.controllers}
        if name in ours:
            self.controllers[ours[name]] = (self.world.new_uid(), self.world.revision(SET))
            self.kafka.restart_controller(ours[name])
            return
        broker_id = self.world.pods[name].broker_id
        self.kafka.restart(broker_id, self.mode)
        super().delete_pod(name, uid, force=force)


@pytest.fixture
def kafka(tmp_path: Path) -> Iterator[LocalMigration]:
    with running(LocalMigration(tmp_path, RACKS, exporter=True, authorizer=True)) as cluster:
        admin = AdminClient({"bootstrap.servers": cluster.bootstrap_servers})
        rows = [[1001 + (number + k) % 3 for k in range(3)] for number in range(6)]
        made = NewTopic("events.a", num_partitions=6, replica_assignment=rows, config={"min.insync.replicas": "2"})
        admin.create_topics([made])["events.a"].result(30)
        admin.create_acls([ACL])[ACL].result(30)
        yield cluster


ACL = AclBinding(
    ResourceType.TOPIC, "events.", ResourcePatternType.PREFIXED, "User:shop", "*", AclOperation.READ, AclPermissionType.ALLOW
)


@pytest.fixture
def admin(kafka: LocalMigration) -> Iterator[KafkaAdmin]:
    admin = KafkaAdmin(kafka.bootstrap_servers)
    yield admin
    admin.close()


@pytest_asyncio.fixture
async def real(
    server: WorkflowEnvironment,
    kafka: LocalMigration,
    admin: KafkaAdmin,
    monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
) -> AsyncIterator[Bench]:
    monkeypatch.setattr(step, "POLL_SECONDS", 0.5)
    world = World(maps=("events",), zones=tuple(RACKS.values()))
    zookeeper = ZooKeeperClient(ZookeeperSettings(hosts=kafka.hosts))
    async with bench(server, world, admin, zookeeper=zookeeper, cluster="main") as ready:
        ready.clusters.look_through(Deployed(world, kafka))
        ready.clusters.migrate(ExporterControllers(kafka.metrics_port))
        yield ready
        await record(ready, request.node.name)


def deployed(real: Bench) -> Deployed:
    found = real.clusters.open("main").kubernetes
    assert isinstance(found, Deployed)
    return found


class Traffic:
    """Records written with `acks=all`; `lost()` once it has ended."""

    def __init__(self, bootstrap_servers: str) -> None:
        self._settings = {"bootstrap.servers": bootstrap_servers, "log_level": 0}
        self._producer = Producer({**self._settings, "acks": "all", "enable.idempotence": True, "delivery.timeout.ms": 60_000})
        self._ends = threading.Event()
        self.written: set[bytes] = set()
        self.failed: list[str] = []
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        number = 0
        while not self._ends.wait(0.01):
            self._producer.produce("events.a", str(number).encode(), partition=number % 6, on_delivery=self._note)
            self._producer.poll(0)
            number += 1
        self._producer.flush(60)

    def _note(self, error: object, message: Any) -> None:
        if error is None:
            self.written.add(message.value())
        else:
            self.failed.append(str(error))

    def lost(self) -> set[bytes]:
        self._ends.set()
        self._thread.join(90)
        consumer = Consumer({**self._settings, "group.id": f"check-{time.time()}", "auto.offset.reset": "earliest"})
        consumer.subscribe(["events.a"])
        left, deadline = set(self.written), time.monotonic() + 60
        while left and time.monotonic() < deadline:
            if (message := consumer.poll(1)) is not None and message.error() is None:
                left.discard(message.value())
        consumer.close()
        return left


@contextmanager
def traffic(kafka: LocalMigration) -> Iterator[None]:
    """Nothing is lost, and nothing is refused, meanwhile."""
    running_ = Traffic(kafka.bootstrap_servers)
    yield
    lost = running_.lost()
    assert (len(lost), running_.failed) == (0, []) and len(running_.written) > 100


def keeps_acls(kafka: LocalMigration) -> bool:
    everything = AclBindingFilter(
        ResourceType.ANY, None, ResourcePatternType.ANY, None, None, AclOperation.ANY, AclPermissionType.ANY
    )
    client = AdminClient({"bootstrap.servers": kafka.bootstrap_servers})
    return ACL in client.describe_acls(everything).result(30)


async def start(real: Bench, **fields: object) -> Any:
    return await real.start_runbook("MigrateToKraft", **{"reason": "to KRaft", "wait_for_approval": False, **fields})


async def until_it(handle: Any, holds: Callable[[Status], bool], seconds: float) -> Status:
    """A status for which it holds; a run that has failed says why."""
    status = await until(handle, lambda one: holds(one) or one.phase in ("failed", "refused"), seconds)
    assert holds(status), (await failure(handle)).summary
    return status


async def asks(handle: Any, begins: str, seconds: float = 300) -> str:
    """What is asked at a gate."""
    status = await until_it(
        handle,
        lambda one: one.phase == "gate" and one.waiting is not None and one.waiting.needs_person and begins in one.waiting.reason,
        seconds,
    )
    assert status.waiting is not None
    return status.waiting.reason


async def waits(handle: Any, why: str, seconds: float = 300) -> str:
    """Return once it waits for this; what unblocks it."""
    status = await until_it(handle, lambda one: one.waiting is not None and why in one.waiting.reason, seconds)
    assert status.waiting is not None
    return status.waiting.unblocks


async def act(what: Callable[[], object]) -> None:
    await asyncio.to_thread(what)


async def deploy(real: Bench, kafka: LocalMigration) -> None:
    await act(kafka.start_controllers)
    deployed(real).has_controllers = True


async def to_the_third_leg(real: Bench, kafka: LocalMigration, handle: Any) -> None:
    """Controllers, and brokers with the migration's settings."""
    assert "cluster id" in await waits(handle, "no pod of a controller")
    await deploy(real, kafka)
    assert MIGRATES in await waits(handle, "in its file is as it was started with")
    deployed(real).mode = BrokerMode.MIGRATING
    await waits(handle, f"{ROLES} in its file is as it was started with")
    assert set(kafka.modes.values()) == {BrokerMode.MIGRATING}


def is_done(result: RunbookResult) -> None:
    assert result.outcome is Outcome.DONE, result.summary
    assert [check for check in result.checks if not check.passed] == []


async def test_to_the_end(real: Bench, kafka: LocalMigration, admin: KafkaAdmin) -> None:
    manifests, znodes = deployed(real), ZooKeeperClient(ZookeeperSettings(hosts=kafka.hosts))
    with traffic(kafka):
        handle = await start(real, wait_for_approval=True)
        assert "StatefulSet of three KRaft controllers" in await asks(handle, "leg 1 of 4")
        await handle.execute_update(MigrateToKraft.approve, YES)
        await waits(handle, "no pod of a controller")
        await deploy(real, kafka)
        assert MIGRATES in await asks(handle, "leg 2 of 4")
        await handle.execute_update(MigrateToKraft.approve, YES)
        await waits(handle, "in its file is as it was started with")
        manifests.mode = BrokerMode.MIGRATING
        assert ROLES in await asks(handle, "leg 3 of 4")
        before = znodes.migration()
        assert before.kraft_controls and before.copied_offset is not None
        await handle.execute_update(MigrateToKraft.approve, YES)
        await waits(handle, f"{ROLES} in its file is as it was started with")
        manifests.mode = BrokerMode.KRAFT
        assert "there is no way back to ZooKeeper after this" in await asks(handle, "leg 4 of 4")
        assert set(kafka.modes.values()) == {BrokerMode.KRAFT} and keeps_acls(kafka)
        await handle.execute_update(MigrateToKraft.approve, YES)
        await waits(handle, "its template is as it was started with")
        kafka.controllers_migrate = False
        real.world.change_template(SET)
        is_done(await handle.result())
    assert keeps_acls(kafka)
    last = znodes.migration().copied_offset
    await act(lambda: time.sleep(3))
    assert znodes.migration().copied_offset == last, "nothing is written to ZooKeeper any more"
    nothing = await (await start(real)).result()
    assert nothing.outcome is Outcome.NOTHING_TO_DO and "KRaft mode: the migration has ended" in nothing.summary
    refused = await failure(await start(real, back=True))
    assert refused.outcome is Outcome.REFUSED and [one.name for one in refused.reasons] == ["migration-has-ended"]


async def test_back_from_the_middle_of_the_third_leg(real: Bench, kafka: LocalMigration, admin: KafkaAdmin) -> None:
    """With a quorum whose epoch is above ZooKeeper's (KAFKA-20488), as after some elections."""
    manifests, znodes = deployed(real), ZooKeeperClient(ZookeeperSettings(hosts=kafka.hosts))
    with traffic(kafka):
        handle = await start(real)
        await to_the_third_leg(real, kafka, handle)
        for _ in range(2):
            for node_id in kafka.controller_ports:
                await act(lambda node_id=node_id: kafka.restart_controller(node_id))  # type: ignore[misc]
                await act(lambda: time.sleep(4))
        manifests.mode = BrokerMode.KRAFT
        await until(handle, lambda _: BrokerMode.KRAFT in kafka.modes.values(), 300)
        await handle.execute_update(MigrateToKraft.abort, Abort(by="alice", reason="back"))
        assert (await failure(handle)).outcome is Outcome.ABORTED
        upgrade = await failure(await real.start_runbook("Upgrade", reason="a new image", wait_for_approval=False))
        assert "migration-to-kraft" in [one.name for one in upgrade.reasons]
        handle = await start(real, back=True)
        await waits(handle, f"{ROLES} in its file is as it was started with")
        manifests.mode = BrokerMode.MIGRATING
        assert "delete the controllers' StatefulSet" in await waits(handle, "of a controller is still there")
        states = znodes.partition_states()
        highest = max(one.controller_epoch for one in states.values())
        manifests.has_controllers = False
        await act(kafka.stop_controllers)
        await waits(handle, f"{MIGRATES} in its file is as it was started with")
        manifests.mode = BrokerMode.ZOOKEEPER
        is_done(await handle.result())
    found = znodes.migration()
    assert not found.kraft_controls and not found.is_begun and found.controller_id in RACKS
    assert found.controller_epoch is not None and found.controller_epoch > highest
    assert set(kafka.modes.values()) == {BrokerMode.ZOOKEEPER} and keeps_acls(kafka)
    assert {one.leader for one in admin.snapshot().partitions if one.topic == "events.a"} == set(RACKS)
    nothing = await (await start(real, back=True)).result()
    assert nothing.outcome is Outcome.NOTHING_TO_DO and "ZooKeeper mode, and nothing of a migration is left" in nothing.summary
