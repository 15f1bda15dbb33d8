"""`Upgrade` on a real Temporal: controllers, canary, the rest, features; and every way to stop before there is no way back."""

import asyncio
from typing import Any

import pytest
from temporalio.client import WorkflowUpdateFailedError

from activities import upgrades
from kafka_runbooks.clients.errors import Unreachable
from kafka_runbooks.models.operator import Abort, Approval
from kafka_runbooks.models.results import Outcome
from kafka_runbooks.models.status import Status
from tests.fakes.metrics import FakeMetrics
from tests.fakes.world import RELEASE, World
from tests.temporal_env import Bench
from tests.workflows.test_replace_broker import failure, until
from tests.workflows.test_rolling_restart import BROKERS, CONTROLLERS, ME, is_done, never_below_minimum, restarts, uids
from workflows.upgrade import Upgrade

NEWER = {**RELEASE, "metadata.version": (7, 29), "share.version": (0, 1)}
SETS = ("controller", "events", "checks")
YES = Approval(by="alice", reason="because")
CANARY = 1005
"""Each of `checks` leads two partitions, each of `events` four; of two maps with as many brokers the first name is chosen."""


@pytest.fixture
def world() -> World:
    world = World(controllers=3, step_s=2.0, link_bytes_per_s=100_000_000)
    world.shutdown_steps, world.start_steps = 2, 2
    world.add_topic("events.a", 12, (1001, 1002, 1003), minimum_in_sync=2)
    world.add_topic("check_runs", 6, (1004, 1005, 1006), minimum_in_sync=2)
    return world


@pytest.fixture(autouse=True)
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    """The fake's figures are new at each look."""
    monkeypatch.setattr(upgrades, "LOOK_SECONDS", 0.1)


def release(world: World, *sets: str) -> dict[str, str]:
    """A newer release in the templates; returns the former revisions, to roll back to."""
    former = {name: world.revision(name) for name in sets or SETS}
    for name in former:
        world.supported[world.change_template(name)] = NEWER
    return former


async def upgrade(runbooks: Bench, **fields: object) -> Any:
    asked = {"reason": "4.3", "wait_for_approval": False, "canary_soak_seconds": 1.0, **fields}
    return await runbooks.start_runbook("Upgrade", **asked)


def is_new(world: World) -> set[int]:
    return {pod.broker_id for pod in (*world.pods.values(), *world.controllers.values()) if world.features_of(pod) is NEWER}


def at_gate(status: Status) -> bool:
    return status.phase == "gate" and status.waiting is not None and status.waiting.unblocks == "approve or reject"


async def question(handle: Any, begins: str) -> str:
    status = await until(
        handle, lambda status: at_gate(status) and begins in (status.waiting.reason if status.waiting else ""), 40
    )
    assert status.waiting is not None
    return str(status.waiting.reason)


def slow_once_new(world: World, broker_id: int = CANARY) -> None:
    """The new release is slow."""
    before = world.after_act

    first = uids(world)[broker_id]

    def slow(act: str) -> None:
        before(act)
        pod = world.pod_of(broker_id)
        if pod is not None and (pod.is_terminating or pod.uid != first):
            world.produce_p99_ms[broker_id] = 50.0

    world.after_act = slow


async def test_controllers_then_the_canary_then_the_rest_then_features(runbooks: Bench) -> None:
    world = runbooks.world
    release(world)
    order, below = restarts(world), never_below_minimum(world)
    noted, seen = world.after_act, list[tuple[str, int]]()

    def note(act: str) -> None:
        noted(act)
        seen.append((act, len(order)))

    world.after_act = note
    result = await (await upgrade(runbooks)).result()
    is_done(result)
    assert set(order[:3]) == set(CONTROLLERS) and order[3] == CANARY and set(order) == {*CONTROLLERS, *BROKERS}
    assert world.finalised == {"group.version": 1, "metadata.version": 29, "share.version": 1}
    assert [act for act in seen if act[0] == "update_features"] == [("update_features", 9)], "after everything else"
    assert below == [] and is_new(world) == {*CONTROLLERS, *BROKERS}
    assert result.summary.endswith("finalised metadata.version 27 -> 29, share.version 0 -> 1"), result.summary
    watched = [step.step for step in result.steps]
    restarted = [number for number, name in enumerate(watched) if name == "restart the round"]
    assert len([number for number in restarted if number < watched.index("compare the canary with its peers")]) == 4
    assert {check.name for check in result.checks} >= {"one release, features finalised", "pods made anew"}


async def test_every_gate_asks_in_turn_and_says_what_it_is_about(runbooks: Bench) -> None:
    world = runbooks.world
    release(world)
    handle = await upgrade(runbooks, wait_for_approval=True)
    await question(handle, "the plan waits: upgrade 9 nodes: 4.3")
    status: Status = await handle.query(Upgrade.status)
    assert status.plan is not None
    lines = {line.label: line.text for line in status.plan.lines}
    assert lines["canary"] == f"broker {CANARY}, compared with 1004, 1006 for 1 s"
    assert lines["release now"].startswith("metadata.version up to 27: 6 brokers")
    assert "no way back" in " ".join(status.plan.notices) and is_new(world) == set()
    await handle.execute_update(Upgrade.approve, YES)
    assert "produce p99 5.0 ms, its peers 5.0 ms" in await question(handle, f"canary {CANARY} is as good as its peers")
    assert is_new(world) == {*CONTROLLERS, CANARY}
    await handle.execute_update(Upgrade.approve, YES)
    assert "no way back" in await question(handle, "finalise metadata.version 27 -> 29, share.version 0 -> 1?")
    assert is_new(world) == {*CONTROLLERS, *BROKERS} and world.finalised["metadata.version"] == 27
    await handle.execute_update(Upgrade.approve, YES)
    is_done(await handle.result())


async def test_a_canary_that_is_worse_stops_and_the_former_template_rolls_back(runbooks: Bench) -> None:
    world = runbooks.world
    former = release(world)
    slow_once_new(world)
    handle = await upgrade(runbooks, canary_soak_seconds=12)
    assert "produce p99 50.0 ms, its peers 5.0 ms" in await question(
        handle, f"canary {CANARY} is worse than its peers (in 3 looks"
    )
    await handle.execute_update(Upgrade.reject, ME)
    result = await failure(handle)
    assert result.outcome is Outcome.REJECTED and "4 of 9 nodes are upgraded" in result.summary
    assert "to roll back, apply the former pod template and start Upgrade again" in result.summary
    assert is_new(world) == {*CONTROLLERS, CANARY} and world.finalised["metadata.version"] == 27
    world.revisions.update(former)
    order = restarts(world)
    back = await (await upgrade(runbooks, reason="back")).result()
    is_done(back)
    assert set(order) == {*CONTROLLERS, CANARY} and is_new(world) == set()
    assert "compare the canary with its peers" not in [step.step for step in back.steps], (
        "most brokers run it: nothing to try out"
    )
    assert world.finalised["metadata.version"] == 27


async def test_a_canary_that_is_worse_may_be_accepted(runbooks: Bench) -> None:
    release(runbooks.world)
    slow_once_new(runbooks.world)
    handle = await upgrade(runbooks, canary_soak_seconds=12)
    await question(handle, "is worse than its peers")
    await handle.execute_update(Upgrade.approve, YES)
    is_done(await handle.result())
    assert is_new(runbooks.world) == {*CONTROLLERS, *BROKERS}


async def test_a_canary_that_has_always_been_slower_is_as_good_as_ever(runbooks: Bench) -> None:
    release(runbooks.world)
    runbooks.world.produce_p99_ms[CANARY] = 50.0
    result = await (await upgrade(runbooks)).result()
    is_done(result)
    assert result.decisions == ()


async def test_a_repaired_template_is_a_new_plan_which_what_was_upgraded_before_is_in_too(runbooks: Bench) -> None:
    world = runbooks.world
    release(world)
    world.stuck[world.revision("checks")] = "ErrImagePull: no such image"
    order = restarts(world)
    handle = await upgrade(runbooks)
    await until(handle, lambda status: status.waiting is not None and "ErrImagePull" in status.waiting.reason, 40)
    assert order == [*order[:3], CANARY] and set(order[:3]) == set(CONTROLLERS), "the next one would get stuck too"
    release(world)
    result = await asyncio.wait_for(handle.result(), 60)
    is_done(result)
    newest = {name: world.revision(name) for name in SETS}
    assert all(pod.revision == newest[pod.stateful_set] for pod in (*world.pods.values(), *world.controllers.values()))
    assert [step.step for step in result.steps].count("plan") == 2


async def test_where_two_persons_are_wanted_every_gate_wants_the_second(runbooks: Bench) -> None:
    release(runbooks.world)
    runbooks.clusters.want_second_person()
    handle = await upgrade(runbooks, wait_for_approval=True, canary_soak_seconds=0)
    same = Approval(by="test", reason="because")
    for begins in ("the plan waits", "finalise metadata.version"):
        await question(handle, begins)
        with pytest.raises(WorkflowUpdateFailedError):
            await handle.execute_update(Upgrade.approve, same)
        await handle.execute_update(Upgrade.approve, YES)
    is_done(await handle.result())


async def test_a_canary_that_dies_is_worse(runbooks: Bench) -> None:
    world = runbooks.world
    release(world)
    handle = await upgrade(runbooks, canary_soak_seconds=12)
    await until(handle, lambda status: status.step == "compare the canary with its peers", 40)
    world.kill_broker(CANARY)
    assert f"broker {CANARY} is down" in await question(handle, "is worse than its peers")
    world.revive_broker(CANARY)
    await handle.execute_update(Upgrade.approve, YES)
    is_done(await handle.result())


async def test_nobody_knows_is_not_good(runbooks: Bench) -> None:
    release(runbooks.world)
    metrics = runbooks.clusters.open(runbooks.cluster).metrics
    assert isinstance(metrics, FakeMetrics)
    metrics.is_away = True
    handle = await upgrade(runbooks)
    assert "the metrics backend is away" in await question(handle, f"nobody knows whether canary {CANARY} is as good")
    assert is_new(runbooks.world) == {*CONTROLLERS, CANARY}
    await handle.execute_update(Upgrade.reject, ME)
    assert (await failure(handle)).outcome is Outcome.REJECTED


async def test_the_former_template_applied_meanwhile_is_a_new_plan_of_the_same_run(runbooks: Bench) -> None:
    world = runbooks.world
    former = release(world)
    handle = await upgrade(runbooks, wait_for_approval=True)
    await question(handle, "the plan waits")
    await handle.execute_update(Upgrade.approve, YES)
    await question(handle, "is as good as its peers")
    world.revisions.update(former)
    await handle.execute_update(Upgrade.approve, YES)
    await question(handle, "the plan waits: upgrade 4 nodes")
    assert is_new(world) == {*CONTROLLERS, CANARY}, "no other node goes down for a template that nobody approved"
    await handle.execute_update(Upgrade.approve, YES)
    is_done(await handle.result())
    assert is_new(world) == set() and world.finalised["metadata.version"] == 27


async def test_the_former_template_applied_before_anything_went_down_ends_the_run(runbooks: Bench) -> None:
    world = runbooks.world
    before, former = uids(world), release(world)
    handle = await upgrade(runbooks, wait_for_approval=True)
    await question(handle, "the plan waits")
    world.revisions.update(former)
    await handle.execute_update(Upgrade.approve, YES)
    result = await handle.result()
    is_done(result)
    assert uids(world) == before and "nothing is outdated any more after 0 rounds" in result.summary


async def test_rejected_features_are_not_finalised_and_the_next_run_only_finalises(runbooks: Bench) -> None:
    world = runbooks.world
    release(world)
    handle = await upgrade(runbooks, wait_for_approval=True, canary_soak_seconds=0)
    await question(handle, "the plan waits")
    await handle.execute_update(Upgrade.approve, YES)
    await question(handle, "finalise metadata.version")
    await handle.execute_update(Upgrade.reject, ME)
    result = await failure(handle)
    assert result.outcome is Outcome.REJECTED and "9 of 9 nodes are upgraded; features are not finalised" in result.summary
    assert world.finalised["metadata.version"] == 27
    before = uids(world)
    again = await (await upgrade(runbooks)).result()
    is_done(again)
    assert uids(world) == before and world.finalised["metadata.version"] == 29
    assert "finalise features: 4.3" in again.summary
    nothing = await (await upgrade(runbooks)).result()
    assert nothing.outcome is Outcome.NOTHING_TO_DO and "finalised are group.version 1, metadata.version 29" in nothing.summary


async def test_features_are_left_as_they_are_where_that_is_asked_for(runbooks: Bench) -> None:
    release(runbooks.world)
    result = await (await upgrade(runbooks, finalise_features=False, canary_soak_seconds=0)).result()
    is_done(result)
    assert runbooks.world.finalised["metadata.version"] == 27 and "features are left as they are" in result.summary
    assert (await (await upgrade(runbooks, finalise_features=False)).result()).outcome is Outcome.NOTHING_TO_DO


async def test_while_a_map_is_of_the_former_release_nothing_is_finalised(runbooks: Bench) -> None:
    release(runbooks.world, "controller", "checks")
    result = await (await upgrade(runbooks)).result()
    is_done(result)
    assert runbooks.world.finalised["metadata.version"] == 27
    assert "several releases run: metadata.version up to 27: brokers 1001, 1002, 1003" in result.summary


@pytest.mark.parametrize("of_the_plan", [True, False])
async def test_a_template_that_changes_before_finalisation_stops_it(runbooks: Bench, of_the_plan: bool) -> None:
    """Pods of the former release could not start any more, whoever restarts them."""
    world = runbooks.world
    former = release(world)
    if not of_the_plan:
        is_done(await (await upgrade(runbooks, finalise_features=False, canary_soak_seconds=0)).result())
    handle = await upgrade(runbooks, wait_for_approval=True, canary_soak_seconds=0)
    await question(handle, "the plan waits")
    await handle.execute_update(Upgrade.approve, YES)
    await question(handle, "finalise metadata.version")
    world.revisions.update(former)
    await handle.execute_update(Upgrade.approve, YES)
    result = await failure(handle)
    assert result.outcome is Outcome.FAILED and "has changed since: features are left" in result.summary
    assert world.finalised["metadata.version"] == 27


async def test_what_kafka_refuses_to_finalise_is_said(runbooks: Bench) -> None:
    release(runbooks.world)
    runbooks.world.refused_features["share.version"] = "share.version: not today"
    handle = await upgrade(runbooks, wait_for_approval=True, canary_soak_seconds=0)
    await question(handle, "the plan waits")
    await handle.execute_update(Upgrade.approve, YES)
    result = await failure(handle)
    assert result.outcome is Outcome.FAILED and "not today" in result.summary
    assert [decision.action for decision in result.decisions] == ["approve"], "nobody is asked for what Kafka won't do"
    assert runbooks.world.finalised == {"group.version": 1, "metadata.version": 27}


async def test_an_abort_during_the_soak_says_how_to_go_back_or_on(runbooks: Bench) -> None:
    release(runbooks.world)
    handle = await upgrade(runbooks, canary_soak_seconds=600)
    await until(handle, lambda status: status.step == "compare the canary with its peers", 40)
    await handle.execute_update(Upgrade.abort, Abort(by="alice", reason="because"))
    result = await failure(handle)
    assert result.outcome is Outcome.ABORTED and "4 of 9 nodes are upgraded" in result.summary
    assert "to go on, only start it again" in result.summary


async def test_a_given_canary_is_first_and_is_compared_again_where_it_is_upgraded_already(runbooks: Bench) -> None:
    world = runbooks.world
    unknown = await failure(await upgrade(runbooks, canary_node_id=7))
    assert [reason.name for reason in unknown.reasons] == ["unknown-canary"] and unknown.reasons[0].is_bad_input
    release(world, "events")
    order = restarts(world)
    handle = await upgrade(runbooks, canary_node_id=1003, canary_soak_seconds=600)
    await until(handle, lambda status: status.step == "compare the canary with its peers", 40)
    assert order == [1003]
    await handle.execute_update(Upgrade.abort, Abort(by="alice", reason="because"))
    await failure(handle)
    order = restarts(world)
    world.produce_p99_ms[1003] = 50.0
    handle = await upgrade(runbooks, canary_node_id=1003, canary_soak_seconds=12)
    await question(handle, "canary 1003 is worse than its peers")
    assert order == [], "it is the canary that the others wait for, and that it is slow now is not what was usual before"
    await handle.execute_update(Upgrade.approve, YES)
    is_done(await handle.result())
    assert set(order) == {1001, 1002}


async def test_brokers_that_do_not_tell_their_features_are_a_reason_not_to_start(runbooks: Bench) -> None:
    world = runbooks.world
    release(world)
    world.silent[1002] = 10_000
    refused = await failure(await upgrade(runbooks))
    assert "features-unknown" in [reason.name for reason in refused.reasons]
    del world.silent[1002]
    world.finalised.clear()
    refused = await failure(await upgrade(runbooks))
    assert "no-metadata-version" in [reason.name for reason in refused.reasons]


@pytest.mark.parametrize("when", ["before", "after"])
async def test_each_change_is_cut_off_once(runbooks: Bench, when: str) -> None:
    """A worker dies right before, or right after, each act: the next attempt looks at the world."""
    world = runbooks.world
    release(world)
    seen: set[str] = set()

    def cut(act: str) -> None:
        if act not in seen:
            seen.add(act)
            raise Unreachable("cut off")

    if when == "before":
        world.before_act = cut
    else:
        world.after_act = cut
    is_done(await asyncio.wait_for((await upgrade(runbooks)).result(), 60))
    assert is_new(world) == {*CONTROLLERS, *BROKERS} and world.finalised["metadata.version"] == 29
    assert {"delete_pod", "update_features"} <= seen
