"""The trade-off between bytes and balance, as a curve: what each spread costs at least, and what actual plans for it move."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from kafka_runbooks.placement.arrays import Cluster
from kafka_runbooks.placement.bounds import load_ranges
from kafka_runbooks.placement.bounds.relaxation import relax
from kafka_runbooks.placement.planners.options import DEFAULTS, Options
from kafka_runbooks.placement.planners.rebalance import rebalance
from kafka_runbooks.placement.planners.scope import brokers_of
from kafka_runbooks.placement.problem import pose
from kafka_runbooks.placement.solver.retention import keep

TOLERANCES = (0.0025, 0.005, 0.01, 0.02, 0.04, 0.08, 0.16)


class Point(NamedTuple):
    """One plan on the frontier: its spread, its bytes, and the bytes that any plan with that spread must move."""

    spread: float
    moved_bytes: int
    lower_bound_bytes: int


def frontier(cluster: Cluster, options: Options = DEFAULTS, brokers: Sequence[int] | None = None) -> list[Point]:
    """Rebalance plans for several tolerances above the best possible spread, tightest first."""
    points = []
    for tolerance in TOLERANCES:
        plan = rebalance(cluster, replace(options, target_spread=tolerance, leaders="keep"), brokers)
        points.append(Point(plan.spread_after, plan.moved_bytes, plan.lower_bound_bytes))
    return points


def lower_curve(cluster: Cluster, spreads: Iterable[float], brokers: Sequence[int] | None = None) -> list[tuple[float, int]]:
    """(spread, bytes that any plan must move to reach it) for a single map of all partitions."""
    problem = pose(cluster, np.ones(cluster.partition_count, dtype=np.bool_), brokers_of(cluster, brokers))
    relaxed = relax(problem, keep(problem), moves_allowed=True)
    return [(spread, load_ranges.least_moved(relaxed, spread)) for spread in spreads]
