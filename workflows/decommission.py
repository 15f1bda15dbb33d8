"""`Decommission`: empties brokers, or a rack, and removes their pods if asked.

All leaving brokers share one plan, so nothing moves twice and nothing moves onto a broker that is about to leave. Their log
directories are cordoned before data moves, since new topics would be placed there otherwise. Without `remove_pods` the brokers
stay, empty and cordoned; with it their StatefulSets are scaled down, which always removes the highest ordinals, and the brokers
are unregistered. Those that are controllers too leave the metadata quorum before that, one at a time.
"""

import asyncio

from temporalio import workflow
from temporalio.exceptions import ActivityError

with workflow.unsafe.imports_passed_through():
    from activities.decommission import DecommissionActivities
    from activities.errors import PlanDrift, describe, is_type
    from activities.move_plans import MovePlanActivities
    from activities.voters import VoterActivities
    from kafka_runbooks.models.inputs import DecommissionInput
    from kafka_runbooks.models.messages import PlanRequest, Survey, Token, UnregisterRequest
    from kafka_runbooks.models.plans import PlanReference, PlanSummary
    from kafka_runbooks.models.results import RunbookResult
    from kafka_runbooks.models.steps import StepName

from workflows import calls
from workflows.moves import Moves


@workflow.defn
class Decommission(Moves):
    """Empty brokers, or a rack, and remove their pods if asked."""

    @workflow.init
    def __init__(self, request: DecommissionInput) -> None:
        super().__init__(request)
        self._input = request
        self._left_quorum = ""
        """What is to be said of controllers that have left the quorum."""

    @workflow.run
    async def run(self, request: DecommissionInput) -> RunbookResult:
        """See `DecommissionInput`."""
        return await self.conduct(self._decommission)

    async def survey(self, token: Token, approved: PlanReference | None) -> Survey:
        asked: PlanRequest[DecommissionInput] = PlanRequest(request=self._input, token=token, approved=approved)
        return await calls.wait(MovePlanActivities.plan_decommission, asked, "every reason not to start, and the frozen plan")

    async def _decommission(self, token: Token) -> RunbookResult:
        try:
            plan = await self.prepare(token)
            self.begin_steps()
            await self._cordon(token, plan)
            plan, as_planned = await self.carry_out(token, plan)
            if not self._input.remove_pods:
                return await self.finish_moves(token, plan, as_planned=as_planned, did=await self._keep_cordoned(token, plan))
        except asyncio.CancelledError:
            await self.roll_back_if_asked(token)
            raise
        pods, plan, as_planned = await self._remove(token, plan, as_planned)
        with self.timed(StepName.UNREGISTER):
            leaving = UnregisterRequest(step=self.step_request(token, plan.reference), pods=pods)
            await calls.act(DecommissionActivities.unregister_brokers, leaving, "delete the claims, and unregister the brokers")
        gone = f"; removed {', '.join(pods)}" if pods else ""
        left, self._undone = self._left_quorum, ""
        return await self.finish_moves(token, plan, as_planned=as_planned, did=f"{gone}; unregistered{left}")

    async def _cordon(self, token: Token, plan: PlanSummary) -> None:
        with self.timed(StepName.CORDON_LOG_DIRECTORIES):
            request = self.step_request(token, plan.reference)
            what = "nothing new is placed on the leaving brokers"
            self._owned = await calls.act(DecommissionActivities.cordon_log_directories, request, what)

    async def _keep_cordoned(self, token: Token, plan: PlanSummary) -> str:
        request = self.step_request(token, plan.reference)
        what = "the empty brokers stay cordoned"
        kept = await calls.act(DecommissionActivities.keep_log_directories_cordoned, request, what)
        if not kept:
            return "; nothing keeps new topics off them (Kafka < 4.3, or cordoned before): remove them soon"
        return (
            f"; the log directories of {', '.join(map(str, kept))} stay cordoned (cordoned.log.dirs; delete it to use them again)"
        )

    async def _leave_quorum(self, token: Token, plan: PlanSummary) -> None:
        """Take the voters among the brokers out of the metadata quorum, where the plan has some."""
        if StepName.LEAVE_QUORUM not in plan.steps:
            return
        self._undone = "controllers that were to go may have left the metadata quorum (scale-up adds them again)"
        with self.timed(StepName.LEAVE_QUORUM):
            request, what = self.step_request(token, plan.reference), "leave the metadata quorum, one controller at a time"
            said = await calls.wait(VoterActivities.leave_quorum, request, what)
        self._left_quorum = f"; {said}"
        self._undone = f"{said}, and not every pod of them may be gone (scale-up adds them again)"

    async def _remove(self, token: Token, plan: PlanSummary, as_planned: bool) -> tuple[tuple[str, ...], PlanSummary, bool]:
        """Remove the pods of empty brokers. Replicas placed on them in the meantime are moved first."""
        self.can_roll_back = False
        while True:
            await self.pause_point()
            try:
                await self._leave_quorum(token, plan)
                with self.timed(StepName.REMOVE_PODS):
                    request = self.step_request(token, plan.reference)
                    what = "scale down, and wait until pods are gone"
                    return await calls.wait(DecommissionActivities.remove_pods, request, what), plan, as_planned
            except ActivityError as error:
                if not is_type(error, PlanDrift):
                    raise
                self.enter(f"plan again: {describe(error)}", phase="plan")
            if (again := await self.plan_again(token, plan)) is not None:
                await self._cordon(token, again)
                plan, as_planned = await self.carry_out(token, again)
