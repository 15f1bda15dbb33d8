"""How we speak with Temporal, the same for worker, command line, tests and replay: converter, sandbox, failure types."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pydantic
from temporalio.client import Client
from temporalio.common import VersioningBehavior, WorkerDeploymentVersion
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.envconfig import ClientConfig
from temporalio.runtime import Runtime
from temporalio.worker import Worker, WorkerDeploymentConfig
from temporalio.worker.workflow_sandbox import SandboxedWorkflowRunner, SandboxRestrictions

from kafka_runbooks.activities.catch_up import CatchUpActivities
from kafka_runbooks.activities.ending import EndingActivities
from kafka_runbooks.activities.leaving import LeavingActivities
from kafka_runbooks.activities.moving import MovingActivities
from kafka_runbooks.activities.overriding import OverridingActivities
from kafka_runbooks.activities.permits import PermitActivities
from kafka_runbooks.activities.planning_moves import PlanningActivities
from kafka_runbooks.activities.pods import PodActivities
from kafka_runbooks.activities.recovering import RecoveringActivities
from kafka_runbooks.activities.running import Link
from kafka_runbooks.activities.survey import SurveyActivities
from kafka_runbooks.clients.clusters import Clusters
from kafka_runbooks.models.inputs import (
    ClearLeftoversInput,
    DecommissionInput,
    EvacuateLeadersInput,
    RebalanceInput,
    ReplaceBrokerInput,
    RunbookInput,
    RunPlanInput,
    ScaleUpInput,
    SetReplicationFactorInput,
    ThrottleRecoveryInput,
)
from kafka_runbooks.worker.settings import WorkerSettings
from kafka_runbooks.workflows.clear_leftovers import ClearLeftovers
from kafka_runbooks.workflows.decommission import Decommission
from kafka_runbooks.workflows.moving import EvacuateLeaders, Rebalance, RunPlan, ScaleUp, SetReplicationFactor
from kafka_runbooks.workflows.permit import ClusterPermit
from kafka_runbooks.workflows.plan_only import PlanMoves, PlanOnly
from kafka_runbooks.workflows.replace_broker import ReplaceBroker
from kafka_runbooks.workflows.throttle_recovery import ThrottleRecovery

DEPLOYMENT = "kafka-runbooks"
RUNBOOKS: dict[str, type[RunbookInput]] = {
    "ReplaceBroker": ReplaceBrokerInput,
    "Rebalance": RebalanceInput,
    "ScaleUp": ScaleUpInput,
    "Decommission": DecommissionInput,
    "SetReplicationFactor": SetReplicationFactorInput,
    "EvacuateLeaders": EvacuateLeadersInput,
    "RunPlan": RunPlanInput,
    "ThrottleRecovery": ThrottleRecoveryInput,
    "ClearLeftovers": ClearLeftoversInput,
}
"""Workflow type -> what it is asked with. The names that `kafka-runbooks start` and `temporal workflow start --type` take."""

WORKFLOWS: list[type] = [
    ReplaceBroker,
    Rebalance,
    ScaleUp,
    Decommission,
    SetReplicationFactor,
    EvacuateLeaders,
    RunPlan,
    ThrottleRecovery,
    ClearLeftovers,
    ClusterPermit,
    PlanOnly,
    PlanMoves,
]

GRACE = timedelta(seconds=45)
"""A pod's terminationGracePeriodSeconds must be longer by half a minute."""


def connect_config() -> dict[str, Any]:
    """Address, namespace, TLS and keys as the `temporal` command has them: `TEMPORAL_*`, and the profile of its file."""
    return dict(ClientConfig.load_client_connect_config())


async def connect(runtime: Runtime | None = None) -> Client:
    """A client with our data converter.

    Raises:
        RuntimeError: the server doesn't answer.
    """
    config = connect_config()
    config.setdefault("target_host", "localhost:7233")
    return await Client.connect(**config, data_converter=pydantic_data_converter, runtime=runtime)


def sandbox() -> SandboxedWorkflowRunner:
    """Workflows see our package as it is: they import only models, pure modules and activities by reference."""
    return SandboxedWorkflowRunner(restrictions=SandboxRestrictions.default.with_passthrough_modules("kafka_runbooks"))


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
