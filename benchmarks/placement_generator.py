"""Placement problems to order: any number of brokers, racks and partitions, any seed, and the oddities that real clusters have.

Some brokers are far more popular than others, sizes are log-normal per topic and partition, and disks are half full: the
picture that years of creating topics at random and replacing brokers leave behind.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

Problem = dict[str, Any]
FAMILIES = ("replace", "shrink", "rf_up", "rf_down", "rebalance", "rebalance_hetero", "scale_up")


@dataclass(frozen=True)
class Shape:
    """What a problem looks like. `racks` are brokers per rack."""

    family: str
    racks: Sequence[int]
    partitions: int
    seed: int = 0
    replication: Sequence[int] = (3,)
    """Replication factors, dealt out at random to topics."""
    partitions_per_topic: int = 40
    zero_sized: float = 0.0
    """Share of partitions without any bytes."""
    huge: float = 0.0
    """Size of one partition as a share of a broker's capacity."""
    offline: float = 0.0
    """Share of replicas whose broker is unknown (-1)."""
    popularity: float = 0.35
    """Sigma of the log-normal popularity of brokers."""
    fill: float = 0.5


def arrays(shape: Shape) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any], np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """(rack of each broker, topic of each partition, replica matrix padded with -2, sizes), brokers as indices; -1 is offline."""
    rng = np.random.Generator(np.random.PCG64(shape.seed))
    # Racks are dealt out in turn, as node groups spread over zones number their brokers.
    order = sorted((i, rack) for rack, count in enumerate(shape.racks) for i in range(count))
    rack = np.array([r for _, r in order])
    brokers, count, racks = len(rack), shape.partitions, len(shape.racks)
    popularity = np.exp(rng.normal(0, shape.popularity, brokers))
    topic = np.arange(count) // shape.partitions_per_topic
    per_topic = np.exp(rng.normal(0, 0.6, int(topic[-1]) + 1))
    size = np.rint(np.exp(rng.normal(22.2, 0.8, count)) * per_topic[topic]).astype(np.int64)
    size[rng.random(count) < shape.zero_sized] = 0
    factor = np.array(shape.replication)[rng.integers(0, len(shape.replication), int(topic[-1]) + 1)][topic]
    width = int(factor.max())
    sets = np.full((count, width), -2, dtype=np.int64)
    rack_order = np.argsort(rng.random((count, racks)), axis=1)
    for slot in range(width):
        wanted = rack_order[:, slot % racks]
        for r in range(racks):
            rows = np.nonzero((wanted == r) & (factor > slot))[0]
            home = np.nonzero(rack == r)[0]
            chance = popularity[home] / popularity[home].sum()
            for _ in range(200):
                if not len(rows):
                    break
                sets[rows, slot] = rng.choice(home, len(rows), p=chance)
                rows = rows[(sets[rows, :slot] == sets[rows, slot, None]).any(axis=1)] if slot else rows[:0]
            sets[rows, slot] = -2
    if shape.offline:
        sets[(rng.random(sets.shape) < shape.offline) & (sets >= 0)] = -1
    return rack, topic, sets, size


def generate(shape: Shape) -> Problem:
    """A problem in the format that `benchmarks.placement` reads."""
    rng = np.random.Generator(np.random.PCG64(shape.seed + 1_000_003))
    rack, topic, sets, size = arrays(shape)
    brokers = len(rack)
    used = np.zeros(brokers, dtype=np.int64)
    for slot in range(sets.shape[1]):
        held = sets[:, slot] >= 0
        np.add.at(used, sets[held, slot], size[held])
    final_factor = {"rf_up": 3, "rf_down": 2}.get(shape.family)
    average = int((size * (final_factor or (sets != -2).sum(axis=1))).sum()) // brokers
    capacity = np.full(brokers, int(average / shape.fill), dtype=np.int64)
    if shape.family == "rebalance_hetero":
        capacity *= rng.integers(1, 3, brokers)
    if shape.huge:
        size[0], old = int(shape.huge * capacity.min()), size[0]
        used[sets[0][sets[0] >= 0]] += size[0] - old
    capacity = np.maximum(capacity, (used * 1.06).astype(np.int64))
    ids = [1001 + b for b in range(brokers)]
    table = [
        {"id": ids[b], "rack": "abcdefghijklmnop"[rack[b]], "capacity": int(capacity[b]), "free": int(capacity[b] - used[b])}
        for b in range(brokers)
    ]
    targets = list(ids)
    lost = int(rng.integers(0, brokers))
    if shape.family in ("replace", "shrink"):
        targets.remove(ids[lost])
    fresh = [int(rack[lost])] if shape.family == "replace" else []
    if shape.family == "scale_up":
        fresh = [i % len(shape.racks) for i in range(max(1, brokers // 5))]
    for r in fresh:
        identity = 1001 + len(table)
        room = int(np.median(capacity))
        table.append({"id": identity, "rack": "abcdefghijklmnop"[r], "capacity": room, "free": room})
        targets.append(identity)
    return {
        "name": f"{shape.family}-{brokers}x{shape.partitions}-{shape.seed}",
        "family": shape.family,
        "brokers": table,
        "target_brokers": targets,
        "replication": final_factor,
        "partitions": [
            {
                "topic": f"t{topic[p]:05d}",
                "partition": int(p % shape.partitions_per_topic),
                "replicas": [ids[b] if b >= 0 else -1 for b in sets[p].tolist() if b != -2],
                "size": int(size[p]),
            }
            for p in range(shape.partitions)
        ],
    }
