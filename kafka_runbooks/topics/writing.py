"""Definitions as a file that people go on with."""

from collections.abc import Iterable, Mapping
from typing import Any

import yaml

from kafka_runbooks.models.maps import TopicMap
from kafka_runbooks.models.topics import TopicDefinition, TopicDefinitions, as_people_write_it

WIDTH = 120

_Dumper = getattr(yaml, "CSafeDumper", yaml.SafeDumper)


def text(definitions: TopicDefinitions, remarks: Iterable[str] = ()) -> str:
    """The file's text, with remarks as comments in front."""
    document = {"maps": list(map(_map, definitions.maps)), "topics": list(map(_topic, definitions.topics))}
    given = {field: entries for field, entries in document.items() if entries or field == "topics"}
    comments = "".join(f"# {line}\n" for remark in remarks for line in remark.splitlines())
    return comments + str(yaml.dump(given, Dumper=_Dumper, sort_keys=False, width=WIDTH, allow_unicode=True))


def _map(entry: TopicMap) -> Mapping[str, Any]:
    return entry.model_dump(mode="json", exclude_defaults=True)


def _topic(definition: TopicDefinition) -> Mapping[str, Any]:
    made = definition.model_dump(mode="json", exclude_defaults=True)
    if definition.configs:
        made["configs"] = {key: as_people_write_it(value) for key, value in sorted(definition.configs.items())}
    return made
