"""Partitions that a plan leaves exactly as they are, and what it says about them.

- One without a live in-sync replica: its data is on a broker that is away, or nowhere. Any other set would be one of copies that
  lack records, so no planner touches it, whatever else is asked for.
- One with a replica that still catches up on a live broker, where a plan balances: what it will weigh there isn't seen yet, and
  the copies that are complete are needed as they are.
- One that has no valid set (too few live brokers, no space) and that nobody asked to move: it is no reason to refuse the rest.
"""

from collections.abc import Sequence

import numpy as np

from kafka_runbooks.placement.arrays import Cluster, Flags, Ints, holds_any
from kafka_runbooks.placement.planners.options import Request

SHOWN = 5


def without_in_sync(cluster: Cluster) -> Flags:
    """P: partitions without a live in-sync replica."""
    return np.asarray(~cluster.in_sync.any(axis=1))


def catching_up(cluster: Cluster) -> Flags:
    """P: partitions with a replica on a live broker that isn't in sync."""
    held = cluster.replicas >= 0
    lagging = held & cluster.is_live[np.maximum(cluster.replicas, 0)] & ~cluster.in_sync
    return np.asarray(lagging.any(axis=1))


def asked_to_move(request: Request) -> Flags:
    """P: partitions that this request must change: their replicas are where they may not be, or must be more or fewer."""
    cluster = request.cluster
    if request.replication is not None:
        return np.ones(cluster.partition_count, dtype=np.bool_)
    leaving = cluster.is_live & ~request.allowed if request.leaving is None else request.leaving
    return holds_any(cluster.replicas, leaving)


def notices(request: Request, scope: Flags) -> list[str]:
    """What to say about the partitions in scope that are left alone for their replicas' state."""
    cluster = request.cluster
    lost = scope & without_in_sync(cluster)
    found = []
    if lost.any():
        found.append(
            f"{named(cluster, np.nonzero(lost)[0])} without a live in-sync replica, left as they are: any other set would lose "
            "data. Bring back a broker that has an in-sync replica"
        )
    lagging = scope & catching_up(cluster) & ~lost
    if request.levels and lagging.any():
        where = np.unique(cluster.replicas[lagging][~cluster.in_sync[lagging] & (cluster.replicas[lagging] >= 0)])
        brokers = [int(cluster.broker_ids[b]) for b in where if cluster.is_live[b]]
        found.append(
            f"{named(cluster, np.nonzero(lagging)[0])} with replicas that are not in sync yet (on brokers {brokers}), left as "
            "they are: plan again once they are in sync"
        )
    return found


def named(cluster: Cluster, rows: "Ints | Sequence[int]") -> str:
    """`3 partitions (t-0, t-1, t-2)`."""
    names = ", ".join("{}-{}".format(*cluster.name(int(row))) for row in rows[:SHOWN])
    return f"{len(rows)} partitions ({names}{', …' if len(rows) > SHOWN else ''})"
