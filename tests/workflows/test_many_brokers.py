"""Several brokers lost together come back in one run, side by side; more can join while it runs."""

import asyncio
from collections import Counter

import pytest
from temporalio.client import WorkflowUpdateFailedError

from kafka_runbooks.clients.errors import Unreachable
from kafka_runbooks.models.operator import Abort, AddBrokers, Approval, OperatorAction, Override
from kafka_runbooks.models.results import Outcome, RunbookResult
from kafka_runbooks.models.status import BrokerStatus, Status
from tests.fakes.world import World
from tests.temporal_env import Bench
from tests.workflows.test_replace_broker import SLOW, failure, lose, nothing_is_left, until
from workflows.replace_broker import ReplaceBroker

ME = OperatorAction(by="alice", reason="because")
PAIR = {"broker_id": None, "broker_ids": [1001, 1002]}


def broker(status: Status, broker_id: int) -> BrokerStatus:
    return next(one for one in status.brokers if one.broker_id == broker_id)


def is_done(result: RunbookResult, world: World) -> None:
    assert result.outcome is Outcome.DONE, result.summary
    assert [check for check in result.checks if not check.passed] == []
    nothing_is_left(world)
    assert all(partition.in_sync == set(partition.replicas) for partition in world.partitions.values())


async def test_a_zone_is_brought_back_in_one_run_whatever_the_maps_of_its_brokers(runbooks: Bench) -> None:
    world = runbooks.world
    for node in ("node-events-a", "node-checks-a"):
        world.lose_node(node)
    world.add_node("spare-e", "zone-a", "events")
    world.add_node("spare-c", "zone-a", "checks")
    handle = await runbooks.start(broker_id=None, zone="zone-a", node_is_gone=False, **SLOW)
    status = await until(handle, lambda status: status.step == "follow the catch-up" and bool(status.brokers))
    assert status.plan is not None and [one.broker_id for one in status.plan.returning] == [1001, 1004]
    assert {line.label for line in status.plan.lines} >= {"broker", "to copy"}
    assert status.plan.bytes_to_copy == sum(one.bytes_to_copy for one in status.plan.returning)
    await until(handle, lambda status: all(one.progress is not None for one in status.brokers))
    world.rates.clear()
    result = await handle.result()
    is_done(result, world)
    assert "brokers 1001, 1004 are back on new disks" in result.summary
    assert {world.pods["events-0"].node, world.pods["checks-0"].node} == {"spare-e", "spare-c"}
    assert {time.broker_id for time in result.steps if time.step == "choose a node"} == {1001, 1004}


async def test_a_zone_s_node_that_is_noticed_later_than_the_others_is_waited_for(runbooks: Bench) -> None:
    """Nodes of a zone that lost power turn NotReady one after the other, and brokers are unregistered before that."""
    world = runbooks.world
    for node in ("node-events-a", "node-checks-a"):
        world.lose_node(node)
    world.unnoticed.add("node-checks-a")
    handle = await runbooks.start(broker_id=None, zone="zone-a", node_is_gone=False, wait_for_approval=True)
    await asyncio.sleep(1)
    world.unnoticed.clear()
    status = await until(handle, lambda status: status.phase == "gate" and status.waiting is not None)
    assert status.plan is not None and [one.broker_id for one in status.plan.returning] == [1001, 1004]
    await handle.execute_update(ReplaceBroker.reject, ME)
    await failure(handle)


async def test_of_a_zone_what_is_up_is_left_alone_and_one_that_lost_nothing_has_nothing_to_do(runbooks: Bench) -> None:
    world = runbooks.world
    nothing = await (await runbooks.start(broker_id=None, zone="zone-b")).result()
    assert nothing.outcome is Outcome.NOTHING_TO_DO and "zone-b" in nothing.summary
    wrong = await failure(await runbooks.start(broker_id=None, zone="zone-x"))
    assert wrong.outcome is Outcome.REFUSED and wrong.reasons[0].name == "unknown-zone" and "zone-a" in wrong.summary
    world.lose_node("node-events-b")
    handle = await runbooks.start(broker_id=None, zone="zone-b", wait_for_approval=True)
    status = await until(handle, lambda status: status.phase == "gate" and status.waiting is not None)
    assert status.plan is not None and [one.broker_id for one in status.plan.returning] == [1002]
    assert [note for note in status.notes if note.startswith("broker 1005 of zone-b is left alone: it is up")]
    await handle.execute_update(ReplaceBroker.reject, ME)
    await failure(handle)


async def test_two_of_a_map_come_back_together_and_what_only_they_had_is_asked_for(runbooks: Bench) -> None:
    world = runbooks.world
    world.add_topic("pair", 2, (1001, 1002), replication_factor=2, minimum_in_sync=1)
    for broker_id in (1001, 1002):
        lose(world, broker_id)
    world.add_node("spare-a", "zone-a", "events")
    world.add_node("spare-b", "zone-b", "events")
    refused = await failure(await runbooks.start(**PAIR))
    assert [reason.name for reason in refused.reasons] == ["data-loss:pair"] and "1001, 1002" in refused.reasons[0].message
    handle = await runbooks.start(**PAIR, wait_for_approval=True)
    status = await until(handle, lambda status: status.phase == "gate" and status.waiting is not None)
    assert status.plan is not None and [one.sole_copies for one in status.plan.returning] == [2, 2]
    approval = Approval(by="alice", reason="it is a cache", acknowledged_risks=("data-loss:pair",))
    await handle.execute_update(ReplaceBroker.approve, approval)
    result = await handle.result()
    is_done(result, world)
    assert (world.pods["events-0"].node, world.pods["events-1"].node) == ("spare-a", "spare-b")
    assert result.copied_bytes == result.lower_bound_bytes


async def test_the_scheduler_is_kept_to_each_broker_s_rack(runbooks: Bench) -> None:
    """It bound the pods to each other's racks: 1001 to the first node that it met."""
    world = runbooks.world
    for broker_id in (1001, 1002):
        lose(world, broker_id)
    world.add_node("a-in-b", "zone-b", "events")
    world.add_node("b-in-a", "zone-a", "events")
    world.add_node("c-in-c", "zone-c", "events")
    is_done(await (await runbooks.start(**PAIR)).result(), world)
    assert (world.pods["events-0"].node, world.pods["events-1"].node) == ("b-in-a", "a-in-b")


async def test_a_broker_without_a_place_holds_up_nobody(runbooks: Bench) -> None:
    world = runbooks.world
    for broker_id in (1001, 1002):
        lose(world, broker_id)
    world.add_node("spare-a", "zone-a", "events")
    handle = await runbooks.start(**PAIR)
    status = await until(
        handle,
        lambda status: (
            bool(status.brokers)
            and (one := broker(status, 1001).progress) is not None
            and one.in_sync_partitions == one.partitions > 0
            and broker(status, 1002).waiting is not None
        ),
        60,
    )
    waiting = broker(status, 1002).waiting
    assert broker(status, 1002).step == "choose a node" and waiting is not None and "no free node of map events" in waiting.reason
    assert status.waiting is not None and status.step == "choose a node", "the run is where the last of its brokers is"
    assert all(1001 in partition.in_sync for name, partition in world.partitions.items() if name.topic.startswith("events"))
    world.add_node("spare-b", "zone-b", "events")
    is_done(await asyncio.wait_for(handle.result(), 60), world)


async def test_an_abort_gives_everything_back(runbooks: Bench) -> None:
    world = runbooks.world
    for broker_id in (1001, 1002):
        lose(world, broker_id)
    world.add_node("spare-a", "zone-a", "events")
    handle = await runbooks.start(**PAIR, **SLOW)
    await until(handle, lambda status: bool(status.brokers) and broker(status, 1001).progress is not None)
    assert sum(node.is_cordoned for node in world.nodes.values()) == 2 and world.lists["events.a"].leader
    await handle.execute_update(ReplaceBroker.abort, Abort(by="alice", reason="because"))
    result = await failure(handle)
    assert result.outcome is Outcome.ABORTED and result.left_behind == ()
    nothing_is_left(world)


@pytest.mark.parametrize("when", ["before", "after"])
async def test_each_change_is_cut_off_once(runbooks: Bench, when: str) -> None:
    world = runbooks.world
    for broker_id in (1001, 1002):
        lose(world, broker_id)
    world.add_node("spare-a", "zone-a", "events")
    world.add_node("spare-b", "zone-b", "events")
    tries: Counter[str] = Counter()

    def cut(name: str) -> None:
        tries[name] += 1
        if tries[name] % 2 == 1 and tries[name] < 8:
            raise Unreachable(f"cut off {when} {name}")

    setattr(world, f"{when}_act", cut)
    is_done(await asyncio.wait_for((await runbooks.start(**PAIR)).result(), 120), world)
    assert set(tries) >= {"cordon", "delete_claim", "delete_pod", "write_record", "set_throttle_rates"}


# More brokers, while it runs


def losing_another(world: World) -> None:
    lose(world, 1002)
    world.add_node("spare-b", "zone-b", "events")


async def test_a_broker_is_added_behind_a_gate_while_the_first_goes_on(runbooks: Bench) -> None:
    world = runbooks.world
    lose(world)
    world.add_node("spare-a", "zone-a", "events")
    handle = await runbooks.start(**SLOW)
    await until(handle, lambda status: status.step == "follow the catch-up" and status.progress is not None)
    losing_another(world)
    more = AddBrokers(by="bob", reason="INC-2", broker_ids=(1002,), node_is_gone=True)
    await handle.execute_update(ReplaceBroker.add_brokers, more)
    status = await until(handle, lambda status: status.waiting is not None and "bob adds brokers" in status.waiting.reason)
    assert status.plan is not None and [one.broker_id for one in status.plan.returning] == [1001, 1002]
    before = sum(world.disk_of(1001).values())  # type: ignore[union-attr]
    await asyncio.sleep(1)
    assert sum(world.disk_of(1001).values()) > before, "it copies meanwhile"  # type: ignore[union-attr]
    await handle.execute_update(ReplaceBroker.approve, Approval(by="carol", reason="seen"))
    await until(handle, lambda status: len(status.brokers) == 2)
    for wrong in (
        more,
        more.model_copy(update={"broker_ids": (1003,), "node_state": "returns"}),
    ):
        with pytest.raises(WorkflowUpdateFailedError):
            await handle.execute_update(ReplaceBroker.add_brokers, wrong)
    world.link_bytes_per_s = 10**9
    await handle.execute_update(ReplaceBroker.set_throttle, Override(rate_bytes_per_s=10**9, by="carol", reason="quick"))
    result = await asyncio.wait_for(handle.result(), 120)
    is_done(result, world)
    assert "brokers 1001, 1002 are back" in result.summary
    assert [decision.action for decision in result.decisions][:2] == ["add brokers", "approve"]


async def test_what_is_added_and_rejected_ends_nothing(runbooks: Bench) -> None:
    world = runbooks.world
    lose(world)
    world.add_node("spare-a", "zone-a", "events")
    handle = await runbooks.start(throttle={"mode": "fixed", "rate_bytes_per_s": 5_000_000})
    await until(handle, lambda status: status.step == "follow the catch-up" and status.progress is not None)
    await handle.execute_update(ReplaceBroker.add_brokers, AddBrokers(by="bob", reason="INC-2", broker_ids=(1003,)))
    status = await until(handle, lambda status: any("are not taken along" in note for note in status.notes), 90)
    assert [note for note in status.notes if "1003" in note and "is up and its node" in note]
    losing_another(world)
    more = AddBrokers(by="bob", reason="INC-2", broker_ids=(1002,), node_is_gone=True)
    await handle.execute_update(ReplaceBroker.add_brokers, more)
    await until(handle, lambda status: status.waiting is not None and "bob adds brokers" in status.waiting.reason)
    await handle.execute_update(ReplaceBroker.reject, ME)
    status = await until(handle, lambda status: any("rejected by alice" in note for note in status.notes))
    assert status.plan is not None and [one.broker_id for one in status.plan.returning] == [1001]
    world.restore_node("node-events-b")
    result = await asyncio.wait_for(handle.result(), 120)
    assert result.outcome is Outcome.DONE and "broker 1001 is back" in result.summary


async def test_a_second_request_joins_the_run_that_holds_the_cluster(runbooks: Bench) -> None:
    world = runbooks.world
    lose(world)
    world.add_node("spare-a", "zone-a", "events")
    first = await runbooks.start(**SLOW)
    await until(first, lambda status: status.step == "follow the catch-up" and status.progress is not None)
    losing_another(world)
    alone = await failure(await runbooks.start(broker_id=1002, join=False))
    assert alone.outcome is Outcome.BUSY
    second = await runbooks.start(broker_id=1002)
    joined = await second.result()
    assert joined.outcome is Outcome.JOINED and first.id in joined.summary
    await until(first, lambda status: len(status.brokers) == 2)
    other = await failure(await runbooks.start(broker_id=1003, node_state="returns"))
    assert other.outcome is Outcome.BUSY and first.id in other.summary
    await first.execute_update(ReplaceBroker.set_throttle, Override(rate_bytes_per_s=10**9, by="carol", reason="quick"))
    is_done(await asyncio.wait_for(first.result(), 120), world)


async def test_what_joined_and_was_never_taken_along_is_said(runbooks: Bench) -> None:
    lose(runbooks.world)
    first = await runbooks.start(wait_for_approval=True)
    await until(first, lambda status: status.phase == "gate" and status.waiting is not None)
    assert (await (await runbooks.start(broker_id=1002, requester="bob")).result()).outcome is Outcome.JOINED
    await first.execute_update(ReplaceBroker.reject, ME)
    result = await failure(first)
    assert result.outcome is Outcome.REJECTED and "brokers 1002, asked for by bob, were not taken along" in result.summary
