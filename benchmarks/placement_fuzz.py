"""Plan odd problems by the hundred and list those that miss: `uv run python -m benchmarks.placement_fuzz [--seed S]`.

Uneven and tiny racks, mixed replication factors, empty partitions, one partition of most of a disk, few partitions, full disks.
Each plan must pass the independent rules; replace, shrink, rf_up and rf_down must move what must
move and no more; rebalance, rebalance_hetero and scale_up must end within half a percent of the best possible spread for at most
1.05 times the lower bound of bytes. Exit code 1 where one misses.
"""

import argparse
import sys
from collections.abc import Iterator

import numpy as np

from benchmarks import placement as benchmark
from benchmarks.placement_generator import FAMILIES, Problem, Shape, generate
from kafka_runbooks.placement import snapshots
from kafka_runbooks.placement.errors import NoAssignment
from kafka_runbooks.placement.solver.balance import default_tolerance
from kafka_runbooks.placement.verify import rules

TIMES_BOUND = 1.05


def shapes(count: int, seed: int) -> Iterator[Shape]:
    """Odd shapes in a fixed order; one in two is odd in several ways."""
    rng = np.random.Generator(np.random.PCG64(seed))
    for number in range(count):
        family = FAMILIES[number % len(FAMILIES)]
        racks = tuple(int(n) for n in rng.integers(1, 9, int(rng.integers(1, 7))))
        while sum(racks) < 5:
            racks = (*racks, 3)
        mixed: tuple[int, ...] = [(1,), (2,), (3,), (1, 2, 3), (2, 3), (1, 2, 3, 4)][int(rng.integers(0, 6))]
        factors = {"rf_up": (2,), "rf_down": (3,)}.get(family, mixed)
        replicas_per_broker = int(rng.choice([20, 60, 200]))
        yield Shape(
            family,
            racks,
            partitions=replicas_per_broker * sum(racks) * len(factors) // sum(factors),
            seed=int(rng.integers(0, 1_000_000)),
            replication=factors,
            partitions_per_topic=int(rng.choice([1, 10, 40])),
            zero_sized=float(rng.choice([0.0, 0.0, 0.3])),
            huge=float(rng.choice([0.0, 0.0, 0.3, 0.7])),
            popularity=float(rng.choice([0.1, 0.35, 0.7])),
            fill=float(rng.choice([0.3, 0.5, 0.8])),
        )


def faults(problem: Problem) -> list[str]:
    """What is wrong with the plan of a problem.

    Raises:
        NoAssignment: there is no plan (disks are full, above all where racks are tiny).
    """
    plan = benchmark.plan(problem, benchmark.cluster_of(problem))
    cluster = plan.cluster
    after = {(t, p): ids for t, p, ids in snapshots.assignments(cluster, plan.after, range(cluster.partition_count))}
    wanted = problem["replication"]
    found = rules.check_assignment(rules.facts(cluster), after, brokers=problem["target_brokers"], replication=wanted)
    figures = plan.summary()
    if figures.rack_violations:
        found.append(f"{figures.rack_violations} rack violations")
    if problem["family"] in benchmark.FORCED:
        if figures.moved_bytes != figures.forced_bytes:
            found.append(f"moves {figures.moved_bytes}, must move {figures.forced_bytes}")
        return found
    best, spread = figures.best_possible_spread, figures.spread_after
    if spread > best + default_tolerance(best):
        found.append(f"spread {spread:.4f}, best {best:.4f}")
    if figures.moved_bytes > TIMES_BOUND * figures.lower_bound_bytes:
        found.append(f"moves {figures.moved_bytes / max(1, figures.lower_bound_bytes):.3f} x bound")
    return found


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=150)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    missed = refused = 0
    for number, shape in enumerate(shapes(arguments.count, arguments.seed)):
        try:
            wrong = faults(generate(shape))
        except NoAssignment as error:
            refused += 1
            print(f"{number}: refused, {error.reasons[0]}", flush=True)
            continue
        if wrong:
            missed += 1
            print(f"{number}: {'; '.join(wrong)}\n    {shape}", flush=True)
    print(f"{missed} of {arguments.count} miss, {refused} have no map")
    sys.exit(1 if missed else 0)


if __name__ == "__main__":
    main()
