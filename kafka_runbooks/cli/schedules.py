"""`schedule`: runbooks that run on a schedule. Temporal keeps schedules; they need no worker to survive."""

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
from kafka_runbooks.models.inputs import ClearLeftoversInput
from kafka_runbooks.temporal import TemporalSettings

app = typer_app("Schedule runbooks.")


@app.callback()
def _schedule() -> None:
    """Make `schedule` a group although it has one command."""


@app.command("clear-leftovers")
def clear_leftovers(
    cluster: Annotated[str, typer.Argument(metavar="CLUSTER", help="The cluster's name.")],
    every_minutes: Annotated[int, typer.Option(min=1, help="How often.")] = 15,
) -> None:
    """Run ClearLeftovers regularly: it removes what terminated runs left, once their leases have expired.

    Repeat the command to change how often.
    """
    queue, every = TemporalSettings().task_queue, timedelta(minutes=every_minutes)

    async def work() -> None:
        await schedule_clear_leftovers(await connection.open_client(), cluster, queue, every)

    connection.run(work())
    screen = console()
    print_equivalent(screen, equivalents.describe_schedule(schedule_id(cluster)))
    screen.print(f"schedule {schedule_id(cluster)}: every {every_minutes} min")


def schedule_id(cluster: str) -> str:
    return f"{cluster}/clear-leftovers"


async def schedule_clear_leftovers(client: Client, cluster: str, task_queue: str, every: timedelta) -> None:
    """Create the schedule, or change how often it runs.

    A run waits for the permit while another runbook holds the cluster; until it ends the schedule starts no second one.
    """
    request = ClearLeftoversInput(cluster=cluster, requester="schedule", when_busy="wait", only_expired=True)
    schedule = Schedule(
        action=ScheduleActionStartWorkflow("ClearLeftovers", request, id=schedule_id(cluster), task_queue=task_queue),
        # Intervals count from the epoch: without it the schedules of a hundred clusters all start in the same second.
        spec=ScheduleSpec(intervals=[ScheduleIntervalSpec(every=every)], jitter=every / 4),
        policy=SchedulePolicy(overlap=ScheduleOverlapPolicy.SKIP),
    )
    try:
        await client.create_schedule(schedule_id(cluster), schedule)
    except ScheduleAlreadyRunningError:
        await client.get_schedule_handle(schedule_id(cluster)).update(lambda _: ScheduleUpdate(schedule=schedule))
