"""`Notify`: one message to people, sent once, whichever workers have seen what it is about.

It is a workflow of its own, not a step of the run: a webhook that fails holds no run and changes no run's history. Its ID names
the run and what happened, so a second worker that sees the same starts nothing.
"""

from datetime import timedelta

from temporalio import workflow
from temporalio.common import RetryPolicy
from temporalio.exceptions import ActivityError

with workflow.unsafe.imports_passed_through():
    from activities.errors import NON_RETRYABLE, describe
    from activities.notifications import NotificationActivities
    from activities.pools import Pool
    from kafka_runbooks.models.notification import Delivery, Notification

PATIENCE = timedelta(minutes=10)
"""What is older than that is no news, and a person has looked elsewhere."""
RETRY = RetryPolicy(
    initial_interval=timedelta(seconds=2),
    backoff_coefficient=2,
    maximum_interval=timedelta(minutes=1),
    maximum_attempts=12,
    non_retryable_error_types=NON_RETRYABLE,
)


@workflow.defn
class Notify:
    """Send one message, or give up after ten minutes."""

    @workflow.run
    async def run(self, message: Notification) -> Delivery:
        """See `Notification`."""
        try:
            return await workflow.execute_activity_method(
                NotificationActivities.post_notification,
                message,
                task_queue=Pool.ACTS.task_queue(workflow.info().task_queue),
                start_to_close_timeout=timedelta(seconds=30),
                schedule_to_close_timeout=PATIENCE,
                retry_policy=RETRY,
                summary=message.text[:200],
            )
        except ActivityError as error:
            return Delivery(is_delivered=False, note=describe(error))
