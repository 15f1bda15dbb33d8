"""`ScaleUp`: moves a share of the data onto brokers that have joined; those that are controllers too become voters at its end.

A controller that isn't ready for that keeps its broker's data from nobody: the result says why it has no vote.
"""

import asyncio

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from activities.move_plans import MovePlanActivities
    from kafka_runbooks.models.inputs import ScaleUpInput
    from kafka_runbooks.models.messages import PlanRequest, Survey, Token
    from kafka_runbooks.models.plans import PlanReference
    from kafka_runbooks.models.results import RunbookResult

from workflows import calls
from workflows.moves import Moves


@workflow.defn
class ScaleUp(Moves):
    """Move a share of the data onto new brokers."""

    @workflow.init
    def __init__(self, request: ScaleUpInput) -> None:
        super().__init__(request)
        self._input = request

    @workflow.run
    async def run(self, request: ScaleUpInput) -> RunbookResult:
        """See `ScaleUpInput`."""
        return await self.conduct(self._scale_up)

    async def survey(self, token: Token, approved: PlanReference | None) -> Survey:
        asked: PlanRequest[ScaleUpInput] = PlanRequest(request=self._input, token=token, approved=approved)
        return await calls.wait(MovePlanActivities.plan_scale_up, asked, "every reason not to start, and the frozen plan")

    async def _scale_up(self, token: Token) -> RunbookResult:
        try:
            plan, as_planned = await self.carry_out(token, await self.prepare(token))
            said = await self.join_quorum(token, plan)
            return await self.finish_moves(token, plan, as_planned=as_planned, did=said)
        except asyncio.CancelledError:
            await self.roll_back_if_asked(token)
            raise
