"""`HealthCheck`: what is wrong with a cluster now, for a schedule. Changes nothing, and takes no permit.

What people don't know of it yet is in the result, which `worker.run_watch` sends and the schedule's next look reads.
"""

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from activities.health import HealthActivities
    from kafka_runbooks.models.health import HealthReport
    from kafka_runbooks.models.inputs import HealthCheckInput
    from kafka_runbooks.safety import health

from workflows import calls


@workflow.defn
class HealthCheck:
    """What is wrong with a cluster now. Changes nothing."""

    @workflow.run
    async def run(self, request: HealthCheckInput) -> HealthReport:
        """See `HealthCheckInput`."""
        found = await calls.look(HealthActivities.check_health, request, "look for what is wrong")
        report = health.since(workflow.get_last_completion_result(HealthReport), found)
        workflow.set_current_details(report.summary)
        return report
