"""Bulk moves from brokers above a window to brokers below it, for no more bytes than the window requires.

The window says how much each rack must give and take (`load_ranges.Exchange`); within a rack the fullest brokers give, down
to one common level, and the emptiest take, up to another. Then the source with most left to give sends its heaviest replica
that doesn't exceed that amount to the broker that lacks most. Heavy replicas go first, while there is room for them, and
light ones even out the rest. Each replica is considered once, so the work grows with the replicas on giving brokers.
"""

import heapq
from bisect import bisect_left
from collections.abc import Callable, Iterable
from typing import NamedTuple

import numpy as np

from kafka_runbooks.placement.arrays import NONE, OFFLINE, Floats, Ints, loads
from kafka_runbooks.placement.bounds.load_ranges import Exchange
from kafka_runbooks.placement.bounds.relaxation import HALVINGS, Relaxation
from kafka_runbooks.placement.solver.state import State

TRIES = 12
"""Destinations considered in each rack before a replica is passed over."""


class Demand(NamedTuple):
    """What an exchange asks of each broker and rack."""

    give: dict[int, int]
    """Load to give, by broker."""
    take: dict[int, int]
    """Load to take, by broker."""
    net: dict[int, int]
    """Load that each rack takes from (or, negative, gives to) other racks."""


def demand(state: State, relaxed: Relaxation, exchange: Exchange) -> Demand:
    """Distribute an exchange over the brokers of each rack, so that givers end at one level and takers at another."""
    problem = state.problem
    brokers = np.nonzero(problem.allowed)[0].tolist()
    give = np.zeros(len(brokers), dtype=np.int64)
    take = give.copy()
    for r in range(len(exchange.arrivals)):
        inside = np.nonzero(relaxed.rack == r)[0]
        kept, width = relaxed.kept[inside], relaxed.width[inside]
        take[inside] = _pour(kept, width, int(exchange.arrivals[r]), rising=True)
        give[inside] = _pour(kept, width, int(exchange.departures[r]), rising=False)
    return Demand(
        dict(zip(brokers, give.tolist(), strict=True)),
        dict(zip(brokers, take.tolist(), strict=True)),
        net_by_rack(state, exchange),
    )


def net_by_rack(state: State, exchange: Exchange) -> dict[int, int]:
    """Load that each rack takes from (or, negative, gives to) other racks."""
    problem = state.problem
    racks = np.unique(problem.cluster.racks[problem.allowed]).tolist()
    return dict(zip(racks, (exchange.arrivals - exchange.departures).tolist(), strict=True))


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

    for _ in range(HALVINGS):
        middle = (low + high) / 2
        enough = int(change(middle).sum()) >= amount
        low, high = (low, middle) if enough == rising else (middle, high)
    return change(high if rising else low)


def shift(state: State, wanted: Demand, highest: dict[int, int], budget: int | None = None) -> None:
    """Move replicas until sources have given and destinations taken what they should, or nothing fits any more.

    Args:
        state: the solution, changed in place.
        wanted: what each broker and rack should give and take.
        highest: the load that no destination may exceed.
        budget: bytes that may be copied; None: no limit.
    """
    left = {b: amount for b, amount in wanted.give.items() if amount > 0}
    items = heaviest_first(state, left)
    position = dict.fromkeys(items, 0)
    takers = _Takers(state, wanted, highest)
    sources = [(-left[b] / state.width[b], b) for b in items]
    heapq.heapify(sources)
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
            destination = takers.find(partition, source, weight)
            if destination is None:
                continue
            if budget is not None:
                budget -= int(state.copy_cost(np.array([partition]), source, destination)[0])
            state.move(partition, source, destination)
            takers.receive(destination, source, weight)
            left[source] -= weight
            if left[source] > 0:
                heapq.heappush(sources, (-left[source] / state.width[source], source))
            break
        position[source] = at


class _Takers:
    """Brokers that lack load, in one heap per rack, those that lack most first.

    Between racks only what the racks' sums require is moved: the replicas that may leave their rack are few where most sets span
    all racks, and one that moves inside its rack is wasted for that.
    """

    def __init__(self, state: State, wanted: Demand, highest: dict[int, int]) -> None:
        self.state = state
        self.highest = highest
        self.net = dict(wanted.net)
        self.lacking = {b: amount for b, amount in wanted.take.items() if amount > 0}
        self.racks = sorted({state.racks[b] for b in wanted.take})
        # A cluster without racks has one per broker; then a single heap holds all takers and the rule is checked for each.
        self.one_heap = len(self.racks) > TRIES
        self.heap_of = {rack: 0 if self.one_heap else i for i, rack in enumerate(self.racks)}
        self.heaps: list[list[tuple[int, int]]] = [[] for _ in set(self.heap_of.values())]
        for broker, amount in self.lacking.items():
            heapq.heappush(self.heaps[self.heap_of[state.racks[broker]]], (-amount, broker))

    def find(self, partition: int, source: int, weight: int) -> int | None:
        """The destination for a replica; None where it fits nowhere.

        Where it may leave its rack and another rack needs it, it goes there.
        """
        state, net, home = self.state, self.net, self.state.racks[source]
        members = [b for b in state.sets[partition].tolist() if b >= 0]
        may_leave = -net[home] >= weight and not state.problem.within_racks

        def enters(rack: int) -> bool:
            return rack == home or (
                may_leave and net[rack] >= weight and state.rack_rule.may_enter(partition, members, source, rack)
            )

        def fits(broker: int) -> bool:
            return (
                enters(state.racks[broker])
                and broker not in members
                and state.load[broker] + weight <= self.highest[broker]
                and state.has_room(partition, broker)
            )

        if self.one_heap:
            return self._lacking_most([0], weight, fits)
        best = self._lacking_most([self.heap_of[rack] for rack in self.racks if rack != home and enters(rack)], weight, fits)
        if best is None and home in self.heap_of:
            best = self._lacking_most([self.heap_of[home]], weight, fits)
        return best

    def _lacking_most(self, heaps: list[int], weight: int, fits: Callable[[int], bool]) -> int | None:
        """The broker of these heaps that lacks most, and at least `weight`, among those that fit."""
        lacking, best = self.lacking, None
        for number in heaps:
            heap = self.heaps[number]
            aside: list[tuple[int, int]] = []
            while heap and len(aside) < TRIES:
                amount, broker = heap[0]
                if -amount != lacking[broker]:
                    heapq.heappop(heap)
                    continue
                if weight > -amount or (best is not None and -amount <= lacking[best]):
                    break
                if fits(broker):
                    best = broker
                    break
                aside.append(heapq.heappop(heap))
            for entry in aside:
                heapq.heappush(heap, entry)
        return best

    def receive(self, destination: int, source: int, weight: int) -> None:
        """Account for a replica that has moved."""
        racks = self.state.racks
        self.lacking[destination] -= weight
        if racks[source] != racks[destination]:
            self.net[racks[source]] += weight
            self.net[racks[destination]] -= weight
        if self.lacking[destination] > 0:
            heapq.heappush(self.heaps[self.heap_of[racks[destination]]], (-self.lacking[destination], destination))


def evict_oversized(state: State, highest: dict[int, int], budget: int | None) -> None:
    """Move replicas that are too heavy for their broker even if it held nothing else.

    The new broker exceeds its limit at first, and sheds lighter replicas afterwards.
    """
    problem = state.problem
    fixed = (problem.base + loads(state.sets[~problem.scope], problem.weight[~problem.scope], len(state.load))).tolist()
    room = {b: highest[b] - fixed[b] for b in highest}
    smallest = min(room.values(), default=0)
    for partition in np.nonzero(problem.scope & (problem.weight > smallest))[0].tolist():
        weight, size = state.weight[partition], state.size[partition]
        for source in [b for b in state.sets[partition].tolist() if b >= 0]:
            if weight <= room[source] or (budget is not None and size > budget):
                continue
            fitting = [b for b in room if room[b] >= weight and state.has_room(partition, b)]
            # The one that has to shed least for it.
            for destination in sorted(fitting, key=lambda b: (state.load[b] - highest[b], b)):
                if state.may_move(np.array([partition]), source, destination)[0]:
                    state.move(partition, source, destination)
                    break


def heaviest_first(state: State, sources: Iterable[int]) -> dict[int, tuple[list[int], list[int]]]:
    """By source: partitions in scope, heaviest first, and their negated weights (ascending, for bisection)."""
    givers = list(sources)
    flags = np.zeros(state.problem.cluster.broker_count, dtype=np.bool_)
    flags[givers] = True
    movable = state.problem.scope & (state.problem.cluster.size_bytes >= state.problem.smallest_moved_bytes)
    candidates = (state.sets >= 0) & flags[np.maximum(state.sets, 0)] & movable[:, None]
    if state.problem.pinned is not None:
        for slot in range(state.problem.pinned.shape[1]):
            candidates &= (
                state.sets != np.where(state.problem.pinned[:, slot] == NONE, OFFLINE, state.problem.pinned[:, slot])[:, None]
            )
    rows, slots = np.nonzero(candidates)
    brokers = state.sets[rows, slots]
    weights = state.problem.weight[rows]
    order = np.lexsort((rows, -weights, brokers))
    rows, brokers, weights = rows[order], brokers[order], weights[order]
    edges = np.searchsorted(brokers, [[b, b + 1] for b in givers]) if givers else np.zeros((0, 2), dtype=np.int64)
    return {
        b: (rows[start:end].tolist(), (-weights[start:end]).tolist())
        for b, (start, end) in zip(givers, edges.tolist(), strict=True)
    }
