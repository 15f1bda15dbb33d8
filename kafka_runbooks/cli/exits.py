"""Exit codes, the same for every command, and how a command ends early."""

import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING, NoReturn

import typer

if TYPE_CHECKING:  # pydantic takes long to import, and `--help` needs none of it
    from kafka_runbooks.models.results import Reason

DONE, FAILED, BAD_INPUT, REFUSED, BUSY = range(5)


def refused(reasons: Iterable["Reason"]) -> int:
    """The code of a refusal: bad input is bad input, whoever found it out, the command or a look at the cluster."""
    return BAD_INPUT if any(reason.is_bad_input for reason in reasons) else REFUSED


def fail(code: int, message: str) -> NoReturn:
    """End with `code` and one `error:` line on stderr."""
    print(f"error: {message}", file=sys.stderr)
    raise typer.Exit(code)
