"""Starting a runbook, and previewing its plan."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import typer
from rich.text import Text
from temporalio.exceptions import WorkflowAlreadyStartedError

from kafka_runbooks.catalogue import RUNBOOKS
from kafka_runbooks.cli import connection, equivalents, inputs, options, plan_printing, status
from kafka_runbooks.cli.exits import BAD_INPUT, BUSY, FAILED, fail, refused
from kafka_runbooks.cli.options import Option
from kafka_runbooks.cli.output import console, print_equivalent, print_json
from kafka_runbooks.cli.parameters import Format, user_name
from kafka_runbooks.models.inputs import RunbookInput
from kafka_runbooks.models.messages import Survey
from kafka_runbooks.models.results import RunbookResult
from kafka_runbooks.runs import observing, starting
from kafka_runbooks.runs.starting import NoPlan
from kafka_runbooks.runs.validation import BadInput, validate
from kafka_runbooks.temporal import TemporalSettings


def validated(name: str, known: Sequence[Option], input: str | None, typed: Mapping[str, Any]) -> RunbookInput:
    """The input of a runbook from `--input` and its options, which win. Ends the command with one line for each fault.

    Args:
        name: the runbook.
        known: the options of its input.
        input: what `--input` has.
        typed: values of the options by parameter, None where one wasn't used.
    """
    model = RUNBOOKS[name].input
    flags = {option.path: option.flag for option in known}
    used = {option.path: option.flag for option in known if typed.get(option.parameter) is not None}
    try:
        given = {} if input is None else inputs.read_object(input)
        data = options.with_modes(model, options.merged(given, options.data(known, typed)))
        return validate(model, {"requester": user_name(), **data}, flags, used)
    except BadInput as error:
        fail(BAD_INPUT, str(error))


def start(name: str, request: RunbookInput, id: str | None, *, wait: bool, output: Format) -> None:
    """Start a runbook, and with `wait` follow it to its end."""
    workflow_id, task_queue = id or starting.workflow_id(name, request), TemporalSettings().task_queue
    screen = console(output)
    data = request.model_dump(mode="json", exclude_unset=True)
    print_equivalent(screen, equivalents.start(name, data, workflow_id, task_queue))

    async def work() -> RunbookResult | None:
        client = await connection.open_client()
        try:
            handle = await starting.start(client, name, request, workflow_id, task_queue)
        except WorkflowAlreadyStartedError:
            fail(BUSY, f"a run with ID {workflow_id} is in progress: `kafka-runbooks status {workflow_id}`")
        run_id = handle.first_execution_run_id
        link = observing.ui_link(workflow_id, run_id or "", client.namespace)
        screen.print(Text(f"started {workflow_id}\n{link}"))
        if wait:
            return await status.watch(client, workflow_id, run_id, screen)
        if output is Format.JSON:
            print(json.dumps({"workflow_id": workflow_id, "run_id": run_id, "link": link}))
        return None

    if (result := connection.run(work())) is not None:
        status.finish(result, screen, output)


def plan(name: str, request: RunbookInput, *, output: Format) -> None:
    """Show a runbook's plan and every reason not to start it; ends with `REFUSED` if there is one."""
    screen, task_queue = console(output), TemporalSettings().task_queue
    workflow_id, asked = starting.preview_id(request.cluster), starting.preview_request(name, request)
    print_equivalent(screen, equivalents.start(starting.PREVIEW, asked, workflow_id, task_queue, waits=True))

    async def work() -> Survey:
        client = await connection.open_client()
        try:
            return await starting.plan_of(await starting.start_preview(client, asked, workflow_id, task_queue))
        except NoPlan as error:
            fail(FAILED, str(error))

    preview = connection.run(work())
    if output is Format.JSON:
        print_json(preview)
    else:
        plan_printing.print_preview(screen, preview)
    if preview.reasons:
        raise typer.Exit(refused(preview.reasons))
