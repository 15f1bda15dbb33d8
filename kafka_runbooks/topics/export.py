"""Definitions of what a cluster has, so that checking them finds no fault: what would be one is left out, and named."""

from bisect import bisect_right
from collections.abc import Sequence
from typing import NamedTuple

from kafka_runbooks.models.maps import TopicMap
from kafka_runbooks.models.topics import THROTTLED, TopicDefinition, TopicDefinitions, TopicFacts, name_fault
from kafka_runbooks.topics import checking, writing
from kafka_runbooks.topics.maps import Maps, NotInOneMap, resolve
from kafka_runbooks.topics.reading import Definitions, read


class Exported(NamedTuple):
    """Definitions, and what isn't in them, each with why."""

    definitions: TopicDefinitions
    remarks: tuple[str, ...]


def declared(facts: TopicFacts, declared_maps: Sequence[TopicMap]) -> Exported:
    """Every topic that can be declared, with what is set on it itself."""
    maps = resolve(declared_maps, facts.topics, facts)
    found, remarks = [], []
    for topic, there in sorted(facts.topics.items()):
        if (fault := name_fault(topic)) is not None:
            remarks.append(f"{topic} isn't declared: {fault.partition(':')[0]}")
            continue
        if throttles := sorted(key for key in there.configs if THROTTLED.search(key)):
            remarks.append(f"{topic}: {', '.join(throttles)}: is of the run that moves its data, or left over from one")
        found.append(
            TopicDefinition.model_validate(
                {
                    "name": topic,
                    **({} if (its := _map_of(topic, there.broker_ids, maps)) is None else {"map": its}),
                    "partitions": there.partitions,
                    "replication_factor": there.replication_factor,
                    "configs": checking.own_configs(there),
                }
            )
        )
    return Exported(TopicDefinitions(maps=tuple(declared_maps), topics=tuple(found)), tuple(remarks))


def as_read(definitions: TopicDefinitions) -> Definitions:
    """As they are found in the file that is written of them."""
    reading = read(writing.text(definitions), "export")
    assert not reading.faults, reading.faults
    return reading.definitions


def without_faults(exported: Exported, facts: TopicFacts) -> Exported:
    """Without the topics of which a check finds faults: there may be what nobody may declare."""
    definitions, remarks = exported
    while True:
        read_back = as_read(definitions)
        lines = [one.place().line for one in read_back.topics]
        faults: dict[int, str] = {}
        for fault in checking.check(read_back, facts):
            if lines and fault.place.line >= lines[0]:
                faults.setdefault(bisect_right(lines, fault.place.line) - 1, fault.message)
        if not faults:
            return Exported(definitions, remarks)
        left = tuple(one for number, one in enumerate(definitions.topics) if number not in faults)
        remarks += tuple(f"{definitions.topics[number].name} isn't declared: {why}" for number, why in sorted(faults.items()))
        definitions = definitions.model_copy(update={"topics": left})


def _map_of(topic: str, broker_ids: Sequence[int], maps: Maps) -> str | None:
    """By the maps' expressions, else by where its replicas are; None where neither tells."""
    try:
        return maps.of(topic, None)
    except NotInOneMap:
        candidates = maps.matching.get(topic) or tuple(maps.brokers)
        found = [name for name in candidates if set(broker_ids) <= set(maps.brokers[name] or ())]
        return found[0] if len(found) == 1 else None
