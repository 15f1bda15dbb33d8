"""Runbooks that carry out a plan: preflight and plan, the gate, the steps, planning again on drift, and the exit contract."""

import asyncio
from abc import abstractmethod
from collections.abc import Iterable

from temporalio import workflow
from temporalio.exceptions import ActivityError

with workflow.unsafe.imports_passed_through():
    from activities.errors import PlanDrift, describe, is_type, is_unknown_cluster
    from activities.exit_contract import ExitContractActivities
    from activities.leaders import LeaderActivities
    from activities.pools import Pool
    from activities.release import ReleaseActivities
    from activities.throttle_guard import ThrottleActivities
    from activities.voters import VoterActivities
    from kafka_runbooks.models.inputs import PlannedInput
    from kafka_runbooks.models.messages import ProofRequest, Released, StepRequest, Survey, Token
    from kafka_runbooks.models.operator import Approval
    from kafka_runbooks.models.plans import PlanReference, PlanSummary
    from kafka_runbooks.models.results import Check, Outcome, Reason, RunbookResult
    from kafka_runbooks.models.status import Progress
    from kafka_runbooks.models.steps import StepName
    from kafka_runbooks.models.wording import duration, size

from workflows import calls
from workflows.operator import Ended
from workflows.runbook import Runbook


class PlannedRunbook(Runbook):
    """Base of the runbooks that carry out a frozen plan.

    A subclass defines how the plan is made (`survey`) and which steps carry it out (`take_steps`).
    """

    def __init__(self, request: PlannedInput) -> None:
        super().__init__(request)
        self._waits_for_approval = request.wait_for_approval
        self._acknowledged_risks = request.acknowledged_risks
        self._begun: list[PlanReference] = []
        self._in_force: PlanSummary | None = None
        self._copied = Progress()

    @abstractmethod
    async def survey(self, token: Token, approved: PlanReference | None) -> Survey:
        """Ask for the plan, and every reason not to carry it out."""

    @abstractmethod
    async def take_steps(self, request: StepRequest) -> None:
        """Carry out the plan, up to the election of leaders.

        Raises:
            ActivityError: of type `PlanDrift`, where the rest must be planned again.
        """

    # Before anything is changed

    async def prepare(self, token: Token) -> PlanSummary:
        """Preflight, plan and gate.

        Raises:
            Ended: there is nothing to do, or there are unacknowledged reasons not to start.
        """
        with self.timed(StepName.CLEAR_LEFTOVERS, phase="preflight"):
            try:
                what = "clear leftovers of runs that have ended"
                cleared = await calls.act(ReleaseActivities.clear_leftovers, token, what)
                self._notes = (*self._notes, *(f"left by others: {line}" for line in cleared.left_behind))
            except ActivityError as error:
                if not is_unknown_cluster(error):
                    raise
                remedy = "give a cluster that clusters.yaml names"
                reason = Reason(name="unknown-cluster", message=f"cluster: {describe(error)}", remedy=remedy, is_bad_input=True)
                raise Ended(self._refusal((reason,))) from error
        plan, nothing = await self._ask(token, None)
        if plan is None:
            raise Ended(RunbookResult(outcome=Outcome.NOTHING_TO_DO, summary=nothing))
        return plan

    async def plan_again(self, token: Token, approved: PlanSummary) -> PlanSummary | None:
        """Plan the rest; None where nothing is left to do. Approval is needed again unless it only does what was approved."""
        async with self.guarded():
            plan, _ = await self._ask(token, approved.reference)
        return plan

    async def _ask(self, token: Token, approved: PlanReference | None) -> tuple[PlanSummary | None, str]:
        with self.timed(StepName.PLAN, phase="plan"):
            survey = await self.survey(token, approved)
        self._reasons = survey.reasons
        self._notes = (*self._notes, *(note for note in survey.notes if note not in self._notes))[-100:]
        self._needs_second_person = survey.needs_second_person
        if survey.nothing_to_do is not None:
            return None, survey.nothing_to_do
        plan = survey.plan
        is_blocked = any(not reason.can_be_acknowledged for reason in survey.reasons)
        if plan is None or is_blocked or (survey.reasons and not self._waits_for_approval):
            raise Ended(self._refusal(survey.reasons))
        self._plan = plan
        if self._waits_for_approval and (survey.reasons or self.needs_approval(plan)):
            with self.timed(StepName.APPROVAL, phase="gate"):
                self.note_approval(await self.gate(self.question(plan)))
        self._reasons = ()
        return plan, ""

    def needs_approval(self, plan: PlanSummary) -> bool:
        """Whether a plan that nothing speaks against waits for approval."""
        return not plan.is_within_approved

    def question(self, plan: PlanSummary) -> str:
        """What is asked at the gate."""
        batches = f" in {plan.batches} batches" if plan.batches else ""
        return (
            f"the plan waits: {plan.title}: {plan.partitions} partitions{batches}, {size(plan.bytes_to_copy)} to copy, "
            f"about {duration(plan.eta_seconds)} at up to {size(plan.throttle_bytes_per_s)}/s from each source"
        )

    def note_approval(self, approval: Approval) -> None:
        """Record what an approval allows."""
        self._acknowledged_risks = (*self._acknowledged_risks, *approval.acknowledged_risks)

    def _refusal(self, reasons: tuple[Reason, ...]) -> RunbookResult:
        """Refuse: nothing was changed yet, or the rest of a started plan can't be planned any more."""
        self._reasons = reasons
        outcome, begins = Outcome.REFUSED, "refused: "
        if self._begun:
            outcome, begins = Outcome.FAILED, "what has arrived stays, the rest can't be planned: "
        summary = begins + "; ".join(f"{reason.message} ({reason.remedy})" for reason in reasons[:10])
        return RunbookResult(outcome=outcome, summary=summary, reasons=reasons)

    # Steps

    def start_guard(self) -> asyncio.Task[None] | None:
        if not self._may_have_rates or self._work is None:
            return None
        request = self.step_request(self._work.token, self._begun[-1])
        return calls.start(ThrottleActivities.keep_throttles, request, "look after this run's throttles", Pool.COPIES)

    def step_request(self, token: Token, plan: PlanReference, *, is_rollback: bool = False) -> StepRequest:
        """A step of a plan, with the approvals that were given by now."""
        return StepRequest(
            token=token,
            plan=plan,
            is_rollback=is_rollback,
            acknowledged_risks=self._acknowledged_risks,
        )

    async def carry_out(self, token: Token, plan: PlanSummary) -> tuple[PlanSummary, bool]:
        """Take the plan's steps, and those of a new plan as often as the cluster makes one necessary.

        Returns:
            The plan that was carried out last, and whether it was carried out in full: False if nothing of it was left to do.
        """
        while True:
            self.begin_steps()
            self._put_in_force(plan)
            request = self.step_request(token, plan.reference)
            try:
                await self.take_steps(request)
                plan = self._in_force or plan  # what was added meanwhile included
                request = self.step_request(token, plan.reference)
                await self.pause_point()
                with self.timed(StepName.ELECT):
                    await self.elect(request)
                return plan, True
            except ActivityError as error:
                if not is_type(error, PlanDrift):
                    raise
                self.note_drift()
                self.enter(f"plan again: {describe(error)}", phase="plan")
            plan = self._in_force or plan
            again = await self.plan_again(token, plan)
            if again is None:
                # It ended before the election, and what has arrived may not be led as planned.
                with self.timed(StepName.ELECT):
                    await self.elect(request)
                return plan, False
            plan = again

    def _put_in_force(self, plan: PlanSummary) -> None:
        """Carry this plan out from here on."""
        self._plan = self._in_force = plan
        self._begun.append(plan.reference)

    def note_drift(self) -> None:
        """The steps ended early, since the rest must be planned again."""

    async def elect(self, request: StepRequest) -> int:
        """Return leadership to the plan's preferred leaders."""
        return await calls.copy(LeaderActivities.elect_leaders, request, StepName.ELECT)

    async def join_quorum(self, token: Token, plan: PlanSummary) -> str:
        """Make controllers of the plan voters of the metadata quorum, where it has some; returns what is to be said of that."""
        if StepName.JOIN_QUORUM not in plan.steps:
            return ""
        await self.pause_point()
        self._undone = "controllers may have become voters of the metadata quorum, and stay so"
        with self.timed(StepName.JOIN_QUORUM):
            request, what = self.step_request(token, plan.reference), "join the metadata quorum, one controller at a time"
            said = await calls.wait(VoterActivities.join_quorum, request, what)
        self._undone = ""
        return "".join(f"; {line}" for line in said)

    # The end

    async def prove(self, request: StepRequest, released: Released, *, as_planned: bool = True) -> tuple[Check, ...]:
        """The exit contract, on the live cluster."""
        proof = ProofRequest(step=request, our_rates=released.rates, as_planned=as_planned)
        with self.timed(StepName.PROVE):
            return await calls.wait(ExitContractActivities.prove_exit_contract, proof, StepName.PROVE)

    async def finish(
        self,
        token: Token,
        plan: PlanSummary,
        what: str,
        *,
        copied_bytes: int,
        as_planned: bool = True,
        waits_for_dead_brokers: bool = True,
    ) -> RunbookResult:
        """Remove what was set, check the exit contract, and report.

        Args:
            what: what was done, for the summary.
        """
        request = self.step_request(token, plan.reference)
        with self.timed(StepName.RELEASE):
            if waits_for_dead_brokers:
                released = await self.release_all(token, lambda: self.elect(request))
            else:
                released = await self.release(token)
        checks = await self.prove(request, released, as_planned=as_planned)
        is_broken = any(not check.passed for check in checks)
        return RunbookResult(
            outcome=Outcome.FAILED if is_broken else Outcome.DONE,
            summary=what + ("; the exit contract does not hold: " + broken(checks) if is_broken else ""),
            checks=checks,
            copied_bytes=copied_bytes,
            lower_bound_bytes=plan.lower_bound_bytes,
            highest_throttle_bytes_per_s=self._copied.highest_throttle_bytes_per_s,
        )


def broken(checks: Iterable[Check]) -> str:
    """The checks that failed, for a summary."""
    return "; ".join([f"{check.name}: {check.detail}" for check in checks if not check.passed][:10])
