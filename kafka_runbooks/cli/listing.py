"""`list`: runs by cluster, runbook, state and more.

Filters are search attributes that runs set on themselves. Runs from before these were registered have none, but their workflow ID
begins with the cluster (unless `--id` said otherwise), and their workflow type is the runbook.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated

import typer
from rich.text import Text
from temporalio.client import WorkflowExecution, WorkflowExecutionStatus

from kafka_runbooks import search_attributes
from kafka_runbooks.catalogue import RUNBOOKS, command_name
from kafka_runbooks.cli import connection, equivalents
from kafka_runbooks.cli.exits import BAD_INPUT, fail
from kafka_runbooks.cli.output import console, print_equivalent
from kafka_runbooks.cli.parameters import Format, OutputOption, typer_app
from kafka_runbooks.temporal import search_attributes_are_registered

MOST_RUNS = 50
COLUMNS = ("workflow_id", "runbook", "state", "phase", "requester", "ticket", "started", "ended")

app = typer_app()


class State(StrEnum):
    """What the server calls the state of a run."""

    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELED = "canceled"
    TERMINATED = "terminated"
    TIMED_OUT = "timed-out"

    @property
    def in_query(self) -> str:
        return self.value.title().replace("-", "")


@dataclass(frozen=True)
class Filters:
    """What `list` was asked for; None: any."""

    cluster: str | None = None
    runbook: str | None = None
    state: State | None = None
    requester: str | None = None
    ticket: str | None = None
    phase: str | None = None

    @property
    def by_attribute(self) -> dict[str, str]:
        """Those that only search attributes can answer: attribute -> value."""
        values = {
            search_attributes.REQUESTER.name: self.requester,
            search_attributes.TICKET.name: self.ticket,
            search_attributes.PHASE.name: self.phase,
        }
        return {name: value for name, value in values.items() if value is not None}

    def query(self, are_registered: bool) -> str:
        """The query; without search attributes it does what the workflow's ID and type allow."""
        runbooks = (self.runbook,) if self.runbook is not None else tuple(RUNBOOKS)
        terms = [f"WorkflowType IN ({', '.join(map(_quoted, runbooks))})"]
        if self.state is not None:
            terms.append(f"ExecutionStatus = {_quoted(self.state.in_query)}")
        if self.cluster is not None:
            terms.append(self._cluster(self.cluster, are_registered))
        if are_registered:
            terms += [f"{name} = {_quoted(value)}" for name, value in self.by_attribute.items()]
        return " AND ".join(terms)

    def _cluster(self, cluster: str, are_registered: bool) -> str:
        by_id = f"WorkflowId STARTS_WITH {_quoted(f'{cluster}/')}"
        if not are_registered:
            return by_id
        name = search_attributes.CLUSTER.name
        return f"({name} = {_quoted(cluster)} OR ({name} IS NULL AND {by_id}))"


def _quoted(value: str) -> str:
    escaped = value.replace("'", "''")
    return f"'{escaped}'"


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
        runs = [_row(run) async for run in client.list_workflows(query, limit=MOST_RUNS)]
        return sorted(runs, key=lambda run: run["state"] != WorkflowExecutionStatus.RUNNING.name)

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


def _row(run: WorkflowExecution) -> dict[str, str | None]:
    attributes = run.typed_search_attributes
    return {
        "workflow_id": run.id,
        "runbook": run.workflow_type,
        "state": run.status.name if run.status else "UNKNOWN",
        "started": run.start_time.isoformat(timespec="seconds"),
        "ended": run.close_time.isoformat(timespec="seconds") if run.close_time else None,
        "cluster": attributes.get(search_attributes.CLUSTER),
        "phase": attributes.get(search_attributes.PHASE),
        "requester": attributes.get(search_attributes.REQUESTER),
        "ticket": attributes.get(search_attributes.TICKET),
    }
