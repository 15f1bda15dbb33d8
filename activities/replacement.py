"""Preflight and plan of `ReplaceBroker`: find the broker, collect every reason not to start, and freeze the plan."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from activities import ledgers, plan_store, second_person
from activities.planned_rates import planned_rates, rates_of
from activities.step import POLL_SECONDS, Steps, heartbeating, step
from kafka_runbooks.clients.clusters import ClusterClients
from kafka_runbooks.models.cluster import ClusterSnapshot, Replica, ReplicaSizes
from kafka_runbooks.models.inputs import NodeState, ReplaceBrokerInput
from kafka_runbooks.models.kubernetes import BrokerPlace, BrokerPod
from kafka_runbooks.models.ledger import EntryLease
from kafka_runbooks.models.messages import PlanRequest, Survey, Token
from kafka_runbooks.models.plans import PlannedPartition, PlanSummary, SummaryLine, reference_to
from kafka_runbooks.models.replacement import ReplacementPlan
from kafka_runbooks.models.results import Reason
from kafka_runbooks.models.steps import StepName
from kafka_runbooks.models.wording import duration, size
from kafka_runbooks.moves.freeze import verify
from kafka_runbooks.moves.progress import copy_seconds
from kafka_runbooks.moves.what_if import intermediate_states
from kafka_runbooks.placement import snapshots
from kafka_runbooks.placement.errors import PlannerDefect
from kafka_runbooks.safety import lost_node, replacement
from kafka_runbooks.safety.availability import may_go_down, under_min_isr
from kafka_runbooks.throttle import leases

SILENT_SECONDS = 60.0
"""By then a node without power is NotReady, and its broker unregistered (after 40 s and 9 s by default)."""

COPY_STEPS = (
    StepName.FENCE,
    StepName.CONFIRM_GONE,
    StepName.CHOOSE_NODE,
    StepName.TAKE_LEASES,
    StepName.RELEASE_VOLUME,
    StepName.DELETE_POD,
    StepName.WAIT_FOR_POD,
    StepName.CATCH_UP,
    StepName.ELECT,
    StepName.RELEASE,
    StepName.PROVE,
)
RETURN_STEPS = (
    StepName.TAKE_LEASES,
    StepName.WAIT_FOR_POD,
    StepName.CATCH_UP,
    StepName.ELECT,
    StepName.RELEASE,
    StepName.PROVE,
)
SUBSTITUTE_STEPS = (StepName.TAKE_LEASES, StepName.REASSIGN, StepName.ELECT, StepName.RELEASE, StepName.PROVE)


class ReplacementActivities(Steps):
    """The plan of `ReplaceBroker`."""

    @step
    def plan_replace_broker(self, asked: PlanRequest[ReplaceBrokerInput]) -> Survey:
        """Find the broker and every reason against replacing it, and freeze the plan. Changes nothing.

        When the rest of an approved plan is planned again, the broker's approved place is kept: its claim may have been replaced
        since.
        """
        with heartbeating():
            clients, request = self._open(asked.request.cluster), asked.request
            if asked.approved is not None:
                place = plan_store.load_as(clients.kubernetes, asked.approved, ReplacementPlan).place
                found = _judged(clients, request, clients.kafka.snapshot(), place)
            else:
                found = _patiently(clients, request)
            if found.place is None or found.nothing_to_do is not None:
                return Survey(reasons=found.reasons, notes=found.notes, nothing_to_do=found.nothing_to_do)
            is_blocked = any(not reason.can_be_acknowledged for reason in found.reasons)
            if is_blocked and asked.token is not None:
                return Survey(reasons=found.reasons, notes=found.notes)
            sizes = clients.kafka.replica_sizes(found.snapshot.live_broker_ids)
            plan = freeze(clients, request, found.snapshot, sizes, found.place, asked.token)
            reasons = found.reasons if is_blocked else (*found.reasons, *broken_rules(clients, plan, found.snapshot, sizes))
            if asked.token is not None and asked.keeps_plan(reasons):
                plan_store.save(clients.kubernetes, plan, asked.token)
            survey = Survey(plan=summarise(clients, plan, found.snapshot, asked.token), reasons=reasons, notes=found.notes)
            return second_person.demanded(clients.settings, request, survey)


@dataclass(frozen=True)
class Found:
    """Result of the preflight. `place` is None if the broker can't be found."""

    snapshot: ClusterSnapshot
    place: BrokerPlace | None
    reasons: tuple[Reason, ...] = ()
    notes: tuple[str, ...] = ()
    nothing_to_do: str | None = None


def _patiently(clients: ClusterClients, request: ReplaceBrokerInput) -> Found:
    """Preflight; a broker that counts as up but doesn't answer may have lost power, unnoticed so far."""
    found = _preflight(clients, request)
    gives_up = time.monotonic() + SILENT_SECONDS
    while any(reason.name == replacement.BROKER_IS_UP for reason in found.reasons) and time.monotonic() < gives_up:
        if found.place is None or not clients.kafka.replica_sizes([found.place.broker_id]).unanswered_broker_ids:
            break
        time.sleep(POLL_SECONDS)
        found = _preflight(clients, request)
    return found


def _preflight(clients: ClusterClients, request: ReplaceBrokerInput) -> Found:
    pods, nodes, broker_ids = clients.kubernetes.broker_pods(), clients.kubernetes.nodes(), clients.kubernetes.broker_ids()
    last_starts = clients.kubernetes.last_starts()
    broker_id = replacement.find_broker_id(request, pods, nodes, broker_ids, last_starts)
    snapshot = clients.kafka.snapshot()
    if isinstance(broker_id, Reason):
        return Found(snapshot, place=None, reasons=(broker_id,))
    pod = next((pod for pod in pods if pod.broker_id == broker_id), None)
    name = pod.name if pod is not None else next(name for name, known in broker_ids.items() if known == broker_id)
    claims = [found for claim in _claims_of(clients, name, pod) if (found := clients.kubernetes.claim(claim)) is not None]
    place = replacement.place_of(broker_id, name, pod, claims, nodes, snapshot, last_starts.get(name))
    return _judged(clients, request, snapshot, place)


def _judged(clients: ClusterClients, request: ReplaceBrokerInput, snapshot: ClusterSnapshot, place: BrokerPlace) -> Found:
    """Every reason against replacing the broker of this place, also when the rest of a plan is planned again."""
    broker_id, pods = place.broker_id, clients.kubernetes.broker_pods()
    pod = next((pod for pod in pods if pod.broker_id == broker_id), None)
    node = next((node for node in clients.kubernetes.nodes() if lost_node.is_node_of(node, place)), None)
    refusing = [partition for partition in under_min_isr(snapshot) if broker_id in partition.replicas]
    notes = [f"{partition.name} refuses acks=all writes until the broker is back" for partition in refusing]
    if broker_id in snapshot.live_broker_ids:
        notes += [f"if broker {broker_id} goes down now: {reason.message}" for reason in may_go_down(snapshot, [broker_id])]
    return Found(
        snapshot,
        place,
        reasons=tuple(replacement.reasons_not_to_replace(request, broker_id, pod, node, snapshot, clients.kafka.reassignments())),
        notes=(*replacement.forced_ready(pods, datetime.now(UTC)), *notes[:20]),
        nothing_to_do=replacement.why_nothing_to_do(request, broker_id, pod, node, snapshot),
    )


def _claims_of(clients: ClusterClients, name: str, pod: BrokerPod | None) -> tuple[str, ...]:
    """The names of a pod's claims; of one that is gone, by its StatefulSet's templates."""
    if pod is not None:
        return pod.claims
    owner = name.rpartition("-")[0]
    return next((one.claims_of(name) for one in clients.kubernetes.stateful_sets() if one.name == owner), ())


def broken_rules(
    clients: ClusterClients, plan: ReplacementPlan, snapshot: ClusterSnapshot, sizes: ReplicaSizes
) -> tuple[Reason, ...]:
    """Violations found by the independent checker. The operator chose the brokers, so they are reasons not to start."""
    cluster = snapshots.from_snapshot(snapshots.observed(snapshot, sizes, clients.kafka.reassignments()))
    try:
        verify(plan.as_moves(), cluster, is_given=True)
    except PlannerDefect as error:
        remedy = "give a replacement_broker_id that can hold these replicas"
        return (Reason(name="breaks-a-rule", message=str(error)[:2000], remedy=remedy),)
    return ()


def freeze(
    clients: ClusterClients,
    request: ReplaceBrokerInput,
    snapshot: ClusterSnapshot,
    sizes: ReplicaSizes,
    place: BrokerPlace,
    token: Token | None,
) -> ReplacementPlan:
    """The plan, not stored yet. Changes nothing. What the run has set already doesn't count as set by others."""
    partitions = sorted(snapshot.on_broker(place.broker_id), key=lambda partition: partition.name)
    substitute, disk_is_lost = request.replacement_broker_id, request.node_state is NodeState.LOST
    planned = tuple(
        PlannedPartition(
            topic=partition.topic,
            partition=partition.partition,
            before=partition.replicas,
            after=tuple(
                substitute if broker == place.broker_id and substitute is not None else broker for broker in partition.replicas
            ),
            size_bytes=max(
                (sizes.size_bytes.get(Replica(partition.topic, partition.partition, broker), 0) for broker in partition.replicas),
                default=0,
            ),
            in_sync=partition.in_sync,
        )
        for partition in partitions
    )
    sources = _sources(planned, snapshot, place.broker_id if substitute is None else substitute)
    ours = None if token is None else ledgers.read(clients.kubernetes, token)
    lists = clients.kafka.throttled_replicas({partition.topic for partition in partitions})
    return ReplacementPlan(
        cluster=request.cluster,
        kind="ReplaceBroker",
        title=f"replace broker {place.broker_id}" + ("" if substitute is None else f" by broker {substitute}"),
        steps=SUBSTITUTE_STEPS if substitute is not None else COPY_STEPS if disk_is_lost else RETURN_STEPS,
        place=place,
        replacement_broker_id=substitute,
        copies_everything=disk_is_lost and substitute is None,
        node_is_gone=request.node_is_gone,
        throttle=request.throttle,
        partitions=planned,
        made_at=datetime.now(UTC).isoformat(timespec="seconds"),
        lists_before={
            topic: leases.remove_entries(found, ours.entries.get(topic, EntryLease()) if ours else EntryLease())
            for topic, found in lists.items()
        },
        rates_before=leases.foreign_rates(rates_of(clients, sources), ours.rates if ours else {}),
    )


def _sources(planned: Sequence[PlannedPartition], snapshot: ClusterSnapshot, destination: int) -> tuple[int, ...]:
    return tuple(sorted({broker for one in planned for broker in one.before} & snapshot.live_broker_ids - {destination}))


def summarise(clients: ClusterClients, plan: ReplacementPlan, snapshot: ClusterSnapshot, token: Token | None) -> PlanSummary:
    """The plan's summary for operators."""
    place, substitute = plan.place, plan.replacement_broker_id
    sources = _sources(plan.partitions, snapshot, plan.destination)
    copied = plan.total_bytes if plan.copies_everything or substitute is not None else 0
    rates = planned_rates(clients, plan.throttle, sources, token)
    rate, others = rates.highest_bytes_per_s, rates.notes
    eta = copy_seconds(copied, rates.by_source.values())
    states = intermediate_states(snapshot, place.broker_id)
    inverse = "none is needed: no replica changes its broker"
    if substitute is not None:
        inverse = f"reassign {len(plan.partitions)} partitions back onto broker {place.broker_id}"
    becomes = f", replaced by broker {substitute}" if substitute is not None else ""
    lines = [
        ("broker", f"{place.broker_id} (pod {place.pod}, node {place.node}, rack {place.rack}, map {place.map}){becomes}"),
        ("partitions", str(len(plan.partitions))),
        ("to copy", f"{size(copied)} (lower bound {size(copied)})"),
        ("throttle", f"up to {size(rate)}/s from each source; about {duration(eta)}"),
        *(("in between", state) for state in states[:10]),
        *(("others' throttles", line) for line in others[:10]),
    ]
    return PlanSummary(
        reference=reference_to(plan),
        kind=plan.kind,
        title=plan.title,
        lines=tuple(SummaryLine(label=label, text=text) for label, text in lines),
        steps=plan.steps,
        partitions=len(plan.partitions),
        bytes_to_copy=copied,
        lower_bound_bytes=copied,
        throttle_bytes_per_s=rate,
        eta_seconds=eta,
        foreign_throttles=others,
        inverse=inverse,
        broker_id=place.broker_id,
        pod=place.pod,
        node=place.node,
        rack=place.rack,
        map=place.map,
        replacement_broker_id=substitute,
        intermediate_states=states,
    )
