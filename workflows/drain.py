"""`Drain`: takes brokers and controllers off nodes, holds the nodes while somebody works on them, and brings everything back.

Nodes are emptied as far as the rules of restarts allow, asked anew before each pod is deleted. The others wait until those are
back: a broker that is away for maintenance is one that can't be spared twice. An abort brings back what is away before it ends; a
second one ends at once. Nodes that somebody else drains are emptied by the same rules, and left to them.
"""

import asyncio
from collections.abc import Iterable

from temporalio import workflow
from temporalio.exceptions import ActivityError, ApplicationError, is_cancelled_exception

with workflow.unsafe.imports_passed_through():
    from activities.drain_plans import DrainPlanActivities
    from activities.drains import DrainActivities
    from activities.pools import Pool
    from kafka_runbooks.models.inputs import DrainInput
    from kafka_runbooks.models.messages import NodesRequest, PlanRequest, StepRequest, Survey, Token
    from kafka_runbooks.models.operator import Uncordon
    from kafka_runbooks.models.plans import PlanReference, PlanSummary
    from kafka_runbooks.models.results import RunbookResult
    from kafka_runbooks.models.status import Status
    from kafka_runbooks.models.steps import StepName
    from kafka_runbooks.models.wording import duration

from workflows import calls
from workflows.planned import PlannedRunbook


@workflow.defn
class Drain(PlannedRunbook):
    """Nodes without brokers and controllers, for as long as somebody works on them."""

    @workflow.init
    def __init__(self, request: DrainInput) -> None:
        super().__init__(request)
        self._input = request
        self._done: tuple[str, ...] = ()
        self._nodes_held: tuple[str, ...] = ()
        self._wanted_back: tuple[str, ...] = ()
        self._held_seconds = 0.0

    @workflow.run
    async def run(self, request: DrainInput) -> RunbookResult:
        """See `DrainInput`."""
        return await self.conduct(self._drain)

    async def survey(self, token: Token, approved: PlanReference | None) -> Survey:
        request = self._input
        if self._done and not request.announced:
            left = tuple(name for name in request.nodes if name not in self._done)
            if not left:
                return Survey(nothing_to_do="every node has been emptied and handed back")
            request = request.model_copy(update={"nodes": left})
        asked: PlanRequest[DrainInput] = PlanRequest(request=request, token=token, approved=approved)
        return await calls.wait(DrainPlanActivities.plan_drain, asked, "every reason not to start, and the frozen plan")

    def question(self, plan: PlanSummary) -> str:
        return f"the plan waits: {plan.title}" + (f", in {plan.batches} rounds" if plan.batches > 1 else "")

    async def _drain(self, token: Token) -> RunbookResult:
        plan, as_planned = await self.carry_out(token, await self.prepare(token))
        if not as_planned:
            what = f"{plan.title}: the nodes have changed, and nothing was left to do"
        elif self._input.announced:
            what = f"{plan.title}; what was let go comes back with its node, or wherever its disks can be mounted"
        else:
            what = f"{plan.title}: held for {duration(self._held_seconds)}, and everything is back"
        return await self.finish(token, plan, what, copied_bytes=0, as_planned=as_planned)

    async def take_steps(self, request: StepRequest) -> None:
        while True:
            await self.pause_point()
            with self.timed(StepName.CHOOSE_NODES):
                done = NodesRequest(step=request, nodes=self._done)
                nodes = await calls.wait(DrainActivities.choose_nodes, done, "the next nodes that may be empty together")
            if not nodes:
                return
            await self.pause_point()
            await self._empty_and_hold(NodesRequest(step=request, nodes=nodes))
            self._done = (*self._done, *nodes)

    async def _empty_and_hold(self, request: NodesRequest) -> None:
        named = ", ".join(request.nodes)
        self._undone = f"what ran on {named} may be down or not in sync"
        if self._input.announced:
            await self._empty(request, named)
            self._undone = ""
            return
        back: set[str] = set()
        try:
            with self.timed(StepName.CORDON):
                await calls.act(DrainActivities.cordon_for_drain, request, f"cordon {named}")
            await self._empty(request, named)
            while left := tuple(name for name in request.nodes if name not in back):
                self._nodes_held = left
                wanted = await self._hold(request.model_copy(update={"nodes": left}))
                self._nodes_held = tuple(name for name in left if name not in wanted)
                await self._bring_back(request.model_copy(update={"nodes": wanted}))
                back.update(wanted)
            self._undone = ""
        except (ActivityError, asyncio.CancelledError) as error:
            self._nodes_held = ()
            if not is_cancelled_exception(error):
                raise
            self._notes = (*self._notes, f"brings back what ran on {named} first; abort again to end at once")
            await self._bring_back(request)
            self._undone = f"node {named} is uncordoned, and what ran on it is back"
            raise

    async def _empty(self, request: NodesRequest, named: str) -> None:
        with self.timed(StepName.EMPTY):
            await calls.wait(DrainActivities.empty_nodes, request, f"until no broker or controller is on {named}")

    async def _hold(self, request: NodesRequest) -> tuple[str, ...]:
        """Wait until nodes are wanted back: by the update, or because somebody has uncordoned them."""
        named, began = ", ".join(request.nodes), workflow.now()
        with self.timed(StepName.HOLD):
            self.wait_for(
                f"node {named} is yours: no broker or controller is on it",
                "uncordon, once the work is done (`kafka-runbooks uncordon`, or kubectl uncordon)",
                *request.nodes[:20],
                needs_person=True,
            )
            holding = calls.start(DrainActivities.hold_nodes, request, f"hold {named}", Pool.LOOKS)
            asked = asyncio.create_task(workflow.wait_condition(lambda: bool(self._wanted_back)))
            try:
                await workflow.wait([holding, asked], return_when=asyncio.FIRST_COMPLETED)
                lifted = await holding if holding.done() else ()
            finally:
                asked.cancel()
                holding.cancel()
                await workflow.wait([holding])
        wanted, self._wanted_back = self._wanted_back, ()
        self._held_seconds += (workflow.now() - began).total_seconds()
        return tuple(name for name in request.nodes if name in wanted or name in lifted)

    async def _bring_back(self, request: NodesRequest) -> None:
        named = ", ".join(request.nodes)
        with self.timed(StepName.UNCORDON):
            await calls.act(DrainActivities.uncordon_drained, request, f"uncordon {named}")
        with self.timed(StepName.FOLLOW_RESTART):
            await calls.wait(DrainActivities.follow_return, request, f"until what ran on {named} is up and in sync")
        with self.timed(StepName.ELECT):
            await self.elect(request.step)

    def nodes_held(self) -> tuple[str, ...]:
        return tuple(name for name in self._nodes_held if name not in self._wanted_back)

    @workflow.update
    def uncordon(self, action: Uncordon) -> Status:
        """Hand nodes back that this run holds: they are uncordoned, and what ran on them comes back."""
        self._record("uncordon", action)
        self._wanted_back = tuple(dict.fromkeys((*self._wanted_back, *(action.nodes or self._nodes_held))))
        return self.status()

    @uncordon.validator
    def _may_uncordon(self, action: Uncordon) -> None:
        if not self._nodes_held:
            raise ApplicationError("no node is held now: abort the run to bring back what is on its way")
        unknown = _not_among(action.nodes, self._nodes_held)
        if unknown:
            raise ApplicationError(f"nodes: {', '.join(unknown)} is not held by this run; it holds {', '.join(self._nodes_held)}")


def _not_among(names: Iterable[str], known: Iterable[str]) -> list[str]:
    return [name for name in names if name not in set(known)]
