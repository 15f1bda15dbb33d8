"""The throttle in an operator's hands, recovery that nothing moves, and the schedule of ClearLeftovers."""

import asyncio
import uuid
from datetime import UTC, datetime, timedelta

import pytest
from temporalio.client import WorkflowFailureError, WorkflowUpdateFailedError

from activities import ledgers
from kafka_runbooks.clients import store
from kafka_runbooks.models.cluster import ThrottleRates
from kafka_runbooks.models.ledger import Ledger, Owner, RateLease
from kafka_runbooks.models.operator import Abort, ClearThrottle, OperatorAction, Override
from kafka_runbooks.models.results import Outcome
from kafka_runbooks.schedules import applying
from kafka_runbooks.schedules.file import SchedulesFile
from tests.fakes.kubernetes import FakeKubernetes
from tests.fakes.world import World
from tests.temporal_env import Bench
from tests.workflows.test_replace_broker import SLOW, lose, nothing_is_left, until, waits
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
    asked = {"cluster": runbooks.cluster, "only_expired": True}
    entry = {"runbook": "clear-leftovers", "every": "1h", "input": asked}
    name = f"{runbooks.cluster}/clear-leftovers"
    file = SchedulesFile.model_validate({"owner": runbooks.cluster, "schedules": {name: entry}})
    await applying.apply(runbooks.client, file, runbooks.task_queue)
    try:
        await runbooks.client.get_schedule_handle(name).trigger()
        async with asyncio.timeout(20):
            while ledgers.name_of(gone) in world.records:
                await asyncio.sleep(0.1)
    finally:
        await applying.delete(runbooks.client, runbooks.cluster)
    assert world.rates[1002].leader_bytes_per_s is None and world.rates[1003].leader_bytes_per_s == MEGABYTE
    assert [name for name, (kind, _) in world.records.items() if kind == "ledger"] == [ledgers.name_of(recent)]


ADAPT = {"throttle": {"mode": "adapt", "floor_bytes_per_s": MEGABYTE, "ceiling_bytes_per_s": 9 * MEGABYTE}}


async def halved(world: World, broker_id: int) -> None:
    """Clients' requests become slow: the guard takes less."""
    before = world.rates[broker_id].leader_bytes_per_s
    assert before is not None and before > 1.5 * MEGABYTE
    world.produce_p99_ms = dict.fromkeys((1001, 1002, 1003), 5_000.0)
    async with asyncio.timeout(15):
        while (world.rates[broker_id].leader_bytes_per_s or 0) > before / 2:
            await asyncio.sleep(0.05)


async def test_a_rate_set_by_hand_in_a_pause_takes_effect_in_it(runbooks: Bench) -> None:
    world = runbooks.world
    handle = await runbooks.start(replacement_broker_id=1004, **SLOW)
    await until(handle, lambda status: status.step == "reassign partitions" and status.progress is not None)
    await handle.execute_update(ReplaceBroker.pause, OperatorAction(by="ana", reason="noon"))
    await until(handle, lambda status: status.waiting is not None and "paused" in status.waiting.reason)
    await handle.execute_update(
        ReplaceBroker.set_throttle, Override(rate_bytes_per_s=500_000, by="ana", reason="clients are slow")
    )
    async with asyncio.timeout(15):
        while {world.rates[one].leader_bytes_per_s for one in (1001, 1002, 1003) if one in world.rates} != {500_000}:
            await asyncio.sleep(0.05)
    await handle.execute_update(ReplaceBroker.clear_throttle, ClearThrottle(by="ana", reason="over"))
    await handle.execute_update(ReplaceBroker.abort, Abort(by="ana", reason="enough"))
    with pytest.raises(WorkflowFailureError):
        await handle.result()
    nothing_is_left(world)


async def test_the_guard_of_clients_request_times_goes_on_in_a_pause(runbooks: Bench) -> None:
    world = runbooks.world
    handle = await runbooks.start(replacement_broker_id=1004, **ADAPT)
    async with asyncio.timeout(20):
        while max((rates.leader_bytes_per_s or 0 for rates in world.rates.values()), default=0) < 3 * MEGABYTE:
            await asyncio.sleep(0.05)
    await handle.execute_update(ReplaceBroker.pause, OperatorAction(by="ana", reason="noon"))
    await until(handle, lambda status: status.waiting is not None and "paused" in status.waiting.reason)
    fastest = max(world.rates, key=lambda broker: world.rates[broker].leader_bytes_per_s or 0)
    await halved(world, fastest)
    await handle.execute_update(ReplaceBroker.abort, Abort(by="ana", reason="enough"))
    with pytest.raises(WorkflowFailureError):
        await handle.result()
    nothing_is_left(world)


async def test_no_lease_is_taken_while_a_node_is_waited_for(runbooks: Bench) -> None:
    """A tenth of the floor for hours would keep every other follower of these partitions from catching up."""
    world = runbooks.world
    lose(world)
    handle = await runbooks.start(**ADAPT)
    await until(handle, lambda status: status.step == "choose a node" and waits(status))
    assert all(rates.leader_bytes_per_s is None for rates in world.rates.values())
    assert all(not lists.leader for lists in world.lists.values())
    world.add_node("spare", "zone-a", "events")
    assert (await handle.result()).outcome is Outcome.DONE
    nothing_is_left(world)
