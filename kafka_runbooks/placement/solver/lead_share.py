"""Give new brokers enough replicas to lead their share: a broker leads no more partitions than it holds.

Balancing by bytes moves the heaviest replicas, since few of them fill a new disk. A broker with 50 replicas then leads 50
partitions at most where its share is 80. So a heavy replica goes back to where it came from, and lighter ones of the same
weight together come from there in its place: that costs only what the weights differ by. Where nothing is left to split, the
smallest replicas that the window has room for are moved as well.
"""

from typing import NamedTuple

import numpy as np

from kafka_runbooks.placement.arrays import Flags, Ints, holds, holds_any
from kafka_runbooks.placement.solver.local_search import LoadLimits, load_limits
from kafka_runbooks.placement.solver.state import State

MOST_PARTS = 8
"""Replicas that take one's place."""
HEAVIEST = 64
"""Replicas of a broker that are tried, the heaviest first."""
ALIKE = 0.01
"""Bytes more, as a share of the replica that goes back, at which no other number of parts is tried."""


class _Exchange(NamedTuple):
    """One replica goes back to `source`, others come from there."""

    back: int
    parts: list[int]
    source: int
    cost_bytes: int


def enough_to_lead(state: State, new: Flags, spread: float, budget: int | None) -> int:
    """Give each new broker as many replicas as its share of the leaderships, while all stay within the spread.

    Args:
        state: a balanced solution, changed in place.
        new: B, the new brokers.
        spread: highest minus lowest level that the plan may end with.
        budget: bytes that may be copied besides; None: no limit.

    Returns:
        How many replicas the new brokers have got more than by balancing.
    """
    problem = state.problem
    brokers = np.nonzero(new & problem.allowed)[0].tolist()
    wanted = -(-int(problem.scope.sum()) // max(1, int(problem.allowed.sum())))
    levels = np.array(state.load)[problem.allowed] / problem.width[problem.allowed]
    window = load_limits(state, float(levels.min()), max(float(levels.min()) + spread, float(levels.max())))
    start, before = state.copied_bytes, sum(len(state.members(broker)) for broker in brokers)

    def left() -> int | None:
        return None if budget is None else budget + start - state.copied_bytes

    for broker in brokers:
        while (lacking := _lacking(state, broker, wanted, new)) > 0:
            found = _split(state, broker, lacking, new, window, left())
            if found is None:
                break
            state.move(found.back, broker, found.source)
            for part in found.parts:
                state.move(part, found.source, broker)
        _add_smallest(state, broker, wanted, new, window, left())
    return sum(len(state.members(broker)) for broker in brokers) - before


def _lacking(state: State, broker: int, wanted: int, new: Flags) -> int:
    """Leaderships that a broker lacks: of a set that several new brokers are in, each can lead its part only."""
    sets = state.sets[state.members(broker)]
    sharing = ((sets >= 0) & new[np.maximum(sets, 0)]).sum(axis=1)
    return max(0, wanted - int((1 / sharing).sum() + 1e-9))


def _split(state: State, broker: int, lacking: int, new: Flags, window: LoadLimits, budget: int | None) -> _Exchange | None:
    """The exchange of the heaviest replica that can be split."""
    rows = state.members(broker)
    rows = rows[~holds(state.before[rows], broker)]
    weight = state.problem.weight[rows]
    for row in rows[np.lexsort((rows, -weight))][:HEAVIEST].tolist():
        source = int(state.before[row, state.sets[row].tolist().index(broker)])
        if source < 0 or not state.allowed[source] or not state.may_move(np.array([row]), broker, source)[0]:
            continue
        found = _parts(state, row, broker, source, lacking, new, window, budget)
        if found is not None:
            return found
    return None


def _parts(
    state: State, row: int, broker: int, source: int, lacking: int, new: Flags, window: LoadLimits, budget: int | None
) -> _Exchange | None:
    rows = _candidates(state, source, broker, new)
    rows = rows[(state.problem.weight[rows] > 0) & (state.problem.weight[rows] < state.weight[row])]
    rows = rows[np.argsort(state.problem.weight[rows], kind="stable")]
    weights = state.problem.weight[rows]
    costs = state.copy_cost(rows, source, broker)
    gained = -int(state.copy_cost(np.array([row]), broker, source)[0])
    best: _Exchange | None = None
    for count in range(min(lacking + 1, MOST_PARTS), 1, -1):
        chosen = _of_weight(weights, state.weight[row], count)
        if chosen is None:
            continue
        parts = rows[chosen]
        cost = int(costs[chosen].sum()) - gained
        more = int(weights[chosen].sum()) - state.weight[row]
        room = int(state.problem.cluster.size_bytes[parts].sum()) - state.size[row]
        fits = (
            window.lowest[broker] <= state.load[broker] + more <= window.highest[broker]
            and window.lowest[source] <= state.load[source] - more <= window.highest[source]
            and state.used[broker] + room <= state.limit[broker]
            and state.used[source] - room <= state.limit[source]
            and (budget is None or cost <= budget)
        )
        if fits and (best is None or cost < best.cost_bytes):
            best = _Exchange(row, parts.tolist(), source, cost)
            if cost <= ALIKE * gained:
                break
    return best


def _candidates(state: State, source: int, broker: int, new: Flags) -> Ints:
    """What may move from one broker to a new one, and isn't on another new one, which needs it as well to lead."""
    size = state.problem.cluster.size_bytes
    rows = state.members(source)
    rows = rows[state.may_move(rows, source, broker) & ~holds_any(state.sets[rows], new)]
    rows = rows[size[rows] >= state.problem.smallest_moved_bytes]
    return rows if state.largest is None else rows[size[rows] <= state.largest[broker]]


def _of_weight(weights: Ints, total: int, count: int) -> list[int] | None:
    """Positions of so many weights (ascending) that are nearly `total` together; None where there are too few."""
    if len(weights) < count:
        return None
    left, chosen = total, []
    for remaining in range(count, 0, -1):
        at = int(np.searchsorted(weights, left // remaining, side="right")) - 1
        while at in chosen:
            at -= 1
        if at < 0:
            return None
        if remaining == 1 and at + 1 < len(weights) and at + 1 not in chosen:
            at += int(weights[at + 1]) - left < left - int(weights[at])
        chosen.append(at)
        left -= int(weights[at])
    return chosen


def _add_smallest(state: State, broker: int, wanted: int, new: Flags, window: LoadLimits, budget: int | None) -> None:
    """Move the smallest replicas to a broker until it can lead as many as wanted, or the window has no room for one."""
    lacking = _lacking(state, broker, wanted, new)
    if not lacking:
        return
    found = [
        (state.size[row], row, source)
        for source in np.nonzero(state.problem.allowed & ~new)[0].tolist()
        for row in _candidates(state, source, broker, new).tolist()
    ]
    for size, row, source in sorted(found):
        if not lacking or (budget is not None and size > budget):
            return
        weight = state.weight[row]
        if (
            broker not in state.sets[row].tolist()
            and state.load[broker] + weight <= window.highest[broker]
            and state.load[source] - weight >= window.lowest[source]
            and state.has_room(row, broker)
        ):
            state.move(row, source, broker)
            lacking -= 1
            if budget is not None:
                budget -= size
