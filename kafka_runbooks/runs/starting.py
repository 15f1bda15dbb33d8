"""Starting a run, and asking what it would do."""

import uuid
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from temporalio.client import Client, WorkflowFailureError, WorkflowHandle
from temporalio.common import WorkflowIDConflictPolicy, WorkflowIDReusePolicy
from temporalio.exceptions import ActivityError, ApplicationError

from kafka_runbooks.catalogue import command_name, summary
from kafka_runbooks.clients.errors import UnknownCluster
from kafka_runbooks.models.inputs import RunbookInput
from kafka_runbooks.models.messages import Survey
from kafka_runbooks.models.results import RunbookResult
from kafka_runbooks.runs.validation import BadInput

PLAN_SECONDS = 120.0
PREVIEW = "Preview"
"""The workflow that reports what a runbook would do."""


class NoPlan(Exception):
    """The workers didn't make a plan; the message says why."""


def workflow_id(name: str, request: RunbookInput, at: datetime | None = None) -> str:
    """`<cluster>/<runbook>/<target>-<UTC time>`: easy to find in a list. Not a lock: that is the permit.

    Args:
        name: the runbook.
        request: its input.
        at: the time in it; default: now.
    """
    stamp = (at or datetime.now(UTC)).astimezone(UTC).strftime("%Y%m%dT%H%M%SZ")
    target = f"{request.target}-" if request.target else ""
    return f"{request.cluster}/{command_name(name)}/{target}{stamp}"


async def start(
    client: Client,
    name: str,
    request: RunbookInput,
    id: str,
    task_queue: str,
    *,
    id_reuse_policy: WorkflowIDReusePolicy = WorkflowIDReusePolicy.ALLOW_DUPLICATE,
) -> WorkflowHandle[Any, RunbookResult]:
    """Start a runbook.

    Raises:
        WorkflowAlreadyStartedError: a run with this ID is in progress, or the policy wants none after one that has ended.
    """
    handle: WorkflowHandle[Any, RunbookResult] = await client.start_workflow(
        name,
        request,
        id=id,
        task_queue=task_queue,
        result_type=RunbookResult,
        id_reuse_policy=id_reuse_policy,
        static_summary=summary(name, request.cluster, request.requester),
    )
    return handle


def preview_request(name: str, request: RunbookInput) -> dict[str, Any]:
    """The input of `Preview`."""
    return {"runbook": name, "request": request.model_dump(mode="json", exclude_unset=True)}


def preview_id(cluster: str) -> str:
    """The workflow ID of a look."""
    return f"{cluster}/plan/{uuid.uuid4()}"


async def start_preview(
    client: Client, asked: Mapping[str, Any], id: str, task_queue: str, *, join: bool = False
) -> WorkflowHandle[Any, Survey]:
    """Have a worker look what a runbook would do. Changes nothing.

    Args:
        client: the connection to Temporal.
        asked: the input of `Preview`.
        id: its workflow ID.
        task_queue: the workers'.
        join: take part in a look with this ID that is in progress.
    """
    policy = WorkflowIDConflictPolicy.USE_EXISTING if join else WorkflowIDConflictPolicy.UNSPECIFIED
    handle: WorkflowHandle[Any, Survey] = await client.start_workflow(
        PREVIEW,
        asked,
        id=id,
        task_queue=task_queue,
        result_type=Survey,
        id_conflict_policy=policy,
        execution_timeout=timedelta(seconds=PLAN_SECONDS),
    )
    return handle


async def plan_of(handle: WorkflowHandle[Any, Survey]) -> Survey:
    """Wait for the plan.

    Raises:
        BadInput: the workers don't know the cluster.
        NoPlan: no worker runs, or it failed.
    """
    try:
        return await handle.result()
    except WorkflowFailureError as error:
        cause = error.cause.cause if isinstance(error.cause, ActivityError) and error.cause.cause else error.cause
        if not isinstance(cause, ApplicationError):
            describe = f"`temporal workflow describe --workflow-id {handle.id}`"
            raise NoPlan(f"no plan in {PLAN_SECONDS:.0f} s; is a worker running? See {describe}") from error
        if cause.type == UnknownCluster.__name__:
            raise BadInput(f"cluster: {cause.message}") from error
        raise NoPlan(f"{cause.type}: {cause.message}") from error
