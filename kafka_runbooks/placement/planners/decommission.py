"""Decommission: empty several brokers, or a rack, at once, so that nothing moves twice."""

from collections.abc import Iterable

import numpy as np

from kafka_runbooks.placement.arrays import Cluster
from kafka_runbooks.placement.errors import InvalidRequest
from kafka_runbooks.placement.plan import Plan
from kafka_runbooks.placement.planners import pipeline
from kafka_runbooks.placement.planners.options import DEFAULTS, Options, Request
from kafka_runbooks.placement.planners.scope import prepare
from kafka_runbooks.placement.snapshots import broker_indices


def decommission(cluster: Cluster, leaving: Iterable[int] = (), options: Options = DEFAULTS, *, rack: str | None = None) -> Plan:
    """Empty brokers; none of them is a destination.

    Args:
        cluster: the observed cluster.
        leaving: ids of the brokers to empty.
        options: options of every planner.
        rack: a rack to empty, besides `leaving`.

    Raises:
        InvalidRequest: an unknown broker or rack, or nothing to empty.
    """
    cluster = prepare(cluster, options)
    gone = set(broker_indices(cluster, leaving, where="leaving").tolist())
    if rack is not None:
        if rack not in cluster.rack_names:
            raise InvalidRequest(f"rack: {rack!r} is unknown; known: {list(cluster.rack_names)}")
        gone |= set(np.nonzero(cluster.racks == cluster.rack_names.index(rack))[0].tolist())
    if not gone:
        raise InvalidRequest("leaving: name at least one broker, or a rack")
    flags = np.zeros(cluster.broker_count, dtype=np.bool_)
    flags[sorted(gone)] = True
    return pipeline.plan(Request("decommission", cluster, options, cluster.is_live & ~flags, leaving=flags))
