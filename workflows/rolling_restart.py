"""`RollingRestart`: restarts nodes in rounds, each as large as safety allows at that moment.

Before each round the rules are asked anew, on the cluster as it is; what may not go down yet is waited for, and the status says
which partitions are in the way.
"""

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from activities.restart_plans import RestartPlanActivities
    from activities.restarts import RestartActivities
    from kafka_runbooks.models.inputs import RollingRestartInput
    from kafka_runbooks.models.messages import PlanRequest, StepRequest, Survey, Token
    from kafka_runbooks.models.plans import PlanReference
    from kafka_runbooks.models.results import RunbookResult
    from kafka_runbooks.models.steps import StepName
    from kafka_runbooks.models.wording import duration

from workflows import calls
from workflows.restarts import RestartRunbook


@workflow.defn
class RollingRestart(RestartRunbook):
    """Nodes restarted in rounds."""

    @workflow.init
    def __init__(self, request: RollingRestartInput) -> None:
        super().__init__(request)
        self._input = request

    @workflow.run
    async def run(self, request: RollingRestartInput) -> RunbookResult:
        """See `RollingRestartInput`."""
        return await self.conduct(self._restart_all)

    async def survey(self, token: Token, approved: PlanReference | None) -> Survey:
        asked: PlanRequest[RollingRestartInput] = PlanRequest(request=self._input, token=token, approved=approved)
        return await calls.wait(
            RestartPlanActivities.plan_rolling_restart, asked, "every reason not to start, and the frozen plan"
        )

    async def _restart_all(self, token: Token) -> RunbookResult:
        plan, as_planned = await self.carry_out(token, await self.prepare(token))
        seconds = sum(self._rounds_seconds)
        what = f"{plan.title}: {self._round.total} nodes in {len(self._rounds_seconds)} rounds, {duration(seconds)}"
        return await self.finish(token, plan, what, copied_bytes=0, as_planned=as_planned)

    async def take_steps(self, request: StepRequest) -> None:
        if self._plan is not None and StepName.APPLY_CONFIGS in self._plan.steps:
            with self.timed(StepName.APPLY_CONFIGS):
                await calls.act(RestartActivities.apply_configs, request, "set what brokers take without a restart")
        await self.roll(request)
