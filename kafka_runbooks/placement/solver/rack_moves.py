"""Move load between racks, as far as the racks' sums must change, before brokers are levelled inside their racks.

Which replicas may leave a rack is scarce where most sets span all racks: only those of sets with fewer replicas than racks, or
with two in one rack. So they are used for that first, from whatever broker of the rack they are on, fullest broker first; what
this leaves uneven inside the racks is levelled afterwards, where every replica may move.

Where those that may go straight from a giving to a taking rack run out, a rack between passes on as much as it gets: sets in
racks a and c can leave c for b only, and b has others that can leave for a. It costs nothing more where b's emptiest brokers had
to take and its fullest had to give anyway.
"""

import heapq

import numpy as np

from kafka_runbooks.placement.solver.bulk_moves import heaviest_first
from kafka_runbooks.placement.solver.construction import Key, Shelves
from kafka_runbooks.placement.solver.state import State

MOST_RACKS = 32
"""Beyond (a cluster without racks has one per broker) nearly every replica may go straight anywhere."""


def cross(state: State, net: dict[int, int], highest: dict[int, int], budget: int | None) -> None:
    """Move replicas so that each rack's sum changes by `net` (positive: it takes), or until nothing fits.

    :param highest: load that brokers are to have at most; they take more only if nothing else brings the racks' sums about
    :param budget: bytes that may be copied, if limited
    """
    if state.problem.within_racks or not any(amount > 0 for amount in net.values()):
        return
    net, budget = _straight(state, net, highest, budget)
    net, budget = _straight(state, net, None, budget)
    lightest = int(state.problem.weight[state.problem.scope & (state.problem.weight > 0)].min(initial=1))
    if min(net.values()) > -lightest or len(net) > MOST_RACKS:
        return
    for giver in sorted(net, key=lambda rack: (net[rack], rack)):
        movable = _movable(state, list(net))
        between = [(x, t) for x in net for t in net if x not in (giver, t) and t != giver]
        for passer, taker in sorted(between, key=lambda pair: (-min(movable[giver, pair[0]], movable[pair]), pair)):
            amount = min(-net[giver], net[taker], movable[giver, passer], movable[passer, taker])
            if amount < lightest:
                continue
            left, budget = _straight(state, {giver: -amount, passer: amount}, None, budget)
            passed = amount + left[giver]
            net[giver] += passed
            left, budget = _straight(state, {passer: -passed, taker: passed}, None, budget)
            net[passer] += left[passer] if left[passer] < 0 else 0
            net[taker] -= passed - left[taker]


def _movable(state: State, racks: list[int]) -> dict[tuple[int, int], int]:
    """Load that may go from one rack to another as the sets are now."""
    problem = state.problem
    own = problem.cluster.racks
    rows = np.nonzero(problem.scope & (problem.weight > 0))[0]
    at = np.where(state.sets[rows] >= 0, own[np.maximum(state.sets[rows], 0)], -1)
    held = {rack: (at == rack).sum(axis=1) for rack in racks}
    now = sum((count > 0).astype(np.int64) for count in held.values())
    need = np.minimum(problem.spread[rows], now)
    brokers = {rack: int((problem.allowed & (own == rack)).sum()) for rack in racks}
    found = {}
    for source in racks:
        for destination in racks:
            after = now - (held[source] == 1) + (held[destination] == 0)
            may = (held[source] > 0) & (held[destination] < brokers[destination]) & (after >= need)
            found[source, destination] = int(problem.weight[rows][may].sum())
    return found


def _straight(
    state: State, net: dict[int, int], highest: dict[int, int] | None, budget: int | None
) -> tuple[dict[int, int], int | None]:
    """Move between these racks; returns what is left of `net`, and of the budget."""
    net = dict(net)
    if not any(amount > 0 for amount in net.values()):
        return net, budget

    def level(broker: int) -> Key:
        return (state.load[broker] / state.width[broker], broker)

    shelves = Shelves(state, level)
    brokers = np.nonzero(state.problem.allowed)[0].tolist()
    giving = [b for b in brokers if net.get(state.racks[b], 0) < 0]
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
            destination = _destination(state, shelves, partition, source, net, highest)
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
    return net, budget


def _destination(
    state: State, shelves: Shelves, partition: int, source: int, net: dict[int, int], highest: dict[int, int] | None
) -> int | None:
    members = [b for b in state.sets[partition].tolist() if b >= 0]
    others = {state.racks[b] for b in members if b != source}
    weight, size = state.weight[partition], state.size[partition]
    need = min(state.spread[partition], len(others | {state.racks[source]}))
    open_racks = {rack for rack, amount in net.items() if amount >= weight}
    if len(others) < need:
        open_racks -= others
    if not open_racks:
        return None

    def fits(broker: int) -> bool:
        if highest is not None and state.load[broker] + weight > highest[broker]:
            return False
        return broker not in members and state.used[broker] + size <= state.capacity[broker]

    return shelves.lowest(fits, shelves.all_racks - open_racks)
