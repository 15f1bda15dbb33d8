"""Looking at a run from outside: the workflow's own status, joined with what its running activities last said.

The `status` query is answered by a worker and knows what was signalled; a heartbeat is younger, and only the server knows that
an activity failed and will be tried again. Both together say why nothing moves. With no worker, what the server knows is shown.
"""

import asyncio
import os
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any
from urllib.parse import quote

import pydantic
from pydantic import Field
from temporalio.api.enums.v1 import PendingActivityState
from temporalio.client import (
    Client,
    WorkflowExecutionStatus,
    WorkflowFailureError,
    WorkflowHandle,
    WorkflowQueryFailedError,
)
from temporalio.exceptions import ApplicationError, CancelledError, TerminatedError
from temporalio.service import RPCError

from kafka_runbooks.models.base import Model
from kafka_runbooks.models.results import Outcome, RunbookResult
from kafka_runbooks.models.status import Progress, Status

QUERY_TIMEOUT = timedelta(seconds=3)
LOOK_SECONDS = 1.0


class RunningActivity(Model):
    """An activity that is under way, or will be tried again; `last_failure` says why."""

    name: str
    attempt: int
    is_running: bool
    last_failure: str | None = None
    progress: Progress | None = None


class Seen(Model):
    """One look at a run."""

    workflow_id: str
    run_id: str
    runbook: str
    state: str
    """The server's word: RUNNING, COMPLETED, FAILED, CANCELED, TERMINATED, TIMED_OUT."""
    status: Status | None = None
    """None where no worker answers."""
    no_answer: str | None = None
    activities: tuple[RunningActivity, ...] = ()
    result: RunbookResult | None = None
    link: str = ""
    links: dict[str, str] = Field(default_factory=dict)

    @property
    def is_over(self) -> bool:
        return self.state != WorkflowExecutionStatus.RUNNING.name

    @property
    def progress(self) -> Progress | None:
        """The youngest figures: a heartbeat's, else the status's."""
        beats = [activity.progress for activity in self.activities if activity.progress is not None]
        return beats[0] if beats else self.status.progress if self.status else None


def ui_link(workflow_id: str, run_id: str, namespace: str) -> str:
    """The run in Temporal's web UI; `TEMPORAL_UI_URL` is the UI's base."""
    base = os.environ.get("TEMPORAL_UI_URL", "http://127.0.0.1:8233").rstrip("/")
    return f"{base}/namespaces/{namespace}/workflows/{quote(workflow_id, safe='')}/{run_id}/history"


async def look(client: Client, workflow_id: str, run_id: str | None = None) -> Seen:
    """One look.

    Raises:
        RPCError: NOT_FOUND, or the server doesn't answer.
    """
    handle = client.get_workflow_handle(workflow_id, run_id=run_id, result_type=RunbookResult)
    described = await handle.describe(rpc_timeout=timedelta(seconds=10))
    state = described.status.name if described.status else "UNKNOWN"
    status, no_answer, result = None, None, None
    if state == WorkflowExecutionStatus.RUNNING.name:
        status, no_answer = await _ask(handle)
    else:
        result = await result_of(handle)
    return Seen(
        workflow_id=workflow_id,
        run_id=described.run_id,
        runbook=described.workflow_type,
        state=state,
        status=status,
        no_answer=no_answer,
        activities=await _activities(client, described.raw_description.pending_activities),
        result=result,
        link=ui_link(workflow_id, described.run_id, client.namespace),
    )


async def _ask(handle: WorkflowHandle[Any, Any]) -> tuple[Status | None, str | None]:
    try:
        return await handle.query("status", result_type=Status, rpc_timeout=QUERY_TIMEOUT), None
    except WorkflowQueryFailedError as error:
        return None, f"the worker could not answer: {error}"
    except RPCError:
        return None, "no worker answers; what runs is safe in Temporal and goes on when one is back"


async def _activities(client: Client, pending: Any) -> tuple[RunningActivity, ...]:
    found = []
    for activity in pending:
        progress = None
        if activity.heartbeat_details.payloads:
            try:
                decoded = await client.data_converter.decode(list(activity.heartbeat_details.payloads), [Progress])
                progress = decoded[0]
            except (pydantic.ValidationError, RuntimeError):
                progress = None
        failure = None
        if activity.HasField("last_failure"):
            failure = activity.last_failure.message
        found.append(
            RunningActivity(
                name=activity.activity_type.name,
                attempt=activity.attempt,
                is_running=activity.state == PendingActivityState.PENDING_ACTIVITY_STATE_STARTED,
                last_failure=failure,
                progress=progress,
            )
        )
    return tuple(found)


async def result_of(handle: WorkflowHandle[Any, Any]) -> RunbookResult:
    """Wait for the end, however it is, as a `RunbookResult`."""
    try:
        result = await handle.result()
    except WorkflowFailureError as error:
        return _result_of_failure(error.cause)
    return result if isinstance(result, RunbookResult) else RunbookResult(outcome=Outcome.DONE, summary=str(result))


def _result_of_failure(cause: BaseException) -> RunbookResult:
    if isinstance(cause, ApplicationError):
        for detail in cause.details:
            try:
                return RunbookResult.model_validate(detail)
            except pydantic.ValidationError:
                continue
        return RunbookResult(outcome=Outcome.FAILED, summary=f"{cause.type}: {cause.message}" if cause.type else cause.message)
    if isinstance(cause, CancelledError):
        return RunbookResult(outcome=Outcome.CANCELLED, summary=cause.message or "cancelled")
    if isinstance(cause, TerminatedError):
        left = "terminated: what it had set is left; `kafka-runbooks start ClearLeftovers`, or the next runbook, gives it back"
        return RunbookResult(outcome=Outcome.FAILED, summary=left)
    return RunbookResult(outcome=Outcome.FAILED, summary=str(cause))


async def looks(client: Client, workflow_id: str, run_id: str | None = None) -> AsyncIterator[Seen]:
    """Look after look until the run is over; a server that is away is said in `no_answer`, and waited for."""
    last: Seen | None = None
    while True:
        try:
            last = await look(client, workflow_id, run_id)
        except RPCError as error:
            if last is None:
                raise
            last = last.model_copy(update={"status": None, "no_answer": f"Temporal doesn't answer: {error.message[:200]}"})
        yield last
        if last.is_over:
            return
        await asyncio.sleep(LOOK_SECONDS)
