"""The course of every runbook: acquire the permit, work, and remove what was set.

A runbook subclasses `Runbook` and hands its work to `conduct`. The release runs after success, failure, cancel and abort; after a
terminate the permit closes by itself and the ledger stays for the next run.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any, TypeVar

from temporalio import workflow
from temporalio.exceptions import ActivityError, ApplicationError, FailureError, is_cancelled_exception

with workflow.unsafe.imports_passed_through():
    from activities.errors import PermitLost, describe, is_type
    from activities.permits import PermitActivities
    from activities.pools import Pool
    from activities.release import ReleaseActivities
    from kafka_runbooks import search_attributes
    from kafka_runbooks.models.inputs import RunbookInput
    from kafka_runbooks.models.messages import GiveWayRequest, Released, Survey, Token
    from kafka_runbooks.models.operator import Approval
    from kafka_runbooks.models.results import Outcome, RunbookResult
    from kafka_runbooks.models.steps import StepName

from workflows import calls, permit
from workflows.operator import Ended, Operator, Work

DEAD_BROKER_PATIENCE = timedelta(minutes=5)
"""How long the end of a run waits for a broker that died during it and still has a throttle of the run. Not longer, since it
holds the permit, which that broker's own replacement needs."""

S = TypeVar("S")
P = TypeVar("P")
R = TypeVar("R")


class Runbook(Operator):
    """Base of all runbooks."""

    def __init__(self, request: RunbookInput) -> None:
        super().__init__(request)
        self._held: permit.Permit
        self._is_guarded = False
        self._may_have_rates = False
        """Whether a step has begun that sets rates; before that a guard has nothing to look after."""
        self._released = Released()
        self._undone = ""
        """What else the result of a run that ends early should say."""

    async def conduct(self, work: Callable[[Token], Awaitable[RunbookResult]]) -> RunbookResult:
        """Hold the permit, do the work, remove what was set, release the permit; returns the result.

        Raises:
            ApplicationError: the work did not succeed; its type is the name of an `Outcome`, its detail the `RunbookResult`.
        """
        await self._tag()
        try:
            self._held = await self._acquire()
        except Ended as ended:
            self._waiting, self._unanswered, self._phase = None, None, ended.result.outcome.value
            self.mark_phase()
            self.show()
            return ended.result
        token = self._token(self._held)

        async def run() -> RunbookResult:
            return await work(token)

        task = asyncio.create_task(run())
        self._work = Work(token, task)
        is_cancelled = False
        try:
            result = await task
        except Ended as ended:
            await undisturbed(self._release_at_the_end(token))
            result = ended.result
        except (Exception, asyncio.CancelledError) as error:  # not an eviction: that is no end, the run goes on elsewhere
            result = self._result_of(error)
            is_cancelled = result.outcome is Outcome.CANCELLED
            await undisturbed(self._release_at_the_end(token))
        return await undisturbed(self._conclude(result, is_cancelled=is_cancelled))

    def _token(self, held: permit.Permit) -> Token:
        info = workflow.info()
        return Token(
            cluster=self._request.cluster,
            workflow_id=info.workflow_id,
            run_id=info.run_id,
            permit_run_id=held.first_execution_run_id or "",
            namespace=info.namespace,
        )

    def _result_of(self, error: BaseException) -> RunbookResult:
        """What to report after an error of the work, of whatever kind."""
        where = self._step or self._phase
        if isinstance(error, asyncio.CancelledError) or is_cancelled_exception(error):
            if self._history_is_full:
                what = f"ended in order during {where}: Temporal would soon have terminated it, since its history is nearly full"
                return RunbookResult(
                    outcome=Outcome.FAILED, summary=f"{what}; start it again, and it continues with what is left"
                )
            outcome = Outcome.CANCELLED if self._abort is None else Outcome.ABORTED
            return RunbookResult(outcome=outcome, summary=f"{outcome.value} during {where}")
        if not isinstance(error, FailureError):
            workflow.logger.exception("the runbook's own course has failed")
        return RunbookResult(outcome=Outcome.FAILED, summary=f"{where}: {describe(error)}")

    async def _conclude(self, result: RunbookResult, *, is_cancelled: bool) -> RunbookResult:
        """Release the permit and report, once nothing is left to do."""
        report: dict[str, Any] = {
            "plan": self._plan.reference if self._plan else None,
            "steps": tuple(self._times),
            "decisions": tuple(self._decisions),
            "left_behind": self._released.left_behind,
        }
        if self._undone:
            report["summary"] = f"{result.summary}; {self._undone}"
        result = RunbookResult(**{**dict(result), **report})
        self.enter("release the permit", phase="end")
        await permit.release(self._held)
        await workflow.wait_condition(workflow.all_handlers_finished)
        self._progress, self._waiting, self._unanswered, self._phase = None, None, None, result.outcome.value
        self.mark_phase()
        self.show()
        if result.outcome in (Outcome.DONE, Outcome.NOTHING_TO_DO, Outcome.SKIPPED):
            return result
        if is_cancelled:
            raise asyncio.CancelledError(result.summary)
        raise ApplicationError(result.summary, result, type=result.outcome.name, non_retryable=True)

    async def _tag(self) -> None:
        """Set the search attributes that runs are listed by, where the namespace has them."""
        cluster = self._request.cluster
        self._has_search_attributes = await calls.act(
            PermitActivities.search_attributes_are_registered, cluster, "are search attributes registered"
        )
        if not self._has_search_attributes:
            self._notes = ("search attributes are not registered: `kafka-runbooks setup` does it, and makes runs searchable",)
            return
        workflow.upsert_search_attributes(
            [
                search_attributes.CLUSTER.value_set(cluster),
                search_attributes.RUNBOOK.value_set(workflow.info().workflow_type),
                search_attributes.REQUESTER.value_set(self._request.requester),
                *([search_attributes.TICKET.value_set(self._request.ticket)] if self._request.ticket else []),
                search_attributes.PHASE.value_set(self._phase),
            ]
        )

    async def _acquire(self) -> permit.Permit:
        request = self._request
        self.enter("acquire the permit", phase="permit")
        while True:
            held = await permit.try_to_acquire(request)
            if held is not None:
                self._holder, self._waiting = workflow.info().workflow_id, None
                return held
            self._holder = await calls.act(PermitActivities.permit_holder, request.cluster, "who holds the permit")
            if self._holder is not None and await self.join(self._holder):
                summary = f"{self._holder} brings these brokers back too; follow it there"
                raise Ended(RunbookResult(outcome=Outcome.JOINED, summary=summary))
            if request.when_busy == "skip":
                summary = (
                    f"{self._holder or 'another runbook'} holds cluster {request.cluster}; the next scheduled run looks again"
                )
                raise Ended(RunbookResult(outcome=Outcome.SKIPPED, summary=summary))
            if self._holder is not None and workflow.patched("ask-to-give-way"):
                asked = GiveWayRequest(cluster=request.cluster, holder=self._holder, by=workflow.info().workflow_id)
                if await calls.act(PermitActivities.ask_to_give_way, asked, "ask a scheduled run at its gate to give way"):
                    continue
            if request.when_busy == "fail":
                self._phase = Outcome.BUSY.value
                self.mark_phase()
                raise permit.busy(request.cluster, self._holder)
            self.wait_for(f"{self._holder} holds cluster {request.cluster}", f"{self._holder} ends", self._holder or "")
            await permit.wait_until_free(request.cluster)

    async def join(self, holder: str) -> bool:
        """Ask the run that holds the cluster to do this one's work too; whether it will."""
        return False

    # While no step adapts the rates

    @asynccontextmanager
    async def guarded(self) -> AsyncIterator[None]:
        """Adapt the rates that this run has set, for as long as something else than a copying step goes on."""
        guard = None if self._is_guarded else self.start_guard()
        if guard is None:
            yield
            return
        self._is_guarded = True
        try:
            yield
        except GeneratorExit:
            # The worker drops the workflow: nothing can be awaited any more.
            raise
        except BaseException:
            self._is_guarded = False
            await self.end_guard(guard)
            raise
        self._is_guarded = False
        await self.end_guard(guard)

    async def end_guard(self, guard: asyncio.Task[None]) -> None:
        """Stop it, whatever became of it."""
        guard.cancel()
        await workflow.wait([guard])
        if not guard.cancelled() and (error := guard.exception()) is not None and not is_cancelled_exception(error):
            workflow.logger.warning("the throttles were not looked after: %s", describe(error))

    def start_guard(self) -> asyncio.Task[None] | None:
        """The step that does it; None where nothing can have been set yet."""
        return None

    async def pause_point(self) -> None:
        if self._is_paused:
            async with self.guarded():
                await super().pause_point()

    async def gate(self, question: str, offered: Survey | None = None, asker: str | None = None) -> Approval:
        async with self.guarded():
            return await super().gate(question, offered, asker)

    # Called by the runbooks' modules

    def begin_steps(self) -> None:
        """From here on, settings may be made that must be removed at the end."""
        self._is_acting = True
        self._phase = "steps"
        self.mark_phase()

    async def pausable(self, name: StepName, step: Callable[[S, P], R], argument: P) -> R:
        """A long step that a pause cancels and a resume starts again: it observes the cluster, and continues.

        What it has started (reassignments in flight) continues while it is paused.
        """
        with self.timed(name):
            while True:
                await self.pause_point()
                self._may_have_rates = True
                acting = calls.start(step, argument, name, Pool.COPIES)
                paused = asyncio.create_task(workflow.wait_condition(lambda: self._is_paused))
                try:
                    await workflow.wait([acting, paused], return_when=asyncio.FIRST_COMPLETED)
                except asyncio.CancelledError:
                    acting.cancel()
                    await workflow.wait([acting])
                    raise
                finally:
                    paused.cancel()
                if acting.done():
                    return await acting
                acting.cancel()
                await workflow.wait([acting])

    async def release(self, token: Token) -> Released:
        """Remove what the ledger lists, including what an earlier release left behind."""
        self.enter(StepName.RELEASE)
        self._released = await calls.act(ReleaseActivities.release, token, "remove what this run has set")
        self._owned = self._released.left_behind
        return self._released

    async def release_all(self, token: Token, elect: Callable[[], Awaitable[object]] | None = None) -> Released:
        """Release after success. A broker that died in between is waited for, since only a live broker's configs can be set.

        Args:
            elect: returns leadership, also to the broker that was waited for.
        """
        released = await self.release(token)
        rates = released.rates
        if not released.left_behind:
            return released
        deadline = workflow.now() + DEAD_BROKER_PATIENCE
        while released.left_behind and workflow.now() < deadline:
            self.wait_for(
                "what this run has set on a broker that is down can't be removed: " + "; ".join(released.left_behind[:10]),
                f"the broker comes back; from {deadline:%H:%M:%S} UTC on, or after an abort, ClearLeftovers does it",
                *released.left_behind[:10],
            )
            await workflow.sleep(timedelta(seconds=10), summary="a broker that has settings of this run is down")
            released = await self.release(token)
        if elect is not None:
            await elect()
        return released.model_copy(update={"rates": {**rates, **released.rates}})

    async def _release_at_the_end(self, token: Token) -> None:
        """Release after any end but success. What can't be removed is reported, and stays in the ledger for the next run."""
        if not self._is_acting:
            return
        step = self._step
        try:
            await self._release_even_without_permit(token)
        except Exception as error:
            self._released = Released(left_behind=(f"could not be removed, ClearLeftovers can: {describe(error)}",))
        self._step = step

    async def _release_even_without_permit(self, token: Token) -> None:
        """Somebody may have ended the permit by hand. If nobody holds the cluster now, this run takes it again to give back."""
        try:
            await self.release(token)
        except ActivityError as error:
            if not is_type(error, PermitLost):
                raise
            again = await permit.try_to_acquire(self._request)
            if again is None:
                raise
            self._held = again
            await self.release(self._token(again))


async def undisturbed(work: Coroutine[Any, Any, R]) -> R:
    """Finish this although the run is cancelled meanwhile, as an operator may do with one that is giving back."""
    task = asyncio.create_task(work)
    while True:
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            if task.done():
                raise
