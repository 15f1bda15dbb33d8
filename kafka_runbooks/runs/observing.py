"""Observing a run from outside: the workflow's own status, joined with the state of its activities.

A worker answers the `status` query from the workflow's state. Heartbeats are more recent, and only the server knows that an
activity failed and will be retried. Together they tell why nothing moves; without a worker, the server's part remains.
"""

import asyncio
import os
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
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
POLL_SECONDS = 1.0


WAITS = "NotYet"
"""The type that an attempt of a waiting step ends with: no failure."""


class RunningActivity(Model):
    """An activity that is running, waits for a slot, or waits for a retry after `last_failure`."""

    name: str
    attempt: int
    is_running: bool
    last_failure: str | None = None
    scheduled_at: datetime | None = None
    """When its next attempt is, or was, due."""
    progress: Progress | None = None


class Observation(Model):
    """One observation of a run."""

    workflow_id: str
    run_id: str
    runbook: str
    state: str
    """As the server calls it: RUNNING, COMPLETED, FAILED, CANCELED, TERMINATED, TIMED_OUT."""
    status: Status | None = None
    """None if no worker answers."""
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
        """The most recent figures: a heartbeat's, else the status's. Of several steps at once, of the one that copies most."""
        beats = [one.progress for one in self.activities if one.progress is not None and one.progress != Progress()]
        if beats:
            return max(beats, key=lambda beat: (beat.total_bytes, beat.total_partitions))
        return self.status.progress if self.status else None


def ui_link(workflow_id: str, run_id: str, namespace: str) -> str:
    """The run in Temporal's web UI; `TEMPORAL_UI_URL` is the UI's base."""
    base = os.environ.get("TEMPORAL_UI_URL", "http://127.0.0.1:8233").rstrip("/")
    return f"{base}/namespaces/{namespace}/workflows/{quote(workflow_id, safe='')}/{run_id}/history"


async def observe(client: Client, workflow_id: str, run_id: str | None = None) -> Observation:
    """Observe a run once.

    Raises:
        RPCError: NOT_FOUND, or the server doesn't answer.
    """
    handle = client.get_workflow_handle(workflow_id, run_id=run_id, result_type=RunbookResult)
    described = await handle.describe(rpc_timeout=timedelta(seconds=10))
    state = described.status.name if described.status else "UNKNOWN"
    status, no_answer, result = None, None, None
    if state == WorkflowExecutionStatus.RUNNING.name:
        status, no_answer = await _query(handle)
    else:
        result = await result_of(handle)
    return Observation(
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


async def _query(handle: WorkflowHandle[Any, Any]) -> tuple[Status | None, str | None]:
    try:
        return await handle.query("status", result_type=Status, rpc_timeout=QUERY_TIMEOUT), None
    except WorkflowQueryFailedError as error:
        return None, f"the worker could not answer: {error}"
    except RPCError:
        return None, "no worker answers; the run is safe in Temporal and continues once a worker is back"


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
        if activity.HasField("last_failure") and activity.last_failure.application_failure_info.type != WAITS:
            failure = activity.last_failure.message
        found.append(
            RunningActivity(
                name=activity.activity_type.name,
                attempt=activity.attempt,
                is_running=activity.state == PendingActivityState.PENDING_ACTIVITY_STATE_STARTED,
                last_failure=failure,
                scheduled_at=activity.scheduled_time.ToDatetime(UTC),
                progress=progress,
            )
        )
    return tuple(found)


async def result_of(handle: WorkflowHandle[Any, Any]) -> RunbookResult:
    """Wait for the end of a run; failures too become a `RunbookResult`."""
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
        summary = (
            "terminated: what it had set remains until `kafka-runbooks start clear-leftovers` or the next runbook removes it"
        )
        return RunbookResult(outcome=Outcome.FAILED, summary=summary)
    return RunbookResult(outcome=Outcome.FAILED, summary=str(cause))


async def follow(client: Client, workflow_id: str, run_id: str | None, show: Callable[[Observation], None]) -> RunbookResult:
    """Observe a run and `show` each observation until it ends. Outages of the server after the first one are waited out.

    Raises:
        RPCError: the server doesn't answer the first time, or there is no such run.
    """
    last: Observation | None = None
    while True:
        try:
            last = await observe(client, workflow_id, run_id)
        except RPCError as error:
            if last is None:
                raise
            last = last.model_copy(update={"status": None, "no_answer": f"Temporal doesn't answer: {error.message[:200]}"})
        show(last)
        if last.result is not None:
            return last.result
        await asyncio.sleep(POLL_SECONDS)
