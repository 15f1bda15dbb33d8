"""How planning time and memory grow: `uv run python -m benchmarks.placement_scale [--plot FILE] [--up-to REPLICAS]`.

Each size is generated as arrays (no JSON in between) and rebalanced; time is planning alone, memory the process's peak. The
last sizes are 1,000 brokers with 200,000 partitions of three replicas, and the 215 brokers with 2.8 million replicas on which
Cruise Control's fast mode took 18.2 minutes (linkedin/cruise-control#1592).
"""

import argparse
import json
import resource
import time
from pathlib import Path

import numpy as np

from benchmarks.placement_generator import Shape, arrays
from kafka_runbooks.placement import planners
from kafka_runbooks.placement.arrays import Cluster, loads

SIZES = (
    (30, 3_000),
    (100, 10_000),
    (215, 50_000),
    (215, 100_000),
    (1_000, 200_000),
    (215, 200_000),
    (215, 400_000),
    (215, 933_334),
)


def cluster(brokers: int, partitions: int) -> Cluster:
    """A cluster of three racks, replication 3, half full."""
    racks = [brokers // 3 + (i < brokers % 3) for i in range(3)]
    rack, topic, sets, size = arrays(Shape("rebalance", racks, partitions, seed=7, partitions_per_topic=260))
    replicas = sets.astype(np.int32)
    held = loads(replicas, size, brokers)
    capacity = np.full(brokers, int(held.sum()) * 2 // brokers, dtype=np.int64)
    capacity = np.maximum(capacity, (held * 1.06).astype(np.int64))
    return Cluster(
        broker_ids=1001 + np.arange(brokers, dtype=np.int64),
        racks=rack.astype(np.int32),
        rack_names=("a", "b", "c"),
        capacity_bytes=capacity,
        unexplained_bytes=np.zeros(brokers, dtype=np.int64),
        is_live=np.ones(brokers, dtype=np.bool_),
        topics=tuple(f"t{i:05d}" for i in range(int(topic[-1]) + 1)),
        topic=topic.astype(np.int32),
        partition=(np.arange(partitions) % 260).astype(np.int64),
        replicas=replicas,
        size_bytes=size,
        in_sync=np.ones(replicas.shape, dtype=np.bool_),
    )


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--plot", type=Path)
    parser.add_argument("--up-to", type=int, default=10**9, help="largest number of replicas")
    arguments = parser.parse_args()
    points = []
    for brokers, partitions in SIZES:
        if 3 * partitions > arguments.up_to:
            continue
        observed = cluster(brokers, partitions)
        start = time.perf_counter()
        plan = planners.rebalance(observed)
        seconds = time.perf_counter() - start
        point = {
            "brokers": brokers,
            "replicas": 3 * partitions,
            "seconds": round(seconds, 2),
            "peak_memory_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
            "moved_replicas": int((plan.before != plan.after).sum()),
            "over_best_spread": round(plan.spread_after - plan.best_possible_spread, 5),
            "times_lower_bound": round(plan.moved_bytes / max(1, plan.lower_bound_bytes), 4),
        }
        points.append(point)
        print(json.dumps(point), flush=True)
    if arguments.plot:
        plot(points, arguments.plot)


def plot(points: list[dict[str, float]], path: Path) -> None:
    """Seconds over replicas, both logarithmic, with a line of slope 1."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4.5), layout="constrained")
    axes = figure.subplots()
    ordered = sorted(points, key=lambda point: point["replicas"])
    replicas = [point["replicas"] for point in ordered]
    axes.loglog(replicas, [point["seconds"] for point in ordered], "o-", label="rebalance, one core")
    axes.loglog(replicas, [ordered[-1]["seconds"] * count / replicas[-1] for count in replicas], ":", label="linear")
    for point in ordered:
        axes.annotate(
            f"{point['brokers']:.0f} brokers",
            (point["replicas"], point["seconds"]),
            fontsize=7,
            xytext=(4, -9),
            textcoords="offset points",
        )
    axes.set_xlabel("replicas")
    axes.set_ylabel("planning time (s)")
    axes.legend()
    axes.grid(True, which="both", alpha=0.3)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)


if __name__ == "__main__":
    main()
