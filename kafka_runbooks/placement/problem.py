"""A placement problem: the cluster, which partitions may change, where their replicas may live, and what is to be level.

One problem is one map (a topic regex -> brokers): replicas in scope never leave the map's brokers, and a broker that is leaving
is not allowed. Partitions out of scope stay where they are and only weigh on their brokers.

The rack rule (Kafka's rack awareness, KIP-36; topicmappr's `--min-rack-ids`): a replica set spans as many racks as it can, that
is min(replication factor, racks of its map, `min_racks` if given).
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from kafka_runbooks.models.placement import PlacementReason
from kafka_runbooks.placement.arrays import NONE, Cluster, Flags, Floats, Ints, loads
from kafka_runbooks.placement.errors import NoAssignment

Measure = Literal["utilisation", "used bytes", "replica count", "bytes in", "bytes out"]


@dataclass(frozen=True)
class Problem:
    """Arrays by partition (P) and broker (B)."""

    cluster: Cluster
    scope: Flags
    """P: partitions that may change."""
    allowed: Flags
    """B: where their replicas may live: the map's live brokers, leaving ones left out."""
    replication: Ints
    """P: replicas wanted."""
    spread: Ints
    """P: distinct racks wanted."""
    measure: Measure
    weight: Ints
    """P: what one replica adds to its broker, in the measure's unit."""
    base: Ints
    """B: what weighs on a broker besides listed replicas."""
    width: Floats
    """B: what a broker's load is divided by to be level: its capacity for utilisation, else 1."""
    within_racks: bool = False
    """Whether replicas that can stay may only move inside their rack (traffic between zones costs)."""
    smallest_moved_bytes: int = 0
    """Partitions smaller than this don't move unless they must."""


def make(
    cluster: Cluster,
    scope: Flags,
    allowed: Flags,
    *,
    replication: int | None = None,
    min_racks: int | None = None,
    measure: Measure = "utilisation",
    within_racks: bool = False,
    smallest_moved_bytes: int = 0,
    scope_only: bool = False,
) -> Problem:
    """A problem; dead brokers are never allowed. Unknown capacities: bytes are levelled instead of utilisation.

    :param scope_only: what is out of scope doesn't weigh: the partitions in scope are level among themselves
    :raises NoAssignment: a partition wants more replicas than there are live brokers for it
    """
    allowed = allowed & cluster.is_live
    wanted = (cluster.replicas != NONE).sum(axis=1).astype(np.int64)
    if replication is not None:
        wanted = np.where(scope, replication, wanted)
    spread = np.minimum(wanted, len(np.unique(cluster.racks[allowed])))
    if min_racks:
        spread = np.minimum(spread, min_racks)
    _enough_brokers(cluster, scope, allowed, wanted)
    if measure == "utilisation" and (cluster.capacity_bytes[allowed] == 0).any():
        measure = "used bytes"
    width = np.ones(cluster.broker_count)
    base = np.zeros(cluster.broker_count, dtype=np.int64)
    if measure == "utilisation":
        width = np.maximum(cluster.capacity_bytes, 1).astype(np.float64)
    if measure in ("utilisation", "used bytes"):
        weight, base = cluster.size_bytes, cluster.unexplained_bytes
    elif measure == "bytes in" and cluster.bytes_in is not None:
        weight = cluster.bytes_in
    elif measure == "bytes out" and cluster.bytes_out is not None:
        # Only the leader serves consumers, and any of the set may lead: each replica weighs its share (`consuming`).
        weight = cluster.bytes_out // np.maximum(wanted, 1)
    else:
        weight = np.ones(cluster.partition_count, dtype=np.int64)
    if scope_only:
        weight, base = np.where(scope, weight, 0), np.zeros_like(base)
    return Problem(cluster, scope, allowed, wanted, spread, measure, weight, base, width, within_racks, smallest_moved_bytes)


def _enough_brokers(cluster: Cluster, scope: Flags, allowed: Flags, wanted: Ints) -> None:
    there, need = int(allowed.sum()), int(wanted[scope].max(initial=0))
    if need <= there:
        return
    ids = cluster.broker_ids[allowed].tolist()
    topic, number = cluster.name(int(np.nonzero(scope & (wanted == need))[0][0]))
    raise NoAssignment(
        [
            PlacementReason(
                constraint="brokers",
                where=f"brokers {ids}" if len(ids) <= 20 else f"{len(ids)} brokers",
                problem=f"{topic}-{number} wants {need} replicas on distinct live brokers, {there} are there",
                remedy=f"add {need - there} broker(s) or set the replication factor to {there}",
            )
        ]
    )


def levels(problem: Problem, load: Ints) -> Floats:
    """Load over width of the allowed brokers, in order of broker index."""
    return load[problem.allowed] / problem.width[problem.allowed]


def observed_load(problem: Problem) -> Ints:
    """B: the load in the problem's measure, as observed."""
    return problem.base + loads(problem.cluster.replicas, problem.weight, problem.cluster.broker_count)
