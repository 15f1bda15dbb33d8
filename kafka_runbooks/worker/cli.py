"""`kafka-runbooks`: start runbooks, watch them, say yes or no. Everything it does, the `temporal` command can do; it prints how.

Exit codes: 0 done, 1 failed, 2 bad input, 3 refused by preflight, 4 busy.
"""

import asyncio
import json
import os
import sys
from collections.abc import Awaitable, Callable
from typing import Annotated, Any, NoReturn

import typer
from pydantic import ValidationError
from rich.console import Console
from rich.live import Live
from rich.table import Table
from temporalio.client import Client, WorkflowFailureError, WorkflowUpdateFailedError
from temporalio.exceptions import ApplicationError
from temporalio.service import RPCError, RPCStatusCode

from kafka_runbooks.clients.errors import Refused
from kafka_runbooks.clients.open import ConfiguredClusters
from kafka_runbooks.models.preview import Preview
from kafka_runbooks.models.runbooks import Approval, Outcome, RunbookInput, RunbookResult, Word
from kafka_runbooks.models.status import Status
from kafka_runbooks.worker import equivalents, inputs, place, watching
from kafka_runbooks.worker.process import run_worker
from kafka_runbooks.worker.settings import WorkerSettings
from kafka_runbooks.worker.temporal import RUNBOOKS, connect, connect_config

DONE, FAILED, BAD_INPUT, REFUSED, BUSY = range(5)
EXIT_CODES = {Outcome.DONE: DONE, Outcome.NOTHING_TO_DO: DONE, Outcome.REFUSED: REFUSED, Outcome.BUSY: BUSY}
CONNECT_SECONDS = 10.0

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help=__doc__)
app.add_typer(place.app, name="place")
out, err = Console(), Console(stderr=True)

Runbook = Annotated[str, typer.Argument(help="ReplaceBroker, ClearLeftovers")]
Input = Annotated[str, typer.Option("--input", "-i", help="JSON, or @file")]
Output = Annotated[str, typer.Option("--output", "-o", help="text or json")]
Id = Annotated[str, typer.Argument(help="the workflow's id")]
Reason = Annotated[str, typer.Option(help="recorded in the history")]
By = Annotated[str, typer.Option(help="who says it", envvar="USER")]


def fail(code: int, message: str) -> NoReturn:
    """End with a message on standard error."""
    err.print(message, style="red", markup=False, highlight=False)
    raise typer.Exit(code)


def read_input(runbook: str, text: str) -> tuple[str, RunbookInput]:
    """The runbook's name and its input; ends with 2 where they can't be, and names the field and the fix."""
    try:
        kind = inputs.runbook_input(runbook)
        return inputs.runbook_name(kind), inputs.validate(kind, inputs.read_json(text))
    except inputs.BadInput as error:
        fail(BAD_INPUT, str(error))


def address() -> str:
    return str(connect_config().get("target_host", "localhost:7233"))


def with_client(work: Callable[[Client], Awaitable[int]]) -> NoReturn:
    """Run with a connection; ends the command with the code that the work returns."""

    async def run() -> int:
        try:
            client = await asyncio.wait_for(connect(), CONNECT_SECONDS)
        except (RuntimeError, TimeoutError, RPCError) as error:
            fail(FAILED, f"Temporal at {address()} doesn't answer: {error or 'timeout'}")
        try:
            return await work(client)
        except RPCError as error:
            if error.status == RPCStatusCode.NOT_FOUND:
                fail(BAD_INPUT, f"ID: {error.message}")
            fail(FAILED, f"Temporal at {address()}: {error.message}")

    raise typer.Exit(asyncio.run(run()))


def say_equivalent(command: str) -> None:
    """On standard error, so that standard output stays the answer."""
    err.print("$ " + command, style="dim", markup=False, highlight=False, soft_wrap=True)


@app.command()
def start(
    runbook: Runbook,
    input: Input,
    id: Annotated[str | None, typer.Option(help="the workflow's id")] = None,
    wait: Annotated[bool, typer.Option("--wait", help="watch until it ends")] = False,
    output: Output = "text",
) -> None:
    """Start a runbook."""
    name, request = read_input(runbook, input)
    workflow_id = id or inputs.workflow_id(name, request)
    queue = WorkerSettings().task_queue
    say_equivalent(equivalents.start(name, request.model_dump(mode="json", exclude_defaults=True), workflow_id, queue))

    async def work(client: Client) -> int:
        try:
            await client.start_workflow(
                name, request, id=workflow_id, task_queue=queue, static_summary=f"{name} on {request.cluster}"[:200]
            )
        except RPCError as error:
            if error.status == RPCStatusCode.ALREADY_EXISTS:
                fail(BUSY, f"--id: {workflow_id} runs already")
            raise
        if output == "json" and not wait:
            out.print_json(json.dumps({"id": workflow_id}))
        elif not wait:
            out.print(f"{workflow_id}\n{watching.ui_link(workflow_id)}", highlight=False, soft_wrap=True)
        return await follow(client, workflow_id, output) if wait else DONE

    with_client(work)


async def follow(client: Client, workflow_id: str, output: str) -> int:
    """Watch a runbook to its end, print the result; its exit code."""
    handle = client.get_workflow_handle(workflow_id, result_type=RunbookResult)
    if output == "json":
        result = await ended(handle)
        out.print_json(result.model_dump_json())
        return EXIT_CODES.get(result.outcome, FAILED)
    ending = asyncio.create_task(ended(handle))
    with Live(console=out, refresh_per_second=4) as live:
        while not ending.done():
            live.update(await watching.view(client, workflow_id))
            await asyncio.wait([ending], timeout=1.0)
    result = await ending
    out.print(watching.result_view(result))
    return EXIT_CODES.get(result.outcome, FAILED)


async def ended(handle: Any) -> RunbookResult:
    try:
        return RunbookResult.model_validate(await handle.result())
    except WorkflowFailureError as error:
        cause = error.cause
        if isinstance(cause, ApplicationError) and cause.details:
            return RunbookResult.model_validate(cause.details[0])
        outcome = Outcome.CANCELLED if type(cause).__name__ == "CancelledError" else Outcome.FAILED
        return RunbookResult(outcome=outcome, summary=str(cause))


@app.command()
def status(
    id: Id, watch: Annotated[bool, typer.Option("--watch", help="until it ends")] = False, output: Output = "text"
) -> None:
    """Where a runbook is, how far, how long still, and why it waits."""
    say_equivalent(equivalents.status(id))

    async def work(client: Client) -> int:
        if watch:
            return await follow(client, id, output)
        if output == "json":
            found = await client.get_workflow_handle(id).query("status", result_type=Status)
            out.print_json(found.model_dump_json())
        else:
            await client.get_workflow_handle(id).describe()
            out.print(await watching.view(client, id))
        return DONE

    with_client(work)


@app.command("list")
def list_runbooks(output: Output = "text") -> None:
    """Runbooks that run, and the latest that have ended."""
    types = ", ".join(f"'{name}'" for name in RUNBOOKS)
    query = f"WorkflowType IN ({types})"
    say_equivalent(equivalents.listing(query))

    async def work(client: Client) -> int:
        rows = []
        async for one in client.list_workflows(query, limit=50):
            ended_state = one.status.name if one.status else "?"
            rows.append({"id": one.id, "type": one.workflow_type, "state": ended_state, "started": one.start_time.isoformat()})
        if output == "json":
            out.print_json(json.dumps(rows))
            return DONE
        table = Table("id", "runbook", "state", "started")
        for row in rows:
            table.add_row(row["id"], row["type"], row["state"], row["started"])
        out.print(table)
        return DONE

    with_client(work)


def say(update: str, id: str, word: Word) -> None:
    """Send an update; a refused one ends with 2."""
    say_equivalent(equivalents.update(update, id, word.model_dump(mode="json", exclude_defaults=True)))

    async def work(client: Client) -> int:
        try:
            found = await client.get_workflow_handle(id).execute_update(update, word, result_type=Status)
        except WorkflowUpdateFailedError as error:
            fail(BAD_INPUT, f"{update}: {error.cause or error}")
        out.print(f"{update}: {found.phase}", highlight=False)
        return DONE

    with_client(work)


@app.command()
def approve(
    id: Id,
    reason: Reason,
    by: By = "",
    risk: Annotated[list[str] | None, typer.Option(help="acknowledge a risk by name; may be given often")] = None,
    allow_other_rack: Annotated[bool, typer.Option("--allow-other-rack")] = False,
    plan_sha256: Annotated[str | None, typer.Option(help="approve only this plan")] = None,
) -> None:
    """Approve what waits at the gate."""
    say(
        "approve",
        id,
        made(Approval, by, reason, acknowledged_risks=risk or (), allow_other_rack=allow_other_rack, plan_sha256=plan_sha256),
    )


def made(kind: type[Word], by: str, reason: str, **more: Any) -> Word:
    try:
        return kind(by=by, reason=reason, **more)
    except ValidationError as error:
        fail(BAD_INPUT, "\n".join(f"--{one['loc'][0]}: {one['msg']}" for one in error.errors()))


@app.command()
def reject(id: Id, reason: Reason, by: By = "") -> None:
    """Refuse what waits at the gate; the runbook ends."""
    say("reject", id, made(Word, by, reason))


@app.command()
def pause(id: Id, reason: Reason, by: By = "") -> None:
    """Stop before the next step."""
    say("pause", id, made(Word, by, reason))


@app.command()
def resume(id: Id, reason: Reason, by: By = "") -> None:
    """Go on after a pause."""
    say("resume", id, made(Word, by, reason))


@app.command()
def abort(id: Id, reason: Reason, by: By = "") -> None:
    """Give back what was set, and end."""
    say("abort", id, made(Word, by, reason))


@app.command()
def plan(runbook: Runbook, input: Input, output: Output = "text") -> None:
    """What would happen. Nothing changes."""
    name, request = read_input(runbook, input)
    if name != "ReplaceBroker":
        fail(BAD_INPUT, f"RUNBOOK: {name} has no plan")
    queue, workflow_id = WorkerSettings().task_queue, f"plan/{inputs.workflow_id(name, request)}"
    payload = request.model_dump(mode="json", exclude_defaults=True)
    say_equivalent(equivalents.start("PlanOnly", payload, workflow_id, queue, waits=True))

    async def work(client: Client) -> int:
        found = await client.execute_workflow("PlanOnly", request, id=workflow_id, task_queue=queue, result_type=Preview)
        if output == "json":
            out.print_json(found.model_dump_json())
        else:
            out.print(watching.preview_view(found))
        return REFUSED if any(not reason.can_be_acknowledged for reason in found.reasons) else DONE

    with_client(work)


@app.command()
def schema(runbook: Runbook) -> None:
    """The JSON schema of a runbook's input."""
    try:
        out.print_json(json.dumps(inputs.runbook_input(runbook).model_json_schema()))
    except inputs.BadInput as error:
        fail(BAD_INPUT, str(error))


@app.command()
def worker() -> None:
    """Work on runbooks until SIGTERM."""
    try:
        clusters = ConfiguredClusters.from_file()
    except Refused as error:
        fail(BAD_INPUT, str(error))
    asyncio.run(run_worker(WorkerSettings(), clusters))


def main() -> None:
    """Entry point. Ends the process itself: the SDK's threads can abort an interpreter that shuts down (sdk-python#300)."""
    try:
        app()
    except SystemExit as ending:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(ending.code if isinstance(ending.code, int) else 1)
