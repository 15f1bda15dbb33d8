"""`CertificateWatch`: when the certificates of a cluster end, which have to be renewed, and a run that does it, if asked for.

For a schedule. Like `Preview` it takes no permit, so it looks on time whatever runbook holds the cluster. The renewal is a run
of its own, which takes the permit like any other.
"""

from temporalio import workflow
from temporalio.common import WorkflowIDReusePolicy
from temporalio.exceptions import WorkflowAlreadyStartedError

with workflow.unsafe.imports_passed_through():
    from activities.certificate_watch import CertificateWatchActivities
    from kafka_runbooks.catalogue import summary
    from kafka_runbooks.models.certificate_ends import CertificateReport, DueRotation, Urgency
    from kafka_runbooks.models.inputs import CertificateWatchInput, RotateCertificatesInput
    from kafka_runbooks.safety import certificate_ends

from workflows import calls
from workflows.rotate_certificates import RotateCertificates


@workflow.defn
class CertificateWatch:
    """When certificates end, which have to be renewed, and a run that does it, if that is asked for."""

    @workflow.run
    async def run(self, request: CertificateWatchInput) -> CertificateReport:
        """See `CertificateWatchInput`."""
        look = CertificateWatchActivities.look_at_certificates
        report = await calls.look(look, request, "see every certificate")
        if request.when_due != "report" and report.rotation is not None:
            report = await _with_renewal(request, report, report.rotation)
        workflow.set_current_details(report.summary)
        return certificate_ends.since(workflow.get_last_completion_result(CertificateReport), report)


async def _with_renewal(request: CertificateWatchInput, report: CertificateReport, due: DueRotation) -> CertificateReport:
    """Start a renewal: one a day, whatever becomes of it, and with every look once half of the margin is gone."""
    now = workflow.now()
    when = f"{now:%Y-%m-%dT%H-%M}" if due.urgency.rank >= Urgency.URGENT.rank else f"{now:%Y-%m-%d}"
    workflow_id = f"{request.cluster}/certificate-watch/renewal-{when}"
    asked = RotateCertificatesInput(
        cluster=request.cluster,
        requester="certificate-watch",
        reason=report.summary[:500],
        mode="renew",
        ending_within_days=due.ending_within_days,
        wait_for_approval=request.when_due == "ask",
        when_busy="skip",  # A proposal isn't to hold the cluster against an incident.
    )
    try:
        await workflow.start_child_workflow(
            RotateCertificates.run,
            asked,
            id=workflow_id,
            id_reuse_policy=WorkflowIDReusePolicy.REJECT_DUPLICATE,
            parent_close_policy=workflow.ParentClosePolicy.ABANDON,
            static_summary=summary("RotateCertificates", request.cluster, asked.requester),
        )
        said = f"started {workflow_id}"
    except WorkflowAlreadyStartedError:
        said = f"{workflow_id} was started before"
    return report.model_copy(update={"started": workflow_id, "summary": f"{report.summary}; {said}"})
