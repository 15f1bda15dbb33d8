"""The trade between bytes and level, as a curve: what each spread costs at least, and what our plans for it move."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from kafka_runbooks.placement import planners
from kafka_runbooks.placement import problem as problems
from kafka_runbooks.placement.arrays import Cluster
from kafka_runbooks.placement.bounds import load_ranges as bounds
from kafka_runbooks.placement.bounds import relaxation as relaxing
from kafka_runbooks.placement.planners import options as wishes
from kafka_runbooks.placement.solver import retention as keeping

DEFAULT_TOLERANCES = (0.0025, 0.005, 0.01, 0.02, 0.04, 0.08, 0.16)


class Point(NamedTuple):
    """One plan on the frontier: its spread, its bytes, and the bytes that any plan with that spread must move."""

    spread: float
    moved_bytes: int
    lower_bound_bytes: int


def frontier(
    cluster: Cluster,
    options: planners.Options = planners.DEFAULTS,
    brokers: Sequence[int] | None = None,
    tolerances: Iterable[float] = DEFAULT_TOLERANCES,
) -> list[Point]:
    """Rebalance plans for several tolerances above the best possible spread, tightest first."""
    points = []
    for tolerance in sorted(tolerances):
        plan = planners.rebalance(cluster, replace(options, target_spread=tolerance, leaders="keep"), brokers)
        points.append(Point(plan.spread_after, plan.moved_bytes, plan.lower_bound_bytes))
    return points


def lower_curve(cluster: Cluster, spreads: Iterable[float], brokers: Sequence[int] | None = None) -> list[tuple[float, int]]:
    """(spread, bytes that any plan must move to reach it) for one map of all partitions."""
    allowed = wishes.chosen(cluster, brokers)
    problem = problems.make(cluster, np.ones(cluster.partition_count, dtype=np.bool_), allowed)
    relaxed = relaxing.relax(problem, keeping.keep(problem), moves_allowed=True)
    return [(spread, bounds.least_moved(relaxed, spread)) for spread in spreads]
