"""The permit: one runbook at a time on a cluster, held by a child workflow.

Temporal admits one open workflow of an id, so the child `kafka-permit/<cluster>` can be started by one runbook only, whatever
its own id is and wherever it was started from. It closes with its parent, however that ends (terminated too), and its run id
fences off a late attempt of an old run (`activities.permits`).
"""

from temporalio import workflow
from temporalio.exceptions import ApplicationError, FailureError, WorkflowAlreadyStartedError

with workflow.unsafe.imports_passed_through():
    from activities.permits import PermitActivities, permit_id
    from kafka_runbooks.models.inputs import RunbookInput
    from kafka_runbooks.models.results import Outcome, RunbookResult

from workflows import calls


@workflow.defn
class ClusterPermit:
    """Runs for as long as the permit is held."""

    def __init__(self) -> None:
        self._is_released = False

    @workflow.run
    async def run(self, holder: str) -> None:
        workflow.set_current_details(f"held by `{holder}`")
        await workflow.wait_condition(lambda: self._is_released)

    @workflow.signal
    def release(self) -> None:
        self._is_released = True


Permit = workflow.ChildWorkflowHandle[ClusterPermit, None]


async def try_to_acquire(request: RunbookInput) -> Permit | None:
    """The permit, or None where another run holds it."""
    holder = workflow.info().workflow_id
    try:
        return await workflow.start_child_workflow(
            ClusterPermit.run,
            holder,
            id=permit_id(request.cluster),
            parent_close_policy=workflow.ParentClosePolicy.REQUEST_CANCEL,
            static_summary=f"held by {holder}"[:400],
        )
    except WorkflowAlreadyStartedError:
        return None


async def wait_until_free(cluster: str) -> None:
    """Return when nobody holds the cluster."""
    await calls.wait(PermitActivities.wait_until_free, cluster, "wait for the permit")


def busy(cluster: str, holder: str | None) -> ApplicationError:
    """The failure of a runbook with `when_busy` fail."""
    summary = f"cluster {cluster} is busy: {holder or 'another runbook'} holds the permit"
    result = RunbookResult(outcome=Outcome.BUSY, summary=summary)
    return ApplicationError(summary, result, type=Outcome.BUSY.name, non_retryable=True)


async def release(permit: Permit) -> None:
    """Release the permit and wait until it is closed, so the cluster is free when the run's result is visible."""
    try:
        await permit.signal(ClusterPermit.release)
        await permit
    except FailureError as error:
        # Somebody has ended it by hand: it is free.
        workflow.logger.warning("the permit was closed already: %s", error)
