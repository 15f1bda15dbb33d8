"""`HealthCheck`: what is wrong with a cluster now, for a schedule. Changes nothing, and takes no permit."""

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from activities.health import HealthActivities
    from kafka_runbooks.models.health import HealthReport
    from kafka_runbooks.models.inputs import HealthCheckInput

from workflows import calls


@workflow.defn
class HealthCheck:
    """What is wrong with a cluster now. Changes nothing."""

    @workflow.run
    async def run(self, request: HealthCheckInput) -> HealthReport:
        """See `HealthCheckInput`."""
        report = await calls.look(HealthActivities.check_health, request, "look for what is wrong")
        workflow.set_current_details(report.summary)
        return report
