"""Schedules on a real Temporal: applied twice, edited by hand between, and beside those of others."""

import asyncio
import uuid
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from temporalio.client import (
    Client,
    Schedule,
    ScheduleActionStartWorkflow,
    ScheduleIntervalSpec,
    ScheduleSpec,
    ScheduleUpdate,
    ScheduleUpdateInput,
)

from kafka_runbooks.runs.validation import BadInput
from kafka_runbooks.schedules import applying
from kafka_runbooks.schedules.file import SchedulesFile, read
from tests.temporal_env import start_server

pytestmark = pytest.mark.server
EXAMPLE = Path(__file__).parents[2] / "deploy" / "schedules.yaml"
QUEUE = "nobody-works"


@pytest.fixture(scope="module")
async def client() -> AsyncIterator[Client]:
    async with await start_server() as environment:
        yield environment.client


@pytest.fixture
def declared() -> SchedulesFile:
    """The example, under names of this test's own."""
    example, own = read(EXAMPLE), uuid.uuid4().hex[:8]
    schedules = {f"{own}/{name}": entry for name, entry in example.schedules.items()}
    return SchedulesFile(owner=own, schedules=schedules)


async def apply(client: Client, file: SchedulesFile) -> dict[str, str]:
    return {one.id.rpartition("/")[2]: one.action for one in await applying.apply(client, file, QUEUE)}


async def edit(client: Client, name: str, change: Any) -> None:
    def changed(now: ScheduleUpdateInput) -> ScheduleUpdate:
        return ScheduleUpdate(change(now.description.schedule))

    await client.get_schedule_handle(name).update(changed)


async def test_a_second_time_nothing_is_done_and_what_somebody_edits_is_put_back(client: Client, declared: SchedulesFile) -> None:
    health, balance = (name for end in ("health", "balance") for name in declared.schedules if name.endswith(end))
    made = await apply(client, declared)
    assert made == dict.fromkeys(("clear-leftovers", "health", "certificates", "topics", "balance"), "create")
    assert await applying.differences(client, declared, QUEUE) == []
    await client.get_schedule_handle(balance).pause(note="not this week")
    assert [one.id for one in await applying.differences(client, declared, QUEUE)] == [balance], "the note is declared"
    hourly = [ScheduleIntervalSpec(every=timedelta(hours=1))]
    await edit(client, health, lambda one: replace(one, spec=replace(one.spec, intervals=hourly)))
    await edit(client, balance, lambda one: replace(one, spec=replace(one.spec, skip=[])))
    found = {one.id: one for one in await applying.differences(client, declared, QUEUE)}
    assert set(found) == {health, balance}
    (line,) = found[health].fields
    assert line.startswith("every: is") and "1:00:00" in line and "0:10:00" in line
    assert any("outside of the window" in line for line in found[balance].fields)
    assert not any("paused" in line for line in found[balance].fields)
    assert await apply(client, declared) == {"health": "update", "balance": "update"}
    assert await applying.differences(client, declared, QUEUE) == []
    assert (await client.get_schedule_handle(balance).describe()).schedule.state.paused, "that was somebody's decision"
    await applying.delete(client, declared.owner)


async def test_a_declared_pause_is_kept(client: Client, declared: SchedulesFile) -> None:
    name, entry = next(iter(declared.schedules.items()))
    file = SchedulesFile(owner=declared.owner, schedules={name: entry.model_copy(update={"paused": True})})
    await apply(client, file)
    await client.get_schedule_handle(name).unpause()
    (found,) = await applying.differences(client, file, QUEUE)
    assert "paused: is false, becomes true" in found.fields
    await applying.delete(client, declared.owner)


async def test_what_is_not_in_the_file_any_more_goes_and_others_stay(client: Client, declared: SchedulesFile) -> None:
    theirs = SchedulesFile(
        owner=f"{declared.owner}-other", schedules={f"{name}-2": one for name, one in declared.schedules.items()}
    )
    own = f"{declared.owner}/somebody"
    action = ScheduleActionStartWorkflow("Anything", id=own, task_queue=QUEUE)
    await client.create_schedule(own, Schedule(action=action, spec=ScheduleSpec()))
    await apply(client, theirs)
    await apply(client, declared)
    first = next(iter(declared.schedules))
    fewer = SchedulesFile(owner=declared.owner, schedules={first: declared.schedules[first]})
    async with asyncio.timeout(20):  # The list lags behind.
        while len(await applying.differences(client, fewer, QUEUE)) < 3:
            await asyncio.sleep(0.2)
    assert set((await apply(client, fewer)).values()) == {"delete"}
    assert await applying.differences(client, theirs, QUEUE) == []
    taken = SchedulesFile(
        owner=declared.owner, schedules={own: declared.schedules[first], f"{own}-new": declared.schedules[first]}
    )
    with pytest.raises(BadInput, match=rf"schedules\.{own}: there is a schedule of this ID already, and it is somebody's own"):
        await applying.apply(client, taken, QUEUE)
    async with asyncio.timeout(20):
        while {one.id async for one in await client.list_schedules()} != {own, first, *theirs.schedules}:
            await asyncio.sleep(0.2)
    for owner in (declared.owner, theirs.owner):
        await applying.delete(client, owner)
    await client.get_schedule_handle(own).delete()
