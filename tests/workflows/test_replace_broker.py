"""`ReplaceBroker` on a real Temporal server and a world in memory: every outcome, and what each leaves behind."""

import asyncio
from collections.abc import Callable

import pytest
from temporalio.client import WorkflowFailureError, WorkflowHandle, WorkflowUpdateFailedError
from temporalio.exceptions import ApplicationError, CancelledError

from activities import catch_up
from kafka_runbooks.models.cluster import ThrottledReplicas, ThrottleRates, TopicPartition
from kafka_runbooks.models.operator import Abort, Approval, OperatorAction
from kafka_runbooks.models.results import Outcome, RunbookResult
from kafka_runbooks.models.status import Status
from kafka_runbooks.models.steps import StepName
from tests.fakes.world import World
from tests.temporal_env import Bench
from workflows.replace_broker import ReplaceBroker

Handle = WorkflowHandle[ReplaceBroker, RunbookResult]
SLOW = {"throttle": {"mode": "fixed", "rate_bytes_per_s": 1_000_000}}
ME = OperatorAction(by="alice", reason="because")


async def until(handle: Handle, holds: Callable[[Status], bool], seconds: float = 20.0) -> Status:
    async def look() -> Status:
        while True:
            status = await handle.query(ReplaceBroker.status)
            if holds(status):
                return status
            await asyncio.sleep(0.05)

    try:
        return await asyncio.wait_for(look(), seconds)
    except TimeoutError:
        last = await handle.query(ReplaceBroker.status)
        raise AssertionError(f"not within {seconds} s: {last}") from None


def waits(status: Status) -> bool:
    """For something that was reported: not for a step's first report."""
    return status.waiting is not None and "no report" not in status.waiting.reason


async def failure(handle: Handle) -> RunbookResult:
    with pytest.raises(WorkflowFailureError) as raised:
        await handle.result()
    cause = raised.value.cause
    assert isinstance(cause, ApplicationError), cause
    return RunbookResult.model_validate(cause.details[0])


def nothing_is_left(world: World) -> None:
    assert all(lists == ThrottledReplicas() for lists in world.lists.values())
    assert all(rates.leader_bytes_per_s is None for rates in world.rates.values())
    assert not any(node.is_cordoned for node in world.nodes.values())
    assert not [name for name, (kind, _) in world.records.items() if kind == "ledger"]
    assert not any(partition.adding or partition.removing for partition in world.partitions.values())


def lose(world: World, broker_id: int = 1001) -> str:
    pod = world.pod_of(broker_id)
    assert pod is not None and pod.node is not None
    node = pod.node
    world.lose_node(node)
    return node


async def test_a_lost_broker_comes_back_in_its_rack(runbooks: Bench) -> None:
    world = runbooks.world
    old = lose(world)
    world.add_node("spare", "zone-a", "events")
    handle = await runbooks.start(node_is_gone=False)
    result = await handle.result()
    assert result.outcome is Outcome.DONE
    assert [check.name for check in result.checks if not check.passed] == []
    assert len(result.checks) >= 7
    pod = world.pod_of(1001)
    assert pod is not None and pod.node == "spare"
    assert result.copied_bytes == result.lower_bound_bytes == 24 * 30_000_000
    assert world.nodes[old].is_cordoned is False
    assert result.highest_throttle_bytes_per_s is not None
    assert world.partitions[TopicPartition("events.a", 0)].leader == 1001
    nothing_is_left(world)


async def test_leases_are_taken_before_data_flows(runbooks: Bench) -> None:
    world = runbooks.world
    lose(world)
    world.add_node("spare", "zone-a", "events")
    seen: list[tuple[bool, int | None]] = []

    def before(name: str) -> None:
        if name == "delete_claim":
            seen.append((bool(world.lists["events.a"].leader), world.rates[1002].leader_bytes_per_s))

    world.before_act = before
    await (await runbooks.start(throttle={"mode": "adapt", "floor_bytes_per_s": 8_000_000})).result()
    assert seen == [(True, 800_000)], "a tenth of the floor, for ten seconds of it pass at once when the data begins to flow"


async def test_a_drained_broker_is_waited_for_with_its_disk(runbooks: Bench) -> None:
    world = runbooks.world
    node = lose(world)
    claim = world.claims["data-events-0"].uid
    handle = await runbooks.start(node_state="returns")
    status = await until(handle, lambda status: status.step == "wait for the pod" and waits(status))
    assert status.waiting is not None and "events-0" in status.waiting.reason
    world.restore_node(node)
    result = await handle.result()
    assert result.outcome is Outcome.DONE
    assert world.claims["data-events-0"].uid == claim
    nothing_is_left(world)


async def test_substitution_moves_every_replica(runbooks: Bench) -> None:
    world = runbooks.world
    world.add_node("extra", "zone-a", "checks")
    handle = await runbooks.start(replacement_broker_id=1004)
    result = await handle.result()
    assert result.outcome is Outcome.DONE
    assert not any(1001 in partition.replicas for partition in world.partitions.values())
    assert world.partitions[TopicPartition("events.a", 0)].replicas == [1004, 1002, 1003]
    nothing_is_left(world)


async def test_a_cancelled_substitution_leaves_nothing_and_resumes(runbooks: Bench) -> None:
    world = runbooks.world
    before = {name: list(partition.replicas) for name, partition in world.partitions.items()}
    handle = await runbooks.start(replacement_broker_id=1004, throttle={"mode": "fixed", "rate_bytes_per_s": 5_000_000})
    await until(handle, lambda status: status.progress is not None and 2 <= status.progress.done_partitions < 20)
    await handle.cancel()
    with pytest.raises(WorkflowFailureError) as raised:
        await handle.result()
    assert isinstance(raised.value.cause, CancelledError)
    nothing_is_left(world)
    left = sum(1001 in partition.replicas for partition in world.partitions.values())
    assert 0 < left < 24
    for name, partition in world.partitions.items():
        order = [1001 if broker == 1004 else broker for broker in partition.replicas]
        assert name.topic == "check_runs" or order == before[name], "the preferred leader is what it was"
    again = await runbooks.start(replacement_broker_id=1004)
    assert (await again.result()).outcome is Outcome.DONE
    assert (await again.query(ReplaceBroker.status)).steps == 5
    nothing_is_left(world)


async def test_a_pause_stops_new_reassignments_and_resume_goes_on(runbooks: Bench) -> None:
    world = runbooks.world
    handle = await runbooks.start(replacement_broker_id=1004, throttle={"mode": "fixed", "rate_bytes_per_s": 5_000_000})
    await until(handle, lambda status: status.progress is not None and status.progress.done_partitions >= 1)
    await handle.execute_update(ReplaceBroker.pause, ME)
    await until(handle, lambda status: status.waiting is not None and "paused" in status.waiting.reason)
    world.advance(200)
    moved = sum(1001 not in partition.replicas for name, partition in world.partitions.items() if name.topic != "check_runs")
    await asyncio.sleep(0.5)
    world.advance(50)
    assert moved == sum(
        1001 not in partition.replicas for name, partition in world.partitions.items() if name.topic != "check_runs"
    )
    assert moved < 24
    with pytest.raises(WorkflowUpdateFailedError):
        await handle.execute_update(ReplaceBroker.pause, ME)
    await handle.execute_update(ReplaceBroker.resume, ME)
    result = await handle.result()
    assert result.outcome is Outcome.DONE
    assert [decision.action for decision in result.decisions] == ["pause", "resume"]


async def test_abort_gives_back_and_says_so(runbooks: Bench) -> None:
    world = runbooks.world
    lose(world)
    world.add_node("spare", "zone-a", "events")
    handle = await runbooks.start(**SLOW)
    await until(handle, lambda status: status.step == "follow the catch-up" and status.progress is not None)
    await handle.execute_update(ReplaceBroker.abort, Abort(by="alice", reason="because"))
    result = await failure(handle)
    assert result.outcome is Outcome.ABORTED
    assert result.decisions[0].by == "alice"
    nothing_is_left(world)


async def test_cancel_in_the_middle_of_catch_up_leaves_no_throttle(runbooks: Bench) -> None:
    world = runbooks.world
    lose(world)
    world.add_node("spare", "zone-a", "events")
    handle = await runbooks.start(**SLOW)
    await until(handle, lambda status: status.step == "follow the catch-up" and status.progress is not None)
    assert world.lists["events.a"].leader
    await handle.cancel()
    with pytest.raises(WorkflowFailureError):
        await handle.result()
    nothing_is_left(world)


async def test_a_terminated_run_s_leftovers_are_cleared_by_the_next(runbooks: Bench) -> None:
    world = runbooks.world
    lose(world)
    world.add_node("spare", "zone-a", "events")
    handle = await runbooks.start(**SLOW)
    await until(handle, lambda status: status.step == "follow the catch-up" and status.progress is not None)
    await handle.terminate("for the test")
    assert world.lists["events.a"].leader
    result = await (await runbooks.start(when_busy="wait", node_state="returns")).result()
    assert result.outcome is Outcome.DONE
    nothing_is_left(world)


async def test_only_one_at_a_time_and_the_holder_is_named(runbooks: Bench) -> None:
    lose(runbooks.world)
    first = await runbooks.start(wait_for_approval=True)
    await until(first, lambda status: status.phase == "gate" and status.waiting is not None)
    second = await runbooks.start()
    result = await failure(second)
    assert result.outcome is Outcome.BUSY
    assert first.id in result.summary
    third = await runbooks.start(when_busy="wait", node_state="returns")
    status = await until(third, waits)
    assert status.waiting is not None and first.id in status.waiting.reason
    await first.execute_update(ReplaceBroker.reject, ME)
    assert (await failure(first)).outcome is Outcome.REJECTED
    await until(third, lambda status: status.step == "wait for the pod")
    await third.cancel()
    with pytest.raises(WorkflowFailureError):
        await third.result()
    nothing_is_left(runbooks.world)


async def test_the_gate(runbooks: Bench) -> None:
    world = runbooks.world
    world.add_topic("single", 2, (1001,), replication_factor=1, minimum_in_sync=1)
    lose(world)
    world.add_node("spare", "zone-a", "events")
    handle = await runbooks.start(wait_for_approval=True)
    status = await until(handle, lambda status: status.phase == "gate" and status.waiting is not None)
    assert status.plan is not None and status.plan.partitions == 26
    assert [reason.name for reason in status.reasons] == ["data-loss:single"]
    assert world.acts == ["write_record"], "only the plan was written"
    for wrong in (
        Approval(by="a", reason="b"),
        Approval(by="a", reason="b", acknowledged_risks=("data-loss:single",), plan_sha256="0"),
    ):
        with pytest.raises(WorkflowUpdateFailedError):
            await handle.execute_update(ReplaceBroker.approve, wrong)
    approval = Approval(
        by="alice", reason="seen", acknowledged_risks=("data-loss:single",), plan_sha256=status.plan.reference.sha256
    )
    await handle.execute_update(ReplaceBroker.approve, approval)
    result = await handle.result()
    assert result.outcome is Outcome.DONE, result
    assert [(decision.action, decision.by) for decision in result.decisions] == [("approve", "alice")]


async def test_a_sole_replica_whose_loss_was_acknowledged_is_led_again(runbooks: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catch_up, "SOLE_REPLICA_PATIENCE_SECONDS", 0.3)
    world = runbooks.world
    world.add_topic("single", 2, (1001,), replication_factor=1, minimum_in_sync=1)
    world.not_elected = {TopicPartition("single", 1)}
    lose(world)
    world.add_node("spare", "zone-a", "events")
    result = await (await runbooks.start(acknowledged_risks=["data-loss:single"])).result()
    assert result.outcome is Outcome.DONE, result
    assert world.partitions[TopicPartition("single", 1)].leader == 1001
    assert world.acts.count("elect_unclean_leaders") == 1


async def test_a_broker_that_is_down_at_the_end_is_waited_for_with_what_is_ours(runbooks: Bench) -> None:
    world = runbooks.world
    lose(world)
    world.add_node("spare", "zone-a", "events")

    def dies(name: str) -> None:
        if name == "elect_preferred_leaders":
            world.kill_broker(1003)

    world.after_act = dies
    handle = await runbooks.start()
    status = await until(handle, lambda status: status.step == StepName.RELEASE and waits(status))
    assert status.waiting is not None and "broker 1003: leader replication throttle" in status.waiting.reason
    assert "ClearLeftovers" in status.waiting.unblocks
    world.after_act = lambda name: None
    world.revive_broker(1003)
    result = await handle.result()
    assert result.outcome is Outcome.DONE, result
    nothing_is_left(world)


async def test_a_risk_that_nobody_acknowledged_is_refused_and_nothing_is_touched(runbooks: Bench) -> None:
    world = runbooks.world
    world.add_topic("single", 1, (1001,), replication_factor=1, minimum_in_sync=1)
    lose(world)
    result = await failure(await runbooks.start())
    assert result.outcome is Outcome.REFUSED
    assert [reason.name for reason in result.reasons] == ["data-loss:single"]
    assert world.acts == []


@pytest.mark.parametrize(
    ("fields", "word"),
    [
        ({"broker_id": 77}, "broker_ids: 77"),
        ({"cluster": "nope"}, "cluster: 'nope' is not configured"),
        ({"broker_id": None, "node": "nowhere"}, "nodes: no broker is known to run on 'nowhere'"),
    ],
)
async def test_what_is_not_there_is_refused_by_name(runbooks: Bench, fields: dict[str, object], word: str) -> None:
    result = await failure(await runbooks.start(**fields))
    assert result.outcome is Outcome.REFUSED
    assert word in result.summary
    assert runbooks.world.acts == []


async def test_a_second_broker_that_dies_stops_the_release_until_it_is_back(runbooks: Bench) -> None:
    world = runbooks.world
    lose(world)
    world.add_node("spare", "zone-a", "events")
    died: list[str] = []

    def dies(name: str) -> None:
        if name == "set_throttle_rates" and not died:  # brokers' rates are set at once: two may be the first
            died.append(name)
            world.killed.update({1002, 1003})
            world.settle()

    world.after_act = dies
    handle = await runbooks.start()
    status = await until(handle, lambda status: status.step == "release the volume" and waits(status))
    assert status.waiting is not None and "data-loss:events.a" in status.waiting.blocking
    assert "delete_claim" not in world.acts
    world.revive_broker(1002)
    world.revive_broker(1003)
    assert (await handle.result()).outcome is Outcome.DONE


async def test_forced_readiness_is_in_the_status(runbooks: Bench) -> None:
    world = runbooks.world
    lose(world)
    pod = world.pod_of(1002)
    assert pod is not None
    pod.force_ready = '{"owner": "ana", "reason": "INC-7", "expires_at": "2999-01-01T00:00:00Z"}'
    handle = await runbooks.start(wait_for_approval=True)
    status = await until(handle, lambda status: status.phase == "gate")
    assert status.notes[0] == f"{pod.name}: readiness is forced until 2999-01-01T00:00:00Z by ana: INC-7"
    await handle.execute_update(ReplaceBroker.reject, ME)


async def test_another_rack_is_asked_about(runbooks: Bench) -> None:
    world = runbooks.world
    lose(world)
    world.add_node("elsewhere", "zone-b", "events")
    handle = await runbooks.start()
    status = await until(handle, lambda status: status.waiting is not None and "rack" in status.waiting.reason)
    assert "delete_claim" not in world.acts
    await handle.execute_update(ReplaceBroker.approve, Approval(by="a", reason="b", allow_other_rack=True))
    result = await handle.result()
    assert result.outcome is Outcome.DONE
    assert status.waiting is not None and "zone-b" in status.waiting.reason
    pod = world.pod_of(1001)
    assert pod is not None and pod.node == "elsewhere"


async def test_a_risk_acknowledged_with_the_rack_counts_in_the_steps_that_follow(runbooks: Bench) -> None:
    """The other replicas die while the rack is asked about: one answer may settle both."""
    world = runbooks.world
    lose(world)
    world.add_node("elsewhere", "zone-b", "events")
    handle = await runbooks.start()
    await until(handle, lambda status: status.waiting is not None and "rack" in status.waiting.reason)
    world.kill_broker(1002)
    world.kill_broker(1003)
    risks = ("data-loss:events.a", "data-loss:events.b")
    answer = Approval(by="a", reason="b", allow_other_rack=True, acknowledged_risks=risks)
    await handle.execute_update(ReplaceBroker.approve, answer)
    await until(handle, lambda status: status.step == "wait for the pod" or "delete_claim" in world.acts)
    assert "delete_claim" in world.acts
    world.revive_broker(1002)
    world.revive_broker(1003)
    await handle.execute_update(ReplaceBroker.abort, Abort(by="a", reason="shown"))


async def test_no_node_at_all_is_waited_for_and_named(runbooks: Bench) -> None:
    world = runbooks.world
    lose(world)
    handle = await runbooks.start()
    status = await until(handle, lambda status: status.step == "choose a node" and waits(status))
    assert status.waiting is not None and "zone-a" in status.waiting.unblocks
    world.add_node("spare", "zone-a", "events")
    assert (await handle.result()).outcome is Outcome.DONE


async def test_drift_of_the_plan_is_planned_anew(runbooks: Bench) -> None:
    world = runbooks.world
    lose(world)

    def grows(name: str) -> None:
        if name == "cordon":
            world.add_topic("events.new", 1, (1001, 1002, 1003), size_bytes=1_000)
            world.add_node("spare", "zone-a", "events")

    world.after_act = grows
    handle = await runbooks.start(wait_for_approval=True)
    first = await until(handle, lambda status: status.phase == "gate" and status.waiting is not None)
    await handle.execute_update(ReplaceBroker.approve, Approval(by="a", reason="b"))
    second = await until(handle, lambda status: status.phase == "gate" and status.waiting is not None)
    assert first.plan is not None and second.plan is not None
    assert first.plan.reference.sha256 != second.plan.reference.sha256
    assert second.plan.partitions == first.plan.partitions + 1
    await handle.execute_update(ReplaceBroker.approve, Approval(by="a", reason="b"))
    assert (await handle.result()).outcome is Outcome.DONE
    nothing_is_left(world)


async def test_what_others_set_survives(runbooks: Bench) -> None:
    world = runbooks.world
    world.rates[1002] = ThrottleRates(leader_bytes_per_s=25_000_000, follower_bytes_per_s=7_000_000)
    world.lists["events.a"] = ThrottledReplicas(leader="0:1002", follower="*")
    before = dict(world.rates), dict(world.lists)
    lose(world)
    world.add_node("spare", "zone-a", "events")
    handle = await runbooks.start(**SLOW)
    status = await until(handle, lambda status: status.step == "follow the catch-up" and status.progress is not None)
    assert status.plan is not None and "25000000" in status.plan.foreign_throttles[0]
    assert world.rates[1002].leader_bytes_per_s == 25_000_000
    world.rates[1003] = ThrottleRates(leader_bytes_per_s=99_000_000)
    result = await handle.result()
    assert result.outcome is Outcome.DONE
    assert world.rates[1003].leader_bytes_per_s == 99_000_000, "changed by somebody meanwhile: theirs"
    assert world.rates[1002] == before[0][1002]
    assert world.lists == before[1]


async def test_the_api_server_is_away_for_a_while(runbooks: Bench) -> None:
    world = runbooks.world
    lose(world)
    world.add_node("spare", "zone-a", "events")
    handle = await runbooks.start(**SLOW)
    await until(handle, lambda status: status.step == "follow the catch-up" and status.progress is not None)
    world.is_kubernetes_away = True
    await asyncio.sleep(2)
    world.is_kubernetes_away = False
    world.link_bytes_per_s = 10**9
    assert (await handle.result()).outcome is Outcome.DONE
    nothing_is_left(world)
