"""The permit from an activity's side: who holds it, when it is free, and whether the acting run still holds it.

The permit is a workflow `kafka-permit/<cluster>` that runs as long as it is held. Temporal admits one open workflow of an id,
so no other run can hold it; its run id is the fencing token. A late attempt, whose worker was cut off, carries the token of a
permit that has closed, and is refused here before it acts.
"""

import asyncio

from temporalio import activity
from temporalio.client import WorkflowExecutionStatus
from temporalio.service import RPCError, RPCStatusCode

from activities.errors import PermitLost
from activities.step import Link, Steps, step
from kafka_runbooks.models.messages import Token
from kafka_runbooks.temporal import search_attributes_are_registered


def permit_id(cluster: str) -> str:
    return f"kafka-permit/{cluster}"


def ensure_held(link: Link, token: Token) -> None:
    """Check that the permit's run is the token's and still open.

    Raises:
        PermitLost: it isn't.
    """

    async def described() -> tuple[str | None, WorkflowExecutionStatus | None]:
        permit = await link.client.get_workflow_handle(permit_id(token.cluster)).describe()
        return permit.run_id, permit.status

    try:
        run_id, status = link.call(described())
    except RPCError as error:
        if error.status != RPCStatusCode.NOT_FOUND:
            raise
        run_id, status = None, None
    if run_id != token.permit_run_id or status != WorkflowExecutionStatus.RUNNING:
        raise PermitLost(
            f"the permit of cluster {token.cluster} is no longer held by {token.workflow_id}; nothing was changed by this step"
        )


class PermitActivities(Steps):
    """Questions of a run about its cluster's permit."""

    @step
    def permit_holder(self, cluster: str) -> str | None:
        """The id of the workflow that holds the cluster, or None where it is free."""
        return self._link.call(self._holder(cluster))

    @step
    async def wait_until_free(self, cluster: str) -> None:
        """Return when nobody holds the permit. Several runs may wait: the first to start the permit then holds it."""
        while await self._holder(cluster) is not None:
            activity.heartbeat()
            await asyncio.sleep(1.0)

    async def _holder(self, cluster: str) -> str | None:
        try:
            described = await self._link.client.get_workflow_handle(permit_id(cluster)).describe()
        except RPCError as error:
            if error.status == RPCStatusCode.NOT_FOUND:
                return None
            raise
        if described.status != WorkflowExecutionStatus.RUNNING:
            return None
        return described.parent_id or described.id

    @step
    def search_attributes_are_registered(self, cluster: str) -> bool:
        """Whether the namespace has the attributes that runs are listed by; a run that sets an unregistered one would hang."""
        return self._link.call(search_attributes_are_registered(self._link.client))
