"""Replace brokers: move everything off them, the bytes on them and no more."""

from collections.abc import Iterable

import numpy as np

from kafka_runbooks.placement.arrays import Cluster
from kafka_runbooks.placement.errors import InvalidRequest
from kafka_runbooks.placement.plan import Plan
from kafka_runbooks.placement.planners import affinity, pipeline
from kafka_runbooks.placement.planners.options import DEFAULTS, Options, Request
from kafka_runbooks.placement.planners.scope import prepare
from kafka_runbooks.placement.snapshots import broker_indices


def replace_brokers(
    cluster: Cluster,
    leaving: Iterable[int],
    replacements: Iterable[int] | None = None,
    options: Options = DEFAULTS,
    *,
    substitute: bool = False,
) -> Plan:
    """Move everything off some brokers.

    Args:
        cluster: the observed cluster.
        leaving: ids of the brokers to empty, dead or alive.
        replacements: ids of new brokers; None: any live broker takes a share.
        options: options of every planner.
        substitute: each replacement takes over exactly one leaving broker's replicas, in its rack.

    Raises:
        InvalidRequest: an unknown broker, or a leaving broker without a substitute in its rack.
    """
    cluster = prepare(cluster, options)
    gone = broker_indices(cluster, leaving, where="leaving")
    new = None if replacements is None else broker_indices(cluster, replacements, where="replacements")
    emptied = np.zeros(cluster.broker_count, dtype=np.bool_)
    emptied[gone] = True
    allowed = cluster.is_live & ~emptied
    if new is not None and np.isin(new, gone).any():
        raise InvalidRequest("replacements: a broker can't replace itself")
    pairs = None
    if substitute:
        if new is None:
            used = np.unique(cluster.replicas[cluster.replicas >= 0])
            new = np.setdiff1d(np.nonzero(allowed)[0], used)
        pairs = affinity.pair(cluster, gone, new)
    return pipeline.plan(Request("replace", cluster, options, allowed, substitutes=pairs, leaving=emptied))
