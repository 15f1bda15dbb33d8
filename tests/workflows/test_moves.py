"""The runbooks that move data, on a real Temporal server and a world in memory: every outcome, and what each leaves behind."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from temporalio.client import WorkflowFailureError, WorkflowHandle
from temporalio.exceptions import ApplicationError

from kafka_runbooks.models.cluster import TopicPartition
from kafka_runbooks.models.runbooks import Abort, Approval, Outcome, RunbookResult, Word
from kafka_runbooks.models.status import Status
from kafka_runbooks.workflows.moving import Rebalance
from tests.fakes.world import MEGABYTE, World
from tests.temporal_env import Bench
from tests.workflows.test_replace_broker import nothing_is_left

Handle = WorkflowHandle[Any, RunbookResult]
FAST: dict[str, Any] = {"throttle": {"mode": "fixed", "rate_bytes_per_s": 50_000_000}, "wait_for_approval": False}
SLOW: dict[str, Any] = {"throttle": {"mode": "fixed", "rate_bytes_per_s": 2_000_000}, "wait_for_approval": False}
ME = Word(by="alice", reason="because")


@pytest.fixture
def world() -> World:
    """Two maps of three brokers; on `events` a fourth one that holds nothing, and topics of two replicas, unevenly spread."""
    world = World(advance_at_look=True, step_s=2.0, link_bytes_per_s=100 * MEGABYTE)
    world.add_broker("events", "zone-a")
    world.add_topic("events.a", 8, (1001, 1002), replication_factor=2, minimum_in_sync=1, size_bytes=10 * MEGABYTE)
    world.add_topic("events.b", 8, (1002, 1003), replication_factor=2, minimum_in_sync=1, size_bytes=20 * MEGABYTE)
    world.add_topic("check_runs", 6, (1004, 1005, 1006))
    return world


def assignment(world: World) -> dict[TopicPartition, list[int]]:
    return {name: list(partition.replicas) for name, partition in world.partitions.items()}


def used_bytes(world: World) -> dict[int, int]:
    return {pod.broker_id: sum((world.disk_of(pod.broker_id) or {}).values()) for pod in world.pods.values()}


async def until(handle: Handle, holds: Callable[[Status], bool], seconds: float = 30.0) -> Status:
    async def look() -> Status:
        while True:
            status: Status = await handle.query(Rebalance.status)
            if holds(status):
                return status
            await asyncio.sleep(0.05)

    return await asyncio.wait_for(look(), seconds)


async def failure(handle: Handle) -> RunbookResult:
    with pytest.raises(WorkflowFailureError) as raised:
        await handle.result()
    cause = raised.value.cause
    assert isinstance(cause, ApplicationError), cause
    return RunbookResult.model_validate(cause.details[0])


def holds(result: RunbookResult) -> None:
    assert [check for check in result.checks if not check.holds] == []
    assert result.checks


async def test_rebalance_levels_a_map_and_leaves_nothing(runbooks: Bench) -> None:
    world = runbooks.world
    before = assignment(world)
    result = await (await runbooks.start_runbook("Rebalance", map="events", **FAST)).result()
    assert result.outcome is Outcome.DONE, result.summary
    holds(result)
    used = used_bytes(world)
    events = [used[1001], used[1002], used[1003], used[1007]]
    assert max(events) - min(events) <= 20 * MEGABYTE, events
    assert result.copied_bytes > 0
    assert {name: replicas for name, replicas in assignment(world).items() if name.topic == "check_runs"} == {
        name: replicas for name, replicas in before.items() if name.topic == "check_runs"
    }
    assert not any(
        {1004, 1005, 1006} & set(replicas) for name, replicas in assignment(world).items() if name.topic != "check_runs"
    )
    nothing_is_left(world)
    again = await (await runbooks.start_runbook("Rebalance", map="events", **FAST)).result()
    assert again.outcome is Outcome.NOTHING_TO_DO


async def test_the_plan_waits_at_the_gate_with_its_what_if(runbooks: Bench) -> None:
    before = assignment(runbooks.world)
    handle = await runbooks.start_runbook("Rebalance", wait_for_approval=True)
    status = await until(handle, lambda status: status.phase == "gate" and status.waiting is not None)
    plan = status.plan
    assert plan is not None and plan.__class__.__name__ == "MoveSummary"
    assert assignment(runbooks.world) == before and runbooks.world.rates == {}
    await handle.execute_update(Rebalance.reject, ME)
    assert (await failure(handle)).outcome is Outcome.REJECTED
    assert assignment(runbooks.world) == before
    nothing_is_left(runbooks.world)
