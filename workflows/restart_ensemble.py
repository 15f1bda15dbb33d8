"""`RestartEnsemble`: restarts the members of a ZooKeeper ensemble, one at a time.

A runbook of its own, not a kind of nodes in `RollingRestart`: server ids are another numbering than node ids, two members never
go together, and what decides is the ensemble's commits, not partitions. The order of the steps is the same.
"""

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from activities.ensemble import EnsembleActivities
    from kafka_runbooks.models.inputs import RestartEnsembleInput
    from kafka_runbooks.models.messages import PlanRequest, Round, StepRequest, Survey, Token
    from kafka_runbooks.models.plans import PlanReference
    from kafka_runbooks.models.results import RunbookResult
    from kafka_runbooks.models.steps import StepName
    from kafka_runbooks.models.wording import duration

from workflows import calls
from workflows.restarts import RestartRunbook


@workflow.defn
class RestartEnsemble(RestartRunbook):
    """Members restarted, the leader last."""

    nodes = "members"

    @workflow.init
    def __init__(self, request: RestartEnsembleInput) -> None:
        super().__init__(request)
        self._input = request

    @workflow.run
    async def run(self, request: RestartEnsembleInput) -> RunbookResult:
        """See `RestartEnsembleInput`."""
        return await self.conduct(self._restart_all)

    async def survey(self, token: Token, approved: PlanReference | None) -> Survey:
        asked: PlanRequest[RestartEnsembleInput] = PlanRequest(request=self._input, token=token, approved=approved)
        return await calls.wait(EnsembleActivities.plan_restart_ensemble, asked, "every reason not to start, and the frozen plan")

    async def _restart_all(self, token: Token) -> RunbookResult:
        plan, as_planned = await self.carry_out(token, await self.prepare(token))
        what = f"{plan.title}: {self._round.total} members, {duration(sum(self._rounds_seconds))}"
        return await self.finish(token, plan, what, copied_bytes=0, as_planned=as_planned)

    async def take_steps(self, request: StepRequest) -> None:
        await self.roll(request)

    async def choose(self, request: StepRequest, what: str) -> Round:
        return await calls.wait(EnsembleActivities.choose_member, request, what)

    async def take_down(self, request: StepRequest, named: str) -> tuple[int, ...]:
        return await calls.act(EnsembleActivities.restart_member, request, f"restart member {named}")

    async def follow(self, request: StepRequest, named: str) -> None:
        with self.timed(StepName.FOLLOW_RESTART):
            await calls.wait(EnsembleActivities.follow_member, request, f"until member {named} is back and in sync")

    async def elect(self, request: StepRequest) -> int:
        """Partitions keep their leaders, whoever restarts of the ensemble."""
        return 0
