"""Runs that a schedule starts give way to a person's, and a look at a cluster's health."""

import asyncio

import pytest
from temporalio.client import WorkflowExecutionStatus

from kafka_runbooks.models.health import HealthReport
from kafka_runbooks.models.inputs import HealthCheckInput
from kafka_runbooks.models.operator import Approval
from kafka_runbooks.models.results import Outcome
from tests.temporal_env import Bench
from tests.workflows.test_replace_broker import failure, lose, until, waits
from workflows.health_check import HealthCheck
from workflows.replace_broker import ReplaceBroker

YES = Approval(by="alice", reason="because")


@pytest.mark.parametrize("when_busy", ["fail", "wait"])
async def test_a_scheduled_run_at_its_gate_gives_way_to_a_person_s(runbooks: Bench, when_busy: str) -> None:
    scheduled = await runbooks.start_runbook("EvacuateLeaders", when_busy="skip", brokers=[1002])
    await until(scheduled, waits, 30)
    lose(runbooks.world)
    runbooks.world.add_node("spare", "zone-a", "events")
    person = await runbooks.start(when_busy=when_busy, node_is_gone=True)
    result = await asyncio.wait_for(scheduled.result(), 30)
    assert result.outcome is Outcome.SKIPPED and f"gave way to {person.id}" in result.summary
    assert (await asyncio.wait_for(person.result(), 60)).outcome is Outcome.DONE


async def test_two_scheduled_runs_do_not_chase_each_other(runbooks: Bench) -> None:
    first = await runbooks.start_runbook("EvacuateLeaders", when_busy="skip", brokers=[1002])
    await until(first, waits, 30)
    second = await (await runbooks.start_runbook("EvacuateLeaders", when_busy="skip", brokers=[1003])).result()
    assert second.outcome is Outcome.SKIPPED and f"{first.id} holds cluster" in second.summary
    await first.execute_update(ReplaceBroker.approve, YES)
    assert (await first.result()).outcome is Outcome.DONE


async def test_a_person_s_run_that_is_to_fail_when_busy_does_not_wait_for_another_that_was_faster(runbooks: Bench) -> None:
    """Both ask a scheduled run to give way; one of them holds the cluster then, at a gate."""
    scheduled = await runbooks.start_runbook("EvacuateLeaders", when_busy="skip", brokers=[1002])
    await until(scheduled, waits, 30)
    two = [await runbooks.start_runbook("EvacuateLeaders", brokers=[broker]) for broker in (1001, 1003)]
    ended, _ = await asyncio.wait([asyncio.create_task(one.result()) for one in two], timeout=30, return_when="FIRST_COMPLETED")
    assert len(ended) == 1 and (await scheduled.result()).outcome is Outcome.SKIPPED
    (held,) = [one for one in two if (await one.describe()).status == WorkflowExecutionStatus.RUNNING]
    await until(held, waits, 30)
    await held.execute_update(ReplaceBroker.approve, YES)
    assert (await held.result()).outcome is Outcome.DONE
    assert (ended.pop().exception()) is not None


async def test_what_was_approved_or_asked_for_by_a_person_does_not_give_way(runbooks: Bench) -> None:
    holder = await runbooks.start_runbook("EvacuateLeaders", brokers=[1002])
    await until(holder, waits, 30)
    assert (await failure(await runbooks.start_runbook("EvacuateLeaders", brokers=[1003]))).outcome is Outcome.BUSY
    await holder.execute_update(ReplaceBroker.approve, YES)
    assert (await holder.result()).outcome is Outcome.DONE


async def test_health_is_told_the_worst_first(runbooks: Bench) -> None:
    async def look() -> HealthReport:
        asked = HealthCheckInput(cluster=runbooks.cluster)
        id = f"{runbooks.cluster}/health"
        return await runbooks.client.execute_workflow(HealthCheck.run, asked, id=id, task_queue=runbooks.task_queue)

    assert await look() == HealthReport(cluster=runbooks.cluster, is_healthy=True, summary="nothing is wrong")
    lose(runbooks.world)
    runbooks.world.advance(5)
    found = await look()
    assert not found.is_healthy and found.summary.startswith("brokers 1001 are down; 24 partitions have a replica there")
    runbooks.world.is_kafka_away = True
    away = await look()
    assert not away.is_healthy and away.found, "that Kafka doesn't answer is the worst of it, and no failure of the look"
