"""The permit from an activity's side: who holds it, when it is free, and whether the acting run still holds it.

The permit is a workflow `kafka-permit/<cluster>` that runs as long as it is held. Temporal admits one open workflow of an id,
so no other run can hold it; its run id is the fencing token. A late attempt, whose worker was cut off, carries the token of a
permit that has closed, and its `Fence` refuses it before each act.
"""

import time
from concurrent.futures import TimeoutError as NoAnswer
from datetime import timedelta

from temporalio import activity
from temporalio.client import WorkflowExecutionStatus, WorkflowUpdateFailedError
from temporalio.service import RPCError, RPCStatusCode

from activities.errors import PermitLost, TemporalUnreachable, describe
from activities.step import Link, Reporter, Steps, heartbeating, raise_if_stopped, step, wait
from kafka_runbooks.models.messages import GiveWayRequest, JoinRequest, Token
from kafka_runbooks.models.operator import GiveWay
from kafka_runbooks.models.status import Progress, Status
from kafka_runbooks.temporal import search_attributes_are_registered

FENCE_SECONDS = 3.0
"""For so long an answer that the permit is held counts: a loop over 300 brokers asks every few seconds, not 300 times."""
ANSWER_SECONDS = 4.0
JOINED_TYPE, JOIN = "ReplaceBroker", "add_brokers"
JOIN_SECONDS = 30.0
GIVE_WAY = "give_way"
RELEASE_SECONDS = 60.0
"""At its gate a run has set nothing yet, so its end takes a moment."""


def permit_id(cluster: str) -> str:
    return f"kafka-permit/{cluster}"


class Fence:
    """Whether an attempt may still change its cluster; asked before each act, also within a loop.

    An attempt may outlive its right to act: its run was terminated, its permit was ended by hand, or the attempt itself was
    cancelled or given up by the server, while it is in the middle of a loop. What is known in this process is looked at before
    every act; Temporal is asked for the permit again once the last answer is older than `FENCE_SECONDS`.
    """

    def __init__(self, link: Link, token: Token) -> None:
        self._link = link
        self._token = token
        self._held_at: float | None = None
        self._is_lost = False

    def check(self) -> None:
        """Return if the next act is allowed.

        Raises:
            CancelledError: the attempt was cancelled.
            WorkerShutdown: the worker shuts down.
            PermitLost: the run doesn't hold the cluster any more.
            TemporalUnreachable: nobody knows now.
        """
        raise_if_stopped()
        if self._is_lost or self._held_at is None or time.monotonic() - self._held_at > FENCE_SECONDS:
            self.ask()

    def check_for_less(self) -> None:
        """The same for an act that only takes less of the cluster: lowering a rate of this run, for instance.

        It is allowed while Temporal is away too: a guard that can't slow the run down in an outage is none.

        Raises:
            CancelledError: the attempt was cancelled.
            WorkerShutdown: the worker shuts down.
            PermitLost: the run doesn't hold the cluster any more.
        """
        try:
            self.check()
        except TemporalUnreachable as error:
            activity.logger.warning("%s; the run goes on taking less", error)

    def ask(self) -> None:
        """Ask Temporal now, for instance after an act that a lost permit would make necessary to undo.

        Raises:
            PermitLost: the run doesn't hold the cluster any more.
            TemporalUnreachable: nobody knows now.
        """
        asked_at = time.monotonic()
        self._is_lost = self._is_lost or not self._is_held()
        if self._is_lost:
            raise PermitLost(f"the permit of cluster {self._token.cluster} is no longer held by {self._token.workflow_id}")
        self._held_at = asked_at

    def _is_held(self) -> bool:
        async def described() -> tuple[str | None, WorkflowExecutionStatus | None]:
            handle = self._link.client.get_workflow_handle(permit_id(self._token.cluster))
            permit = await handle.describe(rpc_timeout=timedelta(seconds=ANSWER_SECONDS))
            return permit.run_id, permit.status

        try:
            run_id, status = self._link.call(described(), ANSWER_SECONDS + 1)
        except RPCError as error:
            if error.status == RPCStatusCode.NOT_FOUND:
                return False
            raise TemporalUnreachable(f"Temporal doesn't say whether the permit is held: {error}") from error
        except NoAnswer as error:
            raise TemporalUnreachable(
                f"Temporal doesn't say whether the permit is held: no answer in {ANSWER_SECONDS:g} s"
            ) from error
        return run_id == self._token.permit_run_id and status == WorkflowExecutionStatus.RUNNING


def ensure_held(link: Link, token: Token) -> None:
    """Check once that the run holds the permit. A loop keeps a `Fence` instead."""
    Fence(link, token).check()


class PermitActivities(Steps):
    """Questions of a run about its cluster's permit."""

    @step
    def permit_holder(self, cluster: str) -> str | None:
        """The id of the workflow that holds the cluster, or None where it is free."""
        return self._link.call(self._holder(cluster))

    @step
    def join(self, request: JoinRequest) -> str | None:
        """Ask the holder to take brokers along; None if it does, else why it doesn't."""
        try:
            handle = self._link.client.get_workflow_handle(request.holder)
            described = self._link.call(handle.describe())
            if described.workflow_type != JOINED_TYPE:
                return f"{request.holder} brings no brokers back"
            update = handle.execute_update(
                JOIN, request.brokers, id=f"join-{activity.info().workflow_run_id}", result_type=Status
            )
            self._link.call(update, JOIN_SECONDS)
        except WorkflowUpdateFailedError as error:
            return describe(error)
        except RPCError as error:
            if error.status == RPCStatusCode.NOT_FOUND:
                return f"{request.holder} has just ended"
            raise
        return None

    @step
    def ask_to_give_way(self, request: GiveWayRequest) -> bool:
        """Whether the holder has ended, since a schedule has started it and nothing was approved yet.

        Waits until it has released the cluster, but not for another run that was faster.
        """
        handle = self._link.client.get_workflow_handle(request.holder)
        action = GiveWay(by=request.by[:200], reason="it needs the cluster")
        try:
            update = handle.execute_update(GIVE_WAY, action, id=f"give-way-{activity.info().workflow_run_id}", result_type=Status)
            self._link.call(update, JOIN_SECONDS)
        except WorkflowUpdateFailedError:
            return False
        except RPCError as error:
            if error.status != RPCStatusCode.NOT_FOUND:
                raise
            # It has just ended, perhaps since an attempt before this one has asked it.
        ends = time.monotonic() + RELEASE_SECONDS
        with heartbeating():
            while self._link.call(self._holder(request.cluster)) == request.holder:
                raise_if_stopped()
                if time.monotonic() > ends:
                    return False
                time.sleep(0.2)
        return True

    @step
    def wait_until_free(self, cluster: str) -> None:
        """Return when nobody holds the permit. Several runs may wait: the first to start the permit then holds it."""

        def look() -> bool | None:
            holder = self._link.call(self._holder(cluster))
            if holder is None:
                return True
            reporter = Reporter.current()
            waiting = reporter.waiting(f"{holder} holds cluster {cluster}", "that run ends, or is aborted", (holder,))
            reporter.report(Progress(waiting=waiting))
            return None

        wait(look)

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
