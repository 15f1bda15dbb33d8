"""`PlanOnly` and `PlanMoves`: what `ReplaceBroker`, or a runbook that moves data, would do, and every reason that speaks against
it. Neither changes anything.

A workflow and not a command, for whoever asks can reach Temporal, but often not the Kafka cluster: the worker can. It takes no
permit, so it may run beside a runbook; what it tells is true for the moment of its look.
"""

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from activities.move_plans import PlanningActivities
    from activities.replacement import SurveyActivities
    from kafka_runbooks.models.inputs import ReplaceBrokerInput
    from kafka_runbooks.models.messages import MoveSurvey, Survey
    from kafka_runbooks.models.preview import MovesToPreview, Preview
    from workflows import calls
    from workflows.decommission import EMPTY_STEPS, REMOVE_STEPS
    from workflows.moves import MOVE_STEPS


@workflow.defn
class PlanOnly:
    """See the module."""

    @workflow.run
    async def run(self, request: ReplaceBrokerInput) -> Preview:
        """Look, plan, tell."""
        survey: Survey = await workflow.execute_activity_method(
            SurveyActivities.survey_broker, request, **calls.act("find the broker and every reason not to start")
        )
        plan = None
        if survey.place is not None and survey.nothing_to_do is None:
            plan = await workflow.execute_activity_method(
                SurveyActivities.preview_replacement, args=[request, survey.place], **calls.act("the plan, not kept")
            )
        return Preview(plan=plan, reasons=survey.reasons, notes=survey.notes, nothing_to_do=survey.nothing_to_do)


@workflow.defn
class PlanMoves:
    """See the module."""

    @workflow.run
    async def run(self, asked: MovesToPreview) -> Preview:
        """Look, plan, tell."""
        found: MoveSurvey = await workflow.execute_activity_method(
            PlanningActivities.preview_moves,
            args=[asked.runbook, asked.request],
            **calls.act("the plan, not kept, and every reason not to start"),
        )
        steps: tuple[str, ...] = MOVE_STEPS
        if asked.runbook == "Decommission":
            steps = REMOVE_STEPS if asked.request.get("remove_pods") else EMPTY_STEPS
        plan = found.summary.model_copy(update={"steps": steps}) if found.summary is not None else None
        return Preview(plan=plan, reasons=found.reasons, nothing_to_do=found.nothing_to_do)
