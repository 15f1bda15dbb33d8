"""`SetReplicationFactor`: changes the number of replicas of topics."""

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from activities.move_plans import MovePlanActivities
    from kafka_runbooks.models.inputs import SetReplicationFactorInput
    from kafka_runbooks.models.messages import PlanRequest, Survey, Token
    from kafka_runbooks.models.plans import PlanReference
    from kafka_runbooks.models.results import RunbookResult

from workflows import calls
from workflows.moves import Moves


@workflow.defn
class SetReplicationFactor(Moves):
    """Change the replication factor of topics."""

    @workflow.init
    def __init__(self, request: SetReplicationFactorInput) -> None:
        super().__init__(request)
        self._input = request

    @workflow.run
    async def run(self, request: SetReplicationFactorInput) -> RunbookResult:
        """See `SetReplicationFactorInput`."""
        return await self.conduct(self.move)

    async def survey(self, token: Token, approved: PlanReference | None) -> Survey:
        asked: PlanRequest[SetReplicationFactorInput] = PlanRequest(request=self._input, token=token, approved=approved)
        return await calls.wait(
            MovePlanActivities.plan_set_replication_factor, asked, "every reason not to start, and the frozen plan"
        )
