"""Definitions out of other tools' files: topicctl's topics, and what kafka-kit's registry answers to `GET /v1/topics`.

Nothing is dropped silently: what has no counterpart is named, with why.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import pydantic

from kafka_runbooks import documents
from kafka_runbooks.documents import Document, Fault, Place
from kafka_runbooks.models.labels import CLUSTER
from kafka_runbooks.models.topics import INTERNAL, THROTTLED, TopicDefinition

SHOWN_TOPICS = 3
RETENTION = "retention.ms"
MINUTE_MS = 60_000
OWNER = "owner"
"""The label or tag that becomes a definition's owner."""
LIKE_ALL = ("any", "balanced-leaders", "cross-rack")
"""Placements of topicctl that ask for what is always done here: replicas over racks, leaders evenly."""
NO_COUNTERPART = "has no counterpart"
THROTTLE = "is of runs that move data, never of a definition"
TOPICCTL = {
    ("meta", "cluster"): f"the ConfigMap's label {CLUSTER} says it",
    ("meta", "region"): NO_COUNTERPART,
    ("meta", "environment"): NO_COUNTERPART,
    ("meta", "description"): f"{NO_COUNTERPART}; a comment may have it",
    ("meta", "consumers"): NO_COUNTERPART,
    ("spec", "migration"): "limits and throttle are those of the run that moves data",
}
"""What topicctl's files have beside what is taken over."""


@dataclass
class Converted:
    """What was found."""

    topics: list[TopicDefinition] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)
    left: dict[tuple[str, str], list[tuple[Place, str]]] = field(default_factory=dict)
    """Field and reason -> where it isn't taken over, and of which topic."""

    @property
    def remarks(self) -> list[str]:
        """What isn't taken over; the same of several topics in one line."""
        return [
            f"{where[0][0]}: {name} of {_some([topic for _, topic in where])}: {why}" for (name, why), where in self.left.items()
        ]

    def leave(self, place: Place, name: str, topic: str, why: str) -> None:
        self.left.setdefault((name, why), []).append((place, topic))


def convert(text: str, source: str, found: Converted) -> None:
    """Add a file of topicctl's or the registry's to what was found."""
    read, faults = documents.parse(text, source)
    found.faults += faults
    if not read and not faults:
        found.faults.append(Fault(Place(source, 1), "is empty"))
    for document in read:
        data = document.data
        if isinstance(data, Mapping) and isinstance(data.get("topics"), Mapping):
            _registry(document, found)
        elif isinstance(data, Mapping) and isinstance(data.get("meta"), Mapping) and "partitions" in (data.get("spec") or ()):
            _topicctl(document, found)
        else:
            found.faults.append(Fault(document.place(), "is neither a topic of topicctl nor the registry's answer to /v1/topics"))


def _topicctl(document: Document, found: Converted) -> None:
    meta, spec = document.data["meta"], document.data["spec"]
    topic = str(meta.get("name"))
    labels, configs = _mapping(meta.get("labels")), dict(_mapping(spec.get("settings")))
    for key in [key for key, value in configs.items() if value in (None, "")]:
        del configs[key]  # topicctl takes these for not set.
        found.leave(document.place(("spec", "settings", key)), f"spec.settings.{key}", topic, "has no value")
    if spec.get("retentionMinutes"):
        if RETENTION in configs:
            found.faults.append(
                Fault(document.place(("spec", "retentionMinutes")), f"{topic}: {RETENTION} is in its settings too")
            )
        elif isinstance(spec["retentionMinutes"], int):
            configs[RETENTION] = spec["retentionMinutes"] * MINUTE_MS
        else:
            found.faults.append(
                Fault(document.place(("spec", "retentionMinutes")), f"{topic}: retentionMinutes isn't a whole number")
            )
    for path, why in _not_of_topicctl(document.data):
        found.leave(document.place(path), ".".join(map(str, path)), topic, why)
    paths: dict[str, tuple[str, ...]] = {
        "name": ("meta", "name"),
        "partitions": ("spec", "partitions"),
        "replication_factor": ("spec", "replicationFactor"),
        "configs": ("spec", "settings"),
        "owner": ("meta", "labels", OWNER),
    }
    given = {
        "name": meta.get("name"),
        "partitions": spec.get("partitions"),
        "replication_factor": spec.get("replicationFactor"),
        "owner": labels.get(OWNER),
        "configs": configs,
    }
    _add(given, document, paths, topic, found)


def _not_of_topicctl(data: Mapping[str, Any]) -> Iterator[tuple[tuple[str, ...], str]]:
    """What isn't taken over, by its path."""
    taken = {"name", "labels", "partitions", "replicationFactor", "retentionMinutes", "settings", "placement"}
    for part, fields in data.items():
        if part not in ("meta", "spec") or not isinstance(fields, Mapping):
            yield (part,), NO_COUNTERPART
            continue
        for name, value in fields.items():
            if name not in taken and value not in (None, "", [], {}):
                yield (part, name), TOPICCTL.get((part, name), NO_COUNTERPART)
    for name in _mapping(data["meta"].get("labels")):
        if name != OWNER:
            yield ("meta", "labels", name), NO_COUNTERPART
    for name, value in _mapping(data["spec"].get("placement")).items():
        if name == "strategy" and value in LIKE_ALL:
            yield ("spec", "placement", name), f"{value}: is how every topic is placed"
        else:
            yield (
                ("spec", "placement", name),
                f"{value if name == 'strategy' else 'it'} {NO_COUNTERPART}; a map says which brokers",
            )


def _registry(document: Document, found: Converted) -> None:
    for key, entry in document.data["topics"].items():
        at = ("topics", key)
        if not isinstance(entry, Mapping):
            found.faults.append(Fault(document.place(at), f"{key}: expected an object"))
            continue
        if str(key).startswith(INTERNAL):
            found.leave(document.place(at), "all", str(key), "is Kafka's own")
            continue
        tags = _mapping(entry.get("tags"))
        for tag in tags:
            if tag != OWNER:
                found.leave(document.place((*at, "tags", tag)), f"tags.{tag}", str(key), NO_COUNTERPART)
        known = {"tags", "name", "partitions", "replication", "configs"}
        for name in entry:
            if name not in known:
                why = "where replicas are is planned, not declared" if name == "replicas" else NO_COUNTERPART
                found.leave(document.place((*at, name)), str(name), str(key), why)
        given = {
            "name": entry.get("name", key),
            "partitions": entry.get("partitions"),
            "replication_factor": entry.get("replication"),
            "owner": tags.get(OWNER),
            "configs": dict(_mapping(entry.get("configs"))),
        }
        paths = {
            "name": (*at, "name"),
            "partitions": (*at, "partitions"),
            "replication_factor": (*at, "replication"),
            "configs": (*at, "configs"),
            "owner": (*at, "tags", OWNER),
        }
        _add(given, document, paths, str(key), found)


def _add(
    given: Mapping[str, Any], document: Document, paths: Mapping[str, tuple[str, ...]], topic: str, found: Converted
) -> None:
    """Add a definition, or what is wrong with it, where that stands in the other tool's file."""
    for key in [key for key in given["configs"] if THROTTLED.search(str(key))]:
        del given["configs"][key]
        found.leave(document.place((*paths["configs"], key)), key, topic, THROTTLE)
    fields = {name: value for name, value in given.items() if value is not None}
    try:
        found.topics.append(TopicDefinition.model_validate(fields))
    except pydantic.ValidationError as error:
        for one in error.errors(include_url=False):
            if one["loc"]:  # Else that it has no name, which is said of the field.
                first, *rest = (part for part in one["loc"] if part != "[key]")
                path = (*paths[str(first)], *rest)
                found.faults.append(Fault(document.place(path), documents.explained(one, path)))
        if "name" not in fields:
            found.faults.append(Fault(document.place(paths["name"]), f"{'.'.join(paths['name'])}: is missing; give it"))


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _some(topics: list[str]) -> str:
    distinct = list(dict.fromkeys(topics))
    more = len(distinct) - SHOWN_TOPICS
    return ", ".join(distinct[:SHOWN_TOPICS]) + (f" and {more} more" if more > 0 else "")
