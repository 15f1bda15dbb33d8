"""`ReplaceBroker`: restores brokers whose nodes were lost, drained or restarted, or replaces one by another broker.

Kafka re-replicates on its own once a broker with the same id starts on an empty disk. What goes wrong at night is
everything around that: the wrong volume released, two brokers with one id, recovery that starves producers, a throttle nobody
removes. The order of the steps makes sure that none of them degrades the cluster: leases are taken before data can flow, a disk
is released only after its node was observed gone twice and a new node for the broker was found, and leadership returns last.

Several brokers go these steps side by side, each at its own pace: one that has no place yet holds up nobody. What they share is
done once for all of them: the permit, the plan, the throttles, the catch-up, the election, the proof. More brokers can be added
while it runs.
"""

import asyncio
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from temporalio import workflow
from temporalio.exceptions import ActivityError, ApplicationError

with workflow.unsafe.imports_passed_through():
    from activities.brokers import BrokerActivities
    from activities.catch_up import CatchUpActivities
    from activities.errors import describe
    from activities.moves import MoveActivities
    from activities.permits import PermitActivities
    from activities.pools import Pool
    from activities.replacement import ReplacementActivities
    from kafka_runbooks.models.inputs import NodeState, ReplaceBrokerInput
    from kafka_runbooks.models.messages import JoinRequest, NodeChoice, PlanRequest, StepRequest, Survey, Token
    from kafka_runbooks.models.operator import AddBrokers, Approval
    from kafka_runbooks.models.plans import PlanReference, PlanSummary, ReturningBroker
    from kafka_runbooks.models.results import PhaseTime, RunbookResult
    from kafka_runbooks.models.status import BrokerStatus, Progress, Status
    from kafka_runbooks.models.steps import StepName
    from kafka_runbooks.models.wording import duration, size

from workflows import calls
from workflows.operator import Ended
from workflows.planned import PlannedRunbook
from workflows.way_back import WayBack

NODE_CHECK_FIRST = timedelta(seconds=30)
NODE_CHECK_LONGEST = timedelta(minutes=5)
"""How often to check for a node in the right rack while an approval for another rack is pending."""


@dataclass
class _Running:
    """What goes on side by side while brokers come back."""

    ways: dict[int, asyncio.Task[None]] = field(default_factory=dict)
    """Those that have not landed."""
    catch_up: asyncio.Task[Progress] | None = None
    guard: asyncio.Task[None] | None = None
    adding: asyncio.Task[PlanSummary | None] | None = None

    def every(self) -> list[asyncio.Task[Any]]:
        return [*self.ways.values(), *(task for task in (self.catch_up, self.guard, self.adding) if task is not None)]


@workflow.defn
class ReplaceBroker(PlannedRunbook):
    """Restore lost, drained or restarted brokers, or replace one by another."""

    @workflow.init
    def __init__(self, request: ReplaceBrokerInput) -> None:
        super().__init__(request)
        self._input = request
        self._allows_other_rack = request.allow_other_rack
        self._ways: dict[int, WayBack] = {}
        self._additions: list[AddBrokers] = []
        self._takes_more = request.replacement_broker_id is None
        self._needs_leases: set[int] = set()
        self._lease_lock = asyncio.Lock()
        self._scheduling: defaultdict[str | None, asyncio.Lock] = defaultdict(asyncio.Lock)
        """By map."""
        self._needs_guard = False
        """Leases were taken, and nobody looks after them yet."""
        self._needs_catch_up = False
        """A broker has landed, and nobody follows its catch-up yet."""
        self._catching_up: Progress | None = None
        self._is_back_together = True
        """No broker is on its way."""

    @workflow.run
    async def run(self, request: ReplaceBrokerInput) -> RunbookResult:
        """See `ReplaceBrokerInput`."""
        return await self.conduct(self._replace)

    async def survey(self, token: Token, approved: PlanReference | None) -> Survey:
        asked: PlanRequest[ReplaceBrokerInput] = PlanRequest(request=self._input, token=token, approved=approved)
        what = "find the brokers, every reason not to start, and the frozen plan"
        return await calls.wait(ReplacementActivities.plan_replace_broker, asked, what)

    async def _replace(self, token: Token) -> RunbookResult:
        plan, _ = await self.carry_out(token, await self.prepare(token))
        seconds = sum(time.seconds for time in self._times if time.broker_id is None)
        copied = f"{size(self._copied.done_bytes)} in {duration(seconds)}"
        ids = ", ".join(str(one.broker_id) for one in plan.returning)
        what = f"brokers {ids} are back" if len(plan.returning) > 1 else f"broker {ids} is back"
        disks = "new disks" if len(plan.returning) > 1 else "a new disk"
        if self._input.replacement_broker_id is not None:
            what = f"broker {ids} was replaced by broker {self._input.replacement_broker_id}: {copied}"
        elif self._input.node_state is NodeState.LOST:
            what += f" on {disks}: {copied}"
        else:
            what += f" in {duration(seconds)}"
        what += await self.join_quorum(token, plan)
        return await self.finish(token, plan, what, copied_bytes=self._copied.done_bytes if plan.bytes_to_copy else 0)

    async def take_steps(self, request: StepRequest) -> None:
        if self._input.replacement_broker_id is not None:
            with self.timed(StepName.TAKE_LEASES):
                await self._lease(request)
            # By the mover, as in every runbook that moves data; in-flight reassignments continue during a pause.
            self._copied = await self.pausable(StepName.REASSIGN, MoveActivities.move_partitions, request)
            return
        if self._input.node_state is NodeState.LOST:
            with self.timed(StepName.CORDON):
                await calls.act(BrokerActivities.cordon_nodes, request, "cordon the nodes that were lost")
        await self._bring_back(request.token)

    def note_approval(self, approval: Approval) -> None:
        super().note_approval(approval)
        self._allows_other_rack |= approval.allow_other_rack

    # Several brokers side by side

    async def _bring_back(self, token: Token) -> None:
        """All brokers of the plan in force, and of what is added to it, until they are in sync.

        Raises:
            ActivityError: a step of one of them failed for good, or the rest must be planned again.
        """
        running = _Running()
        self._ways, self._catching_up, self._needs_catch_up, self._is_back_together = {}, None, False, False
        self._is_guarded = True  # Here, as soon as there is something to look after.
        began = workflow.now()
        try:
            self._start_ways(running)
            while not await self._went_on(running, token):
                await workflow.wait_condition(lambda: self._has_news(running))
        except GeneratorExit:
            # The worker drops the workflow: nothing can be awaited any more.
            raise
        except BaseException:
            await _ended(running.every())
            raise
        finally:
            self._is_guarded, self._is_back_together = False, True
        await _ended(running.every())
        landed = max(way.since for way in self._ways.values())
        self._times.append(PhaseTime(step=StepName.CATCH_UP, seconds=(workflow.now() - max(began, landed)).total_seconds()))

    def _has_news(self, running: _Running) -> bool:
        is_free = running.catch_up is None
        return (
            any(task.done() for task in running.ways.values())
            or (running.catch_up is not None and running.catch_up.done())
            or (is_free and self._needs_catch_up)
            or (is_free and running.guard is None and self._needs_guard)
            or (running.adding is None and bool(self._additions))
            or (running.adding is not None and running.adding.done())
        )

    async def _went_on(self, running: _Running, token: Token) -> bool:
        """Take note of what has ended, and start what is due; whether everything is done."""
        for broker_id, task in list(running.ways.items()):
            if task.done():
                await task
                del running.ways[broker_id]
        if running.catch_up is not None and running.catch_up.done():
            self._copied = await running.catch_up
            running.catch_up = None
            self._needs_guard = True
            if not (running.ways or self._needs_catch_up or running.adding or self._additions):
                self._takes_more = False
                return True
        if running.adding is not None and running.adding.done():
            added = await running.adding
            running.adding = None
            more = self._additions.pop(0)
            self._undone = self._left_undone()
            if added is not None:
                await self._put_together(running, token, added, may_change_rack=more.allow_other_rack)
        if running.adding is None and self._additions:
            running.adding = asyncio.create_task(self._add(token, self._additions[0]))
        if running.catch_up is None and self._needs_catch_up:
            await self._end_guard_of(running)
            self._needs_catch_up = self._needs_guard = False
            what = "the brokers catch up until they are 100 % in sync"
            running.catch_up = calls.start(CatchUpActivities.follow_catch_up, self._request_for(token), what, Pool.COPIES)
        if running.catch_up is None and running.guard is None and self._needs_guard:
            self._needs_guard = False
            running.guard = self.start_guard()
        return False

    def _start_ways(self, running: _Running, *, may_change_rack: bool = False) -> None:
        """For the brokers of the plan in force that are not on their way yet."""
        for one in self._in_force.returning if self._in_force is not None else ():
            if one.broker_id not in self._ways:
                way = self._ways[one.broker_id] = WayBack(one.broker_id, may_change_rack=may_change_rack)
                running.ways[one.broker_id] = asyncio.create_task(self._go(way))

    async def _end_guard_of(self, running: _Running) -> None:
        if running.guard is not None:
            await self.end_guard(running.guard)
            running.guard = None

    def _request_for(self, token: Token, *broker_ids: int) -> StepRequest:
        """A step of the plan in force, with the approvals that were given since."""
        return self.step_request(token, self._begun[-1]).model_copy(update={"broker_ids": broker_ids})

    # More brokers

    def takes_brokers(self) -> bool:
        return self._takes_more and self._work is not None and not self._work.task.done()

    @workflow.update
    def add_brokers(self, brokers: AddBrokers) -> Status:
        """Bring more brokers back, behind a preflight and a gate of their own; what runs goes on meanwhile."""
        self._record("add brokers", brokers)
        self._additions.append(brokers)
        self._undone = self._left_undone()
        return self.status()

    def _left_undone(self) -> str:
        return "; ".join(f"{_what(more)}, asked for by {more.by}, were not taken along" for more in self._additions)

    @add_brokers.validator
    def _may_add_brokers(self, brokers: AddBrokers) -> None:
        self._held_token()
        if not self._takes_more:
            raise ApplicationError("it takes no more brokers: it replaces one by another, or is at its end")
        if brokers.node_state not in (None, self._input.node_state):
            raise ApplicationError(f"node_state: this run brings back brokers whose node_state is {self._input.node_state}")
        planned = self._in_force or self._plan
        known = {one.broker_id for one in planned.returning} if planned is not None else set()
        if brokers.broker_ids and known.issuperset(brokers.broker_ids):
            raise ApplicationError("broker_ids: this run brings all of them back already")

    async def join(self, holder: str) -> bool:
        asked = self._input
        if not asked.join or asked.replacement_broker_id is not None:
            return False
        brokers = AddBrokers(
            by=asked.requester,
            reason=asked.ticket or workflow.info().workflow_id[:200],
            broker_ids=asked.broker_ids,
            nodes=asked.nodes,
            zone=asked.zone,
            node_is_gone=asked.node_is_gone,
            allow_other_rack=asked.allow_other_rack,
            node_state=asked.node_state,
            wait_for_approval=asked.wait_for_approval,
            acknowledged_risks=asked.acknowledged_risks,
        )
        why_not = await calls.act(PermitActivities.join, JoinRequest(holder=holder, brokers=brokers), f"join {holder}")
        if why_not is not None:
            self._notes = (*self._notes, f"could not join {holder}: {why_not}")[-100:]
        return why_not is None

    async def _add(self, token: Token, more: AddBrokers) -> PlanSummary | None:
        """The plan of all brokers together, once it is approved; None where nothing is added."""
        given = {name: getattr(more, name) for name in ("broker_ids", "nodes", "zone", "node_is_gone", "wait_for_approval")}
        known = (*self._acknowledged_risks, *more.acknowledged_risks)
        request = self._input.model_copy(update={**given, "requester": more.by, "acknowledged_risks": known})
        asked: PlanRequest[ReplaceBrokerInput] = PlanRequest(request=request, token=token, approved=self._begun[-1], adds=True)
        try:
            survey = await calls.wait(
                ReplacementActivities.plan_replace_broker, asked, "what was added, and all reasons against it"
            )
        except ActivityError as error:
            self._not_added(more, describe(error))
            return None
        self._notes = (*self._notes, *(note for note in survey.notes if note not in self._notes))[-100:]
        plan, reasons = survey.plan, survey.reasons
        is_blocked = any(not reason.can_be_acknowledged for reason in reasons)
        if plan is None or is_blocked or (reasons and not more.wait_for_approval):
            why = "; ".join(f"{one.message} ({one.remedy})" for one in reasons[:10])
            self._not_added(more, survey.nothing_to_do or why)
            return None
        if more.wait_for_approval:
            try:
                self.note_approval(await self.gate(f"{more.by} adds brokers: {self.question(plan)}", survey, more.by))
            except Ended as rejected:
                self._not_added(more, rejected.result.summary)
                return None
        self._acknowledged_risks = (*self._acknowledged_risks, *more.acknowledged_risks)
        return plan

    def _not_added(self, more: AddBrokers, why: str) -> None:
        self._notes = (*self._notes, f"{_what(more)} are not taken along: {why}")[-100:]

    async def _put_together(self, running: _Running, token: Token, plan: PlanSummary, *, may_change_rack: bool) -> None:
        """Carry out the plan of all brokers from here on."""
        self._put_in_force(plan)
        if running.catch_up is not None:
            await _ended([running.catch_up])
            running.catch_up, self._needs_catch_up = None, True
        elif running.guard is not None:
            await self._end_guard_of(running)
            self._needs_guard = True
        if self._input.node_state is NodeState.LOST:
            await calls.act(BrokerActivities.cordon_nodes, self._request_for(token), "cordon the nodes that were lost")
        self._start_ways(running, may_change_rack=may_change_rack)

    # One broker's way

    async def _go(self, way: WayBack) -> None:
        is_lost = self._input.node_state is NodeState.LOST
        if is_lost:
            await self._find_another_node(way)
        # Not earlier: until data can flow, a throttle only hinders the other followers of its partitions.
        await self._take_leases(way)
        if is_lost:
            # One after the other in each map, so that the scheduler can be kept to the rack.
            async with self._scheduling[self._planned(way).map]:
                await self._leave_the_lost_disk(way)
        await self._wait_for_pod(way)
        way.enter(StepName.CATCH_UP)
        self._needs_catch_up = True
        self._show_ways()

    async def _find_another_node(self, way: WayBack) -> None:
        """From fencing to the choice of a node; nothing can start yet."""
        await self._look(way, StepName.FENCE, BrokerActivities.fence_broker, "the broker must be gone")
        await self._look(way, StepName.CONFIRM_GONE, BrokerActivities.confirm_node_gone, "observe the node gone, twice")
        await self.pause_point()
        await self._choose_node(way)

    async def _leave_the_lost_disk(self, way: WayBack) -> None:
        """Release the volume and delete the pod: from the first of the two on, the broker may start anew."""
        await self.pause_point()
        with self._timed(way, StepName.RELEASE_VOLUME):
            await calls.act(BrokerActivities.keep_to_rack, self._of(way), "keep the pod to the broker's rack")
            await calls.wait(BrokerActivities.release_volume, self._of(way), "release the claims of the lost disks")
        with self._timed(way, StepName.DELETE_POD):
            await calls.act(BrokerActivities.delete_pod, self._of(way), "delete the pod on the lost node")
            await calls.wait(BrokerActivities.open_other_racks, self._of(way), "the pod is bound to a node")

    async def _look(self, way: WayBack, name: StepName, step: Callable[[Any, StepRequest], None], what: str) -> None:
        """A step that looks at the cluster until something is so."""
        await self.pause_point()
        with self._timed(way, name):
            await calls.wait(step, self._of(way), what)

    async def _take_leases(self, way: WayBack) -> None:
        """One after the other, and for all that have come to this point: each writes the run's ledger."""
        await self.pause_point()
        with self._timed(way, StepName.TAKE_LEASES):
            self._needs_leases.add(way.broker_id)
            async with self._lease_lock:
                if way.broker_id in self._needs_leases:
                    together, self._needs_leases = sorted(self._needs_leases), set()
                    await self._lease(self._of(way).model_copy(update={"broker_ids": tuple(together)}))

    async def _lease(self, request: StepRequest) -> None:
        self._may_have_rates = True
        self._owned = await calls.act(CatchUpActivities.take_throttle_leases, request, "throttle the sources before data flows")
        self._needs_guard = True

    async def _choose_node(self, way: WayBack) -> None:
        """Another rack needs an operator's approval; a node that comes up in the right one makes it unnecessary."""
        patience = NODE_CHECK_FIRST
        with self._timed(way, StepName.CHOOSE_NODE):
            while True:
                what = "a free node of the broker's map"
                choice: NodeChoice = await calls.wait(BrokerActivities.choose_node, self._of(way), what)
                if not choice.in_other_rack or self._may_change_rack(way):
                    return
                asking = asyncio.create_task(self._ask_for_rack(way, choice.rack, choice.node, is_unknown=choice.rack_is_unknown))
                try:
                    await workflow.wait_condition(asking.done, timeout=patience)
                    await asking
                    return
                except TimeoutError:
                    patience = min(2 * patience, NODE_CHECK_LONGEST)
                finally:
                    asking.cancel()

    def _may_change_rack(self, way: WayBack) -> bool:
        return way.may_change_rack or self._allows_other_rack

    async def _ask_for_rack(self, way: WayBack, rack: str | None, node: str | None, *, is_unknown: bool = False) -> None:
        one = self._planned(way)
        where, add = f"rack {one.rack} has no free node of map {one.map}", f"add a node in {one.rack}"
        if is_unknown:
            where, add = "nothing tells which rack the broker was in", "add a node in the right one"
        whose, for_whom = "", ""
        if len(self._ways) > 1:
            whose, for_whom = f"broker {way.broker_id}: ", " (for every broker of this run)"
        while not self._may_change_rack(way):
            asked = f"{whose}{where}; {node} is in rack {rack}: approve with allow_other_rack{for_whom}, or {add}"
            self.note_approval(await self.gate(asked))

    async def _wait_for_pod(self, way: WayBack) -> None:
        await self.pause_point()
        with self._timed(way, StepName.WAIT_FOR_POD):
            landing = await calls.wait(BrokerActivities.wait_for_pod, self._of(way), "the pod runs as the same broker again")
        if landing.in_other_rack and self._input.node_state is NodeState.LOST:
            await self._ask_for_rack(way, landing.rack, landing.node)

    def _planned(self, way: WayBack) -> ReturningBroker:
        assert self._in_force is not None
        return next(one for one in self._in_force.returning if one.broker_id == way.broker_id)

    def _of(self, way: WayBack) -> StepRequest:
        """A broker's next step; an answer about racks may have acknowledged risks too."""
        return self._request_for(self._held_token(), way.broker_id)

    # What operators see of it

    @contextmanager
    def _timed(self, way: WayBack, step: StepName) -> Iterator[None]:
        with way.timed(step, self._times, is_alone=len(self._ways) == 1):
            self._show_ways()
            yield

    def note_progress(self, progress: Progress) -> None:
        if progress.broker_id in self._ways:
            self._ways[progress.broker_id].progress = progress
            self._show_ways()
        elif self._is_back_together:
            super().note_progress(progress)
        else:
            self._catching_up = progress
            self._show_ways()

    def _show_ways(self) -> None:
        """The run is where the last of its brokers is, and waits for what that one waits for."""
        if self._is_back_together or self._in_force is None:
            return
        steps = self._in_force.steps
        behind = min(self._ways.values(), key=lambda way: steps.index(way.step))
        self._step, self._step_since = behind.step, behind.since
        self._progress, self._unanswered = behind.progress, behind.unanswered
        if self._catching_up is not None:
            is_last = behind.step is StepName.CATCH_UP
            self._progress = self._catching_up if is_last else self._catching_up.model_copy(update={"waiting": behind.waiting})
        self.show()

    def brokers(self) -> tuple[BrokerStatus, ...]:
        if len(self._ways) < 2:
            return ()
        copied = {one.broker_id: one for one in self._catching_up.brokers} if self._catching_up is not None else {}
        return tuple(way.status(copied.get(way.broker_id)) for way in self._ways.values())


async def _ended(tasks: list[asyncio.Task[Any]]) -> None:
    """Cancel what still runs, and wait for its end: no step may act beside what comes next."""
    for task in tasks:
        task.cancel()
    if tasks:
        await workflow.wait(tasks)
    for task in tasks:
        if not task.cancelled():
            task.exception()  # It was overtaken by what ended the others.


def _what(more: AddBrokers) -> str:
    """`brokers 1002, 1003`, `nodes kafka-7`, `zone a`."""
    if more.zone is not None:
        return f"brokers of zone {more.zone}"
    if more.nodes:
        return f"brokers of nodes {', '.join(more.nodes[:10])}"
    return f"brokers {', '.join(map(str, more.broker_ids[:10]))}"
