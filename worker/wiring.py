"""How the project runs on Temporal, the same for the worker, tests and replay: data converter, workflows, activities, sandbox.

One plugin holds all of it, so that a test worker or a replayer can't differ from the real worker by a forgotten option.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta

import pydantic
from temporalio.client import Client
from temporalio.common import VersioningBehavior, WorkerDeploymentVersion
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.plugin import SimplePlugin
from temporalio.worker import Worker, WorkerDeploymentConfig
from temporalio.worker.workflow_sandbox import SandboxedWorkflowRunner, SandboxRestrictions

from activities import activities
from activities.pools import Pool
from activities.step import Access, Link
from kafka_runbooks.clients.clusters import Clusters
from kafka_runbooks.clients.webhook import Webhook
from workflows.registry import WORKFLOWS

DEPLOYMENT = "kafka-runbooks"

GRACE = timedelta(seconds=45)
"""A pod's terminationGracePeriodSeconds must be at least half a minute longer."""


def sandbox() -> SandboxedWorkflowRunner:
    """The workflow sandbox: the clock, files and the like are refused, since they are not deterministic.

    The library and the activities, which workflows import for models, pure rules and references, are passed through.
    """
    passed_through = SandboxRestrictions.default.with_passthrough_modules("kafka_runbooks", "activities")
    return SandboxedWorkflowRunner(restrictions=passed_through)


def plugin(
    access: Access | None = None, *, failures: Sequence[type[BaseException]] = (), has_workflows: bool = True
) -> SimplePlugin:
    """The project as a Temporal plugin.

    Args:
        access: the activities' access to the outside world; a replayer needs none.
        failures: errors in workflow code that fail the workflow instead of its task, besides invalid input.
        has_workflows: False for the workers of a pool of slots.
    """
    return SimplePlugin(
        "kafka-runbooks",
        data_converter=pydantic_data_converter,
        workflows=WORKFLOWS if has_workflows else None,
        activities=activities(access) if access is not None else None,
        workflow_runner=sandbox(),
        workflow_failure_exception_types=[pydantic.ValidationError, *failures],
    )


@asynccontextmanager
async def working(
    client: Client,
    clusters: Clusters,
    task_queue: str,
    *,
    slots: Mapping[Pool, int],
    cached_workflows: int,
    build_id: str | None = None,
    webhook: Webhook | None = None,
    failures: Sequence[type[BaseException]] = (),
    heartbeat_interval: timedelta = timedelta(seconds=2),
    grace: timedelta = GRACE,
) -> AsyncIterator[None]:
    """Workers for every runbook: one for the workflows, and one for each pool of steps, with so many slots and threads."""
    deployment = None
    if build_id is not None:
        deployment = WorkerDeploymentConfig(
            version=WorkerDeploymentVersion(deployment_name=DEPLOYMENT, build_id=build_id),
            use_worker_versioning=True,
            default_versioning_behavior=VersioningBehavior.PINNED,
        )
    access = Access(clusters, Link(client, asyncio.get_running_loop()), webhook)
    workers = [
        Worker(
            client,
            task_queue=task_queue,
            plugins=[plugin(failures=failures)],
            max_concurrent_workflow_tasks=8,
            max_cached_workflows=cached_workflows,
            graceful_shutdown_timeout=grace,
            deployment_config=deployment,
        ),
        *(
            Worker(
                client,
                task_queue=pool.task_queue(task_queue),
                plugins=[plugin(access, has_workflows=False)],
                activity_executor=ThreadPoolExecutor(slots[pool], f"activity-{pool.value}"),
                max_concurrent_activities=slots[pool],
                max_heartbeat_throttle_interval=heartbeat_interval,
                default_heartbeat_throttle_interval=heartbeat_interval,
                graceful_shutdown_timeout=grace,
                deployment_config=deployment,
            )
            for pool in Pool
        ),
    ]
    async with AsyncExitStack() as running:
        for worker in workers:
            await running.enter_async_context(worker)
        try:
            yield
        finally:
            await asyncio.gather(*(worker.shutdown() for worker in workers))
