"""`CertificateWatch`: when the certificates of a cluster end, and which have to be renewed. Changes nothing.

For a schedule. Like `Preview` it takes no permit, so it looks on time whatever runbook holds the cluster.
"""

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from activities.certificate_watch import CertificateWatchActivities
    from kafka_runbooks.models.certificate_ends import CertificateReport
    from kafka_runbooks.models.inputs import CertificateWatchInput

from workflows import calls


@workflow.defn
class CertificateWatch:
    """When certificates end, and which have to be renewed. Changes nothing."""

    @workflow.run
    async def run(self, request: CertificateWatchInput) -> CertificateReport:
        """See `CertificateWatchInput`."""
        look = CertificateWatchActivities.look_at_certificates
        report = await calls.look(look, request, "see every certificate")
        workflow.set_current_details(report.summary)
        return report
