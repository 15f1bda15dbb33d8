"""Deterministic runbooks, one module each, and the few parts that they share."""

from workflows.clear_leftovers import ClearLeftovers
from workflows.decommission import Decommission
from workflows.moves import EvacuateLeaders, Rebalance, RunPlan, ScaleUp, SetReplicationFactor
from workflows.permit import ClusterPermit
from workflows.preview import PlanMoves, PlanOnly
from workflows.replace_broker import ReplaceBroker
from workflows.throttle_recovery import ThrottleRecovery

WORKFLOWS: list[type] = [
    ReplaceBroker,
    Rebalance,
    ScaleUp,
    Decommission,
    SetReplicationFactor,
    EvacuateLeaders,
    RunPlan,
    ThrottleRecovery,
    ClearLeftovers,
    ClusterPermit,
    PlanOnly,
    PlanMoves,
]
