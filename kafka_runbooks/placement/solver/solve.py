"""From a problem to replica sets: keep what can stay, place what must be placed, level as far as was asked.

Two ways to level. *Without moves* only the replicas that must be placed (or may be dropped) are steered, so that the plan moves
the lower bound of bytes and not one more. *With moves* further replicas go from full to empty brokers until the spread is the
best possible one plus the tolerance asked for, or the bytes allowed are used up.
"""

from dataclasses import dataclass

import numpy as np

from kafka_runbooks.placement.arrays import Indices, moved_bytes
from kafka_runbooks.placement.bounds import load_ranges as bounds
from kafka_runbooks.placement.bounds import relaxation as relaxing
from kafka_runbooks.placement.problem import Problem, levels
from kafka_runbooks.placement.solver.bulk_moves import evict_oversized, shift, water_levels
from kafka_runbooks.placement.solver.construction import fill
from kafka_runbooks.placement.solver.local_search import polish
from kafka_runbooks.placement.solver.rack_moves import cross
from kafka_runbooks.placement.solver.retention import keep
from kafka_runbooks.placement.solver.state import State

DEFAULT_SPREAD = 0.005
"""Half a percent of capacity: below it, brokers drift apart within a day anyway."""
NARROWEST = 0.001
"""Tolerance where half a percent is just possible."""
AIM = 0.8
"""Part of the tolerance that the window uses; most of the rest absorbs that replicas can't be cut in pieces."""
LEEWAY = 0.18
"""Part of the tolerance by which a broker may miss the window before anything more is moved to help it."""
CLOSE = 1.02
"""Bytes over their quick lower bound up to which no better bound is looked for."""
ATTEMPTS = 3
"""A window that replicas can't be fitted into is widened to what was reached, and planned again, so that no byte is wasted."""


@dataclass(frozen=True)
class Solution:
    """Replica sets (P x W, slots in place) and what they are measured by, in the problem's measure."""

    sets: Indices
    before: Indices
    spread: float
    best_spread: float
    best_is_exact: bool
    moved_bytes: int
    forced_bytes: int
    lower_bound_bytes: int


def solve(
    problem: Problem,
    sets: Indices | None = None,
    *,
    moves: bool,
    target_spread: float | None = None,
    max_moved_bytes: int | None = None,
    affinity: dict[int, int] | None = None,
    prove: bool = False,
) -> Solution:
    """Plan one map.

    :param sets: where earlier maps' plans left the replicas (the cluster's own, if None)
    :param target_spread: how far above the best possible spread the plan may stay, in the problem's measure over width
    :param max_moved_bytes: bytes that the plan may copy, forced ones included
    :param prove: for small clusters, the best possible spread exactly
    :raises NoAssignment: a replica fits nowhere
    """
    kept = keep(problem, sets)
    relaxed = relaxing.relax(problem, kept, moves_allowed=moves)
    best = bounds.best_spread(relaxed)
    state = State(problem, kept)
    fill(state, affinity)
    base = sets if sets is not None else problem.cluster.replicas
    forced = _forced_bytes(problem, kept)
    wished = default_tolerance(best) if target_spread is None else target_spread
    already = moved_bytes(problem.cluster.replicas, base, problem.cluster.size_bytes) if sets is not None else 0
    if moves:
        _level(state, target_spread, None if max_moved_bytes is None else max_moved_bytes - forced)
    else:
        _steer(state, relaxed)
    spread = _spread(state)
    in_bytes = problem.measure in ("utilisation", "used bytes")
    moved = moved_bytes(state.before, state.sets, problem.cluster.size_bytes) - already
    lower = min(moved, lower_bound(problem, relaxed, kept, spread) if moves else forced)
    if moves and in_bytes and (spread > best + wished or moved > CLOSE * lower):
        # Not seen to be good: a bound that costs more to find may show that it is.
        from kafka_runbooks.placement.bounds import flow as fluid

        best = max(best, min(spread, fluid.best_spread(problem, kept)))
        lower = max(lower, min(moved, fluid.least_moved(problem, kept, spread) - dropped_bytes(problem, kept)))
    proven, exactly = best, False
    if prove and spread > best + 1e-9:
        from kafka_runbooks.placement.bounds import exact

        found = exact.best_spread(problem, kept, moves_allowed=moves)
        proven, exactly = (best, False) if found is None else (max(best, found), True)
    return Solution(
        sets=state.sets,
        before=state.before,
        spread=spread,
        best_spread=min(proven, spread),
        best_is_exact=exactly or spread <= proven + 1e-9,
        moved_bytes=moved,
        forced_bytes=forced,
        lower_bound_bytes=lower,
    )


def default_tolerance(best: float) -> float:
    """How far above the best possible spread is level enough: to half a percent in all where that is possible, else by it."""
    return max(NARROWEST, DEFAULT_SPREAD - best) if best < DEFAULT_SPREAD else DEFAULT_SPREAD


def lower_bound(problem: Problem, relaxed: relaxing.Relaxation, kept: Indices, spread: float) -> int:
    """Bytes that any map with this spread must copy."""
    forced = _forced_bytes(problem, kept)
    if problem.measure in ("utilisation", "used bytes"):
        return max(forced, bounds.least_moved(relaxed, spread) - dropped_bytes(problem, kept))
    return forced + bounds.least_bytes_shed(problem, relaxed, kept, spread)


def dropped_bytes(problem: Problem, kept: Indices) -> int:
    """Bytes of observed replicas that could stay and weren't kept: of two in one rack, or of too many, which goes is a choice.

    The bounds count a replica that isn't kept as copied, wherever it is; a map that chose otherwise has that for nothing.
    """
    observed = problem.cluster.replicas
    could = ((observed >= 0) & problem.allowed[np.maximum(observed, 0)]).sum(axis=1)
    dropped = np.where(problem.scope, np.maximum(could - (kept >= 0).sum(axis=1), 0), 0)
    return int((problem.cluster.size_bytes * dropped).sum())


def _forced_bytes(problem: Problem, kept: Indices) -> int:
    missing = problem.replication - (kept >= 0).sum(axis=1)
    return int((problem.cluster.size_bytes * np.where(problem.scope, np.maximum(missing, 0), 0)).sum())


def _spread(state: State) -> float:
    at = levels(state.problem, np.array(state.load, dtype=np.int64))
    return float(at.max() - at.min()) if len(at) else 0.0


def _steer(state: State, relaxed: relaxing.Relaxation) -> None:
    """Revise the choice of new replicas' brokers (and of dropped replicas) towards the best possible window, at no cost."""
    lowest, highest = relaxed.best_levels
    low, high = min(lowest, highest), max(lowest, highest)
    polish(state, *_limits(state, low, high), budget=0)


def _limits(state: State, lowest: float, highest: float) -> tuple[dict[int, int], dict[int, int]]:
    brokers = np.nonzero(state.problem.allowed)[0].tolist()
    return (
        {b: int(np.ceil(lowest * state.width[b])) for b in brokers},
        {b: int(np.floor(highest * state.width[b])) for b in brokers},
    )


def _level(state: State, target_spread: float | None, budget: int | None) -> None:
    problem = state.problem
    relaxed = relaxing.relax(problem, state.sets, moves_allowed=True)
    best = bounds.best_spread(relaxed)
    tolerance = default_tolerance(best) if target_spread is None else target_spread
    if problem.measure != "utilisation" and target_spread is None:
        tolerance = DEFAULT_SPREAD * max(1.0, float(np.mean(relaxed.kept))) if problem.measure != "replica count" else 0.0
    if problem.measure == "replica count":
        # Counts are whole: one replica's difference is as level as it gets.
        tolerance = max(tolerance, 1.0 / AIM)
    if budget is not None:
        in_bytes = problem.measure in ("utilisation", "used bytes")
        wanted = bounds.smallest_spread_within(relaxed, max(0, budget)) if in_bytes else best + tolerance
        if target_spread is None or wanted > best + tolerance * AIM:
            tolerance = (wanted - best) / AIM
    observed = _spread(state)
    if observed <= best + tolerance:
        return
    start = state.sets.copy()
    found = []
    if len(relaxed.heavy_holder):
        # First with the heaviest replicas where they are: what they need of their rack, others don't get.
        staying = relaxing.relax(problem, start, moves_allowed=True, heavy_stay=True)
        found.append(_attempts(state, staying, tolerance, observed, budget))
    if not found or found[0][0] > best + tolerance:
        state.sets[:] = start
        state.recount()
        found.append(_attempts(state, relaxed, tolerance, observed, budget))
    narrowest, size = min(reached for reached, _ in found), problem.cluster.size_bytes
    enough = best + tolerance if narrowest <= best + tolerance else narrowest + tolerance
    near = [outcome for outcome in found if outcome[0] <= enough]
    reached, sets = min(near, key=lambda outcome: moved_bytes(state.before, outcome[1], size))
    # Moves that leave the spread as it was are worth nothing.
    state.sets[:] = sets if reached < observed else start
    state.recount()


def _attempts(
    state: State, relaxed: relaxing.Relaxation, tolerance: float, observed: float, budget: int | None
) -> tuple[float, Indices]:
    """(spread, sets) of the best of some attempts, each asking for no more than the one before it reached."""
    start, best = state.sets.copy(), bounds.best_spread(relaxed)
    goal, outcomes = best + tolerance * AIM, []
    while goal < observed and bounds.cheapest_window(relaxed, goal) is None:
        # No window of whole replicas is this narrow; the bound is one of pieces.
        goal += max(tolerance * AIM, (observed - best) / 50)
    for _ in range(ATTEMPTS):
        _reach(state, relaxed, goal, LEEWAY * tolerance, budget)
        reached = _spread(state)
        outcomes.append((reached, state.sets.copy()))
        if reached <= max(best + tolerance, goal):
            break
        goal = reached
        state.sets[:] = start
        state.recount()
    # The last attempt asked for no more than an earlier one had reached; it is cheaper, unless it reached less.
    return min(reversed(outcomes), key=lambda outcome: outcome[0] > outcomes[0][0] * (1 + 1e-9) + tolerance)


def _reach(state: State, relaxed: relaxing.Relaxation, spread: float, leeway: float, budget: int | None) -> None:
    found = bounds.cheapest_window(relaxed, spread)
    if found is None:
        return
    lowest, highest, wanted = found
    problem = state.problem
    _, high = _limits(state, lowest, highest)
    racks = np.unique(problem.cluster.racks[problem.allowed]).tolist()
    start = moved_bytes(state.before, state.sets, problem.cluster.size_bytes)

    def left() -> int | None:
        return None if budget is None else budget + start - moved_bytes(state.before, state.sets, problem.cluster.size_bytes)

    def net(wanted: bounds.Exchange) -> dict[int, int]:
        return dict(zip(racks, (wanted.arrivals - wanted.departures).tolist(), strict=True))

    evict_oversized(state, high, budget)
    for _ in range(2):
        relaxed = relaxing.relax(problem, state.sets, moves_allowed=True, heavy_stay=True)
        wanted = bounds.exchange(relaxed, lowest, highest) or wanted
        cross(state, net(wanted), high, left())
    relaxed = relaxing.relax(problem, state.sets, moves_allowed=True, heavy_stay=True)
    wanted = bounds.exchange(relaxed, lowest, highest) or wanted
    brokers = np.nonzero(problem.allowed)[0].tolist()
    give, take = (dict(zip(brokers, amounts.tolist(), strict=True)) for amounts in water_levels(relaxed, wanted))
    shift(state, give, take, high, net(wanted), left())
    polish(state, *_limits(state, lowest - leeway / 2, highest + leeway / 2), left())
