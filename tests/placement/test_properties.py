"""For any cluster: every plan passes the independent rules, and none beats its own bounds."""

from dataclasses import replace

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kafka_runbooks.placement import planners
from kafka_runbooks.placement.arrays import Cluster
from kafka_runbooks.placement.batches import Limits, cut, phases
from kafka_runbooks.placement.bounds import load_ranges
from kafka_runbooks.placement.bounds.relaxation import relax
from kafka_runbooks.placement.errors import NoAssignment
from kafka_runbooks.placement.plan import Plan
from kafka_runbooks.placement.planners import Options
from kafka_runbooks.placement.problem import pose
from kafka_runbooks.placement.solver.retention import keep
from kafka_runbooks.placement.verify import rules
from tests.examples import examples
from tests.placement import builders
from tests.placement.strategies import clusters

quick = settings(max_examples=examples(60), deadline=None, suppress_health_check=[HealthCheck.too_slow])


def valid(plan: Plan, brokers: list[int], replication: int | None = None, min_racks: int | None = None) -> None:
    assert builders.problems(plan, brokers, replication, min_racks) == []
    assert plan.lower_bound_bytes <= plan.moved_bytes
    assert plan.best_possible_spread <= plan.spread_after + 1e-9
    assert plan.summary().rack_violations == 0


def ids(cluster: Cluster) -> list[int]:
    return [int(b) for b in cluster.broker_ids[cluster.is_live]]


@quick
@given(cluster=clusters(), target=st.sampled_from([None, 0.0, 0.02, 0.2]), budget=st.sampled_from([None, 0, 50, 500]))
def test_rebalance(cluster: Cluster, target: float | None, budget: int | None) -> None:
    plan = planners.rebalance(cluster, Options(target_spread=target, max_moved_bytes=budget))
    valid(plan, ids(cluster))
    if budget is not None:
        assert plan.moved_bytes <= max(budget, plan.forced_bytes)
    if plan.forced_bytes == 0:
        assert plan.spread_after <= plan.spread_before + 1e-9, "never worse than before"


@quick
@given(cluster=clusters(offline=False), target=st.sampled_from([0.01, 0.05, 0.2]))
def test_no_move_can_be_left_out_of_a_plan_that_reaches_what_was_asked(cluster: Cluster, target: float) -> None:
    # With a budget there is one round. What a later round adds to a plan that missed its target may make moves of an earlier one
    # needless together; they aren't looked for.
    plan = planners.rebalance(cluster, Options(target_spread=target, max_moved_bytes=10**6))
    problem = pose(cluster, np.asarray(cluster.in_sync.any(axis=1)), cluster.is_live)
    asked = load_ranges.best_spread(relax(problem, keep(problem), moves_allowed=True)) + target
    if plan.spread_after > asked or plan.forced_bytes:
        return
    known, planned = rules.facts(cluster), builders.after(plan)
    for name, new in planned.items():
        old = known.replicas[name]
        for back in set(old) - set(new):
            for gone in set(new) - set(old):
                without = {**planned, name: [back if broker == gone else broker for broker in new]}
                if known.size_bytes[name] and not rules.check_assignment(known, without, brokers=ids(cluster)):
                    assert spread(known, without) > asked * (1 - 1e-8), f"{name} may stay on {back}"


@quick
@given(cluster=clusters(), target=st.sampled_from([None, 0.05, 0.2]), budget=st.sampled_from([None, 0, 100]))
def test_new_brokers_that_lead_their_share(cluster: Cluster, target: float | None, budget: int | None) -> None:
    options = Options(target_spread=target, max_moved_bytes=budget)
    plan = planners.scale_up(cluster, [1], options, resumed=True)
    valid(plan, ids(cluster))
    if budget is not None:
        assert plan.moved_bytes <= max(budget, plan.forced_bytes)
    without = planners.scale_up(cluster, [1], replace(options, leaders="keep"), resumed=True)
    assert (
        plan.spread_after <= max(without.spread_after, plan.best_possible_spread + (0.005 if target is None else target)) + 1e-9
    )


def spread(known: rules.Facts, sets: rules.Sets) -> float:
    """Highest minus lowest utilisation, counted by hand."""
    used = dict(known.unexplained_bytes)
    for name, replicas in sets.items():
        for broker in replicas:
            used[broker] += known.size_bytes[name]
    levels = [used[broker] / known.capacity_bytes[broker] for broker in used]
    return max(levels) - min(levels)


@quick
@given(cluster=clusters(), data=st.data())
def test_brokers_leave(cluster: Cluster, data: st.DataObject) -> None:
    leaving = data.draw(st.lists(st.sampled_from(ids(cluster)), min_size=1, max_size=3, unique=True))
    try:
        plan = planners.decommission(cluster, leaving)
    except NoAssignment as refused:
        assert refused.reasons
        return
    valid(plan, [b for b in ids(cluster) if b not in leaving])
    assert plan.moved_bytes == plan.forced_bytes


@quick
@given(cluster=clusters(), replication=st.integers(1, 5), min_racks=st.sampled_from([None, 1, 2]))
def test_replication(cluster: Cluster, replication: int, min_racks: int | None) -> None:
    try:
        plan = planners.set_replication(cluster, replication, Options(min_racks=min_racks))
    except NoAssignment:
        assert replication > len(ids(cluster))
        return
    valid(plan, ids(cluster), replication, min_racks)
    assert plan.moved_bytes == plan.forced_bytes


@quick
@given(cluster=clusters(roomy=False))
def test_tight_disks_are_never_overfilled(cluster: Cluster) -> None:
    for planner in (planners.rebalance, planners.spread_topics):
        try:
            plan = planner(cluster)
        except NoAssignment:
            continue
        known, end = rules.facts(cluster), builders.after(plan)
        excused = []
        # What can't be repaired stays as it is: a lost replica that fits nowhere, a set that
        # spans too few racks. It keeps nothing else from being planned.
        for name, row in known.replicas.items():
            held = [broker for broker in row if broker >= 0]
            if held and end[name] == held and not helpful(known, end, name):
                excused.append(f"{name}: ")
        assert [one for one in builders.problems(plan, ids(cluster)) if not one.startswith(tuple(excused) or "-")] == []


def helpful(known: rules.Facts, end: builders.Sets, name: rules.Name) -> list[list[int]]:
    """Valid sets with one more replica, or another one, on a broker that has space for it once a plan is carried out."""
    used = dict(known.unexplained_bytes)
    for other, replicas in end.items():
        for broker in replicas:
            used[broker] += known.size_bytes[other]
    held = list(end[name])
    fitting = [b for b in known.rack if b not in held and used[b] + known.size_bytes[name] <= known.capacity_bytes[b]]
    if len(held) < len(known.replicas[name]):
        tried = [[*held, broker] for broker in fitting]
    else:
        tried = [[broker if one == gone else one for one in held] for broker in fitting for gone in held]
    return [one for one in tried if not rules.check_assignment(known, {name: one}, brokers=known.rack)]


@quick
@given(cluster=clusters())
def test_counts_and_topics(cluster: Cluster) -> None:
    valid(planners.rebuild(cluster, ids(cluster), Options(measure="replica count"), force=True), ids(cluster))
    valid(planners.spread_topics(cluster), ids(cluster))


@quick
@given(cluster=clusters(offline=False), by_share=st.booleans())
def test_leaders_move_no_bytes_and_no_replicas(cluster: Cluster, by_share: bool) -> None:
    plan = planners.balance_leaders(cluster, by_share=by_share)
    assert plan.moved_bytes == 0
    assert np.array_equal(np.sort(plan.before, axis=1), np.sort(plan.after, axis=1))


@quick
@given(
    cluster=clusters(roomy=False), most=st.sampled_from([None, 1, 40, 200]), moves=st.sampled_from([None, 1, 3]), data=st.data()
)
def test_every_step_is_valid_and_undone_by_its_inverse(
    cluster: Cluster, most: int | None, moves: int | None, data: st.DataObject
) -> None:
    try:
        plan = planners.rebalance(cluster)
        steps = cut(cluster, plan.before, plan.after, Limits(bytes_per_broker=most, moves_per_broker=moves))
    except NoAssignment:
        return
    known = rules.facts(cluster)
    state = dict(known.replicas)
    for step in steps:
        change = {(p.topic, p.partition): list(p.replicas) for p in step.reassignment().partitions}
        assert rules.check_batch(known, state, change) == []
        back = {(p.topic, p.partition): list(p.replicas) for p in step.inverse().partitions}
        forward = {**state, **change}
        undone = {**forward, **back}
        known_before = {name: [b for b in row if b >= 0] for name, row in state.items()}
        assert all(undone[name] == (known_before[name] if name in back else forward[name]) for name in state)
        if moves is not None:
            busiest = np.bincount([b for name, row in change.items() for b in set(row) ^ set(state[name]) if b >= 0] or [0])
            assert busiest.max() <= moves or len(change) == 1
        state = forward
    known_after = {name: [b for b in row if b >= 0] for name, row in state.items()}
    assert known_after == builders.after(plan), "a lost replica of what is left alone stays"
    del data


@quick
@given(cluster=clusters(offline=False), most=st.sampled_from([1, 40]), data=st.data())
def test_interrupted_anywhere_it_ends_in_the_same_place(cluster: Cluster, most: int, data: st.DataObject) -> None:
    plan = planners.rebalance(cluster)
    wanted, observed = plan.after, plan.before.copy()
    for _ in range(100):
        steps = cut(cluster, observed, wanted, Limits(bytes_per_broker=most))
        if not steps:
            break
        # Killed in the middle of the first step: some of its partitions are done, some aren't.
        done = data.draw(st.integers(1, len(steps[0].rows)))
        observed[steps[0].rows[:done]] = steps[0].after[:done]
    assert np.array_equal(observed, wanted)


@quick
@given(cluster=clusters(offline=False), data=st.data())
def test_leader_first_phases(cluster: Cluster, data: st.DataObject) -> None:
    leaving = data.draw(st.sampled_from(ids(cluster)))
    try:
        plan = planners.decommission(cluster, [leaving])
    except NoAssignment:
        return
    made = phases(cluster, plan.before, plan.after)
    state = {row: list(members) for row, members in enumerate(plan.before.tolist())}
    for number, step in enumerate(made):
        for row, members in zip(step.rows.tolist(), step.after.tolist(), strict=True):
            if number == 0 and state[row][0] not in plan.after[row].tolist():
                assert members[0] == state[row][0], "the old leader stays in front while copies run"
            assert len({b for b in members if b >= 0}) == len([b for b in members if b >= 0])
    final = made[-1] if made else None
    if final is not None:
        assert np.array_equal(final.after[:, : plan.after.shape[1]], plan.after[final.rows])


@quick
@given(cluster=clusters(offline=False))
def test_planning_again_changes_nothing(cluster: Cluster) -> None:
    plan = planners.rebalance(cluster)
    settled = replace(cluster, replicas=plan.after, in_sync=plan.after >= 0)
    again = planners.rebalance(settled)
    assert again.moved_bytes == 0 or again.spread_after < plan.spread_after
