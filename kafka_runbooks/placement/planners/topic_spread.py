"""Topic spread: each topic's replicas evenly over its brokers, as thousands of small problems in whole numbers.

Where no rule interferes, counts end up at most one apart, and moving from the broker with most to the one with fewest
achieves that with the fewest moves: each takes one off a broker above the average or gives one to a broker below it. Racks
may interfere (eight replicas each for racks of two and of three brokers); where a topic ends further from balance than its
bound, the general solver takes over for that topic. Among equal counts the broker with more space is preferred: otherwise the
remainders of all topics would accumulate on the brokers with the lowest ids.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np

from kafka_runbooks.placement.arrays import Cluster, Indices, Ints, added, loads
from kafka_runbooks.placement.bounds import load_ranges
from kafka_runbooks.placement.bounds.relaxation import relax
from kafka_runbooks.placement.maps import Region
from kafka_runbooks.placement.plan import Plan
from kafka_runbooks.placement.planners import pipeline
from kafka_runbooks.placement.planners.convergence import converge
from kafka_runbooks.placement.planners.options import DEFAULTS, Options, Request
from kafka_runbooks.placement.planners.scope import brokers_of, prepare, regions_of
from kafka_runbooks.placement.problem import Problem, pose
from kafka_runbooks.placement.racks import RackRule
from kafka_runbooks.placement.solver.balance import Goal
from kafka_runbooks.placement.solver.solve import solve


def spread_topics(cluster: Cluster, options: Options = DEFAULTS, brokers: Iterable[int] | None = None) -> Plan:
    """Each topic's replicas evenly over the brokers: counts per topic and broker differ by 1 where racks allow."""
    cluster = prepare(cluster, options)
    options = replace(options, measure="replica count")
    request = Request("spread", cluster, options, brokers_of(cluster, brokers), levels=True)
    made = _spread_once(request)
    if made.spread_after <= max(1.0, options.target_spread or 0.0) or options.max_moved_bytes is not None:
        return made
    return converge(lambda settled: _spread_once(replace(request, cluster=settled)), cluster, made)


def _spread_once(request: Request) -> Plan:
    cluster, options = request.cluster, request.options
    request, sets, solved = pipeline.solve_what_has_a_set(request)
    forced = sum(solution.moved_bytes for _, solution in solved)
    result = Spread(sets.copy())
    for region in regions_of(request):
        left = None if options.max_moved_bytes is None else max(0, options.max_moved_bytes - forced - result.moved_bytes)
        _spread_region(cluster, options, region, result, left)
    plan = pipeline.finish(request, result.sets, solved)
    return replace(
        plan,
        spread_before=result.before,
        spread_after=result.after,
        best_possible_spread=result.best,
        best_possible_is_exact=result.after <= result.best,
        lower_bound_bytes=min(plan.moved_bytes, plan.forced_bytes + result.lower_bound_bytes),
    )


@dataclass
class Spread:
    """Replica sets (P x W), and the figures of the topics that are worst off."""

    sets: Indices
    before: float = 0.0
    after: float = 0.0
    best: float = 0.0
    moved_bytes: int = 0
    """In addition to lost and newly required replicas; so is the next."""
    lower_bound_bytes: int = 0


def _spread_region(cluster: Cluster, options: Options, region: Region, result: Spread, budget: int | None) -> None:
    """Spread every topic of one map, in `result`.

    Args:
        cluster: the observed cluster.
        options: options of every planner.
        region: the map.
        result: sets in which lost and newly required replicas are placed, and the figures of earlier maps.
        budget: bytes that spreading may copy; None: no limit.
    """
    brokers = np.nonzero(region.brokers & cluster.is_live & ~cluster.keeps_only)[0]
    used = cluster.unexplained_bytes + loads(result.sets, cluster.size_bytes, cluster.broker_count)
    enough = max(1.0, options.target_spread or 0.0)
    bounds: dict[tuple[object, ...], float] = {}
    rows = np.nonzero(region.scope)[0]
    rows = rows[np.argsort(cluster.topic[rows], kind="stable")]
    for own in np.split(rows, np.flatnonzero(np.diff(cluster.topic[rows])) + 1):
        if not len(own):
            continue
        sets, size = result.sets[own], cluster.size_bytes[own]
        problem = _one_topic(cluster, options, region, own, used - loads(sets, size, cluster.broker_count))
        result.before = max(result.before, _range(problem, problem.cluster.replicas, brokers))
        left = None if budget is None else budget - result.moved_bytes
        topic = _Topic(problem, sets, brokers, used)
        topic.balance(enough, left)
        after, cost = topic.sets(), topic.moved_bytes
        reached = _range(problem, after, brokers)
        best = min(reached, 1.0 if int(problem.replication.sum()) % len(brokers) else 0.0)
        if reached > 1:
            best = min(reached, max(best, _best_spread(problem, sets, bounds)))
            if reached > enough and reached >= best + 1:
                solution = solve(problem, Goal(moves=True, max_moved_bytes=None if left is None else left - cost), after)
                if solution.spread < reached:
                    after, cost, reached = solution.sets, cost + solution.moved_bytes, solution.spread
        used += loads(after, size, cluster.broker_count) - loads(sets, size, cluster.broker_count)
        result.sets[own] = after
        result.moved_bytes += cost
        result.lower_bound_bytes += _least_moved(problem, sets, brokers, reached)
        result.after, result.best = max(result.after, reached), max(result.best, best)


def _best_spread(problem: Problem, sets: Indices, known: dict[tuple[object, ...], float]) -> float:
    """The bound on a topic's spread; topics with the same replication factors and rack sums have the same."""
    relaxed = relax(problem, sets, moves_allowed=True)
    factors = sorted(Counter(problem.replication.tolist()).items())
    key = (*factors, *relaxed.rack_least.tolist(), *relaxed.rack_most.tolist())
    if key not in known:
        known[key] = load_ranges.best_spread(relaxed)
    return known[key]


def _one_topic(cluster: Cluster, options: Options, region: Region, rows: Ints, used_by_others: Ints) -> Problem:
    """One topic as a problem of its own."""
    topic = replace(
        cluster,
        unexplained_bytes=used_by_others,
        topic=cluster.topic[rows],
        partition=cluster.partition[rows],
        replicas=cluster.replicas[rows],
        size_bytes=cluster.size_bytes[rows],
        in_sync=cluster.in_sync[rows],
        bytes_in=None,
        bytes_out=None,
        adding=None,
        removing=None,
    )
    return pose(topic, np.ones(len(rows), dtype=np.bool_), region.brokers, options.rules(), scope_only=True)


def _range(problem: Problem, sets: Indices, brokers: Ints) -> float:
    held = loads(sets, problem.weight, problem.cluster.broker_count)[brokers]
    return float(held.max() - held.min())


class _Topic:
    """The replica sets of one topic while replicas move from the brokers with most of it to those with fewest."""

    def __init__(self, problem: Problem, sets: Indices, brokers: Ints, used: Ints) -> None:
        self.rows = [row.tolist() for row in sets]
        self.moved_bytes = 0
        self._shape = sets.shape
        self._problem = problem
        self._before = [set(row) for row in problem.cluster.replicas.tolist()]
        self._size: list[int] = problem.cluster.size_bytes.tolist()
        self._capacity: list[int] = problem.cluster.capacity_bytes.tolist()
        self._limit: list[int] = problem.cluster.limit_bytes.tolist()
        self._racks: list[int] = problem.cluster.racks.tolist()
        self._rack_rule = RackRule(problem.rack_rules)
        self._pinned: list[list[int]] = [] if problem.pinned is None else problem.pinned.tolist()
        self._used: list[int] = used.tolist()
        self._held: dict[int, set[int]] = {b: set() for b in brokers.tolist()}
        for number, row in enumerate(self.rows):
            for broker in row:
                if broker in self._held:
                    self._held[broker].add(number)

    def sets(self) -> Indices:
        """P x W: the replica sets."""
        return np.array(self.rows, dtype=np.int32).reshape(self._shape)

    def balance(self, enough: float, budget: int | None) -> None:
        """Move replicas while counts are further apart than `enough` and the bytes allow it."""
        while (found := self._best_move(enough, budget)) is not None:
            number, source, destination = found
            self.moved_bytes += self._cost(number, source, destination)
            self.rows[number][self.rows[number].index(source)] = destination
            self._held[source].remove(number)
            self._held[destination].add(number)
            self._used[source] -= self._size[number]
            self._used[destination] += self._size[number]

    def _best_move(self, enough: float, budget: int | None) -> tuple[int, int, int] | None:
        """(row, source, destination) of the cheapest move from the fullest source to the emptiest destination possible."""
        held = self._held
        most = sorted(held, key=lambda b: (-len(held[b]), -self._fill(b), b))
        fewest = sorted(held, key=lambda b: (len(held[b]), self._fill(b), b))
        for source in most:
            if len(held[source]) - len(held[fewest[0]]) <= enough:
                break
            for destination in fewest:
                if len(held[source]) - len(held[destination]) <= enough:
                    break
                priced = [(self._cost(n, source, destination), n) for n in held[source] if self._may_move(n, source, destination)]
                if budget is not None:
                    priced = [(cost, n) for cost, n in priced if self.moved_bytes + cost <= budget]
                if priced:
                    return min(priced)[1], source, destination
        return None

    def _may_move(self, number: int, source: int, destination: int) -> bool:
        row, size = self.rows[number], self._size[number]
        if destination in row or self._used[destination] + size > self._limit[destination]:
            return False
        largest = self._problem.cluster.largest_bytes
        if largest is not None and size > largest[destination] and destination not in self._before[number]:
            return False
        if size < self._problem.smallest_moved_bytes and source in self._before[number]:
            return False
        if self._pinned and source in self._pinned[number]:
            return False
        if self._racks[source] == self._racks[destination]:
            return True
        members = [b for b in row if b >= 0]
        return not self._problem.within_racks and self._rack_rule.may_enter(number, members, source, self._racks[destination])

    def _cost(self, number: int, source: int, destination: int) -> int:
        """Bytes that a move adds to those copied; negative where it undoes one."""
        before = self._before[number]
        return (int(source in before) - int(destination in before)) * self._size[number]

    def _fill(self, broker: int) -> float:
        capacity = self._capacity[broker]
        return self._used[broker] / capacity if capacity > 0 else float(self._used[broker])


def _least_moved(problem: Problem, sets: Indices, brokers: Ints, reached: float) -> int:
    """Bytes that any assignment with this spread moves: a broker's excess or shortage is at least its smallest partitions.

    Args:
        problem: one topic.
        sets: its sets, in which lost and newly required replicas are placed; those may go anywhere at no further cost.
        brokers: brokers of the map.
        reached: the spread.
    """
    total, size = int(problem.replication.sum()), problem.cluster.size_bytes
    most, fewest = total // len(brokers) + int(reached), -(-total // len(brokers)) - int(reached)
    smallest = np.concatenate(([0], np.cumsum(np.sort(size))))
    placed = added(problem.cluster.replicas, sets).any()
    shed = filled = 0
    for broker in brokers.tolist():
        rows = (problem.cluster.replicas == broker).any(axis=1) & (sets == broker).any(axis=1)
        held = int(rows.sum())
        shed += int(np.sort(size[rows])[: max(0, held - most)].sum())
        filled += int(smallest[min(max(0, fewest - held), len(size))])
    return max(shed, 0 if placed else filled)
