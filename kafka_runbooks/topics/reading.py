"""Definitions out of files and ConfigMaps.

A file has YAML documents, each of which is either definitions (`maps`, `topics`) or the manifest of a ConfigMap with the label
`kafka-runbooks.io/definitions: topics`, whose data's values are such documents. Entries are read one by one, so that what is
wrong in one hides no fault of another.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import pydantic
import yaml

from kafka_runbooks import documents
from kafka_runbooks.documents import Document, Fault, Place
from kafka_runbooks.models import labels
from kafka_runbooks.models.base import OperatorInput
from kafka_runbooks.models.maps import TopicMap
from kafka_runbooks.models.topics import NAMED_ONCE, KeptTopics, TopicDefinition, TopicDefinitions
from kafka_runbooks.models.wording import unknown_field

Entry = TypeVar("Entry", bound=OperatorInput)
MANIFEST_FIELDS = ("apiVersion", "kind", "metadata")


@dataclass(frozen=True)
class Declared(Generic[Entry]):
    """An entry, and where it stands."""

    entry: Entry
    document: Document
    path: tuple[object, ...]

    def place(self, *field: object) -> Place:
        """Of one of its fields, or of the entry."""
        return self.document.place((*self.path, *field))


@dataclass(frozen=True)
class Definitions:
    """What is declared, by however many files."""

    maps: tuple[Declared[TopicMap], ...] = ()
    topics: tuple[Declared[TopicDefinition], ...] = ()
    kept: tuple[Declared[KeptTopics], ...] = ()
    """What people have changed by hand and want to stay for a while."""
    clusters: tuple[tuple[str, Place], ...] = ()
    """Those that manifests of ConfigMaps are for."""

    @property
    def by_name(self) -> dict[str, TopicDefinition]:
        """Each topic's definition; of a name that is declared twice, which is a fault, the first."""
        return {name: one.entry for one in reversed(self.topics) for name in one.entry.topics}


@dataclass(frozen=True)
class Reading:
    """Definitions as far as they can be read. Nothing may be done by them while there are faults: they may be half."""

    definitions: Definitions = Definitions()
    faults: tuple[Fault, ...] = ()

    def __add__(self, other: "Reading") -> "Reading":
        ours, theirs = self.definitions, other.definitions
        together = Definitions(
            ours.maps + theirs.maps,
            ours.topics + theirs.topics,
            ours.kept + theirs.kept,
            ours.clusters + theirs.clusters,
        )
        return Reading(together, self.faults + other.faults)


def together(readings: Iterable[Reading]) -> Reading:
    """All of them as one."""
    return sum(readings, Reading())


def read(text: str, source: str) -> Reading:
    """Read a file.

    Args:
        text: its text.
        source: its name, for faults.
    """
    found, faults = documents.parse(text, source)
    if not found and not faults:
        faults = [Fault(Place(source, 1), "is empty: expected topics, maps or a ConfigMap with them")]
    return together([Reading(faults=tuple(faults)), *(_document(one) for one in found)])


def read_config_map(name: str, data: Mapping[str, str], annotations: Mapping[str, str]) -> Reading:
    """Read a ConfigMap as the API returns it. Its faults name it, the key and the line in the key's text."""
    source = f"ConfigMap {name}"
    if not data:
        return Reading(faults=(Fault(Place(source, 1), "data: is empty: expected topics or maps"),))
    values = together(_value(text, f"{source} {key}", 1, is_on_one_line=False) for key, text in data.items())
    if (text := annotations.get(labels.KEEP_UNTIL)) is None:
        return values
    return values + _kept(text, f"{source} {labels.KEEP_UNTIL}", 1)


def config_map_of(place: Place) -> str:
    """The name of the ConfigMap that a place of `read_config_map` is in."""
    return place.source.split()[1]


def _document(document: Document) -> Reading:
    data = document.data
    if not isinstance(data, Mapping):
        return _fault(document, (), "expected topics, maps or a ConfigMap with them")
    if any(field in data for field in MANIFEST_FIELDS):
        return _manifest(document)
    return _definitions(document)


def _manifest(document: Document) -> Reading:
    data: Any = document.data
    if (data.get("apiVersion"), data.get("kind")) != ("v1", "ConfigMap"):
        return _fault(document, ("kind",), f"{data.get('kind')} of {data.get('apiVersion')}: expected a ConfigMap of v1")
    faults = []
    for label, wanted in ((labels.DEFINITIONS, labels.TOPICS), (labels.CLUSTER, None)):
        value = _at(data, "metadata", "labels", label)
        if not isinstance(value, str) or not value or (wanted is not None and value != wanted):
            what = f"{label}: {wanted or 'the name of the cluster'}"
            faults.append(
                Fault(document.place(("metadata", "labels", label)), f"metadata.labels: nothing would read it; add {what}")
            )
    if "binaryData" in data:
        faults.append(Fault(document.place(("binaryData",)), "binaryData: isn't read; give data"))
    values = data.get("data")
    if not isinstance(values, Mapping) or not values:
        faults.append(Fault(document.place(("data",)), "data: is empty: expected topics or maps"))
        values = {}
    cluster = _at(data, "metadata", "labels", labels.CLUSTER)
    clusters = ((str(cluster), document.place(("metadata", "labels", labels.CLUSTER))),) if cluster else ()
    found = [Reading(Definitions(clusters=clusters), tuple(faults))]
    for key, text in values.items():
        found.append(_inner(document, ("data", key), text, _value))
    if (text := _at(data, "metadata", "annotations", labels.KEEP_UNTIL)) is not None:
        found.append(_inner(document, ("metadata", "annotations", labels.KEEP_UNTIL), text, _kept))
    return together(found)


def _inner(document: Document, path: tuple[str, ...], text: Any, read_text: Any) -> Reading:
    """A document within a string of another."""
    if not isinstance(text, str):
        return _fault(document, path, f"{path[-1]}: expected a text; `|` after the key begins one of several lines")
    scalar = _node(document.node, path)
    is_block = scalar is not None and scalar.style == "|"
    begins = scalar.start_mark.line + 1 + is_block if scalar is not None else document.place(path).line
    made: Reading = read_text(text, document.source, begins, is_on_one_line=not is_block)
    return made


def _value(text: str, source: str, first_line: int, *, is_on_one_line: bool) -> Reading:
    found, faults = documents.parse(text, source, first_line, is_on_one_line=is_on_one_line)
    if not found and not faults:
        faults = [Fault(Place(source, first_line), "is empty: expected topics or maps")]
    return together(
        [
            Reading(faults=tuple(faults)),
            *(
                _definitions(one) if isinstance(one.data, Mapping) else _fault(one, (), "expected topics or maps")
                for one in found
            ),
        ]
    )


def _kept(text: str, source: str, first_line: int, *, is_on_one_line: bool = True) -> Reading:
    """What an annotation says: one object, or a list of them."""
    try:
        json.loads(text)
    except json.JSONDecodeError as error:
        return Reading(faults=(Fault(Place(source, first_line), f"{labels.KEEP_UNTIL}: isn't JSON: {error}"),))
    found, faults = documents.parse(text, source, first_line, is_on_one_line=is_on_one_line)
    kept: list[Declared[KeptTopics]] = []
    for one in found:
        is_list = isinstance(one.data, list)
        for number, entry in enumerate(one.data if is_list else [one.data]):
            _validated(KeptTopics, entry, one, (number,) if is_list else (), kept, faults)
    return Reading(Definitions(kept=tuple(kept)), tuple(faults))


def _definitions(document: Document) -> Reading:
    data: Any = document.data
    faults = [
        Fault(document.place((key,)), f"{key}: {unknown_field(str(key), tuple(TopicDefinitions.model_fields))}")
        for key in data
        if key not in TopicDefinitions.model_fields
    ]
    if not data:
        faults.append(Fault(document.place(), "is empty: expected topics or maps"))
    maps: list[Declared[TopicMap]] = []
    topics: list[Declared[TopicDefinition]] = []
    for field in TopicDefinitions.model_fields.keys() & data.keys():
        if not isinstance(data[field], list):
            faults.append(Fault(document.place((field,)), f"{field}: expected a list, each entry after a dash"))
            continue
        for number, entry in enumerate(data[field]):
            if field == "maps":
                _validated(TopicMap, entry, document, (field, number), maps, faults)
            else:
                _validated(TopicDefinition, entry, document, (field, number), topics, faults)
    return Reading(Definitions(tuple(maps), tuple(topics)), tuple(faults))


def _validated(
    model: type[Entry],
    data: Any,
    document: Document,
    path: tuple[object, ...],
    found: list[Declared[Entry]],
    faults: list[Fault],
) -> None:
    """Add the entry, or what is wrong with it."""
    try:
        found.append(Declared(model.model_validate(data), document, path))
    except pydantic.ValidationError as error:
        faults += [document.explain(one, path, _known(model, one["loc"])) for one in error.errors(include_url=False)]
        # Whether it is named once, pydantic says only where nothing else is wrong.
        if model is TopicDefinition and isinstance(data, Mapping) and ("name" in data) == ("names" in data):
            named = document.explain({"loc": (), "type": "value_error", "msg": NAMED_ONCE}, path)
            if named not in faults:
                faults.append(named)


def _known(model: type[OperatorInput], location: tuple[int | str, ...]) -> tuple[str, ...]:
    """The fields of the model that an unknown field is in."""
    if len(location) > 1 and location[0] == "instances":
        return ("type", "count")
    return tuple(model.model_fields)


def _fault(document: Document, path: tuple[object, ...], message: str) -> Reading:
    return Reading(faults=(Fault(document.place(path), message),))


def _at(data: Any, *path: str) -> Any:
    for part in path:
        data = data.get(part) if isinstance(data, Mapping) else None
    return data


def _node(node: Any, path: tuple[str, ...]) -> Any:
    """The scalar at a path of keys."""
    for part in path:
        if not isinstance(node, yaml.MappingNode):
            return None
        node = next((value for key, value in reversed(node.value) if key.value == part), None)
    return node
