"""From a problem to replica sets: keep what can stay, place what must be placed, balance as far as requested.

There are two ways to balance. *Without moves* only the replicas that must be placed (or may be dropped) are steered, so that the
plan moves the lower bound of bytes and no more. *With moves* further replicas go from full to empty brokers until the spread is
the best possible one plus the tolerance requested, or the byte budget is used up.
"""

from dataclasses import dataclass

import numpy as np

from kafka_runbooks.placement.arrays import Flags, Indices, moved_bytes
from kafka_runbooks.placement.bounds import load_ranges, relaxation
from kafka_runbooks.placement.bounds.relaxation import Relaxation
from kafka_runbooks.placement.problem import Problem, open_slots
from kafka_runbooks.placement.solver.balance import Goal, balance, default_tolerance
from kafka_runbooks.placement.solver.construction import fill
from kafka_runbooks.placement.solver.lead_share import enough_to_lead
from kafka_runbooks.placement.solver.local_search import improve, load_limits
from kafka_runbooks.placement.solver.retention import keep
from kafka_runbooks.placement.solver.state import State

CLOSE = 1.02
"""Bytes over their quick lower bound up to which no tighter bound is computed."""


@dataclass(frozen=True)
class Solution:
    """Replica sets (P x W, slots in place) and their figures, in the problem's measure."""

    sets: Indices
    before: Indices
    spread: float
    best_spread: float
    best_is_exact: bool
    moved_bytes: int
    forced_bytes: int
    lower_bound_bytes: int
    replicas_to_lead: int = 0
    """Replicas that new brokers have got besides, to lead their share; and the bytes that they cost."""
    bytes_to_lead: int = 0


def solve(
    problem: Problem,
    goal: Goal,
    sets: Indices | None = None,
    *,
    substitutes: dict[int, int] | None = None,
    new: Flags | None = None,
) -> Solution:
    """Solve one problem.

    Args:
        problem: the problem.
        goal: how far to balance.
        sets: where the plans of earlier maps left the replicas; None: as observed.
        substitutes: index of a leaving broker -> the broker that takes over its replicas.
        new: B, brokers that should get enough replicas to lead their share.

    Raises:
        NoAssignment: a replica fits nowhere.
    """
    size = problem.cluster.size_bytes
    kept = keep(problem, sets)
    relaxed = relaxation.relax(problem, kept, moves_allowed=goal.moves)
    state = State(problem, kept)
    fill(state, substitutes)
    forced = _forced_bytes(problem, kept)
    moved_by_earlier_maps = 0 if sets is None else moved_bytes(problem.cluster.replicas, sets, size)
    more_replicas = more_bytes = 0
    if goal.moves:
        allowed = balance(state, goal, None if goal.max_moved_bytes is None else goal.max_moved_bytes - forced)
        if new is not None:
            balanced = state.copied_bytes
            left = None if goal.max_moved_bytes is None else max(0, goal.max_moved_bytes + moved_by_earlier_maps - balanced)
            more_replicas = enough_to_lead(state, new, allowed, left)
            more_bytes = state.copied_bytes - balanced
    else:
        _steer(state, relaxed)
    spread = state.spread
    moved = moved_bytes(state.before, state.sets, size) - moved_by_earlier_maps
    best = load_ranges.best_spread(relaxed)
    tolerance = default_tolerance(best) if goal.target_spread is None else goal.target_spread
    lower = min(moved, lower_bound(problem, relaxed, kept, spread) if goal.moves else forced)
    if goal.moves and problem.is_in_bytes and (spread > best + tolerance or moved > CLOSE * lower):
        # A tighter bound may show that the plan is good. Imported here, for most plans never need the MIP solver.
        from kafka_runbooks.placement.bounds import flow

        best = max(best, min(spread, flow.best_spread(problem, kept)))
        lower = max(lower, min(moved, flow.least_moved(problem, kept, spread) - dropped_bytes(problem, kept)))
    best, is_exact = _proven(problem, kept, goal, spread, best)
    return Solution(
        sets=state.sets,
        before=state.before,
        spread=spread,
        best_spread=min(best, spread),
        best_is_exact=is_exact or spread <= best + 1e-9,
        moved_bytes=moved,
        forced_bytes=forced,
        lower_bound_bytes=lower,
        replicas_to_lead=more_replicas,
        bytes_to_lead=more_bytes,
    )


def _proven(problem: Problem, kept: Indices, goal: Goal, spread: float, best: float) -> tuple[float, bool]:
    """(best spread, whether it is exact) after the exact program, where a proof was requested and is needed."""
    if not goal.prove or spread <= best + 1e-9:
        return best, False
    from kafka_runbooks.placement.bounds import exact

    found = exact.best_spread(problem, kept, moves_allowed=goal.moves)
    return (best, False) if found is None else (max(best, found), True)


def lower_bound(problem: Problem, relaxed: Relaxation, kept: Indices, spread: float) -> int:
    """Bytes that any assignment with this spread must copy."""
    forced = _forced_bytes(problem, kept)
    if problem.is_in_bytes:
        return max(forced, load_ranges.least_moved(relaxed, spread) - dropped_bytes(problem, kept))
    return forced + load_ranges.least_bytes_shed(problem, relaxed, kept, spread)


def dropped_bytes(problem: Problem, kept: Indices) -> int:
    """Bytes of observed replicas that could stay and weren't kept: of two in one rack, or of too many, which goes is a choice.

    The bounds count a replica that isn't kept as copied, wherever it is placed; an assignment that chose otherwise has it for
    free.
    """
    observed = problem.cluster.replicas
    could = ((observed >= 0) & problem.stays[np.maximum(observed, 0)]).sum(axis=1)
    dropped = np.where(problem.scope, np.maximum(could - (kept >= 0).sum(axis=1), 0), 0)
    return int((problem.cluster.size_bytes * dropped).sum())


def _forced_bytes(problem: Problem, kept: Indices) -> int:
    return int((problem.cluster.size_bytes * open_slots(problem, kept)).sum())


def _steer(state: State, relaxed: Relaxation) -> None:
    """Revise the brokers of new replicas (and which replicas are dropped) towards the best possible window, at no cost."""
    lowest, highest = relaxed.best_levels
    improve(state, load_limits(state, min(lowest, highest), max(lowest, highest)), budget=0)
