"""A worker's slots: runs that wait take none, so the run that holds the cluster goes on, and an operator is always obeyed."""

import asyncio
from collections.abc import AsyncIterator

import pytest_asyncio
from temporalio.client import WorkflowExecutionStatus
from temporalio.testing import WorkflowEnvironment

from kafka_runbooks.models.operator import Abort, Override
from kafka_runbooks.models.results import Outcome
from tests.fakes.world import MEGABYTE, World
from tests.temporal_env import Bench, bench
from tests.workflows.test_replace_broker import SLOW, Handle, failure, lose, nothing_is_left, until, waits
from workflows.replace_broker import ReplaceBroker

SLOTS = 3


@pytest_asyncio.fixture
async def small_worker(server: WorkflowEnvironment, world: World) -> AsyncIterator[Bench]:
    async with bench(server, world, slots=SLOTS) as ready:
        yield ready


async def wait_in_line(runbooks: Bench) -> list[Handle]:
    waiting = [await runbooks.start(when_busy="wait", join=False, broker_id=1002 + number % 2) for number in range(2 * SLOTS)]
    for handle in waiting:
        await until(handle, lambda status: status.waiting is not None and "holds cluster" in status.waiting.reason)
    return waiting


async def test_the_holder_goes_on_while_others_wait_in_line(small_worker: Bench) -> None:
    """More of them than slots, and more than the holder's own wait for its node."""
    world = small_worker.world
    lose(world)
    holder = await small_worker.start(**SLOW)
    await until(holder, lambda status: status.step == "choose a node" and waits(status))
    waiting = await wait_in_line(small_worker)
    world.add_node("spare", "zone-a", "events")
    await until(holder, lambda status: status.step == "follow the catch-up")
    fast = Override(rate_bytes_per_s=90 * MEGABYTE, by="ana", reason="the night is over")
    await asyncio.wait_for(holder.execute_update(ReplaceBroker.set_throttle, fast), 10)
    assert (await asyncio.wait_for(holder.result(), 30)).outcome is Outcome.DONE
    for handle in waiting:
        await handle.cancel()
    for handle in waiting:
        while (await handle.describe()).status == WorkflowExecutionStatus.RUNNING:
            await asyncio.sleep(0.1)
    nothing_is_left(world)


async def test_the_holder_is_aborted_while_others_wait_in_line(small_worker: Bench) -> None:
    world = small_worker.world
    lose(world)
    world.add_node("spare", "zone-a", "events")
    holder = await small_worker.start(**SLOW)
    await until(holder, lambda status: status.step == "follow the catch-up" and status.progress is not None)
    waiting = await wait_in_line(small_worker)
    await holder.execute_update(ReplaceBroker.abort, Abort(by="ana", reason="enough"))
    assert (await asyncio.wait_for(failure(holder), 20)).outcome is Outcome.ABORTED
    for handle in waiting:
        await handle.terminate("for the test")


async def test_one_that_waits_in_line_is_cancelled_between_two_looks(small_worker: Bench) -> None:
    lose(small_worker.world)
    holder = await small_worker.start()
    await until(holder, lambda status: status.phase == "steps")
    second = await small_worker.start(when_busy="wait")
    await until(second, waits)
    for _ in range(100):
        pending = (await second.describe()).raw_description.pending_activities
        if pending and pending[0].attempt > 2:
            break
        await asyncio.sleep(0.05)
    await second.cancel()
    await asyncio.wait_for(failure_of_any_kind(second), 5)
    assert (await second.describe()).status == WorkflowExecutionStatus.CANCELED
    history = await second.fetch_history()
    assert len(history.events) < 60, "its looks are not in its history"
    await holder.terminate("for the test")


async def failure_of_any_kind(handle: Handle) -> None:
    while (await handle.describe()).status == WorkflowExecutionStatus.RUNNING:
        await asyncio.sleep(0.05)
