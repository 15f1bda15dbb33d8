"""What an operator typed as JSON, as it is or in a file."""

import json
from pathlib import Path
from typing import Any

from kafka_runbooks.runs.validation import BadInput


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
