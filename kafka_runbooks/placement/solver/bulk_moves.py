"""Move replicas from brokers above a window to brokers below it, in bulk, for no more bytes than the window needs.

The window says how much each rack must give and take (`bounds.exchange`); within a rack the fullest brokers give, down to one
water level, and the emptiest take, up to another. Then the source that has most left to give sends its heaviest replica that
does not exceed what it has to give, to the broker that lacks most. Heavy replicas go first, while there is room for them, and the
light ones level the rest. Each replica is looked at once, so that the work grows with the replicas on giving brokers.
"""

import heapq
from bisect import bisect_left

import numpy as np

from kafka_runbooks.placement.arrays import Floats, Ints, loads
from kafka_runbooks.placement.bounds.load_ranges import Exchange
from kafka_runbooks.placement.bounds.relaxation import STEPS, Relaxation
from kafka_runbooks.placement.solver.state import State

TRIES = 12
"""Takers looked at in each rack before a replica is passed over."""


def water_levels(relaxed: Relaxation, wanted: Exchange) -> tuple[Ints, Ints]:
    """(give, take) of every allowed broker, so that each rack gives and takes what the exchange says."""
    give = np.zeros(len(relaxed.width), dtype=np.int64)
    take = give.copy()
    for r in range(len(wanted.arrivals)):
        inside = np.nonzero(relaxed.rack == r)[0]
        kept, width = relaxed.kept[inside], relaxed.width[inside]
        take[inside] = _pour(kept, width, int(wanted.arrivals[r]), rising=True)
        give[inside] = _pour(kept, width, int(wanted.departures[r]), rising=False)
    return give, take


def _pour(kept: Ints, width: Floats, amount: int, *, rising: bool) -> Ints:
    """How much each broker rises (or falls) when `amount` is poured onto the lowest (or drawn from the highest)."""
    if amount <= 0:
        return np.zeros(len(kept), dtype=np.int64)
    level = kept / width
    low, high = float(level.min()) - amount / float(width.min()), float(level.max()) + amount / float(width.min())

    def change(at: float) -> Ints:
        target = np.floor(at * width).astype(np.int64)
        moved: Ints = np.maximum(0, target - kept if rising else kept - target)
        return moved

    for _ in range(STEPS):
        middle = (low + high) / 2
        enough = int(change(middle).sum()) >= amount
        low, high = (low, middle) if enough == rising else (middle, high)
    return change(high if rising else low)


def shift(
    state: State,
    give: dict[int, int],
    take: dict[int, int],
    highest: dict[int, int],
    net: dict[int, int],
    budget: int | None = None,
) -> None:
    """Move replicas until sources have given and takers taken what they should, or nothing fits any more.

    Between racks only what the racks' sums ask for is moved: the replicas that may leave their rack are few where most sets
    span all racks, and one that moves inside its rack is wasted for that.

    :param give: load to give, by broker; `take`: load to take; `highest`: the load that no taker may exceed
    :param net: by rack, load that it takes from (or, negative, gives to) other racks
    :param budget: bytes that may be copied, if limited
    """
    net = dict(net)
    items = heaviest_first(state, [b for b, amount in give.items() if amount > 0])
    position = dict.fromkeys(items, 0)
    left = dict(give)
    sources = [(-left[b] / state.width[b], b) for b in items]
    heapq.heapify(sources)
    racks = sorted({state.racks[b] for b in take})
    # A cluster without racks has one per broker; then one shelf holds all takers and the rule is checked for each.
    one_shelf = len(racks) > TRIES
    shelf_of = {rack: 0 if one_shelf else i for i, rack in enumerate(racks)}
    takers: list[list[tuple[int, int]]] = [[] for _ in set(shelf_of.values())]
    lacking = {b: amount for b, amount in take.items() if amount > 0}
    for broker, amount in lacking.items():
        heapq.heappush(takers[shelf_of[state.racks[broker]]], (-amount, broker))

    def taker(partition: int, source: int, weight: int) -> int | None:
        members = [b for b in state.sets[partition].tolist() if b >= 0]
        others = {state.racks[b] for b in members if b != source}
        now = len(others | {state.racks[source]})
        need = min(state.spread[partition], now)
        size, home, best = state.size[partition], state.racks[source], None
        leaves = -net[home] >= weight and not state.problem.within_racks

        def enters(rack: int) -> bool:
            return rack == home or (leaves and net[rack] >= weight and (len(others) >= need or rack not in others))

        # Where it may leave its rack and is wanted elsewhere, it goes there.
        order = [0] if one_shelf else [shelf_of[rack] for rack in racks if rack != home and enters(rack)]
        for shelf in [*order, *([shelf_of[home]] if home in shelf_of and not one_shelf else [])]:
            if best is not None and shelf == shelf_of.get(home):
                break
            heap = takers[shelf]
            aside: list[tuple[int, int]] = []
            while heap and len(aside) < TRIES:
                amount, broker = heap[0]
                if -amount != lacking[broker]:
                    heapq.heappop(heap)
                    continue
                if weight > -amount or (best is not None and -amount <= lacking[best]):
                    break
                if (
                    enters(state.racks[broker])
                    and broker not in members
                    and state.load[broker] + weight <= highest[broker]
                    and state.used[broker] + size <= state.capacity[broker]
                ):
                    best = broker
                    break
                aside.append(heapq.heappop(heap))
            for entry in aside:
                heapq.heappush(heap, entry)
        return best

    while sources:
        _, source = heapq.heappop(sources)
        partitions, weights = items[source]
        at = bisect_left(weights, -left[source], position[source])
        while at < len(partitions) and weights[at] < 0:
            partition, weight = partitions[at], -weights[at]
            at += 1
            new = state.before[partition].tolist().count(source) == 0
            if budget is not None and not new and state.size[partition] > budget:
                continue
            destination = taker(partition, source, weight)
            if destination is None:
                continue
            if budget is not None:
                budget -= int(state.copy_cost(np.array([partition]), source, destination)[0])
            state.move(partition, source, destination)
            left[source] -= weight
            lacking[destination] -= weight
            if state.racks[source] != state.racks[destination]:
                net[state.racks[source]] += weight
                net[state.racks[destination]] -= weight
            if lacking[destination] > 0:
                heapq.heappush(takers[shelf_of[state.racks[destination]]], (-lacking[destination], destination))
            if left[source] > 0:
                heapq.heappush(sources, (-left[source] / state.width[source], source))
            break
        position[source] = at


def evict_oversized(state: State, highest: dict[int, int], budget: int | None) -> int:
    """Move replicas that are too heavy for their broker even if it held nothing else; returns how many moved.

    The new broker gets over its limit, and sheds lighter replicas afterwards.
    """
    problem = state.problem
    fixed = (problem.base + loads(state.sets[~problem.scope], problem.weight[~problem.scope], len(state.load))).tolist()
    room = {b: highest[b] - fixed[b] for b in highest}
    smallest = min(room.values(), default=0)
    moved = 0
    for partition in np.nonzero(problem.scope & (problem.weight > smallest))[0].tolist():
        weight, size = state.weight[partition], state.size[partition]
        for source in [b for b in state.sets[partition].tolist() if b >= 0]:
            if weight <= room[source] or (budget is not None and size > budget):
                continue
            fitting = [b for b in room if room[b] >= weight and state.used[b] + size <= state.capacity[b]]
            # The one that has least to give way for it.
            for destination in sorted(fitting, key=lambda b: (state.load[b] - highest[b], b)):
                if state.may_move(np.array([partition]), source, destination)[0]:
                    state.move(partition, source, destination)
                    moved += 1
                    break
    return moved


def heaviest_first(state: State, sources: list[int]) -> dict[int, tuple[list[int], list[int]]]:
    """By source: partitions in scope, heaviest first, and their negated weights (ascending, for bisection)."""
    flags = np.zeros(state.problem.cluster.broker_count, dtype=np.bool_)
    flags[sources] = True
    movable = state.problem.scope & (state.problem.cluster.size_bytes >= state.problem.smallest_moved_bytes)
    rows, slots = np.nonzero((state.sets >= 0) & flags[np.maximum(state.sets, 0)] & movable[:, None])
    brokers = state.sets[rows, slots]
    weights = state.problem.weight[rows]
    order = np.lexsort((rows, -weights, brokers))
    rows, brokers, weights = rows[order], brokers[order], weights[order]
    edges = np.searchsorted(brokers, [[b, b + 1] for b in sources]) if sources else np.zeros((0, 2), dtype=np.int64)
    return {
        b: (rows[start:end].tolist(), (-weights[start:end]).tolist())
        for b, (start, end) in zip(sources, edges.tolist(), strict=True)
    }
