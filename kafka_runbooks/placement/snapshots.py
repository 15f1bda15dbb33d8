"""Between the outside's shape (a snapshot's models, a reassignment JSON) and arrays.

Order is fixed here, by broker id and by (topic, partition), so that a plan never depends on the order of a file.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

import numpy as np

from kafka_runbooks.models.cluster import ClusterSnapshot, Reassignment, ReplicaSizes
from kafka_runbooks.models.placement import PartitionAssignment, ReassignmentMap, Snapshot, SnapshotBroker, SnapshotPartition
from kafka_runbooks.placement.arrays import NONE, OFFLINE, Cluster, Flags, Indices, Ints, loads
from kafka_runbooks.placement.errors import InvalidRequest


def from_snapshot(snapshot: Snapshot) -> Cluster:
    """Arrays of a snapshot."""
    partitions = snapshot.partitions
    cluster = build(
        brokers=[(b.id, b.rack, b.capacity, b.free, b.live) for b in snapshot.brokers],
        names=[(p.topic, p.partition) for p in partitions],
        replicas=[p.replicas for p in partitions],
        sizes=[p.size for p in partitions],
        in_sync=None if all(p.in_sync is None for p in partitions) else [p.in_sync for p in partitions],
        bytes_in=[p.bytes_in for p in partitions] if any(p.bytes_in for p in partitions) else None,
        bytes_out=[p.bytes_out for p in partitions] if any(p.bytes_out for p in partitions) else None,
    )
    if not any(p.adding or p.removing for p in partitions):
        return cluster
    by_name = {(p.topic, p.partition): p for p in partitions}
    rows = [by_name[cluster.name(row)] for row in range(cluster.partition_count)]
    return _with_flags(cluster, [set(p.adding) for p in rows], [set(p.removing) for p in rows])


def _with_flags(cluster: Cluster, adding: list[set[int]], removing: list[set[int]]) -> Cluster:
    def mask(sets: list[set[int]]) -> Flags:
        flags = np.zeros(cluster.replicas.shape, dtype=np.bool_)
        for row, ids in enumerate(sets):
            for slot, broker in enumerate(cluster.ids(cluster.replicas[row])):
                flags[row, slot] = broker in ids
        return flags

    return replace(cluster, adding=mask(adding), removing=mask(removing))


def build(
    brokers: Sequence[tuple[int, str | None, int, int, bool]],
    names: Sequence[tuple[str, int]],
    replicas: Sequence[Sequence[int]],
    sizes: Sequence[int],
    in_sync: Sequence[Sequence[int] | None] | None = None,
    bytes_in: Sequence[int] | None = None,
    bytes_out: Sequence[int] | None = None,
) -> Cluster:
    """Arrays from plain columns. `brokers` are (id, rack, capacity bytes, free bytes, live); replicas hold broker ids."""
    order = sorted(range(len(names)), key=names.__getitem__)
    width = max((len(row) for row in replicas), default=0) or 1
    ids = np.full((len(names), width), -1, dtype=np.int64)
    present = np.zeros((len(names), width), dtype=np.bool_)
    lengths = np.fromiter((len(replicas[i]) for i in order), dtype=np.int64, count=len(order))
    present[:] = np.arange(width)[None, :] < lengths[:, None]
    ids[present] = np.fromiter((b for i in order for b in replicas[i]), dtype=np.int64, count=int(lengths.sum()))

    known = {broker[0]: broker for broker in brokers}
    unknown = sorted(set(np.unique(ids[ids >= 0]).tolist()) - set(known))
    table = sorted([*known.values(), *((broker, None, 0, 0, False) for broker in unknown)])
    broker_ids = np.array([row[0] for row in table], dtype=np.int64)
    index: Indices = np.searchsorted(broker_ids, np.maximum(ids, 0)).astype(np.int32)
    matrix: Indices = np.where(present, np.where(ids >= 0, index, OFFLINE), NONE).astype(np.int32)

    named = sorted({row[1] for row in table if row[1] is not None})
    rack_of = {name: i for i, name in enumerate(named)}
    rack_names = list(named)
    racks = np.zeros(len(table), dtype=np.int32)
    for i, row in enumerate(table):
        if row[1] is None:
            racks[i] = len(rack_names)
            rack_names.append(f"(broker {row[0]})")
        else:
            racks[i] = rack_of[row[1]]

    size = np.array([sizes[i] for i in order], dtype=np.int64)
    capacity = np.array([row[2] for row in table], dtype=np.int64)
    live = np.array([row[4] for row in table], dtype=np.bool_)
    used = capacity - np.array([row[3] for row in table], dtype=np.int64)
    held = loads(matrix, size, len(table))
    # Without a capacity there is no free space either: what replicas don't explain is unknown, and taken as nothing.
    unexplained = np.where(capacity > 0, used - held, 0)
    topics = tuple(sorted({name[0] for name in names}))
    topic_of = {name: i for i, name in enumerate(topics)}

    synced: Flags = (matrix >= 0) & live[np.maximum(matrix, 0)]
    if in_sync is not None:
        for row_index, i in enumerate(order):
            members = in_sync[i]
            if members is not None:
                synced[row_index] &= np.isin(ids[row_index], list(members))
    return Cluster(
        broker_ids=broker_ids,
        racks=racks,
        rack_names=tuple(rack_names),
        capacity_bytes=capacity,
        unexplained_bytes=unexplained,
        is_live=live,
        topics=topics,
        topic=np.array([topic_of[names[i][0]] for i in order], dtype=np.int32),
        partition=np.array([names[i][1] for i in order], dtype=np.int64),
        replicas=matrix,
        size_bytes=size,
        in_sync=synced,
        bytes_in=None if bytes_in is None else np.array([bytes_in[i] for i in order], dtype=np.int64),
        bytes_out=None if bytes_out is None else np.array([bytes_out[i] for i in order], dtype=np.int64),
    )


def broker_indices(cluster: Cluster, ids: Iterable[int], *, where: str = "brokers") -> Ints:
    """Indices of broker ids, in ascending order of id.

    :raises InvalidRequest: an id that the cluster does not know
    """
    wanted = np.array(sorted(set(ids)), dtype=np.int64)
    found = np.searchsorted(cluster.broker_ids, wanted)
    inside = found < cluster.broker_count
    missing = wanted[~inside | (cluster.broker_ids[np.minimum(found, cluster.broker_count - 1)] != wanted)]
    if len(missing):
        raise InvalidRequest(f"{where}: unknown to the cluster: {missing.tolist()}; known: {cluster.broker_ids.tolist()}")
    return found.astype(np.int64)


def to_map(cluster: Cluster, replicas: Indices, rows: Iterable[int]) -> ReassignmentMap:
    """A reassignment JSON of some rows; broker ids, in order. A row with offline replicas only names none, and is left out."""
    return ReassignmentMap(
        partitions=tuple(
            PartitionAssignment(topic=topic, partition=partition, replicas=tuple(ids))
            for topic, partition, ids in assignments(cluster, replicas, rows)
            if ids
        )
    )


def assignments(cluster: Cluster, replicas: Indices, rows: Iterable[int]) -> Iterable[tuple[str, int, list[int]]]:
    """(topic, partition, broker ids) of some rows, without building a model for each."""
    ids = cluster.broker_ids.tolist()
    for row in rows:
        topic, partition = cluster.name(row)
        yield topic, partition, [ids[b] for b in replicas[row].tolist() if b >= 0]


def from_map(cluster: Cluster, assignment: ReassignmentMap) -> Indices:
    """The replica matrix after a map: rows that it doesn't name stay.

    :raises InvalidRequest: an unknown partition or broker
    """
    rows: Mapping[tuple[str, int], int] = {cluster.name(row): row for row in range(cluster.partition_count)}
    width = max([cluster.replicas.shape[1], *(len(p.replicas) for p in assignment.partitions)])
    matrix: Indices = np.full((cluster.partition_count, width), NONE, dtype=np.int32)
    matrix[:, : cluster.replicas.shape[1]] = cluster.replicas
    for entry in assignment.partitions:
        row = rows.get((entry.topic, entry.partition))
        if row is None:
            raise InvalidRequest(f"partitions: {entry.topic}-{entry.partition} is unknown to the cluster")
        found = {int(cluster.broker_ids[b]): int(b) for b in broker_indices(cluster, entry.replicas, where="replicas")}
        matrix[row] = NONE
        matrix[row, : len(entry.replicas)] = [found[b] for b in entry.replicas]
    return matrix


def observed(snapshot: ClusterSnapshot, sizes: ReplicaSizes, reassignments: tuple[Reassignment, ...]) -> Snapshot:
    """What placement plans from: a partition's size is its largest replica's (KIP-113), disks are what brokers tell (KIP-827)."""
    largest: dict[tuple[str, int], int] = {}
    for replica, size in sizes.size_bytes.items():
        name = (replica.topic, replica.partition)
        largest[name] = max(largest.get(name, 0), size)
    moving = {reassignment.name: reassignment for reassignment in reassignments}
    partitions = []
    for partition in snapshot.partitions:
        change = moving.get(partition.name)
        partitions.append(
            SnapshotPartition(
                topic=partition.topic,
                partition=partition.partition,
                replicas=partition.replicas if change is None else change.replicas,
                size=largest.get((partition.topic, partition.partition), 0),
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
        )
        for broker in snapshot.brokers
    )
    return Snapshot(brokers=brokers, partitions=tuple(partitions))
