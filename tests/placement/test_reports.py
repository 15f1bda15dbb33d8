"""What operators reported of placement tools: clusters that aren't tidy, each shown on a small one of the same kind."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kafka_runbooks.models.placement import ReassignmentMap, Snapshot
from kafka_runbooks.placement import planners, snapshots, verify
from kafka_runbooks.placement.arrays import Cluster
from kafka_runbooks.placement.errors import InvalidRequest, NoAssignment
from kafka_runbooks.placement.plan import Plan
from kafka_runbooks.placement.planners import Options
from kafka_runbooks.placement.problem import pose
from kafka_runbooks.placement.racks import RackRule, misplaced
from tests.examples import examples
from tests.placement.builders import Sets, after, cluster

few = settings(max_examples=examples(40), deadline=None)

SIX: dict[int, tuple[str | None, int]] = {b: ("abc"[(b - 1) // 2], 90_000) for b in range(1, 7)}
STRETCHED: dict[int, tuple[str | None, int]] = {b: ("ab"[(b - 1) // 4], 90_000) for b in range(1, 9)}


def shares(plan: Plan, racks: dict[int, tuple[str | None, int]]) -> list[list[int]]:
    names = sorted({str(rack) for rack, _ in racks.values()})
    return [[sum(racks[b][0] == name for b in row) for name in names] for row in after(plan).values()]


def everyone(observed: Cluster, gone: int) -> dict[str, Plan]:
    """What each planner that moves replicas makes of a cluster; those that refuse are left out."""
    live = [int(b) for b in observed.broker_ids[observed.is_live]]
    made: dict[str, Plan] = {}
    makers: dict[str, Callable[[], Plan]] = {
        "rebalance": lambda: planners.rebalance(observed),
        "spread": lambda: planners.spread_topics(observed),
        "down": lambda: planners.set_replication(observed, 2),
        "up": lambda: planners.set_replication(observed, 4),
        "replace": lambda: planners.replace_brokers(observed, [gone]),
        "decommission": lambda: planners.decommission(observed, [gone]),
        "rebuild": lambda: planners.rebuild(observed, live, force=True),
        "leaders": lambda: planners.balance_leaders(observed),
        "evacuate": lambda: planners.evacuate_leaders(observed, [gone]),
    }
    for name, planner in makers.items():
        try:
            made[name] = planner()
        except (NoAssignment, InvalidRequest):
            continue
        verify.check(made[name])
    return made


@pytest.mark.parametrize("leaving", [None, 4])
def test_four_replicas_in_two_racks_are_two_and_two(leaving: int | None) -> None:
    sets: Sets = {("t", p): [1 + p % 4, 1 + (p + 1) % 4, 5 + p % 2, 5 + (p + 1) % 2] for p in range(16)}
    observed = cluster(sets, STRETCHED, {p: 1_000 + 370 * p for p in range(16)})
    plan = planners.rebalance(observed) if leaving is None else planners.decommission(observed, [leaving])
    verify.check(plan)
    assert shares(plan, STRETCHED) == [[2, 2]] * 16 and plan.moved_bytes > 0


def test_uneven_sets_are_repaired() -> None:
    observed = cluster({("t", 0): [1, 2, 3, 5], ("u", 0): [1, 2, 3, 4, 5]}, STRETCHED, {0: 10})
    plan = planners.rebuild(observed, list(STRETCHED))
    verify.check(plan)
    assert shares(plan, STRETCHED) == [[2, 2], [3, 2]] and plan.moved_bytes == 20 == plan.forced_bytes


def test_a_rack_with_too_few_brokers_has_all_it_can() -> None:
    brokers = {b: v for b, v in STRETCHED.items() if b <= 5}
    plan = planners.set_replication(cluster({("t", 0): [1, 2]}, brokers, {0: 10}), 4)
    verify.check(plan)
    assert shares(plan, brokers) == [[3, 1]]


def test_fewer_racks_are_enough_by_request() -> None:
    observed = cluster({("t", 0): [1, 2, 3, 5]}, STRETCHED, {0: 10})
    assert len(planners.rebuild(observed, list(STRETCHED), Options(min_racks=1, leaders="keep")).changed) == 0


@few
@given(data=st.data())
def test_the_rack_rule_by_brute_force(data: st.DataObject) -> None:
    """Even is what no single exchange makes more even; the two forms of the rule agree; a partial set can be completed."""
    racks = data.draw(st.lists(st.sampled_from("abc"), min_size=2, max_size=8))
    brokers: dict[int, tuple[str | None, int]] = {b: (rack, 90_000) for b, rack in enumerate(racks)}
    replicas = data.draw(st.permutations(range(len(racks))))[: data.draw(st.integers(1, len(racks)))]
    observed = cluster({("t", 0): replicas}, brokers)
    problem = pose(observed, np.ones(1, dtype=np.bool_), observed.is_live)
    rule = RackRule(problem.rack_rules)
    share = {rack: sum(racks[b] == rack for b in replicas) for rack in set(racks)}
    spare = {rack for b, rack in enumerate(racks) if b not in replicas}
    uneven = any(share[rack] + 2 <= max(share.values()) for rack in spare)
    assert bool(misplaced(problem.rack_rules, observed.replicas)[0]) == uneven == bool(rule.missing(0, replicas))
    members: list[int] = []
    while len(members) < len(replicas):
        closed = rule.closed(0, members)
        members.append(
            next(b for b in data.draw(st.permutations(range(len(racks)))) if b not in members and rule.racks[b] not in closed)
        )
    assert rule.missing(0, members) == 0


def test_a_whole_rack_that_leaves_is_said_and_verified_batch_by_batch() -> None:
    from kafka_runbooks.placement.batches import Limits, cut

    observed = cluster({("t", p): [1 + p % 2, 3 + p % 2, 5 + p % 2] for p in range(8)}, SIX, dict.fromkeys(range(8), 10))
    plan = planners.decommission(observed, rack="a")
    verify.check(plan, cut(observed, plan.before, plan.after, Limits(moves_per_broker=1)))
    assert plan.loses_racks and any("8 partitions" in notice and "fewer racks" in notice for notice in plan.notices)
    assert not planners.decommission(observed, [1]).loses_racks


@pytest.mark.parametrize("planner", ["rebalance", "spread", "down", "up", "replace", "decommission", "rebuild", "leaders"])
def test_a_partition_without_a_live_in_sync_replica_is_named_and_left_alone(planner: str) -> None:
    sets: Sets = {("t", 0): [1, 3, 5], ("t", 1): [1, 3, 5], ("t", 2): [2, 4, 6]}
    observed = cluster(sets, SIX, {0: 10, 1: 10, 2: 10}, dead=[5], in_sync=[[5], [1, 3, 5], [2, 4, 6]])
    plan = everyone(observed, 5)[planner]
    assert after(plan)["t", 0] == [1, 3, 5]
    assert any("t-0" in notice and "in-sync" in notice for notice in plan.notices)


@few
@given(data=st.data())
def test_no_set_loses_its_last_in_sync_replica(data: st.DataObject) -> None:
    """Whatever lags or is dead, and whoever plans: only a broker that is to be emptied may take it along."""
    count = data.draw(st.integers(1, 8))
    sets = {("t", p): list(data.draw(st.permutations(list(SIX)))[: data.draw(st.integers(1, 4))]) for p in range(count)}
    dead = data.draw(st.lists(st.sampled_from(list(SIX)), max_size=2, unique=True))
    synced = [data.draw(st.lists(st.sampled_from(row), unique=True)) for row in sets.values()]
    observed = cluster(sets, SIX, {p: 10 * p for p in range(count)}, dead=dead, in_sync=synced)
    gone = data.draw(st.sampled_from(list(SIX)))
    for name, plan in everyone(observed, gone).items():
        for (key, before), in_sync in zip(sets.items(), synced, strict=True):
            had = set(in_sync) - set(dead)
            now = after(plan)[key]
            if not had:
                assert now == before, f"{name} moves {key}, of which nothing is in sync"
            elif had != set(before) and not (name in ("replace", "decommission") and gone in had):
                assert had & set(now), f"{name}: {key} {before} -> {now}, in sync {had}"


def test_what_catches_up_is_not_balanced_and_its_disk_is_not_empty() -> None:
    """A broker whose replicas have yet to arrive looks empty; what is assigned to it counts as if it were there."""
    sets: Sets = {("t", p): [1 + p % 2, 3, 5 + p % 2] for p in range(20)}
    brokers = {**{b: (rack, 20_000) for b, (rack, _) in SIX.items()}, 3: ("b", 99_000)}
    lagging = [[b for b in row if b != 3] for row in sets.values()]
    observed = cluster(sets, brokers, dict.fromkeys(range(20), 4_000), in_sync=lagging)
    plan = planners.rebalance(observed)
    assert plan.used_bytes[0][2] == 80_000, "larger of what is on its disk and what is assigned to it"
    assert (plan.used_bytes[1] <= observed.capacity_bytes).all() and len(plan.changed) == 0
    assert any("not in sync yet" in notice and "[3]" in notice for notice in plan.notices)


def test_used_space_never_goes_negative_and_each_replica_has_its_own_size() -> None:
    row: dict[str, Any] = {"topic": "t", "replicas": [1, 2], "size": 100}
    brokers = [
        {"id": b, "rack": "ab"[b % 2], "capacity": 1000, "free": free} for b, free in ((1, 700), (2, 940), (3, 1000), (4, 1000))
    ]
    parts = [{**row, "partition": p} for p in range(3)]
    told = [{**part, "sizes": [100, 20]} for part in parts]
    for partitions, other in ((parts, 0), ([*told[:2], {**told[2], "sizes": [70, 10]}], 10)):
        observed = snapshots.from_snapshot(Snapshot.model_validate({"brokers": brokers, "partitions": partitions}))
        plan = planners.replace_brokers(observed, [2])
        assert plan.used_bytes[1].min() >= 0 and plan.used_bytes[1][1] == other, "what is no replica of these stays"


THREE: dict[int, tuple[str | None, int]] = {1: ("a", 90_000), 2: ("b", 90_000), 3: ("c", 90_000)}


def test_an_unrelated_topic_without_a_valid_set_blocks_no_other() -> None:
    sets: Sets = {("three", p): [1 + p % 3, 1 + (p + 1) % 3, 1 + (p + 2) % 3] for p in range(3)}
    sets = {**sets, **{("one", p): [1] for p in range(4)}}
    observed = cluster(sets, THREE, dict.fromkeys(range(4), 5_000), dead=[3])
    plan = planners.rebalance(observed)
    assert "one" in {plan.cluster.name(int(row))[0] for row in plan.changed}
    assert all(sorted(row) == [1, 2, 3] for (topic, _), row in after(plan).items() if topic == "three")
    assert any("no valid set" in notice and "three-0" in notice for notice in plan.notices)
    assert planners.balance_leaders(observed).moved_bytes == 0
    given_map = ReassignmentMap.model_validate({"partitions": [{"topic": "one", "partition": 0, "replicas": [2]}]})
    assert len(planners.given(observed, given_map).changed) == 1
    with pytest.raises(NoAssignment, match="three-0 wants 3 replicas"):
        planners.replace_brokers(observed, [3])


def test_a_lost_replica_that_fits_nowhere_blocks_no_other() -> None:
    brokers: dict[int, tuple[str | None, int]] = {1: ("a", 9_000), 2: ("b", 90_000), 3: ("c", 90_000), 4: ("a", 90_000)}
    sets: Sets = {("huge", 0): [2, 9], **{("t", p): [2, 3] for p in range(1, 9)}}
    observed = cluster(sets, brokers, {0: 95_000, **dict.fromkeys(range(1, 9), 1_000)})
    plan = planners.rebalance(observed)
    assert after(plan)["huge", 0] == [2, 9] and plan.moved_bytes > 0
    assert any("huge-0" in notice and "bytes are" not in notice for notice in plan.notices)


def test_brokers_with_and_without_a_rack_are_refused_unless_one_rack_is_enough() -> None:
    brokers: dict[int, tuple[str | None, int]] = {**THREE, 4: (None, 100_000), 5: (None, 100_000)}
    observed = cluster({("t", p): [1, 2, 3] for p in range(6)}, brokers, dict.fromkeys(range(6), 1_000))
    with pytest.raises(InvalidRequest, match=r"brokers \[4, 5\] have none"):
        planners.scale_up(observed, [4, 5])
    assert planners.scale_up(observed, [4, 5], Options(min_racks=1)).moved_bytes > 0
    assert planners.rebalance(observed, brokers=[1, 2, 3]).moved_bytes == 0, "only the brokers that may hold replicas count"


@pytest.mark.parametrize("dead", [[1], []])
def test_evacuation_looks_at_who_would_lead(dead: list[int]) -> None:
    """The preferred leader 1 is dead, or lags: 3 leads, and must not any more."""
    in_sync = [[3, 5], [1, 3, 5]] if not dead else None
    observed = cluster({("t", 0): [1, 3, 5], ("t", 1): [5, 3, 1]}, SIX, dead=dead, in_sync=in_sync)
    plan = planners.evacuate_leaders(observed, [3])
    assert after(plan) == {("t", 0): [5, 1, 3], ("t", 1): [5, 3, 1]}
    with pytest.raises(InvalidRequest, match="no in-sync replica on another broker"):
        planners.evacuate_leaders(observed, [3, 5])


def test_evacuation_looks_at_who_leads_now() -> None:
    observed = cluster({("t", 0): [1, 3, 5], ("t", 1): [1, 3, 5]}, SIX)
    led_by_3 = replace(observed, leader=np.array([2, 0], dtype=np.int32))
    plan = planners.evacuate_leaders(led_by_3, [3])
    assert len(plan.changed) == 0 and any("t-0" in notice and "elect preferred leaders" in notice for notice in plan.notices)


def directories(count: int, capacity: int, free: int) -> list[dict[str, Any]]:
    """Log directories on volumes of their own."""
    return [{"path": f"/d{number}", "capacity": capacity, "free": free - number} for number in range(count)]


def jbod(failed: int | None = None, volumes: int = 2, capacity: int = 500) -> Cluster:
    """Eight partitions of 50 bytes on brokers 1-4 of two racks, and one of 300; each broker has some log directories."""
    brokers = [
        {"id": b, "rack": "ab"[b % 2], "log_dirs": directories(volumes, capacity, capacity * 3 // 5)} for b in (1, 2, 3, 4)
    ]
    if failed is not None:
        brokers[failed - 1]["log_dirs"][1] = {"path": "/d1", "failed": True}  # type: ignore[index]
    parts = [{"topic": "t", "partition": p, "replicas": [1, 2] if p < 2 else [3, 4], "size": 50} for p in range(8)]
    return snapshots.from_snapshot(Snapshot.model_validate({"brokers": brokers, "partitions": parts}))


def test_a_broker_with_a_failed_log_directory_is_no_destination_and_is_named() -> None:
    observed = jbod(failed=1)
    known = everyone(observed, 2)
    assert {"rebalance", "spread", "replace", "rebuild"} <= set(known)
    for plan in known.values():
        had = {name for name, row in zip(SETS_OF_JBOD, plan.before.tolist(), strict=True) if 0 in row}
        assert {name for name, row in after(plan).items() if 1 in row} <= had
        assert any("brokers [1] have failed log directories (1: /d1)" in notice for notice in plan.notices)
    assert known["rebalance"].measure == "utilisation", "the others keep their measure"


SETS_OF_JBOD = [("t", p) for p in range(8)]


def test_a_replica_larger_than_the_emptiest_log_directory_does_not_fit() -> None:
    brokers: list[dict[str, Any]] = [{"id": b, "rack": "abc"[(b - 1) % 3], "capacity": 1000, "free": 500} for b in (1, 2, 3)]
    brokers += [{"id": b, "rack": "abc"[(b - 1) % 3], "log_dirs": directories(4, 250, 250)} for b in (4, 5, 6)]
    parts = [
        {"topic": topic, "partition": p, "replicas": [1, 2, 3], "size": size}
        for topic, p, size in (("huge", 0, 300), ("t", 0, 100), ("t", 1, 100))
    ]
    observed = snapshots.from_snapshot(Snapshot.model_validate({"brokers": brokers, "partitions": parts}))
    for plan in (planners.rebalance(observed), planners.spread_topics(observed)):
        verify.check(plan)
        assert sorted(after(plan)["huge", 0]) == [1, 2, 3] and plan.moved_bytes > 0
        assert any("brokers [4, 5, 6] have several log directories" in notice for notice in plan.notices)
    with pytest.raises(NoAssignment, match="huge-0 needs 300 bytes in one log directory, the emptiest has 250 free"):
        planners.replace_brokers(observed, [1])


def test_two_log_directories_of_one_volume_count_once() -> None:
    one = {"capacity": 1000, "free": 400}
    row = {"id": 1, "log_dirs": [{"path": "/a", **one}, {"path": "/b", **one}, {"path": "/c", "capacity": 1000, "free": 300}]}
    broker = Snapshot.model_validate({"brokers": [row], "partitions": []}).brokers[0]
    assert (broker.capacity, broker.free) == (2000, 700)


def test_brokers_that_do_not_tell_their_capacity_are_no_destination_and_change_no_measure() -> None:
    brokers = [{"id": b, "capacity": 0 if b == 3 else 1000, "free": 0 if b == 3 else 900} for b in (1, 2, 3)]
    parts = [{"topic": "t", "partition": p, "replicas": [1], "size": 40} for p in range(8)]
    plan = planners.rebalance(snapshots.from_snapshot(Snapshot.model_validate({"brokers": brokers, "partitions": parts})))
    verify.check(plan)
    assert plan.measure == "utilisation" and not any(3 in row for row in after(plan).values()) and plan.moved_bytes > 0
