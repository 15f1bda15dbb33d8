"""What an operator typed, read and checked before any server is contacted. A fault names the option or field, and the fix."""

import difflib
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import pydantic

from kafka_runbooks.catalogue import command_name
from kafka_runbooks.models.inputs import RunbookInput

SomeModel = TypeVar("SomeModel", bound=pydantic.BaseModel)


class BadInput(Exception):
    """Something typed is wrong; the message says what, and how to fix it."""


def read_json(given: str, option: str) -> Any:
    """The JSON of an option: the text itself, or `@` and a file's name.

    Raises:
        BadInput: the file can't be read, or it isn't JSON; with line and column.
    """
    where, text = option, given
    if given.startswith("@"):
        where = f"{option} {given}"
        try:
            text = Path(given[1:]).read_text()
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
            raise BadInput(f"{where}: can't read the file: {reason}") from error
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        line = text.splitlines()[error.lineno - 1] if text.strip() else ""
        excerpt = f"\n  {line[:200]}\n  {' ' * min(error.colno - 1, 200)}^" if line else ""
        hint = "" if given.lstrip().startswith(("{", "[", "@")) else f"\n  a file is given as {option} @FILE"
        position = f"line {error.lineno}, column {error.colno}"
        raise BadInput(f"{where}: not valid JSON: {error.msg} at {position}{excerpt}{hint}") from error


def read_object(given: str) -> dict[str, Any]:
    """The JSON object of `--input`.

    Raises:
        BadInput: it can't be read, or isn't a JSON object.
    """
    data = read_json(given, "--input")
    if not isinstance(data, dict):
        raise BadInput(f'--input: expected a JSON object, such as {{"cluster": "lab", …}}, not a {type(data).__name__}')
    return data


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
        close = difflib.get_close_matches(location[-1], names, n=1)
        fix = f"did you mean {close[0]}?" if close else "leave it out" + (f"; known are {', '.join(names)}" if names else "")
        return f"{field}: no such field; {fix}"
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


def workflow_id(name: str, request: RunbookInput) -> str:
    """`<cluster>/<runbook>/<target>-<UTC time>`: easy to find in a list. Not a lock: that is the permit."""
    stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
    target = f"{request.target}-" if request.target else ""
    return f"{request.cluster}/{command_name(name)}/{target}{stamp}"
