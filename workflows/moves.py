"""The runbooks that move data, and the one way in which all of them go about it.

Preflight and plan in one look; gate; the mover, window by window; preferred leaders; give back; exit contract. They differ in the
planner that they ask (`activities.planning_moves`), and `Decommission` in what it does around it. A pause cancels the mover, not
what is in flight. Where the cluster no longer fits the plan, what is in flight ends, the rest is planned anew, and a person is
asked again unless the new plan does nothing that wasn't approved. An abort with rollback carries out the inverse of every plan
that was begun, the last one first, and so ends at the byte-exact assignment of the start.
"""

import asyncio
from typing import Any

from temporalio import workflow
from temporalio.exceptions import ActivityError

with workflow.unsafe.imports_passed_through():
    from activities.move_plans import PlanningActivities, asked_for
    from activities.moves import MovingActivities
    from activities.release import EndingActivities
    from activities.replacement import PLAN_DRIFT
    from kafka_runbooks.models.inputs import (
        EvacuateLeadersInput,
        MovingInput,
        RebalanceInput,
        RunPlanInput,
        ScaleUpInput,
        SetReplicationFactorInput,
    )
    from kafka_runbooks.models.messages import MoveChecks, MoveProof, MoveStep, MoveSurvey, Released
    from kafka_runbooks.models.moves import MoveSummary
    from kafka_runbooks.models.plans import PlanReference
    from kafka_runbooks.models.results import Outcome, Reason, RunbookResult
    from kafka_runbooks.models.status import Progress
    from kafka_runbooks.models.wording import duration, size
    from workflows import calls
    from workflows.runbook import Ended, Runbook, describe, is_type

REASSIGN = "reassign partitions"
ELECT = "elect preferred leaders"
GIVE_BACK = "give back throttles and cordon"
PROVE = "prove the exit contract"
ROLL_BACK = "roll back"
MOVE_STEPS = (REASSIGN, ELECT, GIVE_BACK, PROVE)


class Moving(Runbook):
    """What all runbooks share that move data."""

    can_roll_back = True

    def __init__(self) -> None:
        super().__init__()
        self._steps = MOVE_STEPS
        self._asked: MovingInput | None = None
        self._moves: MoveSummary | None = None
        self._begun: list[PlanReference] = []
        self._moved = Progress()
        self._moved_before_bytes = 0
        self._goes_on_without_a_broker = False

    @property
    def asked(self) -> MovingInput:
        assert self._asked is not None, "the work has begun"
        return self._asked

    async def move(self, plan_activity: Any, request: MovingInput) -> RunbookResult:
        """The whole work of a runbook that does nothing but move."""
        self._asked = request
        try:
            await self.prepare(plan_activity)
            return await self.finish(as_planned=await self.carry_out(plan_activity))
        except asyncio.CancelledError:
            await self.roll_back_if_told()
            raise

    # Before anything is changed

    async def prepare(self, plan_activity: Any) -> None:
        """Preflight, plan and gate.

        Raises:
            Ended: there is nothing to do, or too much speaks against it.
        """
        self.enter("look around", phase="preflight")
        with self.timed("clear leftovers of earlier runs"):
            try:
                await workflow.execute_activity_method(
                    EndingActivities.clear_leftovers, self.token, **calls.act("clear leftovers of runs that have ended")
                )
            except ActivityError as error:
                if not is_type(error, "UnknownCluster"):
                    raise
                remedy = "give a cluster that clusters.yaml names"
                reason = Reason(name="unknown-cluster", message=f"cluster: {describe(error)}", remedy=remedy)
                raise Ended(self._refusal((reason,))) from error
        if not await self.plan(plan_activity):
            raise AssertionError("a first plan moves something, or has ended the run")

    async def plan(self, plan_activity: Any, *, may_be_empty: bool = False) -> bool:
        """Plan and gate; False where nothing is left to move."""
        approved = self._begun[-1] if self._begun else None
        with self.timed("plan"):
            self._phase = "plan"
            asked = asked_for(type(self.asked))(request=self.asked, token=self.token, approved=approved)
            survey: MoveSurvey = await workflow.execute_activity_method(
                plan_activity, asked, **calls.wait("every reason not to start, and the frozen plan")
            )
        self._reasons = survey.reasons
        if survey.nothing_to_do is not None:
            if may_be_empty or approved is not None:
                return False
            raise Ended(RunbookResult(outcome=Outcome.NOTHING_TO_DO, summary=survey.nothing_to_do))
        needs_more_than_a_word = any(not reason.can_be_acknowledged for reason in survey.reasons)
        if survey.summary is None or needs_more_than_a_word or (survey.reasons and not self.asked.wait_for_approval):
            raise Ended(self._refusal(survey.reasons))
        self._moves = survey.summary.model_copy(update={"steps": self._steps})
        self._plan = self._moves
        if self.asked.wait_for_approval and (survey.reasons or not survey.summary.is_within_approved):
            with self.timed("approval"):
                self._phase = "gate"
                approval = await self.gate(question(self._moves))
            self._goes_on_without_a_broker |= any(risk.startswith("broker-is-down:") for risk in approval.acknowledged_risks)
        self._reasons = ()
        return True

    def _refusal(self, reasons: tuple[Reason, ...]) -> RunbookResult:
        """Nothing was changed yet; or, where a plan was begun, its rest can't be planned any more."""
        self._reasons = reasons
        outcome, begins = Outcome.REFUSED, "refused: "
        if self._begun:
            outcome, begins = Outcome.FAILED, "what has arrived stays, the rest can't be planned: "
        summary = begins + "; ".join(f"{reason.message} ({reason.remedy})" for reason in reasons[:10])
        return RunbookResult(outcome=outcome, summary=summary, reasons=reasons[:100])

    # Steps

    def step(self, plan: PlanReference, *, is_rollback: bool = False) -> MoveStep:
        return MoveStep(
            token=self.token,
            plan=plan,
            throttle=self.asked.throttle,
            limits=self.asked.limits,
            change_windows=self.asked.change_windows,
            is_rollback=is_rollback,
        )

    async def carry_out(self, plan_activity: Any) -> bool:
        """Every move, planned anew as often as the cluster makes it necessary; whether the last plan was carried out as it is."""
        while True:
            assert self._moves is not None, "planned before"
            self.begin_steps()
            self._begun.append(self._moves.reference)
            try:
                await self._reassign(self.step(self._moves.reference), REASSIGN)
                await self.pause_point()
                with self.timed(ELECT):
                    await self._elect(self.step(self._moves.reference))
                return True
            except ActivityError as error:
                if not is_type(error, PLAN_DRIFT):
                    raise
                self._moved_before_bytes += self._progress.done_bytes if self._progress else 0
                self.enter(f"plan anew: {describe(error)}", phase="plan")
            if not await self.plan(plan_activity):
                return False

    async def _reassign(self, step: MoveStep, name: str) -> None:
        self._moved = await self.pausable(name, MovingActivities.move_partitions, step)

    async def _elect(self, step: MoveStep) -> None:
        await workflow.execute_activity_method(MovingActivities.elect_planned_leaders, step, **calls.wait(ELECT))

    # The end

    async def finish(self, *, as_planned: bool = True, did: str = "") -> RunbookResult:
        """Give back, and prove that the plan holds."""
        assert self._moves is not None, "planned before"
        step = self.step(self._moves.reference)
        with self.timed(GIVE_BACK):
            if self._goes_on_without_a_broker:
                released = await self.give_back()
            else:
                released = await self.give_back_all(lambda: self._elect(step))
        proven = await self._prove(step, released, as_planned=as_planned)
        copied = self._moved_before_bytes + self._moved.done_bytes
        seconds = sum(time.seconds for time in self._times if time.step == REASSIGN)
        what = f"{self._moves.title}: {self._moves.partitions} partitions, {size(copied)} in {duration(seconds)}{did}"
        if proven.broken:
            what += "; the exit contract does not hold: " + "; ".join(
                f"{check.name}: {check.detail}" for check in proven.broken[:10]
            )
        return RunbookResult(
            outcome=Outcome.FAILED if proven.broken else Outcome.DONE,
            summary=what,
            checks=proven.checks,
            copied_bytes=copied,
            lower_bound_bytes=self._moves.lower_bound_bytes,
            highest_throttle_bytes_per_s=self._moved.highest_throttle_bytes_per_s,
        )

    async def _prove(self, step: MoveStep, released: Released, *, as_planned: bool) -> MoveChecks:
        with self.timed(PROVE):
            checks: MoveChecks = await workflow.execute_activity_method(
                MovingActivities.prove_moves,
                MoveProof(step=step, our_rates_bytes_per_s=released.rates_bytes_per_s, as_planned=as_planned),
                **calls.act("prove the exit contract on the live cluster"),
            )
        return checks

    async def roll_back_if_told(self) -> None:
        """After an abort with rollback: carry out the inverse of what was begun.

        Raises:
            Ended: it was asked for; with the proof that everything is where it was.
        """
        if self._abort is None or not self._abort.rollback or not self._begun:
            return
        self._is_paused = False
        for plan in reversed(self._begun):
            step = self.step(plan, is_rollback=True)
            await self._reassign(step, ROLL_BACK)
            with self.timed(ELECT):
                await self._elect(step)
        with self.timed(GIVE_BACK):
            released = await self.give_back()
        first = self.step(self._begun[0], is_rollback=True)
        proven = await self._prove(first, released, as_planned=True)
        what = "aborted, and rolled back to the assignment of the start"
        if proven.broken:
            what = "aborted; the rollback is not whole: " + "; ".join(
                f"{check.name}: {check.detail}" for check in proven.broken[:10]
            )
        raise Ended(RunbookResult(outcome=Outcome.ABORTED, summary=what, checks=proven.checks))


def question(plan: MoveSummary) -> str:
    """What is asked at the gate."""
    return (
        f"the plan waits: {plan.title}: {plan.partitions} partitions in {plan.batches} batches, {size(plan.bytes_to_copy)} "
        f"to copy, about {duration(plan.eta_seconds)} at up to {size(plan.throttle_bytes_per_s)}/s from each source"
    )


@workflow.defn
class Rebalance(Moving):
    """Level the brokers of a map, or of every map."""

    @workflow.run
    async def run(self, request: RebalanceInput) -> RunbookResult:
        """See `RebalanceInput`."""
        return await self.conduct(request, lambda: self.move(PlanningActivities.plan_rebalance, request))


@workflow.defn
class ScaleUp(Moving):
    """New brokers have joined; data follows."""

    @workflow.run
    async def run(self, request: ScaleUpInput) -> RunbookResult:
        """See `ScaleUpInput`."""
        return await self.conduct(request, lambda: self.move(PlanningActivities.plan_scale_up, request))


@workflow.defn
class SetReplicationFactor(Moving):
    """Another replication factor for topics."""

    @workflow.run
    async def run(self, request: SetReplicationFactorInput) -> RunbookResult:
        """See `SetReplicationFactorInput`."""
        return await self.conduct(request, lambda: self.move(PlanningActivities.plan_replication_factor, request))


@workflow.defn
class EvacuateLeaders(Moving):
    """Leadership off some brokers, or back."""

    @workflow.run
    async def run(self, request: EvacuateLeadersInput) -> RunbookResult:
        """See `EvacuateLeadersInput`."""
        return await self.conduct(request, lambda: self._evacuate(request))

    async def _evacuate(self, request: EvacuateLeadersInput) -> RunbookResult:
        result = await self.move(PlanningActivities.plan_evacuation, request)
        if request.back and result.outcome is Outcome.DONE:
            await workflow.execute_activity_method(
                MovingActivities.forget_evacuation,
                args=[self.token, request.brokers],
                **calls.act("the leaders are back: their evacuation is forgotten"),
            )
        return result


@workflow.defn
class RunPlan(Moving):
    """A reassignment JSON that somebody brings."""

    @workflow.run
    async def run(self, request: RunPlanInput) -> RunbookResult:
        """See `RunPlanInput`."""
        return await self.conduct(request, lambda: self.move(PlanningActivities.plan_given, request))
