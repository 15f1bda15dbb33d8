"""Hand over leaderships from brokers that lead too many to brokers that lead too few, with the fewest changes of leader.

A min-cost flow over brokers: a partition that hands its leadership over costs one change, one that has changed already costs
nothing more, and one that gets its first leader back saves a change. Leaderships go along shortest paths only (the primal-dual
method: Ford, Fulkerson, 1957), so that at no time the same leaderships per broker could be had with fewer changes. Every round
takes as many paths as the shortest length allows; there are a dozen rounds, whatever the number of partitions.
"""

from collections.abc import Callable

import numpy as np

from kafka_runbooks.placement.arrays import Flags, Floats, Indices, Ints

Broker = int
Arc = tuple[int, Broker]
"""A partition, and the replica that it may hand its leadership to."""


class Leaderships:
    """Who leads each partition (row), and how much each broker leads."""

    def __init__(self, members: Indices, may: Flags, first: Indices, load: list[int], step: int) -> None:
        """Start with the leaders as they are; a lost one is replaced by the replica on the broker that leads fewest.

        Args:
            members: P x W, replicas.
            may: P x W, which of them may lead.
            first: P, the leader before; -1: it may not lead any more.
            load: B, what each broker leads besides; counted on.
            step: what one leadership counts.
        """
        self.members, self.may, self.first, self.load, self.step = members, may, first, load, step
        self.leader: list[Broker] = first.tolist()
        for broker in self.leader:
            if broker >= 0:
                load[broker] += step
        for row in np.nonzero(first < 0)[0].tolist():
            fine = members[row][may[row]].tolist()
            self.leader[row] = min(fine, key=load.__getitem__)
            load[self.leader[row]] += step

    def settle(self, lowest: int, highest: int) -> None:
        """Bring brokers into this range as far as handing over can, those outside on both sides first."""
        step = self.step
        self._transfer(lambda load: load > highest, lambda load: load < lowest)
        self._transfer(lambda load: load > highest, lambda load: load + step <= highest)
        self._transfer(lambda load: load - step >= lowest, lambda load: load < lowest)

    def _transfer(self, gives: Callable[[int], bool], takes: Callable[[int], bool]) -> None:
        while True:
            arcs = self._on_shortest_paths([gives(load) for load in self.load], [takes(load) for load in self.load])
            if not arcs:
                return
            dead: set[Broker] = set()
            before = self.load.copy()
            for source in sorted(arcs, key=lambda broker: (-self.load[broker], broker)):
                while gives(self.load[source]) and self._hand_over(source, arcs, takes, dead):
                    pass
            if self.load == before:
                return  # Alternating paths do the rest.

    def _on_shortest_paths(self, gives: list[bool], takes: list[bool]) -> dict[Broker, list[Arc]]:
        """By broker: what it may hand over along a path from a giver to a taker that changes the fewest leaders."""
        count, leader = len(self.load), np.array(self.leader)
        rows, slots = np.nonzero(self.may & (self.members != leader[:, None]))
        source, target = leader[rows], self.members[rows, slots]
        first = self.first[rows]
        cost = (source == first).astype(np.int64) - (target == first)
        cheapest = np.full((count, count), np.inf)
        for amount in (1, 0, -1):  # The cheapest last, since it overwrites.
            cheapest[source[cost == amount], target[cost == amount]] = amount
        behind, ahead = _distances(cheapest, np.array(gives)), _distances(cheapest.T, np.array(takes))
        shortest = float((behind + ahead).min(initial=np.inf))
        if not np.isfinite(shortest):
            return {}
        on = behind[source] + cost + ahead[target] == shortest
        found: dict[Broker, list[Arc]] = {}
        for broker, row, other in zip(source[on].tolist(), rows[on].tolist(), target[on].tolist(), strict=True):
            found.setdefault(broker, []).append((row, other))
        return found

    def _hand_over(self, source: Broker, arcs: dict[Broker, list[Arc]], takes: Callable[[int], bool], dead: set[Broker]) -> bool:
        """Hand over along one path from `source`; arcs that were tried are used up."""
        path: list[tuple[Broker, int]] = []
        broker, seen = source, {source}
        while True:
            if path and takes(self.load[broker]):
                break
            own = arcs.get(broker, [])
            while own:
                row, other = own.pop()
                if self.leader[row] == broker and other not in seen and other not in dead:
                    path.append((broker, row))
                    broker = other
                    seen.add(other)
                    break
            else:
                dead.add(broker)
                if not path:
                    return False
                broker, _ = path.pop()
        for (giver, row), taker in zip(path, [giver for giver, _ in path[1:]] + [broker], strict=True):
            self.leader[row] = taker
            self.load[giver] -= self.step
            self.load[taker] += self.step
        return True


def _distances(cheapest: Floats, start: Flags) -> Floats:
    """B: the fewest changes on a path from one of these brokers."""
    found: Floats = np.where(start, 0.0, np.inf)
    for _ in range(len(found)):
        nearer = np.minimum(found, (found[:, None] + cheapest).min(axis=0, initial=np.inf))
        if np.array_equal(nearer, found):
            break
        found = nearer
    return found


def settle_at_the_mean(leaderships: Leaderships, brokers: Ints) -> None:
    """Bring brokers to their mean, rounded up or down; what some can't take is for the others, whose mean counts then."""
    rest = brokers.tolist()
    while rest:
        total = sum(leaderships.load[broker] for broker in rest)
        lowest = total // len(rest)
        leaderships.settle(lowest, -(-total // len(rest)))
        above = [broker for broker in rest if leaderships.load[broker] >= lowest]
        if len(above) == len(rest):
            return
        rest = above
