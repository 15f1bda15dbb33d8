"""`EvacuateLeaders`: moves leadership off some brokers, and back as it was."""

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from activities.move_plans import MovePlanActivities
    from activities.moves import MoveActivities
    from kafka_runbooks.models.inputs import EvacuateLeadersInput
    from kafka_runbooks.models.messages import EvacuationRequest, PlanRequest, Survey, Token
    from kafka_runbooks.models.plans import PlanReference
    from kafka_runbooks.models.results import Outcome, RunbookResult

from workflows import calls
from workflows.moves import Moves


@workflow.defn
class EvacuateLeaders(Moves):
    """Leadership off some brokers, or back."""

    @workflow.init
    def __init__(self, request: EvacuateLeadersInput) -> None:
        super().__init__(request)
        self._input = request

    @workflow.run
    async def run(self, request: EvacuateLeadersInput) -> RunbookResult:
        """See `EvacuateLeadersInput`."""
        return await self.conduct(self._evacuate)

    async def _evacuate(self, token: Token) -> RunbookResult:
        result = await self.move(token)
        if self._input.back and result.outcome is Outcome.DONE:
            back = EvacuationRequest(token=token, brokers=self._input.brokers)
            await calls.act(MoveActivities.forget_evacuation, back, "the leaders are back: their evacuation is forgotten")
        return result

    async def survey(self, token: Token, approved: PlanReference | None) -> Survey:
        asked: PlanRequest[EvacuateLeadersInput] = PlanRequest(request=self._input, token=token, approved=approved)
        return await calls.wait(MovePlanActivities.plan_evacuate_leaders, asked, "every reason not to start, and the frozen plan")
