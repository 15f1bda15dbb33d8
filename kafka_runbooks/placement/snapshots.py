"""Conversion between external models (snapshot, reassignment JSON) and arrays.

The order is fixed here, by broker id and by (topic, partition), so that a plan never depends on the order of a file.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from kafka_runbooks.models.cluster import ClusterSnapshot, Reassignment, Replica, ReplicaSizes
from kafka_runbooks.models.placement import (
    PartitionAssignment,
    ReassignmentMap,
    Snapshot,
    SnapshotBroker,
    SnapshotLogDirectory,
    SnapshotPartition,
)
from kafka_runbooks.placement.arrays import (
    NONE,
    OFFLINE,
    OWN_RACK,
    Cluster,
    Flags,
    Indices,
    Ints,
    loads,
    sum_by,
    widen,
    would_lead,
)
from kafka_runbooks.placement.errors import InvalidRequest


class ObservedPartition(NamedTuple):
    """`SnapshotPartition` of a live cluster. Nobody has typed it; as models 200,000 of them take 300 MB while a plan is made."""

    topic: str
    partition: int
    replicas: tuple[int, ...]
    size: int
    sizes: tuple[int, ...]
    leader: int | None
    in_sync: tuple[int, ...]
    adding: tuple[int, ...]
    removing: tuple[int, ...]
    bytes_in: int = 0
    bytes_out: int = 0


class Observed(NamedTuple):
    """`Snapshot` of a live cluster."""

    brokers: tuple[SnapshotBroker, ...]
    partitions: tuple[ObservedPartition, ...]


def from_snapshot(snapshot: Snapshot | Observed) -> Cluster:
    """Arrays of a snapshot."""
    partitions: Sequence[SnapshotPartition | ObservedPartition] = snapshot.partitions
    cluster = build(
        brokers=[(b.id, b.rack, b.capacity, b.free, b.live) for b in snapshot.brokers],
        names=[(p.topic, p.partition) for p in partitions],
        replicas=[p.replicas for p in partitions],
        sizes=[p.size for p in partitions],
        in_sync=None if all(p.in_sync is None for p in partitions) else [p.in_sync for p in partitions],
        bytes_in=[p.bytes_in for p in partitions] if any(p.bytes_in for p in partitions) else None,
        bytes_out=[p.bytes_out for p in partitions] if any(p.bytes_out for p in partitions) else None,
        replica_sizes=None if all(p.sizes is None for p in partitions) else [p.sizes for p in partitions],
        leaders=None if all(p.leader is None for p in partitions) else [p.leader for p in partitions],
    )
    cluster = _with_log_directories(cluster, snapshot)
    if not any(p.adding or p.removing for p in partitions):
        return cluster
    by_name = {(p.topic, p.partition): p for p in partitions}
    rows = [by_name[cluster.name(row)] for row in range(cluster.partition_count)]
    return replace(cluster, adding=_mask(cluster, [p.adding for p in rows]), removing=_mask(cluster, [p.removing for p in rows]))


def _with_log_directories(cluster: Cluster, snapshot: Snapshot | Observed) -> Cluster:
    """What log directories mean for new replicas: each fits into one of them, and none goes to a broker with a failed one."""
    brokers = {broker.id: broker for broker in snapshot.brokers}
    known = [broker for broker in snapshot.brokers if broker.capacity > 0]
    failed = [broker.id for broker in snapshot.brokers if broker.failed and broker.live]
    untold = [b.id for b in snapshot.brokers if known and b.live and not b.capacity and b.id not in failed]
    several = [broker.id for broker in snapshot.brokers if len(broker.volumes) > 1]
    if not (failed or untold or several):
        return cluster
    remarks = []
    if failed:
        paths = ", ".join(f"{broker}: {one.path}" for broker in failed for one in brokers[broker].failed)
        remarks.append(f"brokers {failed} have failed log directories ({paths}): no destination until these are replaced")
    if untold:
        remarks.append(f"brokers {untold} don't tell their capacity and others do: no destination (capacity in the snapshot)")
    if several:
        remarks.append(
            f"brokers {several} have several log directories: Kafka chooses among them by number of replicas, so one may fill up "
            "before the others; a replica that fits into none is not placed there"
        )
    closed = np.isin(cluster.broker_ids, [*failed, *untold])
    volumes = {
        index: tuple((one.capacity, one.free) for one in brokers[broker].volumes if one.capacity)
        for index, broker in enumerate(cluster.broker_ids.tolist())
        if broker in several
    }
    sized = {index: found for index, found in volumes.items() if found}
    return replace(cluster, takes=cluster.is_live & ~closed, volumes=sized, remarks=tuple(remarks))


def _mask(cluster: Cluster, ids: Sequence[Sequence[int]]) -> Flags:
    """P x W: slots whose broker is among the ids of its row."""
    flags: Flags = np.zeros(cluster.replicas.shape, dtype=np.bool_)
    for row, brokers in enumerate(ids):
        for slot, broker in enumerate(cluster.ids(cluster.replicas[row])):
            flags[row, slot] = broker in brokers
    return flags


class BrokerRow(NamedTuple):
    """One broker of `build`'s input."""

    id: int
    rack: str | None
    capacity_bytes: int
    free_bytes: int
    is_live: bool


def build(
    brokers: Sequence[tuple[int, str | None, int, int, bool]],
    names: Sequence[tuple[str, int]],
    replicas: Sequence[Sequence[int]],
    sizes: Sequence[int],
    in_sync: Sequence[Sequence[int] | None] | None = None,
    bytes_in: Sequence[int] | None = None,
    bytes_out: Sequence[int] | None = None,
    replica_sizes: Sequence[Sequence[int] | None] | None = None,
    leaders: Sequence[int | None] | None = None,
) -> Cluster:
    """Arrays from plain columns.

    Args:
        brokers: fields of `BrokerRow`; brokers that only replica lists mention are added, as dead ones.
        names: (topic, partition) of each partition, in any order; the other columns follow it.
        replicas: broker ids in preference order, -1 for an offline replica.
        sizes: bytes of each partition.
        in_sync: broker ids; None: every replica on a live broker.
        bytes_in: bytes per second, if known.
        bytes_out: bytes per second, if known.
        replica_sizes: bytes of each replica; None: those of its partition.
        leaders: broker ids; None: the first in-sync live replica.
    """
    order = sorted(range(len(names)), key=names.__getitem__)
    ids, present = _id_matrix([replicas[i] for i in order])
    known = {row[0]: BrokerRow(*row) for row in brokers}
    unknown = set(np.unique(ids[ids >= 0]).tolist()) - set(known)
    table = sorted([*known.values(), *(BrokerRow(broker, None, 0, 0, False) for broker in unknown)])
    broker_ids = np.array([broker.id for broker in table], dtype=np.int64)
    index: Indices = np.searchsorted(broker_ids, np.maximum(ids, 0)).astype(np.int32)
    matrix: Indices = np.where(present, np.where(ids >= 0, index, OFFLINE), NONE).astype(np.int32)
    rack_names, racks = _racks(table)

    size = np.array([sizes[i] for i in order], dtype=np.int64)
    capacity = np.array([broker.capacity_bytes for broker in table], dtype=np.int64)
    used = capacity - np.array([broker.free_bytes for broker in table], dtype=np.int64)
    live = np.array([broker.is_live for broker in table], dtype=np.bool_)
    synced: Flags = (matrix >= 0) & live[np.maximum(matrix, 0)]
    for row, members in enumerate([in_sync[i] for i in order] if in_sync is not None else ()):
        if members is not None:
            synced[row] &= np.isin(ids[row], list(members))
    listed = (
        loads(matrix, size, len(table)) if replica_sizes is None else _on_disk(matrix, size, replica_sizes, order, len(table))
    )
    leader = None
    if leaders is not None:
        by_id = {broker: i for i, broker in enumerate(broker_ids.tolist())}
        leader = would_lead(matrix, synced)
        for row, i in enumerate(order):
            if (now := leaders[i]) is not None:
                leader[row] = by_id.get(now, NONE)
    topics = tuple(sorted({name[0] for name in names}))
    topic_of = {name: i for i, name in enumerate(topics)}
    return Cluster(
        broker_ids=broker_ids,
        racks=racks,
        rack_names=rack_names,
        capacity_bytes=capacity,
        # Without a capacity the used space is unknown too: nothing is assumed beyond the replicas.
        # Replicas that have yet to arrive make a disk look emptier than it will be: their room isn't free.
        unexplained_bytes=np.where(capacity > 0, np.maximum(used - listed, 0), 0),
        is_live=live,
        topics=topics,
        topic=np.array([topic_of[names[i][0]] for i in order], dtype=np.int32),
        partition=np.array([names[i][1] for i in order], dtype=np.int64),
        replicas=matrix,
        size_bytes=size,
        in_sync=synced,
        bytes_in=None if bytes_in is None else np.array([bytes_in[i] for i in order], dtype=np.int64),
        bytes_out=None if bytes_out is None else np.array([bytes_out[i] for i in order], dtype=np.int64),
        leader=leader,
    )


def _on_disk(
    matrix: Indices, size: Ints, replica_sizes: Sequence[Sequence[int] | None], order: Sequence[int], brokers: int
) -> Ints:
    """B: bytes of replicas, each with its own size."""
    own = np.broadcast_to(size[:, None], matrix.shape).copy()
    for row, i in enumerate(order):
        if (sizes := replica_sizes[i]) is not None:
            own[row, : len(sizes)] = sizes
    held = matrix >= 0
    return sum_by(matrix[held], own[held], brokers)


def _id_matrix(replicas: Sequence[Sequence[int]]) -> tuple[Ints, Flags]:
    """(broker ids padded with -1, which slots hold a replica)."""
    width = max((len(row) for row in replicas), default=0) or 1
    ids = np.full((len(replicas), width), -1, dtype=np.int64)
    lengths = np.fromiter((len(row) for row in replicas), dtype=np.int64, count=len(replicas))
    present: Flags = np.arange(width)[None, :] < lengths[:, None]
    ids[present] = np.fromiter((b for row in replicas for b in row), dtype=np.int64, count=int(lengths.sum()))
    return ids, present


def _racks(table: Sequence[BrokerRow]) -> tuple[tuple[str, ...], Indices]:
    """(rack names, index of each broker's rack); a broker without a rack gets one of its own."""
    names = sorted({broker.rack for broker in table if broker.rack is not None})
    index = {name: i for i, name in enumerate(names)}
    racks: Indices = np.zeros(len(table), dtype=np.int32)
    for i, broker in enumerate(table):
        if broker.rack is None:
            racks[i] = len(names)
            names.append(OWN_RACK.format(broker.id))
        else:
            racks[i] = index[broker.rack]
    return tuple(names), racks


def broker_indices(cluster: Cluster, ids: Iterable[int], *, where: str = "brokers") -> Ints:
    """Indices of broker ids, in ascending order of id.

    Raises:
        InvalidRequest: an id that is unknown to the cluster; the message starts with `where`.
    """
    wanted = np.array(sorted(set(ids)), dtype=np.int64)
    found = np.searchsorted(cluster.broker_ids, wanted)
    inside = found < cluster.broker_count
    missing = wanted[~inside | (cluster.broker_ids[np.minimum(found, cluster.broker_count - 1)] != wanted)]
    if len(missing):
        raise InvalidRequest(f"{where}: unknown to the cluster: {missing.tolist()}; known: {cluster.broker_ids.tolist()}")
    return found.astype(np.int64)


def to_map(cluster: Cluster, replicas: Indices, rows: Iterable[int]) -> ReassignmentMap:
    """A reassignment JSON of some rows, with broker ids in preference order. Rows that are entirely offline are omitted."""
    return ReassignmentMap(
        partitions=tuple(
            PartitionAssignment(topic=topic, partition=partition, replicas=tuple(ids))
            for topic, partition, ids in assignments(cluster, replicas, rows)
            if ids
        )
    )


def assignments(cluster: Cluster, replicas: Indices, rows: Iterable[int]) -> Iterable[tuple[str, int, list[int]]]:
    """Yield (topic, partition, broker ids) of some rows, without building a model for each."""
    ids = cluster.broker_ids.tolist()
    for row in rows:
        topic, partition = cluster.name(row)
        yield topic, partition, [ids[b] for b in replicas[row].tolist() if b >= 0]


def from_map(cluster: Cluster, assignment: ReassignmentMap) -> Indices:
    """The replica matrix after a reassignment; rows that it doesn't list stay unchanged.

    Raises:
        InvalidRequest: an unknown partition or broker.
    """
    rows: Mapping[tuple[str, int], int] = {cluster.name(row): row for row in range(cluster.partition_count)}
    width = max([cluster.replicas.shape[1], *(len(p.replicas) for p in assignment.partitions)])
    matrix = widen(cluster.replicas, width).copy()
    for entry in assignment.partitions:
        row = rows.get((entry.topic, entry.partition))
        if row is None:
            raise InvalidRequest(f"partitions: {entry.topic}-{entry.partition} is unknown to the cluster")
        found = {int(cluster.broker_ids[b]): int(b) for b in broker_indices(cluster, entry.replicas, where="replicas")}
        matrix[row] = NONE
        matrix[row, : len(entry.replicas)] = [found[b] for b in entry.replicas]
    return matrix


def observed(snapshot: ClusterSnapshot, sizes: ReplicaSizes, reassignments: tuple[Reassignment, ...]) -> Observed:
    """The snapshot of a live cluster: a partition's size is its largest replica's (KIP-113), disks are as reported (KIP-827)."""
    asked = snapshot.live_broker_ids - set(sizes.unanswered_broker_ids)
    moving = {reassignment.name: reassignment for reassignment in reassignments}
    partitions = []
    for partition in snapshot.partitions:
        change = moving.get(partition.name)
        replicas = partition.replicas if change is None else change.replicas
        largest = max((sizes.size_bytes.get(Replica(*partition.name, broker), 0) for broker in replicas), default=0)
        partitions.append(
            ObservedPartition(
                topic=partition.topic,
                partition=partition.partition,
                replicas=replicas,
                size=largest,
                # A broker that doesn't answer has what the others have.
                sizes=tuple(
                    sizes.size_bytes.get(Replica(*partition.name, broker), 0 if broker in asked else largest)
                    for broker in replicas
                ),
                leader=partition.leader,
                in_sync=partition.in_sync,
                adding=() if change is None else change.adding,
                removing=() if change is None else change.removing,
            )
        )
    brokers = tuple(
        SnapshotBroker(
            id=broker.id,
            rack=broker.rack,
            capacity=sizes.total_bytes.get(broker.id, 0),
            free=sizes.usable_bytes.get(broker.id, 0),
            log_dirs=tuple(
                SnapshotLogDirectory(
                    path=one.path, capacity=one.total_bytes or 0, free=one.usable_bytes or 0, failed=one.is_offline
                )
                for one in sizes.directories.get(broker.id, ())
            ),
        )
        for broker in snapshot.brokers
    )
    return Observed(brokers, tuple(partitions))
