"""From a placement plan to a frozen plan of moves, and to what a person reads before saying yes."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from activities.observing import View
from activities.replacement import ceiling_for
from kafka_runbooks.clients.clusters import ClusterClients
from kafka_runbooks.models.cluster import TopicPartition
from kafka_runbooks.models.inputs import MovingInput
from kafka_runbooks.models.ledger import EntryLease, Ledger
from kafka_runbooks.models.moves import BatchWhatIf, BrokerWhatIf, Move, MovePlan, MoveSummary
from kafka_runbooks.models.placement import PlacementSummary
from kafka_runbooks.models.plans import PlanReference
from kafka_runbooks.models.throttles import AdaptiveThrottle
from kafka_runbooks.moves import change_windows
from kafka_runbooks.placement import snapshots, steps
from kafka_runbooks.placement.plan import Plan
from kafka_runbooks.throttle import leases

WINDOWS_A_BATCH = 4
"""A batch is so many windows long: long enough that its end is no standstill, short enough to be judged by itself."""
SHOWN_BATCHES, SHOWN_BROKERS, SHOWN_LINES = 30, 50, 20


def freeze(
    clients: ClusterClients,
    view: View,
    request: MovingInput,
    kind: str,
    title: str,
    made: Plan,
    leaving: Sequence[int],
    ours: Ledger | None,
) -> MovePlan:
    """The plan, not yet kept anywhere. Its batches are steps that are each valid by themselves (`placement.steps`).

    :param ours: what this run has set already, where it plans anew: that was not there before it

    :raises NoAssignment: what is left fits no broker's disk while both copies exist
    """
    limits = steps.Limits(
        moves_per_broker=WINDOWS_A_BATCH * max(request.limits.moves_in_per_broker, request.limits.moves_out_per_broker)
    )
    now = {partition.name: partition for partition in view.snapshot.partitions}
    moves = []
    for number, step in enumerate(steps.cut(made.cluster, made.before, made.after, limits)):
        batch = []
        for topic, partition, after in snapshots.assignments(made.cluster, made.after, step.rows.tolist()):
            observed = now[TopicPartition(topic, partition)]
            move = Move(
                topic=topic,
                partition=partition,
                before=observed.replicas,
                after=tuple(after),
                size_bytes=view.size_bytes(topic, partition, observed.replicas),
                in_sync=observed.in_sync,
                batch=number,
            )
            batch.append(move)
        moves += sorted(batch, key=lambda move: (-move.copied_bytes, move.name))
    topics = sorted({move.topic for move in moves})
    brokers = sorted({broker for move in moves for broker in (*move.before, *move.after)} & view.snapshot.live_broker_ids)
    rates = clients.kafka.throttle_rates(brokers)
    entries = ours.entries if ours else {}
    return MovePlan(
        cluster=request.cluster,
        kind=kind,
        title=title,
        moves=tuple(moves),
        leaving=tuple(sorted(leaving)),
        partition_counts=_counts(now, topics),
        made_at=datetime.now(UTC).isoformat(timespec="seconds"),
        lists_before={
            topic: leases.remove_entries(lists, entries.get(topic, EntryLease()))
            for topic, lists in clients.kafka.throttled_replicas(topics).items()
        },
        rates_before=leases.foreign_rates(rates, ours.rates if ours else {}),
    )


def _counts(names: Mapping[TopicPartition, object], topics: Sequence[str]) -> dict[str, int]:
    counts = dict.fromkeys(topics, 0)
    for name in names:
        if name.topic in counts:
            counts[name.topic] += 1
    return counts


def summarise(
    clients: ClusterClients,
    view: View,
    request: MovingInput,
    plan: MovePlan,
    made: Plan,
    approved: MovePlan | None,
    ours: Ledger | None,
) -> MoveSummary:
    """The plan in figures, bounded whatever its size."""
    figures = made.summary()
    leaders = {partition.name: partition.leader for partition in view.snapshot.partitions}
    sent: dict[int, int] = {}
    for move in plan.moves:
        leader = leaders.get(move.name)
        if leader is not None and move.arriving:
            sent[leader] = sent.get(leader, 0) + move.copied_bytes
    rate = request.throttle.rate_bytes_per_s if not isinstance(request.throttle, AdaptiveThrottle) else 0
    if isinstance(request.throttle, AdaptiveThrottle):
        rate = ceiling_for(clients, request.throttle, tuple(sorted(sent)))
    observed = clients.kafka.throttle_rates(sorted(sent.keys() & view.snapshot.live_broker_ids))
    what_if = _batches(plan, figures, leaders, rate)
    notices = list(figures.notices)
    if request.change_windows:
        now = datetime.now(UTC)
        opening = change_windows.look(request.change_windows, now)
        eta = max(sent.values(), default=0) / rate
        parks = "" if opening.fits(now, eta) else "; not all of it fits before it closes: it parks, and goes on in the next one"
        notices.insert(0, opening.why + (parks if opening.is_open else "; it parks until then"))
    copied = sum(1 for move in plan.moves if move.arriving)
    reordered = sum(1 for move in plan.moves if set(move.before) == set(move.after))
    digest = plan.sha256()
    return MoveSummary(
        reference=PlanReference(plan_id=f"kafka-runbooks-plan-{digest[:16]}", sha256=digest),
        kind=plan.kind,
        title=plan.title,
        partitions=len(plan.moves),
        reordered_partitions=reordered,
        bytes_to_copy=plan.total_bytes,
        lower_bound_bytes=min(figures.lower_bound_bytes, plan.total_bytes) if copied else 0,
        levelled=figures.levelled,
        spread_before=figures.spread_before,
        spread_after=figures.spread_after,
        throttle_bytes_per_s=rate,
        eta_seconds=max(sent.values(), default=0) / rate,
        batches=len(what_if),
        what_if=tuple(what_if[:SHOWN_BATCHES]),
        brokers=_brokers(plan, figures),
        foreign_throttles=tuple(
            f"broker {broker}: {foreign} B/s set by somebody else; it stays and is obeyed"
            for broker, foreign in list(leases.foreign_rates(observed, ours.rates if ours else {}).items())[:SHOWN_LINES]
        ),
        notices=tuple(notice[:500] for notice in notices[:SHOWN_LINES]),
        inverse=f"abort with rollback takes {len(plan.moves)} partitions back to where they are now, order included",
        is_within_approved=approved is not None and plan.is_within(approved),
    )


def _batches(
    plan: MovePlan, figures: PlacementSummary, leaders: Mapping[TopicPartition, int | None], rate_bytes_per_s: int
) -> list[BatchWhatIf]:
    """Each batch while it runs: both copies exist until the last of its partitions is in sync."""
    used = {broker.id: broker.used_bytes_before for broker in figures.brokers}
    capacity = {broker.id: broker.capacity_bytes for broker in figures.brokers}
    grouped: dict[int, list[Move]] = {}
    for move in plan.moves:
        grouped.setdefault(move.batch, []).append(move)
    found = []
    for _, batch in sorted(grouped.items()):
        sent: dict[int, int] = {}
        for move in batch:
            for broker in move.arriving:
                used[broker] = used.get(broker, 0) + move.size_bytes
            leader = leaders.get(move.name)
            if leader is not None:
                sent[leader] = sent.get(leader, 0) + move.copied_bytes
        fullest = max(used, key=lambda broker: (used[broker] / (capacity.get(broker) or 1), -broker), default=None)
        found.append(
            BatchWhatIf(
                partitions=len(batch),
                copied_bytes=sum(move.copied_bytes for move in batch),
                fullest_broker_id=fullest,
                fullest_bytes=used[fullest] if fullest is not None else 0,
                seconds=round(max(sent.values(), default=0) / rate_bytes_per_s, 1),
            )
        )
        for move in batch:
            for broker in move.before:
                if broker not in move.after:
                    used[broker] = used.get(broker, 0) - move.size_bytes
    return found


def _brokers(plan: MovePlan, figures: PlacementSummary) -> tuple[BrokerWhatIf, ...]:
    arriving: dict[int, int] = {}
    for move in plan.moves:
        for broker in move.arriving:
            arriving[broker] = arriving.get(broker, 0) + move.size_bytes
    changed = sorted(
        figures.brokers,
        key=lambda broker: (
            -abs(broker.used_bytes_after - broker.used_bytes_before),
            -abs(broker.leaders_after - broker.leaders_before),
            broker.id,
        ),
    )
    return tuple(
        BrokerWhatIf(
            broker_id=broker.id,
            used_bytes_before=broker.used_bytes_before,
            used_bytes_after=broker.used_bytes_after,
            replicas_before=broker.replicas_before,
            replicas_after=broker.replicas_after,
            leaders_before=broker.leaders_before,
            leaders_after=broker.leaders_after,
            arriving_bytes=arriving.get(broker.id, 0),
        )
        for broker in sorted(changed[:SHOWN_BROKERS], key=lambda broker: broker.id)
    )
