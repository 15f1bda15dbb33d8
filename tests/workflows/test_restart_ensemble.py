"""`RestartEnsemble` on a real Temporal: one member at a time, the leader last, and never a second one away."""

import asyncio
from collections.abc import Callable
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest

from activities import ensemble as ensemble_steps
from kafka_runbooks.clients.errors import Unreachable
from kafka_runbooks.models.operator import Abort, OperatorAction
from kafka_runbooks.models.results import Outcome, RunbookResult
from tests.fakes.ensemble import WorldEnsemble
from tests.fakes.world import World
from tests.temporal_env import Bench
from tests.workflows.test_replace_broker import failure, until
from workflows.restart_ensemble import RestartEnsemble

ME = OperatorAction(by="alice", reason="because")


@pytest.fixture
def world() -> World:
    world = World()
    world.add_topic("events.a", 3, (1001, 1002, 1003), minimum_in_sync=2)
    world.ensemble = WorldEnsemble(world, observers=1)
    return world


@pytest.fixture
def ensemble(world: World) -> WorldEnsemble:
    assert world.ensemble is not None
    return world.ensemble


async def roll(runbooks: Bench, **fields: object) -> Any:
    return await runbooks.start_runbook("RestartEnsemble", **{"reason": "a new image", "wait_for_approval": False, **fields})


def is_done(result: RunbookResult) -> None:
    assert result.outcome is Outcome.DONE, result.summary
    assert [check for check in result.checks if not check.passed] == []
    names = {check.name for check in result.checks}
    assert {"pods made anew", "ensemble in sync"} <= names


def uids(ensemble: WorldEnsemble) -> dict[int, str]:
    return {one.server_id: one.uid for one in ensemble.members.values()}


class Watch:
    """What happens to the ensemble at each step of time: who restarts, in which order, and how many voters are away."""

    def __init__(self, ensemble: WorldEnsemble) -> None:
        self._ensemble, self.most_away = ensemble, 0
        self.order: list[int] = []
        self.leaders: list[int] = []
        """Who led when each was told to go."""
        delete_pod, advance = ensemble.delete_pod, ensemble.advance

        def deleted(pod: str, *, force: bool) -> None:
            self.order.append(ensemble.of_pod(pod).server_id)
            self.leaders.append(ensemble.leader)
            delete_pod(pod, force=force)
            self.then()

        def advanced() -> None:
            advance()
            # While they elect a leader nobody serves, and only those are away whose process is.
            down = {one.server_id for one in ensemble.members.values() if not one.is_observer and not ensemble.is_up(one)}
            self.most_away = max(self.most_away, len(down | (ensemble.away() if ensemble.leader else set())))

        self.then: Callable[[], None] = lambda: None
        """Done right after a pod was deleted."""
        ensemble.delete_pod = deleted  # type: ignore[method-assign]
        ensemble.advance = advanced  # type: ignore[method-assign]


@pytest.fixture
def watch(ensemble: WorldEnsemble) -> Watch:
    return Watch(ensemble)


async def test_observers_then_followers_then_the_leader(runbooks: Bench, ensemble: WorldEnsemble, watch: Watch) -> None:
    before = uids(ensemble)
    result = await (await roll(runbooks)).result()
    is_done(result)
    assert watch.order == [4, 1, 2, 3] and watch.leaders == [3, 3, 3, 3]
    assert all(uid != before[server_id] for server_id, uid in uids(ensemble).items())
    assert watch.most_away == 1 and "restart 4 members of the ensemble: a new image" in result.summary


async def test_the_plan_names_the_order_and_waits(runbooks: Bench, ensemble: WorldEnsemble) -> None:
    handle, before = await roll(runbooks, wait_for_approval=True), uids(ensemble)
    status = await until(handle, lambda status: status.phase == "gate" and status.waiting is not None)
    assert status.plan is not None
    members = [line.text for line in status.plan.lines if line.label == "member"]
    assert members[0].startswith("1. server 4 (zookeeper-3)") and "server 3 (zookeeper-2), which leads now" in members[3]
    await handle.execute_update(RestartEnsemble.reject, ME)
    assert (await failure(handle)).outcome is Outcome.REJECTED and uids(ensemble) == before


async def test_only_some_and_only_what_is_outdated(runbooks: Bench, world: World, ensemble: WorldEnsemble, watch: Watch) -> None:
    nothing = await (await roll(runbooks, only_outdated=True)).result()
    assert nothing.outcome is Outcome.NOTHING_TO_DO
    is_done(await (await roll(runbooks, server_ids=[2])).result())
    world.change_template("zookeeper")
    is_done(await (await roll(runbooks, server_ids=[1, 2])).result())
    is_done(await (await roll(runbooks, only_outdated=True)).result())
    assert watch.order == [2, 1, 2, 4, 3]


async def test_a_renewed_certificate_comes_into_force_by_a_restart_of_those_that_lack_it(
    runbooks: Bench, ensemble: WorldEnsemble, watch: Watch
) -> None:
    ensemble.certificate = "first"
    is_done(await (await roll(runbooks)).result())
    assert (await (await roll(runbooks, only_outdated=True)).result()).outcome is Outcome.NOTHING_TO_DO
    ensemble.certificate = "renewed"
    is_done(await (await roll(runbooks, server_ids=[2])).result())
    handle = await roll(runbooks, only_outdated=True, wait_for_approval=True)
    status = await until(handle, lambda status: status.phase == "gate" and status.waiting is not None)
    assert status.plan is not None
    members = [line.text for line in status.plan.lines if line.label == "member"]
    assert [text.split(": ")[1] for text in members] == ["its TLS files have changed since it started"] * 3
    await handle.execute_update(RestartEnsemble.approve, ME)
    is_done(await handle.result())
    assert watch.order[-3:] == [4, 1, 3] and {one.certificate for one in ensemble.members.values()} == {"renewed"}


def change_step(world: World, ensemble: WorldEnsemble, quorum_tls: str) -> None:
    ensemble.quorum_tls = quorum_tls
    world.change_template("zookeeper")


async def test_an_ensemble_goes_to_tls_step_by_step_and_never_loses_its_quorum(
    runbooks: Bench, world: World, ensemble: WorldEnsemble, watch: Watch
) -> None:
    for pod in world.pods.values():
        pod.file["zookeeper.ssl.client.enable"] = "true"
    for step in ("accepted", "spoken", "required"):
        change_step(world, ensemble, step)
        is_done(await (await roll(runbooks, only_outdated=True)).result())
        assert {one.quorum_tls for one in ensemble.members.values()} == {step}
    assert watch.most_away == 1 and len(watch.order) == 12


async def test_a_step_that_would_split_the_ensemble_is_refused_by_name(
    runbooks: Bench, world: World, ensemble: WorldEnsemble, watch: Watch
) -> None:
    change_step(world, ensemble, "spoken")
    refused = await failure(await roll(runbooks, only_outdated=True))
    assert {reason.name for reason in refused.reasons} == {f"quorum-tls:{server_id}" for server_id in (1, 2, 3, 4)}
    assert "set QUORUM_TLS to accepted" in refused.reasons[0].remedy and watch.order == []


async def test_a_member_that_took_a_step_too_many_comes_back_first(
    runbooks: Bench, world: World, ensemble: WorldEnsemble, watch: Watch
) -> None:
    """It was evicted after the template had skipped a step, and is away; the others are a quorum."""
    change_step(world, ensemble, "accepted")
    is_done(await (await roll(runbooks)).result())
    change_step(world, ensemble, "required")
    ensemble.delete_pod("zookeeper-1", force=False)
    world.advance(20)
    assert ensemble.away() == {2}
    change_step(world, ensemble, "accepted")
    is_done(await (await roll(runbooks)).result())
    assert watch.order[-4:] == [2, 4, 1, 3]


async def test_a_template_that_skips_a_step_meanwhile_stops_the_roll(
    runbooks: Bench, world: World, ensemble: WorldEnsemble, watch: Watch
) -> None:
    change_step(world, ensemble, "accepted")
    handle = await roll(runbooks, wait_for_approval=True)
    await until(handle, lambda status: status.phase == "gate" and status.waiting is not None)
    change_step(world, ensemble, "required")
    await handle.execute_update(RestartEnsemble.approve, ME)
    status = await until(handle, lambda status: any("QUORUM_TLS=required" in why for why in _whys(status)), 30)
    assert status.waiting is not None and "set QUORUM_TLS to accepted" in status.waiting.unblocks and watch.order == []
    change_step(world, ensemble, "accepted")
    is_done(await handle.result())
    assert watch.order == [4, 1, 2, 3]


async def test_the_plain_port_stays_while_a_broker_uses_it(runbooks: Bench, world: World, ensemble: WorldEnsemble) -> None:
    for one in ensemble.members.values():
        one.quorum_tls = "spoken"
    change_step(world, ensemble, "required")
    for pod in world.pods.values():
        pod.file["zookeeper.ssl.client.enable"] = str(pod.broker_id != 1002).lower()
    refused = await failure(await roll(runbooks))
    assert [reason.name for reason in refused.reasons] == ["plain-client:1002"]
    assert "rolling-restart" in refused.reasons[0].remedy


async def test_the_leader_changes_meanwhile_and_goes_last(runbooks: Bench, ensemble: WorldEnsemble, watch: Watch) -> None:
    handle = await roll(runbooks, server_ids=[1, 2, 3])
    await until(handle, lambda _: len(watch.order) == 1)
    ensemble.leader = 2
    is_done(await handle.result())
    assert watch.order == [1, 3, 2], "it is asked before each"


async def test_a_member_that_is_away_is_a_reason_not_to_start_unless_it_restarts_itself(
    runbooks: Bench, ensemble: WorldEnsemble, watch: Watch
) -> None:
    ensemble.kill(1)
    refused = await failure(await roll(runbooks, server_ids=[2]))
    assert [reason.name for reason in refused.reasons] == ["member-away:1"]
    assert "wait until server 1 is back and in sync" in refused.reasons[0].remedy
    is_done(await (await roll(runbooks)).result())
    assert watch.order == [1, 4, 2, 3], "the sick one first: its pod is made anew"


async def test_another_member_dies_meanwhile_and_is_waited_for(runbooks: Bench, ensemble: WorldEnsemble, watch: Watch) -> None:
    """Two of three down: it stops, says so, and goes on when they are back."""
    handle = await roll(runbooks, server_ids=[1, 2, 3])
    await until(handle, lambda _: len(watch.order) == 1)
    ensemble.kill(2)
    status = await until(handle, lambda status: status.waiting is not None and "commits nothing" in status.waiting.reason, 30)
    assert status.waiting is not None and "a quorum of its members" in status.waiting.unblocks
    assert watch.order == [1]
    ensemble.revive(2)
    is_done(await handle.result())
    assert sorted(watch.order) == [1, 2, 3]


async def test_a_member_that_never_applies_what_is_committed_is_not_back(
    runbooks: Bench, ensemble: WorldEnsemble, watch: Watch
) -> None:
    """It serves, its pod is Ready, and it isn't in sync."""
    ensemble.lagging.add(1)
    handle = await roll(runbooks, server_ids=[1])
    await until(handle, lambda status: any("lacks what was committed" in why for why in _whys(status)), 30)
    assert not handle_is_done(await handle.describe())
    ensemble.lagging.clear()
    is_done(await handle.result())


def _whys(status: Any) -> tuple[str, ...]:
    return () if status.waiting is None else (status.waiting.reason,)


def handle_is_done(described: Any) -> bool:
    return bool(described.close_time)


async def test_somebody_else_evicts_a_member(runbooks: Bench, ensemble: WorldEnsemble, watch: Watch) -> None:
    """It still serves, and counts as away: the roll waits until it has ended and is back."""

    def evict() -> None:
        watch.then = lambda: None
        ensemble.members[3].is_terminating, ensemble.members[3].ends_in = True, 14

    watch.then = evict
    is_done(await (await roll(runbooks, server_ids=[1, 2])).result())
    assert watch.order == [1, 2] and watch.most_away == 1
    evict()
    refused = await failure(await roll(runbooks, server_ids=[1]))
    assert [reason.name for reason in refused.reasons] == ["member-away:3"]
    assert "somebody shuts server 3 down" in refused.reasons[0].message


async def test_a_stuck_pod_stops_the_roll_until_its_template_is_repaired(
    runbooks: Bench, world: World, ensemble: WorldEnsemble, watch: Watch
) -> None:
    world.stuck[world.change_template("zookeeper")] = "ErrImagePull: no such image"
    handle = await roll(runbooks, server_ids=[1, 2, 3])
    status = await until(handle, lambda status: any("ErrImagePull" in why for why in _whys(status)), 30)
    assert status.waiting is not None and "repair the template" in status.waiting.unblocks and watch.order == [1]
    world.change_template("zookeeper")
    is_done(await handle.result())
    assert watch.order == [1, 1, 2, 3] and watch.most_away == 1


async def test_an_abort_ends_after_the_member_in_hand(runbooks: Bench, ensemble: WorldEnsemble, watch: Watch) -> None:
    handle = await roll(runbooks, server_ids=[1, 2, 3])
    await until(handle, lambda status: status.step == "follow the restart")
    await handle.execute_update(RestartEnsemble.abort, Abort(by="alice", reason="because"))
    result = await failure(handle)
    assert result.outcome is Outcome.ABORTED and "1 of 3 members have been restarted" in result.summary
    assert watch.order == [1] and ensemble.away() == set()


async def test_what_stands_in_the_way_is_named_before_anything_is_touched(
    runbooks: Bench, world: World, ensemble: WorldEnsemble, watch: Watch
) -> None:
    world.update_strategies["zookeeper"] = "RollingUpdate"
    refused = await failure(await roll(runbooks))
    assert [reason.name for reason in refused.reasons] == ["update-strategy:zookeeper"]
    world.update_strategies.clear()
    refused = await failure(await roll(runbooks, server_ids=[9]))
    assert [reason.name for reason in refused.reasons] == ["unknown-server"] and refused.reasons[0].is_bad_input
    ensemble.kill(1)
    ensemble.kill(2)
    refused = await failure(await roll(runbooks))
    assert [reason.name for reason in refused.reasons] == ["commits-nothing"] and watch.order == []


async def test_two_members_have_no_quorum_to_spare(runbooks: Bench, world: World) -> None:
    world.ensemble = WorldEnsemble(world, voters=2)
    refused = await failure(await roll(runbooks))
    assert {reason.name for reason in refused.reasons} == {"no-quorum"}
    assert "an ensemble of 2 stands no failure" in refused.reasons[0].remedy


@pytest.mark.parametrize("when", ["before", "after"])
async def test_each_change_is_cut_off_once(
    runbooks: Bench, world: World, ensemble: WorldEnsemble, watch: Watch, when: str
) -> None:
    """A worker dies right before, or right after, each act: the next attempt looks at the world."""
    deleted = set()

    def cut(act: str) -> None:
        key = (act, len(watch.order))
        if act == "delete_pod" and key not in deleted:
            deleted.add(key)
            raise Unreachable("cut off")

    if when == "before":
        world.before_act = cut
    else:
        world.after_act = cut
    before = uids(ensemble)
    is_done(await asyncio.wait_for((await roll(runbooks)).result(), 90))
    assert all(uid != before[server_id] for server_id, uid in uids(ensemble).items())
    assert watch.order == [4, 1, 2, 3] and watch.most_away == 1 and len(deleted) >= 4, "nothing is restarted twice"


class TestKraft:
    @pytest.fixture
    def world(self) -> World:
        return World()

    async def test_in_kraft_mode_it_is_refused_by_name(self, runbooks: Bench) -> None:
        refused = await failure(await roll(runbooks))
        assert [reason.name for reason in refused.reasons] == ["no-zookeeper"] and "rolling-restart" in refused.reasons[0].remedy


async def test_no_member_stops_before_others_find_the_one_that_has_restarted(
    runbooks: Bench, ensemble: WorldEnsemble, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may lead once the next one has stopped, and the others would connect to the address that it had."""
    world, cache_seconds = runbooks.world, 30.0
    runbooks.clusters.keep_addresses(cache_seconds)
    monkeypatch.setattr(ensemble_steps, "datetime", SimpleNamespace(now=lambda _: world.now))
    delete_pod, too_early, order = ensemble.delete_pod, list[str](), list[int]()

    def deleted(pod: str, *, force: bool) -> None:
        for one in ensemble.members.values():
            found_from = None if one.started_at is None else one.started_at + timedelta(seconds=cache_seconds)
            if one.server_id in order and (found_from is None or world.now < found_from):
                too_early.append(f"{pod} after {one.pod}")
        order.append(ensemble.of_pod(pod).server_id)
        delete_pod(pod, force=force)

    monkeypatch.setattr(ensemble, "delete_pod", deleted)
    is_done(await (await roll(runbooks)).result())
    assert too_early == [] and len(order) == 4
