"""Which nodes somebody else drains, and which may be empty at the same time.

A drained node is a restart that takes as long as the maintenance: the rules are those of restarts, asked of everything on the
node together.
"""

from collections.abc import Collection, Sequence

from kafka_runbooks.models.drains import DrainedNode
from kafka_runbooks.models.kubernetes import Node
from kafka_runbooks.models.restarts import KafkaNode, RestartLimits, RestartObservation
from kafka_runbooks.models.results import Reason
from kafka_runbooks.safety.restarts import reasons_not_to_restart

ANNOUNCING_TAINTS = frozenset(
    {
        "ToBeDeletedByClusterAutoscaler",
        "karpenter.sh/disrupted",
        "karpenter.sh/disruption",
        "cloud.google.com/impending-node-termination",
    }
)
"""Set once it is decided. `DeletionCandidateOfClusterAutoscaler` is none: most candidates stay."""
ANNOUNCING_PREFIXES = ("aws-node-termination-handler/",)


def why_announced(node: Node) -> str | None:
    """How somebody else has announced that the node is about to go or to be worked on; None where nobody has.

    A cordon with a runbook's name on it is a runbook's own. The taints `node.kubernetes.io/…` tell a node's state, not a plan.
    """
    taints = [key for key in node.taints if key in ANNOUNCING_TAINTS or key.startswith(ANNOUNCING_PREFIXES)]
    if taints:
        return f"tainted {', '.join(sorted(taints))}"
    return "cordoned by somebody else" if node.is_cordoned and node.cordoned_by is None else None


def reasons_not_to_empty(
    observation: RestartObservation,
    going: Collection[KafkaNode],
    limits: RestartLimits,
    *,
    later: Collection[KafkaNode] = (),
    acknowledged_risks: Collection[str] = (),
) -> list[Reason]:
    """As `reasons_not_to_restart`, but the active controller waits only for controllers on other nodes."""
    found = reasons_not_to_restart(observation, going, limits, later=later, acknowledged_risks=acknowledged_risks)
    others_first = any(node.is_controller for node in later)
    return [reason for reason in found if others_first or reason.name != "active-controller-last"]


def next_nodes(
    observation: RestartObservation,
    left: Sequence[DrainedNode],
    limits: RestartLimits,
    *,
    acknowledged_risks: Collection[str] = (),
) -> tuple[list[DrainedNode], list[Reason]]:
    """As many nodes as may be empty together now, in their order; and every reason against the others.

    Args:
        observation: made just now.
        left: those that are not empty yet.
        limits: as the operator gave them.
        acknowledged_risks: names of reasons that an operator has accepted.
    """
    chosen: list[DrainedNode] = []
    reasons: list[Reason] = []
    for node in left:
        going = [kafka for one in (*chosen, node) for kafka in one.kafka]
        later = [kafka for one in left if one is not node and one not in chosen for kafka in one.kafka]
        against = reasons_not_to_empty(observation, going, limits, later=later, acknowledged_risks=acknowledged_risks)
        if against:
            reasons += [reason for reason in against if reason not in reasons]
        else:
            chosen.append(node)
    return chosen, reasons


def rounds(
    observation: RestartObservation, nodes: Sequence[DrainedNode], limits: RestartLimits, acknowledged_risks: Collection[str]
) -> tuple[tuple[str, ...], ...]:
    """The nodes that are empty together, round by round, if the cluster stays as it is; without those that never may be."""
    left = list(nodes)
    found: list[tuple[str, ...]] = []
    while True:
        chosen, _ = next_nodes(observation, left, limits, acknowledged_risks=acknowledged_risks)
        if not chosen:
            return tuple(found)
        found.append(tuple(node.name for node in chosen))
        left = [node for node in left if node not in chosen]
