"""A plan: the assignment before, the assignment after, and how good it is.

Produced by planners, verified by independent checks, carried out in batches.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from kafka_runbooks.models.placement import BrokerLoad, Measure, PlacementSummary, ReassignmentMap
from kafka_runbooks.placement import snapshots
from kafka_runbooks.placement.arrays import (
    NONE,
    Cluster,
    Flags,
    Indices,
    Ints,
    added,
    distinct_racks,
    leader_counts,
    loads,
    moved_bytes,
)


@dataclass(frozen=True)
class Plan:
    """`after` is P x W broker indices in preference order, padded with NONE; rows that the plan doesn't change equal `before`."""

    kind: str
    cluster: Cluster
    before: Indices
    after: Indices
    targets: Flags
    """B: brokers that may hold replicas after the plan."""
    rack_violations: int
    """Sets in scope that break the rack rule."""
    measure: Measure
    spread_before: float
    spread_after: float
    best_possible_spread: float
    lower_bound_bytes: int
    forced_bytes: int
    best_possible_is_exact: bool = False
    areas: tuple[tuple[Flags, Flags], ...] = ()
    """(P, B) of every map planned: the partitions that may change, and where they may live. Empty: only orders change."""
    replication: int | None = None
    """The replication factor requested."""
    min_racks: int | None = None
    notices: tuple[str, ...] = ()

    @cached_property
    def changed(self) -> Ints:
        """Rows whose replica list differs, even if only in order."""
        return np.nonzero((self.before != self.after).any(axis=1))[0]

    @property
    def racks_left(self) -> int:
        """Racks of the brokers that may hold replicas after the plan, or that every set may have to span."""
        left = len(np.unique(self.cluster.racks[self.targets & self.cluster.is_live]))
        return left if self.min_racks is None else min(left, self.min_racks)

    @cached_property
    def loses_racks(self) -> bool:
        """Whether a set spans fewer racks than before."""
        return len(losing_racks(self.cluster, self.before, self.after)) > 0

    @cached_property
    def moved_bytes(self) -> int:
        """Bytes that must be copied."""
        return moved_bytes(self.before, self.after, self.cluster.size_bytes)

    def reassignment(self, *, whole: bool = False) -> ReassignmentMap:
        """The reassignment JSON: changed partitions, or all of them."""
        return snapshots.to_map(self.cluster, self.after, self._rows(whole))

    def rollback(self) -> ReassignmentMap:
        """The reassignment JSON that undoes the plan. Offline replicas have no broker id to return to and are omitted."""
        return snapshots.to_map(self.cluster, self.before, self._rows(False))

    def _rows(self, whole: bool) -> list[int]:
        return list(range(self.cluster.partition_count)) if whole else self.changed.tolist()

    @cached_property
    def used_bytes(self) -> tuple[Ints, Ints]:
        """B, B: used bytes of every broker before and after."""
        cluster = self.cluster
        held = [loads(sets, cluster.size_bytes, cluster.broker_count) for sets in (self.before, self.after)]
        return cluster.unexplained_bytes + held[0], cluster.unexplained_bytes + held[1]

    def summary(self) -> PlacementSummary:
        """The plan in figures."""
        cluster = self.cluster
        brokers = self._brokers()
        led = [(broker.leaders_before, broker.leaders_after) for broker in brokers if broker.is_target]
        used = self.used_bytes[1]
        known = self.targets & (cluster.capacity_bytes > 0)
        utilisation = used[known] / cluster.capacity_bytes[known]
        return PlacementSummary(
            kind=self.kind,
            moved_bytes=self.moved_bytes,
            lower_bound_bytes=self.lower_bound_bytes,
            forced_bytes=self.forced_bytes,
            levelled=self.measure,
            spread_before=self.spread_before,
            spread_after=self.spread_after,
            best_possible_spread=self.best_possible_spread,
            best_possible_is_exact=self.best_possible_is_exact,
            utilisation_spread=float(utilisation.max() - utilisation.min()) if len(utilisation) else 0.0,
            used_range_bytes=int(used[self.targets].max() - used[self.targets].min()) if self.targets.any() else 0,
            leaders_before=_extremes([before for before, _ in led]),
            leaders_after=_extremes([after for _, after in led]),
            leader_changes=int((self.before[:, 0] != self.after[:, 0]).sum()),
            changed_partitions=len(self.changed),
            moved_replicas=int(added(self.before, self.after).sum()),
            rack_violations=self.rack_violations,
            brokers=brokers,
            notices=self.notices,
        )

    def _brokers(self) -> tuple[BrokerLoad, ...]:
        """Target brokers, and those that hold replicas before the plan."""
        cluster, count = self.cluster, self.cluster.broker_count
        used_before, used_after = self.used_bytes
        one = np.ones(cluster.partition_count, dtype=np.int64)
        led_before, led_after = (leader_counts(sets, count) for sets in (self.before, self.after))
        replicas_before, replicas_after = (loads(sets, one, count) for sets in (self.before, self.after))
        return tuple(
            BrokerLoad(
                id=int(cluster.broker_ids[b]),
                rack=cluster.rack_name(b),
                capacity_bytes=int(cluster.capacity_bytes[b]),
                used_bytes_before=int(used_before[b]),
                used_bytes_after=int(used_after[b]),
                leaders_before=int(led_before[b]),
                leaders_after=int(led_after[b]),
                replicas_before=int(replicas_before[b]),
                replicas_after=int(replicas_after[b]),
                is_target=bool(self.targets[b]),
            )
            for b in np.nonzero(self.targets | (replicas_before > 0))[0].tolist()
        )


def losing_racks(cluster: Cluster, before: Indices, after: Indices) -> Ints:
    """Rows whose set spans fewer racks than before, other than because it has fewer replicas.

    The rack of a broker that is gone isn't known, so it counts for none.
    """
    known = np.array([cluster.rack_name(b) is not None for b in range(cluster.broker_count)], dtype=np.bool_)
    spans = [
        distinct_racks(np.where((sets >= 0) & known[np.maximum(sets, 0)], sets, NONE), cluster.racks) for sets in (before, after)
    ]
    rows: Ints = np.nonzero(spans[1] < np.minimum(spans[0], (after >= 0).sum(axis=1)))[0]
    return rows


def _extremes(values: list[int]) -> tuple[int, int]:
    return (min(values), max(values)) if values else (0, 0)
