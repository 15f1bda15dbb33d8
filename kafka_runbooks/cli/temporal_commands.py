"""The page with every runbook's `temporal` commands, made of what the command itself prints.

python -m kafka_runbooks.cli.temporal_commands > docs/runbooks/temporal-commands.md
"""

from collections.abc import Mapping
from typing import Any

from kafka_runbooks.catalogue import RUNBOOKS, command_name
from kafka_runbooks.cli import equivalents

TASK_QUEUE = "kafka-runbooks"
WHO = {"cluster": "lab", "requester": "alice"}
EXAMPLES: Mapping[str, Mapping[str, Any]] = {
    "ReplaceBroker": {"broker_id": 1002},
    "Rebalance": {},
    "ScaleUp": {"brokers": [1007]},
    "Decommission": {"brokers": [1006]},
    "SetReplicationFactor": {"topics": ["events.clicks"], "replication_factor": 3},
    "TopicReconcile": {},
    "EvacuateLeaders": {"brokers": [1002]},
    "RollingRestart": {"reason": "CHG-12"},
    "RestartEnsemble": {"reason": "CHG-12"},
    "MigrateToKraft": {"reason": "CHG-12"},
    "Upgrade": {"reason": "CHG-12"},
    "RotateCertificates": {"reason": "end in May", "mode": "renew"},
    "Drain": {"reason": "CHG-12", "nodes": ["kafka-7"]},
    "RunPlan": {"config_map": "reassignment-12"},
    "ThrottleRecovery": {"brokers": [1002]},
    "ClearLeftovers": {},
}
"""The least input of each runbook, beside cluster and requester."""
BECAUSE = {"by": "alice", "reason": "INC-7"}
UPDATES: Mapping[str, Mapping[str, Any]] = {
    "approve": BECAUSE,
    "reject": BECAUSE,
    "pause": BECAUSE,
    "resume": BECAUSE,
    "abort": BECAUSE,
}
MORE_UPDATES: Mapping[str, Mapping[str, Mapping[str, Any]]] = {
    "ReplaceBroker": {"add_brokers": {**BECAUSE, "broker_id": 1003}},
    "Drain": {"uncordon": BECAUSE},
}


INTRODUCTION = """\
Every runbook with nothing but the `temporal` command, which may be all that a machine has at night. `kafka-runbooks` prints
the same lines for whatever it is told. This page is made of them: `python -m kafka_runbooks.cli.temporal_commands`.

`start` comes back at once, `execute` waits for the result; both fail where a run of this ID is in progress. The summary is what
Temporal's lists show. Search attributes are set by the run itself, where `kafka-runbooks setup` has registered them: Temporal
starts nothing with one that it doesn't know. Wrong input is refused by the run, which then changes nothing."""


def workflow_id(runbook: str) -> str:
    return f"{WHO['cluster']}/{command_name(runbook)}/INC-7"


def start(runbook: str, *, waits: bool = False) -> str:
    """The command that starts a runbook's example."""
    return equivalents.start(runbook, {**WHO, **EXAMPLES[runbook]}, workflow_id(runbook), TASK_QUEUE, waits=waits)


def page() -> str:
    """The page."""
    lines = [
        "# The `temporal` commands",
        "",
        *INTRODUCTION.splitlines(),
        "",
        "## Start",
    ]
    for runbook in RUNBOOKS:
        lines += ["", f"### {command_name(runbook)}", "", "```", start(runbook), start(runbook, waits=True), "```"]
    example = workflow_id("ReplaceBroker")
    lines += ["", "## Follow", "", "```", equivalents.status(example), equivalents.listing("KafkaCluster = 'lab'"), "```"]
    lines += ["", "## Decide", "", "The same for every runbook; who decides and why is recorded.", "", "```"]
    lines += [equivalents.update(name, example, data) for name, data in UPDATES.items()]
    lines += ["```", "", "Of one runbook each:", "", "```"]
    lines += [
        equivalents.update(name, workflow_id(runbook), data)
        for runbook, updates in MORE_UPDATES.items()
        for name, data in updates.items()
    ]
    return "\n".join([*lines, "```", ""])


if __name__ == "__main__":
    print(page(), end="")
