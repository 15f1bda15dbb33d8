"""`status`: one run, once or until it ends."""

from typing import Annotated

import typer
from rich.console import Console
from rich.live import Live
from rich.text import Text
from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode

from kafka_runbooks.cli import connection, equivalents, plan_printing, printing
from kafka_runbooks.cli.exits import BUSY, DONE, FAILED, REFUSED, refused
from kafka_runbooks.cli.output import console, print_equivalent, print_json
from kafka_runbooks.cli.parameters import Format, IdArgument, OutputOption, typer_app
from kafka_runbooks.models.results import Outcome, RunbookResult
from kafka_runbooks.runs import observing
from kafka_runbooks.runs.observing import Observation
from kafka_runbooks.runs.validation import BadInput

EXIT_CODES = {
    Outcome.DONE: DONE,
    Outcome.NOTHING_TO_DO: DONE,
    Outcome.JOINED: DONE,
    Outcome.SKIPPED: DONE,
    Outcome.REFUSED: REFUSED,
    Outcome.BUSY: BUSY,
}
"""Any other outcome is `FAILED`."""

app = typer_app()


@app.command()
def status(
    id: IdArgument,
    watch_it: Annotated[bool, typer.Option("--watch", help="Watch until it ends; the exit code says how it ended.")] = False,
    output: OutputOption = Format.TEXT,
) -> None:
    """Show where a run is, its progress, time left, and why it waits."""
    screen = console(output)
    print_equivalent(screen, equivalents.status(id))

    async def work() -> RunbookResult | None:
        client = await connection.open_client()
        observed = await observe(client, id)
        if watch_it:
            screen.print(Text(observed.link))
            return await watch(client, id, observed.run_id, screen)
        if output is Format.JSON:
            print_json(observed)
        else:
            _print(screen, observed)
        return None

    if (result := connection.run(work())) is not None:
        finish(result, screen, output)


def _print(screen: Console, observed: Observation) -> None:
    screen.print(printing.run(observed))
    if observed.result is not None:
        printing.print_result(screen, observed.result)
    elif observed.status is not None and observed.status.phase == "gate" and observed.status.plan is not None:
        plan_printing.print_plan(screen, observed.status.plan)
    screen.print(Text(observed.link))


async def observe(client: Client, workflow_id: str) -> Observation:
    """One observation of a run.

    Raises:
        BadInput: there is no such run.
    """
    try:
        return await observing.observe(client, workflow_id)
    except RPCError as error:
        if error.status == RPCStatusCode.NOT_FOUND:
            raise BadInput(f"ID: there is no run {workflow_id!r}; `kafka-runbooks list` shows all runs") from error
        raise


async def watch(client: Client, workflow_id: str, run_id: str | None, screen: Console) -> RunbookResult:
    """Show a run until it ends: live on a terminal, else a line on every change."""
    log = printing.Log()
    with Live(console=screen, auto_refresh=False, transient=True) as live:

        def show(observed: Observation) -> None:
            if screen.is_terminal:
                live.update(printing.run(observed), refresh=True)
            elif line := log.line(observed):
                screen.print(Text(line))

        return await observing.follow(client, workflow_id, run_id, show)


def finish(result: RunbookResult, screen: Console, output: Format) -> None:
    """Show a result, and end with its exit code."""
    if output is Format.JSON:
        print_json(result)
    else:
        printing.print_result(screen, result)
    code = EXIT_CODES.get(result.outcome, FAILED)
    raise typer.Exit(refused(result.reasons) if code == REFUSED else code)
