"""`RotateCertificates`: new certificates, by the same authority or another, each proven by handshakes.

The next change is chosen from what handshakes show, again before each: so a run that begins in the middle goes on there. A
change in hand is always ended, or taken back: nodes that refuse new files go on with the former, and nothing else is
touched.
"""

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from activities.rotation_plans import RotationPlanActivities
    from activities.rotations import RotationActivities
    from kafka_runbooks.models.inputs import RotateCertificatesInput
    from kafka_runbooks.models.messages import PlanRequest, Released, StepRequest, Survey, Token
    from kafka_runbooks.models.plans import PlanReference, PlanSummary
    from kafka_runbooks.models.results import Check, Outcome, RunbookResult
    from kafka_runbooks.models.rotation_plan import ChangeReport, ChangeRequest, NextChange
    from kafka_runbooks.models.rotations import Phase
    from kafka_runbooks.models.status import Progress
    from kafka_runbooks.models.steps import StepName
    from kafka_runbooks.models.wording import duration
    from kafka_runbooks.safety.rotations import RESTARTS

from workflows import calls
from workflows.operator import Ended
from workflows.restarts import RestartRunbook


@workflow.defn
class RotateCertificates(RestartRunbook):
    """Certificates rotated, phase by phase, with proof."""

    @workflow.init
    def __init__(self, request: RotateCertificatesInput) -> None:
        super().__init__(request)
        self._input = request
        self._change: NextChange = NextChange()
        self._in_hand: ChangeRequest | None = None
        """What restarting nodes are to show."""
        self._may_drop = False

    @workflow.run
    async def run(self, request: RotateCertificatesInput) -> RunbookResult:
        """See `RotateCertificatesInput`."""
        return await self.conduct(self._rotate)

    async def survey(self, token: Token, approved: PlanReference | None) -> Survey:
        asked: PlanRequest[RotateCertificatesInput] = PlanRequest(request=self._input, token=token, approved=approved)
        return await calls.wait(
            RotationPlanActivities.plan_rotate_certificates, asked, "every reason not to start, and the frozen plan"
        )

    def question(self, plan: PlanSummary) -> str:
        return f"the plan waits: {plan.title}, about {duration(plan.eta_seconds)}"

    def undone(self) -> str:
        change = self._change
        if change.phase is None:
            return ""
        return f"{change.phase}: {change.done} of {change.total} are done; all can connect, and another run goes on"

    async def _rotate(self, token: Token) -> RunbookResult:
        plan, as_planned = await self.carry_out(token, await self.prepare(token))
        return await self.finish(token, plan, f"{plan.title}: proven by handshakes", copied_bytes=0, as_planned=as_planned)

    async def take_steps(self, request: StepRequest) -> None:
        while True:
            await self.pause_point()
            with self.timed(StepName.CHOOSE_CHANGE):
                what = "the next change, by what handshakes show"
                self._change = await calls.wait(RotationActivities.choose_change, request, what)
                self._undone = self.undone()
            if self._change.phase is None:
                break
            if self._change.phase is Phase.DROP and not self._may_drop:
                await self._ask_before_drop(request)
                continue
            await self.pause_point()
            await self._carry_out(
                ChangeRequest(step=request, phase=self._change.phase, names=self._change.names),
                by_restart=self._change.by_restart,
            )
        self._undone = ""

    async def _carry_out(self, change: ChangeRequest, *, by_restart: bool) -> None:
        """Take a change to its end: proven, or taken back."""
        named = ", ".join(change.names)
        if not by_restart:
            await self.to_the_end(
                self._load(change), f"once {named} show it, or have taken it back", f"{named} may be about to load new files"
            )
            return
        if self._input.break_glass:
            await self.to_the_end(self._restart_expired(change), f"once {named} present it", f"{named} may be down")
            return
        if change.phase not in RESTARTS:
            await self._write(change)
        self._in_hand = change
        with self.timed(StepName.CHOOSE_ROUND):
            restart = await calls.wait(RotationActivities.restarts_for_files, change, f"in which rounds {named} restart")
        await self.roll(change.step.model_copy(update={"plan": restart}))
        self._in_hand = None

    async def _write(self, change: ChangeRequest) -> None:
        """Bring a change into the files."""
        named = ", ".join(change.names)
        with self.timed(StepName.TAKE_BACK if change.takes_back else StepName.WRITE_FILES):
            await calls.act(RotationActivities.write_files, change, f"{change.phase}: {named}")
        with self.timed(StepName.FOLLOW_FILES):
            await calls.wait(RotationActivities.follow_files, change, f"until the files of {named} are there")

    async def _load(self, change: ChangeRequest) -> None:
        await self._write(change)
        await self._end(change, await self._prove(change))

    async def _restart_expired(self, change: ChangeRequest) -> None:
        await self._write(change)
        with self.timed(StepName.RESTART):
            await calls.act(RotationActivities.restart_expired, change, f"restart {', '.join(change.names)} without asking Kafka")
        await self._end(change, await self._prove(change))

    async def _prove(self, change: ChangeRequest) -> ChangeReport:
        with self.timed(StepName.PROVE_FILES):
            return await calls.wait(
                RotationActivities.prove_files, change, f"until handshakes show it of {', '.join(change.names)}"
            )

    async def _end(self, change: ChangeRequest, report: ChangeReport) -> None:
        """Take back what isn't proven.

        Raises:
            Ended: it was taken back.
        """
        if not report.unproven:
            return
        back = change.model_copy(update={"names": tuple(report.unproven), "takes_back": True})
        await self._write(back)
        left = (await self._prove(back)).unproven
        refused = "; ".join(report.unproven.values())
        how = f"NOT taken back: {'; '.join(left.values())}" if left else "taken back, proven by handshakes"
        raise Ended(RunbookResult(outcome=Outcome.FAILED, summary=f"{change.phase}: {refused}; {how}"))

    async def follow(self, request: StepRequest, named: str) -> None:
        """A node that restarts has to come up with its new files, which may be what it can't start with."""
        change = self._in_hand
        if change is None:
            await super().follow(request, named)
            return
        name_of = {int(name.rpartition(" ")[2]): name for name in change.names}
        of_round = change.model_copy(update={"names": tuple(name_of[node_id] for node_id in request.broker_ids)})
        report = await self._prove(of_round)
        if report.unproven and change.phase not in RESTARTS:
            await self._end(of_round, report)
        await super().follow(request, named)

    async def _ask_before_drop(self, request: StepRequest) -> None:
        """What clients can notice has a gate of its own."""
        with self.timed(StepName.FIND_CLIENTS):
            found = await calls.wait(RotationActivities.find_old_clients, request, StepName.FIND_CLIENTS)
        seen = f"still seen with it: {', '.join(found.clients[:20])}" if found.clients else "nobody was seen with it"
        unseen = f" ({found.unseen})" if found.unseen else ""
        if self._waits_for_approval or found.clients or found.unseen:
            with self.timed(StepName.APPROVAL, phase="gate"):
                await self.gate(f"drop the old authority? Who has a certificate of it alone is refused then; {seen}{unseen}")
            self.begin_steps()
        self._may_drop = True

    def note_progress(self, progress: Progress) -> None:
        if self._in_hand is not None:
            super().note_progress(progress)
            return
        phase = self._change.phase
        note = f"{phase}: {self._change.done} of {self._change.total}; now {', '.join(self._change.names)}" if phase else ""
        self._progress = progress.model_copy(update={"note": note})

    async def prove(self, request: StepRequest, released: Released, *, as_planned: bool = True) -> tuple[Check, ...]:
        """With what handshakes show; a former certificate is what proves that its authority is refused, so it goes last."""
        checks = await super().prove(request, released, as_planned=as_planned)
        shown = await calls.wait(RotationActivities.prove_rotation, request, "what handshakes show at the end")
        if all(check.passed for check in shown):
            with self.timed(StepName.FORGET_FILES):
                await calls.act(RotationActivities.forget_files, request, "remove the former files from the Secrets")
        return (*checks, *shown)
