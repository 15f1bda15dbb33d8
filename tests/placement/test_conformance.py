"""topicmappr's behaviour, case by case (kafka-kit v4.2.1): the same result, or a different one with the reason.

Cases 1-31 and 47 concern mapping; the others throttles, metrics and the registry.
"""

import re
from dataclasses import replace

import numpy as np
import pytest

from kafka_runbooks.cli import topicmappr
from kafka_runbooks.models.placement import Measure, ReassignmentMap
from kafka_runbooks.placement import batches, planners
from kafka_runbooks.placement.arrays import Cluster, leader_counts, loads
from kafka_runbooks.placement.errors import InvalidRequest, NoAssignment
from kafka_runbooks.placement.planners import ALL_KNOWN, ALL_MAPPED, Options, affinity
from kafka_runbooks.placement.planners.scope import scope_of
from kafka_runbooks.placement.problem import Problem, Rules, pose
from kafka_runbooks.placement.solver.bulk_moves import heaviest_first
from kafka_runbooks.placement.solver.construction import BrokerHeaps
from kafka_runbooks.placement.solver.retention import keep
from kafka_runbooks.placement.solver.state import State
from tests.placement import builders
from tests.placement.builders import B4, B7, M1, M2, M4, after, cluster

KEEP = Options(leaders="keep", measure="replica count")
M3 = {**M1, ("t", 4): [1004, 1005]}


def indices(observed: Cluster, *ids: int) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    return np.searchsorted(observed.broker_ids, ids).astype(np.int64)


def problem(observed: Cluster, *allowed: int, min_racks: int | None = None, measure: Measure = "used bytes") -> Problem:
    flags = np.isin(observed.broker_ids, allowed)
    scope = np.ones(observed.partition_count, dtype=np.bool_)
    return pose(observed, scope, flags, Rules(measure=measure, min_racks=min_racks))


def test_case_1_broker_changes() -> None:
    changes = topicmappr.broker_changes(
        [1001, 1002, 1003, 1004], [1002, 1003, 1005, 1006, 1007], {1003: None, 1004: "a", 1005: "b", 1007: None}
    )
    assert changes.new == (1005, 1007)
    assert changes.missing == (1002, 1006)
    assert changes.old_missing == (1001,)
    assert changes.replaced == (1001, 1004)
    assert changes.without_rack == (1003, 1007)


def test_case_2_minus_one_is_every_mapped_broker() -> None:
    plan = planners.rebuild(cluster(M2), [ALL_MAPPED], KEEP)
    assert len(plan.changed) == 0 and plan.targets.sum() == 4
    assert planners.rebuild(cluster(M2, {**B4, 1005: ("b", 9)}), [ALL_KNOWN], KEEP).targets.sum() == 5


def test_case_3_brokers_in_order_of_count_and_of_storage() -> None:
    state = State(problem(cluster(M1, B7), *B7), cluster(M1, B7).replicas)
    count = dict(zip(range(7), [2, 2, 3, 2, 2, 3, 3], strict=True))
    by_count = _drain(BrokerHeaps(state, lambda b: (count[b], b)))
    assert by_count == [0, 1, 3, 4, 2, 5, 6]
    free = [B7[1001 + b][1] for b in range(7)]
    assert _drain(BrokerHeaps(state, lambda b: (-free[b], b))) == [3, 4, 5, 6, 2, 1, 0]


def _drain(heaps: BrokerHeaps) -> list[int]:
    seen: list[int] = []
    while (broker := heaps.lowest(lambda b: b not in seen, ())) is not None:
        seen.append(broker)
    return seen


def test_case_4_storage_of_stripped_replicas_is_free_again() -> None:
    observed = cluster(M1, sizes={0: 30, 1: 35, 2: 60, 3: 45})
    assert (observed.capacity_bytes - observed.unexplained_bytes).tolist() == [225, 310, 405, 505]
    kept = keep(problem(observed, 1001, 1002, 1004))
    used = observed.unexplained_bytes + loads(kept, observed.size_bytes, 4)
    assert (observed.capacity_bytes - used).tolist() == [100, 200, 405, 400]


def test_case_5_an_offline_replica_is_no_broker() -> None:
    observed = cluster({**M1, ("t", 9): [-1]})
    assert observed.broker_ids.tolist() == [1001, 1002, 1003, 1004]


def test_case_6_fuller_brokers_give_and_emptier_ones_take() -> None:
    """topicmappr compares free bytes with their mean, the solver uses the cheapest window; the same brokers give and take."""
    sets = {("t", p): [1001 if p < 30 else 1002] for p in range(60)}
    plan = planners.rebalance(cluster(sets, B7, dict.fromkeys(range(60), 10), capacity=1000))
    changes = {b.id: b.used_bytes_after - b.used_bytes_before for b in plan.summary().brokers}
    assert {broker for broker, change in changes.items() if change < 0} == {1001, 1002}
    assert {broker for broker, change in changes.items() if change > 0} == {1004, 1005, 1006, 1007}


def test_every_case_is_here() -> None:
    found = {int(case) for name in globals() if name.startswith("test_case_") for case in re.findall(r"_(\d+)(?=_)", name)}
    assert {*range(1, 32), 47} <= found


def test_case_7_range_and_deviation() -> None:
    figures = topicmappr.storage([free for _, free in B4.values()])
    assert (figures.range, figures.range_spread_percent) == (300, 300.0)
    assert figures.standard_deviation == pytest.approx(111.803, abs=1e-3)


def test_case_8_differences() -> None:
    assert topicmappr.difference(100, 200) == (100, 100.0)
    assert topicmappr.difference(200, 100) == (-100, -50.0)
    assert topicmappr.difference(0, 5) == (5, 0.0), "a full broker's percentage has no meaning"


def test_case_9_degree() -> None:
    degree = topicmappr.degrees(M3.values())
    assert degree == {1001: 3, 1002: 3, 1003: 3, 1004: 4, 1005: 1}
    assert sum(degree.values()) / 5 == 2.8


def test_case_10_leaders_and_followers() -> None:
    observed = cluster(M1)
    led = leader_counts(observed.replicas, 4)
    total = loads(observed.replicas, np.ones(4, dtype=np.int64), 4)
    assert list(zip(led.tolist(), (total - led).tolist(), strict=True)) == [(1, 2), (1, 2), (1, 1), (1, 1)]


def test_case_11_largest_partitions_of_a_broker() -> None:
    observed = cluster(M4, sizes=builders.S)
    rows, _ = heaviest_first(State(problem(observed, *B4), observed.replicas), [2])[2]
    assert observed.partition[rows[:3]].tolist() == [3, 4, 1]


def test_case_12_selection_by_count_bans_racks_in_use() -> None:
    racks = {1000: ("a", 9), 1001: ("b", 9), 1002: ("c", 9), 1003: ("a", 9)}
    held = {("t", 0): [1001], ("u", 1): [1002], ("u", 2): [1002], **{("v", p): [1003] for p in range(3)}}
    options = Options(topics=["t"], measure="replica count", leaders="keep")
    assert after(planners.set_replication(cluster(held, racks), 2, options, [1001, 1002, 1003]))["t", 0] == [1001, 1002]
    assert after(planners.set_replication(cluster(held, racks), 3, options, [1001, 1002, 1003]))["t", 0] == [1001, 1002, 1003]
    with pytest.raises(NoAssignment, match="add 1 broker"):
        planners.set_replication(cluster(held, racks), 4, options, [1001, 1002, 1003])


def test_case_13_selection_by_storage() -> None:
    brokers = {1000: ("a", 0), 1001: ("b", 1000), 1003: ("a", 3000), 1009: ("z", 1000)}
    held = {("t", 0): [1009]}
    options = Options(leaders="keep", min_racks=1)
    first = planners.set_replication(cluster(held, brokers, {0: 1000}), 2, options)
    assert after(first)["t", 0] == [1009, 1003]
    assert after(planners.set_replication(cluster(held, brokers, {0: 1000}), 3, options))["t", 0] == [1009, 1003, 1001]
    with pytest.raises(NoAssignment, match="free 1000 bytes"):
        planners.set_replication(cluster(held, brokers, {0: 1000}), 4, options)


def test_case_14_who_passes_the_constraints() -> None:
    brokers: dict[int, tuple[str | None, int]] = {1000: ("a", 600), 1001: ("a", 600), 1002: ("c", 600)}
    observed = cluster({("t", 0): [1000]}, brokers, {0: 500})
    posed = problem(observed, *brokers)
    wider = pose(observed, posed.scope, posed.allowed, Rules(2))
    assert State(wider, observed.replicas).rack_rule.closed(0, [0]) == {0}
    one_rack = pose(observed, posed.scope, posed.allowed, Rules(2, min_racks=1))
    assert State(one_rack, observed.replicas).rack_rule.closed(0, [0]) == set()
    two_racks = pose(observed, posed.scope, posed.allowed, Rules(2, min_racks=2))
    assert State(two_racks, observed.replicas).rack_rule.closed(0, [0]) == {0}
    assert after(planners.set_replication(observed, 2, Options(leaders="keep")))["t", 0] == [1000, 1002]
    with pytest.raises(NoAssignment, match="capacity on broker 1002"):
        planners.set_replication(cluster({("t", 0): [1000]}, brokers, {0: 650}), 2, Options(leaders="keep"))


def test_case_15_brokers_being_replaced_do_not_constrain() -> None:
    brokers: dict[int, tuple[str | None, int]] = {1001: ("a", 9), 1002: ("b", 9), 1003: ("a", 9)}
    plan = planners.replace_brokers(cluster({("t", 0): [1001, 1002]}, brokers), [1001], [1003], KEEP)
    assert sorted(after(plan)["t", 0]) == [1002, 1003], "rack a is free again, for the broker in it leaves"


def test_case_16_rebuild_by_count() -> None:
    assert len(planners.rebuild(cluster(M1), B4, replace(KEEP, min_racks=2)).changed) == 0
    # p2 has two replicas in rack a, and rack b is free: topicmappr leaves it, we repair it unless min_racks=2.
    mended = planners.rebuild(cluster(M1), B4, KEEP)
    assert [sorted(p.replicas) for p in mended.reassignment().partitions] == [[1002, 1003, 1004]]
    plan = planners.rebuild(cluster(M1), [1001, 1002, 1003], KEEP)
    # topicmappr puts a new broker into the dead one's slot, even the first; here it comes last.
    assert after(plan)["t", 2] == [1003, 1001, 1002]
    assert after(plan)["t", 3] == [1003, 1002, 1001]
    lower = planners.rebuild(plan.cluster, [1001, 1002, 1003], KEEP, replication=2)
    assert {len(row) for row in after(lower).values()} == {2} and lower.moved_bytes == 0


def test_case_17_force_by_count() -> None:
    plan = planners.rebuild(cluster(M2), B4, Options(measure="replica count"), force=True)
    figures = plan.summary()
    assert len(after(plan)) == 7 and not builders.problems(plan, list(B4))
    assert figures.leaders_after == (1, 2)
    assert {broker.replicas_after for broker in figures.brokers} == {3, 4}


def test_case_18_substitution() -> None:
    sets = {**M4, ("t", 2): [1001, 1005]}
    brokers: dict[int, tuple[str | None, int]] = {**B4, 1005: ("b", 9), 1010: ("b", 9)}
    plan = planners.rebuild(cluster(sets, brokers), [1001, 1003, 1004, 1005, 1010], KEEP, substitute=True)
    expected = {**{k: list(v) for k, v in sets.items()}, ("t", 3): [1003, 1010], ("t", 5): [1010, 1001]}
    assert after(plan) == expected


@pytest.mark.parametrize("case", [19, 20])
def test_case_19_and_20_force_by_storage(case: int) -> None:
    """topicmappr empties all sets and moves nearly every replica; here the current assignment is balanced."""
    third = {p: size // 3 for p, size in builders.S.items()}
    brokers: dict[int, tuple[str | None, int]] = {b: (rack, 6000) for b, (rack, _) in B4.items()}
    observed = cluster(M4, brokers, third, capacity=12_000)
    plan = planners.rebuild(observed, B4, Options(target_spread=0.03), force=True)
    assert not builders.problems(plan, list(B4))
    theirs = {19: [(1003, 1001), (1004, 1002), (1004, 1003), (1002, 1003), (1003, 1004), (1001, 1002)],
              20: [(1002, 1001), (1003, 1004), (1002, 1001), (1004, 1003), (1003, 1004), (1001, 1002)]}[case]  # fmt: skip
    held = {b: int(plan.cluster.unexplained_bytes[b - 1001]) for b in B4}
    moved = 0
    for partition, row in enumerate(theirs):
        for broker in row:
            held[broker] += third[partition]
        moved += third[partition] * len(set(row) - set(M4["t", partition]))
    their_range = max(held.values()) - min(held.values())
    assert plan.summary().used_range_bytes <= max(their_range, 0.03 * 12_000)
    assert plan.moved_bytes <= moved


def test_case_21_replication_factors() -> None:
    assert {len(row) for row in after(planners.set_replication(cluster(M1), 3, KEEP)).values()} == {3}
    assert {len(row) for row in after(planners.set_replication(cluster(M1), 2, KEEP)).values()} == {2}
    assert len(planners.rebuild(cluster(M1), B4, replace(KEEP, min_racks=2), replication=None).changed) == 0


def test_case_22_equality_of_maps() -> None:
    def one(**change: object) -> ReassignmentMap:
        entry = {"topic": "t", "partition": 0, "replicas": [1, 2], **change}
        return ReassignmentMap.model_validate({"version": 1, "partitions": [entry]})

    assert one() == one()
    assert (
        len(
            {
                one().model_dump_json(),
                *(one(**c).model_dump_json() for c in ({"topic": "u"}, {"partition": 1}, {"replicas": [2, 1]})),
            }
        )
        == 4
    )


def test_case_23_affinity_needs_a_new_broker_of_the_rack() -> None:
    def paired(new: dict[int, tuple[str | None, int]], *leaving: int) -> dict[int, int]:
        observed = cluster(M1, {**B4, **new})
        pairs = affinity.pair(observed, indices(observed, *leaving), indices(observed, *new))
        return {int(observed.broker_ids[a]): int(observed.broker_ids[b]) for a, b in pairs.items()}

    with pytest.raises(InvalidRequest, match="insufficient"):
        paired({}, 1001)
    with pytest.raises(InvalidRequest, match="no new broker is left in rack"):
        paired({1005: ("b", 9)}, 1001)
    assert paired({1007: ("a", 9)}, 1001) == {1001: 1007}
    with pytest.raises(InvalidRequest, match="insufficient number of new brokers"):
        paired({1007: ("a", 9)}, 1001, 1002)


def test_case_24_the_rack_of_a_vanished_broker_is_inferred() -> None:
    sets = {**M2, ("t", 2): [1003, 1001]}
    known: dict[int, tuple[str | None, int]] = {b: v for b, v in B4.items() if b != 1001}

    def paired(*new: tuple[int, str]) -> dict[int, int]:
        observed = cluster(sets, {**known, **{b: (rack, 9) for b, rack in new}})
        pairs = affinity.pair(observed, indices(observed, 1001), indices(observed, *(b for b, _ in new)))
        return {int(observed.broker_ids[a]): int(observed.broker_ids[b]) for a, b in pairs.items()}

    for new in ([(1005, "b")], [(1005, "b"), (1006, "c")]):
        with pytest.raises(InvalidRequest):
            paired(*new)
    assert paired((1005, "b"), (1006, "c"), (1007, "a")) == {1001: 1007}


def test_case_25_racks_that_a_broker_could_be_of() -> None:
    sets = {("t", 0): [1001, 1002], ("t", 1): [1002, 1001], ("t", 2): [1003, 1004], ("t", 3): [1004, 1003]}
    observed = cluster(sets, {**{b: v for b, v in B4.items() if b != 1001}, 1003: (None, 300)})
    racks = affinity.possible_racks(observed, int(indices(observed, 1001)[0]), [])
    assert [observed.rack_names[rack] for rack in racks] == ["a"]


def test_case_26_leaders_by_share_of_replicas() -> None:
    """256 partitions of two replicas on 23 brokers: everyone within half a leadership of its share (theirs: within one)."""
    rng = np.random.Generator(np.random.PCG64(26))
    chance = rng.random(23) ** 2 + 0.05
    sets = {("t", p): (1001 + rng.choice(23, 2, replace=False, p=chance / chance.sum())).tolist() for p in range(256)}
    observed = cluster(sets, {1001 + b: ("abc"[b % 3], 0) for b in range(23)})
    plan = planners.balance_leaders(observed, by_share=True)
    figures = plan.summary()
    assert plan.moved_bytes == 0 and {k: set(v) for k, v in after(plan).items()} == {k: set(v) for k, v in sets.items()}
    assert max(abs(b.leaders_after - b.replicas_after / 2) for b in figures.brokers) <= 0.5


@pytest.mark.parametrize(
    ("new", "words"),
    [
        ([1000], "decreased replication"),
        ([1000, 1001, 1002], "increased replication"),
        ([1000, 1001], "no-op"),
        ([1001, 1000], "preferred leader"),
        ([1000, 1002], "replaced broker"),
        ([1002], "decreased replication, replaced broker"),
        ([1002, 1001, 1003], "increased replication, replaced broker"),
    ],
)
def test_case_27_change_texts(new: list[int], words: str) -> None:
    assert topicmappr.change([1000, 1001], new) == words


def test_case_28_excluded_topics() -> None:
    # Anchored: what is `\d$` to topicmappr is `.*\d` here. An item that matches nothing is a mistake.
    observed = cluster({(topic, 0): [1001] for topic in ("test", "test2", "test3")})
    rows = scope_of(observed, Options(exclude=[r".*\d"]))
    assert [observed.name(row)[0] for row in range(3) if rows[row]] == ["test"]
    for matches_nothing in ("asdf", r"\d$"):
        with pytest.raises(InvalidRequest, match="topics_exclude"):
            scope_of(observed, Options(exclude=[matches_nothing]))


def test_case_29_phases() -> None:
    observed = cluster(M2)
    wanted = observed.replicas.copy()
    assert batches.phases(observed, observed.replicas, wanted) == []
    wanted[:, 0] = np.array([2, 3, 1, 1, 1, 1, 0], dtype=np.int32)
    first, second = batches.phases(observed, observed.replicas, wanted)
    assert [p.replicas[0] for p in first.reassignment().partitions] == [M2["t", p][0] for p in first.rows.tolist()]
    assert [p.replicas[0] for p in second.reassignment().partitions] == [1001 + int(wanted[p, 0]) for p in second.rows.tolist()]


@pytest.mark.parametrize("leaving", [[10001], [10001, 10002]])
def test_case_30_evacuation(leaving: list[int]) -> None:
    sets = {("t", 0): [10001, 10002, 10003], ("t", 1): [10002, 10001, 10003], ("t", 2): [10003, 10002, 10001]}
    observed = cluster({**sets, ("u", 0): [10001, 10002, 10003]}, {b: ("abc"[b - 10001], 0) for b in (10001, 10002, 10003)})
    plan = planners.evacuate_leaders(observed, leaving, Options(topics=["t"]))
    assert not {row[0] for (topic, _), row in after(plan).items() if topic == "t"} & set(leaving)
    assert after(plan)["u", 0] == [10001, 10002, 10003]
    with pytest.raises(InvalidRequest, match="no in-sync replica on another broker"):
        planners.evacuate_leaders(observed, [10001, 10002, 10003], Options(topics=["t"]))


@pytest.mark.parametrize(("size", "count"), [(3, 2), (1, 6), (4, 2), (12, 1)])
def test_case_31_brokers_at_a_time(size: int, count: int) -> None:
    ring = {("t", p): [10000 + (p + i) % 9 for i in range(3)] for p in range(9)}
    small = {("t", p): [10000 + (p + i) % 3 for i in range(3)] for p in range(9)}
    observed = cluster(ring, {10000 + b: ("abc"[b % 3], 0) for b in range(9)})
    wanted = np.array([[b - 10000 for b in small["t", p]] for p in range(9)], dtype=np.int32)
    chunks = [s for s in batches.cut(observed, observed.replicas, wanted, batches.Limits(brokers_at_a_time=size)) if _moves(s)]
    assert len(chunks) == count
    assert {10006, 10007, 10008} - _used(chunks[0].after) >= ({10006, 10007, 10008} if size == 3 else set())
    state = observed.replicas.copy()
    for step in chunks:
        assert all(len(set(row)) == 3 for row in step.after.tolist()), "no broker twice, at any time"
        state[step.rows] = step.after
    assert {tuple(sorted(row)) for row in state.tolist()} == {(0, 1, 2)}
    assert batches.cut(observed, wanted, wanted, batches.Limits(brokers_at_a_time=size)) == []


def _moves(step: batches.Batch) -> bool:
    return any(set(a) != set(b) for a, b in zip(step.before.tolist(), step.after.tolist(), strict=True))


def _used(rows: "np.ndarray[tuple[int, int], np.dtype[np.int32]]") -> set[int]:
    return {10000 + b for b in np.unique(rows).tolist()}


def test_case_47_the_target_of_a_reassignment_in_progress() -> None:
    observed = cluster({("t", 0): [1001, 1003, 1002]})
    adding, removing = (np.array([[b == x for b in (1001, 1003, 1002)]]) for x in (1003, 1001))
    moving = replace(observed, adding=adding, removing=removing)
    assert moving.ids(moving.on_target().replicas[0]) == [1003, 1002]
    # Snapshots, gzipped or not, read alike: tests/cli/test_place.py. Under-replicated sets: models/cluster.py.
