"""Preflight and plan of `Drain`: which nodes, what runs on them, which may be empty together, and every reason not to start."""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

from activities.restart_plans import Found, no_pods, observe, offered, stuck_pods
from activities.step import Steps, heartbeating, step
from kafka_runbooks.clients.protocols import Kubernetes
from kafka_runbooks.models.cluster import ClusterSnapshot
from kafka_runbooks.models.drains import DrainedNode, DrainPlan
from kafka_runbooks.models.inputs import DrainInput
from kafka_runbooks.models.kubernetes import Node
from kafka_runbooks.models.messages import PlanRequest, Survey
from kafka_runbooks.models.plans import PlannedPartition, PlanSummary, SummaryLine, reference_to
from kafka_runbooks.models.restart_plan import RestartTarget
from kafka_runbooks.models.restarts import RestartObservation
from kafka_runbooks.models.results import Reason
from kafka_runbooks.models.steps import StepName
from kafka_runbooks.safety.drains import next_nodes, reasons_not_to_empty, rounds, why_announced

EMPTYING = (StepName.CHOOSE_NODES, StepName.EMPTY)
HOLDING = (StepName.CHOOSE_NODES, StepName.CORDON, StepName.EMPTY, StepName.HOLD, StepName.UNCORDON, StepName.FOLLOW_RESTART)
SHOWN_NODES = 20
SHOWN_PODS = 6


class DrainPlanActivities(Steps):
    """The plan of `Drain`."""

    @step
    def plan_drain(self, asked: PlanRequest[DrainInput]) -> Survey:
        """Find what runs on the nodes and every reason against shutting it down, and freeze the plan. Changes nothing."""
        with heartbeating():
            clients, request = self._open(asked.request.cluster), asked.request
            found = Found(clients)
            observation = observe(clients, found.shutting_down)
            if unknown := [name for name in request.nodes if name not in found.machines]:
                return Survey(reasons=(_unknown(unknown),))
            if missing := no_pods(request.cluster, found):
                return Survey(reasons=tuple(missing))
            nodes = _drained(request, found)
            notes = (*found.notes, *_notes(request, nodes, found, clients.kubernetes))
            if not nodes:
                where = "nodes that somebody else drains" if request.announced else ", ".join(request.nodes)
                return Survey(nothing_to_do=f"no broker or controller runs on {where}", notes=notes)
            if request.announced:
                nodes, reasons, waiting = _let_go(request, nodes, found, observation)
                notes = (*notes, *waiting)
            else:
                reasons = _against(request, nodes, found, observation)
            if not nodes:
                return Survey(reasons=tuple(reasons), notes=notes)
            risks = [reason.name for reason in reasons if reason.can_be_acknowledged]
            together = rounds(observation, nodes, request.limits, (*request.acknowledged_risks, *risks))
            plan = _freeze(request, observation.snapshot, nodes, together)
            return offered(clients, asked, plan, _summarise(plan), reasons, notes)


def _unknown(names: Sequence[str]) -> Reason:
    shown = ", ".join(names[:10])
    return Reason(
        name="unknown-node",
        message=f"nodes: Kubernetes has no node {shown}",
        remedy="give names as `kubectl get nodes` lists them",
        is_bad_input=True,
    )


def _drained(request: DrainInput, found: Found) -> list[DrainedNode]:
    """The nodes with something to shut down. On one that isn't Ready nothing can be, and somebody else's drain knows that too."""
    drained = []
    for name in sorted(found.machines) if request.announced else request.nodes:
        machine = found.machines[name]
        why = why_announced(machine) if request.announced else "asked for"
        targets = tuple(
            RestartTarget(node=one.node, pod=one.pod.name, pod_uid=one.pod.uid, why=f"on node {name}")
            for _, one in sorted(found.nodes.items())
            if one.pod.node == name and not (request.announced and one.pod.is_terminating)
        )
        if why is not None and targets and (machine.is_ready or not request.announced):
            drained.append(DrainedNode(name=name, uid=machine.uid, why=why, targets=targets))
    return drained


def _notes(request: DrainInput, nodes: Iterable[DrainedNode], found: Found, kubernetes: Kubernetes) -> tuple[str, ...]:
    """What an operator should know of the nodes."""
    names = {node.name for node in nodes}
    notes = [f"no broker or controller runs on node {name}: it is left alone" for name in request.nodes if name not in names]
    notes += [
        f"node {name} is {why} already, and stays so after `uncordon`"
        for name in request.nodes
        if name in names and (why := why_announced(found.machines[name])) is not None
    ]
    if request.announced:
        notes += [
            f"PodDisruptionBudget {budget.name} allows evictions now: they don't ask these rules; set maxUnavailable to 0"
            for budget in kubernetes.disruption_budgets()
            if budget.allowed_disruptions
        ]
    return tuple(notes)


def _against(request: DrainInput, nodes: Iterable[DrainedNode], found: Found, observation: RestartObservation) -> list[Reason]:
    """Every reason against each node, asked alone."""
    reasons: list[Reason] = []
    for node in nodes:
        against = [
            *_not_ready(node, found.machines[node.name]),
            *stuck_pods(node.targets, found),
            *reasons_not_to_empty(observation, node.kafka, request.limits, acknowledged_risks=request.acknowledged_risks),
        ]
        reasons += [reason for reason in against if reason not in reasons]
    return reasons


def _let_go(
    request: DrainInput, nodes: Sequence[DrainedNode], found: Found, observation: RestartObservation
) -> tuple[list[DrainedNode], list[Reason], list[str]]:
    """The announced nodes that may be empty now, the reasons of the plan that empties them, and what is said of the others.

    Nothing waits for the others here: the next run sees them, and until then the cluster is free for what repairs it.
    """
    alone = {node.name: _against(request, [node], found, observation) for node in nodes}
    blocked = {name: [one for one in reasons if not one.can_be_acknowledged] for name, reasons in alone.items()}
    free = [node for node in nodes if not blocked[node.name]]
    known = (*request.acknowledged_risks, *(one.name for node in free for one in alone[node.name]))
    chosen, against = next_nodes(observation, free, request.limits, acknowledged_risks=known)
    notes = [
        f"node {node.name} is not let go yet: {(blocked[node.name] or against)[0].message}"
        for node in nodes
        if node not in chosen
    ]
    if not chosen:
        return [], list(dict.fromkeys([*(reason for found in blocked.values() for reason in found), *against])), notes
    return chosen, list(dict.fromkeys(reason for node in chosen for reason in alone[node.name])), notes


def _not_ready(node: DrainedNode, machine: Node) -> list[Reason]:
    if machine.is_ready:
        return []
    return [
        Reason(
            name=f"node-not-ready:{node.name}",
            message=f"node {node.name} is not Ready: nothing on it can be shut down in order",
            remedy="bring it back first; or, where it is lost, use replace-broker",
        )
    ]


def _freeze(
    request: DrainInput, snapshot: ClusterSnapshot, nodes: Sequence[DrainedNode], together: tuple[tuple[str, ...], ...]
) -> DrainPlan:
    """The plan, not stored yet."""
    brokers = {kafka.id for node in nodes for kafka in node.kafka if kafka.is_broker}
    partitions = tuple(
        PlannedPartition(one.topic, one.partition, one.replicas, one.replicas, 0, one.in_sync)
        for one in snapshot.partitions
        if brokers.intersection(one.replicas) and not request.announced
    )
    pods, names = [target.pod for node in nodes for target in node.targets], [node.name for node in nodes]
    what = f"let {_some(pods)} go from {_some(names)}" if request.announced else f"drain {_some(names)}"
    steps = EMPTYING if request.announced else HOLDING
    return DrainPlan(
        cluster=request.cluster,
        kind="Drain",
        title=f"{what}: {request.reason}",
        steps=(*steps, StepName.ELECT, StepName.RELEASE, StepName.PROVE),
        reason=request.reason,
        nodes=tuple(nodes),
        rounds=together,
        limits=request.limits,
        is_announced=request.announced,
        partitions=partitions,
        made_at=datetime.now(UTC).isoformat(timespec="seconds"),
    )


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - SHOWN_PODS} more" if len(names) > SHOWN_PODS else ""
    return ", ".join(names[:SHOWN_PODS]) + more


def _summarise(plan: DrainPlan) -> PlanSummary:
    """The plan's summary for operators."""
    lines = [("reason", plan.reason)]
    for node in plan.nodes[:SHOWN_NODES]:
        lines.append(("node", f"{node.name} ({node.why}): {_some([target.pod for target in node.targets])}"))
    if len(plan.nodes) > SHOWN_NODES:
        lines.append(("node", f"and {len(plan.nodes) - SHOWN_NODES} more"))
    lines += [("empty together", f"{number}. {_some(names)}") for number, names in enumerate(plan.rounds[:SHOWN_NODES], start=1)]
    if plan.is_announced:
        lines.append(("afterwards", "the run ends; the pods come back with their node, or wherever their disks can be mounted"))
    else:
        lines.append(("afterwards", "the run holds the nodes until `uncordon`, and waits until everything is back in sync"))
    return PlanSummary(
        reference=reference_to(plan),
        kind=plan.kind,
        title=plan.title,
        lines=tuple(SummaryLine(label=label, text=text) for label, text in lines),
        steps=plan.steps,
        partitions=len(plan.partitions),
        bytes_to_copy=0,
        lower_bound_bytes=0,
        throttle_bytes_per_s=0,
        eta_seconds=0,
        inverse="abort: the nodes are uncordoned, and what ran on them comes back",
        batches=len(plan.rounds),
    )
