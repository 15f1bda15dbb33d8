"""Rebalance: even out brokers with the fewest bytes that achieve it."""

from collections.abc import Iterable

from kafka_runbooks.placement.arrays import Cluster
from kafka_runbooks.placement.plan import Plan
from kafka_runbooks.placement.planners import pipeline
from kafka_runbooks.placement.planners.options import DEFAULTS, Options, Request
from kafka_runbooks.placement.planners.scope import brokers_of, prepare


def rebalance(cluster: Cluster, options: Options = DEFAULTS, brokers: Iterable[int] | None = None) -> Plan:
    """Balance brokers (all live ones, or these) with the fewest bytes that achieve it."""
    cluster = prepare(cluster, options)
    return pipeline.plan(Request("rebalance", cluster, options, brokers_of(cluster, brokers), moves=True, levels=True))
