"""Exit codes, the same for every command, and how a command ends early."""

import sys
from typing import NoReturn

import typer

DONE, FAILED, BAD_INPUT, REFUSED, BUSY = range(5)


def fail(code: int, message: str) -> NoReturn:
    """End with `code` and one `error:` line on stderr."""
    print(f"error: {message}", file=sys.stderr)
    raise typer.Exit(code)
