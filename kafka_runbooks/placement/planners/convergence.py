"""Plan until there is nothing left to do: a second run right after the first one finds nothing.

A heuristic that stops short of its goal would find more moves if it were asked again. So it is asked at once, on the cluster as
the plan leaves it, until it changes nothing; what is planned is the way from the start to that end. Each round drops the moves
that it doesn't need, but not those of earlier rounds: seen only where a few heavy replicas fit into no narrow window.
"""

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from kafka_runbooks.placement.arrays import NONE, Cluster, Flags, Indices, added, widen
from kafka_runbooks.placement.plan import Plan

ROUNDS = 6
MOST_LEADERS = 2
"""Preferred leaders, of partitions that stay where they are."""


def converge(plan: Callable[[Cluster], Plan], cluster: Cluster, first: Plan) -> Plan:
    """The plan whose end the planner leaves as it is.

    Args:
        plan: the planner.
        cluster: the observed cluster.
        first: its plan for that.
    """
    made = first
    for _ in range(ROUNDS):
        if not len(made.changed):
            return made
        again = plan(_still_catching_up(cluster, settled(cluster, made.after)))
        if not len(again.changed):
            return made
        made = _joined(made, again)
    return made


def _still_catching_up(before: Cluster, after: Cluster) -> Cluster:
    """The cluster afterwards, where sets that weren't complete aren't yet: their in-sync replicas must not move too."""
    incomplete = ((before.replicas != NONE) & ~before.in_sync).any(axis=1)
    return replace(after, in_sync=after.in_sync & ~(incomplete[:, None] & added(before.replicas, after.replicas)))


def settled(cluster: Cluster, after: Indices) -> Cluster:
    """The cluster once a plan is carried out: new replicas are in sync."""
    return replace(cluster, replicas=after, in_sync=may_lead(cluster, after), leader=None, adding=None, removing=None)


def may_lead(cluster: Cluster, after: Indices) -> Flags:
    """P x W: replicas that are in sync, or will be since they are newly copied."""
    stale = np.zeros(after.shape, dtype=np.bool_)
    for slot in range(cluster.replicas.shape[1]):
        out_of_sync = ~cluster.in_sync[:, slot] & (cluster.replicas[:, slot] >= 0)
        stale |= (after == cluster.replicas[:, slot, None]) & out_of_sync[:, None]
    fine: Flags = (after >= 0) & ~stale
    return fine


def _joined(first: Plan, then: Plan) -> Plan:
    width = max(first.before.shape[1], then.after.shape[1])
    joined = replace(
        first,
        before=widen(first.before, width),
        after=widen(then.after, width),
        spread_after=then.spread_after,
        best_possible_spread=min(first.best_possible_spread, then.spread_after),
        rack_violations=then.rack_violations,
        # What had no valid set at first may have got one.
        areas=(*first.areas, *then.areas),
    )
    return replace(
        joined,
        lower_bound_bytes=min(first.lower_bound_bytes, joined.moved_bytes),
        best_possible_is_exact=joined.spread_after <= joined.best_possible_spread + 1e-9,
    )


def only_a_leader_or_two(before: Indices, after: Indices, range_before: int, range_after: int) -> bool:
    """Whether nothing changes but one or two preferred leaders, which were about even before: that is not worth a plan."""
    if not np.array_equal(np.sort(before, axis=1), np.sort(after, axis=1)):
        return False
    changed = (before != after).any(axis=1)
    return 0 < int(changed.sum()) <= MOST_LEADERS and range_before <= range_after + MOST_LEADERS
