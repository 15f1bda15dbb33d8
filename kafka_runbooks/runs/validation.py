"""Input checked before any server is contacted. A fault names the field or the option, and the fix."""

import json
from collections.abc import Mapping
from typing import Any, TypeVar

import pydantic

from kafka_runbooks.models.wording import unknown_field

SomeModel = TypeVar("SomeModel", bound=pydantic.BaseModel)


class BadInput(Exception):
    """Something given is wrong; the message says what, and how to fix it."""


def validate(
    model: type[SomeModel],
    data: Mapping[str, Any],
    flags: Mapping[tuple[str, ...], str] | None = None,
    typed: Mapping[tuple[str, ...], str] | None = None,
) -> SomeModel:
    """The model of what was typed.

    Args:
        model: the model.
        data: its fields.
        flags: the option of each field that has one.
        typed: those of them that were used; a fault in their value names the option instead of the field.

    Raises:
        BadInput: one line for each field that is wrong.
    """
    try:
        return model.model_validate(data)
    except pydantic.ValidationError as error:
        faults = [_explain(model, dict(fault), flags or {}, typed or {}) for fault in error.errors(include_url=False)]
        raise BadInput("\n".join(faults)) from error


def _explain(
    model: type[pydantic.BaseModel],
    fault: dict[str, Any],
    flags: Mapping[tuple[str, ...], str],
    typed: Mapping[tuple[str, ...], str],
) -> str:
    location = [str(part) for part in fault["loc"]]
    known = model.model_fields.get(location[0]) if location else None
    field = ".".join(location) or "input"
    if fault["type"] == "extra_forbidden":
        names = list(model.model_fields) if len(location) == 1 else []
        return f"{field}: {unknown_field(location[-1], names)}"
    description = f" ({known.description})" if known is not None and known.description else ""
    if fault["type"] == "missing":
        return f"{_label(location, typed) or field}: is missing; give {flags.get(tuple(location), 'it')}{description}"
    message = fault["msg"].removeprefix("Value error, ")
    if "input" in fault and isinstance(fault["input"], str | int | float | bool | None) and location:
        message += f"; it is {json.dumps(fault['input'])}"
    return f"{_label(location, typed) or field}: {message}{description}"


def _label(location: list[str], typed: Mapping[tuple[str, ...], str]) -> str | None:
    """The option whose value is at fault, and where in its JSON. A location also has tags of unions and positions in tuples."""
    for path, flag in typed.items():
        if location and location[0] == path[0] and (len(path) == 1 or location[-1] == path[-1]):
            within = ".".join(location[1:]) if len(path) == 1 else ""
            return flag if within.replace(".", "").isdigit() or not within else f"{flag} {within}"
    return None
