"""Command-line options of an input model: one for each leaf of its fields, and back from options to the model's data.

A field of a nested model becomes a dotted option (`--limits.moves-at-once`), and so do the fields of every member of a union
(`--throttle.rate-bytes-per-s` of the fixed throttle); those that are given tell which member is meant. A tuple is an option that
may be repeated, a boolean a flag with `--no-`, and a value with structure of its own is JSON or `@FILE`. Options keep what was
typed as text: pydantic converts and checks it together with `--input`, so that every fault is reported at once.
"""

import types
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from kafka_runbooks.cli import inputs
from kafka_runbooks.runs.validation import BadInput

NULL = "null"


@dataclass(frozen=True)
class Option:
    """One option.

    Attributes:
        path: the field's name, after those of the models around it.
        kind: the type of its value, or of one of its values.
        choices: values it may have, as they are typed -> as the model has them.
        is_repeated: it may be given several times.
        is_nullable: `null` unsets it.
        help: what it is for, with its default.
    """

    path: tuple[str, ...]
    kind: type
    choices: Mapping[str, str]
    is_repeated: bool
    is_nullable: bool
    help: str
    spelled: str | None = None
    """How the last part is spelled where a field of several values is given one at a time: `--broker-id 7 --broker-id 8`."""

    @property
    def flag(self) -> str:
        """`--throttle.rate-bytes-per-s`."""
        return f"--{self._dashed}"

    @property
    def declaration(self) -> str:
        """As typer declares it: a boolean also has its opposite."""
        return f"{self.flag}/--no-{self._dashed}" if self.kind is bool else self.flag

    @property
    def parameter(self) -> str:
        """The name of the Python parameter."""
        return "__".join(self.path)

    @property
    def metavar(self) -> str:
        if self.choices:
            return f"<{'|'.join(self.choices)}>"
        return "<JSON|@FILE>" if self.is_json else f"<{self.kind.__name__}>"

    @property
    def is_json(self) -> bool:
        return issubclass(self.kind, BaseModel)

    @property
    def _dashed(self) -> str:
        return ".".join((*self.path[:-1], self.spelled or self.path[-1])).replace("_", "-")

    def value(self, typed: Any) -> Any:
        """What the model's validation takes.

        Raises:
            BadInput: not valid JSON.
        """
        if self.is_repeated:
            return [value for text in typed for value in self._values(text)]
        return typed if self.kind is bool else self._value(typed)

    def _values(self, text: str) -> list[Any]:
        if self.is_json:
            value = self._value(text)
            return value if isinstance(value, list) else [value]
        return text.split(",") if self.kind is int else [self._value(text)]

    def _value(self, text: str) -> Any:
        if self.is_json:
            return inputs.read_json(text, self.flag)
        if self.is_nullable and text == NULL and self.kind is not str:
            return None
        return self.choices.get(text, text)


def of(model: type[BaseModel]) -> tuple[Option, ...]:
    """The options of a model, in the order of its fields."""
    found: dict[tuple[str, ...], Option] = {}
    for option in _of_fields(model, ()):
        found.setdefault(option.path, option)
    return tuple(found.values())


def _of_fields(model: type[BaseModel], path: tuple[str, ...], note: str = "") -> Iterator[Option]:
    for name, field in model.model_fields.items():
        kinds, is_nullable = _without_none(field.annotation)
        if field.discriminator is not None:
            yield _mode(kinds, field, (*path, name))
            for member in kinds:
                tag = _tag(member, str(field.discriminator))
                fields = _of_fields(member, (*path, name), f" (mode {tag})")
                yield from (option for option in fields if option.path[-1] != field.discriminator)
        elif _is_flat_model(kinds[0]):
            yield from _of_fields(kinds[0], (*path, name))
        else:
            yield _leaf(kinds[0], field, (*path, name), is_nullable, note)


def _mode(members: Sequence[Any], field: FieldInfo, path: tuple[str, ...]) -> Option:
    discriminator = str(field.discriminator)
    tags = {_tag(member, discriminator): _summary(member) for member in members}
    default = getattr(field.get_default(call_default_factory=True), discriminator, None)
    sentences = " ".join(f"{tag}: {summary}" for tag, summary in tags.items())
    help = f"{sentences} Needed only if no other {path[-1]} option tells. [default: {default}]"
    return Option((*path, discriminator), str, {tag: tag for tag in tags}, False, False, help)


def _leaf(kind: Any, field: FieldInfo, path: tuple[str, ...], is_nullable: bool, note: str) -> Option:
    is_repeated = get_origin(kind) is tuple
    if is_repeated:
        kind = _plain(get_args(kind)[0])
    choices: dict[str, str] = {}
    if get_origin(kind) is Literal:
        choices, kind = {value.replace(" ", "-"): value for value in get_args(kind)}, str
    elif isinstance(kind, type) and issubclass(kind, Enum):
        choices, kind = {member.value: member.value for member in kind}, str
    help = f"{field.description or ''}{note}{'; may be repeated' if is_repeated else ''}{_default(field, choices, note)}"
    if help.partition(":")[0] not in choices:
        help = help[:1].upper() + help[1:]
    extra = field.json_schema_extra
    spelled = str(extra["option"]) if isinstance(extra, dict) and "option" in extra else None
    return Option(path, kind, choices, is_repeated, is_nullable, help, spelled)


def _default(field: FieldInfo, choices: Mapping[str, str], note: str) -> str:
    if field.is_required():
        return "" if note else " [required]"
    default = field.get_default(call_default_factory=True)
    if default is None or default == () or default is False:
        return ""
    if default is True:
        return " [default: yes]"
    value = default.value if isinstance(default, Enum) else default
    return f" [default: {next((typed for typed, known in choices.items() if known == value), value)}]"


def _without_none(annotation: Any) -> tuple[list[Any], bool]:
    """The alternatives of a type, and whether None is one."""
    kinds = get_args(annotation) if get_origin(annotation) in (Union, types.UnionType) else (annotation,)
    return [_plain(kind) for kind in kinds if kind is not type(None)], type(None) in kinds


def _plain(annotation: Any) -> Any:
    return get_args(annotation)[0] if get_origin(annotation) is Annotated else annotation


def _is_flat_model(kind: Any) -> bool:
    """A model whose fields are single values, so that each can be an option."""
    if not _is_model(kind):
        return False
    kinds = [_without_none(field.annotation)[0] for field in kind.model_fields.values()]
    return all(get_origin(one[0]) is not tuple and not _is_model(one[0]) for one in kinds)


def _is_model(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, BaseModel)


def _tag(member: type[BaseModel], discriminator: str) -> str:
    return str(member.model_fields[discriminator].default)


def _summary(model: type[BaseModel]) -> str:
    return (model.__doc__ or "").strip().partition("\n")[0]


def data(options: Sequence[Option], typed: Mapping[str, Any]) -> dict[str, Any]:
    """The model's data from what was typed: parameter -> value, None where nothing was.

    Raises:
        BadInput: an option's JSON is not valid.
    """
    found: dict[str, Any] = {}
    for option in options:
        value = typed.get(option.parameter)
        if value is None:
            continue
        place = found
        for name in option.path[:-1]:
            place = place.setdefault(name, {})
        place[option.path[-1]] = option.value(value)
    return found


def merged(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Both, field by field; `over` wins, also over a single value under a field's singular name (`broker_id`)."""
    result = dict(base)
    for name, value in over.items():
        if name.endswith("s") and isinstance(value, list):
            result.pop(name.removesuffix("s"), None)
        below = result.get(name)
        result[name] = merged(below, value) if isinstance(below, dict) and isinstance(value, dict) else value
    return result


def with_modes(model: type[BaseModel], given: Mapping[str, Any]) -> dict[str, Any]:
    """The data with the member of each union named, where its fields tell which it is.

    Raises:
        BadInput: fields of different members are given together.
    """
    result = dict(given)
    for name, field in model.model_fields.items():
        fields = result.get(name)
        discriminator = str(field.discriminator)
        if field.discriminator is None or not isinstance(fields, dict) or not fields or discriminator in fields:
            continue
        owners = {
            _tag(member, discriminator): [known for known in fields if known in member.model_fields]
            for member in _without_none(field.annotation)[0]
        }
        complete = [tag for tag, known in owners.items() if len(known) == len(fields)]
        if len(complete) == 1:
            result[name] = {discriminator: complete[0], **fields}
        elif not complete and all(any(known in of_tag for of_tag in owners.values()) for known in fields):
            claims = "; ".join(f"{discriminator} {tag} has {', '.join(known)}" for tag, known in owners.items() if known)
            raise BadInput(f"{name}: {claims}; give the fields of one {discriminator}")
    return result
