"""Constructive heuristic: place the missing replicas, heaviest first, each on the least loaded broker that the rules allow.

Longest-processing-time-first (Graham 1969): afterwards the brokers differ by no more than the last small partitions. Brokers are
kept in one heap per rack, so that finding the least loaded broker of some racks costs a comparison of a few heap tops.
Partitions without weight are placed by replica count, or they would all end up on one broker.
"""

import heapq
from collections.abc import Callable, Iterable

import numpy as np

from kafka_runbooks.models.placement import PlacementReason
from kafka_runbooks.placement.arrays import NONE
from kafka_runbooks.placement.disks import below, or_raise
from kafka_runbooks.placement.errors import NoAssignment
from kafka_runbooks.placement.problem import open_slots
from kafka_runbooks.placement.solver.state import State

Key = tuple[float, ...]

MOST_HEAPS = 32
"""Beyond (a cluster without racks has one per broker) a single heap serves all racks, and unusable tops are skipped."""


def fill(state: State, substitutes: dict[int, int] | None = None) -> None:
    """Fill every open slot of `state`.

    Args:
        state: the solution, with the replicas that stay.
        substitutes: index of a leaving broker -> its substitute, which takes over its slots where the rules allow.

    Raises:
        NoAssignment: a replica fits nowhere.
    """
    problem, cluster = state.problem, state.problem.cluster
    missing = open_slots(problem, state.sets)
    rows = np.nonzero(missing)[0]
    if substitutes:
        for row in rows.tolist():
            _substitute(state, row, substitutes)
        missing = open_slots(problem, state.sets)
        rows = np.nonzero(missing)[0]
    order = rows[np.argsort(-problem.weight[rows], kind="stable")]
    weighty = problem.weight[order] > 0
    counts = np.bincount(state.sets[state.sets >= 0], minlength=cluster.broker_count).tolist()
    capacity = np.maximum(cluster.capacity_bytes, 1).tolist()

    def by_load(broker: int) -> Key:
        return (state.load[broker] / state.width[broker], state.used[broker] / capacity[broker], broker)

    def by_count(broker: int) -> Key:
        return (counts[broker], state.load[broker] / state.width[broker], broker)

    failed: dict[int, PlacementReason] = {}
    for chosen, key in ((order[weighty], by_load), (order[~weighty], by_count)):
        heaps = BrokerHeaps(state, key)
        for row in chosen.tolist():
            for _ in range(int(missing[row])):
                broker = _choose(state, row, heaps)
                if broker is None:
                    broker = _choose_after_displacing(state, row, heaps)
                if broker is None:
                    failed[row] = why_not(state, row)
                    break
                counts[broker] += 1
                state.place(row, state.sets[row].tolist().index(NONE), broker)
                heaps.update(broker)
    if failed:
        raise NoAssignment([next(iter(failed.values())), *rack_shortages(state)], tuple(failed))


class BrokerHeaps:
    """Brokers ordered by key, in one heap per rack; outdated entries are dropped when they reach the top."""

    def __init__(self, state: State, key: Callable[[int], Key]) -> None:
        self.key = key
        brokers = np.nonzero(state.problem.allowed)[0].tolist()
        racks = sorted({state.racks[b] for b in brokers})
        self.heap_of = {rack: i if len(racks) <= MOST_HEAPS else 0 for i, rack in enumerate(racks)}
        self.racks = state.racks
        self.all_racks = set(racks)
        self.heaps: list[list[Key]] = [[] for _ in set(self.heap_of.values())]
        self.now: dict[int, Key] = {}
        for broker in brokers:
            self.update(broker)

    def update(self, broker: int) -> None:
        """Record a broker's new key."""
        entry = self.key(broker)
        self.now[broker] = entry
        heapq.heappush(self.heaps[self.heap_of[self.racks[broker]]], entry)

    def lowest(self, fits: Callable[[int], bool], closed_racks: Iterable[int]) -> int | None:
        """The broker with the lowest key that fits and is in none of the closed racks."""
        closed = set(closed_racks)
        closed_heaps = {self.heap_of.get(rack) for rack in closed} if len(self.heaps) > 1 else set()
        best: Key | None = None
        for number, heap in enumerate(self.heaps):
            if number in closed_heaps:
                continue
            aside = []
            while heap and (best is None or heap[0] < best):
                entry = heap[0]
                broker = int(entry[-1])
                if self.now[broker] != entry:
                    heapq.heappop(heap)
                elif self.racks[broker] not in closed and fits(broker):
                    best = entry
                    break
                else:
                    aside.append(heapq.heappop(heap))
            for entry in aside:
                heapq.heappush(heap, entry)
        return None if best is None else int(best[-1])


def _choose(state: State, row: int, heaps: BrokerHeaps) -> int | None:
    """The broker for the next replica of a partition; None where no broker has room."""
    members = [b for b in state.sets[row].tolist() if b >= 0]

    def fits(broker: int) -> bool:
        return broker not in members and state.has_room(row, broker)

    return heaps.lowest(fits, state.rack_rule.closed(row, members))


def _choose_after_displacing(state: State, row: int, heaps: BrokerHeaps) -> int | None:
    """Make room where only space is missing, by moving another new replica of the plan elsewhere."""
    members = [b for b in state.sets[row].tolist() if b >= 0]
    closed = state.rack_rule.closed(row, members)
    allowed, sizes = np.nonzero(state.problem.allowed)[0], state.problem.cluster.size_bytes
    # Most brokers of a full cluster have no room for anything: those aren't tried for each replica of each broker.
    free = {b: state.limit[b] - state.used[b] for b in allowed.tolist()}
    brokers = [b for b in free if b not in members and state.racks[b] not in closed]
    for broker in sorted(brokers, key=lambda b: (-free[b], b)):
        if state.largest is not None and state.size[row] > state.largest[broker]:
            continue
        rows = state.members(broker)
        rows = rows[(sizes[rows] >= state.size[row] - free[broker]) & (state.before[rows] != broker).all(axis=1)]
        smallest = sizes[rows].min() if len(rows) else 0
        targets = [target for target, left in free.items() if left >= smallest]
        for other in rows[np.argsort(sizes[rows], kind="stable")].tolist() if targets else ():
            for target in targets:
                if not state.has_room(other, target):
                    continue
                if state.may_move(np.array([other]), broker, target)[0]:
                    state.move(other, broker, target)
                    heaps.update(broker)
                    heaps.update(target)
                    return broker
    return None


def _substitute(state: State, row: int, substitutes: dict[int, int]) -> None:
    """Put substitutes into the slots of leaving brokers."""
    for slot, old in enumerate(state.before[row].tolist()):
        new = substitutes.get(old)
        members = [b for b in state.sets[row].tolist() if b >= 0]
        if new is None or state.sets[row, slot] != NONE or new in members or len(members) >= state.problem.replication[row]:
            continue
        if state.has_room(row, new) and state.racks[new] not in state.rack_rule.closed(row, members):
            state.place(row, slot, new)


def why_not(state: State, row: int) -> PlacementReason:
    """The reason why the next replica of a partition fits nowhere."""
    cluster = state.problem.cluster
    topic, number = cluster.name(row)
    members = [b for b in state.sets[row].tolist() if b >= 0]
    closed = state.rack_rule.closed(row, members)
    others = [b for b in np.nonzero(state.problem.allowed)[0].tolist() if b not in members]
    inside = [b for b in others if state.racks[b] not in closed]
    used = ", ".join(sorted(cluster.rack_names[rack] for rack in closed))
    if not inside:
        return PlacementReason(
            constraint="racks",
            where=f"racks {used}",
            problem=f"{topic}-{number} has replicas there already, and no broker of another rack is left for it",
            remedy=f"add a broker in another rack, or allow min_racks={len(closed)}",
        )
    largest = state.largest
    if largest is not None and all(largest[b] < state.size[row] for b in inside):
        roomiest = max(inside, key=lambda b: (largest[b], -b))
        return PlacementReason(
            constraint="capacity",
            where=f"broker {int(cluster.broker_ids[roomiest])}",
            problem=f"{topic}-{number} needs {state.size[row]} bytes in one log directory, "
            f"the emptiest has {largest[roomiest]} free{below(cluster)}",
            remedy="add a broker with a larger disk, or free that much in one directory"
            + ("" if cluster.max_utilisation == 1.0 else ", or raise max_utilisation"),
        )
    best = min(inside, key=lambda b: (state.used[b] - state.limit[b], b))
    needed = state.used[best] + state.size[row]
    return PlacementReason(
        constraint="capacity",
        where=f"broker {int(cluster.broker_ids[best])}",
        problem=f"{topic}-{number} needs {state.size[row]} bytes, {max(0, state.limit[best] - state.used[best])} are free there"
        f"{below(cluster)}, the most of any broker that the rack rule leaves",
        remedy=f"free {needed - state.limit[best]} bytes on it, add a broker"
        + (f" in a rack other than {used}" if closed else "")
        + or_raise(cluster, best, needed)
        + (", or allow fewer racks (min_racks)" if len(inside) < len(others) else ""),
    )


def rack_shortages(state: State) -> list[PlacementReason]:
    """Racks without enough room for what they must take: sets that span every rack need one replica in each."""
    problem, cluster = state.problem, state.problem.cluster
    allowed = np.nonzero(problem.allowed)[0]
    names = np.unique(cluster.racks[allowed])
    everywhere = problem.scope & (problem.required_racks == len(names)) & (open_slots(problem, state.sets) > 0)
    rack = np.where(state.sets >= 0, cluster.racks[np.maximum(state.sets, 0)], -1)
    found = []
    for name in names.tolist():
        inside = allowed[cluster.racks[allowed] == name].tolist()
        needed = int(cluster.size_bytes[everywhere & (rack != name).all(axis=1)].sum())
        free = sum(max(0, state.limit[b] - state.used[b]) for b in inside)
        if needed > free:
            found.append(
                PlacementReason(
                    constraint="capacity",
                    where=f"rack {cluster.rack_names[name]}",
                    problem=f"sets that span every rack need {needed} more bytes there, its {len(inside)} brokers have {free}"
                    f"{below(cluster)}",
                    remedy=f"add {needed - free} bytes of disk to it, or allow sets to span {len(names) - 1} racks (min_racks)",
                )
            )
    return found
