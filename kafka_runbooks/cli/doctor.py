"""`doctor`: what a cluster's runbooks need and don't have, each fault with the line that mends it.

Temporal is looked at from here; what concerns the cluster is looked at by a worker, whose rights are what counts.
"""

import asyncio
import uuid
from datetime import UTC, datetime, timedelta
from typing import Annotated

import typer
from rich.console import Console
from rich.text import Text
from temporalio.api.enums.v1 import TaskQueueType
from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.api.workflowservice.v1 import DescribeTaskQueueRequest, GetSystemInfoRequest
from temporalio.client import Client, WorkflowFailureError
from temporalio.exceptions import ActivityError, ApplicationError

from kafka_runbooks.cli import connection, equivalents
from kafka_runbooks.cli.exits import BAD_INPUT, FAILED, fail
from kafka_runbooks.cli.output import console, print_equivalent, print_json
from kafka_runbooks.cli.parameters import Format, OutputOption, typer_app
from kafka_runbooks.clients.errors import UnknownCluster
from kafka_runbooks.models.diagnosis import Check, Diagnosis, DoctorInput
from kafka_runbooks.runs.validation import validate
from kafka_runbooks.temporal import TemporalSettings, search_attributes_are_registered

DOCTOR = "Doctor"
ANSWER_SECONDS = 180.0
TOLERATED_SECONDS = 5.0
POOLS = ("acts", "looks", "copies")
"""Of a worker's slots: each has a task queue beside that of the runs."""
PAUSES = (0.5, 1.0, 2.0)
"""Between looks for pollers."""

app = typer_app()


@app.command()
def doctor(
    cluster: Annotated[str, typer.Argument(metavar="CLUSTER", help="The cluster's name, as the worker's clusters.yaml has it.")],
    output: OutputOption = Format.TEXT,
) -> None:
    """Check what a cluster's runbooks need: connections, rights, conventions. Each fault with what mends it.

    Temporal, its namespace and its workers; then, through a worker and with its rights: Kafka, each ACL, Kubernetes, each RBAC
    verb, clocks, versions, labels and probes, metrics. In ZooKeeper mode also what stands in the way of KRaft (LATER), which
    hinders no runbook. Changes nothing. Exit code 1 if something is amiss.
    """
    screen, task_queue = console(output), TemporalSettings().task_queue
    workflow_id = f"{cluster}/doctor/{uuid.uuid4()}"

    async def work() -> Diagnosis:
        request = validate(DoctorInput, {"cluster": cluster})
        print_equivalent(screen, equivalents.start(DOCTOR, request.model_dump(), workflow_id, task_queue, waits=True))
        client = await connection.open_client()
        checks = await _of_temporal(client, task_queue)
        if not any(check.about == "worker" and check.fault for check in checks):
            checks += await _of_worker(client, request, workflow_id, task_queue)
        return Diagnosis(checks=tuple(checks))

    found = connection.run(work())
    if output is Format.JSON:
        print_json(found)
    else:
        _print(screen, found)
    if found.faults:
        raise typer.Exit(FAILED)


async def _of_temporal(client: Client, task_queue: str) -> list[Check]:
    """What can be seen from here."""
    system = await client.workflow_service.get_system_info(GetSystemInfoRequest())
    checks = [Check(about="Temporal", what=f"namespace {client.namespace} answers; the server is {system.server_version}")]
    what = "the search attributes of runs are registered"
    if await search_attributes_are_registered(client):
        checks.append(Check(about="Temporal", what=what))
    else:
        fault = f"not every search attribute is registered in namespace {client.namespace}: `list` can't filter by them"
        checks.append(Check(about="Temporal", what=what, fault=fault, remedy="kafka-runbooks setup"))
    queues = {task_queue: TaskQueueType.TASK_QUEUE_TYPE_WORKFLOW}
    queues |= {f"{task_queue}/{pool}": TaskQueueType.TASK_QUEUE_TYPE_ACTIVITY for pool in POOLS}
    polled = await asyncio.gather(*(_is_polled(client, queue, kind) for queue, kind in queues.items()))
    return [*checks, *(_poller(client, queue, is_polled) for queue, is_polled in zip(queues, polled, strict=True))]


async def _is_polled(client: Client, queue: str, kind: TaskQueueType.ValueType) -> bool:
    """Whether a worker polls. The server learns of one that has just started within seconds."""
    asked = DescribeTaskQueueRequest(namespace=client.namespace, task_queue=TaskQueue(name=queue), task_queue_type=kind)
    for pause in (*PAUSES, None):
        if (await client.workflow_service.describe_task_queue(asked)).pollers:
            return True
        if pause is not None:
            await asyncio.sleep(pause)
    return False


def _poller(client: Client, queue: str, is_polled: bool) -> Check:
    what = f"a worker polls the task queue {queue}"
    if is_polled:
        return Check(about="worker", what=what)
    return Check(
        about="worker",
        what=what,
        fault=f"no worker polls the task queue {queue} of namespace {client.namespace}",
        remedy="kubectl -n kafka-runbooks rollout status deployment/kafka-runbooks-worker; KAFKA_RUNBOOKS_TASK_QUEUE and "
        "TEMPORAL_NAMESPACE have to be the same here and there",
    )


async def _of_worker(client: Client, request: DoctorInput, workflow_id: str, task_queue: str) -> list[Check]:
    """What only a worker sees; and, by the way, this machine's clock."""
    try:
        before = datetime.now(UTC)
        handle = await client.start_workflow(
            DOCTOR,
            request,
            id=workflow_id,
            task_queue=task_queue,
            result_type=Diagnosis,
            execution_timeout=timedelta(seconds=ANSWER_SECONDS),
        )
        after = datetime.now(UTC)
        found: Diagnosis = await handle.result()
        started = (await handle.describe()).start_time
    except WorkflowFailureError as error:
        cause = error.cause.cause if isinstance(error.cause, ActivityError) and error.cause.cause else error.cause
        if isinstance(cause, ApplicationError) and cause.type == UnknownCluster.__name__:
            fail(BAD_INPUT, f"cluster: {cause.message} (clusters.yaml of the worker)")
        why = f"{cause.type}: {cause.message}" if isinstance(cause, ApplicationError) else f"no answer in {ANSWER_SECONDS:.0f} s"
        remedy = f"temporal workflow show --workflow-id {workflow_id}"
        return [Check(about="worker", what="a worker answers", fault=f"the worker's look failed: {why}", remedy=remedy)]
    return [_own_clock(started, before, after), *found.checks]


def _own_clock(started: datetime, before: datetime, after: datetime) -> Check:
    """Temporal's clock, read between two looks at ours."""
    what = f"clock of Temporal: within {TOLERATED_SECONDS:.0f} s of this machine's"
    off = max((before - started).total_seconds(), (started - after).total_seconds())
    if off <= TOLERATED_SECONDS:
        return Check(about="clock", what=what)
    fault = f"Temporal's clock and this machine's are {off:.0f} s apart"
    return Check(about="clock", what=what, fault=fault, remedy="chronyc makestep, on the machine whose clock is wrong")


def _print(screen: Console, found: Diagnosis) -> None:
    for check in found.checks:
        if check.fault is None:
            screen.print(Text(f"ok     {check.about}: {check.what}"))
        else:
            word, style = ("FAULT", "bold red") if check.hinders == "runbooks" else ("LATER", "yellow")
            screen.print(Text(f"{word}  {check.about}: {check.fault}", style=style))
            screen.print(Text(f"       mend it: {check.remedy}"))
    faults = len(found.faults)
    screen.print(Text(f"{faults} fault{'' if faults == 1 else 's'}" if faults else "no fault: runbooks can work here"))
