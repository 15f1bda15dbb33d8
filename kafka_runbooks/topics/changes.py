"""From definitions to what has to change on a cluster, and to what differs and stays.

Definitions without faults only (`checking`). Where replicas go is decided elsewhere; here is said which brokers may have them.
What isn't declared is never touched: no definition, no deletion.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from kafka_runbooks.models.topic_changes import (
    AppliedTopic,
    AppliedTopics,
    ConfigChange,
    ConfigValues,
    Drift,
    DriftKind,
    QuietTopic,
    TopicDeletion,
)
from kafka_runbooks.models.topics import INTERNAL, ExistingTopic, TopicDefinition, TopicFacts
from kafka_runbooks.topics.checking import maps_of, own_configs
from kafka_runbooks.topics.reading import Definitions


@dataclass(frozen=True)
class Wanted:
    """A topic as it is declared, and the brokers that may have it; None: its map's brokers aren't known."""

    name: str
    definition: TopicDefinition
    map: str | None
    brokers: tuple[int, ...] | None


QUIET_FOR = timedelta(hours=1)
"""How long nothing may have been produced to a topic that is deleted."""
MOST_DELETED = 3
"""In a run: a mistake in definitions is seen before everything is gone."""


@dataclass(frozen=True)
class Changes:
    """What has to change, and what differs and stays. Each part is in the order of topics' names."""

    created: tuple[Wanted, ...] = ()
    grown: tuple[Wanted, ...] = ()
    configs: tuple[ConfigChange, ...] = ()
    moved: tuple[Wanted, ...] = ()
    """Topics with another replication factor than declared, or with replicas off their map."""
    deleted: tuple[TopicDeletion, ...] = ()
    drift: tuple[Drift, ...] = ()


def find(
    definitions: Definitions,
    facts: TopicFacts,
    applied: AppliedTopics,
    *,
    now: datetime,
    adopts: bool = False,
    may_delete: bool = False,
) -> Changes:
    """What has to change.

    Args:
        definitions: all of the cluster's.
        facts: of the cluster.
        applied: what definitions have set until now.
        now: for what people keep until a time.
        adopts: configs that somebody set by hand are reset too.
        may_delete: topics that are marked may be deleted on this cluster.
    """
    ours = {(one.name, one.topic_id): frozenset(one.keys) for one in applied.topics}
    defined = definitions.by_name
    created, grown, configs, moved, drift = [], [], [], [], []
    for wanted in _wanted(definitions, facts):
        name, definition, there = wanted.name, wanted.definition, facts.topics.get(wanted.name)
        if there is None:
            created.append(wanted)
            continue
        change, by_hand = _configs(name, definition, there, ours.get((name, there.topic_id), frozenset()), adopts=adopts)
        differs = _differs(wanted, there, change)
        if differs and (until := _kept_until(definitions, name, now)) is not None:
            drift.append(Drift(topic=name, kind=DriftKind.KEPT, detail=f"{'; '.join(differs)}; {until}"))
            continue
        if definition.partitions > there.partitions:
            grown.append(wanted)
        if change is not None:
            configs.append(change)
        if _moves(wanted, there):
            moved.append(wanted)
        if by_hand:
            shown = ", ".join(f"{key}={value}" for key, value in by_hand.items())
            drift.append(Drift(topic=name, kind=DriftKind.CONFIG, detail=f"set by hand: {shown}"))
    deleted: list[TopicDeletion] = []
    for name in marked(definitions, facts):
        quiet = next((one for one in applied.quiet if (one.name, one.topic_id) == (name, facts.topics[name].topic_id)), None)
        kept_until = _kept_until(definitions, name, now)
        if (why := kept_until or _why_not_deleted(quiet, now, len(deleted), may_delete=may_delete)) is not None:
            kind = DriftKind.KEPT if kept_until is not None else DriftKind.DELETION
            drift.append(Drift(topic=name, kind=kind, detail=f"marked for deletion; {why}"))
        elif quiet is not None:
            deleted.append(TopicDeletion(topic=name, topic_id=quiet.topic_id, end_offsets=quiet.end_offsets))
    for name in facts.topics.keys() - defined.keys():
        if not name.startswith(INTERNAL):
            drift.append(Drift(topic=name, kind=DriftKind.UNMANAGED, detail="no definition has it"))
    return Changes(
        tuple(created),
        tuple(grown),
        tuple(configs),
        tuple(moved),
        tuple(deleted),
        tuple(sorted(drift, key=lambda one: one.topic)),
    )


def marked(definitions: Definitions, facts: TopicFacts) -> list[str]:
    """Topics that are there and marked for deletion."""
    return sorted(facts.topics.keys() & {name for name, one in definitions.by_name.items() if one.delete})


def quiet_now(
    applied: AppliedTopics, facts: TopicFacts, end_offsets: Mapping[str, tuple[int, ...]], now: datetime
) -> AppliedTopics:
    """With where topics that are marked end now, and since when they have.

    Args:
        applied: what was known.
        facts: of the cluster.
        end_offsets: of the marked topics; one that isn't known counts as if it had never been looked at.
        now: the time.
    """
    before = {(one.name, one.topic_id, one.end_offsets): one.since for one in applied.quiet}
    found = [
        QuietTopic(name=name, topic_id=topic_id, end_offsets=ends, since=before.get((name, topic_id, ends), now))
        for name, ends in sorted(end_offsets.items())
        if (topic_id := facts.topics[name].topic_id) is not None
    ]
    return applied.model_copy(update={"quiet": tuple(found)})


def applied_now(definitions: Definitions, facts: TopicFacts, applied: AppliedTopics) -> AppliedTopics:
    """What definitions have set, as far as it is set now.

    A topic whose definition is gone keeps what it has: the definition may be back tomorrow.
    """
    ours = {(one.name, one.topic_id): frozenset(one.keys) for one in applied.topics}
    found, defined = [], definitions.by_name
    for name, there in sorted(facts.topics.items()):
        definition, own = defined.get(name), own_configs(there)
        keys = ours.get((name, there.topic_id), frozenset()) & own.keys()
        if definition is not None and not definition.delete:
            keys |= {key for key, value in definition.configs.items() if own.get(key) == value}
        if keys:
            found.append(AppliedTopic(name=name, topic_id=there.topic_id, keys=tuple(sorted(keys))))
    return applied.model_copy(update={"topics": tuple(found)})


def with_keys(applied: AppliedTopics, changed: Sequence[AppliedTopic]) -> AppliedTopics:
    """With more keys: what is about to be set."""
    known = {one.name: one for one in applied.topics}
    for one in changed:
        keys = applied.keys_of(one.name, one.topic_id) | set(one.keys)
        known[one.name] = one.model_copy(update={"keys": tuple(sorted(keys))})
    return applied.model_copy(update={"topics": tuple(one for _, one in sorted(known.items()))})


def _wanted(definitions: Definitions, facts: TopicFacts) -> Iterator[Wanted]:
    maps = maps_of(definitions, facts)
    for name, definition in sorted(definitions.by_name.items()):
        if definition.delete:
            continue
        its = maps.of(name, definition.map)
        brokers = tuple(facts.racks) if its is None else maps.brokers.get(its)
        yield Wanted(name, definition, its, None if brokers is None else tuple(sorted(set(brokers))))


def _configs(
    topic: str, definition: TopicDefinition, there: ExistingTopic, ours: Collection[str], *, adopts: bool
) -> tuple[ConfigChange | None, dict[str, str]]:
    """What is set and reset, and what somebody has set by hand that stays."""
    own = own_configs(there)
    values = {key: ConfigValues(own.get(key), value) for key, value in definition.configs.items() if own.get(key) != value}
    others = {key: value for key, value in own.items() if key not in definition.configs}
    values |= {key: ConfigValues(value, None) for key, value in others.items() if adopts or key in ours}
    change = ConfigChange(topic=topic, topic_id=there.topic_id, values=dict(sorted(values.items()))) if values else None
    return change, {key: value for key, value in sorted(others.items()) if key not in values}


def _moves(wanted: Wanted, there: ExistingTopic) -> bool:
    is_off_map = wanted.brokers is not None and not set(there.broker_ids) <= set(wanted.brokers)
    return is_off_map or any(len(replicas) != wanted.definition.replication_factor for replicas in there.replicas)


def _differs(wanted: Wanted, there: ExistingTopic, change: ConfigChange | None) -> list[str]:
    """What somebody who keeps the topic as it is keeps from being changed."""
    found = []
    if wanted.definition.partitions > there.partitions:
        found.append(f"{there.partitions} partitions, {wanted.definition.partitions} declared")
    if change is not None:
        found += [f"{key} is {value.before}, {value.after} declared" for key, value in change.values.items()]
    if _moves(wanted, there):
        found.append("replicas are not as declared")
    return found


def _why_not_deleted(quiet: QuietTopic | None, now: datetime, others: int, *, may_delete: bool) -> str | None:
    if not may_delete:
        return "clusters.yaml doesn't allow it for this cluster (topics.may_delete)"
    if quiet is None:
        return "where its partitions end isn't known"
    if now - quiet.since < QUIET_FOR:
        return f"nothing may be produced to it for an hour; it has been seen so since {quiet.since:%Y-%m-%d %H:%M} UTC"
    if others >= MOST_DELETED:
        return f"a run deletes {MOST_DELETED} topics at most"
    return None


def _kept_until(definitions: Definitions, topic: str, now: datetime) -> str | None:
    for one in definitions.kept:
        if one.entry.keeps(topic, now):
            return f"{one.entry.by} keeps it until {one.entry.until.isoformat()}: {one.entry.reason}"
    return None


def described(values: Mapping[str, ConfigValues]) -> str:
    """`retention.ms: 1000 -> 2000, cleanup.policy: compact -> default`."""
    return ", ".join(
        f"{key}: {'default' if one.before is None else one.before} -> {'default' if one.after is None else one.after}"
        for key, one in values.items()
    )
