"""`RollingRestart` on a real Temporal: round by round, as the rules allow it, and to the end of the round in hand."""

import asyncio
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest

from activities import leaders
from activities import restarts as restarts_of_nodes
from kafka_runbooks.models.cluster import TopicPartition
from kafka_runbooks.models.operator import Abort, Approval, OperatorAction
from kafka_runbooks.models.results import Outcome, RunbookResult
from tests.fakes.world import World
from tests.temporal_env import Bench
from tests.workflows.test_replace_broker import failure, until
from workflows.rolling_restart import RollingRestart

ME = OperatorAction(by="alice", reason="because")
BROKERS = (1001, 1002, 1003, 1004, 1005, 1006)
CONTROLLERS = (1, 2, 3)


@pytest.fixture
def world() -> World:
    world = World(controllers=3, step_s=2.0, link_bytes_per_s=100_000_000)
    world.shutdown_steps, world.start_steps = 2, 2
    world.add_topic("events.a", 12, (1001, 1002, 1003), minimum_in_sync=2)
    world.add_topic("check_runs", 6, (1004, 1005, 1006), minimum_in_sync=2)
    return world


async def roll(runbooks: Bench, **fields: object) -> Any:
    return await runbooks.start_runbook("RollingRestart", **{"reason": "a new JVM", "wait_for_approval": False, **fields})


def uids(world: World) -> dict[int, str]:
    return {pod.broker_id: pod.uid for pod in (*world.pods.values(), *world.controllers.values())}


def restarts(world: World) -> list[int]:
    """Node ids in the order in which their pods are deleted, from now on."""
    order: list[int] = []
    ids = {pod.uid: pod.broker_id for pod in (*world.pods.values(), *world.controllers.values())}

    def note(act: str) -> None:
        if act == "delete_pod":
            now = {pod.uid for pod in (*world.pods.values(), *world.controllers.values()) if not pod.is_terminating}
            order.extend(ids[uid] for uid in ids.keys() - now if ids[uid] not in order)

    world.after_act = note
    return order


def is_done(result: RunbookResult) -> None:
    assert result.outcome is Outcome.DONE, result.summary
    assert [check for check in result.checks if not check.passed] == []


def never_below_minimum(world: World) -> list[TopicPartition]:
    """Partitions that refuse writes at any act, from now on."""
    found: list[TopicPartition] = []
    before = world.after_act

    def look(act: str) -> None:
        if before is not None:
            before(act)
        for name, partition in world.partitions.items():
            if sum(1 for broker in partition.in_sync if world.is_up(broker)) < world.minimum_in_sync.get(name.topic, 1):
                found.append(name)

    world.after_act = look
    return found


async def test_everything_restarts_controllers_first_the_active_one_last_of_them(runbooks: Bench) -> None:
    world = runbooks.world
    before, active, order = uids(world), world.active_controller, restarts(world)
    below = never_below_minimum(world)
    result = await (await roll(runbooks)).result()
    is_done(result)
    assert set(order) == {*CONTROLLERS, *BROKERS}
    assert order[:3] == [*sorted(set(CONTROLLERS) - {active}), active]
    assert {node_id for node_id, uid in uids(world).items() if uid != before[node_id]} == {*CONTROLLERS, *BROKERS}
    assert below == []
    # Brokers of one rack share no partition: the two maps' restart together.
    assert "9 nodes in 6 rounds" in result.summary


async def test_no_controller_stops_before_others_find_the_one_that_has_restarted(
    runbooks: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may become the active one, and brokers' heartbeats would be sent to the address that it had."""
    world, cache_seconds = runbooks.world, 60.0
    runbooks.clusters.keep_addresses(cache_seconds)
    monkeypatch.setattr(restarts_of_nodes, "datetime", SimpleNamespace(now=lambda _: world.now))
    monkeypatch.setattr(leaders, "datetime", SimpleNamespace(now=lambda _: world.now))
    order, too_early, note = restarts(world), list[str](), world.after_act

    def look(act: str) -> None:
        assert note is not None
        known = len(order)
        note(act)
        for node_id in order[known:]:
            others = [pod for pod in world.controllers.values() if pod.broker_id != node_id and pod.broker_id in order]
            for pod in others:
                if pod.started_at is None or world.now - pod.started_at < timedelta(seconds=cache_seconds):
                    too_early.append(f"{node_id} after {pod.broker_id}")

    world.after_act = look
    is_done(await (await roll(runbooks, node_ids=[*CONTROLLERS, 1001])).result())
    assert too_early == [] and set(order) == {*CONTROLLERS, 1001}


async def test_the_plan_tells_rounds_and_their_bound_and_waits_for_approval(runbooks: Bench) -> None:
    handle = await roll(runbooks, wait_for_approval=True)
    status = await until(handle, lambda status: status.phase == "gate" and status.waiting is not None)
    assert status.plan is not None and status.waiting is not None
    lines = {line.label: line.text for line in status.plan.lines}
    assert lines["rounds"] == "6; no order within these limits has fewer than 6"
    assert "restart 9 nodes: a new JVM" in status.waiting.reason and "B" not in status.waiting.reason.split("JVM")[1]
    before = uids(runbooks.world)
    await handle.execute_update(RollingRestart.reject, ME)
    assert (await failure(handle)).outcome is Outcome.REJECTED and uids(runbooks.world) == before


async def test_only_a_map_only_some_and_only_those_that_started_before(runbooks: Bench) -> None:
    world = runbooks.world
    order = restarts(world)
    is_done(await (await roll(runbooks, map="checks")).result())
    assert set(order) == {1004, 1005, 1006}
    order.clear()
    order = restarts(world)
    is_done(await (await roll(runbooks, node_ids=[1001, 2])).result())
    assert order == [2, 1001]
    later = world.now + timedelta(seconds=1)
    order = restarts(world)
    is_done(await (await roll(runbooks, node_ids=[1002], started_before=later)).result())
    assert order == [1002]
    nothing = await (await roll(runbooks, started_before="2025-01-01T00:00:00Z")).result()
    assert nothing.outcome is Outcome.NOTHING_TO_DO and "started before 2025-01-01" in nothing.summary


async def test_unknown_nodes_and_maps_are_named(runbooks: Bench) -> None:
    for fields, name in (({"node_ids": [7]}, "unknown-node"), ({"map": "nope"}, "unknown-map")):
        refused = await failure(await roll(runbooks, **fields))
        assert [reason.name for reason in refused.reasons] == [name] and refused.reasons[0].is_bad_input


async def test_only_what_is_outdated_restarts_and_what_kafka_takes_dynamically_is_set(runbooks: Bench) -> None:
    world = runbooks.world
    world.change_template("checks")
    world.file["num.io.threads"] = "16"
    order = restarts(world)
    is_done(await (await roll(runbooks, only_outdated=True)).result())
    assert set(order) == {1004, 1005, 1006}
    assert all(world.configs.get(broker) == {"num.io.threads": "16"} for broker in (1001, 1002, 1003))
    assert not any(world.configs.get(broker) for broker in (1004, 1005, 1006)), "they have read the file"
    assert (await (await roll(runbooks, only_outdated=True, map="events")).result()).outcome is Outcome.NOTHING_TO_DO
    world.file["log.dirs"] = "/data/elsewhere"
    order = restarts(world)
    is_done(await (await roll(runbooks, only_outdated=True, map="events")).result())
    assert set(order) == {1001, 1002, 1003}, "no broker takes this without a restart"
    assert not any(world.configs.get(broker) for broker in (1001, 1002, 1003)), "the file says it, and may say something else"


async def test_a_single_replica_is_refused_until_it_is_acknowledged(runbooks: Bench) -> None:
    world = runbooks.world
    world.add_topic("single", 2, (1001,), replication_factor=1, minimum_in_sync=1)
    refused = await failure(await roll(runbooks, node_ids=[1001]))
    assert [reason.name for reason in refused.reasons] == ["no-spare-replica:single"]
    handle = await roll(runbooks, node_ids=[1001], wait_for_approval=True)
    await until(handle, lambda status: status.phase == "gate" and status.waiting is not None)
    risks = ("no-spare-replica:single",)
    await handle.execute_update(RollingRestart.approve, Approval(by="alice", reason="a cache", acknowledged_risks=risks))
    is_done(await handle.result())


async def test_a_broker_that_dies_meanwhile_holds_the_next_round_up_until_it_is_back(runbooks: Bench) -> None:
    world = runbooks.world
    killed: list[int] = []

    def die(act: str) -> None:
        if act == "delete_pod" and not killed:
            killed.append(1005)
            world.kill_broker(1005)

    world.after_act = die
    handle = await roll(runbooks, node_ids=[1004, 1006])
    status = await until(
        handle, lambda status: status.waiting is not None and status.waiting.reason.startswith("no node of the next round"), 30
    )
    assert status.waiting is not None and "1005" in status.waiting.unblocks
    world.revive_broker(1005)
    is_done(await asyncio.wait_for(handle.result(), 60))


async def test_a_broker_that_somebody_else_shuts_down_is_waited_for(runbooks: Bench) -> None:
    """It is still in sync while its kubelet is about to stop it."""
    world = runbooks.world
    world.pods["checks-1"].is_terminating = True
    before = uids(world)
    handle = await roll(runbooks, node_ids=[1004])
    status = await until(
        handle, lambda status: status.waiting is not None and status.waiting.reason.startswith("no node of the next round"), 30
    )
    assert status.waiting is not None and status.waiting.blocking == ("several-racks", "below-min-isr:check_runs")
    assert uids(world) == before
    world.remove_pod(world.pods["checks-1"])
    is_done(await asyncio.wait_for(handle.result(), 60))
    assert uids(world)[1004] != before[1004]


async def test_a_reassignment_of_somebody_else_is_a_reason_not_to_start(runbooks: Bench) -> None:
    world = runbooks.world
    name = TopicPartition("events.a", 0)
    world.partitions[name].adding, world.frozen = [1004], {1004}
    world.partitions[name].replicas.append(1004)
    handle = await roll(runbooks, map="events", wait_for_approval=False)
    refused = await failure(handle)
    assert "being-reassigned:events.a" in [reason.name for reason in refused.reasons]


async def test_a_stuck_pod_stops_the_roll_until_its_template_is_repaired(runbooks: Bench) -> None:
    world = runbooks.world
    world.stuck[world.change_template("checks")] = "ErrImagePull: no such image"
    order = restarts(world)
    handle = await roll(runbooks, map="checks", only_outdated=True)
    status = await until(handle, lambda status: status.waiting is not None and "ErrImagePull" in status.waiting.reason, 30)
    assert status.waiting is not None and "repair the template" in status.waiting.unblocks
    assert len(order) == 1, "the next one would get stuck too"
    world.change_template("checks")
    is_done(await asyncio.wait_for(handle.result(), 60))
    assert {pod.revision for pod in world.pods.values() if pod.map == "checks"} == {world.revision("checks")}


async def test_a_pod_stuck_with_the_newest_template_is_a_reason_not_to_start(runbooks: Bench) -> None:
    world = runbooks.world
    world.stuck["checks-0"] = "CrashLoopBackOff: …"
    pod = world.pods["checks-0"]
    world.remove_pod(pod)
    world.advance()
    refused = await failure(await roll(runbooks, map="checks"))
    assert "stuck-pod:checks-0" in [reason.name for reason in refused.reasons]


async def test_log_recovery_is_shown_and_never_cut_short(runbooks: Bench) -> None:
    world = runbooks.world
    world.recovery_steps = 40

    def crash(act: str) -> None:
        if act == "delete_pod":
            world.unclean.add("checks-1")

    world.after_act = crash
    world.advance_at_look = False
    handle = await roll(runbooks, node_ids=[1005])
    while not world.pods["checks-1"].recovers_in:
        await asyncio.sleep(0.05)
        world.advance()
    world.advance(5)
    status = await until(handle, lambda status: status.waiting is not None and "recovers its logs" in status.waiting.reason, 30)
    assert status.waiting is not None and "segments left" in status.waiting.reason
    uid, world.advance_at_look = world.pods["checks-1"].uid, True
    is_done(await asyncio.wait_for(handle.result(), 60))
    assert world.pods["checks-1"].uid == uid


async def test_an_abort_ends_after_the_round_in_hand(runbooks: Bench) -> None:
    world = runbooks.world
    order = restarts(world)
    handle = await roll(runbooks, map="checks", limits={"at_once": 1})
    await until(handle, lambda status: status.step == "follow the restart")
    await handle.execute_update(RollingRestart.abort, Abort(by="alice", reason="because"))
    result = await failure(handle)
    assert result.outcome is Outcome.ABORTED and "1 of 3 nodes have been restarted" in result.summary, result.summary
    assert len(order) == 1 and result.left_behind == ()
    assert all(partition.in_sync == set(partition.replicas) for partition in world.partitions.values()), "up and in sync again"


async def test_a_second_abort_ends_a_round_that_does_not_end(runbooks: Bench) -> None:
    world = runbooks.world
    world.stuck[world.change_template("checks")] = "CrashLoopBackOff: …"
    handle = await roll(runbooks, map="checks")
    await until(handle, lambda status: status.waiting is not None and "CrashLoopBackOff" in status.waiting.reason, 30)
    await handle.execute_update(RollingRestart.abort, Abort(by="alice", reason="because"))
    status = await until(handle, lambda status: any("abort again" in note for note in status.notes))
    assert status.phase == "steps"
    await handle.execute_update(RollingRestart.abort, Abort(by="alice", reason="now"))
    result = await failure(handle)
    assert result.outcome is Outcome.ABORTED and "may still be down" in result.summary, result.summary


async def test_a_pause_takes_effect_between_rounds(runbooks: Bench) -> None:
    world = runbooks.world
    order = restarts(world)
    handle = await roll(runbooks, map="checks", limits={"at_once": 1})
    await until(handle, lambda status: status.step == "follow the restart")
    await handle.execute_update(RollingRestart.pause, ME)
    status = await until(handle, lambda status: status.waiting is not None and "paused" in status.waiting.reason)
    assert status.is_paused and len(order) == 1
    assert all(partition.in_sync == set(partition.replicas) for partition in world.partitions.values())
    await handle.execute_update(RollingRestart.resume, ME)
    is_done(await handle.result())
    assert len(order) == 3


async def test_the_active_controller_changes_meanwhile(runbooks: Bench) -> None:
    """It is asked anew before each: the one that became active goes last."""
    world = runbooks.world
    first = world.active_controller
    other = next(node_id for node_id in CONTROLLERS if node_id != first)
    order: list[int] = restarts(world)
    noted = world.after_act

    def change(act: str) -> None:
        assert noted is not None
        noted(act)
        if act == "delete_pod" and len(order) == 1:
            world.active_controller = next(node_id for node_id in CONTROLLERS if node_id not in (first, order[0]))

    world.after_act = change
    is_done(await (await roll(runbooks, node_ids=CONTROLLERS)).result())
    assert order[-1] != first and len(order) == 3 and other in order


async def test_under_a_rolling_update_it_does_not_start(runbooks: Bench) -> None:
    runbooks.world.update_strategies["checks"] = "RollingUpdate"
    refused = await failure(await roll(runbooks, map="checks"))
    assert [reason.name for reason in refused.reasons] == ["update-strategy:checks"]
    assert "kubectl patch" in refused.reasons[0].remedy


@pytest.mark.parametrize("when", ["before", "after"])
async def test_each_change_is_cut_off_once(runbooks: Bench, when: str) -> None:
    """A worker dies right before, or right after, each act: the next attempt looks at the world."""
    from kafka_runbooks.clients.errors import Unreachable

    world = runbooks.world
    seen: set[str] = set()

    def cut(act: str) -> None:
        if act not in seen:
            seen.add(act)
            raise Unreachable("cut off")

    if when == "before":
        world.before_act = cut
    else:
        world.after_act = cut
    before = uids(world)
    is_done(await asyncio.wait_for((await roll(runbooks)).result(), 90))
    assert {node_id for node_id, uid in uids(world).items() if uid != before[node_id]} == {*CONTROLLERS, *BROKERS}
