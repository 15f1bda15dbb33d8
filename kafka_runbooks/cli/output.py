"""What every command writes: for people, the equivalent `temporal` command, JSON."""

from pydantic import BaseModel
from rich.console import Console
from rich.text import Text

from kafka_runbooks.cli.parameters import Format


def console(output: Format = Format.TEXT) -> Console:
    """For people: stdout, or stderr with `-o json`."""
    return Console(stderr=output is Format.JSON, highlight=False, soft_wrap=True)


def print_equivalent(console: Console, command: str) -> None:
    console.print(Text(f"$ {command}", style="dim"))


def print_json(model: BaseModel) -> None:
    print(model.model_dump_json(indent=2))
