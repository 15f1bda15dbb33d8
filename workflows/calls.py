"""How activities are called: pool of slots, timeouts of an attempt, detection of dead workers, and errors that are never retried.

Every activity heartbeats, so a worker that died is noticed after `HEARTBEAT_TIMEOUT` and the next attempt observes the cluster.
Temporary errors are retried forever: the status shows the last one, and waiting makes nothing worse.

Results are decoded here, in the runbook's own course: one that doesn't decode (another version wrote it) is then an error like
any other, after which the run gives back what it has set. Decoded by the SDK it would end the run past every `finally`.
"""

import asyncio
from collections.abc import Callable, Coroutine
from datetime import timedelta
from typing import Any, TypeVar, cast, get_type_hints

from temporalio import workflow
from temporalio.common import RawValue, RetryPolicy
from temporalio.workflow import ActivityCancellationType

with workflow.unsafe.imports_passed_through():
    from activities.errors import NON_RETRYABLE
    from activities.pools import Pool
    from kafka_runbooks.models.inputs import RunbookInput
    from kafka_runbooks.models.messages import Survey

HEARTBEAT_TIMEOUT = timedelta(seconds=12)
ACT_TIMEOUT = timedelta(minutes=5)
WAIT_TIMEOUT = timedelta(days=14)
PREVIEW_TIMEOUT = timedelta(minutes=3)
LOOK_TIMEOUT = timedelta(minutes=10)

RETRY = RetryPolicy(
    initial_interval=timedelta(seconds=1),
    backoff_coefficient=1.5,
    maximum_interval=timedelta(seconds=15),
    non_retryable_error_types=NON_RETRYABLE,
)

S = TypeVar("S")
P = TypeVar("P")
R = TypeVar("R")


def start(step: Callable[[S, P], R], argument: P, summary: str, pool: Pool, timeout: timedelta = WAIT_TIMEOUT) -> asyncio.Task[R]:
    """Start a step; the task is awaited, or cancelled and awaited.

    Args:
        step: a method of one of the activity classes, by reference.
        summary: what it does, for the Temporal UI.
        pool: the slots that it takes one of.
        timeout: for one attempt.
    """
    name, hint = step.__name__, get_type_hints(step)["return"]
    return asyncio.create_task(_unless_cancelled(_decoded(name, hint, argument, summary, pool, timeout, None)))


async def _unless_cancelled(step: Coroutine[Any, Any, R]) -> R:
    """A step that ended before it heard of its cancellation: without this the run would go on as if nobody had aborted it."""
    result = await step
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError
    return result


async def act(step: Callable[[S, P], R], argument: P, summary: str) -> R:
    """A step that takes seconds."""
    return await start(step, argument, summary, Pool.ACTS, ACT_TIMEOUT)


async def wait(step: Callable[[S, P], R], argument: P, summary: str) -> R:
    """A step that looks at the cluster until something is so."""
    return await start(step, argument, summary, Pool.LOOKS)


async def copy(step: Callable[[S, P], R], argument: P, summary: str) -> R:
    """A step that takes as long as the data needs."""
    return await start(step, argument, summary, Pool.COPIES)


async def look(step: Callable[[S, P], R], argument: P, summary: str) -> R:
    """A look that takes some minutes at most, or is given up: another one follows."""
    name, hint = step.__name__, get_type_hints(step)["return"]
    return cast(R, await _decoded(name, hint, argument, summary, Pool.LOOKS, ACT_TIMEOUT, LOOK_TIMEOUT))


async def preview(name: str, request: RunbookInput) -> Survey:
    """Ask a runbook's plan activity, by name, what it would do now; without a token nothing is stored."""
    asked, what = {"request": request.model_dump(mode="json")}, "the plan, not kept, and every reason not to start"
    return cast(Survey, await _decoded(name, Survey, asked, what, Pool.LOOKS, ACT_TIMEOUT, PREVIEW_TIMEOUT))


async def _decoded(
    name: str, hint: Any, argument: object, summary: str, pool: Pool, timeout: timedelta, in_all: timedelta | None
) -> Any:
    raw: RawValue = await workflow.execute_activity(
        name,
        argument,
        result_type=RawValue,
        task_queue=pool.task_queue(workflow.info().task_queue),
        start_to_close_timeout=timeout,
        schedule_to_close_timeout=in_all,
        heartbeat_timeout=HEARTBEAT_TIMEOUT,
        retry_policy=RETRY,
        cancellation_type=ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
        summary=summary[:200],
    )
    return workflow.payload_converter().from_payload(raw.payload, hint)
