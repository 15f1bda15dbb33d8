"""`Preview`: what a runbook would do now, and every reason not to start it. Changes nothing.

It is a workflow since operators can reach Temporal, but often not the Kafka cluster, which the worker can. It takes no permit, so
it may run beside a runbook; its report is valid for the moment of its observation.
"""

from temporalio import workflow
from temporalio.exceptions import ApplicationError

with workflow.unsafe.imports_passed_through():
    from kafka_runbooks.catalogue import RUNBOOKS, command_name
    from kafka_runbooks.models.messages import PreviewRequest, Survey

from workflows import calls


@workflow.defn
class Preview:
    """What a runbook would do now. Changes nothing."""

    @workflow.run
    async def run(self, asked: PreviewRequest) -> Survey:
        """Observe, plan, report.

        Raises:
            ApplicationError: no runbook of that name has a plan.
            pydantic.ValidationError: the input is wrong; fails the workflow.
        """
        runbook = RUNBOOKS.get(asked.runbook)
        if runbook is None or runbook.plan is None:
            known = ", ".join(name for name, entry in RUNBOOKS.items() if entry.plan is not None)
            raise ApplicationError(f"runbook: {asked.runbook!r} has no plan; these have: {known}", non_retryable=True)
        return await calls.preview(plan_activity(asked.runbook), runbook.input.model_validate(asked.request))


def plan_activity(runbook: str) -> str:
    """The name of the activity that plans a runbook: `plan_scale_up` for `ScaleUp`."""
    return "plan_" + command_name(runbook).replace("-", "_")
