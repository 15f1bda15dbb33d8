"""`kafka-runbooks`: start a runbook, watch it, say yes or no. Everything it does, the `temporal` command can do too; each
command prints how.

Exit codes: 0 done, 1 failed, 2 bad input, 3 refused by preflight, 4 busy. Connection settings are the `temporal` command's:
`TEMPORAL_ADDRESS`, `TEMPORAL_NAMESPACE`, `TEMPORAL_PROFILE` and its configuration file.
"""

import asyncio
import getpass
import json
import os
import sys
import uuid
from collections.abc import Coroutine
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Annotated, Any, NoReturn, TypeVar

import typer
from pydantic import BaseModel
from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text
from temporalio.client import Client, WorkflowFailureError, WorkflowUpdateFailedError
from temporalio.exceptions import ActivityError, ApplicationError, WorkflowAlreadyStartedError
from temporalio.service import RPCError, RPCStatusCode

from kafka_runbooks.catalogue import RUNBOOKS
from kafka_runbooks.cli import equivalents, inputs, place, printing, schedules, watching
from kafka_runbooks.cli.inputs import BadInput
from kafka_runbooks.models.messages import Survey
from kafka_runbooks.models.operator import Abort, Approval, ClearThrottle, OperatorAction, Override
from kafka_runbooks.models.results import Outcome, RunbookResult
from kafka_runbooks.models.status import Status
from kafka_runbooks.temporal import TemporalSettings, connect, connect_config

DONE, FAILED, BAD_INPUT, REFUSED, BUSY = range(5)
EXIT_CODES = {
    Outcome.DONE: DONE,
    Outcome.NOTHING_TO_DO: DONE,
    Outcome.REFUSED: REFUSED,
    Outcome.BUSY: BUSY,
}
"""Every other outcome is `FAILED`."""

CONNECT_SECONDS = 8.0
PLAN_SECONDS = 120.0

app = typer.Typer(no_args_is_help=True, add_completion=False, help=__doc__, pretty_exceptions_enable=False)
app.add_typer(place.app, name="place")
throttle_app = typer.Typer(
    no_args_is_help=True, help="Take the throttle of a running runbook into your own hands, and give it back."
)
app.add_typer(throttle_app, name="throttle")

T = TypeVar("T")
Said = TypeVar("Said", OperatorAction, Approval, Abort, ClearThrottle, Override)


class Format(StrEnum):
    TEXT = "text"
    JSON = "json"


RunbookArgument = Annotated[str, typer.Argument(metavar="RUNBOOK", help=f"One of {', '.join(RUNBOOKS)}.")]
InputOption = Annotated[str, typer.Option("--input", help="The input as JSON, or @FILE. See `schema RUNBOOK`.")]
OutputOption = Annotated[Format, typer.Option("--output", "-o", help="json: one JSON document on stdout.")]
IdArgument = Annotated[str, typer.Argument(metavar="ID", help="The workflow id, as `start` and `list` print it.")]
ReasonOption = Annotated[str, typer.Option(help="Why; recorded in the history.")]
ByOption = Annotated[str, typer.Option(help="Who says it; recorded.", default_factory=getpass.getuser)]


def _console(output: Format = Format.TEXT) -> Console:
    """Where people read: stdout, or stderr where stdout is for a program."""
    return Console(stderr=output is Format.JSON, highlight=False, soft_wrap=True)


def _end(code: int, message: str) -> NoReturn:
    print(f"error: {message}" if message else "", file=sys.stderr)
    raise typer.Exit(code)


def _equivalent(console: Console, command: str) -> None:
    console.print(Text(f"$ {command}", style="dim"))


def _print_json(model: BaseModel) -> None:
    print(model.model_dump_json(indent=2))


def _run(work: Coroutine[Any, Any, T]) -> T:
    """Run, and turn what went wrong outside into one line and an exit code."""
    try:
        return asyncio.run(work)
    except BadInput as error:
        _end(BAD_INPUT, str(error))
    except RPCError as error:
        _end(FAILED, f"Temporal at {_address()}: {error.message}")


def _address() -> str:
    return str(connect_config().get("target_host", "localhost:7233"))


async def _connect() -> Client:
    try:
        return await asyncio.wait_for(connect(), CONNECT_SECONDS)
    except (RuntimeError, TimeoutError, OSError) as error:
        reason = " ".join(str(error).split())[:200] or f"no answer in {CONNECT_SECONDS:.0f} s"
        _end(FAILED, f"can't reach Temporal at {_address()}: {reason} (TEMPORAL_ADDRESS or the profile says where it is)")


def _typed(runbook: str, text: str) -> tuple[str, Any]:
    """The workflow type and the validated input; ends with code 2 where something is wrong."""
    try:
        model = inputs.runbook_input(runbook)
        return inputs.runbook_name(model), inputs.validate(model, inputs.read_json(text))
    except BadInput as error:
        _end(BAD_INPUT, str(error))


@app.command()
def start(
    runbook: RunbookArgument,
    input: InputOption,
    id: Annotated[str | None, typer.Option("--id", help="Workflow id; default: CLUSTER/RUNBOOK/BROKER-TIME.")] = None,
    wait: Annotated[bool, typer.Option("--wait", help="Watch it to its end; the exit code says how it ended.")] = False,
    output: OutputOption = Format.TEXT,
) -> None:
    """Start a runbook."""
    name, request = _typed(runbook, input)
    workflow_id, task_queue = id or inputs.workflow_id(name, request), TemporalSettings().task_queue
    console = _console(output)
    data = request.model_dump(mode="json", exclude_unset=True)
    _equivalent(console, equivalents.start(name, data, workflow_id, task_queue))

    async def work() -> RunbookResult | None:
        client = await _connect()
        try:
            handle = await client.start_workflow(
                name,
                request,
                id=workflow_id,
                task_queue=task_queue,
                static_summary=f"{name} {request.cluster}, for {request.requester}"[:200],
            )
        except WorkflowAlreadyStartedError:
            _end(BUSY, f"a run with id {workflow_id} is open: `kafka-runbooks status {workflow_id}`")
        link = watching.ui_link(workflow_id, handle.first_execution_run_id or "", client.namespace)
        console.print(Text(f"started {workflow_id}\n{link}"))
        if not wait:
            if output is Format.JSON:
                print(json.dumps({"workflow_id": workflow_id, "run_id": handle.first_execution_run_id, "link": link}))
            return None
        return await _watch(client, workflow_id, handle.first_execution_run_id, console)

    _finish(_run(work()), console, output)


def _finish(result: RunbookResult | None, console: Console, output: Format) -> None:
    if result is None:
        return
    if output is Format.JSON:
        _print_json(result)
    else:
        printing.print_result(console, result)
    raise typer.Exit(EXIT_CODES.get(result.outcome, FAILED))


async def _watch(client: Client, workflow_id: str, run_id: str | None, console: Console) -> RunbookResult:
    """Live on a terminal; elsewhere a line whenever something changes."""
    news, seen = printing.News(), None
    with Live(console=console, auto_refresh=False, transient=True) as live:
        async for seen in watching.looks(client, workflow_id, run_id):
            if console.is_terminal:
                live.update(printing.watched(seen), refresh=True)
            elif line := news.line(seen):
                console.print(Text(line))
    assert seen is not None and seen.result is not None, "a run that is over has a result"
    return seen.result


async def _found(client: Client, workflow_id: str) -> watching.Seen:
    try:
        return await watching.look(client, workflow_id)
    except RPCError as error:
        if error.status == RPCStatusCode.NOT_FOUND:
            raise BadInput(f"ID: there is no run {workflow_id!r}; `kafka-runbooks list` shows those there are") from error
        raise


@app.command()
def status(
    id: IdArgument,
    watch: Annotated[bool, typer.Option("--watch", help="Until it ends; the exit code says how it ended.")] = False,
    output: OutputOption = Format.TEXT,
) -> None:
    """Where a run is, how far, how long still, and why it waits."""
    console = _console(output)
    _equivalent(console, equivalents.status(id))

    async def work() -> RunbookResult | None:
        client = await _connect()
        seen = await _found(client, id)
        if watch:
            console.print(Text(seen.link))
            return await _watch(client, id, seen.run_id, console)
        if output is Format.JSON:
            _print_json(seen)
            return None
        console.print(printing.watched(seen))
        if seen.result is not None:
            printing.print_result(console, seen.result)
        elif seen.status is not None and seen.status.phase == "gate" and seen.status.plan is not None:
            printing.print_plan(console, seen.status.plan)
        console.print(Text(seen.link))
        return None

    _finish(_run(work()), console, output)


@app.command("list")
def list_runs(output: OutputOption = Format.TEXT) -> None:
    """The last fifty runs, those that run first."""
    query = " OR ".join(f"WorkflowType = '{name}'" for name in RUNBOOKS)
    console = _console(output)
    _equivalent(console, equivalents.listing(query))

    async def work() -> list[dict[str, Any]]:
        client = await _connect()
        runs = []
        async for run in client.list_workflows(query, limit=50):
            runs.append(
                {
                    "workflow_id": run.id,
                    "runbook": run.workflow_type,
                    "state": run.status.name if run.status else "UNKNOWN",
                    "started": run.start_time.isoformat(timespec="seconds"),
                    "ended": run.close_time.isoformat(timespec="seconds") if run.close_time else None,
                }
            )
        return sorted(runs, key=lambda run: run["state"] != "RUNNING")

    runs = _run(work())
    if output is Format.JSON:
        print(json.dumps(runs, indent=2))
        return
    table = Table("id", "runbook", "state", "started", "ended", box=None)
    for run in runs:
        table.add_row(*(Text(str(value or "")) for value in run.values()))
    console.print(table if runs else "no runbook has run yet")


@app.command()
def plan(runbook: RunbookArgument, input: InputOption, output: OutputOption = Format.TEXT) -> None:
    """What a runbook would do, and every reason against it. Changes nothing."""
    name, request = _typed(runbook, input)
    if RUNBOOKS[name].plan is None:
        _end(BAD_INPUT, f"RUNBOOK: {name} has no plan; it acts on what it finds")
    console, task_queue = _console(output), TemporalSettings().task_queue
    workflow_id = f"{request.cluster}/plan/{uuid.uuid4()}"
    data = request.model_dump(mode="json", exclude_unset=True)
    planner, asked = "Preview", {"runbook": name, "request": data}
    _equivalent(console, equivalents.start(planner, asked, workflow_id, task_queue, waits=True))

    async def work() -> Survey:
        client = await _connect()
        timeout = timedelta(seconds=PLAN_SECONDS)
        try:
            handle = await client.start_workflow(
                planner,
                asked,
                id=workflow_id,
                task_queue=task_queue,
                result_type=Survey,
                execution_timeout=timeout,
            )
            found: Survey = await handle.result()
            return found
        except WorkflowFailureError as error:
            _refuse_plan(error, workflow_id)

    preview = _run(work())
    if output is Format.JSON:
        _print_json(preview)
    else:
        printing.print_preview(console, preview)
    if preview.reasons:
        raise typer.Exit(REFUSED)


def _refuse_plan(error: WorkflowFailureError, workflow_id: str) -> NoReturn:
    cause = error.cause.cause if isinstance(error.cause, ActivityError) and error.cause.cause else error.cause
    if isinstance(cause, ApplicationError) and cause.type == "UnknownCluster":
        _end(REFUSED, f"cluster: {cause.message}")
    if not isinstance(cause, ApplicationError):
        _end(
            FAILED, f"no plan in {PLAN_SECONDS:.0f} s; does a worker run? `temporal workflow describe -w {workflow_id}` says more"
        )
    _end(FAILED, f"{cause.type}: {cause.message}")


@app.command()
def schema(runbook: RunbookArgument) -> None:
    """The JSON schema of a runbook's input."""
    try:
        model = inputs.runbook_input(runbook)
    except BadInput as error:
        _end(BAD_INPUT, str(error))
    print(json.dumps(model.model_json_schema(), indent=2))


def _say(name: str, id: str, word: OperatorAction | Override, output: Format) -> None:
    """Send an update and show the status it answers with."""
    console = _console(output)
    data = word.model_dump(mode="json", exclude_unset=True)
    _equivalent(console, equivalents.update(name, id, data))

    async def work() -> Status:
        client = await _connect()
        seen = await _found(client, id)
        if seen.is_over:
            raise BadInput(f"ID: {id} is over ({seen.state.lower()}); there is nothing to {name}")
        handle = client.get_workflow_handle(id, run_id=seen.run_id)
        try:
            answer: Status = await handle.execute_update(
                name, word, result_type=Status, id=f"{name}-{uuid.uuid4()}", rpc_timeout=timedelta(seconds=60)
            )
            return answer
        except WorkflowUpdateFailedError as error:
            raise BadInput(f"{name}: {error.cause}") from error

    answer = _run(work())
    if output is Format.JSON:
        _print_json(answer)
    else:
        console.print(Text(f"{name}: recorded; it is in phase {answer.phase}: {answer.step}"))


def _word(model: type[Said], **fields: Any) -> Said:
    try:
        return inputs.validate(model, fields)
    except BadInput as error:
        _end(BAD_INPUT, str(error))


@app.command()
def approve(
    id: IdArgument,
    reason: ReasonOption,
    by: ByOption,
    risk: Annotated[list[str] | None, typer.Option(help="A risk to acknowledge, by name; may be repeated.")] = None,
    allow_other_rack: Annotated[bool, typer.Option("--allow-other-rack", help="It may come back in another rack.")] = False,
    plan_sha256: Annotated[str | None, typer.Option(help="Approve only the plan with this hash.")] = None,
    output: OutputOption = Format.TEXT,
) -> None:
    """Approve what waits at the gate. What isn't named is not approved."""
    fields: dict[str, Any] = {"by": by, "reason": reason}
    if risk:
        fields["acknowledged_risks"] = tuple(risk)
    if allow_other_rack:
        fields["allow_other_rack"] = True
    if plan_sha256 is not None:
        fields["plan_sha256"] = plan_sha256
    _say("approve", id, _word(Approval, **fields), output)


@app.command()
def reject(id: IdArgument, reason: ReasonOption, by: ByOption, output: OutputOption = Format.TEXT) -> None:
    """Refuse what waits at the gate: the runbook gives back what it has set, and ends."""
    _say("reject", id, _word(OperatorAction, by=by, reason=reason), output)


@app.command()
def pause(id: IdArgument, reason: ReasonOption, by: ByOption, output: OutputOption = Format.TEXT) -> None:
    """Stop before the next step. Data in flight still arrives, throttled."""
    _say("pause", id, _word(OperatorAction, by=by, reason=reason), output)


@app.command()
def resume(id: IdArgument, reason: ReasonOption, by: ByOption, output: OutputOption = Format.TEXT) -> None:
    """Go on after a pause."""
    _say("resume", id, _word(OperatorAction, by=by, reason=reason), output)


@app.command()
def abort(
    id: IdArgument,
    reason: ReasonOption,
    by: ByOption,
    rollback: Annotated[bool, typer.Option("--rollback", help="First move everything back to where it was, throttled.")] = False,
    output: OutputOption = Format.TEXT,
) -> None:
    """Give back what was set, and end. What is in flight is cancelled; what has arrived stays, but for --rollback."""
    more: dict[str, Any] = {"rollback": True} if rollback else {}
    _say("abort", id, _word(Abort, by=by, reason=reason, **more), output)


@throttle_app.command("set")
def set_throttle(
    id: IdArgument,
    reason: ReasonOption,
    by: ByOption,
    rate: Annotated[int, typer.Option(min=1_000, help="Bytes per second, in both directions.")],
    broker: Annotated[int | None, typer.Option(min=0, help="Only this broker; default: all that take part.")] = None,
    minutes: Annotated[int | None, typer.Option(min=1, help="Removed after so long; default: until it is cleared.")] = None,
    ends_with_moves: Annotated[bool, typer.Option("--ends-with-moves", help="Removed when this run ends.")] = False,
    output: OutputOption = Format.TEXT,
) -> None:
    """Hold brokers at a rate, whatever is measured."""
    fields: dict[str, Any] = {"rate_bytes_per_s": rate, "by": by, "reason": reason}
    if broker is not None:
        fields["broker_id"] = broker
    if minutes is not None:
        fields["expires_at"] = datetime.now(UTC) + timedelta(minutes=minutes)
    if ends_with_moves:
        fields["ends_with_moves"] = True
    _say("set_throttle", id, _word(Override, **fields), output)


@throttle_app.command("clear")
def clear_throttle(
    id: IdArgument,
    reason: ReasonOption,
    by: ByOption,
    broker: Annotated[int | None, typer.Option(min=0, help="This broker's; default: the one for all.")] = None,
    everything: Annotated[bool, typer.Option("--everything", help="Whatever was set by hand.")] = False,
    output: OutputOption = Format.TEXT,
) -> None:
    """Give the throttle back to what is measured; rates go on from where they are."""
    more: dict[str, Any] = {} if broker is None else {"broker_id": broker}
    if everything:
        more["everything"] = True
    _say("clear_throttle", id, _word(ClearThrottle, by=by, reason=reason, **more), output)


@app.command()
def janitor(
    cluster: Annotated[str, typer.Argument(help="The cluster's name.")],
    every_minutes: Annotated[int, typer.Option(min=1, help="How often.")] = 15,
) -> None:
    """Schedule ClearLeftovers: what runs left that were terminated goes once its lease has ended. Again: changes how often."""

    async def work() -> None:
        await schedules.janitor(await _connect(), cluster, TemporalSettings().task_queue, timedelta(minutes=every_minutes))

    _run(work())
    console = _console()
    _equivalent(console, equivalents.describe_schedule(schedules.janitor_id(cluster)))
    console.print(f"schedule {schedules.janitor_id(cluster)}: every {every_minutes} min")


def main() -> NoReturn:
    """Entry point of the `kafka-runbooks` command.

    Ends with `os._exit`: the SDK's threads can abort the interpreter at its exit (sdk-python issue 300), and then a runbook
    that was started would look as if it had failed.
    """
    code = 0
    try:
        app()
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 1
    except KeyboardInterrupt:
        print("\nno longer watched; the runbook goes on", file=sys.stderr)
        code = 130
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    main()
