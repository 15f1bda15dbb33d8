"""Local search: bring brokers that are still outside the window into it, by single moves and by swaps of two replicas.

A swap sends x one way and y the other, so that the load that changes hands is the *difference* of two weights: with n replicas a
side there are n² differences, and one that fits nearly always exists. It is also how a choice is revised: returning y, which the
plan brought, and sending a slightly heavier x instead costs their difference only. Both ways are priced in bytes copied, and the
cheapest that does the work is taken.
"""

from typing import NamedTuple

import numpy as np

from kafka_runbooks.placement.arrays import Flags, Ints, holds
from kafka_runbooks.placement.solver.state import State

PARTNERS = 16
"""Brokers tried, most promising first, before one outside the window is given up."""
COUNTERPARTS = 512
"""Replicas considered for the way back, the cheapest first."""
ROUNDS_PER_BROKER = 24


class LoadLimits(NamedTuple):
    """The window in load units: the least and the most that each allowed broker may hold."""

    lowest: dict[int, int]
    highest: dict[int, int]


def load_limits(state: State, lowest: float, highest: float) -> LoadLimits:
    """The window between two levels (load over width)."""
    brokers = np.nonzero(state.problem.allowed)[0].tolist()
    return LoadLimits(
        {b: int(np.ceil(lowest * state.width[b])) for b in brokers},
        {b: int(np.floor(highest * state.width[b])) for b in brokers},
    )


class Goal(NamedTuple):
    """The net load that a transfer from source to destination must carry, and the bytes it may copy (None: any)."""

    source: int
    destination: int
    least: int
    most: int
    budget: int | None
    heaviest: bool = False
    """Prefer the transfer that carries most, instead of the cheapest."""


class Transfer(NamedTuple):
    """Replica `out` goes from source to destination, and `back` (if any) the other way; `cost_bytes` may be negative."""

    weight: int
    cost_bytes: int
    out: int
    back: int | None


class _Candidates(NamedTuple):
    """Replicas that may move from one broker to another: partition, weight, and bytes that the move adds to the plan."""

    partitions: Ints
    weights: Ints
    costs: Ints

    def pick(self, which: Ints | Flags) -> "_Candidates":
        return _Candidates(self.partitions[which], self.weights[which], self.costs[which])


def improve(state: State, limits: LoadLimits, budget: int | None) -> None:
    """Improve until every broker is within its limits or none of those outside can be helped.

    Args:
        state: the solution, changed in place.
        limits: the window.
        budget: bytes that may be copied in addition to those of the plan so far; None: no limit.
    """
    lowest, highest = limits
    stuck: set[int] = set()
    for _ in range(ROUNDS_PER_BROKER * len(lowest)):
        worst, deviation = None, 0.0
        for broker in lowest:
            if broker in stuck:
                continue
            excess = max(state.load[broker] - highest[broker], lowest[broker] - state.load[broker]) / state.width[broker]
            if excess > deviation:
                worst, deviation = broker, excess
        if worst is None:
            return
        done = _help(state, worst, limits, budget)
        if done is None:
            stuck.add(worst)
            continue
        cost, partner = done
        # The partner has changed: if it was given up, it may be possible to help it now.
        stuck.discard(partner)
        if budget is not None:
            budget -= cost


def _help(state: State, broker: int, limits: LoadLimits, budget: int | None) -> tuple[int, int] | None:
    """Make one transfer that brings `broker` nearer to its window and takes its partner no further out.

    Returns:
        (bytes, partner); None where no transfer helps.
    """
    lowest, highest = limits
    heavy = state.load[broker] > highest[broker]
    room = {b: highest[b] - state.load[b] if heavy else state.load[b] - lowest[b] for b in lowest if b != broker}
    partners = sorted((b for b in room if room[b] > 0), key=lambda b: (-room[b] / state.width[b], b))
    excess = state.load[broker] - highest[broker] if heavy else lowest[broker] - state.load[broker]
    slack = highest[broker] - lowest[broker]
    # First the partners that have already traded with it, for with them a choice is revised at the cost of a difference. Then
    # those of the same rack: where replicas can't leave a rack, the others are of no use.
    traded = state.traded_with(broker)
    partners.sort(key=lambda b: (b not in traded, state.racks[b] != state.racks[broker]))
    tried = partners[:PARTNERS]
    for whole in (True, False):
        best: tuple[int, Goal, Transfer] | None = None
        least = excess if whole else 1
        for partner in tried:
            source, destination = (broker, partner) if heavy else (partner, broker)
            goal = Goal(source, destination, least, min(excess + slack, room[partner]), budget, heaviest=not whole)
            found = find(state, goal) if goal.most >= least else None
            if found is None:
                continue
            rank = found.cost_bytes if whole else -found.weight
            if best is None or rank < best[0]:
                best = (rank, goal, found)
            if whole and found.cost_bytes <= 0:
                break
        if best is not None:
            _, goal, transfer = best
            if transfer.back is not None:
                state.move(transfer.back, goal.destination, goal.source)
            state.move(transfer.out, goal.source, goal.destination)
            return transfer.cost_bytes, goal.destination if heavy else goal.source
    return None


def find(state: State, goal: Goal) -> Transfer | None:
    """The cheapest (or the heaviest) transfer that meets the goal; None where there is none."""
    out = _candidates(state, goal.source, goal.destination)
    if not len(out.partitions):
        return None
    out = out.pick(np.argsort(out.weights, kind="stable"))
    back = _candidates(state, goal.destination, goal.source)
    back = back.pick(np.lexsort((back.partitions, back.weights, back.costs))[:COUNTERPARTS])
    # A single move is a swap with a replica that weighs and costs nothing.
    back = _Candidates(*(np.concatenate(([nothing], column)) for nothing, column in zip((-1, 0, 0), back, strict=True)))

    best: tuple[int, ...] | None = None
    for cheap in (True, False):
        if goal.budget is not None and goal.budget <= 0 and not cheap and not (back.costs < 0).any():
            continue
        found = _best_pair(state, goal, out.pick(out.costs <= 0 if cheap else out.costs > 0), back)
        if found is not None and (best is None or found < best):
            best = found
    if best is None:
        return None
    _, weight, cost, partition, pair = best
    return Transfer(weight, cost, partition, None if pair == 0 else int(back.partitions[pair]))


def _candidates(state: State, source: int, destination: int) -> _Candidates:
    problem = state.problem
    rows = state.members(source)
    rows = rows[state.may_move(rows, source, destination)]
    largest = problem.cluster.largest_bytes
    if largest is not None:
        rows = rows[(problem.cluster.size_bytes[rows] <= largest[destination]) | holds(state.before[rows], destination)]
    rows = rows[(problem.weight[rows] > 0) & (problem.cluster.size_bytes[rows] >= problem.smallest_moved_bytes)]
    return _Candidates(rows, problem.weight[rows], state.copy_cost(rows, source, destination))


def _best_pair(state: State, goal: Goal, out: _Candidates, back: _Candidates) -> tuple[int, ...] | None:
    """(rank, weight, cost, partition, index of its counterpart) of the best pair, each counterpart with its closest match only.

    Args:
        state: the solution.
        goal: what the pair must achieve.
        out: candidates for the way out, by ascending weight.
        back: candidates for the way back.
    """
    if not len(out.partitions):
        return None
    if goal.heaviest:
        at = np.searchsorted(out.weights, back.weights + goal.most, side="right") - 1
    else:
        at = np.searchsorted(out.weights, back.weights + goal.least, side="left")
    inside = np.clip(at, 0, len(out.partitions) - 1)
    moved = out.weights[inside] - back.weights
    cost = out.costs[inside] + back.costs
    fits: Flags = (at >= 0) & (at < len(out.partitions)) & (moved >= goal.least) & (moved <= goal.most)
    if goal.budget is not None:
        fits &= cost <= goal.budget
    fits &= _within_limits(state, goal, out.partitions[inside], back.partitions, moved)
    picks = np.nonzero(fits)[0]
    if not len(picks):
        return None
    rank = -moved if goal.heaviest else cost
    pick = int(picks[np.lexsort((picks, cost[picks], rank[picks]))[0]])
    return int(rank[pick]), int(moved[pick]), int(cost[pick]), int(out.partitions[inside[pick]]), pick


def _within_limits(state: State, goal: Goal, out: Ints, back: Ints, moved: Ints) -> Flags:
    """Whether both brokers stay within what they may hold.

    The source may go on holding more than that, as long as it gets nothing.
    """
    size, destination, source = state.problem.cluster.size_bytes, goal.destination, goal.source
    swaps = back >= 0
    if state.problem.is_in_bytes:
        arrives = left = moved
    else:
        # The way back is not counted on: it leaves only once its copy is complete.
        arrives, left = size[out], size[out] - np.where(swaps, size[np.maximum(back, 0)], 0)
    fits: Flags = (state.used[destination] + arrives <= state.limit[destination]) & (
        ~swaps | (state.used[source] - left <= state.limit[source])
    )
    return fits
