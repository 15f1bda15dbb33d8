"""Undo what a plan doesn't need: a move without which the spread asked for still holds is not worth its bytes.

Afterwards no single move can be left out. Heaviest partitions go first, since each that stays in place saves most.
"""

import numpy as np

from kafka_runbooks.placement.arrays import Flags, Floats, Indices, Ints, added, holds
from kafka_runbooks.placement.solver.state import State


def undo_needless(state: State, spread: float) -> None:
    """Take back moves, one after the other, as long as the spread stays within `spread`."""
    while _undo_some(state, spread):
        pass


def _undo_some(state: State, spread: float) -> bool:
    rows, sources, destinations = _moves(state)
    fine = _spread_without(state, rows, sources, destinations) <= spread
    rows, sources, destinations = rows[fine], sources[fine], destinations[fine]
    undone = False
    for at in np.lexsort((rows, -state.problem.cluster.size_bytes[rows])).tolist():
        one = slice(at, at + 1)
        row, source, destination = int(rows[at]), int(sources[at]), int(destinations[at])
        # An earlier one may have changed the loads, or this set.
        if destination not in state.sets[row].tolist() or not state.may_move(rows[one], destination, source)[0]:
            continue
        if state.has_room(row, source) and _spread_without(state, rows[one], sources[one], destinations[one])[0] <= spread:
            state.move(row, destination, source)
            undone = True
    return undone


def _moves(state: State) -> tuple[Ints, Indices, Indices]:
    """(partition, source, destination) of every move; a set with two has each source with each destination."""
    before, after = state.before, state.sets
    left, came = added(after, before), added(before, after)
    rows = np.nonzero(came.any(axis=1) & left.any(axis=1) & (state.problem.weight > 0) & state.problem.scope)[0]
    found = []
    for old in range(before.shape[1]):
        for new in range(after.shape[1]):
            both = rows[left[rows, old] & came[rows, new]]
            found.append((both, before[both, old], after[both, new]))
    return (
        np.concatenate([one for one, _, _ in found]),
        np.concatenate([one for _, one, _ in found]),
        np.concatenate([one for _, _, one in found]),
    )


def _spread_without(state: State, rows: Ints, sources: Indices, destinations: Indices) -> Floats:
    """The spread if each of these moves alone were left out; infinite where its source may hold nothing."""
    allowed, weight = state.problem.allowed, state.problem.weight[rows]
    load, width = np.array(state.load, dtype=np.int64), state.problem.width
    level = load / width
    order = np.nonzero(allowed)[0]
    order = order[np.argsort(level[order], kind="stable")]
    at_source, at_destination = (load[sources] + weight) / width[sources], (load[destinations] - weight) / width[destinations]
    lowest, highest = np.minimum(at_source, at_destination), np.maximum(at_source, at_destination)
    # The two brokers are counted as they would be; of the others, the extremes are among the first and last three.
    pair = np.stack([sources, destinations], axis=1)
    for extremes, narrow in ((order[:3], np.minimum), (order[::-1][:3], np.maximum)):
        counted: Flags = np.zeros(len(rows), dtype=np.bool_)
        for broker in extremes.tolist():
            other = ~counted & ~holds(pair, broker)
            counted |= other
            edge = lowest if narrow is np.minimum else highest
            edge[other] = narrow(edge[other], level[broker])
    found: Floats = np.where(allowed[sources], highest - lowest, np.inf)
    return found
