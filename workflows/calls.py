"""How activities are called: timeouts of an attempt, detection of dead workers, and errors that are never retried.

Every activity heartbeats, so a worker that died is noticed after `HEARTBEAT_TIMEOUT` and the next attempt observes the cluster.
Temporary errors are retried forever: the status shows the last one, and waiting makes nothing worse.
"""

from collections.abc import Callable
from datetime import timedelta
from typing import TypeVar

from temporalio import workflow
from temporalio.common import RetryPolicy
from temporalio.workflow import ActivityCancellationType, ActivityHandle

with workflow.unsafe.imports_passed_through():
    from activities.errors import NON_RETRYABLE
    from kafka_runbooks.models.inputs import RunbookInput
    from kafka_runbooks.models.messages import Survey

HEARTBEAT_TIMEOUT = timedelta(seconds=12)
ACT_TIMEOUT = timedelta(minutes=5)
WAIT_TIMEOUT = timedelta(days=14)

RETRY = RetryPolicy(
    initial_interval=timedelta(seconds=1),
    backoff_coefficient=1.5,
    maximum_interval=timedelta(seconds=15),
    non_retryable_error_types=NON_RETRYABLE,
)

S = TypeVar("S")
P = TypeVar("P")
R = TypeVar("R")


def start(step: Callable[[S, P], R], argument: P, summary: str, timeout: timedelta = WAIT_TIMEOUT) -> ActivityHandle[R]:
    """Start a step; the handle is awaited, or cancelled and awaited.

    Args:
        step: a method of one of the activity classes, by reference.
        summary: what it does, for the Temporal UI.
        timeout: for one attempt.
    """
    return workflow.start_activity_method(
        step,
        argument,
        start_to_close_timeout=timeout,
        heartbeat_timeout=HEARTBEAT_TIMEOUT,
        retry_policy=RETRY,
        cancellation_type=ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
        summary=summary[:200],
    )


async def act(step: Callable[[S, P], R], argument: P, summary: str) -> R:
    """A step that takes seconds."""
    return await start(step, argument, summary, ACT_TIMEOUT)


async def wait(step: Callable[[S, P], R], argument: P, summary: str) -> R:
    """A step that takes as long as the data needs."""
    return await start(step, argument, summary)


async def preview(name: str, request: RunbookInput) -> Survey:
    """Ask a runbook's plan activity, by name, what it would do now; without a token nothing is stored."""
    found: Survey = await workflow.execute_activity(
        name,
        {"request": request.model_dump(mode="json")},
        result_type=Survey,
        start_to_close_timeout=ACT_TIMEOUT,
        heartbeat_timeout=HEARTBEAT_TIMEOUT,
        retry_policy=RETRY,
        summary="the plan, not kept, and every reason not to start",
    )
    return found
