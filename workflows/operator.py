"""An operator's interface to a running runbook: the `status` query, and the updates.

Approve and reject answer the gate; pause, resume and abort work at any time; throttle overrides while the run holds its cluster.
Each update records who sent it and why, and returns the status.
"""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from urllib.parse import quote

from temporalio import workflow
from temporalio.exceptions import ApplicationError

with workflow.unsafe.imports_passed_through():
    from activities.overrides import OverrideActivities
    from kafka_runbooks import search_attributes
    from kafka_runbooks.models import history
    from kafka_runbooks.models.inputs import RunbookInput
    from kafka_runbooks.models.messages import ClearOverrideRequest, OverrideRequest, Survey, Token
    from kafka_runbooks.models.operator import Abort, Approval, ClearThrottle, GiveWay, OperatorAction, Override
    from kafka_runbooks.models.plans import PlanSummary
    from kafka_runbooks.models.results import Decision, Outcome, PhaseTime, Reason, RunbookResult
    from kafka_runbooks.models.status import DECISION, FIRST_REPORT, BrokerStatus, Progress, Status, Waiting
    from kafka_runbooks.throttle import overrides

from workflows import calls
from workflows.details import markdown


class Ended(Exception):
    """The work ended without success; carries the result."""

    def __init__(self, result: RunbookResult) -> None:
        super().__init__(result.summary)
        self.result = result


@dataclass(frozen=True)
class Work:
    """A runbook's work while it holds its cluster."""

    token: Token
    task: asyncio.Task[RunbookResult]


class Operator:
    """The state of a run that operators see, and what they can change of it."""

    can_roll_back = False
    """Whether an abort may request a rollback to the start."""

    def __init__(self, request: RunbookInput) -> None:
        self._request = request
        self._work: Work | None = None
        self._is_acting = False
        """Whether something may be set that must be removed at the end."""
        self._phase = "waiting for a worker"
        self._step = ""
        self._step_since: datetime | None = None
        self._times: list[PhaseTime] = []
        self._progress: Progress | None = None
        self._waiting: Waiting | None = None
        self._unanswered: Waiting | None = None
        self._plan: PlanSummary | None = None
        self._reasons: tuple[Reason, ...] = ()
        self._notes: tuple[str, ...] = ()
        self._owned: tuple[str, ...] = ()
        self._holder: str | None = None
        self._decisions: list[Decision] = []
        self._gate_is_open = False
        self._gate_lock = asyncio.Lock()
        """One question at a time: several parts of a run may have one."""
        self._asker = request.requester
        """Who asked for what waits at the gate."""
        self._answer: Approval | OperatorAction | None = None
        self._is_paused = False
        self._needs_second_person = False
        self._abort: Abort | None = None
        self._history_is_full = False
        self._has_search_attributes = False

    # Queries

    @workflow.query
    def status(self) -> Status:
        """Its step, its progress, the remaining time, and why it waits."""
        info = workflow.info()
        path = f"/namespaces/{info.namespace}/workflows/{quote(info.workflow_id, safe='')}/{info.run_id}"
        steps: tuple[str, ...] = self._plan.steps if self._plan is not None else ()
        return Status(
            runbook=info.workflow_type,
            cluster=self._request.cluster,
            phase=self._phase,
            step=self._step,
            step_number=steps.index(self._step) + 1 if self._step in steps else 0,
            steps=len(steps),
            step_since=self._step_since,
            times=tuple(self._times),
            progress=self._progress,
            waiting=self._waiting or (self._progress.waiting if self._progress else self._unanswered),
            brokers=self.brokers(),
            plan=self._plan,
            reasons=self._reasons,
            notes=self._notes,
            owned_throttles=self._owned,
            permit_holder=self._holder,
            is_paused=self._is_paused,
            takes_brokers=self.takes_brokers(),
            nodes_held=self.nodes_held(),
            decisions=tuple(self._decisions),
            links={"temporal": f"{path}/history"},
        )

    def brokers(self) -> tuple[BrokerStatus, ...]:
        """Where each of several brokers is, of a run that brings several back."""
        return ()

    def takes_brokers(self) -> bool:
        """Whether more brokers may be added now."""
        return False

    def nodes_held(self) -> tuple[str, ...]:
        """Empty nodes that wait to be handed back."""
        return ()

    @workflow.signal
    def report_progress(self, progress: Progress) -> None:
        """Figures of a running step; sent by its activity."""
        self.note_progress(progress)
        self.show()
        self._watch_history()

    def note_progress(self, progress: Progress) -> None:
        """What a step has reported."""
        self._progress = progress

    # Updates

    @workflow.update
    def approve(self, approval: Approval) -> Status:
        """Approve what waits at the gate."""
        self._record("approve", approval)
        self._answer = approval
        return self.status()

    @approve.validator
    def _may_approve(self, approval: Approval) -> None:
        self._must_be_at_gate()
        if self._needs_second_person and _same_person(approval.by, self._asker):
            raise ApplicationError(f"by: {approval.by} asked for this run; cluster {self._request.cluster} wants a second person")
        if approval.plan_sha256 is not None and (self._plan is None or self._plan.reference.sha256 != approval.plan_sha256):
            raise ApplicationError("plan_sha256: the plan that waits has another hash; read the status again")
        missing = [reason.name for reason in self._reasons if reason.name not in approval.acknowledged_risks]
        if missing:
            raise ApplicationError("acknowledged_risks: name also " + ", ".join(missing))

    @workflow.update
    def reject(self, action: OperatorAction) -> Status:
        """Refuse what waits at the gate: the runbook removes what it has set, and ends."""
        self._record("reject", action)
        self._answer = action
        return self.status()

    @reject.validator
    def _may_reject(self, action: OperatorAction) -> None:
        self._must_be_at_gate()

    @workflow.update
    def give_way(self, action: GiveWay) -> Status:
        """End at the gate, since another run needs the cluster; for runs with `when_busy` skip, as schedules start them."""
        self._record("give way", action)
        self._answer = action
        return self.status()

    @give_way.validator
    def _may_give_way(self, action: GiveWay) -> None:
        self._must_be_at_gate()
        if self._request.when_busy != "skip" or self._is_acting or self._answer is not None:
            raise ApplicationError("it holds the cluster, and doesn't give way")

    @workflow.update
    def pause(self, action: OperatorAction) -> Status:
        """Stop before the next step; in-flight data still arrives, throttled."""
        self._record("pause", action)
        self._is_paused = True
        return self.status()

    @pause.validator
    def _may_pause(self, action: OperatorAction) -> None:
        if self._is_paused:
            raise ApplicationError("it is paused already")

    @workflow.update
    def resume(self, action: OperatorAction) -> Status:
        """Continue after a pause."""
        self._record("resume", action)
        self._is_paused = False
        return self.status()

    @resume.validator
    def _may_resume(self, action: OperatorAction) -> None:
        if not self._is_paused:
            raise ApplicationError("it is not paused")

    @workflow.update
    def abort(self, action: Abort) -> Status:
        """Remove what was set, and end; with `rollback`, once everything is back where it was."""
        self._record("abort with rollback" if action.rollback else "abort", action)
        self._abort = action
        if self._work is not None:
            self._work.task.cancel()
        return self.status()

    @abort.validator
    def _may_abort(self, action: Abort) -> None:
        if self._work is None or self._work.task.done():
            raise ApplicationError("there is nothing to abort: it has not begun, or is at its end")
        if action.rollback and not self.can_roll_back:
            raise ApplicationError(f"rollback: {workflow.info().workflow_type} has none; abort without it")
        if action.rollback and self._abort is not None:
            raise ApplicationError("it is being aborted already")

    @workflow.update
    async def set_throttle(self, override: Override) -> Status:
        """Hold a broker, or all participants, at a rate from the next poll on, instead of the computed one."""
        self._record("throttle set", override)
        self._is_acting = True
        asked = OverrideRequest(token=self._held_token(), override=override)
        await calls.act(OverrideActivities.set_throttle, asked, f"throttle: {override}")
        return self.status()

    @set_throttle.validator
    def _may_set_throttle(self, override: Override) -> None:
        self._held_token()
        try:
            overrides.with_override((), override, workflow.now())
        except ValueError as error:
            raise ApplicationError(str(error)) from error

    @workflow.update
    async def clear_throttle(self, action: ClearThrottle) -> Status:
        """Remove overrides; rates then continue from where they are, step by step."""
        self._record("throttle clear", action)
        asked = ClearOverrideRequest(token=self._held_token(), broker_id=action.broker_id, everything=action.everything)
        await calls.act(OverrideActivities.clear_throttle, asked, "throttle: clear")
        return self.status()

    @clear_throttle.validator
    def _may_clear_throttle(self, action: ClearThrottle) -> None:
        self._held_token()

    def _held_token(self) -> Token:
        if self._work is None or self._work.task.done():
            raise ApplicationError("it doesn't hold the cluster: it has not begun, or is at its end")
        return self._work.token

    def _must_be_at_gate(self) -> None:
        if not self._gate_is_open:
            raise ApplicationError("nothing waits for a decision now")

    def _record(self, action: str, sent: OperatorAction | Override) -> None:
        self._decisions.append(Decision(action=action, by=sent.by, reason=sent.reason, at=workflow.now()))
        self._watch_history()

    def _watch_history(self) -> None:
        """End in order while there is room for giving back: at its limit the server terminates a run, and leaves what it set."""
        info = workflow.info()
        events = info.get_current_history_length()
        used = history.share_used(events, info.get_current_history_size())
        note = f"this run's history is more than {history.NOTE_SHARE:.0%} full; at {history.END_SHARE:.0%} it gives back and ends"
        if used >= history.NOTE_SHARE and note not in self._notes:
            self._notes = (*self._notes, note)
        if used >= history.END_SHARE and self._work is not None and not self._history_is_full:
            self._history_is_full = True
            self._work.task.cancel()

    # What a runbook reports, and where it waits for operators

    def enter(self, step: str, *, phase: str | None = None) -> None:
        """Report the current step."""
        if phase is not None and phase != self._phase:
            self._phase = phase
            self.mark_phase()
        now = workflow.now()
        self._step, self._step_since, self._progress, self._waiting = step, now, None, None
        # Until the first report nobody knows more: a worker may be down, or have no free slot.
        self._unanswered = Waiting(reason=f"{step}: no report from a worker yet", since=now, unblocks=FIRST_REPORT)
        self.show()

    def mark_phase(self) -> None:
        """Set the search attribute `Phase`, where the namespace has it."""
        if self._has_search_attributes:
            workflow.upsert_search_attributes([search_attributes.PHASE.value_set(self._phase)])

    def wait_for(self, reason: str, unblocks: str, *blocking: str, needs_person: bool = False) -> None:
        """Report why the workflow itself waits."""
        now = workflow.now()
        self._waiting = Waiting(reason=reason, since=now, unblocks=unblocks, blocking=blocking, needs_person=needs_person)
        self.show()
        self._watch_history()

    def show(self) -> None:
        """Show the status in the Temporal UI."""
        workflow.set_current_details(markdown(self.status()))

    @contextmanager
    def timed(self, step: str, *, phase: str | None = None) -> Iterator[None]:
        """Record how long a step takes, without pauses before it."""
        self.enter(step, phase=phase)
        began = workflow.now()
        try:
            yield
        except GeneratorExit:
            # The worker evicts the workflow from its cache: outside of its event loop there is no workflow time.
            raise
        except BaseException:
            self._times.append(PhaseTime(step=step, seconds=(workflow.now() - began).total_seconds()))
            raise
        self._times.append(PhaseTime(step=step, seconds=(workflow.now() - began).total_seconds()))

    async def pause_point(self) -> None:
        """A safe point: returns when the runbook is not paused."""
        if self._is_paused:
            self.wait_for(
                "paused by an operator", "resume", *(decision.by for decision in self._decisions[-1:]), needs_person=True
            )
            await workflow.wait_condition(lambda: not self._is_paused, timeout_summary="paused")
            self._waiting = None

    async def gate(self, question: str, offered: Survey | None = None, asker: str | None = None) -> Approval:
        """Wait until an operator approves.

        Args:
            offered: what is shown and decided on instead of the run's own plan, for as long as it waits.
            asker: who asked for that.

        Raises:
            Ended: an operator rejected.
        """
        async with self._gate_lock:
            own = self._plan, self._reasons, self._needs_second_person, self._asker
            if offered is not None and asker is not None:
                self._plan, self._reasons = offered.plan, offered.reasons
                self._needs_second_person, self._asker = offered.needs_second_person, asker
            self._gate_is_open, self._answer = True, None
            self.wait_for(question, DECISION, needs_person=True)
            try:
                await workflow.wait_condition(lambda: self._answer is not None)
            finally:
                self._gate_is_open, self._waiting = False, None
                self._plan, self._reasons, self._needs_second_person, self._asker = own
            answer = self._answer
        if isinstance(answer, Approval):
            return answer
        assert answer is not None
        if isinstance(answer, GiveWay):
            what = f"gave way to {answer.by}, which needs the cluster; what was proposed: {question}"
            raise Ended(RunbookResult(outcome=Outcome.SKIPPED, summary=what))
        raise Ended(RunbookResult(outcome=Outcome.REJECTED, summary=f"rejected by {answer.by}: {answer.reason}"))


def _same_person(one: str, other: str) -> bool:
    return one.strip().casefold() == other.strip().casefold()
