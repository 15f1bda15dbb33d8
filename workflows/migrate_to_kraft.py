"""`MigrateToKraft`: a cluster's way from ZooKeeper to KRaft (KIP-866), or back, leg by leg.

Each leg is a plan of its own, with a gate that says what to apply: the run waits until it sees that, restarts the nodes that the
leg is about, and follows the leg to its end. Which leg is next is asked of the cluster, never remembered, so a run that was
rejected at a gate, aborted or lost is continued by another one, in either direction. The last leg has no way back, and always
waits at its gate.
"""

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from activities.kraft_migration import KraftMigrationActivities
    from kafka_runbooks.models.inputs import MigrateToKraftInput
    from kafka_runbooks.models.messages import PlanRequest, StepRequest, Survey, Token
    from kafka_runbooks.models.plans import PlanReference, PlanSummary
    from kafka_runbooks.models.results import RunbookResult
    from kafka_runbooks.models.steps import StepName

from workflows import calls
from workflows.restarts import RestartRunbook


@workflow.defn
class MigrateToKraft(RestartRunbook):
    """From ZooKeeper to KRaft, or back."""

    @workflow.init
    def __init__(self, request: MigrateToKraftInput) -> None:
        super().__init__(request)
        self._input = request
        self._legs: list[str] = []

    @workflow.run
    async def run(self, request: MigrateToKraftInput) -> RunbookResult:
        """See `MigrateToKraftInput`."""
        return await self.conduct(self._migrate)

    async def survey(self, token: Token, approved: PlanReference | None) -> Survey:
        asked: PlanRequest[MigrateToKraftInput] = PlanRequest(request=self._input, token=token, approved=approved)
        return await calls.wait(
            KraftMigrationActivities.plan_migrate_to_kraft, asked, "which leg is next, and every reason not to begin it"
        )

    def question(self, plan: PlanSummary) -> str:
        lines = "; ".join(line.text for line in plan.lines if line.label == "apply")
        return f"{super().question(plan)}; approve, and apply: {lines}"

    def needs_approval(self, plan: PlanSummary) -> bool:
        """Each leg, also one that is planned anew."""
        return True

    def undone(self) -> str:
        return "; ".join(filter(None, (super().undone(), "the migration is where it was left: start migrate-to-kraft to go on")))

    async def _migrate(self, token: Token) -> RunbookResult:
        plan: PlanSummary | None = await self.prepare(token)
        assert plan is not None
        while True:
            plan, as_planned = await self.carry_out(token, plan)
            self._legs.append(plan.title)
            following, end = await self._ask(token, None)
            if following is None:
                self._undone = ""
                return await self.finish(token, plan, f"{end}; {'; '.join(self._legs)}", copied_bytes=0, as_planned=as_planned)
            plan = following

    async def _confirm(self, plan: PlanSummary) -> None:
        """Without approvals too, a person decides on what can't be undone."""
        with self.timed(StepName.APPROVAL, phase="gate"):
            await self.gate(self.question(plan))
        self.begin_steps()

    async def take_steps(self, request: StepRequest) -> None:
        assert self._plan is not None
        steps = self._plan.steps
        if StepName.FINISH_MIGRATION in steps and not self._waits_for_approval:
            await self._confirm(self._plan)
        await self.pause_point()
        self._undone = self.undone()
        with self.timed(StepName.AWAIT_MANIFESTS):
            await calls.wait(KraftMigrationActivities.await_manifests, request, StepName.AWAIT_MANIFESTS)
        if StepName.RESTART in steps:
            await self.roll(request)
        await self.pause_point()
        if StepName.GIVE_BACK in steps:
            with self.timed(StepName.GIVE_BACK):
                await calls.act(KraftMigrationActivities.give_back_control, request, StepName.GIVE_BACK)
        last = next(step for step in (StepName.FINISH_MIGRATION, StepName.FOLLOW_LEG) if step in steps)
        with self.timed(last):
            await calls.wait(KraftMigrationActivities.follow_leg, request, last)

    async def follow(self, request: StepRequest, named: str) -> None:
        await super().follow(request, named)
        await calls.act(KraftMigrationActivities.check_round, request, f"whether {named} are in the leg's mode")

    async def elect(self, request: StepRequest) -> int:
        """Only where something has restarted."""
        return await super().elect(request) if self._plan is not None and StepName.ELECT in self._plan.steps else 0
