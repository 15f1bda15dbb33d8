"""`schedules`: what runs by itself, declared in one file. Temporal keeps schedules; they need no worker to survive."""

from collections.abc import Coroutine
from pathlib import Path
from typing import Annotated, Any

import typer

from kafka_runbooks.cli import connection, equivalents
from kafka_runbooks.cli.exits import BAD_INPUT, fail
from kafka_runbooks.cli.output import console, print_equivalent
from kafka_runbooks.cli.parameters import typer_app
from kafka_runbooks.runs.validation import BadInput
from kafka_runbooks.schedules import applying
from kafka_runbooks.schedules.file import SchedulesFile, read
from kafka_runbooks.temporal import TemporalSettings

app = typer_app("Declare schedules of runbooks in a file, and apply it.")
FileArgument = Annotated[Path, typer.Argument(metavar="FILE", help="The file that declares them (YAML).")]


@app.command("diff")
def diff(file: FileArgument) -> None:
    """Show what `apply` would do. Changes nothing."""
    declared = _read(file)

    async def work() -> list[applying.Difference]:
        return await applying.differences(await connection.open_client(), declared, TemporalSettings().task_queue)

    _show(work(), "would be")


@app.command("apply")
def apply(file: FileArgument) -> None:
    """Create, update and delete schedules, so that they are as the file says.

    Deleted are only those of the same owner that aren't in the file. A second time does nothing.
    """
    declared = _read(file)

    async def work() -> list[applying.Difference]:
        return await applying.apply(await connection.open_client(), declared, TemporalSettings().task_queue)

    _show(work(), "")


@app.command("delete")
def delete(file: FileArgument) -> None:
    """Delete every schedule of the file's owner. Runs in progress go on."""
    declared = _read(file)

    async def work() -> list[applying.Difference]:
        return await applying.delete(await connection.open_client(), declared.owner)

    _show(work(), "")


def _read(file: Path) -> SchedulesFile:
    try:
        return read(file)
    except BadInput as error:
        fail(BAD_INPUT, str(error))


def _show(work: Coroutine[Any, Any, list[applying.Difference]], would_be: str) -> None:
    found = connection.run(work)
    screen = console()
    for one in found:
        print_equivalent(screen, equivalents.describe_schedule(one.id))
        screen.print(" ".join(filter(None, (one.id, would_be, DONE[one.action]))))
        for field in one.fields:
            screen.print(f"    {field}", markup=False, highlight=False)
    if not found:
        screen.print("every schedule is as the file says")


DONE = {"create": "created", "update": "updated", "delete": "deleted"}
