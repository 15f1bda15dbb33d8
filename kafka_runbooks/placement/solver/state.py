"""The solution under construction: replica sets that the solver changes, and the loads that follow from them.

Loads are Python integers in lists: the solver moves one replica at a time, and a numpy scalar costs ten times as much as an int.
"""

import numpy as np

from kafka_runbooks.placement.arrays import Flags, Indices, Ints, holds, loads, moved_bytes, widen
from kafka_runbooks.placement.problem import Problem, spread_of
from kafka_runbooks.placement.racks import RackRule, misplaced


class State:
    """`sets[p]` is partition p's replica row; `before` is the observed row, padded to the same width.

    A slot keeps its position when its broker changes, so that a replacement takes over its predecessor's place.
    """

    def __init__(self, problem: Problem, sets: Indices) -> None:
        cluster = problem.cluster
        width = max(sets.shape[1], cluster.replicas.shape[1], int(problem.replication.max(initial=1)))
        self.problem = problem
        self.before = widen(cluster.replicas, width)
        self.sets = widen(sets, width).copy()
        self.racks: list[int] = cluster.racks.tolist()
        self.weight: list[int] = problem.weight.tolist()
        self.size: list[int] = cluster.size_bytes.tolist()
        self.largest: list[int] | None = None if cluster.largest_bytes is None else cluster.largest_bytes.tolist()
        self.rack_rule = RackRule(problem.rack_rules)
        self.allowed: list[bool] = problem.allowed.tolist()
        self.width: list[float] = problem.width.tolist()
        self.limit: list[int] = cluster.limit_bytes.tolist()
        self.recount()

    def recount(self) -> None:
        """Recompute the loads, after `sets` was changed in bulk."""
        problem, cluster = self.problem, self.problem.cluster
        count = cluster.broker_count
        self.load: list[int] = (problem.base + loads(self.sets, problem.weight, count)).tolist()
        self.used: list[int] = (cluster.unexplained_bytes + loads(self.sets, cluster.size_bytes, count)).tolist()
        self._members: dict[int, Ints] = {}
        self._held: dict[int, Ints] = {}

    @property
    def spread(self) -> float:
        """Highest minus lowest level of the allowed brokers."""
        return spread_of(self.problem, np.array(self.load, dtype=np.int64))

    @property
    def copied_bytes(self) -> int:
        """Bytes that must be copied to get from the observed sets to these."""
        return moved_bytes(self.before, self.sets, self.problem.cluster.size_bytes)

    def has_room(self, partition: int, broker: int) -> bool:
        """Whether a replica fits on a broker, and into one of its log directories, below `max_utilisation`."""
        size = self.size[partition]
        if self.used[broker] + size > self.limit[broker]:
            return False
        return self.largest is None or size <= self.largest[broker] or broker in self.before[partition].tolist()

    def place(self, partition: int, slot: int, broker: int) -> None:
        """Put a replica on `broker` into a slot, replacing the one that was in it (if any)."""
        row = self.sets[partition]
        old = int(row[slot])
        if old >= 0:
            self.load[old] -= self.weight[partition]
            self.used[old] -= self.size[partition]
            self._members.pop(old, None)
        row[slot] = broker
        if broker >= 0:
            self.load[broker] += self.weight[partition]
            self.used[broker] += self.size[partition]
            self._members.pop(broker, None)

    def move(self, partition: int, source: int, destination: int) -> None:
        """Move a replica; it keeps its slot."""
        kept = [(broker, self._members.get(broker)) for broker in (source, destination)]
        self.place(partition, self.sets[partition].tolist().index(source), destination)
        for (broker, rows), arrives in zip(kept, (False, True), strict=True):
            if rows is not None:
                at = int(np.searchsorted(rows, partition))
                self._members[broker] = np.insert(rows, at, partition) if arrives else np.delete(rows, at)

    def members(self, broker: int) -> Ints:
        """Partitions in scope that have a replica on `broker`, in order of name."""
        rows = self._members.get(broker)
        if rows is None:
            rows = np.nonzero((self.sets == broker).any(axis=1) & self.problem.scope)[0]
            self._members[broker] = rows
        return rows

    def traded_with(self, broker: int) -> set[int]:
        """Brokers that have exchanged replicas with `broker` in either direction so far."""
        held = self._held.get(broker)
        if held is None:
            held = np.nonzero((self.before == broker).any(axis=1) & self.problem.scope)[0]
            self._held[broker] = held
        gone = held[~holds(self.sets[held], broker)]
        came = self.members(broker)
        came = came[~holds(self.before[came], broker)]
        others: set[int] = set()
        for rows, one, two in ((gone, self.sets, self.before), (came, self.before, self.sets)):
            for slot in range(one.shape[1]):
                column = one[rows, slot]
                others.update(column[(column >= 0) & ~holds(two[rows], column)].tolist())
        return others - {broker}

    def copy_cost(self, partitions: Ints, source: int, destination: int) -> Ints:
        """Bytes that each partition adds to the plan if its replica moves from `source` to `destination`.

        Negative where that undoes a move, 0 where the replica on `source` is a new one anyway. An empty partition counts as one
        byte, so that it isn't moved without reason.
        """
        rows = self.before[partitions]
        change = holds(rows, source).astype(np.int64) - holds(rows, destination).astype(np.int64)
        costs: Ints = change * np.maximum(self.problem.cluster.size_bytes[partitions], 1)
        return costs

    def may_move(self, partitions: Ints, source: int, destination: int) -> Flags:
        """Which of these partitions, all on `source`, may move that replica to `destination`."""
        problem = self.problem
        rows = self.sets[partitions]
        fine: Flags = ~holds(rows, destination) & bool(problem.allowed[destination])
        if problem.pinned is not None:
            fine &= ~holds(problem.pinned[partitions], source)
        if self.racks[source] == self.racks[destination]:
            return fine
        if problem.within_racks:
            return np.zeros(len(partitions), dtype=np.bool_)
        after = np.where(rows == source, destination, rows)
        return fine & (misplaced(problem.rack_rules, after, partitions) <= misplaced(problem.rack_rules, rows, partitions))
