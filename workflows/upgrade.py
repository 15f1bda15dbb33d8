"""`Upgrade`: rolls out a changed pod template, controllers first, then one broker as a canary, then the rest, then the features.

The new template is applied by whoever deploys the cluster; under `OnDelete` nothing happens until this run deletes pods. So a
rollback is the former template, applied in the same way: a run that finds another template than its plan's plans anew for what
is outdated then. That works until features are finalised, which is the last step, with a gate of its own.
"""

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from activities.upgrade_plans import UpgradePlanActivities
    from activities.upgrades import UpgradeActivities
    from kafka_runbooks.models.inputs import UpgradeInput
    from kafka_runbooks.models.messages import (
        FinaliseRequest,
        PlanRequest,
        SoakRequest,
        StepRequest,
        Survey,
        Token,
    )
    from kafka_runbooks.models.plans import PlanReference
    from kafka_runbooks.models.results import RunbookResult
    from kafka_runbooks.models.steps import StepName
    from kafka_runbooks.models.wording import duration

from workflows import calls
from workflows.restarts import RestartRunbook

ROLL_BACK = (
    "features are not finalised: to roll back, apply the former pod template and start Upgrade again; "
    "to go on, only start it again"
)


@workflow.defn
class Upgrade(RestartRunbook):
    """A pod template rolled out behind a canary, and features finalised."""

    @workflow.init
    def __init__(self, request: UpgradeInput) -> None:
        super().__init__(request)
        self._input = request
        self._finalised = "features are left as they are"

    @workflow.run
    async def run(self, request: UpgradeInput) -> RunbookResult:
        """See `UpgradeInput`."""
        return await self.conduct(self._upgrade)

    async def survey(self, token: Token, approved: PlanReference | None) -> Survey:
        asked: PlanRequest[UpgradeInput] = PlanRequest(request=self._input, token=token, approved=approved)
        return await calls.wait(UpgradePlanActivities.plan_upgrade, asked, "every reason not to start, and the frozen plan")

    def undone(self) -> str:
        """With the way back, which is open as long as nothing is finalised."""
        done, total = self._round.done, self._round.total
        return f"{done} of {total} nodes are upgraded; {ROLL_BACK}" if total else ""

    async def _upgrade(self, token: Token) -> RunbookResult:
        plan, as_planned = await self.carry_out(token, await self.prepare(token))
        if self._input.finalise_features:
            await self._finalise(self.step_request(token, plan.reference))
        self._undone = ""
        seconds = sum(self._rounds_seconds)
        rounds = f"{len(self._rounds_seconds)} rounds, {duration(seconds)}"
        # Another template was applied meanwhile, and every pod that is left is of that one.
        done = f"{self._round.total} nodes in {rounds}" if as_planned else f"nothing is outdated any more after {rounds}"
        what = f"{plan.title}: {done}; {self._finalised}"
        return await self.finish(token, plan, what, copied_bytes=0, as_planned=as_planned)

    async def take_steps(self, request: StepRequest) -> None:
        plan = self._plan
        if plan is not None and plan.canary_id is not None:
            with self.timed(StepName.MEASURE_CANARY):
                usual = await calls.act(UpgradeActivities.measure_canary, request, StepName.MEASURE_CANARY)
            if plan.nodes_with_canary:
                await self.roll(request.model_copy(update={"broker_ids": plan.nodes_with_canary}))
            await self._soak(plan.canary_id, SoakRequest(step=request, since=workflow.now(), usual=usual))
        await self.roll(request)

    async def _soak(self, canary: int, request: SoakRequest) -> None:
        """Let the others follow if the canary is as good as its peers; else a person decides."""
        await self.pause_point()
        with self.timed(StepName.WATCH_CANARY):
            report = await calls.copy(UpgradeActivities.watch_canary, request, StepName.WATCH_CANARY)
        soaked = duration((workflow.now() - request.since).total_seconds())
        found = {
            "as good": f"canary {canary} is as good as its peers after {soaked} ({report.detail}): go on with the other nodes?",
            "worse": f"canary {canary} is worse than its peers ({report.detail}): approve to go on all the same, or reject",
            "unknown": f"nobody knows whether canary {canary} is as good as its peers ({report.detail}): go on all the same?",
        }[report.verdict]
        if self._waits_for_approval or report.verdict != "as good":
            with self.timed(StepName.APPROVAL, phase="gate"):
                await self.gate(found)
            self.begin_steps()
        else:
            self._notes = (*self._notes, f"canary {canary} is as good as its peers after {soaked}: {report.detail}")

    async def _finalise(self, request: StepRequest) -> None:
        """What has no way back, and so has a gate of its own."""
        await self.pause_point()
        with self.timed(StepName.READ_FEATURES):
            found = await calls.wait(UpgradeActivities.features_to_finalise, request, StepName.READ_FEATURES)
        note = f" ({found.note})" if found.note else ""
        if not found.changes:
            self._finalised = f"features are finalised as far as all brokers support them{note}"
            return
        changes = ", ".join(map(str, found.changes))
        if self._waits_for_approval:
            with self.timed(StepName.APPROVAL, phase="gate"):
                await self.gate(f"finalise {changes}{note}? There is no way back to the former release after that")
            self.begin_steps()
        levels = {change.name: change.after for change in found.changes}
        self._undone = f"{changes} may have been finalised"
        with self.timed(StepName.FINALISE):
            asked = FinaliseRequest(step=request, levels=levels)
            await calls.wait(UpgradeActivities.finalise_features, asked, f"finalise {changes}")
        self._finalised = f"finalised {changes}"
