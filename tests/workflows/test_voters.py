"""Combined nodes leave the metadata quorum before their pods go, and vote again after a scale-up: on a real Temporal server."""

import asyncio
from collections import Counter
from typing import Any

import pytest

from activities import voters
from kafka_runbooks.clients.errors import Unreachable
from kafka_runbooks.models.operator import Abort
from kafka_runbooks.models.results import Outcome
from tests.fakes.world import MEGABYTE, World
from tests.temporal_env import Bench
from tests.workflows.test_moves import FAST, failure, holds, until
from tests.workflows.test_replace_broker import nothing_is_left
from workflows.decommission import Decommission

REMOVE: dict[str, Any] = {"brokers": [1007], "remove_pods": True, **FAST}


@pytest.fixture
def world() -> World:
    """Five combined nodes, of which 1007 can go, and another broker that is none."""
    world = World(advance_at_look=True, step_s=2.0, link_bytes_per_s=100 * MEGABYTE)
    world.add_broker("events", "zone-a")
    world.add_topic("events.a", 4, (1001, 1002, 1003), minimum_in_sync=1, size_bytes=MEGABYTE)
    world.add_topic("events.b", 4, (1007, 1001), replication_factor=2, minimum_in_sync=1, size_bytes=MEGABYTE)
    world.combine(1001, 1002, 1003, 1004, 1007, voters=5)
    return world


def voting(world: World) -> list[int]:
    return sorted(world.voters or {})


def holders(world: World, broker: int) -> int:
    return sum(broker in partition.replicas for partition in world.partitions.values())


async def test_a_voter_leaves_the_quorum_when_it_is_empty_and_before_its_pod_goes(runbooks: Bench) -> None:
    world = runbooks.world
    world.active_controller = 1007
    seen: list[tuple[str, int, bool]] = []
    world.before_act = lambda act: seen.append((act, holders(world, 1007), 1007 in voting(world)))
    handle = await runbooks.start_runbook("Decommission", **REMOVE)
    result = await handle.result()
    assert result.outcome is Outcome.DONE, result.summary
    holds(result)
    assert voting(world) == [1001, 1002, 1003, 1004] and world.active_controller != 1007
    assert [one[1:] for one in seen if one[0] == "remove_voter"] == [(0, True)], "once, and empty"
    assert [one[1:] for one in seen if one[0] == "scale"] == [(0, False)]
    assert "controller 1007 has no vote" in [check.name for check in result.checks]
    assert "has left the metadata quorum, whose voters are 1001, 1002, 1003, 1004" in result.summary
    plan = (await handle.query(Decommission.status)).plan
    assert plan is not None and "leave the metadata quorum" in plan.steps
    assert any("of which 1 may fail; an even number" in notice for notice in plan.notices)
    nothing_is_left(world)


async def test_without_remove_pods_it_keeps_its_vote_and_the_plan_says_so(runbooks: Bench) -> None:
    handle = await runbooks.start_runbook("Decommission", **{**REMOVE, "remove_pods": False})
    result = await handle.result()
    assert result.outcome is Outcome.DONE, result.summary
    assert voting(runbooks.world) == [1001, 1002, 1003, 1004, 1007]
    plan = (await handle.query(Decommission.status)).plan
    assert plan is not None and any("controller 1007 keeps its vote" in notice for notice in plan.notices)


@pytest.mark.parametrize("moment", ["remove_voter", "cordon_log_directories", "scale"])
async def test_one_that_somebody_makes_a_voter_again_leaves_again(runbooks: Bench, moment: str) -> None:
    """Right after it has left, right before its pod goes, and when it is gone."""
    world = runbooks.world
    came: list[str] = []

    def joins(act: str) -> None:
        assert world.voters is not None
        if act == moment and 1007 not in world.voters and not came:
            came.append(act)
            world.voters[1007] = "directory-1007"

    world.after_act = joins
    result = await (await runbooks.start_runbook("Decommission", **REMOVE)).result()
    assert result.outcome is Outcome.DONE, result.summary
    assert came and voting(world) == [1001, 1002, 1003, 1004] and "events-3" not in world.pods


async def test_an_abort_says_that_it_has_left_the_quorum(runbooks: Bench) -> None:
    world = runbooks.world
    stopped: list[str] = []

    def stop(act: str) -> None:
        if act == "remove_voter":
            stopped.append(act)
            world.are_controllers_away = True

    world.after_act = stop
    handle = await runbooks.start_runbook("Decommission", **REMOVE)
    await until(handle, lambda _: bool(stopped))
    await handle.execute_update(Decommission.abort, Abort(by="alice", reason="not now"))
    world.are_controllers_away = False
    result = await failure(handle)
    assert result.outcome is Outcome.ABORTED and "left the metadata quorum" in result.summary, result.summary
    assert "events-3" in world.pods and voting(world) == [1001, 1002, 1003, 1004]


async def test_a_new_controller_becomes_a_voter_after_its_broker_has_its_share(runbooks: Bench) -> None:
    world = runbooks.world
    assert world.voters is not None
    del world.voters[1007]
    shares: list[int] = []
    world.before_act = lambda act: shares.append(holders(world, 1007)) if act == "add_voter" else None
    handle = await runbooks.start_runbook("ScaleUp", brokers=[1007], **FAST)
    result = await handle.result()
    assert result.outcome is Outcome.DONE, result.summary
    holds(result)
    assert world.voters[1007] == "directory-1007" and shares and shares[0] > 0
    assert "controller 1007 votes in the metadata quorum, whose voters are 1001, 1002, 1003, 1004, 1007" in result.summary
    again = await (await runbooks.start_runbook("ScaleUp", brokers=[1007], **FAST)).result()
    assert again.outcome is Outcome.NOTHING_TO_DO, again.summary


async def test_a_controller_that_does_not_catch_up_holds_up_no_data_and_is_said(
    runbooks: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(voters, "JOIN_PATIENCE_SECONDS", 0.5)
    world = runbooks.world
    assert world.voters is not None
    world.voters = {node: directory for node, directory in world.voters.items() if node != 1007}
    world.controllers_behind = {1007}
    result = await (await runbooks.start_runbook("ScaleUp", brokers=[1007], **FAST)).result()
    assert result.outcome is Outcome.DONE and "controller 1007 has no vote: it has not caught up" in result.summary, (
        result.summary
    )
    assert 1007 not in voting(world) and holders(world, 1007)


async def test_a_lost_disk_s_vote_is_taken_away_first(runbooks: Bench) -> None:
    world = runbooks.world
    world.directories[1007] = "new"
    result = await (await runbooks.start_runbook("ScaleUp", brokers=[1007], **FAST)).result()
    assert result.outcome is Outcome.DONE, result.summary
    assert world.voters is not None and world.voters[1007] == "new"
    assert [act for act in world.acts if act.endswith("_voter")] == ["remove_voter", "add_voter"]


@pytest.mark.parametrize("is_static", [False, True], ids=["dynamic", "static"])
async def test_a_replaced_disk_gets_the_vote_of_the_lost_one_where_votes_can_change(runbooks: Bench, is_static: bool) -> None:
    world = runbooks.world
    old = world.directories[1007]
    if is_static:
        world.voters, world.active_controller = None, 1007
    world.lose_node(world.pods["events-3"].node or "")
    world.delete_node(world.pods["events-3"].node or "")
    world.add_node("spare", "zone-a", "events")
    handle = await runbooks.start(broker_id=1007)
    result = await handle.result()
    assert result.outcome is Outcome.DONE, result.summary
    holds(result)
    if not is_static:
        assert world.voters is not None and world.voters[1007] == world.directories[1007] != old
        assert "controller 1007 votes in the metadata quorum" in result.summary
        assert [act for act in world.acts if act.endswith("_voter")] == ["remove_voter", "add_voter"]
    else:
        assert not any(act.endswith("_voter") for act in world.acts)
        plan = (await handle.query(Decommission.status)).plan
        assert plan is not None and any("comes back to a static quorum without its metadata log" in one for one in plan.notices)


async def test_a_controller_without_a_vote_is_restarted_like_the_others(runbooks: Bench) -> None:
    world = runbooks.world
    assert world.voters is not None
    del world.voters[1007]
    world.directories[1004] = "new"
    before = {pod.broker_id: pod.uid for pod in world.pods.values()}
    fields: dict[str, Any] = {"node_ids": [1004, 1007], "reason": "a new JVM", "wait_for_approval": False}
    result = await asyncio.wait_for((await runbooks.start_runbook("RollingRestart", **fields)).result(), 60)
    assert result.outcome is Outcome.DONE, result.summary
    assert [node for node, uid in before.items() if world.pod_of(node).uid != uid] == [1004, 1007]  # type: ignore[union-attr]


async def test_a_static_quorum_is_left_alone_and_its_data_moves(runbooks: Bench) -> None:
    world = runbooks.world
    world.voters = None
    handle = await runbooks.start_runbook("ScaleUp", brokers=[1007], **FAST)
    result = await handle.result()
    assert result.outcome is Outcome.DONE, result.summary
    status = await handle.query(Decommission.status)
    assert status.plan is not None and "join the metadata quorum" not in status.plan.steps
    assert any("the quorum is static" in notice for notice in status.plan.notices)


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("runbook", ["Decommission", "ScaleUp"])
async def test_each_change_of_the_voters_is_cut_off_once(runbooks: Bench, when: str, runbook: str) -> None:
    world = runbooks.world
    fields, act = REMOVE, "remove_voter"
    if runbook == "ScaleUp":
        assert world.voters is not None
        world.directories[1007] = "new"
        fields, act = {"brokers": [1007], **FAST}, "add_voter"
    tries: Counter[str] = Counter()

    def cut(name: str) -> None:
        tries[name] += 1
        if name in {act, "remove_voter", "scale"} and tries[name] % 2 == 1 and tries[name] < 4:
            raise Unreachable(f"cut off {when} {name}")

    if when == "before":
        world.before_act = cut
    else:
        world.after_act = cut
    result = await (await runbooks.start_runbook(runbook, **fields)).result()
    assert result.outcome is Outcome.DONE, result.summary
    holds(result)
    assert tries[act] >= (2 if when == "before" else 1)
    assert voting(world) == ([1001, 1002, 1003, 1004] if runbook == "Decommission" else [1001, 1002, 1003, 1004, 1007])
    if runbook == "ScaleUp":
        assert world.voters is not None and world.voters[1007] == "new"
    nothing_is_left(world)
