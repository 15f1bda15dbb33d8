"""Moves on clusters that aren't tidy: the controller refuses one, a topic is made again under its name, a broker is silent."""

from typing import Any

import pytest

from kafka_runbooks.models.cluster import ThrottledReplicas, TopicPartition
from kafka_runbooks.models.results import Outcome
from kafka_runbooks.models.status import Status
from tests.fakes.world import MEGABYTE, World
from tests.temporal_env import Bench
from tests.workflows.test_moves import FAST, SLOW, assignment, holds, moving, until
from tests.workflows.test_replace_broker import nothing_is_left

FIRST = TopicPartition("events.a", 0)


@pytest.fixture
def world() -> World:
    world = World(advance_at_look=True, step_s=2.0, link_bytes_per_s=100 * MEGABYTE)
    world.add_broker("events", "zone-a")
    world.add_topic("events.a", 4, (1001, 1002), replication_factor=2, minimum_in_sync=1, size_bytes=10 * MEGABYTE)
    world.add_topic("events.b", 2, (1002, 1003), replication_factor=2, minimum_in_sync=1, size_bytes=20 * MEGABYTE)
    return world


def plan(*topics: str, partitions: int = 2) -> dict[str, Any]:
    """Onto 1007 and 1003."""
    wanted = [{"topic": topic, "partition": number, "replicas": [1007, 1003]} for topic in topics for number in range(partitions)]
    return {"plan": {"partitions": wanted}}


async def test_one_refused_partition_is_shown_and_the_others_go_on(runbooks: Bench) -> None:
    """The whole run stood still: nine attempts, no progress, and no reason to be seen."""
    world = runbooks.world
    world.always_refused[FIRST] = "PolicyViolationError: not this one"

    def shown(status: Status) -> bool:
        reason = status.waiting.reason if status.waiting is not None else ""
        return "not this one" in reason and status.progress is not None and status.progress.done_partitions == 1

    handle = await runbooks.start_runbook("RunPlan", **plan("events.a"), **FAST)
    await until(handle, shown)
    world.always_refused.clear()
    result = await handle.result()
    assert result.outcome is Outcome.DONE, result.summary
    holds(result)
    nothing_is_left(world)


async def test_a_topic_that_is_made_again_under_its_name_is_another_one(runbooks: Bench) -> None:
    """The old plan moved the new topic's partitions, and the run was done with bytes that nobody had copied."""
    world = runbooks.world
    handle = await runbooks.start_runbook("RunPlan", **plan("events.a", "events.b"), **SLOW)
    await moving(handle)
    world.delete_topic("events.a")
    world.add_topic("events.a", 4, (1001, 1002), replication_factor=2, minimum_in_sync=1, size_bytes=MEGABYTE)
    before = {name: replicas for name, replicas in assignment(world).items() if name.topic == "events.a"}
    result = await handle.result()
    assert result.outcome is Outcome.DONE, result.summary
    assert {name: replicas for name, replicas in assignment(world).items() if name.topic == "events.a"} == before
    assert world.lists["events.a"] == ThrottledReplicas()
    assert "2 partitions" in result.summary and "gone or new since the plan: events.a-0, events.a-1" in result.summary
    (check,) = [check for check in result.checks if check.name == "replicas as planned"]
    assert check.detail.startswith("2 of 2 partitions; gone or new since the plan")
    assert result.copied_bytes < 120 * MEGABYTE, "what was planned for the topic that is gone was not copied"
    holds(result)
    nothing_is_left(world)


async def test_a_silent_broker_is_named_with_the_moves_that_wait_for_it(runbooks: Bench) -> None:
    world = runbooks.world
    world.frozen.add(1003)
    handle = await runbooks.start_runbook("RunPlan", **plan("events.a"), **SLOW)
    await moving(handle, 0)
    world.silent[1003] = 10_000

    def named(status: Status) -> bool:
        return status.waiting is not None and "broker 1003 doesn't answer" in status.waiting.reason

    status = await until(handle, named)
    assert status.waiting is not None and set(status.waiting.blocking) == {"events.a-0", "events.a-1"}
    world.silent.clear()
    world.frozen.clear()
    assert (await handle.result()).outcome is Outcome.DONE
