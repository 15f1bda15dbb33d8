"""From a placement plan to a frozen plan of moves, verified batch by batch, and to what a person reads before approving it."""

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime

import numpy as np

from kafka_runbooks.models.cluster import ThrottledReplicas, ThrottleRates, TopicPartition
from kafka_runbooks.models.inputs import MoveInput
from kafka_runbooks.models.ledger import EntryLease, Ledger
from kafka_runbooks.models.moves import Move, MovePlan
from kafka_runbooks.models.plans import PlanSummary, SummaryLine, reference_to
from kafka_runbooks.models.urgency import Urgency
from kafka_runbooks.models.wording import duration, size
from kafka_runbooks.moves import change_windows, what_if
from kafka_runbooks.moves.planning import ClusterObservation, PlannerResult
from kafka_runbooks.placement import snapshots
from kafka_runbooks.placement.arrays import NONE, Cluster, Indices, Ints
from kafka_runbooks.placement.batches import Limits, cut
from kafka_runbooks.placement.errors import PlannerDefect
from kafka_runbooks.placement.verify import check, rules
from kafka_runbooks.throttle import leases
from kafka_runbooks.throttle.controller import DEFAULT_CEILING_BYTES_PER_S

WINDOWS_PER_BATCH = 4
"""A batch is this many windows long: long enough that its end doesn't stall the moves, short enough to be judged on its own."""
SHOWN_BATCHES, SHOWN_LINES = 30, 20


def freeze(observed: ClusterObservation, request: MoveInput, kind: str, result: PlannerResult, made_at: datetime) -> MovePlan:
    """The plan, not yet kept anywhere. Its batches are each valid on their own (`placement.batches`).

    Raises:
        NoAssignment: what is left fits no broker's disk while both copies exist.
        PlannerDefect: the independent rules found it broken.
    """
    limits = Limits(
        moves_per_broker=WINDOWS_PER_BATCH * max(request.limits.moves_in_per_broker, request.limits.moves_out_per_broker)
    )
    urgency = _urgency(result.plan.cluster, result.plan.after, observed.snapshot.minimum_in_sync)
    parts = cut(result.plan.cluster, result.plan.before, result.plan.after, limits, urgency=urgency)
    if not result.is_given:
        for one in result.parts or (result.plan,):
            check(one)
    now = {partition.name: partition for partition in observed.snapshot.partitions}
    moves: list[Move] = []
    for number, part in enumerate(parts):
        batch = []
        urgent = {result.plan.cluster.name(row): int(urgency[row]) for row in part.rows.tolist()}
        for topic, partition, after in snapshots.assignments(result.plan.cluster, result.plan.after, part.rows.tolist()):
            before = now[TopicPartition(topic, partition)]
            batch.append(
                Move(
                    topic=topic,
                    partition=partition,
                    before=before.replicas,
                    after=tuple(after),
                    size_bytes=observed.size_bytes(topic, partition, before.replicas),
                    in_sync=before.in_sync,
                    batch=number,
                )
            )
        ranked = [(urgent[move.name], -move.copied_bytes, move.name, move) for move in batch]
        moves += [move for *_, move in sorted(ranked, key=lambda one: one[:3])]
    topics = {move.topic for move in moves}
    plan = MovePlan(
        cluster=request.cluster,
        kind=kind,
        title=result.title,
        steps=result.steps,
        moves=tuple(moves),
        leaving=tuple(sorted(result.leaving)),
        leads_nothing=result.leads_nothing,
        leaving_voters=result.leaving_voters,
        joining_voters=result.joining_voters,
        throttle=request.throttle,
        limits=request.limits,
        change_windows=request.change_windows,
        max_utilisation=result.plan.cluster.max_utilisation,
        is_given=result.is_given,
        checks_racks=result.is_given or result.plan.loses_racks,
        partition_counts=dict(sorted(Counter(name.topic for name in now if name.topic in topics).items())),
        topic_ids={topic: topic_id for topic, topic_id in observed.snapshot.topic_ids.items() if topic in topics},
        made_at=made_at.isoformat(timespec="seconds"),
    )
    verify(plan, result.plan.cluster, floor=result.plan.replication, racks=result.plan.racks_left, is_given=result.is_given)
    return plan


def _urgency(cluster: Cluster, after: Indices, minimum_in_sync: Mapping[str, int]) -> Ints:
    """P: how urgent the next copy of each partition is (`safety.urgency`), when the plan is made."""
    good, copies = cluster.in_sync.sum(axis=1), (cluster.replicas != NONE).sum(axis=1)
    minimum = np.array([minimum_in_sync.get(topic, 1) for topic in cluster.topics], dtype=np.int64)[cluster.topic]
    wanted = np.maximum(copies, (after != NONE).sum(axis=1))
    found = np.full(cluster.partition_count, int(Urgency.NONE), dtype=np.int64)
    found[(good <= 1) & (wanted > 1)] = Urgency.ONE_COPY
    found[good < np.minimum(minimum, copies)] = Urgency.REFUSES_WRITES
    return found


def verify(
    plan: MovePlan, cluster: Cluster, *, floor: int | None = None, racks: int | None = None, is_given: bool = False
) -> None:
    """Check every batch of a frozen plan with the independent rules, each from the state that the batches before it leave.

    Args:
        floor: the replication factor that the plan may go down to.
        racks: how many racks are left; None: no rack leaves.
        is_given: an operator chose the destinations; fewer racks, fewer replicas and dead destinations are preflight's to report.

    Raises:
        PlannerDefect: with every finding.
    """
    batches: dict[int, dict[rules.Name, list[int]]] = {}
    for move in plan.moves:
        batches.setdefault(move.batch, {})[move.topic, move.partition] = list(move.after)
    in_order = [batches[number] for number in sorted(batches)]
    if findings := rules.check_batches(rules.facts(cluster), in_order, floor=floor, racks=racks, is_given=is_given):
        raise PlannerDefect(findings)


def with_throttles_before(
    plan: MovePlan, lists: Mapping[str, ThrottledReplicas], rates: Mapping[int, ThrottleRates], ours: Ledger | None
) -> MovePlan:
    """The plan with the throttles that others had set when it was made: what this run has set already is not among them."""
    entries = ours.entries if ours else {}
    return plan.model_copy(
        update={
            "lists_before": {
                topic: leases.remove_entries(found, entries.get(topic, EntryLease())) for topic, found in lists.items()
            },
            "rates_before": leases.foreign_rates(rates, ours.rates if ours else {}),
        }
    )


def summarise(
    observed: ClusterObservation,
    plan: MovePlan,
    result: PlannerResult,
    rates_bytes_per_s: Mapping[int, int],
    throttle_notes: Sequence[str],
    approved: MovePlan | None,
    now: datetime,
) -> PlanSummary:
    """The plan in words and figures, size-limited regardless of the plan.

    Args:
        rates_bytes_per_s: what each source may send.
        throttle_notes: what bounds that besides the plan's throttle, one line each.
        approved: the plan that was approved last, where the rest is planned again.
    """
    figures = result.plan.summary()
    leaders = {partition.name: partition.leader for partition in observed.snapshot.partitions}
    sent = what_if.sent_bytes(plan.moves, leaders)
    rate_bytes_per_s = max(rates_bytes_per_s.values(), default=DEFAULT_CEILING_BYTES_PER_S)
    eta = max((size / rates_bytes_per_s.get(broker, rate_bytes_per_s) for broker, size in sent.items()), default=0.0)
    batches = what_if.batches(plan, figures, leaders, rate_bytes_per_s)
    notices = [*_window_notice(plan, eta, now), *result.notices, *figures.notices]
    reordered = sum(1 for move in plan.moves if set(move.before) == set(move.after))
    lower_bound = min(figures.lower_bound_bytes, plan.total_bytes) if any(move.arriving for move in plan.moves) else 0
    summary = PlanSummary(
        reference=reference_to(plan),
        kind=plan.kind,
        title=plan.title,
        steps=plan.steps,
        partitions=len(plan.moves),
        reordered_partitions=reordered,
        bytes_to_copy=plan.total_bytes,
        lower_bound_bytes=lower_bound,
        levelled=figures.levelled,
        spread_before=figures.spread_before,
        spread_after=figures.spread_after,
        throttle_bytes_per_s=rate_bytes_per_s,
        eta_seconds=eta,
        batches=len(batches),
        what_if=tuple(batches[:SHOWN_BATCHES]),
        brokers=what_if.brokers(plan, figures),
        foreign_throttles=tuple(throttle_notes[:SHOWN_LINES]),
        notices=tuple(notice[:500] for notice in notices[:SHOWN_LINES]),
        inverse=f"abort with rollback takes {len(plan.moves)} partitions back to where they are now, order included",
        is_within_approved=approved is not None and plan.is_within(approved),
    )
    return summary.model_copy(update={"lines": _lines(summary)})


def _window_notice(plan: MovePlan, eta_seconds: float, now: datetime) -> list[str]:
    if not plan.change_windows:
        return []
    opening = change_windows.opening_at(plan.change_windows, now)
    if not opening.is_open:
        return [f"{opening.reason}; it parks until then"]
    if opening.fits(now, eta_seconds):
        return [opening.reason]
    return [f"{opening.reason}; not all of it fits before it closes: it parks, and continues in the next one"]


def _lines(plan: PlanSummary) -> tuple[SummaryLine, ...]:
    only_order = f", {plan.reordered_partitions} of them reordered only" if plan.reordered_partitions else ""
    lines = [
        ("what", plan.title),
        ("partitions", f"{plan.partitions}{only_order}, in {plan.batches} batches"),
        ("to copy", f"{size(plan.bytes_to_copy)} (lower bound for the same balance {size(plan.lower_bound_bytes)})"),
        ("balance", f"{plan.levelled}: highest minus lowest broker {plan.spread_before:.4g}, then {plan.spread_after:.4g}"),
        ("throttle", f"up to {size(plan.throttle_bytes_per_s)}/s from each source; about {duration(plan.eta_seconds)}"),
    ]
    for number, batch in enumerate(plan.what_if[:10], 1):
        fullest = f"; fullest is broker {batch.fullest_broker_id} with {size(batch.fullest_bytes)}" if batch.copied_bytes else ""
        text = f"{number}. {batch.partitions} partitions, {size(batch.copied_bytes)}, {duration(batch.seconds)}{fullest}"
        lines.append(("batches", text))
    if plan.batches > 10:
        lines.append(("batches", f"and {plan.batches - 10} more"))
    lines += [("notes", notice) for notice in plan.notices[:10]]
    lines += [("others' throttles", other) for other in plan.foreign_throttles[:10]]
    return tuple(SummaryLine(label=label, text=text) for label, text in lines)
