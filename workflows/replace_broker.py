"""`ReplaceBroker`: a broker whose node was lost, drained or restarted comes back; or another broker takes its place.

Kafka brings the data back by itself once a broker with the same id stands on an empty disk. What people get wrong at night is
all around it: letting the wrong disk go, two brokers with one id, recovery that starves producers, a throttle that stays. The
order of steps here is chosen so that at every point the cluster is no worse than before it: leases are taken before data can
flow, a disk is let go only after its node was seen gone twice and a place for the broker was found, and leadership comes back
last.
"""

import asyncio
from datetime import timedelta

from temporalio import workflow
from temporalio.exceptions import ActivityError

with workflow.unsafe.imports_passed_through():
    from activities.brokers import PodActivities
    from activities.catch_up import CatchUpActivities
    from activities.moves import MovingActivities
    from activities.release import EndingActivities, ProofRequest
    from activities.replacement import COPY_STEPS, PLAN_DRIFT, SurveyActivities
    from kafka_runbooks.models.inputs import MoveLimits, NodeState, ReplaceBrokerInput
    from kafka_runbooks.models.messages import BrokerPlace, Landing, MoveStep, NodeChoice, PlanRequest, StepRequest, Survey
    from kafka_runbooks.models.results import Outcome, Reason, RunbookResult
    from kafka_runbooks.models.status import Progress
    from kafka_runbooks.models.wording import duration, size
    from workflows import calls
    from workflows.runbook import Ended, Runbook, describe, is_type

(
    FENCE,
    TAKE_LEASES,
    CONFIRM_GONE,
    CHOOSE_NODE,
    RELEASE_VOLUME,
    DELETE_POD,
    WAIT_FOR_POD,
    CATCH_UP,
    ELECT,
    GIVE_BACK,
    PROVE,
) = COPY_STEPS
REASSIGN = "reassign partitions"
MOVES_AT_ONCE = 10
"""Onto the one broker that takes over: few enough that a pause is soon felt, enough to keep the sources busy."""

NODE_CHECK_FIRST = timedelta(seconds=30)
NODE_CHECK_LONGEST = timedelta(minutes=5)
"""How often a node in the right rack is looked for while a person is asked about another one."""


@workflow.defn
class ReplaceBroker(Runbook):
    """See the module."""

    def __init__(self) -> None:
        super().__init__()
        self._asked: ReplaceBrokerInput | None = None
        self._acknowledged: tuple[str, ...] = ()
        self._allow_other_rack = False
        self._copied = Progress()

    @workflow.run
    async def run(self, request: ReplaceBrokerInput) -> RunbookResult:
        """Replace the broker; see `ReplaceBrokerInput`."""
        self._asked = request
        self._acknowledged, self._allow_other_rack = request.acknowledged_risks, request.allow_other_rack
        return await self.conduct(request, self._replace)

    @property
    def asked(self) -> ReplaceBrokerInput:
        assert self._asked is not None, "run has begun"
        return self._asked

    async def _replace(self) -> RunbookResult:
        place = await self._preflight()
        while True:
            await self._plan_and_gate(place)
            try:
                await self._carry_out(place)
                break
            except ActivityError as error:
                if not is_type(error, PLAN_DRIFT):
                    raise
                self.enter(f"plan anew: {describe(error)}", phase="plan")
        return await self._finish(place)

    # Before anything is changed

    async def _preflight(self) -> BrokerPlace:
        self.enter("look around", phase="preflight")
        try:
            with self.timed("clear leftovers of earlier runs"):
                await workflow.execute_activity_method(
                    EndingActivities.clear_leftovers, self.token, **calls.act("clear leftovers of runs that have ended")
                )
            with self.timed("preflight"):
                survey: Survey = await workflow.execute_activity_method(
                    SurveyActivities.survey_broker, self.asked, **calls.act("find the broker and every reason not to start")
                )
        except ActivityError as error:
            if not is_type(error, "UnknownCluster"):
                raise
            reason = Reason(
                name="unknown-cluster", message=f"cluster: {describe(error)}", remedy="give a cluster that clusters.yaml names"
            )
            raise Ended(self._refusal((reason,))) from error
        if survey.nothing_to_do is not None:
            raise Ended(RunbookResult(outcome=Outcome.NOTHING_TO_DO, summary=survey.nothing_to_do))
        self._reasons, self._notes = survey.reasons, survey.notes
        needs_more_than_a_word = any(not reason.can_be_acknowledged for reason in survey.reasons)
        if survey.place is None or needs_more_than_a_word or (survey.reasons and not self.asked.wait_for_approval):
            raise Ended(self._refusal(survey.reasons))
        return survey.place

    def _refusal(self, reasons: tuple[Reason, ...]) -> RunbookResult:
        self._reasons = reasons
        summary = "refused: " + "; ".join(f"{reason.message} ({reason.remedy})" for reason in reasons[:10])
        return RunbookResult(outcome=Outcome.REFUSED, summary=summary, reasons=reasons)

    async def _plan_and_gate(self, place: BrokerPlace) -> None:
        with self.timed("plan"):
            self._phase = "plan"
            self._plan = await workflow.execute_activity_method(
                SurveyActivities.make_replacement_plan,
                PlanRequest(token=self.token, request=self.asked, place=place),
                **calls.act(f"freeze the plan for broker {place.broker_id}"),
            )
        self._steps = self._plan.steps
        if self.asked.wait_for_approval:
            with self.timed("approval"):
                self._phase = "gate"
                plan = self._plan
                approval = await self.gate(
                    f"the plan waits: broker {plan.broker_id}, {plan.partitions} partitions, {size(plan.bytes_to_copy)} to copy, "
                    f"about {duration(plan.eta_seconds)} at up to {size(plan.throttle_bytes_per_s)}/s from each source"
                )
            self._acknowledged = (*self._acknowledged, *approval.acknowledged_risks)
            self._allow_other_rack = self._allow_other_rack or approval.allow_other_rack
        self._reasons = ()

    # Steps

    def _request_for(self, place: BrokerPlace) -> StepRequest:
        assert self._plan is not None, "planned before"
        return StepRequest(
            token=self.token,
            place=place,
            plan=self._plan.reference,
            throttle=self.asked.throttle,
            replacement_broker_id=self.asked.replacement_broker_id,
            disk_is_lost=self.asked.node_state is NodeState.LOST and self.asked.replacement_broker_id is None,
            node_is_gone=self.asked.node_is_gone,
            acknowledged_risks=self._acknowledged,
            allow_other_rack=self._allow_other_rack,
        )

    async def _carry_out(self, place: BrokerPlace) -> None:
        self.begin_steps()
        if self.asked.replacement_broker_id is not None:
            await self._take_leases(place)
            await self._reassign(place)
        elif self.asked.node_state is NodeState.LOST:
            await self._bring_back_on_new_disk(place)
            await self._catch_up(place)
        else:
            await self._take_leases(place)
            await self._land(place)
            await self._catch_up(place)
        await self.pause_point()
        with self.timed(ELECT):
            await self._elect(place)

    async def _bring_back_on_new_disk(self, place: BrokerPlace) -> None:
        await self.pause_point()
        with self.timed(FENCE):
            await workflow.execute_activity_method(
                PodActivities.fence_broker,
                self._request_for(place),
                **calls.wait(f"cordon {place.node}; broker {place.broker_id} must be gone"),
            )
        await self._take_leases(place)
        await self.pause_point()
        with self.timed(CONFIRM_GONE):
            await workflow.execute_activity_method(
                PodActivities.confirm_node_gone, self._request_for(place), **calls.wait(f"see node {place.node} gone, twice")
            )
        await self.pause_point()
        await self._choose_node(place)
        await self.pause_point()
        with self.timed(RELEASE_VOLUME):
            await workflow.execute_activity_method(
                PodActivities.release_volume,
                self._request_for(place),
                **calls.wait(f"release claim {place.claim} of the lost disk"),
            )
        with self.timed(DELETE_POD):
            await workflow.execute_activity_method(
                PodActivities.delete_pod, self._request_for(place), **calls.act(f"delete pod {place.pod} on the lost node")
            )
        await self._land(place)

    async def _take_leases(self, place: BrokerPlace) -> None:
        await self.pause_point()
        with self.timed(TAKE_LEASES):
            self._owned = await workflow.execute_activity_method(
                CatchUpActivities.take_throttle_leases,
                self._request_for(place),
                **calls.act("throttle the sources before data flows"),
            )

    async def _choose_node(self, place: BrokerPlace) -> None:
        """Another rack is a person's decision; a node that comes up in the right one meanwhile spares it."""
        patience = NODE_CHECK_FIRST
        with self.timed(CHOOSE_NODE):
            while True:
                choice: NodeChoice = await workflow.execute_activity_method(
                    PodActivities.choose_landing_node,
                    self._request_for(place),
                    **calls.wait(f"a free node of map {place.map} in {place.rack}"),
                )
                if not choice.in_other_rack or self._allow_other_rack:
                    return
                asking = asyncio.create_task(self._ask_for_rack(place, choice.rack, choice.node))
                try:
                    await workflow.wait_condition(asking.done, timeout=patience)
                    await asking
                    return
                except TimeoutError:
                    patience = min(2 * patience, NODE_CHECK_LONGEST)
                finally:
                    asking.cancel()

    async def _ask_for_rack(self, place: BrokerPlace, rack: str | None, node: str | None) -> None:
        while not self._allow_other_rack:
            approval = await self.gate(
                f"rack {place.rack} has no free node of map {place.map}; {node} is in rack {rack}: "
                f"approve with allow_other_rack, or add a node in {place.rack}"
            )
            self._allow_other_rack = approval.allow_other_rack

    async def _land(self, place: BrokerPlace) -> None:
        await self.pause_point()
        with self.timed(WAIT_FOR_POD):
            landing: Landing = await workflow.execute_activity_method(
                PodActivities.wait_for_pod,
                self._request_for(place),
                **calls.wait(f"{place.pod} runs as broker {place.broker_id} again"),
            )
        if landing.in_other_rack and self.asked.node_state is NodeState.LOST:
            await self._ask_for_rack(place, landing.rack, landing.node)

    async def _catch_up(self, place: BrokerPlace) -> None:
        with self.timed(CATCH_UP):
            self._copied = await workflow.execute_activity_method(
                CatchUpActivities.follow_catch_up,
                self._request_for(place),
                **calls.wait(f"broker {place.broker_id} catches up until it is 100 % in sync"),
            )

    async def _reassign(self, place: BrokerPlace) -> None:
        """By the mover, as every runbook that moves data; reassignments in flight go on in a pause."""
        request = self._request_for(place)
        step = MoveStep(
            token=request.token,
            plan=request.plan,
            throttle=request.throttle,
            limits=MoveLimits(moves_in_per_broker=MOVES_AT_ONCE),
            is_replacement=True,
        )
        self._copied = await self.pausable(REASSIGN, MovingActivities.move_partitions, step)

    # The end

    async def _elect(self, place: BrokerPlace) -> None:
        await workflow.execute_activity_method(
            CatchUpActivities.elect_preferred_leaders, self._request_for(place), **calls.wait("elect preferred leaders")
        )

    async def _finish(self, place: BrokerPlace) -> RunbookResult:
        assert self._plan is not None, "planned before"
        with self.timed(GIVE_BACK):
            released = await self.give_back_all(lambda: self._elect(place))
        with self.timed(PROVE):
            checks = await workflow.execute_activity_method(
                EndingActivities.prove_exit,
                ProofRequest(step=self._request_for(place), our_rates_bytes_per_s=released.rates_bytes_per_s),
                **calls.act("prove the exit contract on the live cluster"),
            )
        broken = [check for check in checks if not check.passed]
        seconds = sum(time.seconds for time in self._times)
        copied = f"{size(self._copied.done_bytes)} in {duration(seconds)}"
        what = f"broker {place.broker_id}"
        if self.asked.replacement_broker_id is not None:
            what += f" was replaced by broker {self.asked.replacement_broker_id}: {copied}"
        elif self.asked.node_state is NodeState.LOST:
            what += f" is back on a new disk: {copied}"
        else:
            what += f" is back in {duration(seconds)}"
        if broken:
            what += "; the exit contract does not hold: " + "; ".join(f"{check.name}: {check.detail}" for check in broken)
        return RunbookResult(
            outcome=Outcome.FAILED if broken else Outcome.DONE,
            summary=what,
            checks=checks,
            copied_bytes=self._copied.done_bytes if self._plan.bytes_to_copy else 0,
            lower_bound_bytes=self._plan.lower_bound_bytes,
            highest_throttle_bytes_per_s=self._copied.highest_throttle_bytes_per_s,
        )
