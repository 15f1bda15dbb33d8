"""`ReplaceBroker`: restores a broker whose node was lost, drained or restarted, or replaces it by another broker.

Kafka re-replicates on its own once a broker with the same id starts on an empty disk. What goes wrong at night is
everything around that: the wrong volume released, two brokers with one id, recovery that starves producers, a throttle nobody
removes. The order of the steps makes sure that none of them degrades the cluster: leases are taken before data can flow, a disk
is released only after its node was observed gone twice and a new node for the broker was found, and leadership returns last.
"""

import asyncio
from datetime import timedelta

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from activities.brokers import BrokerActivities
    from activities.catch_up import CatchUpActivities
    from activities.moves import MoveActivities
    from activities.replacement import ReplacementActivities
    from kafka_runbooks.models.inputs import NodeState, ReplaceBrokerInput
    from kafka_runbooks.models.messages import NodeChoice, PlanRequest, StepRequest, Survey, Token
    from kafka_runbooks.models.operator import Approval
    from kafka_runbooks.models.plans import PlanReference
    from kafka_runbooks.models.results import RunbookResult
    from kafka_runbooks.models.steps import StepName
    from kafka_runbooks.models.wording import duration, size

from workflows import calls
from workflows.planned import PlannedRunbook

NODE_CHECK_FIRST = timedelta(seconds=30)
NODE_CHECK_LONGEST = timedelta(minutes=5)
"""How often to check for a node in the right rack while an approval for another rack is pending."""


@workflow.defn
class ReplaceBroker(PlannedRunbook):
    """Restore a lost, drained or restarted broker, or replace it by another."""

    @workflow.init
    def __init__(self, request: ReplaceBrokerInput) -> None:
        super().__init__(request)
        self._input = request
        self._allows_other_rack = request.allow_other_rack

    @workflow.run
    async def run(self, request: ReplaceBrokerInput) -> RunbookResult:
        """See `ReplaceBrokerInput`."""
        return await self.conduct(self._replace)

    async def survey(self, token: Token, approved: PlanReference | None) -> Survey:
        asked: PlanRequest[ReplaceBrokerInput] = PlanRequest(request=self._input, token=token, approved=approved)
        what = "find the broker, every reason not to start, and the frozen plan"
        return await calls.wait(ReplacementActivities.plan_replace_broker, asked, what)

    async def _replace(self, token: Token) -> RunbookResult:
        plan, _ = await self.carry_out(token, await self.prepare(token))
        seconds = sum(time.seconds for time in self._times)
        copied = f"{size(self._copied.done_bytes)} in {duration(seconds)}"
        what = f"broker {plan.broker_id}"
        if self._input.replacement_broker_id is not None:
            what += f" was replaced by broker {self._input.replacement_broker_id}: {copied}"
        elif self._input.node_state is NodeState.LOST:
            what += f" is back on a new disk: {copied}"
        else:
            what += f" is back in {duration(seconds)}"
        return await self.finish(token, plan, what, copied_bytes=self._copied.done_bytes if plan.bytes_to_copy else 0)

    async def take_steps(self, request: StepRequest) -> None:
        if self._input.replacement_broker_id is not None:
            await self._take_leases(request)
            # By the mover, as in every runbook that moves data; in-flight reassignments continue during a pause.
            self._copied = await self.pausable(StepName.REASSIGN, MoveActivities.move_partitions, request)
            return
        is_lost = self._input.node_state is NodeState.LOST
        if is_lost:
            await self._find_another_node(request)
        # Not earlier: until data can flow, a throttle only hinders the other followers of its partitions.
        await self._take_leases(request)
        async with self.guarded():
            if is_lost:
                await self._leave_the_lost_disk(request)
            await self._wait_for_pod(request)
        with self.timed(StepName.CATCH_UP):
            what = "the broker catches up until it is 100 % in sync"
            self._copied = await calls.copy(CatchUpActivities.follow_catch_up, self._again(request), what)

    def note_approval(self, approval: Approval) -> None:
        super().note_approval(approval)
        self._allows_other_rack |= approval.allow_other_rack

    def _again(self, request: StepRequest) -> StepRequest:
        """The same step with the approvals that were given since: an answer about the rack may acknowledge risks too."""
        return self.step_request(request.token, request.plan)

    async def _find_another_node(self, request: StepRequest) -> None:
        """From fencing to the choice of a node; nothing can start yet."""
        await self.pause_point()
        with self.timed(StepName.FENCE):
            await calls.wait(BrokerActivities.fence_broker, request, "cordon the node; the broker must be gone")
        await self.pause_point()
        with self.timed(StepName.CONFIRM_GONE):
            await calls.wait(BrokerActivities.confirm_node_gone, request, "observe the node gone, twice")
        await self.pause_point()
        await self._choose_node(request)

    async def _leave_the_lost_disk(self, request: StepRequest) -> None:
        """Release the volume and delete the pod: from the first of the two on, the broker may start anew."""
        await self.pause_point()
        with self.timed(StepName.RELEASE_VOLUME):
            await calls.wait(BrokerActivities.release_volume, self._again(request), "release the claim of the lost disk")
        with self.timed(StepName.DELETE_POD):
            await calls.act(BrokerActivities.delete_pod, request, "delete the pod on the lost node")

    async def _take_leases(self, request: StepRequest) -> None:
        await self.pause_point()
        with self.timed(StepName.TAKE_LEASES):
            what = "throttle the sources before data flows"
            self._may_have_rates = True
            self._owned = await calls.act(CatchUpActivities.take_throttle_leases, request, what)

    async def _choose_node(self, request: StepRequest) -> None:
        """Another rack needs an operator's approval; a node that comes up in the right one makes it unnecessary."""
        patience = NODE_CHECK_FIRST
        with self.timed(StepName.CHOOSE_NODE):
            while True:
                choice: NodeChoice = await calls.wait(BrokerActivities.choose_node, request, "a free node of the broker's map")
                if not choice.in_other_rack or self._allows_other_rack:
                    return
                asking = asyncio.create_task(self._ask_for_rack(choice.rack, choice.node, is_unknown=choice.rack_is_unknown))
                try:
                    await workflow.wait_condition(asking.done, timeout=patience)
                    await asking
                    return
                except TimeoutError:
                    patience = min(2 * patience, NODE_CHECK_LONGEST)
                finally:
                    asking.cancel()

    async def _ask_for_rack(self, rack: str | None, node: str | None, *, is_unknown: bool = False) -> None:
        plan = self._plan
        where = f"rack {plan.rack} has no free node of map {plan.map}" if plan is not None else "the rack has no free node"
        add = f"add a node in {plan.rack}" if plan is not None else "add a node"
        if is_unknown:
            where, add = "nothing tells which rack the broker was in", "add a node in the right one"
        while not self._allows_other_rack:
            approval = await self.gate(f"{where}; {node} is in rack {rack}: approve with allow_other_rack, or {add}")
            self.note_approval(approval)

    async def _wait_for_pod(self, request: StepRequest) -> None:
        await self.pause_point()
        with self.timed(StepName.WAIT_FOR_POD):
            landing = await calls.wait(BrokerActivities.wait_for_pod, request, "the pod runs as the same broker again")
        if landing.in_other_rack and self._input.node_state is NodeState.LOST:
            await self._ask_for_rack(landing.rack, landing.node)
