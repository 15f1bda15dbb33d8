"""A placement problem: the cluster, which partitions may change, where their replicas may live, and what is to be balanced.

One problem is one map (a topic regex -> brokers): replicas in scope never leave the map's brokers, and a broker that is leaving
is not allowed. Partitions out of scope stay where they are and only count as load on their brokers.

The rack rule (Kafka's rack awareness, KIP-36; topicmappr's `--min-rack-ids`): a replica set spans as many racks as it can, that
is min(replication factor, racks of its map, `min_racks` if given), and evenly (`racks`).

The solver and the bounds both start from it, so it belongs to neither.
"""

from dataclasses import dataclass

import numpy as np

from kafka_runbooks.models.placement import Measure, PlacementReason
from kafka_runbooks.placement.arrays import NONE, Cluster, Flags, Floats, Indices, Ints, loads
from kafka_runbooks.placement.errors import NoAssignment
from kafka_runbooks.placement.racks import RackRules, rack_rules


@dataclass(frozen=True)
class Rules:
    """What every assignment of a problem must respect, and what it balances."""

    replication: int | None = None
    """None: as observed."""
    min_racks: int | None = None
    """Racks a set must span; None: as many as it can."""
    measure: Measure = "utilisation"
    within_racks: bool = False
    """Whether replicas that can stay may only move inside their rack (traffic between zones costs)."""
    smallest_moved_bytes: int = 0
    """Smaller partitions don't move unless they must."""


@dataclass(frozen=True)
class Problem:
    """Arrays by partition (P) and broker (B)."""

    cluster: Cluster
    scope: Flags
    """P: partitions that may change."""
    allowed: Flags
    """B: where their replicas may live: the map's live brokers except those leaving."""
    stays: Flags
    """B: where a replica may stay: the same, and brokers that get nothing new."""
    replication: Ints
    """P: replicas required."""
    rack_rules: RackRules
    pinned: Indices | None
    """P x W: in-sync replicas of sets that aren't complete: they only move if they must. None: there are none."""
    measure: Measure
    weight: Ints
    """P: what one replica adds to its broker, in the measure's unit."""
    base: Ints
    """B: load of a broker besides listed replicas."""
    width: Floats
    """B: what a broker's load is divided by to compare it with others: its capacity for utilisation, else 1."""
    within_racks: bool = False
    smallest_moved_bytes: int = 0

    @property
    def required_racks(self) -> Ints:
        """P: distinct racks that each set must span."""
        return self.rack_rules.required

    @property
    def most_in_rack(self) -> Ints:
        """P: the most replicas of a set that a rack may have, where that must be even; 0 elsewhere."""
        return self.rack_rules.most

    @property
    def is_in_bytes(self) -> bool:
        """Whether load is bytes on disk, so that moving load and copying bytes are the same."""
        return self.measure in ("utilisation", "used bytes")


def pose(cluster: Cluster, scope: Flags, allowed: Flags, rules: Rules | None = None, *, scope_only: bool = False) -> Problem:
    """A problem. Dead brokers are never allowed. Where a capacity is unknown, used bytes are balanced instead of utilisation.

    Args:
        cluster: the observed cluster.
        scope: P, partitions that may change.
        allowed: B, brokers that may hold them.
        rules: what to respect and to balance.
        scope_only: load out of scope doesn't count: the partitions in scope are balanced among themselves.

    Raises:
        NoAssignment: a partition requires more replicas than there are live brokers for it.
    """
    rules = rules or Rules()
    allowed = allowed & cluster.is_live
    stays = allowed
    allowed = allowed & ~cluster.keeps_only
    replication = (cluster.replicas != NONE).sum(axis=1).astype(np.int64)
    if rules.replication is not None:
        replication = np.where(scope, rules.replication, replication)
    in_rack = np.bincount(cluster.racks[allowed], minlength=len(cluster.rack_names)).astype(np.int64)
    _require_enough_brokers(cluster, scope, allowed, replication, stays)
    measure = rules.measure
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
        # Only the leader serves consumers, and any replica may lead: each weighs its share (`leaders.by_bytes_out`).
        weight = cluster.bytes_out // np.maximum(replication, 1)
    else:
        weight = np.ones(cluster.partition_count, dtype=np.int64)
    if scope_only:
        weight, base = np.where(scope, weight, 0), np.zeros_like(base)
    return Problem(
        cluster,
        scope,
        allowed,
        stays,
        replication,
        rack_rules(cluster.racks, in_rack, replication, rules.min_racks),
        _pinned(cluster, scope),
        measure,
        weight,
        base,
        width,
        rules.within_racks,
        rules.smallest_moved_bytes,
    )


def _pinned(cluster: Cluster, scope: Flags) -> Indices | None:
    incomplete = scope & ((cluster.replicas != NONE) & ~cluster.in_sync).any(axis=1)
    if not incomplete.any():
        return None
    pinned: Indices = np.where(incomplete[:, None] & cluster.in_sync, cluster.replicas, NONE)
    return pinned


def _require_enough_brokers(cluster: Cluster, scope: Flags, allowed: Flags, replication: Ints, stays: Flags) -> None:
    held = ((cluster.replicas >= 0) & (stays & ~allowed)[np.maximum(cluster.replicas, 0)]).sum(axis=1)
    replication = replication - held
    available, needed = int(allowed.sum()), int(replication[scope].max(initial=0))
    if needed <= available:
        return
    ids = cluster.broker_ids[allowed].tolist()
    topic, number = cluster.name(int(np.nonzero(scope & (replication == needed))[0][0]))
    reason = PlacementReason(
        constraint="brokers",
        where=f"brokers {ids}" if len(ids) <= 20 else f"{len(ids)} brokers",
        problem=f"{topic}-{number} wants {needed} replicas on distinct live brokers, {available} are there",
        remedy=f"add {needed - available} broker(s) or set the replication factor to {available}",
    )
    raise NoAssignment([reason], np.nonzero(scope & (replication > available))[0].tolist())


def open_slots(problem: Problem, sets: Indices) -> Ints:
    """P: replicas that are still to be placed."""
    missing = problem.replication - (sets != NONE).sum(axis=1)
    slots: Ints = np.where(problem.scope, np.maximum(missing, 0), 0)
    return slots


def levels(problem: Problem, load: Ints) -> Floats:
    """Load over width of the allowed brokers, in order of broker index."""
    return load[problem.allowed] / problem.width[problem.allowed]


def spread_of(problem: Problem, load: Ints) -> float:
    """Highest minus lowest level; what a plan reduces."""
    at = levels(problem, load)
    return float(at.max() - at.min()) if len(at) else 0.0


def observed_load(problem: Problem) -> Ints:
    """B: the load in the problem's measure, as observed."""
    return problem.base + loads(problem.cluster.replicas, problem.weight, problem.cluster.broker_count)
