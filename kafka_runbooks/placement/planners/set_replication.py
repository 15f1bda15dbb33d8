"""Set the replication factor."""

from collections.abc import Iterable

import numpy as np

from kafka_runbooks.models.placement import MOST_REPLICAS
from kafka_runbooks.placement.arrays import Cluster
from kafka_runbooks.placement.errors import InvalidRequest
from kafka_runbooks.placement.plan import Plan
from kafka_runbooks.placement.planners import pipeline
from kafka_runbooks.placement.planners.left_alone import named, without_in_sync
from kafka_runbooks.placement.planners.options import DEFAULTS, Options, Request
from kafka_runbooks.placement.planners.scope import brokers_of, prepare, scope_of


def set_replication(
    cluster: Cluster, replication: int, options: Options = DEFAULTS, brokers: Iterable[int] | None = None
) -> Plan:
    """Set the replication factor.

    Down: live, in-sync, rack-diverse replicas are kept, and nothing is copied. Up: only the additional replicas are copied.

    Raises:
        InvalidRequest: a replication factor out of range.
    """
    if replication < 1:
        raise InvalidRequest("replication: at least 1")
    if replication > MOST_REPLICAS:
        raise InvalidRequest(f"replication: {replication} replicas; at most {MOST_REPLICAS}")
    cluster = prepare(cluster, options)
    return pipeline.plan(Request("set-rf", cluster, options, brokers_of(cluster, brokers), replication))


def left_as_they_are(cluster: Cluster, replication: int, options: Options = DEFAULTS) -> str:
    """Partitions that keep another replication factor, since they have no live in-sync replica; empty where there are none."""
    is_wrong = (cluster.replicas >= 0).sum(axis=1) != replication
    rows = np.nonzero(scope_of(cluster, options) & without_in_sync(cluster) & is_wrong)[0]
    return named(cluster, rows) if len(rows) else ""
