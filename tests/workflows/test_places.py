"""Names that are given again, StatefulSets that don't start at 0, brokers with several disks; and no disk goes without proof."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from kafka_runbooks.models.operator import Abort
from kafka_runbooks.models.results import Outcome
from kafka_runbooks.models.status import Status
from kafka_runbooks.models.steps import StepName
from tests.fakes.world import MEGABYTE, World
from tests.temporal_env import Bench
from tests.workflows.test_replace_broker import failure, lose, nothing_is_left, until
from workflows.replace_broker import ReplaceBroker

FAST: dict[str, Any] = {"throttle": {"mode": "fixed", "rate_bytes_per_s": 50_000_000}, "wait_for_approval": False}


@pytest.fixture
def world() -> World:
    """Brokers with two disks each, by templates with names of their own; ordinals from 5."""
    world = World(step_s=2.0, link_bytes_per_s=100 * MEGABYTE, first_ordinal=5, claim_templates=("logs", "more-logs"))
    world.add_topic("events.a", 6, (1001, 1002, 1003), size_bytes=10 * MEGABYTE)
    return world


def waits_for(word: str) -> Callable[[Status], bool]:
    return lambda status: status.waiting is not None and word in status.waiting.reason


async def test_a_machine_that_is_replaced_under_its_old_name_is_landed_on(runbooks: Bench) -> None:
    world = runbooks.world
    node = lose(world)
    old = world.nodes[node].uid
    world.after_act = lambda act: world.replace_machine(node) if act == "cordon" else None
    result = await (await runbooks.start(node_is_gone=False)).result()
    assert result.outcome is Outcome.DONE and [check for check in result.checks if not check.passed] == []
    pod = world.pod_of(1001)
    assert pod is not None and pod.node == node and world.nodes[node].uid != old
    assert [claim for claim in pod.claims if world.claims[claim].is_lost] == [] and len(pod.claims) == 2
    nothing_is_left(world)


async def test_a_pod_that_recovers_on_the_new_machine_is_not_deleted(runbooks: Bench) -> None:
    world = runbooks.world
    node = lose(world)

    def somebody_repairs_it(act: str) -> None:
        if act == "cordon":
            world.replace_machine(node)
            for claim in world.pods["events-5"].claims:
                world.claims[claim].is_terminating = True
            world.remove_pod(world.pods["events-5"])

    world.after_act = somebody_repairs_it
    result = await (await runbooks.start(node_is_gone=False)).result()
    assert result.outcome is Outcome.DONE, result.summary
    assert "delete_pod" not in world.acts and not world.nodes[node].is_cordoned
    nothing_is_left(world)


async def test_a_broker_that_comes_back_by_itself_keeps_the_disks_that_it_uses(runbooks: Bench) -> None:
    """Its machine is replaced under its old name, and its StatefulSet is faster than the run; seen on the lab."""
    world = runbooks.world
    node = lose(world)
    world.add_node("spare", "zone-a", "events")

    begun: list[str] = []

    def is_back(act: str) -> None:
        if act == "set_throttle_rates" and not begun:
            begun.append(act)
            world.replace_machine(node)
            pod = world.pods["events-5"]
            for claim in (world.claims[name] for name in pod.claims):
                claim.is_lost = False
                world.disks[claim.volume or ""] = {}
            pod.uid, pod.has_started = world.new_uid(), True
            world.settle()

    world.after_act = is_back
    result = await asyncio.wait_for((await runbooks.start()).result(), 60)
    assert result.outcome is Outcome.DONE, result.summary
    assert not {"delete_claim", "delete_pod"} & set(world.acts)
    nothing_is_left(world)


async def test_a_kubelet_that_registers_again_keeps_the_disks(runbooks: Bench) -> None:
    world = runbooks.world
    node = lose(world)
    world.killed.add(1001)
    world.add_node("spare", "zone-a", "events")
    world.after_act = lambda act: world.register_again(node) if act == "cordon" else None
    handle = await runbooks.start(node_is_gone=False)
    status = await until(handle, waits_for("the same machine as before"))
    assert status.step == StepName.CONFIRM_GONE
    await handle.execute_update(ReplaceBroker.abort, Abort(by="alice", reason="its disks are there"))
    assert (await failure(handle)).outcome is Outcome.ABORTED
    assert "delete_claim" not in world.acts


async def test_the_right_rack_is_known_when_node_and_pod_are_gone(runbooks: Bench) -> None:
    world = runbooks.world
    node = lose(world)
    world.delete_node(node)
    world.registered_racks.pop(1001)  # Kafka < 4.0 lists no fenced broker
    world.add_node("another-rack", "zone-b", "events")
    world.nodes["another-rack"].is_cordoned = True  # so that the pod that comes anew doesn't take it before
    world.add_node("right-rack", "zone-a", "events")
    world.nodes["another-rack"].is_cordoned = False
    result = await (await runbooks.start(node_is_gone=True)).result()
    assert result.outcome is Outcome.DONE, result.summary
    pod = world.pod_of(1001)
    assert pod is not None and pod.node == "right-rack"


async def test_every_disk_is_released_after_a_look_of_its_own(runbooks: Bench) -> None:
    world = runbooks.world
    lose(world)
    world.add_node("spare", "zone-a", "events")
    looks: list[str] = []

    def dies_between(act: str) -> None:
        looks.append(act)
        if act == "delete_claim" and looks.count(act) == 1:
            world.killed.update({1002, 1003})
            world.settle()

    world.after_act = dies_between
    handle = await runbooks.start()
    status = await until(handle, waits_for("the last in-sync replicas of partitions have been lost since"))
    assert status.waiting is not None and "data-loss:events.a" in status.waiting.blocking
    assert looks.count("delete_claim") == 1, "the second disk stays while the others' copies are gone"
    world.revive_broker(1002)
    world.revive_broker(1003)
    assert (await handle.result()).outcome is Outcome.DONE


@pytest.mark.parametrize(
    ("doubt", "word"),
    [
        ("the controllers hang", "no controller answers"),
        ("the broker that answers is cut off", "behind the controllers"),
        ("the copies' brokers don't answer", "doesn't answer"),
    ],
)
async def test_no_disk_goes_without_proof_of_another_copy(runbooks: Bench, doubt: str, word: str) -> None:
    world = runbooks.world
    lose(world)
    world.add_node("spare", "zone-a", "events")
    begun: list[str] = []

    def begins(act: str) -> None:
        if act == "set_throttle_rates" and not begun:  # brokers' rates are set at once: two may be the first
            begun.append(act)
            world.are_controllers_away = doubt == "the controllers hang"
            if doubt == "the broker that answers is cut off":
                world.asked_broker = 1002
                world.cut_off.add(1002)
                world.advance(10)
            if doubt == "the copies' brokers don't answer":
                world.silent.update({1002: 10_000, 1003: 10_000})

    world.after_act = begins
    handle = await runbooks.start()
    status = await until(handle, waits_for(word))
    assert status.step == StepName.RELEASE_VOLUME and "delete_claim" not in world.acts
    world.are_controllers_away, world.asked_broker = False, None
    world.cut_off.clear()
    world.silent.clear()
    assert (await handle.result()).outcome is Outcome.DONE


async def test_the_highest_ordinal_goes_whatever_the_first_one_is(runbooks: Bench) -> None:
    world = runbooks.world
    new = world.add_broker("events", "zone-a")
    refused = await failure(await runbooks.start_runbook("Decommission", brokers=[1001], remove_pods=True, **FAST))
    assert [reason.name for reason in refused.reasons] == ["not-the-highest-ordinals:events"]
    assert f"events-8 (broker {new})" in refused.reasons[0].message
    result = await (await runbooks.start_runbook("Decommission", brokers=[new], remove_pods=True, **FAST)).result()
    assert result.outcome is Outcome.DONE, result.summary
    assert sorted(world.pods) == ["checks-5", "checks-6", "checks-7", "events-5", "events-6", "events-7"]
    assert not [claim for claim in world.claims if claim.endswith("events-8")] and world.unregistered == {new}
    nothing_is_left(world)


async def test_what_comes_while_the_pods_end_brings_them_back_with_their_disks(runbooks: Bench) -> None:
    world = runbooks.world
    new = world.add_broker("events", "zone-a")
    claims = {claim: world.claims[claim].uid for claim in world.pods["events-8"].claims}
    seen: list[dict[str, str]] = []

    def comes(act: str) -> None:
        if act == "scale" and world.acts.count(act) == 1:
            world.add_topic("late", 2, (new, 1001), replication_factor=2, minimum_in_sync=1, size_bytes=1_000)
        elif act == "scale" and world.acts.count(act) == 2:
            seen.append({claim: world.claims[claim].uid for claim in world.pods["events-8"].claims})

    world.after_act = comes
    result = await (await runbooks.start_runbook("Decommission", brokers=[new], remove_pods=True, **FAST)).result()
    assert result.outcome is Outcome.DONE, result.summary
    assert seen == [claims] and world.acts.count("scale") == 3
    assert not any(new in partition.replicas for partition in world.partitions.values())
    assert world.acts.index("unregister_broker") < world.acts.index("delete_claim")
    assert world.cordoned.get(new, "") == "", "whoever gets this id later is not cordoned"
    nothing_is_left(world)


async def test_claims_that_kubernetes_would_delete_unseen_are_refused(runbooks: Bench) -> None:
    world = runbooks.world
    world.deletes_claims = True
    new = world.add_broker("events", "zone-a")
    refused = await failure(await runbooks.start_runbook("Decommission", brokers=[new], remove_pods=True, **FAST))
    assert [reason.name for reason in refused.reasons] == ["claims-are-deleted:events"]
