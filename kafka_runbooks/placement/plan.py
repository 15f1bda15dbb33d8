"""A plan: the map before, the map after, and how good it is. Made by planners, judged by the checker, carried out in steps."""

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from kafka_runbooks.models.placement import BrokerLoad, PlacementSummary, ReassignmentMap
from kafka_runbooks.placement import snapshots
from kafka_runbooks.placement.arrays import (
    NONE,
    Cluster,
    Flags,
    Indices,
    Ints,
    added,
    distinct_racks,
    loads,
    moved_bytes,
    sum_by,
)
from kafka_runbooks.placement.leaders import by_count as leaders
from kafka_runbooks.placement.problem import Measure


@dataclass(frozen=True)
class Plan:
    """`after` is P x W broker indices in preference order, padded with NONE; rows that the plan doesn't touch equal `before`."""

    kind: str
    cluster: Cluster
    before: Indices
    after: Indices
    targets: Flags
    """B: brokers that may hold replicas after the plan."""
    spread_wanted: Ints
    """P: distinct racks that each set must span; 0 where the plan has no say."""
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
    """The replication factor asked for."""
    min_racks: int | None = None
    notices: tuple[str, ...] = field(default=())

    @cached_property
    def changed(self) -> Ints:
        """Rows whose replica list differs, be it in order only."""
        return np.nonzero((self.before != self.after).any(axis=1))[0]

    @cached_property
    def moved_bytes(self) -> int:
        """Bytes that must be copied."""
        return moved_bytes(self.before, self.after, self.cluster.size_bytes)

    def reassignment(self, *, whole: bool = False) -> ReassignmentMap:
        """The reassignment JSON: changed partitions, or all of them."""
        return snapshots.to_map(self.cluster, self.after, self._rows(whole))

    def rollback(self) -> ReassignmentMap:
        """The reassignment JSON that undoes it. Offline replicas have no id to go back to and are left out."""
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
        cluster, count = self.cluster, self.cluster.broker_count
        used_before, used_after = self.used_bytes
        led_before, led_after = leaders.counts(self.before, count), leaders.counts(self.after, count)
        replicas = [
            sum_by(sets[sets >= 0], np.ones(int((sets >= 0).sum()), dtype=np.int64), count) for sets in (self.before, self.after)
        ]
        known = self.targets & (cluster.capacity_bytes > 0)
        utilisation = used_after[known] / cluster.capacity_bytes[known]
        racks = distinct_racks(self.after, cluster.racks)
        used = used_after[self.targets]
        shown = np.nonzero(self.targets | (replicas[0] > 0))[0]
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
            used_range_bytes=int(used.max() - used.min()) if len(used) else 0,
            leaders_before=_extremes(led_before[self.targets]),
            leaders_after=_extremes(led_after[self.targets]),
            leader_changes=int((self.before[:, 0] != self.after[:, 0]).sum()),
            changed_partitions=len(self.changed),
            moved_replicas=int(added(self.before, self.after).sum()),
            rack_violations=int((racks < self.spread_wanted).sum()),
            brokers=tuple(
                BrokerLoad(
                    id=int(cluster.broker_ids[b]),
                    rack=_rack_name(cluster, b),
                    capacity_bytes=int(cluster.capacity_bytes[b]),
                    used_bytes_before=int(used_before[b]),
                    used_bytes_after=int(used_after[b]),
                    leaders_before=int(led_before[b]),
                    leaders_after=int(led_after[b]),
                    replicas_before=int(replicas[0][b]),
                    replicas_after=int(replicas[1][b]),
                    is_target=bool(self.targets[b]),
                )
                for b in shown.tolist()
            ),
            notices=self.notices,
        )


def _rack_name(cluster: Cluster, broker: int) -> str | None:
    name = cluster.rack_names[cluster.racks[broker]]
    return None if name == f"(broker {int(cluster.broker_ids[broker])})" else name


def _extremes(values: Ints) -> tuple[int, int]:
    return (int(values.min()), int(values.max())) if len(values) else (0, 0)


def settle(before: Indices, sets: Indices, in_place: Flags | None = None) -> Indices:
    """Replica lists in preference order: those that stay, in their order, then the new ones.

    A broker that has just got its copy is empty of everything else, and no leader by preference; the longest-standing replica is.
    Rows flagged `in_place` keep their slots (substitution: the new broker takes over exactly its predecessor's part).
    """
    fresh = added(before, sets)
    rank = np.where(sets == NONE, 2, np.where(fresh, 1, 0))
    if in_place is not None:
        rank[in_place] = np.where(sets[in_place] == NONE, 2, 0)
    order = np.argsort(rank, axis=1, kind="stable")
    return np.take_along_axis(sets, order, axis=1)
