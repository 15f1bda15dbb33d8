"""Runbooks that run by the clock: Temporal schedules, which outlive any worker."""

from datetime import timedelta

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

from kafka_runbooks.models.inputs import ClearLeftoversInput


def janitor_id(cluster: str) -> str:
    return f"kafka-runbooks-janitor/{cluster}"


async def janitor(client: Client, cluster: str, task_queue: str, every: timedelta) -> None:
    """Create the schedule that sweeps up expired leases, or change how often it runs.

    A sweep waits for the permit where another runbook holds the cluster; the next one is skipped meanwhile.
    """
    request = ClearLeftoversInput(cluster=cluster, requester="janitor schedule", when_busy="wait", only_expired=True)
    schedule = Schedule(
        action=ScheduleActionStartWorkflow("ClearLeftovers", request, id=janitor_id(cluster), task_queue=task_queue),
        spec=ScheduleSpec(intervals=[ScheduleIntervalSpec(every=every)]),
        policy=SchedulePolicy(overlap=ScheduleOverlapPolicy.SKIP),
    )
    try:
        await client.create_schedule(janitor_id(cluster), schedule)
    except ScheduleAlreadyRunningError:
        await client.get_schedule_handle(janitor_id(cluster)).update(lambda _: ScheduleUpdate(schedule=schedule))
