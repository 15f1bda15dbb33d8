"""`schedule`: runbooks that run on a schedule. Temporal keeps schedules; they need no worker to survive."""

from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Annotated

import typer
from temporalio.client import (
    Client,
    Schedule,
    ScheduleActionStartWorkflow,
    ScheduleAlreadyRunningError,
    ScheduleIntervalSpec,
    ScheduleOverlapPolicy,
    SchedulePolicy,
    ScheduleSpec,
    ScheduleUpdate,
)

from kafka_runbooks.cli import connection, equivalents
from kafka_runbooks.cli.output import console, print_equivalent
from kafka_runbooks.cli.parameters import typer_app
from kafka_runbooks.models.inputs import CertificateWatchInput, ClearLeftoversInput
from kafka_runbooks.temporal import TemporalSettings

app = typer_app("Schedule runbooks.")


@app.command("clear-leftovers")
def clear_leftovers(
    cluster: Annotated[str, typer.Argument(metavar="CLUSTER", help="The cluster's name.")],
    every_minutes: Annotated[int, typer.Option(min=1, help="How often.")] = 15,
) -> None:
    """Run ClearLeftovers regularly: it removes what terminated runs left, once their leases have expired.

    Repeat the command to change how often.
    """
    _make(schedule_clear_leftovers, cluster, "clear-leftovers", every_minutes)


@app.command("certificate-watch")
def certificate_watch(
    cluster: Annotated[str, typer.Argument(metavar="CLUSTER", help="The cluster's name.")],
    every_minutes: Annotated[int, typer.Option(min=1, help="How often.")] = 60,
) -> None:
    """Look at the end of every certificate regularly: the worker's /metrics has the days left, each run what has to be renewed.

    Repeat the command to change how often.
    """
    _make(schedule_certificate_watch, cluster, "certificate-watch", every_minutes)


def _make(
    schedule: Callable[[Client, str, str, timedelta], Awaitable[None]], cluster: str, what: str, every_minutes: int
) -> None:
    async def work() -> None:
        queue, every = TemporalSettings().task_queue, timedelta(minutes=every_minutes)
        await schedule(await connection.open_client(), cluster, queue, every)

    connection.run(work())
    screen = console()
    print_equivalent(screen, equivalents.describe_schedule(schedule_id(cluster, what)))
    screen.print(f"schedule {schedule_id(cluster, what)}: every {every_minutes} min")


def schedule_id(cluster: str, what: str = "clear-leftovers") -> str:
    return f"{cluster}/{what}"


async def schedule_certificate_watch(client: Client, cluster: str, task_queue: str, every: timedelta) -> None:
    """Create the schedule, or change how often it runs."""
    await _schedule(client, "CertificateWatch", CertificateWatchInput(cluster=cluster), "certificate-watch", task_queue, every)


async def schedule_clear_leftovers(client: Client, cluster: str, task_queue: str, every: timedelta) -> None:
    """Create the schedule, or change how often it runs.

    A run waits for the permit while another runbook holds the cluster; until it ends the schedule starts no second one.
    """
    request = ClearLeftoversInput(cluster=cluster, requester="schedule", when_busy="wait", only_expired=True)
    await _schedule(client, "ClearLeftovers", request, "clear-leftovers", task_queue, every)


async def _schedule(
    client: Client,
    workflow: str,
    request: CertificateWatchInput | ClearLeftoversInput,
    what: str,
    task_queue: str,
    every: timedelta,
) -> None:
    name = schedule_id(request.cluster, what)
    schedule = Schedule(
        action=ScheduleActionStartWorkflow(workflow, request, id=name, task_queue=task_queue),
        # Intervals count from the epoch: without it the schedules of a hundred clusters all start in the same second.
        spec=ScheduleSpec(intervals=[ScheduleIntervalSpec(every=every)], jitter=every / 4),
        policy=SchedulePolicy(overlap=ScheduleOverlapPolicy.SKIP),
    )
    try:
        await client.create_schedule(name, schedule)
    except ScheduleAlreadyRunningError:
        await client.get_schedule_handle(name).update(lambda _: ScheduleUpdate(schedule=schedule))
