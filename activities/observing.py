"""A live cluster as placement sees it: sizes and free space from the brokers' disks, maps from the pods' labels.

A map is a topic regex and the brokers that carry those topics. The brokers of a map are known by label; its topics are told by
where their replicas are: a topic whose replicas lie on brokers of one map belongs to it, one that spans several
(`__consumer_offsets`) belongs to all of these together. So no plan takes a topic off its map.
"""

import time
from collections.abc import Collection
from dataclasses import dataclass

import numpy as np

from activities.step import LOOK_SECONDS
from kafka_runbooks.clients.clusters import ClusterClients
from kafka_runbooks.models.cluster import ClusterSnapshot, Reassignment, Replica, ReplicaSizes
from kafka_runbooks.placement import maps, snapshots
from kafka_runbooks.placement.arrays import Cluster
from kafka_runbooks.placement.errors import InvalidRequest

SILENT_SECONDS = 60.0


@dataclass(frozen=True)
class View:
    """One look at everything that a plan is made from."""

    snapshot: ClusterSnapshot
    sizes: ReplicaSizes
    reassignments: tuple[Reassignment, ...]
    map_of: dict[int, str]
    """Broker -> its map; a broker without a pod that is labelled is in none."""
    cluster: Cluster

    def size_bytes(self, topic: str, partition: int, brokers: Collection[int]) -> int:
        """A partition's size: its largest replica's."""
        return max((self.sizes.size_bytes.get(Replica(topic, partition, broker), 0) for broker in brokers), default=0)


def observe(clients: ClusterClients) -> View:
    """Look at the cluster. A broker that has only just joined is waited for: others may not know its name yet.

    :raises InvalidRequest: a live broker didn't tell its replicas' sizes, and its load would be guessed
    """
    gives_up = time.monotonic() + SILENT_SECONDS
    while True:
        snapshot = clients.kafka.snapshot()
        sizes = clients.kafka.replica_sizes(sorted(snapshot.live_broker_ids))
        silent = sorted(set(sizes.unanswered_broker_ids) & snapshot.live_broker_ids)
        if not silent:
            break
        if time.monotonic() > gives_up:
            raise InvalidRequest(
                f"brokers {silent} did not tell their replicas' sizes (DescribeLogDirs) for {SILENT_SECONDS:.0f} s"
            )
        time.sleep(LOOK_SECONDS)
    reassignments = clients.kafka.reassignments()
    map_of = {
        pod.broker_id: pod.map for pod in clients.kubernetes.broker_pods() if pod.broker_id is not None and pod.map is not None
    }
    cluster = snapshots.from_snapshot(snapshots.observed(snapshot, sizes, reassignments))
    return View(snapshot, sizes, reassignments, map_of, cluster)


def regions(view: View, only: Collection[str] | None = None) -> maps.Regions | None:
    """One region for each set of maps that some topic spans; None where no broker is in any map.

    :param only: those that touch one of these maps
    :raises InvalidRequest: no broker is in such a map
    """
    known = set(view.map_of.values())
    if only is not None and (unknown := sorted(set(only) - known)):
        raise InvalidRequest(f"map: {unknown[0]!r} has no broker in this cluster; known: {sorted(known)}")
    if not known:
        return None
    spanned: dict[str, set[str]] = {topic: set() for topic in view.cluster.topics}
    for partition in view.snapshot.partitions:
        spanned[partition.topic].update(view.map_of[broker] for broker in partition.replicas if broker in view.map_of)
    grouped: dict[frozenset[str], list[str]] = {}
    for topic, names in spanned.items():
        grouped.setdefault(frozenset(names), []).append(topic)
    found, left = [], []
    for spans, topics in sorted(grouped.items(), key=lambda item: (len(item[0]), sorted(item[0]))):
        if only is not None and not spans & set(only):
            left += topics
            continue
        flags = np.array([view.map_of.get(int(broker)) in spans for broker in view.cluster.broker_ids], dtype=np.bool_)
        if not spans:
            flags = view.cluster.is_live.copy()
        found.append(maps.Region("+".join(sorted(spans)), maps.rows_of(view.cluster, topics), flags))
    return maps.Regions(tuple(found), () if only is not None else tuple(left), {})
