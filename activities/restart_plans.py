"""Preflight and plan of `RollingRestart`: which nodes, why each, in which rounds, and every reason not to start."""

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from activities import plan_store, proof, second_person
from activities.errors import PlannerDefect
from activities.step import Steps, heartbeating, step
from kafka_runbooks.clients.clusters import ClusterClients
from kafka_runbooks.models.cluster import BrokerConfig, ClusterSnapshot
from kafka_runbooks.models.inputs import RestartInput, RollingRestartInput
from kafka_runbooks.models.kubernetes import BrokerPod, ControllerPod, FileChanges, KafkaPod, Node, StatefulSet
from kafka_runbooks.models.messages import PlanRequest, Request, Survey
from kafka_runbooks.models.plans import Plan, PlannedPartition, PlanSummary, SummaryLine, reference_to
from kafka_runbooks.models.restart_plan import RestartPlan, RestartTarget
from kafka_runbooks.models.restarts import KafkaNode, RestartObservation, RestartRounds
from kafka_runbooks.models.results import Reason
from kafka_runbooks.models.steps import StepName
from kafka_runbooks.models.wording import duration
from kafka_runbooks.safety.availability import listed
from kafka_runbooks.safety.rounds import plan_rounds
from kafka_runbooks.safety.rounds_checker import check_rounds

ROUND_STEPS = (StepName.CHOOSE_ROUND, StepName.RESTART, StepName.FOLLOW_RESTART)
SHOWN_ROUNDS = 20
SHOWN_KEYS = 5
NOT_KNOWN = BrokerConfig(in_force=None, own=None, for_all=None, in_file=None, is_read_only=False, is_sensitive=False)


class RestartPlanActivities(Steps):
    """The plan of `RollingRestart`."""

    @step
    def plan_rolling_restart(self, asked: PlanRequest[RollingRestartInput]) -> Survey:
        """Find the nodes to restart and every reason against it, and freeze the rounds. Changes nothing."""
        with heartbeating():
            clients, request = self._open(asked.request.cluster), asked.request
            found = Found(clients)
            observation = observe(clients, found.shutting_down)
            if reasons := [*no_pods(request.cluster, found), *_bad_input(request, found)]:
                return Survey(reasons=tuple(reasons))
            targets, changed = _targets(request, found)
            applied = _not_in_force(clients, changed)
            if not targets and not applied:
                return Survey(nothing_to_do=f"no node {_asked_for(request)} has to restart", notes=found.notes)
            rounds, blocked = verified_rounds(observation, targets, request)
            reasons = [*against_sets(targets, found), *stuck_pods(targets, found), *blocked]
            plan = _freeze(request, observation.snapshot, targets, applied, rounds)
            return offered(clients, asked, plan, _summarise(plan, rounds), reasons, found.notes)


def no_pods(cluster: str, found: "Found") -> list[Reason]:
    """Where no pod is found, nothing is known of the cluster; least of all that nothing has to be done."""
    if found.nodes:
        return []
    return [
        Reason(
            name="no-pods",
            message=f"no pod with the labels of cluster {cluster} and a node ID is found: nobody knows what to restart",
            remedy=f"`kafka-runbooks doctor {cluster}` says which labels are missing",
        )
    ]


def verified_rounds(
    observation: RestartObservation, targets: Sequence[RestartTarget], request: RestartInput, first_broker: int | None = None
) -> tuple[RestartRounds, list[Reason]]:
    """The rounds, as they will be once everything is acknowledged that can be, and every reason against them.

    Raises:
        PlannerDefect: the independent checker finds a broken rule.
    """
    nodes, known = [target.node for target in targets], request.acknowledged_risks
    rounds = plan_rounds(observation, nodes, request.limits, acknowledged_risks=known, first_broker=first_broker)
    reasons = list(rounds.reasons)
    if risks := [reason.name for reason in rounds.reasons if reason.can_be_acknowledged]:
        # The plan is the one that an approval, which acknowledges them, lets be carried out.
        known = (*known, *risks)
        rounds = plan_rounds(observation, nodes, request.limits, acknowledged_risks=known, first_broker=first_broker)
        reasons += [reason for reason in rounds.reasons if reason not in reasons]
    if wrong := check_rounds(observation, nodes, request.limits, rounds, known):
        raise PlannerDefect("; ".join(wrong[:5]))
    return rounds, reasons


def offered(
    clients: ClusterClients,
    asked: PlanRequest[Request],
    plan: Plan,
    summary: PlanSummary,
    reasons: Sequence[Reason],
    notes: tuple[str, ...],
) -> Survey:
    """Keep a plan if the run can go on with it, and show it."""
    if asked.token is not None and asked.keeps_plan(reasons):
        plan_store.save(clients.kubernetes, plan, asked.token)
    survey = Survey(plan=summary, reasons=tuple(reasons), notes=notes)
    return second_person.demanded(clients.settings, asked.request, survey)


def observe(clients: ClusterClients, shutting_down: Sequence[KafkaNode] | None = None) -> RestartObservation:
    """The cluster now, for the rules of restarts.

    Args:
        shutting_down: what shuts down, where that was asked for just now, or where nobody is to go down.
    """
    began = time.monotonic()
    if shutting_down is None:
        shutting_down = Found(clients).shutting_down
    # Without a quorum nobody knows which brokers are cut off, and whose metadata are old.
    quorum, snapshot = proof.newest(clients.kafka, clients.zookeeper)
    reassignments = clients.kafka.reassignments()
    age_seconds = time.monotonic() - began
    return RestartObservation(snapshot, quorum, reassignments, age_seconds, shutting_down=shutting_down)


@dataclass(frozen=True)
class FoundNode:
    """A node with its pod, and what has changed since it started."""

    node: KafkaNode
    pod: BrokerPod | ControllerPod
    is_outdated: bool
    changes: FileChanges | None


class Found:
    """Every node, asked once."""

    def __init__(self, clients: ClusterClients) -> None:
        kubernetes = clients.kubernetes
        self.pods: list[BrokerPod | ControllerPod] = [*kubernetes.broker_pods(), *kubernetes.controller_pods()]
        self.sets: dict[str, StatefulSet] = {one.name: one for one in kubernetes.stateful_sets()}
        self.machines: dict[str, Node] = {node.name: node for node in kubernetes.nodes()}
        zones, changes = {node.name: node.zone for node in self.machines.values()}, kubernetes.file_changes()
        self.nodes: dict[int, FoundNode] = {}
        self.notes: tuple[str, ...] = ()
        for pod in self.pods:
            node_id = pod.node_id
            if node_id is None:
                self.notes += (f"pod {pod.name} doesn't tell its node id and is left alone",)
                continue
            node = KafkaNode(
                id=node_id,
                is_broker=isinstance(pod, BrokerPod),
                is_controller=pod.is_controller,
                rack=zones.get(pod.node or ""),
                map=pod.map if isinstance(pod, BrokerPod) else None,
                is_ready=pod.is_ready and not pod.is_terminating,
            )
            newest, known = self.sets.get(pod.stateful_set), changes.get(pod.name)
            is_outdated = newest is not None and None not in (newest.update_revision, pod.revision)
            is_outdated = is_outdated and newest is not None and newest.update_revision != pod.revision
            is_of_this_start = known is not None and known.is_of(pod)
            self.nodes[node_id] = FoundNode(node, pod, is_outdated, known if is_of_this_start else None)

    @property
    def shutting_down(self) -> list[KafkaNode]:
        """Those whose pods somebody has told to end."""
        return [one.node for _, one in sorted(self.nodes.items()) if one.pod.is_terminating]

    @property
    def maps(self) -> list[str]:
        return sorted({one.node.map for one in self.nodes.values() if one.node.map is not None})


def _bad_input(request: RollingRestartInput, found: Found) -> list[Reason]:
    reasons = []
    unknown = sorted(set(request.node_ids) - found.nodes.keys())
    if unknown:
        reasons.append(
            Reason(
                name="unknown-node",
                message=f"node_ids: the cluster has no node {listed(unknown)}",
                remedy=f"give some of {listed(sorted(found.nodes), 30)}",
                is_bad_input=True,
            )
        )
    if request.map is not None and request.map not in found.maps:
        reasons.append(
            Reason(
                name="unknown-map",
                message=f"map: no broker is of map {request.map!r}",
                remedy=f"give one of {', '.join(found.maps)}",
                is_bad_input=True,
            )
        )
    return reasons


def _asked_for(request: RollingRestartInput) -> str:
    """`of map events that started before …`."""
    scope = f"of map {request.map}" if request.map else f"of {listed(sorted(request.node_ids))}" if request.node_ids else "at all"
    filters = [*(["is outdated"] if request.only_outdated else [])]
    filters += [f"started before {request.started_before:%Y-%m-%d %H:%M:%S %Z}"] if request.started_before else []
    return scope + (f" that {' or '.join(filters)}" if filters else "")


def _targets(request: RollingRestartInput, found: Found) -> tuple[list[RestartTarget], dict[int, dict[str, str]]]:
    """The nodes to restart, and what others take without a restart."""
    targets, applied = [], {}
    for node_id, one in sorted(found.nodes.items()):
        if (request.node_ids and node_id not in request.node_ids) or request.map not in (None, one.node.map):
            continue
        why, values = _why(request, one)
        if why:
            targets.append(RestartTarget(node=one.node, pod=one.pod.name, pod_uid=one.pod.uid, why=why))
        elif values:
            applied[node_id] = values
    return targets, applied


def _not_in_force(clients: ClusterClients, changed: Mapping[int, Mapping[str, str]]) -> dict[int, dict[str, str]]:
    """Of what has changed in brokers' files, what they don't go by yet: it may have been set on them before."""
    now = clients.kafka.broker_configs(changed) if changed else {}
    found = {
        broker_id: {
            name: value for name, value in values.items() if now.get(broker_id, {}).get(name, NOT_KNOWN).in_force != value
        }
        for broker_id, values in changed.items()
    }
    return {broker_id: values for broker_id, values in found.items() if values}


def _why(request: RollingRestartInput, one: FoundNode) -> tuple[str, dict[str, str]]:
    """What makes a node one to restart; where nothing does, what has changed in its file and is set without a restart."""
    if not request.only_outdated and request.started_before is None:
        return "asked for", {}
    why, values = [], {}
    if request.started_before is not None:
        started_at = one.pod.started_at
        if started_at is None:
            why.append("is not running")
        elif started_at < request.started_before:
            why.append(f"started {started_at.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC")
    if request.only_outdated:
        changed = {} if one.changes is None else one.changes.changed
        by_restart = sorted(key for key, value in changed.items() if value is None)
        values = {key: value for key, value in changed.items() if value is not None}
        if one.is_outdated:
            why.append("its pod template has changed")
        if by_restart:
            more = f" and {len(by_restart) - SHOWN_KEYS} more" if len(by_restart) > SHOWN_KEYS else ""
            why.append(f"its file has changed: {', '.join(by_restart[:SHOWN_KEYS])}{more}")
    return "; ".join(why), values


def against_sets(targets: Iterable[RestartTarget], found: Found) -> list[Reason]:
    """Under `RollingUpdate` Kubernetes restarts pods by itself, as soon as they are Ready."""
    names = {found.nodes[target.node.id].pod.stateful_set for target in targets}
    return not_on_delete(found.sets[name] for name in sorted(names & found.sets.keys()))


def not_on_delete(sets: Iterable[StatefulSet]) -> list[Reason]:
    """Those of them that Kubernetes updates itself."""
    return [
        Reason(
            name=f"update-strategy:{one.name}",
            message=f"StatefulSet {one.name} is updated by {one.update_strategy}: Kubernetes restarts its pods too",
            remedy=f"kubectl patch statefulset {one.name} -p '"
            '{"spec":{"updateStrategy":{"type":"OnDelete","rollingUpdate":null}}}\'',
        )
        for one in sets
        if one.update_strategy != "OnDelete"
    ]


def stuck_pods(targets: Iterable[RestartTarget], found: Found) -> list[Reason]:
    """A pod that is stuck with the newest template: the next one would get stuck too."""
    names = {found.nodes[target.node.id].pod.stateful_set for target in targets}
    return stuck_with_newest(one.pod for one in found.nodes.values() if one.pod.stateful_set in names and not one.is_outdated)


def stuck_with_newest(pods: Iterable[KafkaPod]) -> list[Reason]:
    """Those of pods with the newest template that are stuck."""
    return [
        Reason(
            name=f"stuck-pod:{pod.name}",
            message=f"pod {pod.name} is stuck with the newest template of {pod.stateful_set}: {pod.stuck}",
            remedy="repair the template: a restart would get the other pods stuck too",
        )
        for pod in pods
        if pod.stuck is not None
    ]


def partitions_of(targets: Iterable[RestartTarget], snapshot: ClusterSnapshot) -> tuple[PlannedPartition, ...]:
    """Every partition that has a replica on one of the brokers; none moves."""
    brokers = {target.node.id for target in targets if target.node.is_broker}
    return tuple(
        PlannedPartition(one.topic, one.partition, one.replicas, one.replicas, 0, one.in_sync)
        for one in snapshot.partitions
        if brokers.intersection(one.replicas)
    )


def _freeze(
    request: RollingRestartInput,
    snapshot: ClusterSnapshot,
    targets: Sequence[RestartTarget],
    applied: dict[int, dict[str, str]],
    rounds: RestartRounds,
) -> RestartPlan:
    """The plan, not stored yet."""
    restarting = (*ROUND_STEPS, StepName.ELECT) if targets else ()
    return RestartPlan(
        cluster=request.cluster,
        kind="RollingRestart",
        title=f"restart {len(targets)} nodes: {request.reason}" if targets else f"apply configurations: {request.reason}",
        steps=(*((StepName.APPLY_CONFIGS,) if applied else ()), *restarting, StepName.RELEASE, StepName.PROVE),
        reason=request.reason,
        targets=tuple(targets),
        rounds=rounds.rounds,
        fewest_rounds=rounds.lower_bound_rounds,
        limits=request.limits,
        wait_for=request.wait_for,
        applied=applied,
        partitions=partitions_of(targets, snapshot),
        made_at=datetime.now(UTC).isoformat(timespec="seconds"),
    )


def _summarise(plan: RestartPlan, rounds: RestartRounds) -> PlanSummary:
    """The plan's summary for operators."""
    applied = [
        ("set without a restart", f"broker {broker_id}: {', '.join(sorted(values)[:SHOWN_KEYS])}")
        for broker_id, values in sorted(plan.applied.items())[:SHOWN_ROUNDS]
    ]
    notices = (
        ("what is set without a restart stays set on the brokers, over what their file says, until this runbook restarts them",)
        if plan.applied
        else ()
    )
    return summary_of(plan, rounds, applied, notices=notices, inverse="none is needed: a restart changes no assignment")


def summary_of(plan: RestartPlan, rounds: RestartRounds, more: Sequence[tuple[str, str]], **figures: Any) -> PlanSummary:
    """Nodes, rounds and time of a plan.

    Args:
        more: its other lines.
        figures: its other fields.
    """
    why = {target.node.id: target.why for target in plan.targets}
    kind = {target.node.id: "broker" if target.node.is_broker else "controller" for target in plan.targets}
    shown = [
        f"{number}. {', '.join(f'{kind[one]} {one}' for one in round_)}" for number, round_ in enumerate(rounds.rounds, start=1)
    ]
    left = len(shown) - SHOWN_ROUNDS
    lines = [
        ("reason", plan.reason),
        ("nodes", f"{len(plan.targets)}, {len(plan.broker_ids)} of them brokers; {'; '.join(sorted(set(why.values()))[:5])}"),
        ("rounds", f"{len(rounds.rounds)}; no order within these limits has fewer than {rounds.lower_bound_rounds}"),
        *(("round", line) for line in shown[:SHOWN_ROUNDS]),
        *([("round", f"and {left} more")] if left > 0 else []),
        ("time", f"about {duration(rounds.makespan_seconds)}, at best {duration(rounds.lower_bound_seconds)}"),
        *more,
    ]
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
        eta_seconds=rounds.makespan_seconds,
        batches=len(rounds.rounds),
        **figures,
    )
