"""Documents of one topic each: what the schema and the models both take, and what both refuse."""

import json
from typing import Any

LONGEST = "a" * 249

RIGHT: dict[str, Any] = {"name": "orders", "partitions": 12, "replication_factor": 3}


def changed(**fields: Any) -> dict[str, Any]:
    return {key: value for key, value in {**RIGHT, **fields}.items() if value is not ...}


TAKEN: dict[str, Any] = {
    "the least": RIGHT,
    "the longest name": changed(name=LONGEST),
    "dots within a name": changed(name="..."),
    "one underscore": changed(name="_orders"),
    "several names": changed(name=..., names=["a", "b"]),
    "a whole float": changed(partitions=12.0),
    "everything": changed(map="events", owner="payments", delete=True, configs={"retention.ms": 1}),
    "kinds of values": changed(configs={"a": "x", "b": 1, "c": 0.5, "d": False, "e": ["compact", "delete"], "f": ""}),
}
REFUSED: dict[str, Any] = {
    "no name": changed(name=...),
    "name and names": changed(names=["a"]),
    "no names": changed(name=..., names=[]),
    "a name twice": changed(name=..., names=["a", "a"]),
    "an empty name": changed(name=""),
    "one character too many": changed(name=LONGEST + "a"),
    "a dot": changed(name="."),
    "two dots": changed(name=".."),
    "a slash": changed(name="a/b"),
    "a line's end": changed(name="orders\n"),
    "another alphabet": changed(name="zażółć"),
    "Kafka's own": changed(name="__consumer_offsets"),
    "a name that is a number": changed(name=3),
    "a null name": changed(name=None),
    "no partitions": changed(partitions=...),
    "zero partitions": changed(partitions=0),
    "too many partitions": changed(partitions=2**31),
    "partitions as a text": changed(partitions="12"),
    "partitions as a boolean": changed(partitions=True),
    "half a partition": changed(partitions=1.5),
    "no replication factor": changed(replication_factor=...),
    "a replication factor of zero": changed(replication_factor=0),
    "too large a replication factor": changed(replication_factor=2**15),
    "an unknown field": changed(partition=3),
    "a null map": changed(map=None),
    "an empty owner": changed(owner=""),
    "delete as a text": changed(delete="yes"),
    "configs as a list": changed(configs=["retention.ms"]),
    "a config without a value": changed(configs={"retention.ms": None}),
    "a config of an empty list": changed(configs={"cleanup.policy": []}),
    "a config of numbers in a list": changed(configs={"cleanup.policy": [1]}),
    "a config that is an object": changed(configs={"retention": {"ms": 1}}),
    "a config without a key": changed(configs={"": "x"}),
    "a throttle": changed(configs={"follower.replication.throttled.replicas": "0:1"}),
}

MAP: dict[str, Any] = {"name": "events", "topics": r"events\..*"}
TAKEN_MAPS: dict[str, Any] = {
    "of labels": MAP,
    "of brokers": MAP | {"brokers": [0, 1]},
    "of instances": MAP | {"instances": {"type": "i3", "count": 2}},
}
REFUSED_MAPS: dict[str, Any] = {
    "brokers and instances": MAP | {"brokers": [1], "instances": {"type": "i3", "count": 2}},
    "a broker twice": MAP | {"brokers": [1, 1]},
    "a broker below zero": MAP | {"brokers": [-1]},
    "a broker as a text": MAP | {"brokers": ["1"]},
    "no expression": {"name": "events"},
    "no instances": MAP | {"instances": {"type": "i3", "count": 0}},
}
"""(The schema takes expressions that RE2 doesn't: it can't tell.)"""


def document(topic: Any = None, entry: Any = None) -> str:
    """As YAML, of which JSON is a part."""
    return json.dumps({"topics": [topic]} if entry is None else {"maps": [entry]})
