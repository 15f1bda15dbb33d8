"""What scheduled looks find reaches people, on a real Temporal with real schedules: once, and as metrics of any worker."""

import asyncio
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

from pydantic import BaseModel
from temporalio.client import (
    Schedule,
    ScheduleActionExecutionStartWorkflow,
    ScheduleActionStartWorkflow,
    ScheduleHandle,
    ScheduleSpec,
    ScheduleUpdate,
    ScheduleUpdateInput,
)
from temporalio.worker import Replayer

from kafka_runbooks.models.inputs import CertificateWatchInput, ClearLeftoversInput, HealthCheckInput
from tests.temporal_env import Bench
from tests.workflows.test_rotate_certificates import Rotations, rotating, world
from tests.workflows.test_run_watch import Watched, delivered, hooked, metrics, seen_when, watched
from worker.run_watch import RunWatch, news
from worker.wiring import plugin

__all__ = ["hooked", "rotating", "watched", "world"]


class Scheduled:
    """A schedule that is due when a test says so. Its ID isn't made of the cluster's, as somebody's own may be called."""

    def __init__(self, ready: Bench, handle: ScheduleHandle) -> None:
        self._ready = ready
        self._handle = handle
        self._known: set[str] = set()

    async def look(self) -> str:
        """Returns the run's ID once it has ended."""
        await self._handle.trigger()
        async with asyncio.timeout(30):
            while True:
                for one in (await self._handle.describe()).info.recent_actions:
                    assert isinstance(one.action, ScheduleActionExecutionStartWorkflow)
                    run = one.action.first_execution_run_id
                    if run not in self._known:
                        self._known.add(run)
                        await self._ready.client.get_workflow_handle(one.action.workflow_id, run_id=run).result()
                        return run
                await asyncio.sleep(0.1)

    async def run_instead(self, workflow: str, request: BaseModel) -> None:
        def changed(now: ScheduleUpdateInput) -> ScheduleUpdate:
            action = action_of(self._ready, self._handle.id, workflow, request)
            return ScheduleUpdate(replace(now.description.schedule, action=action))

        await self._handle.update(changed)


def action_of(ready: Bench, name: str, workflow: str, request: BaseModel) -> ScheduleActionStartWorkflow:
    return ScheduleActionStartWorkflow(workflow, request, id=name, task_queue=ready.task_queue)


@asynccontextmanager
async def scheduled(ready: Bench, workflow: str, request: BaseModel) -> AsyncIterator[Scheduled]:
    name = f"somebody-s-{uuid.uuid4().hex[:8]}"
    schedule = Schedule(action=action_of(ready, name, workflow, request), spec=ScheduleSpec())
    handle = await ready.client.create_schedule(name, schedule)
    try:
        yield Scheduled(ready, handle)
    finally:
        await handle.delete()


async def test_what_is_wrong_is_told_once_by_two_workers_and_so_is_its_end(watched: Watched) -> None:
    ready, webhook, new_watch = watched
    one, other = new_watch(), new_watch()

    async def seen(run: str) -> None:
        for watch in (one, other):
            await seen_when(watch, lambda: any(look.run_id == run for look in watch.seen.looks))  # noqa: B023

    problem = f'kafka_runbooks_problem{{cluster="{ready.cluster}",of="1002",problem="broker down",severity="warning"}}'
    checked = f'kafka_runbooks_health_check_timestamp_seconds{{cluster="{ready.cluster}"}}'
    async with scheduled(ready, "HealthCheck", HealthCheckInput(cluster=ready.cluster)) as schedule:
        await seen(await schedule.look())
        assert problem not in metrics(one) and checked in metrics(one)
        ready.world.kill_broker(1002)
        ready.world.advance(5)
        await seen(await schedule.look())
        assert problem not in metrics(one) and await delivered(webhook, 0) == [], "it may be a restart"
        for _ in range(2):
            await seen(await schedule.look())
            assert metrics(one)[problem] == metrics(other)[problem] == 1
            (text,) = await delivered(webhook, 1)
        assert text.startswith(f"{ready.cluster}: HealthCheck: brokers 1002 are down; 24 partitions have a replica there")
        assert webhook.posts[0]["event"] == "found" and webhook.posts[0]["cluster"] == ready.cluster
        ready.world.revive_broker(1002)
        ready.world.advance(50)
        for _ in range(2):
            await seen(await schedule.look())
        assert problem not in metrics(one)
        _, text = await delivered(webhook, 2)
        assert "what was wrong is over" in text
        newcomer = new_watch()
        await seen_when(newcomer, lambda: bool(newcomer.seen.looks))
        assert await delivered(webhook, 2), "one that has just started tells nothing again"


async def test_what_a_schedule_has_run_before_does_not_hold_up_its_looks(runbooks: Bench, rotating: Rotations) -> None:
    """The last result of an ID is another runbook's, if somebody has changed the schedule."""
    cluster = runbooks.cluster
    async with scheduled(runbooks, "ClearLeftovers", ClearLeftoversInput(cluster=cluster, requester="test")) as schedule:
        await schedule.look()
        await schedule.run_instead("HealthCheck", HealthCheckInput(cluster=cluster))
        await schedule.look()
        await schedule.run_instead("CertificateWatch", CertificateWatchInput(cluster=cluster))
        await schedule.look()


async def test_certificates_are_told_when_they_have_become_more_urgent(runbooks: Bench, rotating: Rotations) -> None:
    watch = RunWatch(runbooks.client, runbooks.clusters, runbooks.task_queue, has_webhook=False)

    async def told(run: str) -> list[str]:
        await seen_when(watch, lambda: any(look.run_id == run for look in watch.seen.looks))
        return [message.text for message, _ in news(watch.seen) if message.run_id == run]

    request = CertificateWatchInput(cluster=runbooks.cluster)
    async with scheduled(runbooks, "CertificateWatch", request) as schedule:
        assert await told(await schedule.look()) == []
        rotating.let_end_in(10)
        (text,) = await told(await schedule.look())
        assert text.startswith(f"{runbooks.cluster}: CertificateWatch: ") and "renewal due" in text
        again = await schedule.look()
        assert await told(again) == []
        (look,) = (one for one in watch.seen.looks if one.run_id == again)
        history = await runbooks.client.get_workflow_handle(look.workflow_id, run_id=again).fetch_history()
        await Replayer(workflows=[], plugins=[plugin()]).replay_workflow(history)
        rotating.let_expire()
        (text,) = await told(await schedule.look())
        assert "renewal needed now" in text
