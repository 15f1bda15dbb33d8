"""`Doctor`: whether a worker reaches a cluster, has the rights that runbooks need, and finds what they count on. Changes nothing.

A workflow like `Preview`: a worker's rights can only be asked for by that worker, which operators reach through Temporal.
"""

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from activities.doctor import DoctorActivities
    from kafka_runbooks.models.diagnosis import Diagnosis, DoctorInput

from workflows import calls


@workflow.defn
class Doctor:
    """What a worker lacks for running runbooks on a cluster. Changes nothing."""

    @workflow.run
    async def run(self, request: DoctorInput) -> Diagnosis:
        """See `DoctorInput`."""
        return await calls.look(DoctorActivities.examine, request, "look at everything that runbooks count on")
