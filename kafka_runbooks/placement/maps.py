"""Maps: which topics live on which brokers ("Running Production Kafka Clusters in Kubernetes", Datadog, 2019).

A map is a topic regex and the brokers (one node group, one instance type) that carry those topics. Regexes are anchored at both
ends and a plain name matches only itself: topicmappr takes `foo.bar` as an unanchored regex that also matches `my-foo.bar2`. A
topic matched by several maps, or by none, is reported and left in place: a guess could move data for nothing.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from kafka_runbooks.models import patterns
from kafka_runbooks.models.maps import TopicMap
from kafka_runbooks.placement.arrays import Cluster, Flags
from kafka_runbooks.placement.errors import InvalidRequest
from kafka_runbooks.placement.snapshots import broker_indices


def matching(items: Iterable[str], topics: Sequence[str], *, field: str = "topics") -> list[str]:
    """Topics that any item stands for: a name, or a regex that matches the whole name.

    Raises:
        InvalidRequest: an item that matches no topic, or a regex that doesn't compile; the message starts with `field`.
    """
    found: set[str] = set()
    known = set(topics)
    for item in items:
        try:
            found.update(patterns.named(item, topics, known))
        except ValueError as error:
            raise InvalidRequest(f"{field}: {error}") from error
    return [topic for topic in topics if topic in found]


def rows_of(cluster: Cluster, topics: Iterable[str]) -> Flags:
    """P: partitions of these topics."""
    wanted = set(topics)
    flags = np.array([topic in wanted for topic in cluster.topics], dtype=np.bool_)
    rows: Flags = flags[cluster.topic] if len(flags) else np.zeros(0, dtype=np.bool_)
    return rows


@dataclass(frozen=True)
class Region:
    """One map, resolved on a cluster: its partitions (P) and brokers (B)."""

    name: str
    scope: Flags
    brokers: Flags


@dataclass(frozen=True)
class Regions:
    """All maps, and the topics that belong to none or to several."""

    regions: tuple[Region, ...]
    unmapped_topics: tuple[str, ...]
    contested_topics: Mapping[str, tuple[str, ...]]
    """Topic -> the maps that match it."""


def resolve(cluster: Cluster, maps: Sequence[TopicMap], brokers_by_type: Mapping[str, Sequence[int]] | None = None) -> Regions:
    """Resolve maps on a cluster. A map that asks for N instances of a type takes the N lowest broker ids of it still free.

    Args:
        cluster: the observed cluster.
        maps: the maps, in order of precedence for instances.
        brokers_by_type: instance type -> broker ids, as found in Kubernetes labels.

    Raises:
        InvalidRequest: an unknown broker, or fewer free instances than requested.
    """
    claims: dict[str, list[str]] = {topic: [] for topic in cluster.topics}
    taken: set[int] = {broker for entry in maps for broker in entry.brokers}
    found: list[tuple[TopicMap, list[int]]] = []
    for entry in maps:
        ids = list(entry.brokers)
        if entry.instances is not None:
            free = sorted(b for b in (brokers_by_type or {}).get(entry.instances.type, ()) if b not in taken)
            if len(free) < entry.instances.count:
                raise InvalidRequest(
                    f"maps.{entry.name}.instances: wants {entry.instances.count} of {entry.instances.type}, "
                    f"{len(free)} are free: {free}"
                )
            ids += free[: entry.instances.count]
            taken.update(ids)
        found.append((entry, ids))
        for topic in patterns.matching(entry.topics, cluster.topics):
            claims[topic].append(entry.name)
    regions = []
    for entry, ids in found:
        flags = np.zeros(cluster.broker_count, dtype=np.bool_)
        flags[broker_indices(cluster, ids, where=f"maps.{entry.name}.brokers")] = True
        own = [topic for topic, names in claims.items() if names == [entry.name]]
        regions.append(Region(entry.name, rows_of(cluster, own), flags))
    return Regions(
        regions=tuple(regions),
        unmapped_topics=tuple(topic for topic, names in claims.items() if not names),
        contested_topics={topic: tuple(names) for topic, names in claims.items() if len(names) > 1},
    )
