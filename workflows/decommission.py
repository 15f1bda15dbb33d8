"""`Decommission`: brokers, or a rack, are emptied at once, and leave.

All that leave are one plan, so nothing moves twice and nothing goes onto a broker that is about to leave. Before data moves their
log directories are cordoned, or new topics would land on them as fast as old ones leave. Without `remove_pods` they stay, empty
and cordoned; with it their StatefulSets are scaled down, which only ever takes the highest ordinals, and the brokers are
unregistered.
"""

import asyncio

from temporalio import workflow
from temporalio.exceptions import ActivityError

with workflow.unsafe.imports_passed_through():
    from activities.decommission import LeavingActivities
    from activities.move_plans import PlanningActivities
    from activities.replacement import PLAN_DRIFT
    from kafka_runbooks.models.inputs import DecommissionInput
    from kafka_runbooks.models.messages import MoveStep
    from kafka_runbooks.models.results import RunbookResult
    from workflows import calls
    from workflows.moves import ELECT, GIVE_BACK, PROVE, REASSIGN, Moving
    from workflows.runbook import describe, is_type

CORDON = "cordon log directories"
REMOVE = "remove pods"
UNREGISTER = "unregister brokers"
EMPTY_STEPS = (CORDON, REASSIGN, ELECT, GIVE_BACK, PROVE)
REMOVE_STEPS = (CORDON, REASSIGN, ELECT, REMOVE, UNREGISTER, GIVE_BACK, PROVE)


@workflow.defn
class Decommission(Moving):
    """See the module."""

    @workflow.run
    async def run(self, request: DecommissionInput) -> RunbookResult:
        """See `DecommissionInput`."""
        return await self.conduct(request, lambda: self._decommission(request))

    async def _decommission(self, request: DecommissionInput) -> RunbookResult:
        self._asked = request
        self._steps = REMOVE_STEPS if request.remove_pods else EMPTY_STEPS
        try:
            await self.prepare(PlanningActivities.plan_decommission)
            self.begin_steps()
            await self._cordon(self.latest)
            as_planned = await self.carry_out(PlanningActivities.plan_decommission)
            if not request.remove_pods:
                kept = await self._keep_cordoned()
                return await self.finish(as_planned=as_planned, did=kept)
        except asyncio.CancelledError:
            await self.roll_back_if_told()
            raise
        pods, as_planned = await self._remove(as_planned)
        await self._unregister(pods)
        gone = f"; removed {', '.join(pods)}" if pods else ""
        return await self.finish(as_planned=as_planned, did=f"{gone}; unregistered")

    @property
    def latest(self) -> MoveStep:
        """A step of the plan that is in force."""
        assert self._moves is not None, "planned before"
        return self.step(self._moves.reference)

    async def _cordon(self, step: MoveStep) -> None:
        with self.timed(CORDON):
            self._owned = await workflow.execute_activity_method(
                LeavingActivities.cordon_log_directories, step, **calls.act("nothing new lands on the leaving brokers")
            )

    async def _keep_cordoned(self) -> str:
        kept: tuple[int, ...] = await workflow.execute_activity_method(
            LeavingActivities.keep_log_directories_cordoned, self.latest, **calls.act("the empty brokers stay cordoned")
        )
        if not kept:
            return "; nothing keeps new topics off them (Kafka < 4.3, or cordoned before): remove them soon"
        return (
            f"; the log directories of {', '.join(map(str, kept))} stay cordoned (cordoned.log.dirs; delete it to use them again)"
        )

    async def _remove(self, as_planned: bool) -> tuple[tuple[str, ...], bool]:
        """Pods go, once their brokers are empty. What came onto them meanwhile is moved first."""
        self.can_roll_back = False
        while True:
            await self.pause_point()
            try:
                with self.timed(REMOVE):
                    pods: tuple[str, ...] = await workflow.execute_activity_method(
                        LeavingActivities.remove_pods, self.latest, **calls.wait("scale down, and wait until pods are gone")
                    )
                return pods, as_planned
            except ActivityError as error:
                if not is_type(error, PLAN_DRIFT):
                    raise
                self.enter(f"plan anew: {describe(error)}", phase="plan")
            if await self.plan(PlanningActivities.plan_decommission, may_be_empty=True):
                await self._cordon(self.latest)
                as_planned = await self.carry_out(PlanningActivities.plan_decommission)

    async def _unregister(self, pods: tuple[str, ...]) -> None:
        with self.timed(UNREGISTER):
            await workflow.execute_activity_method(
                LeavingActivities.unregister_brokers,
                args=[self.latest, pods],
                **calls.act("delete the claims, and strike the brokers out of the registry"),
            )
