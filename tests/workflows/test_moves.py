"""The runbooks that move data, on a real Temporal server and a world in memory: every outcome, and what each leaves behind."""

import asyncio
import json
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from temporalio.client import WorkflowFailureError, WorkflowHandle
from temporalio.exceptions import ApplicationError

from activities import ledgers, mover, removal
from activities.errors import PermitLost
from kafka_runbooks.clients import store
from kafka_runbooks.clients.errors import Unreachable
from kafka_runbooks.models.cluster import ThrottleRates, TopicPartition
from kafka_runbooks.models.ledger import OwnedReassignment
from kafka_runbooks.models.messages import Token
from kafka_runbooks.models.moves import MovePlan
from kafka_runbooks.models.operator import Abort, Approval, OperatorAction
from kafka_runbooks.models.results import Outcome, RunbookResult
from kafka_runbooks.models.status import Status
from kafka_runbooks.placement import planners
from kafka_runbooks.placement.plan import Plan
from tests.fakes import FakeKafka, FakeKubernetes
from tests.fakes.fence import FakeFence
from tests.fakes.world import MEGABYTE, World
from tests.temporal_env import Bench
from tests.workflows.test_replace_broker import nothing_is_left
from workflows.rebalance import Rebalance

Handle = WorkflowHandle[Any, RunbookResult]
FAST: dict[str, Any] = {"throttle": {"mode": "fixed", "rate_bytes_per_s": 50_000_000}, "wait_for_approval": False}
SLOW: dict[str, Any] = {"throttle": {"mode": "fixed", "rate_bytes_per_s": 2_000_000}, "wait_for_approval": False}
ME = OperatorAction(by="alice", reason="because")


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
    deadline = time.monotonic() + seconds
    while True:
        status: Status = await handle.query(Rebalance.status)
        if holds(status):
            return status
        assert time.monotonic() < deadline, f"not in {seconds} s; now {status}"
        await asyncio.sleep(0.05)


def plan_of(world: World, status: Status) -> MovePlan:
    assert status.plan is not None
    plan = store.load(FakeKubernetes(world), status.plan.reference.plan_id, MovePlan)
    assert plan is not None
    return plan


async def failure(handle: Handle) -> RunbookResult:
    with pytest.raises(WorkflowFailureError) as raised:
        await handle.result()
    cause = raised.value.cause
    assert isinstance(cause, ApplicationError), cause
    return RunbookResult.model_validate(cause.details[0])


def holds(result: RunbookResult) -> None:
    assert [check for check in result.checks if not check.passed] == []
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
    for _ in range(3):
        again = await (await runbooks.start_runbook("Rebalance", map="events", **FAST)).result()
        if again.outcome is Outcome.NOTHING_TO_DO:
            break
    assert again.outcome is Outcome.NOTHING_TO_DO, "it comes to rest"


async def test_the_plan_waits_at_the_gate_with_its_what_if(runbooks: Bench) -> None:
    before = assignment(runbooks.world)
    handle = await runbooks.start_runbook("Rebalance", wait_for_approval=True)
    status = await until(handle, lambda status: status.phase == "gate" and status.waiting is not None)
    plan = status.plan
    assert plan is not None and plan.spread_after is not None and plan.spread_before is not None
    assert plan.lower_bound_bytes <= plan.bytes_to_copy == sum(batch.copied_bytes for batch in plan.what_if) > 0
    assert sum(batch.partitions for batch in plan.what_if) == plan.partitions
    assert max(batch.fullest_bytes for batch in plan.what_if) >= max(broker.used_bytes_after for broker in plan.brokers)
    assert sum(broker.arriving_bytes for broker in plan.brokers) == plan.bytes_to_copy
    assert plan.spread_after < plan.spread_before and plan.eta_seconds > 0
    assert plan.steps == (
        "reassign partitions",
        "elect preferred leaders",
        "remove throttles and cordons",
        "prove the exit contract",
    )
    assert assignment(runbooks.world) == before and runbooks.world.rates == {}
    await handle.execute_update(Rebalance.reject, ME)
    assert (await failure(handle)).outcome is Outcome.REJECTED
    assert assignment(runbooks.world) == before
    nothing_is_left(runbooks.world)


async def moving(handle: Handle, at_least: int = 1) -> Status:
    """A status with data under way: some partitions are there, others aren't."""
    return await until(
        handle,
        lambda status: (
            status.step == "reassign partitions" and status.progress is not None and status.progress.done_partitions >= at_least
        ),
    )


async def test_new_brokers_take_their_share(runbooks: Bench) -> None:
    world = runbooks.world
    result = await (await runbooks.start_runbook("ScaleUp", brokers=[1007], **FAST)).result()
    assert result.outcome is Outcome.DONE, result.summary
    holds(result)
    used = used_bytes(world)
    assert used[1007] > 0.8 * (used[1001] + used[1002] + used[1003]) / 3
    assert any(partition.leader == 1007 for partition in world.partitions.values())
    nothing_is_left(world)
    twice = await failure(await runbooks.start_runbook("ScaleUp", brokers=[1099], **FAST))
    assert twice.outcome is Outcome.REFUSED and "1099" in twice.summary


async def test_replication_factor_up_and_down_again(runbooks: Bench) -> None:
    world = runbooks.world
    up = await (await runbooks.start_runbook("SetReplicationFactor", topics=["events.a"], replication_factor=3, **FAST)).result()
    assert up.outcome is Outcome.DONE, up.summary
    assert up.copied_bytes == up.lower_bound_bytes == 8 * 10 * MEGABYTE
    replicas = {name: row for name, row in assignment(world).items() if name.topic == "events.a"}
    assert all(len(row) == 3 and set(row) <= {1001, 1002, 1003, 1007} for row in replicas.values())
    world.minimum_in_sync["events.a"] = 2
    handle = await runbooks.start_runbook("SetReplicationFactor", topics=["events[.]a"], replication_factor=1, **FAST)
    refused = await failure(handle)
    assert [reason.name for reason in refused.reasons] == ["below-minimum:events.a"]
    risk = {"acknowledged_risks": ["below-minimum:events.a"], **FAST}
    down = await (
        await runbooks.start_runbook("SetReplicationFactor", topics=["events.a"], replication_factor=1, **risk)
    ).result()
    assert down.outcome is Outcome.DONE and down.copied_bytes == 0
    assert all(len(row) == 1 for name, row in assignment(world).items() if name.topic == "events.a")
    nothing_is_left(world)


async def test_a_given_plan_is_carried_out_as_it_is(runbooks: Bench) -> None:
    world = runbooks.world
    wanted = [{"topic": "events.a", "partition": number, "replicas": [1007, 1003]} for number in range(4)]
    result = await (await runbooks.start_runbook("RunPlan", plan={"version": 1, "partitions": wanted}, **FAST)).result()
    assert result.outcome is Outcome.DONE, result.summary
    assert all(world.partitions[TopicPartition("events.a", number)].replicas == [1007, 1003] for number in range(4))
    assert world.partitions[TopicPartition("events.a", 0)].leader == 1007
    back = json.dumps({"version": 1, "partitions": [{**entry, "replicas": [1001, 1002]} for entry in wanted]})
    world.records["my-plan"] = ("theirs", {"plan.json": back.encode()})
    result = await (await runbooks.start_runbook("RunPlan", config_map="my-plan", **FAST)).result()
    assert result.outcome is Outcome.DONE, result.summary
    assert all(world.partitions[TopicPartition("events.a", number)].replicas == [1001, 1002] for number in range(4))
    nothing_is_left(world)


@pytest.mark.parametrize(
    ("plan", "words"),
    [
        ([{"topic": "nope", "partition": 0, "replicas": [1001]}], ["plan.partitions.0", "nope-0 is unknown"]),
        ([{"topic": "events.a", "partition": 0, "replicas": [1001, 1001]}], ["plan.partitions.0.replicas", "twice"]),
        ([{"topic": "events.a", "partition": 0, "replicas": [77]}], ["plan.partitions.0.replicas", "[77]"]),
        ([{"topic": "events.a", "partition": 0, "replicas": [1001]}] * 2, ["plan.partitions.1", "already"]),
    ],
)
async def test_a_bad_plan_is_refused_by_field(runbooks: Bench, plan: list[dict[str, Any]], words: list[str]) -> None:
    result = await failure(await runbooks.start_runbook("RunPlan", plan={"partitions": plan}, **FAST))
    assert result.outcome is Outcome.REFUSED
    assert all(word in result.summary for word in words), result.summary
    runbooks.world.records["bad"] = ("theirs", {"plan.json": b'{"partitions": [{"topic": "a", "partition": "x"}]}'})
    result = await failure(await runbooks.start_runbook("RunPlan", config_map="bad", **FAST))
    assert "plan.partitions.0.partition" in result.summary and "plan.partitions.0.replicas" in result.summary
    assert "alter_reassignments" not in runbooks.world.acts


async def test_leaders_out_and_back(runbooks: Bench) -> None:
    world = runbooks.world
    before = assignment(world)
    leaders = {name: partition.leader for name, partition in world.partitions.items()}
    out = await (await runbooks.start_runbook("EvacuateLeaders", brokers=[1001], **FAST)).result()
    assert out.outcome is Outcome.DONE, out.summary
    assert not any(partition.leader == 1001 for partition in world.partitions.values())
    assert {name: sorted(row) for name, row in assignment(world).items()} == {name: sorted(row) for name, row in before.items()}
    back = await (await runbooks.start_runbook("EvacuateLeaders", brokers=[1001], back=True, **FAST)).result()
    assert back.outcome is Outcome.DONE, back.summary
    assert assignment(world) == before
    assert {name: partition.leader for name, partition in world.partitions.items()} == leaders
    assert not [name for name, (kind, _) in world.records.items() if kind == "evacuation"]
    unknown = await failure(await runbooks.start_runbook("EvacuateLeaders", brokers=[1002], back=True, **FAST))
    assert "no evacuation" in unknown.summary
    nothing_is_left(world)


async def test_an_abort_with_rollback_ends_at_the_byte_exact_start(runbooks: Bench) -> None:
    world = runbooks.world
    before = assignment(world)
    handle = await runbooks.start_runbook("Rebalance", map="events", **SLOW)
    await moving(handle)
    assert assignment(world) != before
    await handle.execute_update(Rebalance.abort, Abort(by="alice", reason="wrong night", rollback=True))
    result = await failure(handle)
    assert result.outcome is Outcome.ABORTED
    assert assignment(world) == before, result.summary
    holds(result)
    assert "rolled back" in result.summary
    nothing_is_left(world)


async def test_an_abort_without_rollback_keeps_what_is_done(runbooks: Bench) -> None:
    world = runbooks.world
    before = assignment(world)
    handle = await runbooks.start_runbook("Rebalance", map="events", **SLOW)
    await moving(handle)
    await handle.execute_update(Rebalance.abort, Abort(by="alice", reason="enough"))
    result = await failure(handle)
    assert result.outcome is Outcome.ABORTED
    now = assignment(world)
    assert now != before
    assert all(len(row) == len(before[name]) for name, row in now.items())
    nothing_is_left(world)


async def test_a_rollback_leaves_what_somebody_else_moved_meanwhile(runbooks: Bench) -> None:
    world = runbooks.world
    before = assignment(world)
    handle = await runbooks.start_runbook("Rebalance", map="events", **SLOW)
    await moving(handle)
    await handle.execute_update(Rebalance.pause, ME)
    await until(handle, lambda status: status.waiting is not None and "paused" in status.waiting.reason)
    while any(partition.adding or partition.removing for partition in world.partitions.values()):
        world.advance()
    moved = next(name for name, row in assignment(world).items() if row != before[name])
    theirs = [broker for broker in (1001, 1002, 1003, 1007) if broker not in assignment(world)[moved] + before[moved]]
    theirs = [*theirs, before[moved][0]][:2]
    FakeKafka(world).alter_reassignments({moved: theirs})
    while world.partitions[moved].adding:
        world.advance()
    await handle.execute_update(Rebalance.abort, Abort(by="alice", reason="wrong night", rollback=True))
    result = await failure(handle)
    assert "not whole" in result.summary and str(moved) in result.summary
    assert assignment(world) == {**before, moved: theirs}
    nothing_is_left(world)


async def test_a_pause_lets_what_is_in_flight_end_and_starts_nothing(runbooks: Bench) -> None:
    world = runbooks.world
    handle = await runbooks.start_runbook("Rebalance", map="events", limits={"moves_at_once": 1}, **SLOW)
    await moving(handle)
    await handle.execute_update(Rebalance.pause, ME)
    await until(handle, lambda status: status.waiting is not None and "paused" in status.waiting.reason)
    world.advance(50)
    stopped = assignment(world)
    assert not any(partition.adding for partition in world.partitions.values())
    await asyncio.sleep(0.5)
    world.advance(20)
    assert assignment(world) == stopped
    await handle.execute_update(Rebalance.resume, ME)
    result = await handle.result()
    assert result.outcome is Outcome.DONE, result.summary
    nothing_is_left(world)


async def test_what_a_controller_failover_lost_is_submitted_again(runbooks: Bench) -> None:
    world = runbooks.world
    handle = await runbooks.start_runbook("Rebalance", map="events", **SLOW)
    await moving(handle)
    world.lose_reassignments()
    result = await handle.result()
    assert result.outcome is Outcome.DONE, result.summary
    holds(result)
    nothing_is_left(world)


async def test_a_destination_that_dies_is_planned_around_and_asked_about(runbooks: Bench) -> None:
    world = runbooks.world
    handle = await runbooks.start_runbook("Rebalance", map="events", **{**SLOW, "wait_for_approval": True})
    await until(handle, lambda status: status.phase == "gate" and status.waiting is not None)
    await handle.execute_update(Rebalance.approve, Approval(by="alice", reason="go"))
    await until(
        handle,
        lambda _: (
            any(1007 in one.in_sync and not one.adding for one in world.partitions.values())
            and any(1007 in one.adding for one in world.partitions.values())
        ),
    )
    world.kill_broker(1007)
    status = await until(handle, lambda status: status.phase == "gate" and status.waiting is not None)
    assert [reason.name for reason in status.reasons] == ["broker-is-down:1007"], "what is there already would be copied again"
    assert not any(partition.adding for partition in world.partitions.values())
    await handle.execute_update(
        Rebalance.approve, Approval(by="alice", reason="go on without it", acknowledged_risks=("broker-is-down:1007",))
    )
    try:
        result = await handle.result()
    except WorkflowFailureError:
        # It had sent data already: its throttle can't be given back while it is down, and that is said.
        result = await failure(handle)
        assert [check.name for check in result.checks if not check.passed] == ["no throttle or cordon of ours"]
        assert all("broker 1007" in line for line in result.left_behind) and result.left_behind
    assert not any(1007 in row for row in assignment(world).values())
    world.revive_broker(1007)
    await (await runbooks.start_runbook("ClearLeftovers")).result()
    nothing_is_left(world)


async def test_a_destination_whose_node_is_lost_is_given_up_sooner_than_one_that_restarts(
    runbooks: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = runbooks.world
    monkeypatch.setattr(mover, "RESTART_SECONDS", 60.0)
    handle = await runbooks.start_runbook("Rebalance", map="events", **{**SLOW, "wait_for_approval": True})
    await until(handle, lambda status: status.phase == "gate" and status.waiting is not None)
    await handle.execute_update(Rebalance.approve, Approval(by="alice", reason="go"))
    await until(handle, lambda _: any(1007 in one.adding for one in world.partitions.values()))
    world.kill_broker(1007)
    await asyncio.sleep(2.0)
    assert any(1007 in one.adding for one in world.partitions.values()), "its pod is on a Ready node: it restarts"
    world.revive_broker(1007)
    await until(handle, lambda _: any(1007 in one.adding and 1007 not in one.in_sync for one in world.partitions.values()))
    pod = world.pod_of(1007)
    assert pod is not None and pod.node is not None
    world.lose_node(pod.node)
    began = time.monotonic()
    await until(handle, lambda status: status.phase == "gate" and status.waiting is not None)
    assert time.monotonic() - began < 30
    await handle.execute_update(Rebalance.reject, ME)
    assert (await failure(handle)).outcome is Outcome.REJECTED


async def test_the_only_new_broker_that_dies_leaves_what_has_arrived(runbooks: Bench) -> None:
    world = runbooks.world
    handle = await runbooks.start_runbook("ScaleUp", brokers=[1007], **SLOW)
    await moving(handle)
    world.kill_broker(1007)
    result = await failure(handle)
    assert result.outcome is Outcome.FAILED
    assert "the rest can't be planned" in result.summary and "1007" in result.summary
    assert not any(partition.adding for partition in world.partitions.values())


async def test_a_topic_that_is_deleted_is_less_to_do(runbooks: Bench) -> None:
    world = runbooks.world
    handle = await runbooks.start_runbook("Rebalance", map="events", **SLOW)
    await moving(handle)
    world.delete_topic("events.a")
    result = await handle.result()
    assert result.outcome is Outcome.DONE, result.summary
    nothing_is_left(world)


async def test_partitions_that_are_added_stop_nothing_and_ask_for_a_new_approval_at_the_end(runbooks: Bench) -> None:
    world = runbooks.world
    handle = await runbooks.start_runbook("Rebalance", map="events", **{**SLOW, "wait_for_approval": True})
    first = await until(handle, lambda status: status.phase == "gate" and status.waiting is not None)
    await handle.execute_update(Rebalance.approve, Approval(by="alice", reason="go"))
    await moving(handle)
    for _ in range(6):
        world.grow_topic("events.b", (1003, 1002), size_bytes=20 * MEGABYTE)
    second = await until(handle, lambda status: status.phase == "gate" and status.waiting is not None)
    assert first.plan is not None and second.plan is not None
    assert first.plan.reference != second.plan.reference
    done = {move.name: list(move.after) for move in plan_of(world, first).moves}
    assert {name: assignment(world)[name] for name in done} == done, "what was approved is carried out first"
    await handle.execute_update(Rebalance.approve, Approval(by="alice", reason="go on"))
    result = await handle.result()
    assert result.outcome is Outcome.DONE, result.summary
    assert [decision.action for decision in result.decisions] == ["approve", "approve"]
    holds(result)
    nothing_is_left(world)


async def test_a_remainder_of_what_was_approved_asks_nobody(runbooks: Bench) -> None:
    """Somebody moves one partition of a given plan elsewhere; the plan that is made anew is the given one, and was approved."""
    world = runbooks.world
    wanted = [{"topic": "events.a", "partition": number, "replicas": [1007, 1003]} for number in range(8)]
    handle = await runbooks.start_runbook("RunPlan", plan={"partitions": wanted}, **{**SLOW, "wait_for_approval": True})
    await until(handle, lambda status: status.phase == "gate" and status.waiting is not None)
    await handle.execute_update(Rebalance.approve, Approval(by="alice", reason="go"))
    await moving(handle)
    world.partitions[TopicPartition("events.a", 7)].replicas.reverse()
    result = await handle.result()
    assert result.outcome is Outcome.DONE, result.summary
    assert [decision.action for decision in result.decisions] == ["approve"]
    nothing_is_left(world)


async def test_somebody_else_s_reassignment_refuses_a_start_and_is_waited_for_later(runbooks: Bench) -> None:
    world = runbooks.world
    theirs = TopicPartition("events.b", 7)
    world.link_bytes_per_s = 1
    FakeKafka(world).alter_reassignments({theirs: [1001, 1007]})
    refused = await failure(await runbooks.start_runbook("Rebalance", map="events", **FAST))
    assert [reason.name for reason in refused.reasons] == ["foreign-reassignment"]
    waits = await runbooks.start_runbook("Rebalance", map="events", when_busy="wait", **SLOW)
    await until(waits, lambda status: status.waiting is not None and "someone else" in status.waiting.reason)
    assert world.partitions[theirs].adding, "never cancelled"
    world.link_bytes_per_s = 10**9
    await moving(waits)
    left = next(name for name, row in assignment(world).items() if row == [1001, 1002] and name.topic == "events.a")
    FakeKafka(world).alter_reassignments({left: [1003, 1001]})
    result = await waits.result()
    assert result.outcome is Outcome.DONE, result.summary
    nothing_is_left(world)


async def test_a_partition_below_its_minimum_on_live_brokers_stops_new_moves(runbooks: Bench) -> None:
    world = runbooks.world
    world.minimum_in_sync["check_runs"] = 3
    disk = world.disk_of(1004)
    assert disk is not None
    name = TopicPartition("check_runs", 1)
    disk[name] -= 1
    world.frozen.add(1004)
    world.settle()
    handle = await runbooks.start_runbook("Rebalance", map="events", **SLOW)
    status = await until(handle, lambda status: status.waiting is not None and "min.insync" in status.waiting.reason)
    assert status.waiting is not None and str(name) in status.waiting.blocking
    assert "alter_reassignments" not in world.acts
    world.frozen.clear()
    result = await handle.result()
    assert result.outcome is Outcome.DONE, result.summary
    nothing_is_left(world)


async def test_a_throttle_that_a_person_changes_meanwhile_stays(runbooks: Bench) -> None:
    world = runbooks.world
    handle = await runbooks.start_runbook("Rebalance", map="events", **SLOW)
    await moving(handle)
    world.rates[1002] = ThrottleRates(leader_bytes_per_s=9_000_000)
    result = await handle.result()
    assert result.outcome is Outcome.DONE, result.summary
    assert world.rates[1002].leader_bytes_per_s == 9_000_000
    world.rates.pop(1002)
    nothing_is_left(world)


async def test_leases_are_taken_before_each_move(runbooks: Bench) -> None:
    world = runbooks.world
    seen: list[bool] = []

    def after(act: str) -> None:
        if act == "alter_reassignments":
            for name, partition in world.partitions.items():
                entries = world.lists[name.topic]
                for broker in partition.adding:
                    seen.append(f"{name.partition}:{broker}" in entries.follower.split(","))
                    assert partition.leader is not None
                    seen.append(f"{name.partition}:{partition.leader}" in entries.leader.split(","))
                    seen.append(world.rates[partition.leader].leader_bytes_per_s is not None)

    world.after_act = after
    await (await runbooks.start_runbook("Rebalance", map="events", **SLOW)).result()
    assert seen and all(seen)


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("runbook", ["Rebalance", "Decommission"])
async def test_each_change_is_cut_off_once(runbooks: Bench, when: str, runbook: str) -> None:
    world = runbooks.world
    fields: dict[str, Any] = {"map": "events"}
    acts = {"write_record", "alter_reassignments", "set_throttle_rates", "set_throttled_replicas", "delete_record"}
    if runbook == "Decommission":
        world.add_topic("events.c", 4, (1007, 1001), replication_factor=2, minimum_in_sync=1, size_bytes=10 * MEGABYTE)
        fields = {"brokers": [1007], "remove_pods": True}
        acts |= {"cordon_log_directories", "scale", "delete_claim", "unregister_broker"}
    tries: Counter[str] = Counter()

    def cut(name: str) -> None:
        tries[name] += 1
        if tries[name] % 2 == 1 and tries[name] < 4:
            raise Unreachable(f"cut off {when} {name}")

    if when == "before":
        world.before_act = cut
    else:
        world.after_act = cut
    result = await (await runbooks.start_runbook(runbook, **fields, **FAST)).result()
    assert result.outcome is Outcome.DONE, result.summary
    holds(result)
    assert set(tries) >= acts
    nothing_is_left(world)
    if runbook == "Decommission":
        assert "events-3" not in world.pods and "data-events-3" not in world.claims
        assert world.unregistered == {1007} and world.cordoned.get(1007, "") == ""


async def test_what_fits_no_disk_is_refused_with_what_would_help(runbooks: Bench) -> None:
    world = runbooks.world
    used = used_bytes(world)
    world.capacity_bytes = {broker: used[broker] + 20 * MEGABYTE for broker in (1001, 1002, 1003, 1007)}
    result = await failure(await runbooks.start_runbook("Decommission", brokers=[1002], **FAST))
    assert result.outcome is Outcome.REFUSED
    assert "no-map:capacity" in [reason.name for reason in result.reasons], result.reasons
    assert "bytes" in result.summary


async def test_a_given_plan_over_fewer_racks_needs_a_word(runbooks: Bench) -> None:
    wanted = [{"topic": "events.a", "partition": 0, "replicas": [1001, 1007]}]
    refused = await failure(await runbooks.start_runbook("RunPlan", plan={"partitions": wanted}, **FAST))
    assert [reason.name for reason in refused.reasons] == ["fewer-racks:events.a"]
    fields = {"plan": {"partitions": wanted}, "acknowledged_risks": ["fewer-racks:events.a"], **FAST}
    assert (await (await runbooks.start_runbook("RunPlan", **fields)).result()).outcome is Outcome.DONE


async def test_two_thousand_partitions_leave_no_large_payload_in_the_history(runbooks: Bench) -> None:
    world = runbooks.world
    for number in range(20):
        world.add_topic(f"many.{number}", 100, (1001, 1002), replication_factor=2, minimum_in_sync=1, size_bytes=1_000)
    world.step_s = 60.0
    fields = {
        "topics": ["many[.].*"],
        "replication_factor": 3,
        "limits": {"moves_in_per_broker": 400, "moves_out_per_broker": 400, "moves_at_once": 1000},
        "throttle": FAST["throttle"],
    }
    handle = await runbooks.start_runbook("SetReplicationFactor", **fields)
    status = await until(handle, lambda status: status.phase == "gate" and status.waiting is not None, 60)
    assert status.plan is not None and status.plan.partitions == 2_000
    await handle.execute_update(Rebalance.approve, Approval(by="alice", reason="go"))
    result = await handle.result()
    assert result.outcome is Outcome.DONE, result.summary
    history = await handle.fetch_history()
    largest = max(len(event.SerializeToString()) for event in history.events)
    assert largest < 100_000, largest
    assert len(history.events) < 500
    nothing_is_left(world)


async def test_a_decommissioned_broker_is_empty_and_stays_cordoned(runbooks: Bench) -> None:
    world = runbooks.world
    seen: list[bool] = []
    world.before_act = lambda act: seen.append(world.cordoned.get(1003) == "*") if act == "alter_reassignments" else None
    result = await (await runbooks.start_runbook("Decommission", brokers=[1003], **FAST)).result()
    assert result.outcome is Outcome.DONE, result.summary
    holds(result)
    assert "broker 1003 is empty" in [check.name for check in result.checks]
    assert seen and all(seen), "cordoned before data moves"
    assert not any(1003 in row for row in assignment(world).values())
    assert result.copied_bytes == result.lower_bound_bytes == 8 * 20 * MEGABYTE
    assert world.cordoned == {1003: "*"} and "1003 stay cordoned" in result.summary
    nothing_is_left(world)
    again = await (await runbooks.start_runbook("Decommission", brokers=[1003], **FAST)).result()
    assert again.outcome is Outcome.NOTHING_TO_DO


async def test_a_rack_is_emptied_at_once(runbooks: Bench) -> None:
    world = runbooks.world
    world.delete_topic("check_runs")
    result = await (await runbooks.start_runbook("Decommission", rack="zone-c", **FAST)).result()
    assert result.outcome is Outcome.DONE, result.summary
    assert not any({1003, 1006} & set(row) for row in assignment(world).values())
    unknown = await failure(await runbooks.start_runbook("Decommission", rack="zone-x", **FAST))
    assert "zone-x" in unknown.summary and "zone-a" in unknown.summary


async def test_a_decommission_that_leaves_too_few_racks_or_brokers_says_why(runbooks: Bench) -> None:
    result = await failure(await runbooks.start_runbook("Decommission", brokers=[1004, 1005], **FAST))
    assert result.outcome is Outcome.REFUSED
    assert any(reason.name.startswith("no-map:") for reason in result.reasons), result.reasons
    assert runbooks.world.cordoned == {}


async def test_pods_go_with_their_claims_and_registrations(runbooks: Bench) -> None:
    world = runbooks.world
    await (await runbooks.start_runbook("ScaleUp", brokers=[1007], **FAST)).result()
    refused = await failure(await runbooks.start_runbook("Decommission", brokers=[1002], remove_pods=True, **FAST))
    assert [reason.name for reason in refused.reasons] == ["not-the-highest-ordinals:events"]
    assert "events-3 (broker 1007)" in refused.reasons[0].message
    result = await (await runbooks.start_runbook("Decommission", brokers=[1007], remove_pods=True, **FAST)).result()
    assert result.outcome is Outcome.DONE, result.summary
    holds(result)
    assert "events-3" not in world.pods and world.stateful_sets["events"] == 3
    assert "data-events-3" not in world.claims
    assert world.unregistered == {1007}
    assert world.cordoned.get(1007, "") == "", "whoever gets this id later is not cordoned"
    nothing_is_left(world)


async def test_what_lands_on_a_leaving_broker_meanwhile_is_moved_too(runbooks: Bench) -> None:
    world = runbooks.world
    world.knows_cordoned_log_directories = False
    came: list[str] = []

    def lands(act: str) -> None:
        emptied = not any(1007 in row for row in assignment(world).values())
        if act == "set_throttle_rates" and emptied and not came and world.stateful_sets["events"] == 4:
            came.append(act)
            world.add_topic("late", 2, (1007, 1001), replication_factor=2, minimum_in_sync=1, size_bytes=1_000)

    await (await runbooks.start_runbook("ScaleUp", brokers=[1007], **FAST)).result()
    world.after_act = lands
    result = await (await runbooks.start_runbook("Decommission", brokers=[1007], remove_pods=True, **FAST)).result()
    assert result.outcome is Outcome.DONE, result.summary
    assert came and "late" in {name.topic for name in world.partitions}
    assert not any(1007 in row for row in assignment(world).values())
    assert "events-3" not in world.pods
    nothing_is_left(world)


async def test_an_aborted_decommission_gives_the_log_directories_back(runbooks: Bench) -> None:
    world = runbooks.world
    world.cordoned[1003] = "/data/old"
    before = assignment(world)
    handle = await runbooks.start_runbook("Decommission", brokers=[1003], **SLOW)
    await moving(handle)
    assert world.cordoned[1003] == "*"
    await handle.execute_update(Rebalance.abort, Abort(by="alice", reason="it stays", rollback=True))
    result = await failure(handle)
    assert result.outcome is Outcome.ABORTED, result.summary
    assert assignment(world) == before
    assert world.cordoned[1003] == "/data/old"
    nothing_is_left(world)


async def test_a_worker_that_dies_while_it_cancels_leaves_no_order_that_nobody_planned(runbooks: Bench) -> None:
    world = runbooks.world
    before = assignment(world)
    handle = await runbooks.start_runbook("Rebalance", map="events", **SLOW)
    await until(handle, lambda _: any(partition.adding for partition in world.partitions.values()))
    cut: list[str] = []

    def dies(act: str) -> None:
        if act == "alter_reassignments" and not cut and not any(partition.adding for partition in world.partitions.values()):
            cut.append(act)
            raise Unreachable("cut off after the cancel")

    world.after_act = dies
    await handle.execute_update(Rebalance.abort, Abort(by="alice", reason="enough"))
    result = await failure(handle)
    assert result.outcome is Outcome.ABORTED and result.plan is not None
    assert cut
    plan = store.load(FakeKubernetes(world), result.plan.plan_id, MovePlan)
    assert plan is not None
    after = {move.name: list(move.after) for move in plan.moves}
    for name, row in assignment(world).items():
        assert row in (before[name], after.get(name)), name
    nothing_is_left(world)


async def test_a_change_window_that_is_closed_is_waited_for_and_said(runbooks: Bench) -> None:
    now = datetime.now(UTC)
    opens, closes = now + timedelta(hours=2), now + timedelta(hours=4)
    window = {"start": f"{opens:%H:%M}", "end": f"{closes:%H:%M}"}
    handle = await runbooks.start_runbook("Rebalance", map="events", change_windows=[window], **FAST)
    status = await until(handle, lambda status: status.waiting is not None and "change window" in status.waiting.reason)
    assert status.waiting is not None and f"{opens:%H:%M} UTC" in status.waiting.reason
    assert "alter_reassignments" not in runbooks.world.acts
    await handle.execute_update(Rebalance.abort, Abort(by="alice", reason="not tonight"))
    assert (await failure(handle)).outcome is Outcome.ABORTED
    nothing_is_left(runbooks.world)


async def test_a_change_window_that_is_open_is_used(runbooks: Bench) -> None:
    now = datetime.now(UTC)
    window = {"start": f"{now - timedelta(hours=1):%H:%M}", "end": f"{now + timedelta(hours=3):%H:%M}"}
    result = await (await runbooks.start_runbook("Rebalance", map="events", change_windows=[window], **FAST)).result()
    assert result.outcome is Outcome.DONE, result.summary


@pytest.mark.parametrize("rolls_back", [False, True])
async def test_brokers_whose_metadata_lag_behind_the_controller(runbooks: Bench, rolls_back: bool) -> None:
    world = runbooks.world
    world.metadata_lag = 2
    before = assignment(world)
    fields = {"limits": {"moves_in_per_broker": 2}, **SLOW, "wait_for_approval": True}
    handle = await runbooks.start_runbook("Rebalance", map="events", **fields)
    await until(handle, lambda status: status.phase == "gate" and status.waiting is not None)
    await handle.execute_update(Rebalance.approve, Approval(by="alice", reason="go"))
    if rolls_back:
        await moving(handle)
        await handle.execute_update(Rebalance.abort, Abort(by="alice", reason="wrong night", rollback=True))
        result = await failure(handle)
        assert assignment(world) == before, result.summary
    else:
        result = await handle.result()
        assert result.outcome is Outcome.DONE, result.summary
    assert len([one for one in result.decisions if one.action == "approve"]) == 1, "nothing was taken for drift"
    holds(result)
    nothing_is_left(world)


async def test_a_dead_broker_is_decommissioned_from_the_other_replicas(runbooks: Bench) -> None:
    world = runbooks.world
    world.kill_broker(1003)
    result = await (await runbooks.start_runbook("Decommission", brokers=[1003], **FAST)).result()
    assert result.outcome is Outcome.DONE, result.summary
    holds(result)
    assert not any(1003 in row for row in assignment(world).values())
    nothing_is_left(world)


async def test_a_terminated_decommission_s_leftovers_are_cleared_by_the_next_run(runbooks: Bench) -> None:
    world = runbooks.world
    handle = await runbooks.start_runbook("Decommission", brokers=[1003], **SLOW)
    await moving(handle)
    await handle.terminate("for the test")
    assert world.cordoned[1003] == "*" and any(partition.adding for partition in world.partitions.values())
    cleared = await (await runbooks.start_runbook("ClearLeftovers", when_busy="wait")).result()
    assert cleared.outcome is Outcome.DONE, cleared.summary
    assert world.cordoned[1003] == ""
    nothing_is_left(world)
    result = await (await runbooks.start_runbook("Decommission", brokers=[1003], **FAST)).result()
    assert result.outcome is Outcome.DONE, result.summary


async def test_a_mover_that_is_fenced_off_as_it_submits_takes_it_back(runbooks: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """The permit is lost between question and request: nobody would know of the reassignments, for the ledger is cleared."""
    world = runbooks.world
    before = assignment(world)
    lost: list[str] = []

    class Losing(FakeFence):
        def ask(self) -> None:
            if "alter_reassignments" in world.acts:
                lost.append("the permit")
                raise PermitLost("the permit is lost")

    monkeypatch.setattr(mover, "Fence", Losing)
    handle = await runbooks.start_runbook("Rebalance", map="events", **SLOW)
    assert (await failure(handle)).outcome is Outcome.FAILED
    assert lost and assignment(world) == before
    assert not any(partition.adding or partition.removing for partition in world.partitions.values())


def test_a_move_that_ends_before_its_cancel_arrives_stays_where_it_is(world: World) -> None:
    """To ask for its old replicas would copy them anew, unthrottled, and nobody would own it."""
    kafka, kubernetes, name = FakeKafka(world), FakeKubernetes(world), TopicPartition("events.a", 0)
    world.advance_at_look = False
    token = Token(cluster="c", workflow_id="w", run_id="r", permit_run_id="p")
    owned = OwnedReassignment(topic=name.topic, partition=name.partition, before=(1001, 1002), after=(1007, 1002))
    ledger = ledgers.write(kubernetes, ledgers.read(kubernetes, token).model_copy(update={"reassignments": (owned,)}))
    kafka.alter_reassignments({name: owned.after})
    world.before_act = lambda act: world.advance(5) if act == "alter_reassignments" else None
    released = removal.release(kafka, kubernetes, FakeFence(), ledger, kafka.snapshot().live_broker_ids)
    assert world.partitions[name].replicas == [1007, 1002]
    assert not world.partitions[name].adding and not world.partitions[name].removing
    assert released.left_behind == ()
    nothing_is_left(world)


@pytest.mark.parametrize("wait_for_approval", [True, False])
async def test_a_planner_s_defect_ends_the_run_with_the_broken_rule_and_touches_nothing(
    runbooks: Bench, monkeypatch: pytest.MonkeyPatch, wait_for_approval: bool
) -> None:
    """Before anybody is asked: a plan that the independent checker refuses never waits at a gate."""
    world, sound = runbooks.world, planners.rebalance

    def defective(*arguments: Any) -> Plan:
        plan = sound(*arguments)
        after = plan.after.copy()
        after[plan.changed[0], 1] = after[plan.changed[0], 0]
        return replace(plan, after=after)

    monkeypatch.setattr(planners, "rebalance", defective)
    before = assignment(world)
    fields = {**FAST, "wait_for_approval": wait_for_approval}
    result = await failure(await runbooks.start_runbook("Rebalance", map="events", **fields))
    assert result.outcome is Outcome.FAILED
    assert "the Rebalance planner broke a rule, nothing was changed" in result.summary and "a broker twice" in result.summary
    assert assignment(world) == before and world.acts == []
