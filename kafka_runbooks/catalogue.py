"""The one registry of runbooks: what each is called, what it is asked with, what it plans, and what it is for.

Names are Temporal workflow types, as `kafka-runbooks start` and `temporal workflow start --type` take them. The command line, its
help and the worker read this; nothing here imports a workflow, an activity or a client library.
"""

from dataclasses import dataclass

from kafka_runbooks.models import inputs
from kafka_runbooks.models.moves import MovePlan
from kafka_runbooks.models.plans import Plan
from kafka_runbooks.models.replacement import ReplacementPlan


@dataclass(frozen=True)
class Runbook:
    """A runbook's entry.

    Attributes:
        input: the model of what an operator asks.
        plan: the model of the frozen plan that it carries out; None where it has none and acts on what it finds.
        sentence: what it does, in one line of help.
    """

    input: type[inputs.RunbookInput]
    plan: type[Plan] | None
    sentence: str


RUNBOOKS: dict[str, Runbook] = {
    "ReplaceBroker": Runbook(inputs.ReplaceBrokerInput, ReplacementPlan, "bring a lost or drained broker back, or replace it"),
    "Rebalance": Runbook(inputs.RebalanceInput, MovePlan, "balance the brokers of a map, or of every map"),
    "ScaleUp": Runbook(inputs.ScaleUpInput, MovePlan, "give brokers that have joined their share of the data"),
    "Decommission": Runbook(inputs.DecommissionInput, MovePlan, "empty brokers, or a rack, and remove their pods if asked"),
    "SetReplicationFactor": Runbook(inputs.SetReplicationFactorInput, MovePlan, "more or fewer replicas for topics"),
    "EvacuateLeaders": Runbook(inputs.EvacuateLeadersInput, MovePlan, "move leadership off brokers, and back"),
    "RunPlan": Runbook(inputs.RunPlanInput, MovePlan, "carry out a reassignment JSON"),
    "ThrottleRecovery": Runbook(inputs.ThrottleRecoveryInput, None, "hold brokers that are catching up to a safe rate"),
    "ClearLeftovers": Runbook(inputs.ClearLeftoversInput, None, "remove what terminated runs have left on a cluster"),
}
