"""The shared course of all runbooks that move data.

Preflight and plan from one observation; gate; the mover, window by window; preferred leaders; release; exit contract. They differ
in their planner, and `Decommission` also in its steps before and after. A pause cancels the mover, not the in-flight moves.
Where the cluster no longer fits the plan, in-flight moves finish, the rest is planned again, and approval is needed again unless
the new plan only does what was approved. An abort with rollback carries out the inverse of every started plan, the
last one first, and so ends at the byte-exact assignment of the start.
"""

import asyncio

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from activities.moves import MoveActivities
    from kafka_runbooks.models.inputs import MoveInput
    from kafka_runbooks.models.messages import StepRequest, Token
    from kafka_runbooks.models.operator import Approval
    from kafka_runbooks.models.plans import PlanSummary
    from kafka_runbooks.models.results import Outcome, RunbookResult
    from kafka_runbooks.models.steps import StepName
    from kafka_runbooks.models.wording import duration, size

from workflows.operator import Ended
from workflows.planned import PlannedRunbook, broken


class Moves(PlannedRunbook):
    """Base of all runbooks that move data."""

    can_roll_back = True

    def __init__(self, request: MoveInput) -> None:
        super().__init__(request)
        self._copied_before_bytes = 0
        self._continues_without_a_broker = False

    async def move(self, token: Token) -> RunbookResult:
        """The whole work of a runbook that only moves data."""
        try:
            plan, as_planned = await self.carry_out(token, await self.prepare(token))
            return await self.finish_moves(token, plan, as_planned=as_planned)
        except asyncio.CancelledError:
            await self.roll_back_if_asked(token)
            raise

    def note_approval(self, approval: Approval) -> None:
        super().note_approval(approval)
        self._continues_without_a_broker |= any(risk.startswith("broker-is-down:") for risk in approval.acknowledged_risks)

    async def take_steps(self, request: StepRequest) -> None:
        await self._reassign(request, StepName.REASSIGN)

    async def _reassign(self, request: StepRequest, name: StepName) -> None:
        moved = await self.pausable(name, MoveActivities.move_partitions, request)
        self._copied = moved.model_copy(update={"done_bytes": self._copied_before_bytes + moved.done_bytes})

    def note_drift(self) -> None:
        self._copied_before_bytes += self._progress.done_bytes if self._progress else 0

    async def finish_moves(self, token: Token, plan: PlanSummary, *, as_planned: bool, did: str = "") -> RunbookResult:
        """Remove what was set, and check that the plan holds.

        Args:
            did: what was done besides moving, for the summary.
        """
        copied = self._copied.done_bytes if as_planned else self._copied_before_bytes
        seconds = sum(time.seconds for time in self._times if time.step == StepName.REASSIGN)
        gone = self._copied.gone_partitions if as_planned else 0
        what = f"{plan.title}: {plan.partitions - gone} partitions, {size(copied)} in {duration(seconds)}{did}"
        if gone:
            more = "" if gone == len(self._copied.gone) else f" and {gone - len(self._copied.gone)} more"
            what += f"; gone or new since the plan: {', '.join(self._copied.gone)}{more}"
        waits = not self._continues_without_a_broker
        return await self.finish(token, plan, what, copied_bytes=copied, as_planned=as_planned, waits_for_dead_brokers=waits)

    async def roll_back_if_asked(self, token: Token) -> None:
        """After an abort with rollback: carry out the inverse of every started plan.

        Raises:
            Ended: a rollback was requested; with the checks that everything is where it was.
        """
        if self._abort is None or not self._abort.rollback or not self._begun:
            return
        self._is_paused = False
        for plan in reversed(self._begun):
            request = self.step_request(token, plan, is_rollback=True)
            await self._reassign(request, StepName.ROLL_BACK)
            with self.timed(StepName.ELECT):
                await self.elect(request)
        with self.timed(StepName.RELEASE):
            released = await self.release(token)
        checks = await self.prove(self.step_request(token, self._begun[0], is_rollback=True), released)
        what = "aborted, and rolled back to the assignment of the start"
        if any(not check.passed for check in checks):
            what = f"aborted; the rollback is not whole: {broken(checks)}"
        raise Ended(RunbookResult(outcome=Outcome.ABORTED, summary=what, checks=checks))
