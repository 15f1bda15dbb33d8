"""Bounds against the exact program, and plans against both, on clusters small enough to solve."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kafka_runbooks.placement import planners
from kafka_runbooks.placement.arrays import Cluster, moved_bytes
from kafka_runbooks.placement.bounds import exact, flow, load_ranges
from kafka_runbooks.placement.bounds.relaxation import relax
from kafka_runbooks.placement.planners.frontier import frontier, lower_curve
from kafka_runbooks.placement.problem import Problem, pose, spread_of
from kafka_runbooks.placement.solver.construction import fill
from kafka_runbooks.placement.solver.retention import keep
from kafka_runbooks.placement.solver.solve import dropped_bytes, lower_bound
from kafka_runbooks.placement.solver.state import State
from tests.examples import examples
from tests.placement import builders
from tests.placement.strategies import clusters


def posed(cluster: Cluster) -> tuple[Problem, "np.typing.NDArray[np.int32]"]:
    problem = pose(cluster, np.ones(cluster.partition_count, dtype=np.bool_), cluster.is_live)
    return problem, keep(problem)


@settings(max_examples=examples(30), deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(cluster=clusters(offline=False, most_partitions=6), moves=st.booleans())
def test_no_plan_beats_the_exact_spread_nor_that_the_bound(cluster: Cluster, moves: bool) -> None:
    problem, kept = posed(cluster)
    proven = exact.best_spread(problem, kept, moves_allowed=moves)
    if proven is None:
        return
    assert load_ranges.best_spread(relax(problem, kept, moves_allowed=moves)) <= proven + 1e-6
    if moves:
        assert planners.rebalance(cluster, planners.Options(target_spread=0.0)).spread_after >= proven - 1e-6, "none beats it"


@settings(max_examples=examples(100), deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(cluster=clusters(offline=False, most_partitions=12), data=st.data(), between_brokers=st.booleans())
def test_no_random_walk_through_valid_assignments_moves_less_than_the_bounds(
    cluster: Cluster, data: st.DataObject, between_brokers: bool
) -> None:
    problem, kept = posed(cluster)
    state = State(problem, kept)
    fill(state)
    for _ in range(data.draw(st.integers(0, 12))):
        partition = data.draw(st.integers(0, cluster.partition_count - 1))
        source, destination = (data.draw(st.integers(0, cluster.broker_count - 1)) for _ in range(2))
        if source in state.sets[partition] and state.may_move(np.array([partition]), source, destination)[0]:
            state.move(partition, source, destination)
    reached = spread_of(problem, np.array(state.load, dtype=np.int64))
    moved = moved_bytes(state.before, state.sets, cluster.size_bytes)
    relaxed = relax(problem, kept, moves_allowed=True)
    assert load_ranges.best_spread(relaxed) <= reached + 1e-9
    assert lower_bound(problem, relaxed, kept, reached) <= moved
    with pytest.MonkeyPatch.context() as patch:
        if not between_brokers:
            patch.setattr(flow, "MOST_FLOWS", 0)
        assert flow.best_spread(problem, kept) <= reached + 1e-9
        assert flow.least_moved(problem, kept, reached) - dropped_bytes(problem, kept) <= moved


@settings(max_examples=examples(30), deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(cluster=clusters(offline=False, most_partitions=6))
def test_the_flow_bound_is_exact_where_every_partition_is_whole(cluster: Cluster) -> None:
    problem, kept = posed(cluster)
    proven = exact.best_spread(problem, kept, moves_allowed=True)
    if proven is None or cluster.broker_count > 6:
        return
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(flow, "HEAVY", 0.0)
        found = flow.best_spread(problem, kept)
    assert found <= proven + 1e-6
    widest = float(problem.width[problem.allowed].max())
    if (problem.required_racks == problem.replication).all() and (problem.cluster.capacity_bytes > 1000).all():
        assert found >= proven - 1e-3 - 1 / widest


def test_one_huge_partition_bounds_the_spread() -> None:
    brokers: dict[int, tuple[str | None, int]] = {b: ("abcd"[b - 1], 100 if b < 3 else 140) for b in (1, 2, 3, 4)}
    observed = builders.cluster({("t", 0): [1, 2], ("t", 1): [3, 4]}, brokers, {0: 60, 1: 20}, capacity=160)
    problem, kept = posed(observed)
    proven = exact.best_spread(problem, kept, moves_allowed=True)
    assert proven == pytest.approx(40 / 160)
    assert load_ranges.best_spread(relax(problem, kept, moves_allowed=True)) == pytest.approx(40 / 160, abs=2 / 160)


def test_a_plan_carries_the_proof_if_asked() -> None:
    brokers: dict[int, tuple[str | None, int]] = {b: ("ab"[b % 2], 1000 if b == 1 else 1276) for b in (1, 2, 3, 4)}
    observed = builders.cluster({("t", p): [1] for p in range(5)}, brokers, {0: 33, 1: 33, 2: 40, 3: 70, 4: 100}, capacity=1276)
    plan = planners.rebalance(observed, planners.Options(prove=True))
    figures = plan.summary()
    assert figures.best_possible_is_exact and figures.best_possible_spread > 0.01
    assert planners.rebalance(observed).summary().best_possible_spread <= figures.best_possible_spread


def test_racks_of_unequal_capacity_bound_the_spread() -> None:
    """Replication 3 over 3 racks: each rack holds everything once, and two brokers share what four share elsewhere."""
    brokers: dict[int, tuple[str | None, int]] = {b: ("aabbccc"[b - 1], 0) for b in range(1, 8)}
    sets = {("t", p): [1 + p % 2, 3 + p % 2, 5 + p % 3] for p in range(12)}
    observed = builders.cluster(
        sets, {b: (r, 100 if b < 5 else 120) for b, (r, _) in brokers.items()}, dict.fromkeys(range(12), 10), capacity=160
    )
    problem, kept = posed(observed)
    relaxed = relax(problem, kept, moves_allowed=True)
    assert load_ranges.best_spread(relaxed) == pytest.approx((60 - 40) / 160, abs=2 / 160)


@settings(max_examples=examples(40), deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(cluster=clusters(offline=False), spread=st.floats(0, 0.5))
def test_a_wider_window_never_costs_more(cluster: Cluster, spread: float) -> None:
    problem, kept = posed(cluster)
    relaxed = relax(problem, kept, moves_allowed=True)
    best = load_ranges.best_spread(relaxed)
    assert load_ranges.least_moved(relaxed, best + spread) >= load_ranges.least_moved(relaxed, best + spread * 1.5)
    assert load_ranges.least_moved(relaxed, 10.0) == relaxed.placed


def test_the_frontier_falls_and_its_plans_are_near_it() -> None:
    from pathlib import Path

    from benchmarks import placement as benchmark

    problem, observed = benchmark.load(Path(__file__).parents[1] / "problems" / "rebalance-12x400.json.gz")
    points = frontier(observed, brokers=problem["target_brokers"])
    moved = [point.moved_bytes for point in points]
    assert moved == sorted(moved, reverse=True)
    assert all(point.moved_bytes <= point.lower_bound_bytes * 1.05 for point in points)
    curve = lower_curve(observed, [point.spread for point in points], problem["target_brokers"])
    assert all(low <= point.moved_bytes for (_, low), point in zip(curve, points, strict=True))
