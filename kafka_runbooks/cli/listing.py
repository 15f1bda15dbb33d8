"""`list`: runs by cluster, runbook, state and more."""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated

import typer
from rich.text import Text

from kafka_runbooks.catalogue import RUNBOOKS, command_name
from kafka_runbooks.cli import connection, equivalents
from kafka_runbooks.cli.exits import BAD_INPUT, fail
from kafka_runbooks.cli.output import console, print_equivalent
from kafka_runbooks.cli.parameters import Format, OutputOption, typer_app
from kafka_runbooks.runs import finding
from kafka_runbooks.runs.finding import Filters, State
from kafka_runbooks.temporal import search_attributes_are_registered

COLUMNS = ("workflow_id", "runbook", "state", "phase", "requester", "ticket", "started", "ended")

app = typer_app()


def _complete_runbook(incomplete: str) -> list[str]:
    return [name for name in map(command_name, RUNBOOKS) if name.startswith(incomplete)]


def _workflow_type(runbook: str) -> str:
    known = {command_name(name): name for name in RUNBOOKS}
    if runbook not in known and runbook not in RUNBOOKS:
        fail(BAD_INPUT, f"--runbook: there is no runbook {runbook!r}; known are {', '.join(known)}")
    return known.get(runbook, runbook)


@app.command("list")
def list_runs(
    cluster: Annotated[str | None, typer.Option(help="Only runs on this cluster.")] = None,
    runbook: Annotated[
        str | None, typer.Option(help="Only runs of this runbook.", autocompletion=_complete_runbook, metavar="RUNBOOK")
    ] = None,
    state: Annotated[State | None, typer.Option(help="Only runs in this state.")] = None,
    requester: Annotated[str | None, typer.Option(help="Only runs this person asked for.")] = None,
    ticket: Annotated[str | None, typer.Option(help="Only runs for this ticket.")] = None,
    phase: Annotated[str | None, typer.Option(help="Only runs in this phase, e.g. gate.")] = None,
    output: OutputOption = Format.TEXT,
) -> None:
    """List runs, those in progress first.

    At most the latest fifty. Where the search attributes are not registered (`kafka-runbooks setup`), --requester, --ticket and
    --phase don't filter, and --cluster goes by the workflow ID.
    """
    filters = Filters(cluster, None if runbook is None else _workflow_type(runbook), state, requester, ticket, phase)
    screen = console(output)

    async def work() -> list[dict[str, str | None]]:
        client = await connection.open_client()
        are_registered = await search_attributes_are_registered(client)
        if not are_registered:
            console(Format.JSON).print(Text(_note(filters), style="yellow"))
        query = filters.query(are_registered)
        print_equivalent(screen, equivalents.listing(query))
        return await finding.find(client, query)

    runs = connection.run(work())
    if output is Format.JSON:
        print(json.dumps(runs, indent=2))
        return
    for line in _lines(runs) if runs else ["no runs found"]:
        screen.print(Text(line))


def _lines(runs: Sequence[Mapping[str, str | None]]) -> Iterator[str]:
    """Aligned columns, those that are empty left out. Never cut: an ID is there to be copied."""
    rows = [dict.fromkeys(COLUMNS, ""), *({name: run[name] or "" for name in COLUMNS} for run in runs)]
    shown = [name for name in COLUMNS if any(row[name] for row in rows)]
    rows[0] = {name: name.removeprefix("workflow_") for name in COLUMNS}
    widths = {name: max(len(row[name]) for row in rows) for name in shown}
    for row in rows:
        yield "  ".join(row[name].ljust(widths[name]) for name in shown).rstrip()


def _note(filters: Filters) -> str:
    ignored = ", ".join(f"--{name.lower()}" for name in filters.by_attribute)
    effect = f"; not filtered by {ignored}" if ignored else ""
    return f"note: search attributes are not registered (`kafka-runbooks setup` does that){effect}"
