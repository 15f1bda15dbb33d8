"""Balance with moves: replicas go from full to empty brokers until the spread is what was asked, and none moves needlessly.

A *window* is a lowest and a highest level. Asked for a spread, the plan takes the cheapest window of exactly that width: one
narrower moves bytes that nobody asked for. Where whole replicas don't fit into it a narrower one is tried, whose remainder gives
room. Without a spread asked for, the window is a part of the default tolerance: what ends at its edge would have to be balanced
again the next day.
"""

from typing import NamedTuple

import numpy as np

from kafka_runbooks.placement.arrays import Indices, loads, moved_bytes
from kafka_runbooks.placement.bounds import load_ranges, relaxation
from kafka_runbooks.placement.bounds.relaxation import Relaxation
from kafka_runbooks.placement.problem import Problem, spread_of
from kafka_runbooks.placement.solver.bulk_moves import demand, evict_oversized, net_by_rack, shift
from kafka_runbooks.placement.solver.local_search import improve, load_limits
from kafka_runbooks.placement.solver.rack_moves import move_between_racks
from kafka_runbooks.placement.solver.state import State
from kafka_runbooks.placement.solver.undo import undo_needless

DEFAULT_SPREAD = 0.005
"""Half a percent of capacity: brokers drift further apart than that within a day."""
SMALLEST_TOLERANCE = 0.001
"""Tolerance where half a percent is barely possible."""
AIM = 0.8
"""Share of the default tolerance that the window uses; most of the rest absorbs that replicas are indivisible."""
SHARES = (1 - 1e-9, 0.97, 0.9, AIM)
"""Shares of a tolerance that was asked for, tried in turn. The first is all of it, less what rounding may add."""
LEEWAY = 0.9
"""Share of what the window leaves of the tolerance by which brokers may miss it before anything more is moved."""
CLOSE = 1.003
"""Bytes over their lower bound up to which no other share is tried."""
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


class _Aim(NamedTuple):
    """How far above the best spread to end, and the shares of that to try as width of the window."""

    tolerance: float
    shares: tuple[float, ...]


def default_tolerance(best: float) -> float:
    """How far above the best spread is balanced enough: half a percent in total where possible, else half a percent above."""
    return max(SMALLEST_TOLERANCE, DEFAULT_SPREAD - best) if best < DEFAULT_SPREAD else DEFAULT_SPREAD


def is_balanced(problem: Problem, sets: Indices, goal: Goal) -> bool:
    """Whether another solution would leave these sets as they are, since they are balanced enough."""
    relaxed = relaxation.relax(problem, sets, moves_allowed=True)
    spread = spread_of(problem, problem.base + loads(sets, problem.weight, problem.cluster.broker_count))
    return spread <= load_ranges.best_spread(relaxed) + _aim(problem, relaxed, goal, None).tolerance


def balance(state: State, goal: Goal, budget: int | None) -> float:
    """Balance a solution as far as the goal asks.

    Args:
        state: the solution, changed in place.
        goal: how far above the best spread to end.
        budget: bytes that may be copied besides those that must; None: no limit.

    Returns:
        The spread that the solution may have: what was asked, or what was reached where that is more.
    """
    relaxed = relaxation.relax(state.problem, state.sets, moves_allowed=True)
    best = load_ranges.best_spread(relaxed)
    aim = _aim(state.problem, relaxed, goal, budget)
    enough = best + aim.tolerance
    observed = state.spread
    asked = best + aim.tolerance * aim.shares[0]
    if observed <= enough:
        return max(observed, asked)
    start = state.sets.copy()
    found = []
    if len(relaxed.heavy_holder):
        # First with the heaviest replicas in place, since what they occupy in their rack is not available to others.
        staying = relaxation.relax(state.problem, start, moves_allowed=True, heavy_stay=True)
        found.append(_attempts(state, staying, aim, observed, budget))
    if not found or found[0][0] > enough:
        _reset(state, start)
        found.append(_attempts(state, relaxed, aim, observed, budget))
    narrowest, size = min(reached for reached, _ in found), state.problem.cluster.size_bytes
    near = [outcome for outcome in found if outcome[0] <= (enough if narrowest <= enough else narrowest + aim.tolerance)]
    reached, sets = min(near, key=lambda outcome: moved_bytes(state.before, outcome[1], size))
    # Moves that don't reduce the spread are not worth their bytes.
    _reset(state, sets if reached < observed else start)
    allowed = max(state.spread, asked)
    undo_needless(state, allowed)
    return allowed


def _aim(problem: Problem, relaxed: Relaxation, goal: Goal, budget: int | None) -> _Aim:
    """What was asked for, in the problem's measure, or the default; wider where the budget doesn't reach that."""
    best = load_ranges.best_spread(relaxed)
    if goal.target_spread is not None:
        aim = _Aim(goal.target_spread, SHARES)
    elif problem.measure == "utilisation":
        aim = _Aim(default_tolerance(best), (AIM,))
    else:
        average = max(1.0, float(np.mean(relaxed.kept)))
        aim = _Aim(0.0 if problem.measure == "replica count" else DEFAULT_SPREAD * average, (AIM,))
    if problem.measure == "replica count" and aim.tolerance < 1.0 / AIM:
        # Counts are whole: a difference of one replica is as balanced as it gets.
        aim = _Aim(1.0 / AIM, (AIM,))
    if budget is not None:
        wanted = best + aim.tolerance * aim.shares[0]
        affordable = load_ranges.smallest_spread_within(relaxed, max(0, budget)) if problem.is_in_bytes else wanted
        if goal.target_spread is None or affordable > wanted:
            aim = _Aim((affordable - best) / AIM, (AIM,))
    return aim


def _reset(state: State, sets: Indices) -> None:
    state.sets[:] = sets
    state.recount()


def _attempts(state: State, relaxed: Relaxation, aim: _Aim, observed: float, budget: int | None) -> tuple[float, Indices]:
    """(spread, sets) of the cheapest attempt that reaches what was asked, or the best of those that don't."""
    start, best = state.sets.copy(), load_ranges.best_spread(relaxed)
    enough = best + aim.tolerance
    least = load_ranges.least_moved(relaxed, enough) if state.problem.is_in_bytes else 0
    outcomes: list[tuple[float, Indices, int]] = []

    def attempt(width: float, share: float) -> bool:
        _reset(state, start)
        _move_into_window(state, relaxed, width, LEEWAY * (1 - share) * aim.tolerance, budget)
        outcomes.append((state.spread, state.sets.copy(), state.copied_bytes))
        return outcomes[-1][0] <= max(enough, width)

    for share in aim.shares:
        width = best + aim.tolerance * share
        while width < observed and load_ranges.cheapest_window(relaxed, width) is None:
            # Whole replicas fit into no window this narrow; the bound is that of fractional ones.
            width += max(aim.tolerance * share, (observed - best) / 50)
        if attempt(width, share) and (not least or outcomes[-1][2] <= CLOSE * least):
            break
    if reaching := [outcome for outcome in outcomes if outcome[0] <= max(enough, width)]:
        return min(reaching, key=lambda outcome: outcome[2])[:2]
    first = min(reached for reached, _, _ in outcomes)
    for _ in range(ATTEMPTS - 1):
        # Each aims no lower than the one before it reached; it is cheaper, unless it reached less.
        if attempt(outcomes[-1][0], aim.shares[-1]):
            break
    return min(reversed(outcomes), key=lambda outcome: outcome[0] > first * (1 + 1e-9) + aim.tolerance)[:2]


def _move_into_window(state: State, relaxed: Relaxation, spread: float, leeway: float, budget: int | None) -> None:
    """Move replicas until all brokers are in the cheapest window of this spread, phase after phase."""
    found = load_ranges.cheapest_window(relaxed, spread)
    if found is None:
        return
    lowest, highest, exchange = found
    high = load_limits(state, lowest, highest).highest
    start = state.copied_bytes

    def left() -> int | None:
        return None if budget is None else budget + start - state.copied_bytes

    def current() -> tuple[Relaxation, load_ranges.Exchange]:
        relaxed = relaxation.relax(state.problem, state.sets, moves_allowed=True, heavy_stay=True)
        return relaxed, load_ranges.exchange(relaxed, lowest, highest) or exchange

    evict_oversized(state, high, budget)
    for _ in range(2):
        relaxed, exchange = current()
        move_between_racks(state, net_by_rack(state, exchange), high, left())
    relaxed, exchange = current()
    shift(state, demand(state, relaxed, exchange), high, left())
    improve(state, load_limits(state, lowest - leeway / 2, highest + leeway / 2), left())
