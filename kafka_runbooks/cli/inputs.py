"""What an operator types, read and checked before anything is asked of a server. A bad one names the field and the fix."""

import difflib
import json
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import pydantic

from kafka_runbooks.catalogue import RUNBOOKS
from kafka_runbooks.models.inputs import RunbookInput

SomeModel = TypeVar("SomeModel", bound=pydantic.BaseModel)


class BadInput(Exception):
    """Something typed is wrong; the message says what and how to mend it."""


def runbook_input(name: str) -> type[RunbookInput]:
    """The input model of a runbook, which may be named `ReplaceBroker` or `replace-broker`.

    Raises:
        BadInput: no such runbook; the message lists them.
    """
    for known, runbook in RUNBOOKS.items():
        if name in (known, kebab(known)):
            return runbook.input
    close = difflib.get_close_matches(name, RUNBOOKS, n=1)
    hint = f" Did you mean {close[0]}?" if close else ""
    raise BadInput(f"RUNBOOK: there is no runbook {name!r}.{hint} There are: {', '.join(RUNBOOKS)}")


def runbook_name(model: type[RunbookInput]) -> str:
    """The workflow type that takes this input."""
    return next(name for name, runbook in RUNBOOKS.items() if runbook.input is model)


def read_json(given: str) -> dict[str, Any]:
    """The object in `--input`: JSON itself, or `@` and a file's name.

    Raises:
        BadInput: the file can't be read, or it is not a JSON object; with line and column.
    """
    where, text = "--input", given
    if given.startswith("@"):
        where = f"--input {given}"
        try:
            text = Path(given[1:]).read_text()
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
            raise BadInput(f"{where}: can't read the file: {reason}") from error
    try:
        data = json.loads(text)
    except json.JSONDecodeError as error:
        line = text.splitlines()[error.lineno - 1] if text.strip() else ""
        shown = f"\n  {line[:200]}\n  {' ' * min(error.colno - 1, 200)}^" if line else ""
        hint = "" if given.lstrip().startswith("{") or given.startswith("@") else "\n  a file is given as --input @FILE"
        position = f"line {error.lineno}, column {error.colno}"
        raise BadInput(f"{where}: not valid JSON: {error.msg} at {position}{shown}{hint}") from error
    if not isinstance(data, dict):
        raise BadInput(f'{where}: a JSON object is wanted, such as {{"cluster": "lab", …}}; this is a {type(data).__name__}')
    return data


def validate(model: type[SomeModel], data: dict[str, Any]) -> SomeModel:
    """The model of what was typed.

    Raises:
        BadInput: one line for each field that is wrong.
    """
    try:
        return model.model_validate(data)
    except pydantic.ValidationError as error:
        lines = [_explain(model, dict(problem)) for problem in error.errors(include_url=False)]
        raise BadInput("\n".join(lines)) from error


def _explain(model: type[pydantic.BaseModel], problem: dict[str, Any]) -> str:
    location = [str(part) for part in problem["loc"]]
    field = ".".join(location) or "input"
    known = model.model_fields.get(location[0]) if location else None
    if problem["type"] == "extra_forbidden":
        names = list(model.model_fields) if len(location) == 1 else []
        close = difflib.get_close_matches(location[-1], names, n=1)
        fix = f"did you mean {close[0]}?" if close else "leave it out" + (f"; known are {', '.join(names)}" if names else "")
        return f"{field}: no such field; {fix}"
    message = problem["msg"].removeprefix("Value error, ")
    if problem["type"] == "missing":
        message = "is missing; give it"
    elif "input" in problem and isinstance(problem["input"], str | int | float | bool | None) and location:
        message += f"; it is {json.dumps(problem['input'])}"
    description = f" ({known.description})" if known is not None and known.description else ""
    return f"{field}: {message}{description}"


def kebab(name: str) -> str:
    """`ReplaceBroker` -> `replace-broker`."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "-", name).lower()


def workflow_id(name: str, request: RunbookInput) -> str:
    """`<cluster>/<runbook>/<broker or node>-<UTC time>`: found by eye in a list. The permit keeps a second one out."""
    stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
    target = f"{request.target}-" if request.target else ""
    return f"{request.cluster}/{kebab(name)}/{target}{stamp}"
