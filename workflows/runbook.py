"""The shape that every runbook has: permit, work, and an end that gives back what was set.

A runbook subclasses `Runbook` and hands its work to `conduct`. What is here is what an operator deals with on any of them: the
`status` query, the updates approve, reject, pause, resume and abort, and a result however it ends. `give_back` runs after
success, failure, cancel and abort; after a terminate the permit closes by itself and the ledger stays for the next run.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import quote

from temporalio import workflow
from temporalio.exceptions import ActivityError, ApplicationError, FailureError, is_cancelled_exception

with workflow.unsafe.imports_passed_through():
    from activities.overrides import ClearRequest, OverrideRequest, OverridingActivities
    from activities.release import EndingActivities
    from kafka_runbooks.models.inputs import RunbookInput
    from kafka_runbooks.models.messages import Released, Token
    from kafka_runbooks.models.moves import MoveSummary
    from kafka_runbooks.models.operator import Abort, Approval, ClearThrottle, OperatorAction, Override
    from kafka_runbooks.models.plans import PlanSummary
    from kafka_runbooks.models.results import Decision, Outcome, PhaseTime, Reason, RunbookResult
    from kafka_runbooks.models.status import Progress, Status, Waiting
    from kafka_runbooks.throttle import overrides
    from workflows import calls, permit
    from workflows.details import markdown


DEAD_BROKER_PATIENCE = timedelta(minutes=5)
"""How long an end waits for a broker that died meanwhile and still has a throttle of ours. The permit is held that long, and that
broker's own replacement needs it: longer helps nobody."""


class Ended(Exception):
    """The work came to an end that is not success; carries the result."""

    def __init__(self, result: RunbookResult) -> None:
        super().__init__(result.summary)
        self.result = result


class Runbook:
    """What all runbooks share while they run."""

    can_roll_back = False
    """Whether an abort may ask for the way back to the start."""

    def __init__(self) -> None:
        self._request: RunbookInput | None = None
        self._work: asyncio.Task[RunbookResult] | None = None
        self._token: Token | None = None
        self._phase = "waiting for a worker"
        self._steps: tuple[str, ...] = ()
        self._step = ""
        self._step_since: datetime | None = None
        self._progress: Progress | None = None
        self._waiting: Waiting | None = None
        self._plan: PlanSummary | MoveSummary | None = None
        self._reasons: tuple[Reason, ...] = ()
        self._notes: tuple[str, ...] = ()
        self._owned: tuple[str, ...] = ()
        self._holder: str | None = None
        self._decisions: list[Decision] = []
        self._times: list[PhaseTime] = []
        self._gate_is_open: bool | None = None
        self._approval: Approval | None = None
        self._is_paused = False
        self._abort: Abort | None = None
        self._is_acting = False
        self._released = Released()

    # What an operator asks and says

    @workflow.query
    def status(self) -> Status:
        """Where it is, how far, how long still, and why it waits."""
        info = workflow.info()
        path = f"/namespaces/{info.namespace}/workflows/{quote(info.workflow_id, safe='')}/{info.run_id}"
        return Status(
            runbook=info.workflow_type,
            cluster=self._request.cluster if self._request else "",
            phase=self._phase,
            step=self._step,
            step_number=self._steps.index(self._step) + 1 if self._step in self._steps else 0,
            steps=len(self._steps),
            step_since=self._step_since,
            times=tuple(self._times),
            progress=self._progress,
            waiting=self._waiting or (self._progress.waiting if self._progress else None),
            plan=self._plan,
            reasons=self._reasons,
            notes=self._notes,
            owned_throttles=self._owned,
            permit_holder=self._holder,
            is_paused=self._is_paused,
            decisions=tuple(self._decisions),
            links={"temporal": f"{path}/history"},
        )

    @workflow.signal
    def report_progress(self, progress: Progress) -> None:
        """Figures of a running step; sent by its activity."""
        self._progress = progress
        self._show()

    @workflow.update
    def approve(self, approval: Approval) -> Status:
        """Approve what waits at the gate."""
        self._note("approve", approval)
        self._approval = approval
        return self.status()

    @approve.validator
    def _may_approve(self, approval: Approval) -> None:
        self._must_be_at_gate()
        if approval.plan_sha256 is not None and (self._plan is None or self._plan.reference.sha256 != approval.plan_sha256):
            raise ApplicationError("plan_sha256: the plan that waits has another hash; look at the status again")
        missing = [reason.name for reason in self._reasons if reason.name not in approval.acknowledged_risks]
        if missing:
            raise ApplicationError("acknowledged_risks: name also " + ", ".join(missing))

    @workflow.update
    def reject(self, word: OperatorAction) -> Status:
        """Refuse what waits at the gate: the runbook ends and has changed nothing more."""
        self._note("reject", word)
        self._gate_is_open = False
        return self.status()

    @reject.validator
    def _may_reject(self, word: OperatorAction) -> None:
        self._must_be_at_gate()

    @workflow.update
    def pause(self, word: OperatorAction) -> Status:
        """Stop before the next step; data in flight still arrives, throttled."""
        self._note("pause", word)
        self._is_paused = True
        return self.status()

    @pause.validator
    def _may_pause(self, word: OperatorAction) -> None:
        if self._is_paused:
            raise ApplicationError("it is paused already")

    @workflow.update
    def resume(self, word: OperatorAction) -> Status:
        """Go on after a pause."""
        self._note("resume", word)
        self._is_paused = False
        return self.status()

    @resume.validator
    def _may_resume(self, word: OperatorAction) -> None:
        if not self._is_paused:
            raise ApplicationError("it is not paused")

    @workflow.update
    def abort(self, word: Abort) -> Status:
        """Give back what was set, and end; with `rollback`, once everything is back where it was."""
        self._note("abort with rollback" if word.rollback else "abort", word)
        self._abort = word
        if self._work is not None:
            self._work.cancel()
        return self.status()

    @abort.validator
    def _may_abort(self, word: Abort) -> None:
        if self._work is None or self._work.done():
            raise ApplicationError("there is nothing to abort: it has not begun, or is at its end")
        if word.rollback and not self.can_roll_back:
            raise ApplicationError(f"rollback: {workflow.info().workflow_type} has none; abort without it")
        if word.rollback and self._abort is not None:
            raise ApplicationError("it is being aborted already")

    @workflow.update
    async def set_throttle(self, override: Override) -> Status:
        """Hold a broker, or all that take part, at a rate from the next look on; instead of what is computed."""
        self._note("throttle set", override)
        asked = OverrideRequest(token=self.token, override=override)
        await workflow.execute_activity_method(
            OverridingActivities.set_throttle, asked, **calls.act(f"throttle: {override}"[:200])
        )
        return self.status()

    @set_throttle.validator
    def _may_set_throttle(self, override: Override) -> None:
        self._must_hold_the_cluster()
        try:
            overrides.with_override((), override, workflow.now())
        except ValueError as error:
            raise ApplicationError(str(error)) from error

    @workflow.update
    async def clear_throttle(self, word: ClearThrottle) -> Status:
        """Take what was set by hand back; rates then go on from where they are, by steps."""
        self._note("throttle clear", word)
        asked = ClearRequest(token=self.token, broker_id=word.broker_id, everything=word.everything)
        await workflow.execute_activity_method(OverridingActivities.clear_throttle, asked, **calls.act("throttle: clear"))
        return self.status()

    @clear_throttle.validator
    def _may_clear_throttle(self, word: ClearThrottle) -> None:
        self._must_hold_the_cluster()

    def _must_hold_the_cluster(self) -> None:
        if self._work is None or self._work.done():
            raise ApplicationError("it doesn't hold the cluster: it has not begun, or is at its end")

    def _must_be_at_gate(self) -> None:
        if self._gate_is_open is None:
            raise ApplicationError("nothing waits for a decision now")

    def _note(self, action: str, word: OperatorAction | Override) -> None:
        self._decisions.append(Decision(action=action, by=word.by, reason=word.reason, at=workflow.now()))

    # What a runbook's own module calls

    async def conduct(self, request: RunbookInput, work: Callable[[], Awaitable[RunbookResult]]) -> RunbookResult:
        """Hold the permit, do the work, give back, release; the result, or an `ApplicationError` that carries it.

        Raises:
            ApplicationError: its type is the name of an `Outcome`, its detail the `RunbookResult`.
        """
        self._request = request
        held = await self._acquire(request)
        info = workflow.info()
        self._token = Token(
            cluster=request.cluster,
            workflow_id=info.workflow_id,
            run_id=info.run_id,
            permit_run_id=held.first_execution_run_id or "",
        )

        async def run() -> RunbookResult:
            return await work()

        self._work = asyncio.create_task(run())
        is_cancelled = False
        try:
            result = await self._work
        except Ended as ended:
            await self._give_back_at_the_end()
            result = ended.result
        except (asyncio.CancelledError, FailureError) as error:
            if is_cancelled_exception(error) or isinstance(error, asyncio.CancelledError):
                is_cancelled = self._abort is None
                outcome = Outcome.CANCELLED if self._abort is None else Outcome.ABORTED
                summary = f"{outcome.value} during {self._step or self._phase}"
            else:
                outcome, summary = Outcome.FAILED, f"{self._step or self._phase}: {describe(error)}"
            await self._give_back_at_the_end()
            result = RunbookResult(outcome=outcome, summary=summary)
        result = result.model_copy(
            update={
                "plan": self._plan.reference if self._plan else None,
                "steps": tuple(self._times),
                "decisions": tuple(self._decisions),
                "left_behind": self._released.left_behind,
            }
        )
        self.enter("release the permit", phase="end")
        await permit.release(held)
        await workflow.wait_condition(workflow.all_handlers_finished)
        self._progress, self._waiting, self._phase = None, None, result.outcome.value
        self._show()
        if result.outcome in (Outcome.DONE, Outcome.NOTHING_TO_DO):
            return result
        if is_cancelled:
            raise asyncio.CancelledError(result.summary)
        raise ApplicationError(result.summary, result, type=result.outcome.name, non_retryable=True)

    async def _acquire(self, request: RunbookInput) -> permit.Permit:
        self.enter("acquire the permit", phase="permit")
        while True:
            held = await permit.try_to_acquire(request)
            if held is not None:
                self._holder, self._waiting = workflow.info().workflow_id, None
                return held
            self._holder = await permit.holder_of(request.cluster)
            if request.when_busy == "fail":
                self._phase = Outcome.BUSY.value
                raise permit.busy(request.cluster, self._holder)
            self.wait_for(f"{self._holder} holds cluster {request.cluster}", f"{self._holder} ends", self._holder or "")
            await permit.wait_until_free(request.cluster)

    @property
    def token(self) -> Token:
        assert self._token is not None, "the work runs under a permit"
        return self._token

    def enter(self, step: str, *, phase: str | None = None) -> None:
        """Say where the runbook is."""
        self._phase = phase or self._phase
        self._step, self._step_since, self._progress, self._waiting = step, workflow.now(), None, None
        self._show()

    def wait_for(self, reason: str, unblocks: str, *blocking: str) -> None:
        """Say why the workflow itself waits."""
        self._waiting = Waiting(reason=reason, since=workflow.now(), unblocks=unblocks, blocking=blocking)
        self._show()

    @contextmanager
    def timed(self, step: str) -> Iterator[None]:
        """Note how long a step takes, pauses before it not included."""
        self.enter(step)
        began = workflow.now()
        try:
            yield
        except GeneratorExit:
            # The worker drops the workflow from its cache: outside of its event loop there is no time to ask for.
            raise
        except BaseException:
            self._times.append(PhaseTime(step=step, seconds=(workflow.now() - began).total_seconds()))
            raise
        self._times.append(PhaseTime(step=step, seconds=(workflow.now() - began).total_seconds()))

    def begin_steps(self) -> None:
        """From here on things may be set that must be given back."""
        self._phase, self._is_acting = "steps", True

    async def pause_point(self) -> None:
        """A safe point: returns when the runbook is not paused."""
        if self._is_paused:
            self.wait_for("paused by an operator", "resume", *(decision.by for decision in self._decisions[-1:]))
            await workflow.wait_condition(lambda: not self._is_paused, timeout_summary="paused")
            self._waiting = None

    async def pausable(self, step: str, method: Any, request: Any) -> Any:
        """A long activity that a pause cancels and a resume starts anew: it looks at the world, not at memory, and goes on.

        What it has started (reassignments in flight) goes on while it is paused.
        """
        with self.timed(step):
            while True:
                await self.pause_point()
                acting = workflow.start_activity_method(method, request, **calls.wait(step))
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

    async def gate(self, question: str) -> Approval:
        """Wait until somebody approves.

        Raises:
            Ended: somebody rejected.
        """
        self._gate_is_open, self._approval = True, None
        self.wait_for(question, "approve or reject")
        try:
            await workflow.wait_condition(lambda: self._approval is not None or self._gate_is_open is False)
        finally:
            was_rejected, self._gate_is_open, self._waiting = self._gate_is_open is False, None, None
        if was_rejected or self._approval is None:
            word = self._decisions[-1]
            raise Ended(RunbookResult(outcome=Outcome.REJECTED, summary=f"rejected by {word.by}: {word.reason}"))
        return self._approval

    async def give_back(self) -> Released:
        """Take back what the ledger says; also what is left, once more."""
        self.enter("give back throttles and cordon")
        self._released = await workflow.execute_activity_method(
            EndingActivities.give_back, self.token, **calls.act("give back what this run has set")
        )
        self._owned = self._released.left_behind
        return self._released

    async def give_back_all(self, elect: Callable[[], Awaitable[None]] | None = None) -> Released:
        """After success: also what is on a broker that died meanwhile, once it is back. Only a live one's configs can be set.

        Args:
            elect: gives leadership back, to the broker that was waited for too.
        """
        released = await self.give_back()
        rates = released.rates_bytes_per_s
        if not released.left_behind:
            return released
        deadline = workflow.now() + DEAD_BROKER_PATIENCE
        while released.left_behind and workflow.now() < deadline:
            self.wait_for(
                "what is ours on a broker that is down can't be given back: " + "; ".join(released.left_behind[:10]),
                f"the broker comes back; from {deadline:%H:%M:%S} UTC on, or after an abort, ClearLeftovers does it",
                *released.left_behind[:10],
            )
            await workflow.sleep(timedelta(seconds=10), summary="a broker that holds what is ours is down")
            released = await self.give_back()
        if elect is not None:
            await elect()
        return released.model_copy(update={"rates_bytes_per_s": {**released.rates_bytes_per_s, **rates}})

    async def _give_back_at_the_end(self) -> None:
        """After any end but success. What can't be given back is said, and stays in the ledger for whoever comes next."""
        if not self._is_acting:
            return
        step = self._step
        try:
            await self.give_back()
        except ActivityError as error:
            self._released = Released(left_behind=(f"could not give back, ClearLeftovers can: {describe(error)}",))
        self._step = step

    def _show(self) -> None:
        workflow.set_current_details(markdown(self.status()))


def describe(error: BaseException) -> str:
    """The innermost cause in words: `Activity task failed` tells nobody anything."""
    while isinstance(error, ActivityError) and error.cause is not None:
        error = error.cause
    return (error.message if isinstance(error, ApplicationError) else str(error))[:2000]


def is_type(error: BaseException, name: str) -> bool:
    """Whether an activity failed with an `ApplicationError` of this type."""
    cause = error.cause if isinstance(error, ActivityError) else error
    return isinstance(cause, ApplicationError) and cause.type == name
