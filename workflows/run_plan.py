"""`RunPlan`: carries out a reassignment JSON given by an operator, unchanged."""

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from activities.move_plans import MovePlanActivities
    from kafka_runbooks.models.inputs import RunPlanInput
    from kafka_runbooks.models.messages import PlanRequest, Survey, Token
    from kafka_runbooks.models.plans import PlanReference
    from kafka_runbooks.models.results import RunbookResult

from workflows import calls
from workflows.moves import Moves


@workflow.defn
class RunPlan(Moves):
    """Carry out a reassignment JSON."""

    @workflow.init
    def __init__(self, request: RunPlanInput) -> None:
        super().__init__(request)
        self._input = request

    @workflow.run
    async def run(self, request: RunPlanInput) -> RunbookResult:
        """See `RunPlanInput`."""
        return await self.conduct(self.move)

    async def survey(self, token: Token, approved: PlanReference | None) -> Survey:
        asked: PlanRequest[RunPlanInput] = PlanRequest(request=self._input, token=token, approved=approved)
        return await calls.wait(MovePlanActivities.plan_run_plan, asked, "every reason not to start, and the frozen plan")
