"""A cluster's facts, and definitions to check against them."""

from collections.abc import Mapping, Sequence
from typing import Any

from kafka_runbooks.models.topics import ExistingTopic, TopicFacts
from kafka_runbooks.topics import checking
from kafka_runbooks.topics.reading import Definitions, read

RACKS = {1: "a", 2: "b", 3: "c", 4: "a", 5: "b"}
KEYS = ("cleanup.policy", "min.insync.replicas", "retention.bytes", "retention.ms")
MAPS = """maps:
  - {name: events, topics: 'events\\..*', brokers: [1, 2, 3]}
  - {name: logs, topics: '(logs|audit)\\..*', brokers: [4, 5]}
"""


def existing(partitions: int = 3, brokers: Sequence[int] = (1, 2, 3), **configs: str) -> ExistingTopic:
    """With configs whose names have underscores for dots."""
    named = {key.replace("_", "."): value for key, value in configs.items()}
    return ExistingTopic(partitions=partitions, replication_factor=len(brokers), broker_ids=tuple(brokers), configs=named)


def facts(topics: Mapping[str, ExistingTopic] | None = None, **fields: Any) -> TopicFacts:
    return TopicFacts(racks=RACKS, topics=dict(topics or {}), config_keys=KEYS, **fields)


def defined(text: str) -> Definitions:
    """Definitions of a text that can be read."""
    reading = read(text, "f")
    assert not reading.faults, reading.faults
    return reading.definitions


def topic(name: str, partitions: int = 3, replication_factor: int = 2, **fields: Any) -> str:
    """An entry of one line, with configs among the fields as JSON."""
    more = "".join(f", {key}: {value}" for key, value in fields.items())
    return f"  - {{name: {name}, partitions: {partitions}, replication_factor: {replication_factor}{more}}}\n"


def found(text: str, known: TopicFacts | None = None) -> list[str]:
    """The faults, each with its line."""
    return [f"{fault.place.line}: {fault.message}" for fault in checking.check(defined(text), known)]
