"""Arguments and options that several commands have."""

import getpass
from enum import StrEnum
from typing import Annotated

import typer


class Format(StrEnum):
    TEXT = "text"
    JSON = "json"


def typer_app(help: str | None = None) -> typer.Typer:
    """An app as all of the command's parts have it; plain help, since rich help takes as long again as everything else."""
    return typer.Typer(
        help=help,
        no_args_is_help=True,
        add_completion=False,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
    )


def user_name() -> str:
    """Who runs the command; empty, which no model accepts, where the system doesn't know."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return ""


OutputOption = Annotated[Format, typer.Option("--output", "-o", help="json: one JSON document on stdout.")]
IdArgument = Annotated[str, typer.Argument(metavar="ID", help="The workflow ID, as `start` and `list` print it.")]
ReasonOption = Annotated[str, typer.Option(help="Why; recorded in the history.")]
ByOption = Annotated[
    str, typer.Option(help="Who decides; recorded. [default: your user name]", default_factory=user_name, show_default=False)
]
