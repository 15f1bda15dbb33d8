"""`Rebalance`: balances the brokers of a map, or of every map, while copying as few bytes as possible."""

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from activities.move_plans import MovePlanActivities
    from kafka_runbooks.models.inputs import RebalanceInput
    from kafka_runbooks.models.messages import PlanRequest, Survey, Token
    from kafka_runbooks.models.plans import PlanReference
    from kafka_runbooks.models.results import RunbookResult

from workflows import calls
from workflows.moves import Moves


@workflow.defn
class Rebalance(Moves):
    """Balance the brokers of a map, or of every map."""

    @workflow.init
    def __init__(self, request: RebalanceInput) -> None:
        super().__init__(request)
        self._input = request

    @workflow.run
    async def run(self, request: RebalanceInput) -> RunbookResult:
        """See `RebalanceInput`."""
        return await self.conduct(self.move)

    async def survey(self, token: Token, approved: PlanReference | None) -> Survey:
        asked: PlanRequest[RebalanceInput] = PlanRequest(request=self._input, token=token, approved=approved)
        return await calls.wait(MovePlanActivities.plan_rebalance, asked, "every reason not to start, and the frozen plan")
