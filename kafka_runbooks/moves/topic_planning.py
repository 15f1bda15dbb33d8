"""From what has to change on topics to a plan: moves by the planners, places for new partitions, and what speaks against it."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from kafka_runbooks.models.cluster import ClusterSnapshot
from kafka_runbooks.models.moves import MovePlan
from kafka_runbooks.models.placement import ReassignmentMap
from kafka_runbooks.models.plans import PlanSummary, SummaryLine
from kafka_runbooks.models.results import Reason
from kafka_runbooks.models.steps import StepName
from kafka_runbooks.models.topic_changes import NewPartitions, NewTopic
from kafka_runbooks.models.topic_plan import TopicPlan
from kafka_runbooks.models.topics import MINIMUM_IN_SYNC, TopicFacts
from kafka_runbooks.moves.planning import MOVE_STEPS, ClusterObservation, PlannerResult
from kafka_runbooks.placement import planners
from kafka_runbooks.placement.arrays import Cluster, widen
from kafka_runbooks.placement.errors import PlannerDefect
from kafka_runbooks.placement.maps import Region, Regions, rows_of
from kafka_runbooks.placement.plan import Plan
from kafka_runbooks.placement.planners import Options, given
from kafka_runbooks.placement.snapshots import assignments
from kafka_runbooks.placement.verify import rules
from kafka_runbooks.topics.changes import Changes, Wanted, described
from kafka_runbooks.topics.placing import Placer

SHOWN = 6
NOTHING = "every topic is as its definition says"
Rows = dict[str, list[tuple[int, ...]]]
"""Topic -> replicas of its partitions."""


@dataclass(frozen=True)
class Placed:
    """New partitions with their places, and why some have none."""

    creations: tuple[NewTopic, ...] = ()
    growths: tuple[NewPartitions, ...] = ()
    reasons: tuple[Reason, ...] = ()


def moves(observed: ClusterObservation, changes: Changes) -> PlannerResult:
    """Topics with another replication factor or replicas off their map, each within its map, factor by factor."""
    by_factor: dict[int, list[Wanted]] = {}
    for one in changes.moved:
        if one.brokers is not None:
            by_factor.setdefault(one.definition.replication_factor, []).append(one)
    parts, reasons = [], []
    for factor, wanted in sorted(by_factor.items()):
        options = Options(topics=[one.name for one in wanted], regions=_regions(observed.cluster, wanted), leaders="keep")
        parts.append(planners.set_replication(observed.cluster, factor, options))
        if names := planners.left_as_they_are(observed.cluster, factor, options):
            message = f"{names} have no live in-sync replica: any other set would lose data"
            remedy = "bring back a broker that has an in-sync replica"
            reasons.append(Reason(name="no-in-sync-replica", message=message, remedy=remedy))
    plan = _together(parts) if parts else given(observed.cluster, ReassignmentMap(partitions=()))
    return PlannerResult(
        plan,
        title(changes),
        NOTHING,
        steps=_steps(changes),
        reasons=tuple(dict.fromkeys(reasons)),
        continues_without_moves=True,
        parts=tuple(parts),
    )


def place(
    observed: ClusterObservation, changes: Changes, facts: TopicFacts, moved: Plan, cordoned: Mapping[int, str | None]
) -> Placed:
    """Places for what is made and grown, on brokers that are up and take new replicas.

    Args:
        observed: the cluster.
        changes: what is made and grown.
        facts: the topics that there are.
        moved: the plan of moves, since partitions are added once a topic has moved.
        cordoned: broker -> its cordoned log directories.

    Raises:
        PlannerDefect: the independent rules find a place wrong.
    """
    cluster = observed.cluster
    closed = {int(cluster.broker_ids[row]) for row in np.nonzero(cluster.keeps_only)[0]}
    takes = {
        broker: rack
        for broker, rack in observed.snapshot.racks.items()
        if broker in observed.snapshot.live_broker_ids and broker not in closed and not cordoned.get(broker)
    }
    rows = _rows(facts, moved)
    placer = Placer(takes, [row for found in rows.values() for row in found])
    reasons, creations, growths = list(_nowhere(changes, takes)), [], []
    if reasons:
        return Placed(reasons=tuple(reasons))
    for one in changes.created:
        definition, brokers = one.definition, [broker for broker in one.brokers or () if broker in takes]
        replicas = placer.place(brokers, definition.partitions, definition.replication_factor)
        _check(takes, brokers, one.name, 0, replicas, definition.replication_factor)
        creations.append(NewTopic(name=one.name, replicas=replicas, configs=definition.configs))
    moving = {one.name for one in changes.moved}
    for one in changes.grown:
        there, brokers = facts.topics[one.name], [broker for broker in one.brokers or () if broker in takes]
        # Kafka takes new partitions only with as many replicas as the first one has.
        factor = one.definition.replication_factor if one.name in moving else len(there.replicas[0])
        replicas = placer.place(brokers, one.definition.partitions - there.partitions, factor, rows[one.name])
        _check(takes, brokers, one.name, there.partitions, replicas, factor)
        growths.append(
            NewPartitions(topic=one.name, topic_id=there.topic_id, partitions_before=there.partitions, replicas=replicas)
        )
    return Placed(tuple(creations), tuple(growths))


def frozen(plan: MovePlan, placed: Placed, changes: Changes) -> TopicPlan:
    """The plan of moves with all that is done besides."""
    return TopicPlan(
        **dict(plan), creations=placed.creations, growths=placed.growths, configs=changes.configs, deletions=changes.deleted
    )


def reasons_to_ask(plan: TopicPlan) -> list[Reason]:
    """What a person has to know of partitions that are added: a key decides the partition by their number."""
    return [
        Reason(
            name=f"keys-move:{one.topic}",
            message=f"topic {one.topic}: {one.count} partitions instead of {one.partitions_before}: records with a key go to "
            "other partitions than those before them, so a consumer may see them out of order",
            remedy=f'ask its owner, then acknowledge with acknowledged_risks ["keys-move:{one.topic}"]',
            can_be_acknowledged=True,
        )
        for one in plan.growths
    ]


def with_declared_minimum(snapshot: ClusterSnapshot, plan: TopicPlan) -> ClusterSnapshot:
    """The snapshot as preflight has to see it: `min.insync.replicas` that are changed before anything moves."""
    declared = {
        one.topic: int(value.after)
        for one in plan.configs_before_moves()
        if (value := one.values.get(MINIMUM_IN_SYNC)) is not None and value.after is not None and value.after.isdecimal()
    }
    return replace(snapshot, minimum_in_sync={**snapshot.minimum_in_sync, **declared})


def with_topics(summary: PlanSummary, plan: TopicPlan, changes: Changes) -> PlanSummary:
    """The summary of the moves, with what is done besides."""
    lines = [SummaryLine(label="what", text=plan.title)]
    lines += _some("create", [_created(one) for one in plan.creations])
    lines += _some("add partitions", [f"{one.topic}: {one.partitions_before} -> {one.count}" for one in plan.growths])
    lines += _some("configs", [f"{one.topic}: {described(one.values)}" for one in plan.configs])
    lines += _some("delete for good", [f"{one.topic}, with all its records" for one in plan.deletions])
    if plan.moves:
        lines += _some("move", [f"{one.name}: {_target(one)}" for one in changes.moved])
        lines += [line for line in summary.lines if line.label != "what"][:20]
    return summary.model_copy(update={"lines": tuple(lines[:50]), "is_harmless": plan.is_harmless})


def title(changes: Changes) -> str:
    """`topics: 2 to make, 1 to grow, 3 to configure, 1 to move`."""
    counted = (
        (changes.created, "make"),
        (changes.grown, "grow"),
        (changes.configs, "configure"),
        (changes.moved, "move"),
        (changes.deleted, "delete"),
    )
    return "topics: " + (", ".join(f"{len(found)} to {what}" for found, what in counted if found) or "nothing to do")


def _steps(changes: Changes) -> tuple[StepName, ...]:
    """In their order; what waits for the moves has its name before them too, as part of it may be done then."""
    steps = []
    if changes.created:
        steps.append(StepName.CREATE_TOPICS)
    if changes.configs:
        steps.append(StepName.SET_TOPIC_CONFIGS)
    if changes.grown:
        steps.append(StepName.ADD_PARTITIONS)
    if changes.moved:
        steps.append(StepName.REASSIGN)
    if changes.deleted:
        steps.append(StepName.DELETE_TOPICS)
    return (*steps, *(step for step in MOVE_STEPS if step is not StepName.REASSIGN))


def _regions(cluster: Cluster, wanted: Sequence[Wanted]) -> Regions:
    """One for each set of brokers."""
    by_brokers: dict[tuple[int, ...], list[Wanted]] = {}
    for one in wanted:
        by_brokers.setdefault(one.brokers or (), []).append(one)
    return Regions(
        tuple(
            Region(some[0].map or "", rows_of(cluster, [one.name for one in some]), np.isin(cluster.broker_ids, brokers))
            for brokers, some in sorted(by_brokers.items())
        ),
        (),
        {},
    )


def _together(parts: Sequence[Plan]) -> Plan:
    """Plans of one cluster that change other partitions each, as one."""
    width = max(part.after.shape[1] for part in parts)
    before = widen(parts[0].cluster.replicas, width)
    after = before.copy()
    for part in parts:
        after[part.changed] = widen(part.after, width)[part.changed]
    return replace(
        parts[0],
        before=before,
        after=after,
        targets=np.logical_or.reduce([part.targets for part in parts]),
        rack_violations=sum(part.rack_violations for part in parts),
        lower_bound_bytes=sum(part.lower_bound_bytes for part in parts),
        forced_bytes=sum(part.forced_bytes for part in parts),
        areas=tuple(area for part in parts for area in part.areas),
        replication=min(part.replication or 1 for part in parts),
        notices=tuple(dict.fromkeys(notice for part in parts for notice in part.notices)),
    )


def _rows(facts: TopicFacts, moved: Plan) -> Rows:
    """Replicas as they will be once everything has moved."""
    rows = {topic: list(there.replicas) for topic, there in facts.topics.items()}
    for topic, partition, replicas in assignments(moved.cluster, moved.after, moved.changed.tolist()):
        rows[topic][partition] = tuple(replicas)
    return rows


def _nowhere(changes: Changes, takes: Mapping[int, str | None]) -> Iterator[Reason]:
    """Maps that have no place for what is wanted on them."""
    unknown = sorted({str(one.map) for one in (*changes.created, *changes.grown, *changes.moved) if one.brokers is None})
    for name in unknown:
        yield Reason(
            name=f"map-without-brokers:{name}",
            message=f"map {name}: which brokers it has isn't known",
            remedy="give it `brokers` in its definition, or label the StatefulSet of its brokers with its name",
        )
    short: dict[str, tuple[int, int]] = {}
    mixed: set[str] = set()
    for one in (*changes.created, *changes.grown):
        where = "the cluster" if one.map is None else f"map {one.map}"
        racks = [takes[broker] for broker in one.brokers or () if broker in takes]
        factor = one.definition.replication_factor
        if one.brokers is not None and len(racks) < factor:
            short[where] = (max(factor, short.get(where, (0, 0))[0]), len(racks))
        if None in racks and set(racks) != {None}:
            mixed.add(where)
    for where, (factor, count) in sorted(short.items()):
        yield Reason(
            name=f"too-few-brokers:{where.removeprefix('map ')}",
            message=f"{where}: {factor} replicas are wanted, and {count} of its brokers take new ones: the others are down, "
            "cordoned, or have a failed log directory",
            remedy="bring its brokers back",
        )
    for where in sorted(mixed):
        yield Reason(
            name=f"racks-unknown:{where.removeprefix('map ')}",
            message=f"{where}: some of its brokers have a rack and others don't, so nothing can be spread over racks",
            remedy="set broker.rack on all of them",
        )


def _check(
    takes: Mapping[int, str | None],
    brokers: Sequence[int],
    topic: str,
    first: int,
    placed: Sequence[Sequence[int]],
    factor: int,
) -> None:
    """By rules that share no code with what placed them."""
    wanted = {(topic, first + number): list(row) for number, row in enumerate(placed)}
    known = rules.Facts(
        rack={broker: rack or f"(broker {broker})" for broker, rack in takes.items()},
        live=takes.keys(),
        capacity_bytes={},
        unexplained_bytes={},
        size_bytes=dict.fromkeys(wanted, 0),
        replicas={name: [] for name in wanted},
    )
    if findings := rules.check_assignment(known, wanted, brokers=brokers, replication=factor):
        raise PlannerDefect(findings)


def _created(one: NewTopic) -> str:
    configs = "".join(f", {key}={value}" for key, value in one.configs.items())
    return f"{one.name}: {len(one.replicas)} partitions, {len(one.replicas[0])} replicas{configs}"


def _target(one: Wanted) -> str:
    where = "" if one.map is None else f" on map {one.map}"
    return f"{one.definition.replication_factor} replicas{where}"


def _some(label: str, texts: Sequence[str]) -> list[SummaryLine]:
    lines = [SummaryLine(label=label, text=text) for text in texts[:SHOWN]]
    if len(texts) > SHOWN:
        lines.append(SummaryLine(label=label, text=f"and {len(texts) - SHOWN} more"))
    return lines
