"""Rebuild: bring topics onto a list of brokers, as topicmappr's `rebuild` does."""

from collections.abc import Iterable
from dataclasses import replace

import numpy as np

from kafka_runbooks.models.placement import MOST_REPLICAS
from kafka_runbooks.placement.arrays import Cluster
from kafka_runbooks.placement.errors import InvalidRequest
from kafka_runbooks.placement.plan import Plan
from kafka_runbooks.placement.planners import affinity, pipeline
from kafka_runbooks.placement.planners.options import DEFAULTS, Options, Request
from kafka_runbooks.placement.planners.scope import prepare, scope_of
from kafka_runbooks.placement.snapshots import broker_indices

ALL_MAPPED, ALL_KNOWN = -1, -2
"""topicmappr's reserved broker ids: every broker that holds replicas of the topics, every broker of the cluster."""


def rebuild(
    cluster: Cluster,
    brokers: Iterable[int],
    options: Options = DEFAULTS,
    *,
    replication: int | None = None,
    force: bool = False,
    substitute: bool = False,
) -> Plan:
    """Bring topics onto a list of brokers: replicas on other brokers move, the rest stay.

    Args:
        cluster: the observed cluster.
        brokers: ids; ALL_MAPPED and ALL_KNOWN stand for those brokers.
        options: options of every planner.
        replication: the new replication factor; None: as observed.
        force: balance all replicas, not only those that must move.
        substitute: pair leaving and new brokers by rack.
    """
    if replication is not None and replication > MOST_REPLICAS:
        raise InvalidRequest(f"replication: {replication} replicas; at most {MOST_REPLICAS}")
    cluster = prepare(cluster, options)
    listed = set(brokers)
    held = cluster.replicas[scope_of(cluster, options)]
    mapped = np.zeros(cluster.broker_count, dtype=np.bool_)
    mapped[held[held >= 0]] = True
    allowed = np.zeros(cluster.broker_count, dtype=np.bool_)
    if ALL_MAPPED in listed:
        allowed |= mapped
    if ALL_KNOWN in listed:
        allowed |= cluster.is_live
    allowed[broker_indices(cluster, listed - {ALL_MAPPED, ALL_KNOWN})] = True
    pairs = None
    if substitute:
        usable = allowed & cluster.is_live
        pairs = affinity.pair(cluster, np.nonzero(mapped & ~usable)[0], np.nonzero(usable & ~mapped)[0])
    request = Request("rebuild", cluster, options, allowed, replication, moves=force, substitutes=pairs)
    return pipeline.plan(replace(request, leaving=~(allowed & cluster.is_live), levels=force))
