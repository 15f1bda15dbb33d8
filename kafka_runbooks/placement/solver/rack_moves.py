"""Moves between racks, as far as the racks' sums must change, before brokers are balanced inside their racks.

Replicas that may leave a rack are scarce where most sets span all racks: only those of sets with fewer replicas than racks, or
with two in one rack. So they are used for that first, from any broker of the rack, fullest broker first; any imbalance this
leaves inside the racks is removed afterwards, where every replica may move.

Where those that may go directly from a giving to a taking rack run out, a rack in between relays load: sets in racks a and c
can leave c for b only, while b has others that can leave for a. This costs nothing more where b's emptiest brokers had to
take and its fullest had to give anyway.
"""

import heapq

import numpy as np

from kafka_runbooks.placement.solver.bulk_moves import heaviest_first
from kafka_runbooks.placement.solver.construction import BrokerHeaps, Key
from kafka_runbooks.placement.solver.state import State

MOST_RACKS = 32
"""Beyond (a cluster without racks has one per broker) nearly every replica may go anywhere directly, and no relay is tried."""


def move_between_racks(state: State, net: dict[int, int], highest: dict[int, int], budget: int | None) -> None:
    """Move replicas so that each rack's sum changes by `net` (positive: it takes), or until nothing fits.

    Args:
        state: the solution, changed in place.
        net: load that each rack should gain.
        highest: the most that brokers should hold; exceeded only where the racks' sums can't be reached otherwise.
        budget: bytes that may be copied; None: no limit.
    """
    if state.problem.within_racks or not any(amount > 0 for amount in net.values()):
        return
    net, budget = _move_directly(state, net, highest, budget)
    net, budget = _move_directly(state, net, None, budget)
    lightest = int(state.problem.weight[state.problem.scope & (state.problem.weight > 0)].min(initial=1))
    if min(net.values()) > -lightest or len(net) > MOST_RACKS:
        return
    for giver in sorted(net, key=lambda rack: (net[rack], rack)):
        movable = _movable(state, list(net))
        between = [(x, t) for x in net for t in net if x not in (giver, t) and t != giver]
        for relay, taker in sorted(between, key=lambda pair: (-min(movable[giver, pair[0]], movable[pair]), pair)):
            amount = min(-net[giver], net[taker], movable[giver, relay], movable[relay, taker])
            if amount < lightest:
                continue
            left, budget = _move_directly(state, {giver: -amount, relay: amount}, None, budget)
            relayed = amount + left[giver]
            net[giver] += relayed
            left, budget = _move_directly(state, {relay: -relayed, taker: relayed}, None, budget)
            net[relay] += left[relay] if left[relay] < 0 else 0
            net[taker] -= relayed - left[taker]


def _movable(state: State, racks: list[int]) -> dict[tuple[int, int], int]:
    """Load that may move from one rack to another with the current sets."""
    problem = state.problem
    own = problem.cluster.racks
    rows = np.nonzero(problem.scope & (problem.weight > 0))[0]
    at = np.where(state.sets[rows] >= 0, own[np.maximum(state.sets[rows], 0)], -1)
    held = {rack: (at == rack).sum(axis=1) for rack in racks}
    now = sum((count > 0).astype(np.int64) for count in held.values())
    need = np.minimum(problem.required_racks[rows], now)
    brokers = {rack: int((problem.allowed & (own == rack)).sum()) for rack in racks}
    found = {}
    for source in racks:
        for destination in racks:
            after = now - (held[source] == 1) + (held[destination] == 0)
            may = (held[source] > 0) & (held[destination] < brokers[destination]) & (after >= need)
            found[source, destination] = int(problem.weight[rows][may].sum())
    return found


def _move_directly(
    state: State, net: dict[int, int], highest: dict[int, int] | None, budget: int | None
) -> tuple[dict[int, int], int | None]:
    """Move between these racks; returns what remains of `net`, and of the budget."""
    net = dict(net)
    if not any(amount > 0 for amount in net.values()):
        return net, budget

    def level(broker: int) -> Key:
        return (state.load[broker] / state.width[broker], broker)

    heaps = BrokerHeaps(state, level)
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
            destination = _destination(state, heaps, partition, source, net, highest)
            if destination is None:
                continue
            if budget is not None:
                budget -= int(state.copy_cost(np.array([partition]), source, destination)[0])
            state.move(partition, source, destination)
            net[home] += weight
            net[state.racks[destination]] -= weight
            heaps.update(source)
            heaps.update(destination)
            if net[home] < 0:
                heapq.heappush(sources, (-state.load[source] / state.width[source], source))
            break
        position[source] = at
    return net, budget


def _destination(
    state: State, heaps: BrokerHeaps, partition: int, source: int, net: dict[int, int], highest: dict[int, int] | None
) -> int | None:
    members = [b for b in state.sets[partition].tolist() if b >= 0]
    weight = state.weight[partition]
    open_racks = {
        rack for rack, amount in net.items() if amount >= weight and state.rack_rule.may_enter(partition, members, source, rack)
    }
    if not open_racks:
        return None

    def fits(broker: int) -> bool:
        if highest is not None and state.load[broker] + weight > highest[broker]:
            return False
        return broker not in members and state.has_room(partition, broker)

    return heaps.lowest(fits, heaps.all_racks - open_racks)
