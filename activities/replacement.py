"""Looking before anything is changed: which broker is meant, what speaks against it, and the frozen plan."""

import time
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TypeVar

from pydantic import ValidationError
from temporalio import activity
from temporalio.exceptions import ApplicationError

from activities.step import LOOK_SECONDS, alive
from kafka_runbooks.clients import store
from kafka_runbooks.clients.clusters import ClusterClients, Clusters
from kafka_runbooks.models.cluster import ClusterSnapshot, Partition, Replica, TopicPartition
from kafka_runbooks.models.force_ready import ForceReady
from kafka_runbooks.models.inputs import NodeState, ReplaceBrokerInput
from kafka_runbooks.models.kubernetes import BrokerPod, Node
from kafka_runbooks.models.messages import BrokerPlace, PlanRequest, Survey
from kafka_runbooks.models.moves import MovePlan
from kafka_runbooks.models.plans import PlannedPartition, PlanReference, PlanSummary, ReplacementPlan
from kafka_runbooks.models.results import Reason
from kafka_runbooks.models.throttles import AdaptiveThrottle
from kafka_runbooks.moves.progress import copy_seconds
from kafka_runbooks.safety.availability import below_minimum, only_copy_on
from kafka_runbooks.safety.replacement import BROKER_IS_UP, find_broker_id, reasons_not_to_replace, why_nothing_to_do
from kafka_runbooks.throttle import controller, leases

PLAN_DRIFT = "PlanDrift"

Frozen = TypeVar("Frozen", ReplacementPlan, MovePlan)

SILENT_SECONDS = 60.0
"""A node without power is NotReady, and its broker unregistered, well before (40 s and 9 s by default)."""

COPY_STEPS = (
    "fence the broker",
    "take throttle leases",
    "confirm that the node is gone",
    "choose a node",
    "release the volume",
    "delete the pod",
    "wait for the pod",
    "follow the catch-up",
    "elect preferred leaders",
    "give back throttles and cordon",
    "prove the exit contract",
)
RETURN_STEPS = (
    "take throttle leases",
    "wait for the pod",
    "follow the catch-up",
    "elect preferred leaders",
    "give back throttles and cordon",
    "prove the exit contract",
)
SUBSTITUTE_STEPS = (
    "take throttle leases",
    "reassign partitions",
    "elect preferred leaders",
    "give back throttles and cordon",
    "prove the exit contract",
)


def look_around(clients: ClusterClients, request: ReplaceBrokerInput) -> Survey:
    """Preflight: find the broker and every reason against replacing it. Changes nothing."""
    survey = look_once(clients, request)
    gives_up = time.monotonic() + SILENT_SECONDS
    while any(reason.name == BROKER_IS_UP for reason in survey.reasons) and time.monotonic() < gives_up:
        assert survey.place is not None, "a broker that was found is up"
        if not clients.kafka.replica_sizes([survey.place.broker_id]).unanswered_broker_ids:
            break
        # Silent, but neither Kubernetes nor Kafka has noticed yet: a power cut of this minute.
        time.sleep(LOOK_SECONDS)
        survey = look_once(clients, request)
    return survey


def look_once(clients: ClusterClients, request: ReplaceBrokerInput) -> Survey:
    """One look at the world as it is now."""
    pods, nodes, broker_ids = clients.kubernetes.broker_pods(), clients.kubernetes.nodes(), clients.kubernetes.broker_ids()
    found = find_broker_id(request, pods, nodes, broker_ids)
    if isinstance(found, Reason):
        return Survey(place=None, reasons=(found,))
    snapshot = clients.kafka.snapshot()
    pod = next((pod for pod in pods if pod.broker_id == found), None)
    if pod is None:
        name = next(name for name, broker_id in broker_ids.items() if broker_id == found)
        place = BrokerPlace(broker_id=found, pod=name, claim=f"data-{name}")
        node = None
    else:
        claim = clients.kubernetes.claim(pod.claim)
        node_name = pod.node or (claim.volume_nodes[0] if claim and claim.volume_nodes else None)
        node = next((node for node in nodes if node.name == node_name), None)
        place = BrokerPlace(
            broker_id=found,
            pod=pod.name,
            claim=pod.claim,
            claim_uid=claim.uid if claim else None,
            volume=claim.volume if claim else None,
            node=node_name,
            node_uid=node.uid if node else None,
            map=pod.map,
            rack=_rack(found, snapshot, node),
        )
    reasons = reasons_not_to_replace(request, found, pod, node, snapshot, clients.kafka.reassignments())
    notes = [
        f"{partition.name} refuses acks=all writes until the broker is back"
        for partition in below_minimum(snapshot)
        if found in partition.replicas
    ]
    return Survey(
        place=place,
        reasons=tuple(reasons),
        notes=(*forced_ready(pods, datetime.now(UTC)), *notes[:20]),
        nothing_to_do=why_nothing_to_do(request, found, pod, node, snapshot),
    )


def forced_ready(pods: Sequence[BrokerPod], now: datetime) -> list[str]:
    """Pods whose readiness somebody forces just now: what Kubernetes says of them is not what the replicas say."""
    found = []
    for pod in pods:
        try:
            force = None if pod.force_ready is None else ForceReady.model_validate_json(pod.force_ready)
        except ValidationError:
            continue
        if force is not None and force.expires_at > now:
            until = f"{force.expires_at:%Y-%m-%dT%H:%M:%SZ}"
            found.append(f"{pod.name}: readiness is forced until {until} by {force.owner}: {force.reason}")
    return found


def _rack(broker_id: int, snapshot: ClusterSnapshot, node: Node | None) -> str | None:
    registered = next((broker.rack for broker in snapshot.brokers if broker.id == broker_id), None)
    return registered or (node.zone if node else None)


def freeze(clients: ClusterClients, request: ReplaceBrokerInput, place: BrokerPlace) -> tuple[ReplacementPlan, PlanSummary]:
    """The plan and its summary, not yet kept anywhere. Changes nothing."""
    snapshot = clients.kafka.snapshot()
    sizes = clients.kafka.replica_sizes(snapshot.live_broker_ids).size_bytes
    partitions = sorted(snapshot.on_broker(place.broker_id), key=lambda partition: partition.name)
    substitute = request.replacement_broker_id
    disk_is_lost = request.node_state is NodeState.LOST
    planned = []
    for partition in partitions:
        largest = max(
            (sizes.get(Replica(partition.topic, partition.partition, broker), 0) for broker in partition.replicas), default=0
        )
        after = partition.replicas
        if substitute is not None:
            after = tuple(substitute if broker == place.broker_id else broker for broker in partition.replicas)
        planned.append(
            PlannedPartition(
                topic=partition.topic,
                partition=partition.partition,
                before=partition.replicas,
                after=after,
                size_bytes=largest,
                in_sync=partition.in_sync,
            )
        )
    moves = [(partition, (substitute if substitute is not None else place.broker_id,)) for partition in partitions]
    sources = leases.sources_of(moves, snapshot.live_broker_ids)
    rates = clients.kafka.throttle_rates(sources)
    steps = SUBSTITUTE_STEPS if substitute is not None else COPY_STEPS if disk_is_lost else RETURN_STEPS
    plan = ReplacementPlan(
        cluster=request.cluster,
        broker_id=place.broker_id,
        replacement_broker_id=substitute,
        copies_everything=disk_is_lost and substitute is None,
        partitions=tuple(planned),
        steps=steps,
        made_at=datetime.now(UTC).isoformat(timespec="seconds"),
        lists_before=clients.kafka.throttled_replicas({partition.topic for partition in partitions}),
        rates_before={broker: rate.leader_bytes_per_s for broker, rate in rates.items() if rate.leader_bytes_per_s is not None},
    )
    copied = plan.total_bytes if disk_is_lost or substitute is not None else 0
    rate = controller.first_rate(request.throttle)
    if isinstance(request.throttle, AdaptiveThrottle):
        rate = ceiling_for(clients, request.throttle, sources)
    digest = plan.sha256()
    summary = PlanSummary(
        reference=PlanReference(plan_id=f"kafka-runbooks-plan-{digest[:16]}", sha256=digest),
        broker_id=place.broker_id,
        pod=place.pod,
        node=place.node,
        rack=place.rack,
        map=place.map,
        replacement_broker_id=substitute,
        partitions=len(planned),
        bytes_to_copy=copied,
        lower_bound_bytes=copied,
        throttle_bytes_per_s=rate,
        eta_seconds=copy_seconds([copied], len(sources), rate),
        steps=steps,
        intermediate_states=intermediate_states(snapshot, place.broker_id),
        foreign_throttles=tuple(
            f"broker {broker}: {rate} B/s set by somebody else; it stays and is obeyed"
            for broker, rate in leases.foreign_rates(rates, {}).items()
        ),
        inverse=(
            f"reassign {len(planned)} partitions back onto broker {place.broker_id}"
            if substitute is not None
            else "none is needed: no replica changes its broker"
        ),
    )
    return plan, summary


def intermediate_states(snapshot: ClusterSnapshot, broker_id: int) -> tuple[str, ...]:
    """What another broker's loss would mean while this one is away: the what-if of each live broker."""
    found = []
    for other in sorted(snapshot.live_broker_ids - {broker_id}):
        writes = len(below_minimum(snapshot, [broker_id, other])) - len(below_minimum(snapshot, [broker_id]))
        alone = [
            partition
            for partition in only_copy_on(snapshot, other)
            if broker_id in partition.replicas and other in partition.in_sync
        ]
        if writes or alone:
            found.append(
                f"if broker {other} fails too: {writes} more partitions refuse acks=all writes, {len(alone)} have no in-sync copy"
            )
    return tuple(found[:50])


def ceiling_for(clients: ClusterClients, throttle: AdaptiveThrottle, sources: tuple[int, ...]) -> int:
    """The highest rate for these sources, from the capacities of their nodes' instance types."""
    nodes = {node.name: node for node in clients.kubernetes.nodes()}
    types = [
        nodes[pod.node].instance_type
        for pod in clients.kubernetes.broker_pods()
        if pod.broker_id in sources and pod.node in nodes
    ]
    known = clients.settings.capacity_bytes_per_s
    return controller.ceiling(throttle, [known[name] for name in types if name in known])


def load_frozen(clients: ClusterClients, reference: PlanReference, model: type[Frozen]) -> Frozen:
    """The frozen plan.

    Raises:
        ApplicationError: it is gone, or is not what was approved; not retryable.
    """
    plan = store.load(clients.kubernetes, reference.plan_id, model)
    if plan is None or plan.sha256() != reference.sha256:
        raise ApplicationError(
            f"plan {reference.plan_id} is gone or is not the one approved", type="InvalidPlan", non_retryable=True
        )
    return plan


def drift(plan: ReplacementPlan, snapshot: ClusterSnapshot) -> list[str]:
    """What changed about the broker's partitions since the plan was made, in words; empty where nothing did.

    A topic that was deleted is no drift: there is less to do. A moved partition that already is where the plan wants it
    isn't either.
    """
    now = {partition.name: partition.replicas for partition in snapshot.partitions}
    planned = {TopicPartition(partition.topic, partition.partition): partition for partition in plan.partitions}
    changes = [
        f"{name}: replicas are {list(now[name])}, planned from {list(partition.before)}"
        for name, partition in planned.items()
        if name in now and now[name] not in (partition.before, partition.after)
    ]
    changes += [
        f"{partition.name}: new on the broker"
        for partition in snapshot.on_broker(plan.broker_id)
        if partition.name not in planned
    ]
    return changes


def planned_now(plan: ReplacementPlan, snapshot: ClusterSnapshot) -> list[Partition]:
    """The plan's partitions as they are now; deleted ones are left out."""
    names = {(partition.topic, partition.partition) for partition in plan.partitions}
    return [partition for partition in snapshot.partitions if partition.name in names]


class SurveyActivities:
    """Preflight and plan. Neither changes the cluster; the plan is written to the plan store."""

    def __init__(self, clusters: Clusters) -> None:
        self._clusters = clusters

    @activity.defn
    def survey_broker(self, request: ReplaceBrokerInput) -> Survey:
        """Find the broker and every reason against replacing it."""
        with alive():
            return look_around(self._clusters.open(request.cluster), request)

    @activity.defn
    def make_replacement_plan(self, asked: PlanRequest) -> PlanSummary:
        """Freeze the plan and keep it; the same state of the cluster gives the same plan, so a retry overwrites its like."""
        with alive():
            clients = self._clusters.open(asked.request.cluster)
            plan, summary = freeze(clients, asked.request, asked.place)
            store.save(
                clients.kubernetes,
                store.PLAN,
                summary.reference.plan_id,
                plan,
                f"replace broker {plan.broker_id}: {len(plan.partitions)} partitions, {summary.bytes_to_copy} bytes; "
                f"run {asked.token.workflow_id}/{asked.token.run_id}",
            )
            return summary

    @activity.defn
    def preview_replacement(self, request: ReplaceBrokerInput, place: BrokerPlace) -> PlanSummary:
        """The plan as it would be frozen now, kept nowhere."""
        with alive():
            return freeze(self._clusters.open(request.cluster), request, place)[1]
