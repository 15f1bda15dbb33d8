"""Regions of a live cluster, derived from the maps that its brokers are labelled with.

The brokers of a map are known by their labels, its topics by where their replicas are: a topic whose replicas are all on
brokers of one map belongs to that map, one that spans several (`__consumer_offsets`) to all of them together. So no plan
takes a topic off its map.
"""

from collections.abc import Collection, Iterable, Mapping

import numpy as np

from kafka_runbooks.models.cluster import Partition
from kafka_runbooks.placement import maps
from kafka_runbooks.placement.arrays import Cluster
from kafka_runbooks.placement.errors import InvalidRequest


def regions(
    cluster: Cluster, partitions: Iterable[Partition], map_of: Mapping[int, str], only: Collection[str] | None = None
) -> maps.Regions | None:
    """One region for each set of maps that some topic spans; None where no broker is in any map.

    Args:
        cluster: the observed cluster.
        partitions: its partitions, with their replicas.
        map_of: broker -> its map.
        only: restrict the regions to those that touch one of these maps.

    Raises:
        InvalidRequest: no broker is in such a map.
    """
    known = set(map_of.values())
    if only is not None and (unknown := sorted(set(only) - known)):
        raise InvalidRequest(f"map: {unknown[0]!r} has no broker in this cluster; known: {sorted(known)}")
    if not known:
        return None
    spanned: dict[str, set[str]] = {topic: set() for topic in cluster.topics}
    for partition in partitions:
        spanned[partition.topic].update(map_of[broker] for broker in partition.replicas if broker in map_of)
    grouped: dict[frozenset[str], list[str]] = {}
    for topic, names in spanned.items():
        grouped.setdefault(frozenset(names), []).append(topic)
    found, left = [], []
    for spans, topics in sorted(grouped.items(), key=lambda item: (len(item[0]), sorted(item[0]))):
        if only is not None and not spans & set(only):
            left += topics
            continue
        flags = np.array([map_of.get(int(broker)) in spans for broker in cluster.broker_ids], dtype=np.bool_)
        if not spans:
            flags = cluster.is_live.copy()
        found.append(maps.Region("+".join(sorted(spans)), maps.rows_of(cluster, topics), flags))
    return maps.Regions(tuple(found), () if only is not None else tuple(left), {})
