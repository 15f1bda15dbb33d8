"""Plan every problem of a folder and report how good each plan is: `uv run python -m benchmarks.placement FOLDER [--json]`.

A problem is a gzipped JSON file: `brokers` (id, rack, capacity, free), `partitions` (topic, partition, replicas, size),
`target_brokers`, `replication` (or null) and `family`: replace, shrink, rf_up and rf_down move what they must and no more;
rebalance, rebalance_hetero and scale_up balance. Maps go to `build/placement/`. `seconds` is planning alone.
"""

import argparse
import gzip
import json
import time
from pathlib import Path
from typing import Any

import numpy as np

from kafka_runbooks.placement import planners, snapshots
from kafka_runbooks.placement.arrays import Cluster
from kafka_runbooks.placement.bounds import load_ranges
from kafka_runbooks.placement.bounds.relaxation import relax
from kafka_runbooks.placement.plan import Plan
from kafka_runbooks.placement.problem import Rules, pose
from kafka_runbooks.placement.solver.retention import keep

OUT = Path("build/placement")
FORCED = {"replace", "shrink", "rf_up", "rf_down"}


def load(path: Path) -> tuple[dict[str, Any], Cluster]:
    """A problem, and its cluster as arrays."""
    with gzip.open(path) as file:
        problem: dict[str, Any] = json.loads(file.read())
    return problem, cluster_of(problem)


def cluster_of(problem: dict[str, Any]) -> Cluster:
    """A problem's cluster as arrays."""
    return snapshots.build(
        brokers=[(b["id"], b["rack"], b["capacity"], b["free"], True) for b in problem["brokers"]],
        names=[(p["topic"], p["partition"]) for p in problem["partitions"]],
        replicas=[p["replicas"] for p in problem["partitions"]],
        sizes=[p["size"] for p in problem["partitions"]],
    )


def plan(problem: dict[str, Any], cluster: Cluster) -> Plan:
    """Plan a problem according to its family.

    The families that only move what they must are measured by used bytes, the others by utilisation.
    """
    family, targets = problem["family"], problem["target_brokers"]
    if family in FORCED:
        options = planners.Options(measure="used bytes")
        return planners.rebuild(cluster, targets, options, replication=problem.get("replication"))
    if family == "scale_up":
        held = {broker for p in problem["partitions"] for broker in p["replicas"]}
        new = [broker for broker in targets if broker not in held]
        if new:
            return planners.scale_up(cluster, new, brokers=targets)
    return planners.rebalance(cluster, brokers=targets)


def run(path: Path, out: Path) -> dict[str, Any]:
    """Plan one problem file, write its map, report."""
    problem, cluster = load(path)
    start = time.perf_counter()
    made = plan(problem, cluster)
    seconds = time.perf_counter() - start
    name = path.name.removesuffix(".json.gz")
    target = out / f"{name}.json"
    target.write_text(made.reassignment().model_dump_json(exclude_none=True) + "\n")
    summary = made.summary()
    return {
        "name": name,
        "seconds": round(seconds, 4),
        "map": str(target),
        "moved_bytes": summary.moved_bytes,
        "lower_bound_bytes": summary.lower_bound_bytes,
        "utilisation_spread": summary.utilisation_spread,
        "best_possible_spread": best_utilisation_spread(made, problem["family"] not in FORCED),
        "rack_violations": summary.rack_violations,
        "used_range_bytes": summary.used_range_bytes,
        "best_possible_range_bytes": summary.best_possible_spread if made.measure == "used bytes" else None,
        "leaders": list(summary.leaders_after),
    }


def best_utilisation_spread(made: Plan, moves: bool) -> float:
    """The utilisation spread that no plan beats; without `moves`, no plan that moves only what it must."""
    if made.measure == "utilisation":
        return made.best_possible_spread
    everything = np.ones(made.cluster.partition_count, dtype=np.bool_)
    replication = (made.after >= 0).sum(axis=1)
    one_factor = int(replication[0]) if len(set(replication.tolist())) == 1 else None
    posed = pose(made.cluster, everything, made.targets, Rules(one_factor))
    return load_ranges.best_spread(relax(posed, keep(posed), moves_allowed=moves))


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    arguments = parser.parse_args()
    OUT.mkdir(parents=True, exist_ok=True)
    paths = sorted(arguments.folder.glob("*.json.gz"))
    if not paths:
        parser.error(f"no *.json.gz in {arguments.folder}")
    for path in paths:
        report = run(path, OUT)
        if arguments.json:
            print(json.dumps(report), flush=True)
            continue
        extra = report["moved_bytes"] / report["lower_bound_bytes"] if report["lower_bound_bytes"] else 1.0
        print(
            f"{report['name']:<32} {report['seconds']:8.3f} s  "
            f"moved {report['moved_bytes'] / 1e9:10.1f} GB ({extra:.4f} x bound)  "
            f"spread {report['utilisation_spread']:.4f} (best {report['best_possible_spread']:.4f})  "
            f"range {report['used_range_bytes'] / 1e9:8.1f} GB  leaders {report['leaders']}  racks {report['rack_violations']}",
            flush=True,
        )


if __name__ == "__main__":
    main()
