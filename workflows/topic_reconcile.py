"""`TopicReconcile`: brings topics to what the definitions in the cluster's ConfigMaps say."""

import asyncio

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from activities.topic_plans import TopicPlanActivities
    from activities.topics import TopicActivities
    from kafka_runbooks.models.inputs import TopicReconcileInput
    from kafka_runbooks.models.messages import PlanRequest, StepRequest, Survey, Token, TopicStepRequest
    from kafka_runbooks.models.plans import PlanReference, PlanSummary
    from kafka_runbooks.models.results import RunbookResult
    from kafka_runbooks.models.steps import StepName

from workflows import calls
from workflows.moves import Moves


@workflow.defn
class TopicReconcile(Moves):
    """Make, configure, grow and move topics as the cluster's ConfigMaps define them."""

    @workflow.init
    def __init__(self, request: TopicReconcileInput) -> None:
        super().__init__(request)
        self._input = request

    @workflow.run
    async def run(self, request: TopicReconcileInput) -> RunbookResult:
        """See `TopicReconcileInput`."""
        return await self.conduct(self._reconcile)

    async def survey(self, token: Token, approved: PlanReference | None) -> Survey:
        asked: PlanRequest[TopicReconcileInput] = PlanRequest(request=self._input, token=token, approved=approved)
        what = "every reason not to start, and the frozen plan"
        return await calls.wait(TopicPlanActivities.plan_topic_reconcile, asked, what)

    def needs_approval(self, plan: PlanSummary) -> bool:
        goes = plan.is_harmless and self._input.when_harmless == "go" and not self._needs_second_person
        return not goes and super().needs_approval(plan)

    def question(self, plan: PlanSummary) -> str:
        return super().question(plan) if plan.partitions else f"the plan waits: {plan.title}"

    async def take_steps(self, request: StepRequest) -> None:
        plan = self._in_force
        assert plan is not None
        self._undone = "topics that were made, configured or grown stay so"
        if StepName.CREATE_TOPICS in plan.steps:
            await self.pause_point()
            with self.timed(StepName.CREATE_TOPICS):
                await calls.wait(TopicActivities.create_topics, request, StepName.CREATE_TOPICS)
        await self._configure_and_grow(plan, TopicStepRequest(step=request))
        if StepName.REASSIGN in plan.steps:
            await super().take_steps(request)
            await self._configure_and_grow(plan, TopicStepRequest(step=request, has_moved=True))
        if StepName.DELETE_TOPICS in plan.steps:
            await self.pause_point()
            self._undone = "topics that were made, configured, grown or deleted stay so"
            with self.timed(StepName.DELETE_TOPICS):
                await calls.wait(TopicActivities.delete_topics, request, StepName.DELETE_TOPICS)

    async def _configure_and_grow(self, plan: PlanSummary, request: TopicStepRequest) -> None:
        for name, step in (
            (StepName.SET_TOPIC_CONFIGS, TopicActivities.set_topic_configs),
            (StepName.ADD_PARTITIONS, TopicActivities.add_partitions),
        ):
            if name in plan.steps:
                await self.pause_point()
                with self.timed(name):
                    await calls.wait(step, request, name)

    async def _reconcile(self, token: Token) -> RunbookResult:
        try:
            plan, as_planned = await self.carry_out(token, await self.prepare(token))
            self._undone = ""
            if StepName.REASSIGN in plan.steps:
                return await self.finish_moves(token, plan, as_planned=as_planned)
            return await self.finish(token, plan, plan.title, copied_bytes=0, as_planned=as_planned)
        except asyncio.CancelledError:
            await self.roll_back_if_asked(token)
            raise
