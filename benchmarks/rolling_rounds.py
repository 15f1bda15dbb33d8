"""Rounds of rolling restarts on paper: `uv run python -m benchmarks.rolling_rounds [--json]`.

A cluster drawn from a seed: 300 brokers in 3 zones and 8 maps, 3 controllers, 200,000 partitions with 3 replicas, one in each
zone, and `min.insync.replicas` 2. All of it restarts, 2 minutes a node, under several limits:

- `planning_seconds`: of the process, from what was seen to the rounds and their bound;
- `rounds` and `lower_bound_rounds`: no order within the same limits has fewer than the bound;
- `makespan_seconds`, beside one node after the other as Strimzi's roller restarts them (`strimzi_seconds`), and beside one zone
  after the other with three brokers at once, as Etsy reports (`etsy_seconds`), the controllers one by one in both;
- `problems`: what the independent checker finds wrong with the rounds.

`random_placement` has its replicas on any three brokers of their map, whatever their zones; `five_replicas` has 5 of them, two
zones with two each, and restarts with no headroom above `min.insync.replicas` 2.
"""

import argparse
import json
import time
from datetime import UTC, datetime
from typing import Any

import numpy as np

from kafka_runbooks.models.cluster import Broker, ClusterSnapshot, MetadataQuorum, Partition, QuorumReplica
from kafka_runbooks.models.restarts import KafkaNode, RestartLimits, RestartObservation
from kafka_runbooks.safety.rounds import RESTART_SECONDS, plan_rounds
from kafka_runbooks.safety.rounds_checker import check_rounds

ZONES, MAPS, CONTROLLERS = ("a", "b", "c"), 8, 3
ETSY_AT_ONCE = 3
PARTITIONS_PER_TOPIC = 20


def made(
    brokers: int, partitions: int, *, replicas: int = 3, by_zone: bool = True, seed: int = 0
) -> tuple[RestartObservation, tuple[KafkaNode, ...]]:
    """A healthy cluster, and its nodes."""
    random = np.random.default_rng(seed)
    nodes = [KafkaNode(id=1000 + i, rack=ZONES[i % len(ZONES)], map=f"map-{i // len(ZONES) % MAPS}") for i in range(brokers)]
    of_zone: dict[tuple[str | None, str | None], list[int]] = {}
    of_map: dict[str | None, list[int]] = {}
    for node in nodes:
        of_zone.setdefault((node.map, node.rack), []).append(node.id)
        of_map.setdefault(node.map, []).append(node.id)
    found = []
    for number in range(partitions):
        name = f"map-{number // PARTITIONS_PER_TOPIC % MAPS}"
        if by_zone:
            zones = random.permutation([ZONES[one % len(ZONES)] for one in range(replicas)])
            chosen: list[int] = []
            for zone in zones:
                left = [one for one in of_zone[name, str(zone)] if one not in chosen]
                chosen.append(left[int(random.integers(len(left)))])
        else:
            chosen = random.choice(of_map[name], replicas, replace=False).tolist()
        topic = f"{name}.topic-{number // PARTITIONS_PER_TOPIC:05d}"
        found.append(Partition(topic, number % PARTITIONS_PER_TOPIC, chosen[0], tuple(chosen), tuple(chosen)))
    now = datetime(2026, 1, 1, tzinfo=UTC)
    voters, observers = range(CONTROLLERS), [node.id for node in nodes]
    quorum = MetadataQuorum(
        leader_id=0,
        leader_epoch=1,
        high_watermark=1,
        voters=tuple(QuorumReplica(id=one, log_end_offset=1, last_caught_up_at=now) for one in voters),
        observers=tuple(QuorumReplica(id=one, log_end_offset=1, last_caught_up_at=now) for one in observers),
    )
    snapshot = ClusterSnapshot(
        cluster_id="paper",
        brokers=tuple(Broker(id=node.id, host="none", port=9092, rack=node.rack) for node in nodes),
        partitions=tuple(found),
        minimum_in_sync={partition.topic: 2 for partition in found},
        answered_by=1000,
    )
    controllers = [KafkaNode(id=one, is_broker=False, is_controller=True, rack=ZONES[one % len(ZONES)]) for one in voters]
    return RestartObservation(snapshot, quorum, (), age_seconds=0.0), (*controllers, *nodes)


def measure(observation: RestartObservation, nodes: tuple[KafkaNode, ...], limits: RestartLimits) -> dict[str, Any]:
    """One plan and what the checker says of it."""
    began = time.process_time()
    plan = plan_rounds(observation, nodes, limits)
    seconds = time.process_time() - began
    brokers = [node for node in nodes if node.is_broker]
    in_zones = [sum(node.rack == zone for node in brokers) for zone in ZONES]
    zone_rounds = sum(-(-count // ETSY_AT_ONCE) for count in in_zones) + len(nodes) - len(brokers)
    return {
        "planning_seconds": round(seconds, 2),
        "rounds": len(plan.rounds),
        "lower_bound_rounds": plan.lower_bound_rounds,
        "makespan_seconds": plan.makespan_seconds,
        "lower_bound_seconds": plan.lower_bound_seconds,
        "strimzi_seconds": len(nodes) * RESTART_SECONDS,
        "etsy_seconds": zone_rounds * RESTART_SECONDS,
        "blocked": len(plan.blocked),
        "problems": len(check_rounds(observation, nodes, limits, plan)),
    }


def benchmark(brokers: int, partitions: int, seed: int) -> dict[str, Any]:
    """Every case."""
    by_zone = made(brokers, partitions, seed=seed)
    cases = {
        "as_many_as_is_safe": (by_zone, RestartLimits(one_rack_at_a_time=False)),
        "one_zone_at_a_time": (by_zone, RestartLimits()),
        "20_at_once": (by_zone, RestartLimits(at_once=20)),
        "2_of_a_map_at_once": (by_zone, RestartLimits(at_once_per_map=2)),
        "random_placement": (made(brokers, partitions, by_zone=False, seed=seed), RestartLimits(one_rack_at_a_time=False)),
        "five_replicas": (
            made(brokers, partitions, replicas=5, seed=seed),
            RestartLimits(one_rack_at_a_time=False, headroom=0),
        ),
    }
    return {name: measure(observation, nodes, limits) for name, ((observation, nodes), limits) in cases.items()}


def main() -> None:
    parser = argparse.ArgumentParser(prog="benchmarks.rolling_rounds", description="Rounds of rolling restarts on paper.")
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout")
    parser.add_argument("--brokers", type=int, default=300)
    parser.add_argument("--partitions", type=int, default=200_000)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    found = benchmark(asked.brokers, asked.partitions, asked.seed)
    if asked.json:
        print(json.dumps(found))
        return
    for name, one in found.items():
        print(
            f"{name:20} {one['rounds']:4} rounds (bound {one['lower_bound_rounds']}), {one['makespan_seconds'] / 3600:.2f} h; "
            f"one by one {one['strimzi_seconds'] / 3600:.1f} h, by zone {one['etsy_seconds'] / 3600:.1f} h; "
            f"planned in {one['planning_seconds']} s, {one['problems']} problems"
        )


if __name__ == "__main__":
    main()
