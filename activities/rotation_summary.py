"""What is said of a planned rotation: its steps, its duration, who restarts how often, and the summary for operators."""

from collections.abc import Mapping, Sequence

from kafka_runbooks.models.certificates import Certificate
from kafka_runbooks.models.inputs import RotateCertificatesInput
from kafka_runbooks.models.plans import PlanSummary, SummaryLine, reference_to
from kafka_runbooks.models.rotation_plan import RotatedNode, RotationPlan
from kafka_runbooks.models.rotations import Phase
from kafka_runbooks.models.steps import StepName
from kafka_runbooks.models.wording import duration
from kafka_runbooks.safety.rotations import RESTARTS

BATCH_SECONDS = 30.0
"""That the kubelet and the proof take for those that change together."""
RESTART_SECONDS = 90.0
SHOWN = 20


def steps_of(request: RotateCertificatesInput, nodes: Sequence[RotatedNode]) -> tuple[StepName, ...]:
    by_restart = any(not node.reloads for node in nodes) or (
        request.mode == "change-authority" and request.restarts == "now" and any(node.is_controller for node in nodes)
    )
    return (
        StepName.CHOOSE_CHANGE,
        StepName.WRITE_FILES,
        StepName.FOLLOW_FILES,
        StepName.PROVE_FILES,
        *((StepName.CHOOSE_ROUND, StepName.RESTART, StepName.FOLLOW_RESTART) if by_restart else ()),
        *((StepName.FIND_CLIENTS,) if request.mode == "change-authority" else ()),
        StepName.ELECT,
        StepName.RELEASE,
        StepName.PROVE,
        StepName.FORGET_FILES,
    )


def eta_seconds(plan: RotationPlan) -> float:
    changing = [node for node in plan.nodes if not node.keeps]
    together = sum(1 for node in changing if node.reloads and not node.is_controller)
    batches = len(plan.clients) + min(1, together) + -(-max(0, together - 1) // plan.at_once) + len(changing) - together
    phases = sum(1 for phase in plan.goal.phases if phase not in RESTARTS)
    restarts = sum(restarts_of(node, plan) for node in changing if node.is_controller or not plan.break_glass)
    if plan.break_glass and any(restarts_of(node, plan) for node in changing if not node.is_controller):
        restarts += 2  # All at once, and each takes its whole grace period to end.
    return phases * batches * BATCH_SECONDS + restarts * RESTART_SECONDS


def restarts_of(node: RotatedNode, plan: RotationPlan) -> int:
    """How often a node restarts, at most."""
    if node.keeps:
        return 0
    for_quorum = sum(1 for phase in RESTARTS if phase in plan.goal.phases and (node.is_controller or phase is RESTARTS[0]))
    return for_quorum + (0 if node.reloads else 1)


def summarise(plan: RotationPlan, served: Mapping[str, Certificate]) -> PlanSummary:
    """The plan's summary for operators."""
    changing = [node.name for node in plan.nodes if not node.keeps]
    restarting = [f"{node.name} ({times}x)" for node in plan.nodes if (times := restarts_of(node, plan))]
    ends = sorted((one.not_after, name) for name, one in served.items())
    lines = [
        ("reason", plan.reason),
        ("phases", ", ".join(plan.goal.phases)),
        ("issuer", plan.issuer),
        ("nodes", f"{len(changing)}: {', '.join(changing[:SHOWN])}"),
        ("restarts", f"{len(restarting)} nodes: {', '.join(restarting[:SHOWN])}" if restarting else "none"),
        ("first", plan.canary or "none"),
        ("our own clients", ", ".join(one.name for one in plan.clients) or "none"),
        ("time", f"about {duration(plan.eta_seconds)}"),
        *(("ends now", f"{name}: {at:%Y-%m-%d %H:%M} UTC") for at, name in ends[:SHOWN]),
    ]
    is_change = plan.mode == "change-authority"
    notices = []
    if plan.mode == "renew" and plan.goal.has_controllers and not plan.break_glass:
        first_end = min(node.before.not_after for node in plan.nodes)
        notices.append(
            "connections of the quorum go on with the certificate that each process was started with: restart each node "
            f"before that ends (the first on {first_end:%Y-%m-%d %H:%M} UTC; rolling-restart --started-before)"
        )
    if plan.break_glass:
        notices.append(
            "BREAK GLASS: controllers restart one after the other, then all brokers that they don't let in any more, "
            "whatever is in sync: partitions are unavailable meanwhile"
        )
    if is_change:
        notices.append(
            "the old authority is dropped only after another question: who has a certificate of that alone is refused then"
        )
    if is_change and Phase.DROP not in plan.goal.phases:
        notices = [
            "nothing restarts, so controllers keep their certificates, and everybody goes on trusting the old authority: "
            "a later run with restarts now ends that"
        ]
    return PlanSummary(
        reference=reference_to(plan),
        kind=plan.kind,
        title=plan.title,
        lines=tuple(SummaryLine(label=label, text=text) for label, text in lines),
        steps=plan.steps,
        partitions=0,
        bytes_to_copy=0,
        lower_bound_bytes=0,
        throttle_bytes_per_s=0,
        eta_seconds=plan.eta_seconds,
        notices=tuple(notices),
        inverse="a rotation by the former issuer"
        if is_change
        else "none is needed: the former certificates stay valid to their end",
    )
