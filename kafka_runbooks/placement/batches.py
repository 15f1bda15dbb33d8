"""Split a plan into batches that are small, valid on their own, and each have an inverse.

A pure function of the observed and the wanted assignment, like patroni's quorum resolver: after any interruption, even in the
middle of a batch, observe again, split again towards the same assignment, and end in the same place. Nothing is remembered
between batches.

Invariants of each batch, checked independently by `verify`: every partition in it goes from its observed set straight to its
final one, so sets keep distinct brokers and their replication factor throughout; and every disk can hold both copies of what
arrives (KIP-455 removes the old replicas only once the new ones are in sync).
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from kafka_runbooks.models.placement import PlacementReason, ReassignmentMap
from kafka_runbooks.placement import snapshots
from kafka_runbooks.placement.arrays import NONE, Cluster, Indices, Ints, added, loads, moved_bytes, widen
from kafka_runbooks.placement.disks import below, or_raise
from kafka_runbooks.placement.errors import NoAssignment


@dataclass(frozen=True)
class Limits:
    """Limits of one batch. None: no limit. A single partition beyond a limit makes a batch of its own."""

    bytes_per_broker: int | None = None
    """Bytes copied to a broker, and bytes of replicas that leave it."""
    moves_per_broker: int | None = None
    """Replicas arriving at or leaving a broker."""
    brokers_at_a_time: int | None = None
    """Brokers that lose replicas in one batch, highest id first (topicmappr's `--chunk-step-size`)."""


@dataclass(frozen=True)
class Batch:
    """Rows of the cluster, with their replicas before and after this batch."""

    cluster: Cluster
    rows: Ints
    before: Indices
    after: Indices

    @property
    def copied_bytes(self) -> int:
        """Bytes that this batch copies."""
        return moved_bytes(self.before, self.after, self.cluster.size_bytes[self.rows])

    def reassignment(self) -> ReassignmentMap:
        """The reassignment JSON for Kafka."""
        return self._map(self.after)

    def inverse(self) -> ReassignmentMap:
        """The reassignment JSON that undoes it. An offline replica without a broker id has nowhere to return to."""
        return self._map(self.before)

    def _map(self, sets: Indices) -> ReassignmentMap:
        whole = np.full((self.cluster.partition_count, sets.shape[1]), NONE, dtype=np.int32)
        whole[self.rows] = sets
        return snapshots.to_map(self.cluster, whole, self.rows.tolist())


def cut(
    cluster: Cluster, before: Indices, after: Indices, limits: Limits | None = None, *, urgency: Ints | None = None
) -> list[Batch]:
    """Batches from the observed to the wanted assignment; rows that are alike in both are in none.

    Sets that only shrink come first (they free space), then copies: the most urgent, repairs of offline replicas before others,
    and large ones before small. Sets of which only the order changes are last.

    Args:
        urgency: of each row, the lower the more urgent; None: all are alike.

    Raises:
        NoAssignment: what remains fits on no broker's disk while both copies exist.
    """
    limits = limits or Limits()
    width = max(before.shape[1], after.shape[1])
    before, after = widen(before, width), widen(after, width)
    changed = np.nonzero((before != after).any(axis=1))[0]
    arriving = np.array(
        [len(set(after[r].tolist()) - set(before[r].tolist()) - {NONE}) for r in changed.tolist()], dtype=np.int64
    )
    leaving = np.array([len(set(before[r].tolist()) - set(after[r].tolist()) - {NONE}) for r in changed.tolist()], dtype=np.int64)
    batches = []
    now = before.copy()

    def add(rows: Ints) -> None:
        if len(rows):
            batches.append(Batch(cluster, rows, now[rows].copy(), after[rows].copy()))
            now[rows] = after[rows]

    add(changed[(arriving == 0) & (leaving > 0)])
    copying = changed[arriving > 0]
    offline = (before[copying] < NONE).any(axis=1)
    rank = np.zeros(len(copying), dtype=np.int64) if urgency is None else urgency[copying]
    copying = copying[np.lexsort((copying, -cluster.size_bytes[copying], ~offline, rank))]
    for group in _groups(cluster, before, after, copying, limits.brokers_at_a_time):
        remaining = group
        while len(remaining):
            chosen = _fitting(cluster, now, after, remaining, limits)
            if not len(chosen):
                raise NoAssignment([_stuck(cluster, now, after, remaining)])
            remaining = remaining[~np.isin(remaining, chosen)]
            add(np.sort(chosen))
    add(changed[(arriving == 0) & (leaving == 0)])
    return batches


def phases(cluster: Cluster, before: Indices, after: Indices) -> list[Batch]:
    """Leader first: phase 0 copies with the old preferred leader still in front, phase 1 is the final assignment.

    While copies run, the preferred leader is a broker that has the data (topicmappr's `--phased-reassignment`). Phase 0 may hold
    one replica more than wanted. Where no leader leaves its set there is a single phase.

    Raises:
        NoAssignment: a broker's disk doesn't hold everything that a phase copies to it, for all of it is copied at once.
    """
    width = max(before.shape[1], after.shape[1]) + 1
    before, after = widen(before, width), widen(after, width)
    first = before[:, 0]
    lives = (first >= 0) & cluster.is_live[np.maximum(first, 0)]
    gone = lives & ~(after == first[:, None]).any(axis=1)
    between = after.copy()
    between[gone, 1:] = after[gone, :-1]
    between[gone, 0] = first[gone]
    batches = []
    for old, new in ((before, between), (between, after)):
        rows = np.nonzero((old != new).any(axis=1))[0]
        _require_room_for_all(cluster, old, new)
        if len(rows):
            batches.append(Batch(cluster, rows, old[rows], new[rows]))
    return batches


def _require_room_for_all(cluster: Cluster, old: Indices, new: Indices) -> None:
    used = cluster.unexplained_bytes + loads(old, cluster.size_bytes, cluster.broker_count)
    arriving = loads(np.where(added(old, new), new, NONE), cluster.size_bytes, cluster.broker_count)
    short = np.where(arriving > 0, used + arriving - cluster.limit_bytes, 0)
    broker = int(short.argmax()) if len(short) else 0
    if len(short) and short[broker] > 0:
        raise NoAssignment(
            [
                PlacementReason(
                    constraint="capacity",
                    where=f"broker {int(cluster.broker_ids[broker])}",
                    problem=f"{int(arriving[broker])} bytes are copied to it at once, {int(short[broker])} more than fit"
                    f"{below(cluster)} before others have left",
                    remedy="split into steps instead of phases" + or_raise(cluster, broker, int(used[broker] + arriving[broker])),
                )
            ]
        )


def _groups(cluster: Cluster, before: Indices, after: Indices, rows: Ints, size: int | None) -> Iterator[Ints]:
    """Rows in groups that take replicas off `size` brokers at a time; every row belongs to the first group that touches it."""
    if size is None:
        yield rows
        return
    losing: dict[int, set[int]] = {}
    for row in rows.tolist():
        for broker in set(before[row].tolist()) - set(after[row].tolist()) - {NONE}:
            losing.setdefault(broker, set()).add(row)
    order = sorted((b for b in losing if b >= 0), key=lambda b: -int(cluster.broker_ids[b]))
    done: set[int] = set()
    for start in range(0, len(order), size):
        touched = set().union(*(losing[b] for b in order[start : start + size])) - done
        done |= touched
        yield np.array([row for row in rows.tolist() if row in touched], dtype=np.int64)
    yield np.array([row for row in rows.tolist() if row not in done], dtype=np.int64)


def _fitting(cluster: Cluster, now: Indices, after: Indices, rows: Ints, limits: Limits) -> Ints:
    """Rows, in their order, that fit into one batch."""
    used = (cluster.unexplained_bytes + loads(now, cluster.size_bytes, cluster.broker_count)).tolist()
    limit = cluster.limit_bytes.tolist()
    most_bytes, most_moves = limits.bytes_per_broker, limits.moves_per_broker
    arrived = [0] * cluster.broker_count
    left = [0] * cluster.broker_count
    moves = [0] * cluster.broker_count
    chosen = []
    for row, old_row, new_row in zip(rows.tolist(), now[rows].tolist(), after[rows].tolist(), strict=True):
        size = int(cluster.size_bytes[row])
        new = [b for b in new_row if b >= 0 and b not in old_row]
        old = [b for b in old_row if b >= 0 and b not in new_row]
        if any(used[b] + arrived[b] + size > limit[b] for b in new):
            continue
        alone = not any(moves[b] for b in (*new, *old))
        if most_bytes is not None and not alone:
            too_much = any(arrived[b] + size > most_bytes for b in new) or any(left[b] + size > most_bytes for b in old)
            if too_much:
                continue
        if most_moves is not None and any(moves[b] >= most_moves for b in (*new, *old)):
            continue
        for broker in new:
            arrived[broker] += size
            moves[broker] += 1
        for broker in old:
            left[broker] += size
            moves[broker] += 1
        chosen.append(row)
    return np.array(chosen, dtype=np.int64)


def _stuck(cluster: Cluster, now: Indices, after: Indices, rows: Ints) -> PlacementReason:
    """The broker that lacks the least space for its next copy."""
    used = cluster.unexplained_bytes + loads(now, cluster.size_bytes, cluster.broker_count)

    def shortage(row: int) -> tuple[int, int, int]:
        short, broker = max(
            (int(used[b] + cluster.size_bytes[row] - cluster.limit_bytes[b]), b)
            for b in after[row].tolist()
            if b >= 0 and b not in now[row].tolist()
        )
        return short, broker, row

    short, broker, row = min(shortage(row) for row in rows.tolist())
    topic, number = cluster.name(row)
    return PlacementReason(
        constraint="capacity",
        where=f"broker {int(cluster.broker_ids[broker])}",
        problem=f"{topic}-{number} fits only once other replicas have left, and those wait for space themselves",
        remedy=f"free {short} bytes on it, or move one of its partitions to a third broker first"
        + or_raise(cluster, broker, int(cluster.limit_bytes[broker]) + short),
    )
