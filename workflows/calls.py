"""How activities are called: how long a try may take, when a dead worker is noticed, what is never tried again.

Every activity heartbeats, so a worker that died is noticed after `HEARTBEAT_TIMEOUT` and the next attempt looks at the world.
Passing faults are tried again for ever: an operator who reads the status sees the last error, and nothing gets worse by waiting.
"""

from datetime import timedelta
from typing import Any

from temporalio.common import RetryPolicy
from temporalio.workflow import ActivityCancellationType

HEARTBEAT_TIMEOUT = timedelta(seconds=12)

NON_RETRYABLE = ["PayloadsTooLarge", "Refused", "UnknownCluster", "InvalidPlan", "PermitLost", "PlanDrift", "ValidationError"]

RETRY = RetryPolicy(
    initial_interval=timedelta(seconds=1),
    backoff_coefficient=1.5,
    maximum_interval=timedelta(seconds=15),
    non_retryable_error_types=NON_RETRYABLE,
)


def act(summary: str) -> dict[str, Any]:
    """A look or an act that takes seconds."""
    return {
        "start_to_close_timeout": timedelta(minutes=5),
        "heartbeat_timeout": HEARTBEAT_TIMEOUT,
        "retry_policy": RETRY,
        "cancellation_type": ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
        "summary": summary,
    }


def wait(summary: str) -> dict[str, Any]:
    """A wait that takes as long as the data needs."""
    return {**act(summary), "start_to_close_timeout": timedelta(days=14)}
