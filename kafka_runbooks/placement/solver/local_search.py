"""Bring brokers that are still outside the window into it: single moves, and exchanges of two replicas.

An exchange sends x one way and y the other, so that the load that changes hands is the *difference* of two weights: with n
replicas a side there are n² differences, and one that fits is nearly always there. It is also how a choice is revised: sending
back y, which the plan brought, and sending a slightly heavier x instead costs their difference only. Both ways are priced in
bytes copied, and the cheapest that does the work is taken.
"""

from dataclasses import dataclass

import numpy as np

from kafka_runbooks.placement.arrays import Flags, Ints
from kafka_runbooks.placement.solver.state import State

PARTNERS = 16
"""Brokers tried, from the most promising on, before one outside the window is given up."""
COUNTERPARTS = 512
"""Replicas considered for the way back, the cheapest first."""
ROUNDS_PER_BROKER = 24


@dataclass(frozen=True)
class Transfer:
    """Replica `out` goes from source to destination, and `back` (if any) the other way; `cost_bytes` may be negative."""

    weight: int
    cost_bytes: int
    out: int
    back: int | None


def polish(state: State, lowest: dict[int, int], highest: dict[int, int], budget: int | None) -> int | None:
    """Improve until every broker is within [lowest, highest] or none of those outside can be helped. Returns the budget left.

    :param budget: bytes that may be copied in addition to those of the plan so far; None: no limit
    """
    stuck: set[int] = set()
    for _ in range(ROUNDS_PER_BROKER * len(lowest)):
        worst, deviation = None, 0.0
        for broker in lowest:
            if broker in stuck:
                continue
            away = max(state.load[broker] - highest[broker], lowest[broker] - state.load[broker]) / state.width[broker]
            if away > deviation:
                worst, deviation = broker, away
        if worst is None:
            break
        done = _help(state, worst, lowest, highest, budget)
        if done is None:
            stuck.add(worst)
            continue
        cost, touched = done
        # What changed on these brokers may be what a broker given up on was waiting for.
        stuck.discard(touched)
        if budget is not None:
            budget -= cost
    return budget


def _help(
    state: State, broker: int, lowest: dict[int, int], highest: dict[int, int], budget: int | None
) -> tuple[int, int] | None:
    """Make one transfer that brings `broker` nearer to its window and takes its partner no further out.

    Returns (bytes, partner), or None.
    """
    heavy = state.load[broker] > highest[broker]
    room = {b: highest[b] - state.load[b] if heavy else state.load[b] - lowest[b] for b in lowest if b != broker}
    partners = sorted((b for b in room if room[b] > 0), key=lambda b: (-room[b] / state.width[b], b))
    away = state.load[broker] - highest[broker] if heavy else lowest[broker] - state.load[broker]
    slack = highest[broker] - lowest[broker]
    # Partners that have traded with it first: with them a choice is revised for the difference of two weights. Then those of the
    # same rack: where replicas can't leave a rack, the others are of no use.
    traded = state.traded_with(broker)
    partners.sort(key=lambda b: (b not in traded, state.racks[b] != state.racks[broker]))
    tried = partners[:PARTNERS]
    for whole in (True, False):
        best: tuple[int, int, Transfer] | None = None
        for partner in tried:
            source, destination = (broker, partner) if heavy else (partner, broker)
            most = min(away + slack, room[partner])
            if most < (away if whole else 1):
                continue
            found = find(state, source, destination, away if whole else 1, most, budget, largest=not whole)
            if found is None:
                continue
            rank = found.cost_bytes if whole else -found.weight
            if best is None or rank < best[0]:
                best = (rank, partner, found)
            if whole and found.cost_bytes <= 0:
                break
        if best is not None:
            _, partner, transfer = best
            source, destination = (broker, partner) if heavy else (partner, broker)
            apply(state, source, destination, transfer)
            return transfer.cost_bytes, partner
    return None


def apply(state: State, source: int, destination: int, transfer: Transfer) -> None:
    """Make a transfer."""
    if transfer.back is not None:
        state.move(transfer.back, destination, source)
    state.move(transfer.out, source, destination)


def find(
    state: State, source: int, destination: int, least: int, most: int, budget: int | None, *, largest: bool = False
) -> Transfer | None:
    """The cheapest transfer whose net load is within [least, most]; `largest`: the one that carries most."""
    out = _candidates(state, source, destination)
    if not len(out):
        return None
    weights, costs = state.problem.weight[out], state.copy_cost(out, source, destination)
    order = np.argsort(weights, kind="stable")
    out, weights, costs = out[order], weights[order], costs[order]
    back = _candidates(state, destination, source)
    back_weights, back_costs = state.problem.weight[back], state.copy_cost(back, destination, source)
    nearest = np.lexsort((back, back_weights, back_costs))[:COUNTERPARTS]
    back, back_weights, back_costs = back[nearest], back_weights[nearest], back_costs[nearest]
    # No replica on the way back is an exchange with one that weighs and costs nothing.
    back_weights = np.concatenate(([0], back_weights))
    back_costs = np.concatenate(([0], back_costs))

    best: tuple[int, ...] | None = None
    for cheap in (True, False):
        mine = costs <= 0 if cheap else costs > 0
        if budget is not None and budget <= 0 and not cheap and not (back_costs < 0).any():
            continue
        found = _best_pair(state, source, destination, out[mine], weights[mine], costs[mine], back_weights, back_costs,
                           least, most, budget, largest)  # fmt: skip
        if found is not None and (best is None or found < best):
            best = found
    if best is None:
        return None
    _, weight, cost, partition, pair = best
    return Transfer(weight, cost, partition, None if pair == 0 else int(back[pair - 1]))


def _candidates(state: State, source: int, destination: int) -> Ints:
    rows = state.members(source)
    rows = rows[state.may_move(rows, source, destination)]
    problem = state.problem
    return rows[(problem.weight[rows] > 0) & (problem.cluster.size_bytes[rows] >= problem.smallest_moved_bytes)]


def _best_pair(
    state: State, source: int, destination: int, out: Ints, weights: Ints, costs: Ints, back_weights: Ints, back_costs: Ints,
    least: int, most: int, budget: int | None, largest: bool,
) -> tuple[int, ...] | None:  # fmt: skip
    """(rank, weight, cost, partition, index of the pair) of the best, each way back with its nearest partner only."""
    if not len(out):
        return None
    if largest:
        at = np.searchsorted(weights, back_weights + most, side="right") - 1
    else:
        at = np.searchsorted(weights, back_weights + least, side="left")
    inside = np.clip(at, 0, len(out) - 1)
    moved = weights[inside] - back_weights
    cost = costs[inside] + back_costs
    fits: Flags = (at >= 0) & (at < len(out)) & (moved >= least) & (moved <= most)
    if budget is not None:
        fits &= cost <= budget
    fits &= _space(state, source, destination, out[inside], back_weights, moved)
    picks = np.nonzero(fits)[0]
    if not len(picks):
        return None
    rank = -moved[picks] if largest else cost[picks]
    pick = int(picks[np.lexsort((picks, cost[picks], rank))[0]])
    return (
        int(-moved[pick] if largest else cost[pick]),
        int(moved[pick]),
        int(cost[pick]),
        int(out[inside[pick]]),
        pick,
    )


def _space(state: State, source: int, destination: int, out: Ints, back_weights: Ints, moved: Ints) -> Flags:
    """Whether both brokers stay within their capacity (where the load isn't bytes, only the way out is checked)."""
    if state.problem.measure in ("utilisation", "used bytes"):
        fits: Flags = (state.used[destination] + moved <= state.capacity[destination]) & (
            state.used[source] - moved <= state.capacity[source]
        )
        return fits
    sizes: Flags = state.used[destination] + state.problem.cluster.size_bytes[out] <= state.capacity[destination]
    return sizes
