"""`Drain` on a real Temporal: nodes are emptied as far as the rules allow, held, and handed back, however the run ends."""

import asyncio
from datetime import datetime, timedelta
from typing import Any

import pytest
from temporalio.client import WorkflowUpdateFailedError

from activities import ledgers
from kafka_runbooks.clients.errors import Refused, Unreachable
from kafka_runbooks.models.operator import Abort, Approval, Uncordon
from kafka_runbooks.models.results import Outcome, RunbookResult
from kafka_runbooks.models.status import Status
from tests.fakes.kubernetes import FakeKubernetes
from tests.fakes.world import World
from tests.temporal_env import Bench
from tests.workflows.test_replace_broker import failure, nothing_is_left, until
from workflows.drain import Drain

A, B, C = "node-events-a", "node-events-b", "node-events-c"
ABORT = Abort(by="alice", reason="because")
BACK = Uncordon(by="alice", reason="done")


@pytest.fixture
def world() -> World:
    world = World(controllers=3, step_s=2.0, link_bytes_per_s=100_000_000)
    world.shutdown_steps, world.start_steps = 2, 2
    world.add_topic("events.a", 12, (1001, 1002, 1003), minimum_in_sync=2)
    world.add_topic("check_runs", 6, (1004, 1005, 1006), minimum_in_sync=2)
    return world


async def drain(runbooks: Bench, *nodes: str, **fields: object) -> Any:
    given = {"nodes": nodes} if nodes else {"announced": True}
    return await runbooks.start_runbook("Drain", **{"reason": "new kernel", "wait_for_approval": False, **given, **fields})


def is_held(status: Status) -> bool:
    return status.waiting is not None and "is yours" in status.waiting.reason


def is_done(result: RunbookResult) -> None:
    assert result.outcome is Outcome.DONE, result.summary
    assert [check for check in result.checks if not check.passed] == []


def all_in_sync(world: World) -> bool:
    return all(partition.in_sync == set(partition.replicas) for partition in world.partitions.values())


def carry_on(world: World, *nodes: str) -> list[str]:
    return sorted(pod.name for name in nodes for pod in world.pods_on(name))


async def test_a_node_is_emptied_held_and_handed_back(runbooks: Bench) -> None:
    world = runbooks.world
    handle = await drain(runbooks, A)
    status = await until(handle, is_held)
    assert status.waiting is not None and A in status.waiting.reason and "uncordon" in status.waiting.unblocks
    assert status.step == "the nodes are yours"
    assert carry_on(world, A) == [] and world.nodes[A].is_cordoned and world.nodes[A].cordoned_by
    assert any(kind == "ledger" for kind, _ in world.records.values()), "a crash leaves word of the cordon"
    assert not any(partition.leader == 1001 for partition in world.partitions.values())
    world.advance(20)
    assert carry_on(world, A) == [], "it stays away for as long as somebody works on the node"
    await handle.execute_update(Drain.uncordon, BACK)
    result = await asyncio.wait_for(handle.result(), 60)
    is_done(result)
    assert "everything is back" in result.summary
    assert carry_on(world, A) == ["events-0"] and all_in_sync(world)
    assert all(partition.leader == partition.replicas[0] for partition in world.partitions.values())
    assert [decision.action for decision in result.decisions] == ["uncordon"]
    nothing_is_left(world)


async def test_uncordoning_by_hand_hands_it_back_too(runbooks: Bench) -> None:
    world = runbooks.world
    handle = await drain(runbooks, A)
    await until(handle, is_held)
    world.nodes[A].is_cordoned = False  # as `kubectl uncordon` does: the owner's annotation stays
    is_done(await asyncio.wait_for(handle.result(), 60))
    assert world.nodes[A].cordoned_by is None
    nothing_is_left(world)


async def test_uncordon_is_refused_while_nothing_is_held_and_for_other_nodes(runbooks: Bench) -> None:
    handle = await drain(runbooks, A, wait_for_approval=True)
    await until(handle, lambda status: status.phase == "gate" and status.waiting is not None)
    with pytest.raises(WorkflowUpdateFailedError) as early:
        await handle.execute_update(Drain.uncordon, BACK)
    assert "no node is held" in str(early.value.cause)
    await handle.execute_update(Drain.approve, Approval(by="bob", reason="CHG-1"))
    await until(handle, is_held)
    with pytest.raises(WorkflowUpdateFailedError) as other:
        await handle.execute_update(Drain.uncordon, BACK.model_copy(update={"nodes": (B,)}))
    assert B in str(other.value.cause) and A in str(other.value.cause)
    await handle.execute_update(Drain.uncordon, BACK)
    is_done(await asyncio.wait_for(handle.result(), 60))


async def test_several_nodes_go_as_far_as_the_rules_allow(runbooks: Bench) -> None:
    """Two brokers that share partitions are never away together; the second one goes when the first is back."""
    world = runbooks.world
    handle = await drain(runbooks, A, B, "node-checks-a")
    status = await until(handle, is_held)
    assert status.plan is not None
    lines = [line.text for line in status.plan.lines if line.label == "empty together"]
    assert lines == [f"1. {A}, node-checks-a", f"2. {B}"]
    assert carry_on(world, A, "node-checks-a") == [] and carry_on(world, B) == ["events-1"]
    await handle.execute_update(Drain.uncordon, BACK.model_copy(update={"nodes": ("node-checks-a",)}))
    status = await until(handle, lambda status: is_held(status) and "node-checks-a" not in str(status.waiting))
    assert carry_on(world, A, B, "node-checks-a") == ["checks-0", "events-1"] and not world.nodes["node-checks-a"].is_cordoned
    await handle.execute_update(Drain.uncordon, BACK)
    status = await until(handle, lambda status: is_held(status) and B in str(status.waiting))
    assert carry_on(world, A, B) == ["events-0"]
    await handle.execute_update(Drain.uncordon, BACK)
    is_done(await asyncio.wait_for(handle.result(), 60))
    nothing_is_left(world)


async def test_everything_on_a_node_goes_and_comes_back_together(runbooks: Bench) -> None:
    world = runbooks.world
    world.controllers["controller-0"].node = A
    handle = await drain(runbooks, A)
    await until(handle, is_held)
    assert carry_on(world, A) == [] and world.has_quorum
    await handle.execute_update(Drain.uncordon, BACK)
    is_done(await asyncio.wait_for(handle.result(), 60))
    assert carry_on(world, A) == ["controller-0", "events-0"]


async def test_it_does_not_start_while_a_peer_is_out_of_sync_and_waits_when_that_happens_later(runbooks: Bench) -> None:
    world = runbooks.world
    world.kill_broker(1002)
    refused = await failure(await drain(runbooks, A))
    assert refused.outcome is Outcome.REFUSED and [reason.name for reason in refused.reasons] == ["below-min-isr:events.a"]
    assert not world.nodes[A].is_cordoned and carry_on(world, A) == ["events-0"]
    world.revive_broker(1002)
    world.advance(5)
    handle = await drain(runbooks, A, wait_for_approval=True)
    await until(handle, lambda status: status.phase == "gate" and status.waiting is not None)
    world.kill_broker(1002)
    await handle.execute_update(Drain.approve, Approval(by="bob", reason="CHG-1"))
    status = await until(handle, lambda status: status.waiting is not None and "may be emptied" in status.waiting.reason)
    assert status.waiting is not None and "1002" in status.waiting.unblocks and carry_on(world, A) == ["events-0"]
    world.revive_broker(1002)
    await until(handle, is_held)
    await handle.execute_update(Drain.uncordon, BACK)
    is_done(await asyncio.wait_for(handle.result(), 60))


async def test_a_peer_that_dies_after_the_cordon_keeps_the_pod_where_it_is(runbooks: Bench) -> None:
    world = runbooks.world

    def die(act: str) -> None:
        if act == "cordon":
            world.kill_broker(1003)

    world.after_act = die
    handle = await drain(runbooks, A)
    status = await until(handle, lambda status: status.waiting is not None and "may not be shut down" in status.waiting.reason)
    assert status.step == "empty the nodes" and carry_on(world, A) == ["events-0"]
    world.revive_broker(1003)
    await until(handle, is_held)
    await handle.execute_update(Drain.uncordon, BACK)
    is_done(await asyncio.wait_for(handle.result(), 60))


async def test_a_topic_without_spare_replicas_is_to_be_acknowledged_by_name(runbooks: Bench) -> None:
    world = runbooks.world
    world.add_topic("single", 1, (1001,), replication_factor=1, minimum_in_sync=1)
    assert [one.name for one in (await failure(await drain(runbooks, A))).reasons] == ["no-spare-replica:single"]
    handle = await drain(runbooks, A, acknowledged_risks=["no-spare-replica:single"])
    await until(handle, is_held)
    await handle.execute_update(Drain.uncordon, BACK)
    is_done(await asyncio.wait_for(handle.result(), 60))


async def test_unknown_empty_and_lost_nodes(runbooks: Bench) -> None:
    world = runbooks.world
    refused = await failure(await drain(runbooks, "nope"))
    assert [reason.name for reason in refused.reasons] == ["unknown-node"] and refused.reasons[0].is_bad_input
    world.add_node("spare", "zone-a", "events")
    nothing = await (await drain(runbooks, "spare")).result()
    assert nothing.outcome is Outcome.NOTHING_TO_DO and "spare" in nothing.summary
    assert not world.nodes["spare"].is_cordoned
    world.lose_node(A)
    refused = await failure(await drain(runbooks, A))
    assert f"node-not-ready:{A}" in [reason.name for reason in refused.reasons]


@pytest.mark.parametrize("how", ["abort", "cancel"])
async def test_an_abort_or_a_cancel_while_it_is_held_brings_everything_back(runbooks: Bench, how: str) -> None:
    world = runbooks.world
    handle = await drain(runbooks, A)
    await until(handle, is_held)
    if how == "abort":
        await handle.execute_update(Drain.abort, ABORT)
        result = await failure(handle)
        assert result.outcome is Outcome.ABORTED and "what ran on it is back" in result.summary and not result.left_behind
    else:
        await handle.cancel()
        with pytest.raises(Exception, match="Workflow execution failed"):
            await handle.result()
    assert carry_on(world, A) == ["events-0"] and all_in_sync(world)
    nothing_is_left(world)


async def test_an_abort_while_it_shuts_down_brings_back_what_went(runbooks: Bench) -> None:
    world = runbooks.world
    world.shutdown_steps = 60
    handle = await drain(runbooks, A)
    await until(handle, lambda status: status.waiting is not None and "shut down in order" in status.waiting.reason)
    await handle.execute_update(Drain.abort, ABORT)
    assert (await failure(handle)).outcome is Outcome.ABORTED
    assert carry_on(world, A) == ["events-0"] and all_in_sync(world)
    nothing_is_left(world)


async def test_a_second_abort_ends_at_once_and_says_what_may_be_down(runbooks: Bench) -> None:
    world = runbooks.world
    handle = await drain(runbooks, A)
    await until(handle, is_held)
    world.stuck["events-0"] = "CrashLoopBackOff: …"
    await handle.execute_update(Drain.abort, ABORT)
    await until(handle, lambda status: status.waiting is not None and "CrashLoopBackOff" in status.waiting.reason)
    await handle.execute_update(Drain.abort, ABORT)
    result = await failure(handle)
    assert result.outcome is Outcome.ABORTED and "may be down" in result.summary
    nothing_is_left(world)


async def test_a_failure_lifts_the_cordon(runbooks: Bench) -> None:
    """The permit is ended by hand: the run fails, and gives back under a permit of its own."""
    world = runbooks.world
    handle = await drain(runbooks, A)
    await until(handle, is_held)
    await runbooks.client.get_workflow_handle(f"kafka-permit/{runbooks.cluster}").terminate()
    await handle.execute_update(Drain.uncordon, BACK)
    result = await failure(handle)
    assert result.outcome is Outcome.FAILED and "permit" in result.summary
    assert "may be down" in result.summary
    nothing_is_left(world)


async def test_a_pod_that_may_not_be_deleted_fails_the_run_and_lifts_the_cordon(runbooks: Bench) -> None:
    world = runbooks.world

    def refuse(act: str) -> None:
        if act == "delete_pod":
            raise Refused("pods is forbidden")

    world.before_act = refuse
    result = await failure(await drain(runbooks, A))
    assert result.outcome is Outcome.FAILED and "forbidden" in result.summary and "may be down" in result.summary
    assert carry_on(world, A) == ["events-0"]
    nothing_is_left(world)


async def test_the_cordon_s_lease_is_renewed_for_as_long_as_a_node_is_held(
    runbooks: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another Temporal, which doesn't know the run, would take it for a leftover."""
    monkeypatch.setattr(ledgers, "LEASE_TIME", timedelta(seconds=2))

    def ends_at() -> datetime:
        (name,) = [name for name, (kind, _) in runbooks.world.records.items() if kind == "ledger"]
        ledger = ledgers.load(FakeKubernetes(runbooks.world), name)
        assert ledger is not None
        return ledger.owner.expires_at

    handle = await drain(runbooks, A)
    await until(handle, is_held)
    first = ends_at()
    async with asyncio.timeout(30):
        while ends_at() <= first:
            await asyncio.sleep(0.1)
    await handle.execute_update(Drain.uncordon, BACK)
    is_done(await asyncio.wait_for(handle.result(), 60))


async def test_a_cordon_of_somebody_else_is_never_lifted(runbooks: Bench) -> None:
    world = runbooks.world
    world.nodes[A].is_cordoned = True
    handle = await drain(runbooks, A)
    status = await until(handle, is_held)
    assert any("cordoned by somebody else already" in note for note in status.notes)
    await handle.execute_update(Drain.uncordon, BACK)
    status = await until(handle, lambda status: status.waiting is not None and "kubectl uncordon" in status.waiting.unblocks)
    assert world.nodes[A].is_cordoned and carry_on(world, A) == []
    world.nodes[A].is_cordoned = False
    is_done(await asyncio.wait_for(handle.result(), 60))


@pytest.mark.parametrize("how", ["cordon", "taint"])
async def test_what_somebody_else_drains_is_let_go_and_left_to_them(runbooks: Bench, how: str) -> None:
    world = runbooks.world
    if how == "cordon":
        world.nodes[A].is_cordoned = True
    else:
        world.nodes[A].taints = ("ToBeDeletedByClusterAutoscaler",)
    uid = world.pods["events-0"].uid
    result = await asyncio.wait_for((await drain(runbooks)).result(), 60)
    is_done(result)
    assert f"let events-0 go from {A}" in result.summary and "comes back with its node" in result.summary
    assert world.pods["events-0"].uid != uid and carry_on(world, A) == [] and carry_on(world, B, C) == ["events-1", "events-2"]
    assert world.nodes[A].is_cordoned is (how == "cordon") and world.nodes[A].cordoned_by is None
    assert "cordon" not in world.acts and "uncordon" not in world.acts
    again = await (await drain(runbooks)).result()
    assert again.outcome is Outcome.NOTHING_TO_DO


async def test_of_several_announced_nodes_only_those_go_that_may_and_the_others_are_named(runbooks: Bench) -> None:
    """The cluster is held for none of them: a broker that is away has to come back first, which may need another runbook."""
    world = runbooks.world
    world.nodes[A].is_cordoned = world.nodes[B].is_cordoned = True
    handle = await drain(runbooks)
    is_done(await asyncio.wait_for(handle.result(), 60))
    status = await handle.query(Drain.status)
    assert any(f"node {B} is not let go yet" in note for note in status.notes)
    assert carry_on(world, A, B) == ["events-1"]
    refused = await failure(await drain(runbooks))
    assert refused.outcome is Outcome.REFUSED and [one.name for one in refused.reasons] == ["below-min-isr:events.a"]
    world.nodes[A].is_cordoned = False
    world.advance(30)
    is_done(await asyncio.wait_for((await drain(runbooks)).result(), 60))
    assert carry_on(world, A, B) == ["events-0"]


async def test_a_broker_that_somebody_else_shuts_down_counts_as_down(runbooks: Bench) -> None:
    """An eviction was granted: the broker is still in sync while its kubelet is about to stop it."""
    world = runbooks.world
    world.pods["events-1"].is_terminating = True
    assert all_in_sync(world)
    world.nodes[A].is_cordoned = True
    refused = await failure(await drain(runbooks))
    assert [one.name for one in refused.reasons if one.name.startswith("below-min-isr")] == ["below-min-isr:events.a"]
    assert carry_on(world, A) == ["events-0"]


async def test_evictions_that_go_past_the_rules_are_told(runbooks: Bench) -> None:
    world = runbooks.world
    world.max_unavailable = 1
    world.nodes[A].is_cordoned = True
    handle = await drain(runbooks)
    is_done(await asyncio.wait_for(handle.result(), 60))
    status = await handle.query(Drain.status)
    assert any("PodDisruptionBudget events allows evictions" in note for note in status.notes)


async def test_another_run_holds_the_cluster(runbooks: Bench) -> None:
    handle = await drain(runbooks, A)
    await until(handle, is_held)
    busy = await failure(await drain(runbooks))
    assert busy.outcome is Outcome.BUSY and handle.id in busy.summary
    waiting = await drain(runbooks, B, when_busy="wait")
    await handle.execute_update(Drain.uncordon, BACK)
    is_done(await asyncio.wait_for(handle.result(), 60))
    await until(waiting, is_held, 40)
    await waiting.execute_update(Drain.uncordon, BACK)
    is_done(await asyncio.wait_for(waiting.result(), 60))


async def test_what_runs_on_a_node_by_now_is_planned_again(runbooks: Bench) -> None:
    world = runbooks.world
    handle = await drain(runbooks, A, wait_for_approval=True)
    await until(handle, lambda status: status.phase == "gate" and status.waiting is not None)
    world.controllers["controller-0"].node = A
    await handle.execute_update(Drain.approve, Approval(by="bob", reason="CHG-1"))
    status = await until(
        handle, lambda status: status.phase == "gate" and status.plan is not None and "controller-0" in str(status.plan.lines)
    )
    assert carry_on(world, A) == ["controller-0", "events-0"] and status.waiting is not None
    await handle.execute_update(Drain.approve, Approval(by="bob", reason="CHG-1"))
    await until(handle, is_held)
    await handle.execute_update(Drain.uncordon, BACK)
    is_done(await asyncio.wait_for(handle.result(), 60))


@pytest.mark.parametrize("when", ["before", "after"])
async def test_each_change_is_cut_off_once(runbooks: Bench, when: str) -> None:
    """A worker dies right before, or right after, each act: the next attempt looks at the world."""
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
    handle = await drain(runbooks, A)
    await until(handle, is_held, 60)
    assert carry_on(world, A) == []
    await handle.execute_update(Drain.uncordon, BACK)
    is_done(await asyncio.wait_for(handle.result(), 90))
    assert {"cordon", "delete_pod", "uncordon"} <= seen
    nothing_is_left(world)
