"""Starting a runbook, and previewing its plan."""

import json
import uuid
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any, NoReturn

import typer
from rich.text import Text
from temporalio.client import WorkflowFailureError
from temporalio.exceptions import ActivityError, ApplicationError, WorkflowAlreadyStartedError

from kafka_runbooks.catalogue import RUNBOOKS
from kafka_runbooks.cli import connection, equivalents, inputs, options, plan_printing, status, watching
from kafka_runbooks.cli.exits import BAD_INPUT, BUSY, FAILED, fail, refused
from kafka_runbooks.cli.inputs import BadInput
from kafka_runbooks.cli.options import Option
from kafka_runbooks.cli.output import console, print_equivalent, print_json
from kafka_runbooks.cli.parameters import Format, user_name
from kafka_runbooks.clients.errors import UnknownCluster
from kafka_runbooks.models.inputs import RunbookInput
from kafka_runbooks.models.messages import Survey
from kafka_runbooks.models.results import RunbookResult
from kafka_runbooks.temporal import TemporalSettings

PLAN_SECONDS = 120.0
PREVIEW = "Preview"
"""The workflow that reports what a runbook would do."""


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
        return inputs.validate(model, {"requester": user_name(), **data}, flags, used)
    except BadInput as error:
        fail(BAD_INPUT, str(error))


def start(name: str, request: RunbookInput, id: str | None, *, wait: bool, output: Format) -> None:
    """Start a runbook, and with `wait` follow it to its end."""
    workflow_id, task_queue = id or inputs.workflow_id(name, request), TemporalSettings().task_queue
    screen = console(output)
    data = request.model_dump(mode="json", exclude_unset=True)
    print_equivalent(screen, equivalents.start(name, data, workflow_id, task_queue))

    async def work() -> RunbookResult | None:
        client = await connection.open_client()
        try:
            handle = await client.start_workflow(
                name,
                request,
                id=workflow_id,
                task_queue=task_queue,
                static_summary=f"{name} {request.cluster}, for {request.requester}"[:200],
            )
        except WorkflowAlreadyStartedError:
            fail(BUSY, f"a run with ID {workflow_id} is in progress: `kafka-runbooks status {workflow_id}`")
        run_id = handle.first_execution_run_id
        link = watching.ui_link(workflow_id, run_id or "", client.namespace)
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
    workflow_id = f"{request.cluster}/plan/{uuid.uuid4()}"
    asked = {"runbook": name, "request": request.model_dump(mode="json", exclude_unset=True)}
    print_equivalent(screen, equivalents.start(PREVIEW, asked, workflow_id, task_queue, waits=True))

    async def work() -> Survey:
        client = await connection.open_client()
        try:
            handle = await client.start_workflow(
                PREVIEW,
                asked,
                id=workflow_id,
                task_queue=task_queue,
                result_type=Survey,
                execution_timeout=timedelta(seconds=PLAN_SECONDS),
            )
            preview: Survey = await handle.result()
            return preview
        except WorkflowFailureError as error:
            _fail_without_plan(error, workflow_id)

    preview = connection.run(work())
    if output is Format.JSON:
        print_json(preview)
    else:
        plan_printing.print_preview(screen, preview)
    if preview.reasons:
        raise typer.Exit(refused(preview.reasons))


def _fail_without_plan(error: WorkflowFailureError, workflow_id: str) -> NoReturn:
    cause = error.cause.cause if isinstance(error.cause, ActivityError) and error.cause.cause else error.cause
    if not isinstance(cause, ApplicationError):
        describe = f"`temporal workflow describe --workflow-id {workflow_id}`"
        fail(FAILED, f"no plan in {PLAN_SECONDS:.0f} s; is a worker running? See {describe}")
    if cause.type == UnknownCluster.__name__:
        fail(BAD_INPUT, f"cluster: {cause.message}")
    fail(FAILED, f"{cause.type}: {cause.message}")
