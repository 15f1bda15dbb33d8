"""YAML that people write: read with its lines, so that every fault says where it is and what mends it."""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import yaml

from kafka_runbooks.models.wording import unknown_field

TIMESTAMP = "tag:yaml.org,2002:timestamp"


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """In C where that is built in: 2,000 topics take a second there, and seven otherwise. A date stays as it was typed."""

    yaml_implicit_resolvers = {  # noqa: RUF012  # as its base class has it
        first: [(tag, expression) for tag, expression in resolvers if tag != TIMESTAMP]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }


class Place(NamedTuple):
    """A line of a file, from 1."""

    source: str
    line: int

    def __str__(self) -> str:
        return f"{self.source}:{self.line}"


class Fault(NamedTuple):
    """What is wrong, and where."""

    place: Place
    message: str

    def __str__(self) -> str:
        return f"{self.place}: {self.message}"


@dataclass(frozen=True)
class Document:
    """One YAML document."""

    source: str
    node: Any
    data: Any
    first_line: int = 1
    """The line of the source on which its text begins."""
    is_on_one_line: bool = False
    """Its text is a string with escapes or folded lines, so all of it counts as the line on which that begins."""

    def place(self, path: Sequence[object] = ()) -> Place:
        """Of a field, or of the innermost one around it that there is."""
        line = 0 if self.is_on_one_line else line_in(self.node, path) - 1
        return Place(self.source, self.first_line + line)

    def explain(self, fault: Any, path: Sequence[object] = (), known: Collection[str] = ()) -> Fault:
        """One of pydantic's errors.

        Args:
            fault: the error.
            path: of the field that was validated.
            known: the fields of the model that an unknown field is in.
        """
        location = [*path, *(part for part in fault["loc"] if part != "[key]")]
        return Fault(self.place(location), explained(fault, location, known))


def parse(text: str, source: str, first_line: int = 1, *, is_on_one_line: bool = False) -> tuple[list[Document], list[Fault]]:
    """The documents of a text that aren't empty, as far as it can be read, and its faults."""
    found: list[Document] = []
    faults: list[Fault] = []

    def place(line: int) -> Place:
        return Place(source, first_line + (0 if is_on_one_line else line))

    loader = _Loader("")
    try:
        for node in yaml.compose_all(text, _Loader):
            faults += [
                Fault(place(line), f"{key}: is given twice; the first is on line {place(first).line}")
                for key, first, line in _repeated(node, set())
            ]
            document = Document(source, node, loader.construct_document(node), first_line, is_on_one_line)
            if document.data is not None:
                found.append(document)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = mark.line if mark is not None else text.count("\n", 0, getattr(error, "position", None) or 0)
        faults.append(
            Fault(place(line), f"isn't YAML: {getattr(error, 'problem', None) or getattr(error, 'reason', 'unreadable')}")
        )
    except (ValueError, RecursionError) as error:
        faults.append(Fault(place(0), f"isn't YAML: {error}"))
    return found, faults


def explained(fault: Any, location: Sequence[object], known: Collection[str] = ()) -> str:
    """One of pydantic's errors in words, with its field."""
    message = str(fault["msg"]).removeprefix("Value error, ")
    if fault["type"] == "missing":
        message = "is missing; give it"
    elif fault["type"] == "extra_forbidden":
        message = unknown_field(str(location[-1]), known)
    return f"{'.'.join(map(str, location)) or 'the file'}: {message}"


def line_in(node: Any, path: Sequence[object]) -> int:
    """The line of a field, or of what it is missing in, from 1."""
    line = int(node.start_mark.line) + 1
    for part in path:
        if isinstance(node, yaml.MappingNode):
            # The last: what merge keys bring stands before what they are overridden with.
            found = next(((key, value) for key, value in reversed(node.value) if key.value == str(part)), None)
            if found is None:
                return line
            line, node = int(found[0].start_mark.line) + 1, found[1]
        elif isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
            node = node.value[part]
            line = int(node.start_mark.line) + 1
        else:
            return line
    return line


def _repeated(node: Any, seen: set[int]) -> Iterator[tuple[str, int, int]]:
    """Keys that one mapping has twice, each with the lines of the first and of this one, from 0. YAML takes the last."""
    if id(node) in seen:
        return
    seen.add(id(node))
    if isinstance(node, yaml.SequenceNode):
        for one in node.value:
            yield from _repeated(one, seen)
    elif isinstance(node, yaml.MappingNode):
        first: dict[tuple[str, str], int] = {}
        for key, value in node.value:
            if isinstance(key, yaml.ScalarNode) and key.tag != "tag:yaml.org,2002:merge":
                name = (key.tag, key.value)
                if name in first:
                    yield key.value, first[name], key.start_mark.line
                first.setdefault(name, key.start_mark.line)
            yield from _repeated(value, seen)
