"""The throttle in an operator's hands, recovery that nothing moves, and the schedule of ClearLeftovers."""

import asyncio
import uuid
from datetime import UTC, datetime, timedelta

import pytest
from temporalio.client import WorkflowUpdateFailedError

from activities import ledgers
from kafka_runbooks.cli import schedules
from kafka_runbooks.clients import store
from kafka_runbooks.models.cluster import ThrottleRates
from kafka_runbooks.models.ledger import Ledger, Owner, RateLease
from kafka_runbooks.models.operator import ClearThrottle, Override
from kafka_runbooks.models.results import Outcome
from tests.fakes.kubernetes import FakeKubernetes
from tests.temporal_env import Bench
from tests.workflows.test_replace_broker import SLOW, lose, nothing_is_left, until
from workflows.replace_broker import ReplaceBroker

MEGABYTE = 1_000_000


async def test_a_rate_set_by_hand_holds_until_it_is_cleared(runbooks: Bench) -> None:
    world = runbooks.world
    lose(world)
    world.add_node("spare", "zone-a", "events")
    handle = await runbooks.start(**SLOW)
    await until(handle, lambda status: status.step == "follow the catch-up" and status.progress is not None)
    override = Override(rate_bytes_per_s=7 * MEGABYTE, broker_id=1002, by="ana", reason="checks lag")
    status = await handle.execute_update(ReplaceBroker.set_throttle, override)
    assert [decision.action for decision in status.decisions] == ["throttle set"]
    async with asyncio.timeout(10):
        while world.rates[1002].leader_bytes_per_s != 7 * MEGABYTE:
            await asyncio.sleep(0.05)
    assert world.rates[1003].leader_bytes_per_s == 1 * MEGABYTE
    await handle.execute_update(ReplaceBroker.clear_throttle, ClearThrottle(broker_id=1002, by="ana", reason="over"))
    async with asyncio.timeout(10):
        while world.rates[1002].leader_bytes_per_s != 1 * MEGABYTE:
            await asyncio.sleep(0.05)
    result = await handle.result()
    assert result.outcome is Outcome.DONE
    nothing_is_left(world)
    assert not [name for name, (kind, _) in world.records.items() if kind == "overrides"]


async def test_a_rate_that_has_ended_already_is_refused(runbooks: Bench) -> None:
    world = runbooks.world
    lose(world)
    handle = await runbooks.start()
    await until(handle, lambda status: status.phase == "steps")
    over = Override(rate_bytes_per_s=MEGABYTE, by="ana", reason="late", expires_at=datetime.now(UTC) - timedelta(minutes=1))
    with pytest.raises(WorkflowUpdateFailedError) as raised:
        await handle.execute_update(ReplaceBroker.set_throttle, over)
    assert "which is over" in str(raised.value.cause)
    world.add_node("spare", "zone-a", "events")
    await handle.result()


async def test_recovery_that_nothing_moves_is_throttled_until_it_is_in_sync(runbooks: Bench) -> None:
    world = runbooks.world
    node = lose(world)
    world.advance(5)
    seen: set[int | None] = set()
    world.after_act = lambda name: seen.update({world.rates[1002].leader_bytes_per_s} if 1002 in world.rates else set())
    handle = await runbooks.start_runbook(
        "ThrottleRecovery", brokers=[1001], throttle={"mode": "fixed", "rate_bytes_per_s": MEGABYTE}
    )
    await until(handle, lambda status: status.progress is not None)
    world.restore_node(node)
    result = await handle.result()
    assert result.outcome is Outcome.DONE and "in sync" in result.summary
    assert MEGABYTE in seen
    nothing_is_left(world)


async def test_the_schedule_clears_what_is_past_its_lease_and_only_that(runbooks: Bench) -> None:
    world = runbooks.world
    kubernetes = FakeKubernetes(world)
    gone, recent = str(uuid.uuid4()), str(uuid.uuid4())
    for run, broker, age in ((gone, 1002, timedelta(hours=1)), (recent, 1003, timedelta(minutes=-20))):
        ours = ThrottleRates(leader_bytes_per_s=MEGABYTE)
        world.rates[broker] = ours
        owner = Owner(workflow_id="terminated", run_id=run, expires_at=datetime.now(UTC) - age)
        lease = RateLease(previous=ThrottleRates(), ours=ours)
        ledger = Ledger(owner=owner, cluster=runbooks.cluster, rates={broker: lease})
        store.save(kubernetes, store.LEDGER, ledgers.name_of(run), ledger, "test")
    await schedules.schedule_clear_leftovers(runbooks.client, runbooks.cluster, runbooks.task_queue, timedelta(hours=1))
    await schedules.schedule_clear_leftovers(runbooks.client, runbooks.cluster, runbooks.task_queue, timedelta(hours=2))
    schedule = runbooks.client.get_schedule_handle(schedules.schedule_id(runbooks.cluster))
    try:
        await schedule.trigger()
        async with asyncio.timeout(20):
            while ledgers.name_of(gone) in world.records:
                await asyncio.sleep(0.1)
        described = await schedule.describe()
        assert described.schedule.spec.intervals[0].every == timedelta(hours=2)
    finally:
        await schedule.delete()
    assert world.rates[1002].leader_bytes_per_s is None and world.rates[1003].leader_bytes_per_s == MEGABYTE
    assert [name for name, (kind, _) in world.records.items() if kind == "ledger"] == [ledgers.name_of(recent)]
