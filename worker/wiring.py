"""How the project runs on Temporal, the same for the worker, tests and replay: data converter, workflows, activities, sandbox.

One plugin holds all of it, so that a test worker or a replayer can't differ from the real worker by a forgotten option.
"""

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pydantic
from temporalio.client import Client
from temporalio.common import VersioningBehavior, WorkerDeploymentVersion
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.plugin import SimplePlugin
from temporalio.worker import Worker, WorkerDeploymentConfig
from temporalio.worker.workflow_sandbox import SandboxedWorkflowRunner, SandboxRestrictions

from activities import activities
from activities.step import Access, Link
from kafka_runbooks.clients.clusters import Clusters
from worker.settings import WorkerSettings
from workflows import WORKFLOWS

DEPLOYMENT = "kafka-runbooks"

GRACE = timedelta(seconds=45)
"""A pod's terminationGracePeriodSeconds must be at least half a minute longer."""


def sandbox() -> SandboxedWorkflowRunner:
    """The workflow sandbox: the clock, files and the like are refused, since they are not deterministic.

    The library and the activities, which workflows import for models, pure rules and references, are passed through.
    """
    passed_through = SandboxRestrictions.default.with_passthrough_modules("kafka_runbooks", "activities")
    return SandboxedWorkflowRunner(restrictions=passed_through)


def plugin(access: Access | None = None, *, failures: Sequence[type[BaseException]] = ()) -> SimplePlugin:
    """The project as a Temporal plugin.

    Args:
        access: the activities' access to the outside world; a replayer needs none.
        failures: errors in workflow code that fail the workflow instead of its task, besides invalid input.
    """
    return SimplePlugin(
        "kafka-runbooks",
        data_converter=pydantic_data_converter,
        workflows=WORKFLOWS,
        activities=activities(access) if access is not None else None,
        workflow_runner=sandbox(),
        workflow_failure_exception_types=[pydantic.ValidationError, *failures],
    )


def make_worker(client: Client, clusters: Clusters, settings: WorkerSettings) -> Worker:
    """A worker for every runbook. Must be called in the event loop that will run it."""
    deployment = None
    if settings.build_id is not None:
        deployment = WorkerDeploymentConfig(
            version=WorkerDeploymentVersion(deployment_name=DEPLOYMENT, build_id=settings.build_id),
            use_worker_versioning=True,
            default_versioning_behavior=VersioningBehavior.PINNED,
        )
    return Worker(
        client,
        task_queue=settings.task_queue,
        plugins=[plugin(Access(clusters, Link(client, asyncio.get_running_loop())))],
        activity_executor=ThreadPoolExecutor(settings.activity_threads, "activity"),
        max_concurrent_activities=settings.activity_threads,
        max_concurrent_workflow_tasks=8,
        max_cached_workflows=100,
        max_heartbeat_throttle_interval=timedelta(seconds=2),
        default_heartbeat_throttle_interval=timedelta(seconds=2),
        graceful_shutdown_timeout=GRACE,
        deployment_config=deployment,
    )
