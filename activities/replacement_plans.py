"""The plan of `ReplaceBroker`: frozen from what preflight found, judged by the independent checker, and summarised for people.

Parts of an activity; they change nothing.
"""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime

from activities import ledgers
from activities.planned_rates import planned_rates, rates_of
from kafka_runbooks.clients.clusters import ClusterClients
from kafka_runbooks.models.cluster import ClusterSnapshot, Replica, ReplicaSizes
from kafka_runbooks.models.inputs import NodeState, ReplaceBrokerInput
from kafka_runbooks.models.kubernetes import BrokerPlace
from kafka_runbooks.models.ledger import EntryLease
from kafka_runbooks.models.messages import Token
from kafka_runbooks.models.plans import PlannedPartition, PlanSummary, ReturningBroker, SummaryLine, reference_to
from kafka_runbooks.models.replacement import ReplacementPlan
from kafka_runbooks.models.results import Reason
from kafka_runbooks.models.steps import StepName
from kafka_runbooks.models.wording import duration, size
from kafka_runbooks.moves.freeze import verify
from kafka_runbooks.moves.progress import copy_seconds
from kafka_runbooks.moves.what_if import intermediate_states
from kafka_runbooks.placement import snapshots
from kafka_runbooks.placement.errors import PlannerDefect
from kafka_runbooks.safety.availability import listed, only_copy_on
from kafka_runbooks.throttle import leases

SHOWN_BROKERS = 20
"""In the lines of a plan's summary."""

COPY_STEPS = (
    StepName.CORDON,
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
COPY_AND_JOIN_STEPS = tuple(
    step for one in COPY_STEPS for step in ((StepName.JOIN_QUORUM, one) if one is StepName.RELEASE else (one,))
)
SUBSTITUTE_STEPS = (StepName.TAKE_LEASES, StepName.REASSIGN, StepName.ELECT, StepName.RELEASE, StepName.PROVE)


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
    places: Sequence[BrokerPlace],
    token: Token | None,
) -> ReplacementPlan:
    """The plan, not stored yet. Changes nothing. What the run has set already doesn't count as set by others."""
    leaving = {place.broker_id for place in places}
    partitions = sorted(
        (partition for partition in snapshot.partitions if leaving.intersection(partition.replicas)), key=lambda found: found.name
    )
    substitute, disk_is_lost = request.replacement_broker_id, request.node_state is NodeState.LOST
    planned = tuple(
        PlannedPartition(
            topic=partition.topic,
            partition=partition.partition,
            before=partition.replicas,
            after=tuple(substitute if substitute is not None and broker in leaving else broker for broker in partition.replicas),
            size_bytes=max(
                (sizes.size_bytes.get(Replica(partition.topic, partition.partition, broker), 0) for broker in partition.replicas),
                default=0,
            ),
            in_sync=partition.in_sync,
        )
        for partition in partitions
    )
    sources = _sources(planned, snapshot, leaving if substitute is None else {substitute})
    ours = None if token is None else ledgers.read(clients.kubernetes, token)
    lists = clients.kafka.throttled_replicas({partition.topic for partition in partitions})
    names = _named(sorted(leaving))
    voters, can_vote_anew = _voters(clients, leaving)
    joining = voters if disk_is_lost and substitute is None and can_vote_anew else ()
    copy_steps = COPY_AND_JOIN_STEPS if joining else COPY_STEPS
    return ReplacementPlan(
        cluster=request.cluster,
        kind="ReplaceBroker",
        title=f"replace {names}" + ("" if substitute is None else f" by broker {substitute}"),
        steps=SUBSTITUTE_STEPS if substitute is not None else copy_steps if disk_is_lost else RETURN_STEPS,
        joining_voters=joining,
        places=tuple(places),
        replacement_broker_id=substitute,
        copies_everything=disk_is_lost and substitute is None,
        throttle=request.throttle,
        partitions=planned,
        made_at=datetime.now(UTC).isoformat(timespec="seconds"),
        lists_before={
            topic: leases.remove_entries(found, ours.entries.get(topic, EntryLease()) if ours else EntryLease())
            for topic, found in lists.items()
        },
        rates_before=leases.foreign_rates(rates_of(clients, sources), ours.rates if ours else {}),
    )


def _voters(clients: ClusterClients, broker_ids: Collection[int]) -> tuple[tuple[int, ...], bool]:
    """Those of these brokers that are voters of the metadata quorum, and whether a vote can be given to another disk."""
    quorum = clients.kafka.metadata_quorum()
    return (tuple(sorted(quorum.voter_ids.intersection(broker_ids))), not quorum.is_static) if quorum is not None else ((), False)


def _said_of_voters(clients: ClusterClients, plan: ReplacementPlan) -> tuple[str, ...]:
    """What becomes of the votes of these brokers."""
    voters, can_vote_anew = _voters(clients, plan.broker_ids)
    named = f"controller {listed(list(voters))}"
    if not voters:
        return ()
    if plan.replacement_broker_id is not None:
        return (f"{named} keeps its vote in the metadata quorum, which misses it while it is down: decommission takes it away",)
    if not plan.copies_everything:
        return ()
    if can_vote_anew:
        return (f"{named} votes with the disk that is lost: that vote is taken away, and it gets one for its new disk",)
    return (
        f"{named} comes back to a static quorum without its metadata log, and votes as before: until it has caught up, another "
        "controller that fails may take what was committed with it",
    )


def _named(broker_ids: Sequence[int]) -> str:
    """`broker 1001`, `brokers 1001, 1002 and 8 more`."""
    return f"broker{'s' if len(broker_ids) > 1 else ''} {listed(list(broker_ids))}"


def _sources(planned: Sequence[PlannedPartition], snapshot: ClusterSnapshot, destinations: Collection[int]) -> tuple[int, ...]:
    return tuple(sorted({broker for one in planned for broker in one.before} & snapshot.live_broker_ids - set(destinations)))


def _returning(plan: ReplacementPlan, snapshot: ClusterSnapshot, rates: Mapping[int, int]) -> tuple[ReturningBroker, ...]:
    """Each broker with what it has lost, and how long its own copy takes beside the others'."""
    copies = plan.copies_everything or plan.replacement_broker_id is not None
    sole = Counter(
        broker for partition in only_copy_on(snapshot, plan.broker_ids) for broker in partition.replicas if plan.copies_everything
    )
    own: dict[int, list[PlannedPartition]] = {broker_id: [] for broker_id in plan.broker_ids}
    for partition in plan.partitions:
        for broker_id in set(partition.before).intersection(own):
            own[broker_id].append(partition)
    found = []
    for place in plan.places:
        copied = sum(partition.size_bytes for partition in own[place.broker_id]) if copies else 0
        sources = _sources(own[place.broker_id], snapshot, plan.destinations)
        found.append(
            ReturningBroker(
                broker_id=place.broker_id,
                pod=place.pod,
                node=place.node,
                rack=place.rack,
                map=place.map,
                partitions=len(own[place.broker_id]),
                sole_copies=sole[place.broker_id],
                bytes_to_copy=copied,
                eta_seconds=copy_seconds(copied, [rates[broker] for broker in sources if broker in rates]),
            )
        )
    return tuple(found)


def summarise(clients: ClusterClients, plan: ReplacementPlan, snapshot: ClusterSnapshot, token: Token | None) -> PlanSummary:
    """The plan's summary for operators."""
    substitute = plan.replacement_broker_id
    sources = _sources(plan.partitions, snapshot, plan.destinations)
    copied = plan.total_bytes if plan.copies_everything or substitute is not None else 0
    rates = planned_rates(clients, plan.throttle, sources, token)
    rate, others = rates.highest_bytes_per_s, rates.notes
    returning = _returning(plan, snapshot, rates.by_source)
    eta = copy_seconds(copied, rates.by_source.values())
    states = intermediate_states(snapshot, plan.broker_ids)
    notices = _said_of_voters(clients, plan)
    inverse = "none is needed: no replica changes its broker"
    if substitute is not None:
        inverse = f"reassign {len(plan.partitions)} partitions back onto broker {plan.places[0].broker_id}"
    becomes = f", replaced by broker {substitute}" if substitute is not None else ""
    more = len(returning) - SHOWN_BROKERS
    lines = [
        *(("broker", _line(one, alone=len(returning) == 1) + becomes) for one in returning[:SHOWN_BROKERS]),
        *([("brokers", f"and {more} more")] if more > 0 else []),
        ("partitions", str(len(plan.partitions))),
        ("to copy", f"{size(copied)} (lower bound {size(copied)})"),
        ("throttle", f"up to {size(rate)}/s from each source; about {duration(eta)}"),
        *(("in between", state) for state in states[:10]),
        *(("notes", notice) for notice in notices),
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
        notices=notices,
        inverse=inverse,
        returning=returning,
        replacement_broker_id=substitute,
        intermediate_states=states,
    )


def _line(one: ReturningBroker, *, alone: bool) -> str:
    """Where it was; beside others also what it has lost."""
    where = f"{one.broker_id} (pod {one.pod}, node {one.node}, rack {one.rack}, map {one.map})"
    if alone:
        return where
    lost = f"; {one.sole_copies} have no in-sync copy elsewhere" if one.sole_copies else ""
    return f"{where}: {one.partitions} partitions, {size(one.bytes_to_copy)}, about {duration(one.eta_seconds)}{lost}"
