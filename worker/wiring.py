"""How we speak with Temporal, the same for worker, command line, tests and replay: converter, sandbox, failure types."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pydantic
from temporalio.client import Client
from temporalio.common import VersioningBehavior, WorkerDeploymentVersion
from temporalio.worker import Worker, WorkerDeploymentConfig
from temporalio.worker.workflow_sandbox import SandboxedWorkflowRunner, SandboxRestrictions

from activities.brokers import PodActivities
from activities.catch_up import CatchUpActivities
from activities.decommission import LeavingActivities
from activities.move_plans import PlanningActivities
from activities.moves import MovingActivities
from activities.overrides import OverridingActivities
from activities.permits import PermitActivities
from activities.recovery import RecoveringActivities
from activities.release import EndingActivities
from activities.replacement import SurveyActivities
from activities.step import Link
from kafka_runbooks.clients.clusters import Clusters
from worker.settings import WorkerSettings
from workflows import WORKFLOWS

DEPLOYMENT = "kafka-runbooks"

GRACE = timedelta(seconds=45)
"""A pod's terminationGracePeriodSeconds must be longer by half a minute."""


def sandbox() -> SandboxedWorkflowRunner:
    """Runs workflows restricted; only what they import of the library and of activities (by reference) is passed through."""
    return SandboxedWorkflowRunner(
        restrictions=SandboxRestrictions.default.with_passthrough_modules("kafka_runbooks", "activities")
    )


def activities(client: Client, clusters: Clusters, loop: asyncio.AbstractEventLoop) -> list[Any]:
    """Every activity, on these clusters."""
    link = Link(client, loop)
    survey, pods, catch_up = SurveyActivities(clusters), PodActivities(clusters, link), CatchUpActivities(clusters, link)
    ending, permits = EndingActivities(clusters, link), PermitActivities(client)
    planning, moving = PlanningActivities(clusters, link), MovingActivities(clusters, link)
    leaving, overriding = LeavingActivities(clusters, link), OverridingActivities(clusters, link)
    return [
        overriding.set_throttle,
        overriding.clear_throttle,
        RecoveringActivities(clusters, link).follow_recovery,
        leaving.cordon_log_directories,
        leaving.keep_log_directories_cordoned,
        leaving.remove_pods,
        leaving.unregister_brokers,
        planning.plan_rebalance,
        planning.plan_scale_up,
        planning.plan_decommission,
        planning.plan_replication_factor,
        planning.plan_evacuation,
        planning.plan_given,
        planning.preview_moves,
        moving.move_partitions,
        moving.elect_planned_leaders,
        moving.forget_evacuation,
        moving.prove_moves,
        survey.survey_broker,
        survey.make_replacement_plan,
        survey.preview_replacement,
        pods.fence_broker,
        pods.confirm_node_gone,
        pods.choose_landing_node,
        pods.release_volume,
        pods.delete_pod,
        pods.wait_for_pod,
        catch_up.take_throttle_leases,
        catch_up.follow_catch_up,
        catch_up.elect_preferred_leaders,
        ending.give_back,
        ending.clear_leftovers,
        ending.sweep_expired,
        ending.prove_exit,
        permits.permit_holder,
        permits.wait_until_free,
    ]


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
        workflows=WORKFLOWS,
        activities=activities(client, clusters, asyncio.get_running_loop()),
        activity_executor=ThreadPoolExecutor(settings.activity_threads, "activity"),
        max_concurrent_activities=settings.activity_threads,
        max_concurrent_workflow_tasks=8,
        max_cached_workflows=100,
        max_heartbeat_throttle_interval=timedelta(seconds=2),
        default_heartbeat_throttle_interval=timedelta(seconds=2),
        graceful_shutdown_timeout=GRACE,
        workflow_runner=sandbox(),
        workflow_failure_exception_types=[pydantic.ValidationError],
        deployment_config=deployment,
    )
