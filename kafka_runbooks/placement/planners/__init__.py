"""Planners: from an observed cluster and a request to a plan, one module per verb.

All of them answer the same three questions (`pipeline`): what may stay, where the rest goes, and whether more may move to
balance. They differ in which brokers are allowed, which replication factor is required and how far to balance.
"""

from kafka_runbooks.placement.planners.decommission import decommission
from kafka_runbooks.placement.planners.given import given
from kafka_runbooks.placement.planners.leaders import balance_leaders, evacuate_leaders
from kafka_runbooks.placement.planners.options import DEFAULTS, Options
from kafka_runbooks.placement.planners.rebalance import rebalance
from kafka_runbooks.placement.planners.rebuild import ALL_KNOWN, ALL_MAPPED, rebuild
from kafka_runbooks.placement.planners.replace_brokers import replace_brokers
from kafka_runbooks.placement.planners.scale_up import scale_up
from kafka_runbooks.placement.planners.set_replication import left_as_they_are, set_replication
from kafka_runbooks.placement.planners.topic_spread import spread_topics

__all__ = [
    "ALL_KNOWN",
    "ALL_MAPPED",
    "DEFAULTS",
    "Options",
    "balance_leaders",
    "decommission",
    "evacuate_leaders",
    "given",
    "left_as_they_are",
    "rebalance",
    "rebuild",
    "replace_brokers",
    "scale_up",
    "set_replication",
    "spread_topics",
]
