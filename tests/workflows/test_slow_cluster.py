"""A cluster that is late, silent or refuses, as the real ones on the lab were: each of these was first found there."""

import asyncio
from typing import Any

import pytest

from activities import exit_contract
from kafka_runbooks.models.cluster import TopicPartition
from kafka_runbooks.models.results import Outcome
from tests.fakes.world import World
from tests.temporal_env import Bench
from tests.workflows.test_replace_broker import nothing_is_left

FAST: dict[str, Any] = {"throttle": {"mode": "fixed", "rate_bytes_per_s": 50_000_000}}


async def comes_back(runbooks: Bench, **fields: Any) -> None:
    result = await (await runbooks.start(**fields)).result()
    assert result.outcome is Outcome.DONE, result.summary
    assert [check.name for check in result.checks if not check.passed] == []
    nothing_is_left(runbooks.world)


def node_of(world: World, broker_id: int) -> str:
    pod = world.pod_of(broker_id)
    assert pod is not None and pod.node is not None
    return pod.node


async def test_started_in_the_second_of_the_power_cut(runbooks: Bench) -> None:
    """Kafka and Kubernetes still say that the broker is up; it answers nobody. Preflight waits until they know."""
    world = runbooks.world
    world.lose_node(node_of(world, 1001), noticed_after=5)
    world.add_node("spare", "zone-a", "events")
    await comes_back(runbooks, node_is_gone=False, **FAST)


async def test_a_pod_that_was_deleted_in_order_on_a_node_that_was_dead_already(runbooks: Bench) -> None:
    """The operator knows of the power cut before Kubernetes does: no kubelet ends the pod, and none ever will."""
    world = runbooks.world
    node = node_of(world, 1001)
    world.lose_node(node)
    world.unnoticed.add(node)
    world.add_node("spare", "zone-a", "events")

    def noticed(act: str) -> None:
        if act == "delete_pod":
            world.unnoticed.clear()

    world.after_act = noticed
    await asyncio.wait_for(comes_back(runbooks, node_is_gone=True, **FAST), 60)


async def test_a_source_hangs_for_a_while(runbooks: Bench) -> None:
    """Registered and in sync, but it takes no throttle: waited for, not failed upon."""
    world = runbooks.world
    world.lose_node(node_of(world, 1001))
    world.add_node("spare", "zone-a", "events")
    hung = asyncio.Event()
    loop = asyncio.get_running_loop()

    def hang(name: str) -> None:
        if name == "set_throttle_rates" and not hung.is_set():
            world.silent[1002] = 1_000_000
            loop.call_soon_threadsafe(hung.set)

    world.before_act = hang
    handle = await runbooks.start(**FAST)
    await asyncio.wait_for(hung.wait(), 20)
    await asyncio.sleep(2)
    world.silent.clear()
    result = await handle.result()
    assert result.outcome is Outcome.DONE, result.summary
    nothing_is_left(world)


async def test_the_pod_is_ready_some_probes_after_its_broker_is_in_sync(runbooks: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Longer than any other check of the exit contract may be late."""
    monkeypatch.setattr(exit_contract, "PROOF_PATIENCE_SECONDS", 0.5)
    world = runbooks.world
    world.readiness_lag = 12
    world.advance(12)
    world.lose_node(node_of(world, 1001))
    world.add_node("spare", "zone-a", "events")
    await comes_back(runbooks, **FAST)


@pytest.mark.parametrize("fields", [{}, {"replacement_broker_id": 1004}], ids=["election", "reassignment"])
async def test_the_controller_refuses_some_partitions_for_a_while(runbooks: Bench, fields: dict[str, Any]) -> None:
    world = runbooks.world
    if not fields:
        world.lose_node(node_of(world, 1001))
        world.add_node("spare", "zone-a", "events")
    names = [TopicPartition("events.a", 0), TopicPartition("events.b", 1)]
    assert all(1001 in world.partitions[name].replicas for name in names)
    world.refusals = {name: ["NotControllerError"] * 2 for name in names}
    await comes_back(runbooks, **fields, **FAST)
    assert not any(world.refusals.values()), "they were refused, and asked for again"


async def test_a_plan_is_made_once_every_live_broker_has_told_its_sizes(runbooks: Bench) -> None:
    world = runbooks.world
    before = sum(len(partition.replicas) for partition in world.partitions.values())
    world.silent[1003] = 1_000_000
    handle = await runbooks.start_runbook(
        "SetReplicationFactor",
        topics=["events.a"],
        replication_factor=2,
        wait_for_approval=False,
        acknowledged_risks=["no-spare-replica:events.a"],
    )
    await asyncio.sleep(2)
    assert "alter_reassignments" not in world.acts, "it would be planned on a guess"
    world.silent.clear()
    result = await handle.result()
    assert result.outcome is Outcome.DONE, result.summary
    assert sum(len(partition.replicas) for partition in world.partitions.values()) == before - 12
