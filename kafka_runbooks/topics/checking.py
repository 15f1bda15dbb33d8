"""What is wrong with definitions: by themselves, and against what is known of a cluster. All of it at once."""

import difflib
from collections.abc import Iterable, Iterator, Mapping, Sequence

from kafka_runbooks.documents import Fault, Place
from kafka_runbooks.models.topics import (
    MINIMUM_IN_SYNC,
    THROTTLED,
    AskKafka,
    ExistingTopic,
    RefusedConfigs,
    TopicDefinition,
    TopicFacts,
    collision_key,
)
from kafka_runbooks.topics.maps import Maps, NotInOneMap, resolve
from kafka_runbooks.topics.reading import Declared, Definitions


def check(definitions: Definitions, facts: TopicFacts | None = None) -> list[Fault]:
    """Everything that is wrong, by file and line.

    Args:
        definitions: all of a cluster's, for names may collide between any two of its files.
        facts: what is known of the cluster; without, only what definitions alone can tell.
    """
    maps = maps_of(definitions, facts)
    faults = [*_clusters(definitions.clusters), *_names(definitions.topics), *_maps(definitions, facts)]
    existing = {} if facts is None else {collision_key(topic): topic for topic in facts.topics}
    for one in definitions.topics:
        faults += _alone(one)
        if not one.entry.delete:
            faults += _map_faults(one, maps)
            if facts is not None:
                faults += _against(one, maps, facts, existing)
    return sorted(dict.fromkeys(faults), key=lambda fault: (fault.place.source, fault.place.line))


def unchecked(definitions: Definitions, facts: TopicFacts | None) -> list[str]:
    """What couldn't be checked, each with why or with what would let it be."""
    found = []
    maps = maps_of(definitions, facts)
    if facts is None:
        found.append("without a cluster: configs, partitions that there are, other topics' names, brokers that there are")
    else:
        found += facts.unknown
    if not maps.are_known and any(one.entry.map is not None for one in definitions.topics):
        found.append("whether there are the maps that definitions name: no file declares maps")
    if untold := sorted(name for name, brokers in maps.brokers.items() if brokers is None):
        found.append(f"replication factors against the brokers of {', '.join(untold)}: give `brokers` with the map")
    return found


def maps_of(definitions: Definitions, facts: TopicFacts | None) -> Maps:
    """The maps, for these definitions' topics."""
    return resolve((one.entry for one in definitions.maps), definitions.by_name, facts)


def refused_configs(definitions: Definitions, ask: AskKafka) -> tuple[RefusedConfigs, ...]:
    """What Kafka says of the configs that are declared: each refused set, or what of it is refused by itself.

    Each set of values is asked for once, however many topics have it, and key by key only where it is refused, for Kafka names
    the first fault of a set and no other.
    """
    wanted = _distinct(one.entry.configs for one in definitions.topics if not one.entry.delete)
    refused = [(configs, why) for configs, why in zip(wanted, ask(wanted), strict=True) if why is not None] if wanted else []
    single = _distinct({key: value} for configs, _ in refused for key, value in configs.items())
    alone = (
        [RefusedConfigs(configs=one, reason=why) for one, why in zip(single, ask(single), strict=True) if why] if single else []
    )
    for configs, why in refused:
        if not any(one.configs.items() <= configs.items() for one in alone):
            alone.append(RefusedConfigs(configs=configs, reason=why))
    return tuple(alone)


def own_configs(topic: ExistingTopic) -> dict[str, str]:
    """What is set on a topic and can be declared: not the throttles of runs."""
    return {key: value for key, value in topic.configs.items() if not THROTTLED.search(key)}


def _distinct(sets: Iterable[Mapping[str, str]]) -> list[dict[str, str]]:
    return [dict(one) for one in dict.fromkeys(tuple(sorted(configs.items())) for configs in sets if configs)]


def _place(one: Declared[TopicDefinition], topic: str) -> Place:
    """Of a name."""
    if one.entry.names is None:
        return one.place("name")
    return one.place("names", one.entry.names.index(topic))


def _clusters(clusters: Sequence[tuple[str, Place]]) -> Iterator[Fault]:
    """ConfigMaps of several clusters, whose names and maps have nothing to do with each other."""
    for cluster, place in clusters[1:]:
        first, where = clusters[0]
        if cluster != first:
            yield Fault(place, f"is of cluster {cluster}, and {where} of {first}: check each cluster by itself")


def _names(topics: Sequence[Declared[TopicDefinition]]) -> Iterator[Fault]:
    """Names that are declared twice, or that Kafka doesn't let stand beside each other."""
    first: dict[str, tuple[str, Place]] = {}
    for one in topics:
        for number, topic in enumerate(one.entry.topics):
            place = one.place("name") if one.entry.names is None else one.place("names", number)
            other, where = first.setdefault(collision_key(topic), (topic, place))
            if where is place:
                continue
            if other == topic:
                yield Fault(place, f"{topic} is declared twice; the first time at {where}")
            else:
                yield Fault(place, f"{topic} collides with {other} at {where}: Kafka gives the metrics of both one name")


def _maps(definitions: Definitions, facts: TopicFacts | None) -> Iterator[Fault]:
    first: dict[str, Place] = {}
    for one in definitions.maps:
        name, place = one.entry.name, one.place("name")
        if first.setdefault(name, place) is not place:
            yield Fault(place, f"map {name} is declared twice; the first time at {first[name]}")
        if facts is None:
            continue
        if missing := [broker for broker in one.entry.brokers if broker not in facts.racks]:
            yield Fault(one.place("brokers"), f"map {name}: broker {', '.join(map(str, missing))} isn't in the cluster")
        labelled = facts.brokers_by_map
        if labelled is not None and not one.entry.brokers and one.entry.instances is None and not labelled.get(name):
            yield Fault(place, f"map {name} has no broker: none is labelled with it, and it gives no `brokers`")


def _alone(one: Declared[TopicDefinition]) -> Iterator[Fault]:
    definition = one.entry
    minimum, factor = definition.configs.get(MINIMUM_IN_SYNC, ""), definition.replication_factor
    if minimum.isdecimal() and int(minimum) > factor:
        yield Fault(
            one.place("configs", MINIMUM_IN_SYNC),
            f"{_title(definition)}: {MINIMUM_IN_SYNC} {minimum} is more than the replication factor, {factor}",
        )


def _map_faults(one: Declared[TopicDefinition], maps: Maps) -> Iterator[Fault]:
    for topic in one.entry.topics:
        try:
            maps.of(topic, one.entry.map)
        except NotInOneMap as error:
            yield Fault(one.place("map") if one.entry.map is not None else _place(one, topic), str(error))


def _against(one: Declared[TopicDefinition], maps: Maps, facts: TopicFacts, existing: Mapping[str, str]) -> Iterator[Fault]:
    """What doesn't fit the cluster; `existing` are its topics by what their names collide by."""
    definition = one.entry
    yield from _configs(one, facts)
    brokers: dict[str, int] = {}
    for topic in definition.topics:
        there = facts.topics.get(topic)
        if there is not None and definition.partitions < there.partitions:
            yield Fault(
                one.place("partitions"),
                f"{topic} has {there.partitions} partitions, and Kafka can't take any away; give at least as many",
            )
        other = existing.get(collision_key(topic), topic)
        if there is None and other != topic:
            yield Fault(
                _place(one, topic),
                f"{topic} collides with the topic {other}: Kafka gives the metrics of both one name",
            )
        try:
            its = maps.of(topic, definition.map)
        except NotInOneMap:
            continue
        ids = maps.brokers.get(its) if its is not None else tuple(facts.racks)
        if ids is not None:
            brokers[f"map {its}" if its is not None else "the cluster"] = len(set(ids))
    for where, count in brokers.items():
        if definition.replication_factor > count:
            yield Fault(
                one.place("replication_factor"),
                f"{_title(definition)}: replication factor {definition.replication_factor}, and {where} has {count} broker"
                + ("" if count == 1 else "s"),
            )


def _configs(one: Declared[TopicDefinition], facts: TopicFacts) -> Iterator[Fault]:
    configs, known = one.entry.configs, facts.config_keys
    unknown = [key for key in configs if known is not None and key not in known]
    for key in unknown:
        close = difflib.get_close_matches(key, known or (), n=1)
        fix = f"; did you mean {close[0]}?" if close else ""
        yield Fault(one.place("configs", key), f"{_title(one.entry)}: this version of Kafka has no topic config {key}{fix}")
    for refused in facts.refused_configs or ():
        if refused.configs.items() <= configs.items() and not refused.configs.keys() & set(unknown):
            field = ("configs", *refused.configs) if len(refused.configs) == 1 else ("configs",)
            yield Fault(one.place(*field), f"{_title(one.entry)}: Kafka says: {refused.reason}")


def _title(definition: TopicDefinition) -> str:
    first, *others = definition.topics
    return first if not others else f"{first} and {len(others)} more"
