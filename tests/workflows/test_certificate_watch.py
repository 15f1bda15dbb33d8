"""`CertificateWatch` on a real Temporal, by its schedule."""

import asyncio
from pathlib import Path

import pytest

from kafka_runbooks.models.certificate_ends import CertificateReport, Urgency
from kafka_runbooks.models.inputs import CertificateWatchInput
from kafka_runbooks.models.results import Outcome, RunbookResult
from tests.temporal_env import Bench
from tests.workflows.test_replace_broker import until
from tests.workflows.test_rolling_restart import is_done
from tests.workflows.test_rotate_certificates import YES, Rotations, rotating, world
from workflows.certificate_watch import CertificateWatch
from workflows.rotate_certificates import RotateCertificates

__all__ = ["rotating", "world"]


async def test_a_look_takes_no_permit_and_says_what_is_due(runbooks: Bench, rotating: Rotations, tmp_path: Path) -> None:
    """The cluster is held by another runbook meanwhile."""
    holder = await rotating.start(wait_for_approval=True)
    rotating.let_expire()
    report = await runbooks.client.execute_workflow(
        "CertificateWatch",
        {"cluster": runbooks.cluster},
        id=f"{runbooks.cluster}/certificate-watch",
        task_queue=runbooks.task_queue,
        result_type=CertificateReport,
    )
    assert report.urgency is Urgency.EXPIRED and report.due == 3
    assert "renewal needed now" in report.summary
    await holder.cancel()


@pytest.mark.parametrize("when_due", ["report", "ask", "renew"])
async def test_what_is_due_is_renewed_once_if_that_is_asked_for(runbooks: Bench, rotating: Rotations, when_due: str) -> None:
    rotating.let_end_in(10)
    ends = set(rotating.served().items())

    async def look() -> CertificateReport:
        return await runbooks.client.execute_workflow(
            CertificateWatch.run,
            CertificateWatchInput.model_validate({"cluster": runbooks.cluster, "when_due": when_due}),
            id=f"{runbooks.cluster}/certificate-watch",
            task_queue=runbooks.task_queue,
        )

    report = await look()
    assert report.urgency is Urgency.DUE
    if when_due == "report":
        assert report.started is None and "started" not in report.summary
        return
    assert report.started is not None
    run = runbooks.client.get_workflow_handle(report.started, result_type=RunbookResult)
    if when_due == "ask":
        await until(run, lambda status: status.phase == "gate" and status.waiting is not None, 60)
        again = await look()
        assert again.started == report.started and "was started before" in again.summary
        assert set(rotating.served().items()) == ends, "nothing has changed yet"
        await run.execute_update(RotateCertificates.approve, YES)
    is_done(await run.result())
    assert not set(rotating.served().items()) & ends
    assert (await look()).rotation is None


async def test_a_renewal_that_is_proposed_gives_way_to_a_person_s_run(runbooks: Bench, rotating: Rotations) -> None:
    rotating.let_end_in(10)
    ends = rotating.served()
    report = await runbooks.client.execute_workflow(
        CertificateWatch.run,
        CertificateWatchInput(cluster=runbooks.cluster, when_due="ask"),
        id=f"{runbooks.cluster}/certificate-watch",
        task_queue=runbooks.task_queue,
    )
    assert report.started is not None
    renewal = runbooks.client.get_workflow_handle(report.started, result_type=RunbookResult)
    await until(renewal, lambda status: status.phase == "gate" and status.waiting is not None, 60)
    person = await runbooks.start_runbook("EvacuateLeaders", brokers=[1002], wait_for_approval=False)
    result = await asyncio.wait_for(renewal.result(), 30)
    assert result.outcome is Outcome.SKIPPED and f"gave way to {person.id}" in result.summary
    is_done(await asyncio.wait_for(person.result(), 60))
    assert rotating.served() == ends, "nothing was renewed"
