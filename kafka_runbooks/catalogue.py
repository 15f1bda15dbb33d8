"""The registry of runbooks: what each is called, its input, the plan it carries out, and what it is for.

Names are Temporal workflow types, as `temporal workflow start --type` takes them; `kafka-runbooks start` also takes them in the
form of a command (`replace-broker`). Entries name their models instead of importing them: help and shell completion need only
names and sentences, and importing the models takes longer than everything else they do.
"""

import re
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kafka_runbooks.models.inputs import RunbookInput
    from kafka_runbooks.models.plans import Plan


@dataclass(frozen=True)
class Runbook:
    """A runbook's entry.

    Attributes:
        input_model: the model of its input, as module and class in `kafka_runbooks.models`.
        plan_model: the model of the frozen plan it carries out; None if it has no plan and acts on what it finds.
        sentence: what it does, in one line of help.
    """

    input_model: str
    plan_model: str | None
    sentence: str

    @property
    def input(self) -> "type[RunbookInput]":
        """The model of its input."""
        model: type[RunbookInput] = _model(self.input_model)
        return model

    @property
    def plan(self) -> "type[Plan] | None":
        """The model of its plan; None if it has none."""
        return None if self.plan_model is None else _model(self.plan_model)


def _model(name: str) -> Any:
    module, _, model = name.partition(".")
    return getattr(import_module(f"kafka_runbooks.models.{module}"), model)


RUNBOOKS: dict[str, Runbook] = {
    "ReplaceBroker": Runbook(
        "inputs.ReplaceBrokerInput", "replacement.ReplacementPlan", "Restore a lost or drained broker, or replace it by another."
    ),
    "Rebalance": Runbook("inputs.RebalanceInput", "moves.MovePlan", "Balance the brokers of a map, or of every map."),
    "ScaleUp": Runbook("inputs.ScaleUpInput", "moves.MovePlan", "Move a fair share of the data onto new brokers."),
    "Decommission": Runbook(
        "inputs.DecommissionInput", "moves.MovePlan", "Empty brokers or a rack; optionally remove their pods."
    ),
    "SetReplicationFactor": Runbook("inputs.SetReplicationFactorInput", "moves.MovePlan", "Add or remove replicas of topics."),
    "TopicReconcile": Runbook(
        "inputs.TopicReconcileInput", "topic_plan.TopicPlan", "Make, configure, grow and move topics as ConfigMaps define them."
    ),
    "EvacuateLeaders": Runbook("inputs.EvacuateLeadersInput", "moves.MovePlan", "Move leadership off brokers, or back."),
    "RollingRestart": Runbook(
        "inputs.RollingRestartInput", "restart_plan.RestartPlan", "Restart brokers and controllers, as many at once as is safe."
    ),
    "RestartEnsemble": Runbook(
        "inputs.RestartEnsembleInput",
        "ensemble_plan.EnsemblePlan",
        "Restart the members of the ZooKeeper ensemble, one by one, the leader last.",
    ),
    "Upgrade": Runbook(
        "inputs.UpgradeInput", "upgrades.UpgradePlan", "Roll out a new pod template, a canary first, then finalise features."
    ),
    "MigrateToKraft": Runbook(
        "inputs.MigrateToKraftInput", "kraft_migration.MigrationPlan", "Migrate from ZooKeeper to KRaft leg by leg, or back."
    ),
    "RotateCertificates": Runbook(
        "inputs.RotateCertificatesInput",
        "rotation_plan.RotationPlan",
        "Renew certificates, or change their authority or names, without a restart of brokers.",
    ),
    "Drain": Runbook(
        "inputs.DrainInput", "drains.DrainPlan", "Take brokers and controllers off nodes before maintenance, and back."
    ),
    "RunPlan": Runbook("inputs.RunPlanInput", "moves.MovePlan", "Execute a reassignment JSON."),
    "ThrottleRecovery": Runbook("inputs.ThrottleRecoveryInput", None, "Throttle brokers that are catching up to a safe rate."),
    "ClearLeftovers": Runbook("inputs.ClearLeftoversInput", None, "Remove what terminated runs left on a cluster."),
}


def summary(name: str, cluster: str, requester: str) -> str:
    """What Temporal's lists show of a run."""
    return f"{name} {cluster}, for {requester}"[:200]


def command_name(name: str) -> str:
    """`ReplaceBroker` -> `replace-broker`."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "-", name).lower()
