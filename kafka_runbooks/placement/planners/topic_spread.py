"""Each topic's replicas evenly over its brokers: thousands of small problems in whole numbers.

Where nothing stands in the way, counts end up at most one apart, and moving from the broker with most to the one with fewest gets
there with the fewest moves: each takes one off a broker above the average or gives one to a broker below it. Racks may be in the
way (eight replicas each for racks of two and of three brokers); where a topic ends further from level than its bound, the general
planner takes over (`solving`), on that topic alone. Among equal counts the broker with more space is preferred: otherwise all
topics' remainders would pile up on the brokers with the lowest ids.
"""

from collections import Counter
from dataclasses import dataclass, replace

import numpy as np

from kafka_runbooks.placement import problem as problems
from kafka_runbooks.placement.arrays import Cluster, Indices, Ints, added, loads
from kafka_runbooks.placement.bounds import load_ranges as bounds
from kafka_runbooks.placement.bounds import relaxation as relaxing
from kafka_runbooks.placement.maps import Region
from kafka_runbooks.placement.planners.options import Options
from kafka_runbooks.placement.problem import Problem
from kafka_runbooks.placement.solver import solve as solving


@dataclass
class Spread:
    """Replica sets (P x W), and what the topics that are worst off come to."""

    sets: Indices
    before: float = 0.0
    after: float = 0.0
    best: float = 0.0
    moved_bytes: int = 0
    """Besides those of lost and added replicas; so is the next."""
    lower_bound_bytes: int = 0


def spread(cluster: Cluster, options: Options, region: Region, so_far: Spread, budget: int | None) -> None:
    """Spread every topic of one map, in `so_far`.

    :param so_far: sets where lost and added replicas have been placed, and what earlier maps came to
    :param budget: bytes that spreading may copy, if limited
    """
    brokers = np.nonzero(region.brokers & cluster.is_live)[0]
    used = cluster.unexplained_bytes + loads(so_far.sets, cluster.size_bytes, cluster.broker_count)
    enough = max(1.0, options.target_spread or 0.0)
    bound: dict[tuple[object, ...], float] = {}
    rows = np.nonzero(region.scope)[0]
    rows = rows[np.argsort(cluster.topic[rows], kind="stable")]
    for own in np.split(rows, np.flatnonzero(np.diff(cluster.topic[rows])) + 1):
        if not len(own):
            continue
        sets, size = so_far.sets[own], cluster.size_bytes[own]
        problem = _alone(cluster, options, region, own, used - loads(sets, size, cluster.broker_count))
        so_far.before = max(so_far.before, _range(problem, problem.cluster.replicas, brokers))
        left = None if budget is None else budget - so_far.moved_bytes
        after, cost = _level(problem, sets, brokers, used, enough, left)
        reached = _range(problem, after, brokers)
        best = min(reached, 1.0 if int(problem.replication.sum()) % len(brokers) else 0.0)
        if reached > 1:
            kept = relaxing.relax(problem, sets, moves_allowed=True)
            key = (*sorted(Counter(problem.replication.tolist()).items()), *kept.rack_least.tolist(), *kept.rack_most.tolist())
            if key not in bound:
                bound[key] = bounds.best_spread(kept)
            best = min(reached, max(best, bound[key]))
            if reached > enough and reached >= best + 1:
                solution = solving.solve(problem, after, moves=True, max_moved_bytes=None if left is None else left - cost)
                if solution.spread < reached:
                    after, cost, reached = solution.sets, cost + solution.moved_bytes, solution.spread
        used += loads(after, size, cluster.broker_count) - loads(sets, size, cluster.broker_count)
        so_far.sets[own] = after
        so_far.moved_bytes += cost
        so_far.lower_bound_bytes += _least_moved(problem, sets, brokers, reached)
        so_far.after, so_far.best = max(so_far.after, reached), max(so_far.best, best)


def _alone(cluster: Cluster, options: Options, region: Region, rows: Ints, used_by_others: Ints) -> Problem:
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
    return problems.make(
        topic,
        np.ones(len(rows), dtype=np.bool_),
        region.brokers,
        min_racks=options.min_racks,
        measure="replica count",
        within_racks=options.within_racks,
        smallest_moved_bytes=options.smallest_moved_bytes,
        scope_only=True,
    )


def _range(problem: Problem, sets: Indices, brokers: Ints) -> float:
    held = loads(sets, problem.weight, problem.cluster.broker_count)[brokers]
    return float(held.max() - held.min())


def _level(problem: Problem, sets: Indices, brokers: Ints, used: Ints, enough: float, budget: int | None) -> tuple[Indices, int]:
    """Move from the brokers with most of a topic to those with fewest while counts are further apart than `enough`.

    :returns: (sets, bytes that this adds to what is copied)
    """
    rows = [row.tolist() for row in sets]
    before = [set(row) for row in problem.cluster.replicas.tolist()]
    size, capacity = problem.cluster.size_bytes.tolist(), problem.cluster.capacity_bytes.tolist()
    racks, spread_wanted = problem.cluster.racks.tolist(), problem.spread.tolist()
    space = used.tolist()
    held: dict[int, set[int]] = {b: set() for b in brokers.tolist()}
    for number, row in enumerate(rows):
        for broker in row:
            if broker in held:
                held[broker].add(number)

    def may(number: int, source: int, destination: int) -> bool:
        row = rows[number]
        if destination in row or (capacity[destination] > 0 and space[destination] + size[number] > capacity[destination]):
            return False
        if size[number] < problem.smallest_moved_bytes and source in before[number]:
            return False
        if racks[source] == racks[destination]:
            return True
        others = {racks[b] for b in row if b >= 0 and b != source}
        now = len(others | {racks[source]})
        return not problem.within_racks and len(others | {racks[destination]}) >= min(spread_wanted[number], now)

    def cost(number: int, source: int, destination: int) -> int:
        change = int(source in before[number]) - int(destination in before[number])
        return change * int(size[number])

    def full(broker: int) -> float:
        return space[broker] / capacity[broker] if capacity[broker] > 0 else float(space[broker])

    def best_move() -> tuple[int, int, int] | None:
        most = sorted(held, key=lambda b: (-len(held[b]), -full(b), b))
        fewest = sorted(held, key=lambda b: (len(held[b]), full(b), b))
        for source in most:
            if len(held[source]) - len(held[fewest[0]]) <= enough:
                break
            for destination in fewest:
                if len(held[source]) - len(held[destination]) <= enough:
                    break
                fitting = [n for n in held[source] if may(n, source, destination)]
                if budget is not None:
                    fitting = [n for n in fitting if spent + cost(n, source, destination) <= budget]
                if fitting:
                    return min(fitting, key=lambda n: (cost(n, source, destination), n)), source, destination
        return None

    spent = 0
    while (found := best_move()) is not None:
        number, source, destination = found
        spent += cost(number, source, destination)
        rows[number][rows[number].index(source)] = destination
        held[source].remove(number)
        held[destination].add(number)
        space[source] -= size[number]
        space[destination] += size[number]
    return np.array(rows, dtype=np.int32).reshape(sets.shape), spent


def _least_moved(problem: Problem, sets: Indices, brokers: Ints, reached: float) -> int:
    """Bytes that any map this level moves: what a broker holds too many or too few of are at least its smallest partitions.

    :param sets: where lost and added replicas have been placed; they may go anywhere at no further cost
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
