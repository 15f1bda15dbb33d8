"""The permit as activities see it: who holds it, when it is free, and whether the one who acts still does.

The permit is a workflow `kafka-permit/<cluster>` that runs as long as it is held. Temporal admits one open workflow of an id,
so nobody else can hold it; its run id is the fencing token. An attempt whose worker was cut off and wakes up late carries the
token of a permit that has closed by then, and is refused here, before it acts.
"""

import asyncio

from temporalio import activity
from temporalio.client import Client, WorkflowExecutionStatus
from temporalio.exceptions import ApplicationError
from temporalio.service import RPCError, RPCStatusCode

from activities.step import Link
from kafka_runbooks.models.messages import Token

PERMIT_LOST = "PermitLost"


def permit_id(cluster: str) -> str:
    return f"kafka-permit/{cluster}"


def ensure_held(link: Link, token: Token) -> None:
    """Raise a non-retryable `PermitLost` unless the permit's run is the token's and still runs."""

    async def look() -> tuple[str | None, WorkflowExecutionStatus | None]:
        described = await link.client.get_workflow_handle(permit_id(token.cluster)).describe()
        return described.run_id, described.status

    try:
        run_id, status = link.call(look())
    except RPCError as error:
        if error.status != RPCStatusCode.NOT_FOUND:
            raise
        run_id, status = None, None
    if run_id != token.permit_run_id or status != WorkflowExecutionStatus.RUNNING:
        raise ApplicationError(
            f"the permit of cluster {token.cluster} is no longer held by {token.workflow_id}; nothing was changed by this step",
            type=PERMIT_LOST,
            non_retryable=True,
        )


class PermitActivities:
    """Finding the holder of a cluster's permit, and waiting for it to be free."""

    def __init__(self, client: Client) -> None:
        self._client = client

    @activity.defn
    async def permit_holder(self, cluster: str) -> str | None:
        """The id of the workflow that holds the cluster, or None where it is free."""
        try:
            described = await self._client.get_workflow_handle(permit_id(cluster)).describe()
        except RPCError as error:
            if error.status == RPCStatusCode.NOT_FOUND:
                return None
            raise
        if described.status != WorkflowExecutionStatus.RUNNING:
            return None
        return described.parent_id or described.id

    @activity.defn
    async def wait_until_free(self, cluster: str) -> None:
        """Return when nobody holds the permit. Several may wait: the one that then starts the permit first has it."""
        while await self.permit_holder(cluster) is not None:
            activity.heartbeat()
            await asyncio.sleep(1.0)
