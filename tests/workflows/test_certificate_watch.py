"""`CertificateWatch` on a real Temporal, by its schedule."""

from pathlib import Path

from kafka_runbooks.cli import schedules
from kafka_runbooks.models.certificate_ends import CertificateReport, Urgency
from tests.temporal_env import Bench
from tests.workflows.test_rotate_certificates import Rotations, rotating, world

__all__ = ["rotating", "world"]


async def test_a_look_takes_no_permit_and_says_what_is_due(runbooks: Bench, rotating: Rotations, tmp_path: Path) -> None:
    """The cluster is held by another runbook meanwhile."""
    holder = await rotating.start(wait_for_approval=True)
    rotating.let_expire()
    report = await runbooks.client.execute_workflow(
        "CertificateWatch",
        {"cluster": runbooks.cluster},
        id=schedules.schedule_id(runbooks.cluster, "certificate-watch"),
        task_queue=runbooks.task_queue,
        result_type=CertificateReport,
    )
    assert report.urgency is Urgency.EXPIRED and report.due == 3
    assert "renewal needed now" in report.summary
    await holder.cancel()
