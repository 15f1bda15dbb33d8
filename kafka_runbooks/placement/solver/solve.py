"""From a problem to replica sets: keep what can stay, place what must be placed, balance as far as requested.

There are two ways to balance. *Without moves* only the replicas that must be placed (or may be dropped) are steered, so that the
plan moves the lower bound of bytes and no more. *With moves* further replicas go from full to empty brokers until the spread is
the best possible one plus the tolerance requested, or the byte budget is used up.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from kafka_runbooks.placement.arrays import Indices, loads, moved_bytes
from kafka_runbooks.placement.bounds import load_ranges, relaxation
from kafka_runbooks.placement.bounds.relaxation import Relaxation
from kafka_runbooks.placement.problem import Problem, open_slots, spread_of
from kafka_runbooks.placement.solver.bulk_moves import demand, evict_oversized, net_by_rack, shift
from kafka_runbooks.placement.solver.construction import fill
from kafka_runbooks.placement.solver.local_search import LoadLimits, improve
from kafka_runbooks.placement.solver.rack_moves import move_between_racks
from kafka_runbooks.placement.solver.retention import keep
from kafka_runbooks.placement.solver.state import State

DEFAULT_SPREAD = 0.005
"""Half a percent of capacity: brokers drift further apart than that within a day."""
SMALLEST_TOLERANCE = 0.001
"""Tolerance where half a percent is barely possible."""
AIM = 0.8
"""Share of the tolerance that the window uses; most of the rest absorbs that replicas are indivisible."""
LEEWAY = 0.18
"""Share of the tolerance by which a broker may miss the window before anything more is moved to help it."""
CLOSE = 1.02
"""Bytes over their quick lower bound up to which no tighter bound is computed."""
ATTEMPTS = 3
"""A window that whole replicas can't meet is widened to what was reached, and planned again, so that no byte is wasted."""


class Goal(NamedTuple):
    """How far to balance, and at what price."""

    moves: bool
    """Whether replicas may move beyond those that must."""
    target_spread: float | None = None
    """How far above the best possible spread the plan may stay, in the problem's measure over width; None: the default."""
    max_moved_bytes: int | None = None
    """Bytes that the plan may copy, forced ones included."""
    prove: bool = False
    """For small clusters, compute the best possible spread exactly."""


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


def solve(problem: Problem, goal: Goal, sets: Indices | None = None, *, substitutes: dict[int, int] | None = None) -> Solution:
    """Solve one problem.

    Args:
        problem: the problem.
        goal: how far to balance.
        sets: where the plans of earlier maps left the replicas; None: as observed.
        substitutes: index of a leaving broker -> the broker that takes over its replicas.

    Raises:
        NoAssignment: a replica fits nowhere.
    """
    size = problem.cluster.size_bytes
    kept = keep(problem, sets)
    relaxed = relaxation.relax(problem, kept, moves_allowed=goal.moves)
    state = State(problem, kept)
    fill(state, substitutes)
    forced = _forced_bytes(problem, kept)
    if goal.moves:
        _balance(state, goal.target_spread, None if goal.max_moved_bytes is None else goal.max_moved_bytes - forced)
    else:
        _steer(state, relaxed)
    spread = _spread(state)
    moved_by_earlier_maps = 0 if sets is None else moved_bytes(problem.cluster.replicas, sets, size)
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
    )


def _proven(problem: Problem, kept: Indices, goal: Goal, spread: float, best: float) -> tuple[float, bool]:
    """(best spread, whether it is exact) after the exact program, where a proof was requested and is needed."""
    if not goal.prove or spread <= best + 1e-9:
        return best, False
    from kafka_runbooks.placement.bounds import exact

    found = exact.best_spread(problem, kept, moves_allowed=goal.moves)
    return (best, False) if found is None else (max(best, found), True)


def default_tolerance(best: float) -> float:
    """How far above the best spread is balanced enough: half a percent in total where possible, else half a percent above."""
    return max(SMALLEST_TOLERANCE, DEFAULT_SPREAD - best) if best < DEFAULT_SPREAD else DEFAULT_SPREAD


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


def _spread(state: State) -> float:
    return spread_of(state.problem, np.array(state.load, dtype=np.int64))


def _copied_bytes(state: State) -> int:
    return moved_bytes(state.before, state.sets, state.problem.cluster.size_bytes)


def _steer(state: State, relaxed: Relaxation) -> None:
    """Revise the brokers of new replicas (and which replicas are dropped) towards the best possible window, at no cost."""
    lowest, highest = relaxed.best_levels
    improve(state, _limits(state, min(lowest, highest), max(lowest, highest)), budget=0)


def _limits(state: State, lowest: float, highest: float) -> LoadLimits:
    brokers = np.nonzero(state.problem.allowed)[0].tolist()
    return LoadLimits(
        {b: int(np.ceil(lowest * state.width[b])) for b in brokers},
        {b: int(np.floor(highest * state.width[b])) for b in brokers},
    )


def is_balanced(problem: Problem, sets: Indices, goal: Goal) -> bool:
    """Whether another solution would leave these sets as they are, since they are balanced enough."""
    relaxed = relaxation.relax(problem, sets, moves_allowed=True)
    spread = spread_of(problem, problem.base + loads(sets, problem.weight, problem.cluster.broker_count))
    return spread <= load_ranges.best_spread(relaxed) + _tolerance(problem, relaxed, goal.target_spread, None)


def _balance(state: State, target_spread: float | None, budget: int | None) -> None:
    relaxed = relaxation.relax(state.problem, state.sets, moves_allowed=True)
    best = load_ranges.best_spread(relaxed)
    tolerance = _tolerance(state.problem, relaxed, target_spread, budget)
    observed = _spread(state)
    if observed <= best + tolerance:
        return
    start = state.sets.copy()
    found = []
    if len(relaxed.heavy_holder):
        # First with the heaviest replicas in place, since what they occupy in their rack is not available to others.
        staying = relaxation.relax(state.problem, start, moves_allowed=True, heavy_stay=True)
        found.append(_attempts(state, staying, tolerance, observed, budget))
    if not found or found[0][0] > best + tolerance:
        _reset(state, start)
        found.append(_attempts(state, relaxed, tolerance, observed, budget))
    narrowest, size = min(reached for reached, _ in found), state.problem.cluster.size_bytes
    enough = best + tolerance if narrowest <= best + tolerance else narrowest + tolerance
    near = [outcome for outcome in found if outcome[0] <= enough]
    reached, sets = min(near, key=lambda outcome: moved_bytes(state.before, outcome[1], size))
    # Moves that don't reduce the spread are not worth their bytes.
    _reset(state, sets if reached < observed else start)


def _tolerance(problem: Problem, relaxed: Relaxation, target_spread: float | None, budget: int | None) -> float:
    """How far above the best spread to end, in the problem's measure; wider where the budget doesn't reach that."""
    best = load_ranges.best_spread(relaxed)
    tolerance = default_tolerance(best) if target_spread is None else target_spread
    if problem.measure != "utilisation" and target_spread is None:
        tolerance = DEFAULT_SPREAD * max(1.0, float(np.mean(relaxed.kept))) if problem.measure != "replica count" else 0.0
    if problem.measure == "replica count":
        # Counts are whole: a difference of one replica is as balanced as it gets.
        tolerance = max(tolerance, 1.0 / AIM)
    if budget is not None:
        affordable = load_ranges.smallest_spread_within(relaxed, max(0, budget)) if problem.is_in_bytes else best + tolerance
        if target_spread is None or affordable > best + tolerance * AIM:
            tolerance = (affordable - best) / AIM
    return tolerance


def _reset(state: State, sets: Indices) -> None:
    state.sets[:] = sets
    state.recount()


def _attempts(state: State, relaxed: Relaxation, tolerance: float, observed: float, budget: int | None) -> tuple[float, Indices]:
    """(spread, sets) of the best of some attempts, each aiming no lower than the one before it reached."""
    start, best = state.sets.copy(), load_ranges.best_spread(relaxed)
    aim, outcomes = best + tolerance * AIM, []
    while aim < observed and load_ranges.cheapest_window(relaxed, aim) is None:
        # Whole replicas fit into no window this narrow; the bound is that of fractional ones.
        aim += max(tolerance * AIM, (observed - best) / 50)
    for _ in range(ATTEMPTS):
        _move_into_window(state, relaxed, aim, LEEWAY * tolerance, budget)
        reached = _spread(state)
        outcomes.append((reached, state.sets.copy()))
        if reached <= max(best + tolerance, aim):
            break
        aim = reached
        _reset(state, start)
    # The last attempt aimed no lower than an earlier one had reached; it is cheaper, unless it reached less.
    return min(reversed(outcomes), key=lambda outcome: outcome[0] > outcomes[0][0] * (1 + 1e-9) + tolerance)


def _move_into_window(state: State, relaxed: Relaxation, spread: float, leeway: float, budget: int | None) -> None:
    """Move replicas until all brokers are in the cheapest window of this spread, phase after phase."""
    found = load_ranges.cheapest_window(relaxed, spread)
    if found is None:
        return
    lowest, highest, exchange = found
    high = _limits(state, lowest, highest).highest
    start = _copied_bytes(state)

    def left() -> int | None:
        return None if budget is None else budget + start - _copied_bytes(state)

    def current() -> tuple[Relaxation, load_ranges.Exchange]:
        relaxed = relaxation.relax(state.problem, state.sets, moves_allowed=True, heavy_stay=True)
        return relaxed, load_ranges.exchange(relaxed, lowest, highest) or exchange

    evict_oversized(state, high, budget)
    for _ in range(2):
        relaxed, exchange = current()
        move_between_racks(state, net_by_rack(state, exchange), high, left())
    relaxed, exchange = current()
    shift(state, demand(state, relaxed, exchange), high, left())
    improve(state, _limits(state, lowest - leeway / 2, highest + leeway / 2), left())
