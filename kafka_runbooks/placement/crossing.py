"""Move load between racks, as far as the racks' sums must change, before brokers are levelled inside their racks.

Which replicas may leave a rack is scarce where most sets span all racks: only those of sets with fewer replicas than racks, or
with two in one rack. So they are used for that first, from whatever broker of the rack they are on, fullest broker first; what
this leaves uneven inside the racks is levelled afterwards, where every replica may move.
"""

import heapq

import numpy as np

from kafka_runbooks.placement.filling import Key, Shelves
from kafka_runbooks.placement.shifting import heaviest_first
from kafka_runbooks.placement.state import State


def cross(state: State, net: dict[int, int], budget: int | None) -> None:
    """Move replicas so that each rack's sum changes by `net` (positive: it takes), or until nothing fits.

    :param budget: bytes that may be copied, if limited
    """
    if state.problem.within_racks or not any(amount > 0 for amount in net.values()):
        return
    net = dict(net)

    def level(broker: int) -> Key:
        return (state.load[broker] / state.width[broker], broker)

    shelves = Shelves(state, level)
    brokers = np.nonzero(state.problem.allowed)[0].tolist()
    giving = [b for b in brokers if net[state.racks[b]] < 0]
    items = heaviest_first(state, giving)
    position = dict.fromkeys(giving, 0)
    sources = [(-state.load[b] / state.width[b], b) for b in giving]
    heapq.heapify(sources)
    while sources:
        _, source = heapq.heappop(sources)
        home = state.racks[source]
        partitions, weights = items[source]
        at = position[source]
        while at < len(partitions) and weights[at] < 0:
            partition, weight = partitions[at], -weights[at]
            at += 1
            if -net[home] < weight or (budget is not None and state.size[partition] > budget):
                continue
            destination = _destination(state, shelves, partition, source, net)
            if destination is None:
                continue
            if budget is not None:
                budget -= int(state.copy_cost(np.array([partition]), source, destination)[0])
            state.move(partition, source, destination)
            net[home] += weight
            net[state.racks[destination]] -= weight
            shelves.renew(source)
            shelves.renew(destination)
            if net[home] < 0:
                heapq.heappush(sources, (-state.load[source] / state.width[source], source))
            break
        position[source] = at


def _destination(state: State, shelves: Shelves, partition: int, source: int, net: dict[int, int]) -> int | None:
    members = [b for b in state.sets[partition].tolist() if b >= 0]
    others = {state.racks[b] for b in members if b != source}
    weight, size = state.weight[partition], state.size[partition]
    need = min(state.spread[partition], len(others | {state.racks[source]}))
    closed = {rack for rack, amount in net.items() if amount < weight}
    if len(others) < need:
        closed |= others
    if len(closed) == len(net):
        return None

    def fits(broker: int) -> bool:
        return broker not in members and state.used[broker] + size <= state.capacity[broker]

    return shelves.lowest(fits, closed)
