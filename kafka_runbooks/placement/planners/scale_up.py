"""Scale up: give new brokers their share."""

from collections.abc import Iterable

import numpy as np

from kafka_runbooks.placement.arrays import Cluster, holds
from kafka_runbooks.placement.errors import InvalidRequest
from kafka_runbooks.placement.plan import Plan
from kafka_runbooks.placement.planners import pipeline
from kafka_runbooks.placement.planners.options import DEFAULTS, Options, Request
from kafka_runbooks.placement.planners.scope import brokers_of, prepare, scope_of
from kafka_runbooks.placement.snapshots import broker_indices


def scale_up(
    cluster: Cluster,
    new: Iterable[int],
    options: Options = DEFAULTS,
    brokers: Iterable[int] | None = None,
    *,
    resumed: bool = False,
) -> Plan:
    """Balance the cluster onto new brokers, which get enough replicas to lead their share.

    Args:
        cluster: the observed cluster.
        new: ids of brokers that hold no replicas yet.
        options: options of every planner.
        brokers: ids of the brokers to balance with them; None: all live ones.
        resumed: the new brokers may hold replicas: some have come already.

    Raises:
        InvalidRequest: no new broker, or one that holds replicas already.
    """
    cluster = prepare(cluster, options)
    fresh = broker_indices(cluster, new, where="new")
    if not len(fresh):
        raise InvalidRequest("new: name at least one broker to scale up with")
    held = cluster.replicas[scope_of(cluster, options)]
    old = [int(cluster.broker_ids[b]) for b in fresh if holds(held, int(b)).any()]
    if old and not resumed:
        raise InvalidRequest(f"new: brokers {old} hold replicas already; `rebalance` balances brokers that are in use")
    if closed := [int(cluster.broker_ids[b]) for b in fresh if cluster.keeps_only[b]]:
        raise InvalidRequest(f"new: brokers {closed} can't take replicas: {'; '.join(cluster.remarks)}")
    allowed = brokers_of(cluster, brokers)
    allowed[fresh] = True
    flags = np.zeros(cluster.broker_count, dtype=np.bool_)
    flags[fresh] = True
    return pipeline.plan(Request("scale", cluster, options, allowed, moves=True, levels=True, new=flags))
