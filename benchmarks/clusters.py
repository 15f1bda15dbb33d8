"""A hundred clusters in one worker: `uv run python -m benchmarks.clusters [--json] [--clusters N] [--partitions N]`.

On a real Temporal (the development server) and a worker process of its own with the defaults of `worker.settings`; below it fakes
of Kafka, Kubernetes and metrics, without a network. Each cluster has a run that copies, and a schedule that clears leftovers
every minute (in production every 15), whose runs wait in line for the permit meanwhile. Once all runs copy, they are watched:

- `missed_heartbeats`: attempts of steps that ended because the server had heard nothing for `HEARTBEAT_TIMEOUT`;
- `oldest_heartbeat_seconds`: the longest time without one that was seen, of 12 s that are allowed;
- `p99_look_period_seconds`: from one look of a run at its cluster to the next one, while nothing but their number slows them
  down: 2 s of pause and the look;
- `cpu_cores`, `peak_memory_bytes`, `threads`: the worker process's; Temporal's own are not in it.

Fakes cost the worker CPU that a real cluster costs elsewhere, and a fake's look at few partitions less than a real one:
`benchmarks.looks` has what a look costs.
"""

import argparse
import asyncio
import json
import os
import sys
import threading
import time
import uuid
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from temporalio.api.enums.v1 import EventType, TimeoutType
from temporalio.client import Client, WorkflowExecutionStatus, WorkflowHandle
from temporalio.contrib.pydantic import pydantic_data_converter

from kafka_runbooks.clients.clusters import ClusterClients, ClusterSettings
from kafka_runbooks.models.cluster import Reassignment
from kafka_runbooks.models.inputs import SetReplicationFactorInput
from kafka_runbooks.models.results import RunbookResult
from kafka_runbooks.models.status import Status
from kafka_runbooks.schedules import applying
from kafka_runbooks.schedules.file import SchedulesFile
from tests.fakes.kafka import FakeKafka
from tests.fakes.kubernetes import FakeKubernetes
from tests.fakes.metrics import FakeMetrics
from tests.fakes.world import World
from tests.temporal_env import start_server
from worker.settings import WorkerSettings
from worker.wiring import working

PARTITION_BYTES = 10**12
"""So much that no move ends while it is watched."""
STEP = "reassign partitions"
SAMPLE_SECONDS = 5.0
Run = WorkflowHandle[Any, RunbookResult]


class TimedKafka(FakeKafka):
    """Notes when each look of the mover begins: it asks for reassignments first."""

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self.looked_at: list[float] = []

    def reassignments(self) -> tuple[Reassignment, ...]:
        self.looked_at.append(time.monotonic())
        return super().reassignments()


class FakeClusters:
    """As many clusters as are asked for, each a world of its own."""

    def __init__(self, count: int, partitions: int) -> None:
        self.kafka: dict[str, TimedKafka] = {}
        self._clients: dict[str, ClusterClients] = {}
        for number in range(count):
            world = World(step_s=2.0)
            world.add_topic("events.a", partitions, (1001, 1002, 1003), replication_factor=2, size_bytes=PARTITION_BYTES)
            name = f"cluster-{number:03d}"
            self.kafka[name] = TimedKafka(world)
            settings = ClusterSettings(bootstrap_servers="none:9092", namespace="kafka")
            self._clients[name] = ClusterClients(self.kafka[name], FakeKubernetes(world), FakeMetrics(world), settings)

    def names(self) -> tuple[str, ...]:
        return tuple(self._clients)

    def open(self, name: str) -> ClusterClients:
        return self._clients[name]


# The worker process


async def be_worker(address: str, task_queue: str, count: int, partitions: int) -> None:
    """A worker with the defaults, until stdin closes. The line that it reads before that begins the watch."""
    clusters, settings = FakeClusters(count, partitions), WorkerSettings(task_queue=task_queue)
    client = await Client.connect(address, data_converter=pydantic_data_converter)
    async with working(
        client, clusters, task_queue, slots=settings.slots, cached_workflows=settings.cached_workflows, grace=timedelta(seconds=1)
    ):
        print("ready", flush=True)
        await asyncio.to_thread(sys.stdin.readline)
        began, cpu = time.monotonic(), time.process_time()
        await asyncio.to_thread(sys.stdin.readline)
        watched, cpu = time.monotonic() - began, time.process_time() - cpu
        periods = [
            later - earlier
            for kafka in clusters.kafka.values()
            for earlier, later in zip(kafka.looked_at, kafka.looked_at[1:], strict=False)
            if earlier >= began
        ]
        found = {
            "cpu_cores": cpu / watched,
            "cpu_seconds_per_look": cpu / max(1, len(periods)),
            "looks": len(periods),
            "median_look_period_seconds": share_of(periods, 0.5),
            "p99_look_period_seconds": share_of(periods, 0.99),
            "longest_look_period_seconds": max(periods, default=0.0),
            "threads": threading.active_count(),
            "memory_bytes": memory("VmRSS"),
            "peak_memory_bytes": memory("VmHWM"),
        }
        print(json.dumps(found), flush=True)
        os._exit(0)


def share_of(values: Sequence[float], share: float) -> float:
    """The value that this share of them doesn't exceed."""
    return sorted(values)[min(len(values) - 1, int(share * len(values)))] if values else 0.0


def memory(field: str) -> int:
    """Of this process, as the kernel counts it."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{field}:"))


# The process that watches


class Watch:
    """What the server says of the runs."""

    def __init__(self, runs: Sequence[Run]) -> None:
        self._runs = runs
        self.oldest_heartbeat_seconds = 0.0

    async def sample(self) -> None:
        """The age of each run's last heartbeat."""
        for run in self._runs:
            described = await run.describe()
            for activity in described.raw_description.pending_activities:
                if activity.HasField("last_heartbeat_time"):
                    age = datetime.now(UTC) - activity.last_heartbeat_time.ToDatetime(UTC)
                    self.oldest_heartbeat_seconds = max(self.oldest_heartbeat_seconds, age.total_seconds())

    async def missed_heartbeats(self) -> int:
        """Of every run: an attempt that was made again since it was silent, or a step that failed so."""
        missed = 0
        for run in self._runs:
            described = await run.describe()
            if described.status != WorkflowExecutionStatus.RUNNING:
                raise RuntimeError(f"{run.id} is {described.status}")
            for activity in described.raw_description.pending_activities:
                timeout = activity.last_failure.timeout_failure_info
                missed += timeout.timeout_type == TimeoutType.TIMEOUT_TYPE_HEARTBEAT
                if activity.attempt != 1:
                    print(f"{run.id}: attempt {activity.attempt}: {activity.last_failure.message}", file=sys.stderr)
            async for event in run.fetch_history_events():
                missed += event.event_type == EventType.EVENT_TYPE_ACTIVITY_TASK_TIMED_OUT
        return missed


async def measure(count: int, partitions: int, seconds: float) -> dict[str, Any]:
    """Start everything, watch it, and end it."""
    async with await start_server(with_search_attributes=True) as environment:
        client, task_queue = environment.client, f"clusters-{uuid.uuid4()}"
        address = client.service_client.config.target_host
        command = [sys.executable, "-m", "benchmarks.clusters", "--worker", address, "--task-queue", task_queue]
        worker = await asyncio.create_subprocess_exec(
            *command,
            *("--clusters", str(count), "--partitions", str(partitions)),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        assert worker.stdin is not None and worker.stdout is not None
        try:
            await worker.stdout.readline()
            began = time.monotonic()
            runs = [await start_run(client, task_queue, f"cluster-{number:03d}") for number in range(count)]
            for number in range(count):
                await schedule_clear_leftovers(client, task_queue, f"cluster-{number:03d}")
            for run in runs:
                await until_it_copies(run)
            started = time.monotonic() - began
            print(f"{count} runs copy after {started:.0f} s", file=sys.stderr, flush=True)
            worker.stdin.write(b"\n")
            watch, ends = Watch(runs), time.monotonic() + seconds
            while time.monotonic() < ends:
                await watch.sample()
                await asyncio.sleep(min(SAMPLE_SECONDS, max(0.0, ends - time.monotonic())))
            waiting = await client.count_workflows("WorkflowType = 'ClearLeftovers' AND ExecutionStatus = 'Running'")
            worker.stdin.write(b"\n")
            found = await figures(worker.stdout)
            missed = await watch.missed_heartbeats()
        finally:
            with suppress(ProcessLookupError):
                worker.kill()
            await worker.wait()
        return {
            "clusters": count,
            "partitions_each": partitions,
            "missed_heartbeats": missed,
            "oldest_heartbeat_seconds": watch.oldest_heartbeat_seconds,
            **found,
            "seconds_until_all_copy": started,
            "waiting_scheduled_runs": waiting.count,
        }


async def figures(stdout: asyncio.StreamReader) -> dict[str, Any]:
    """What the worker has counted; logs may come before it."""
    async for line in stdout:
        if line.startswith(b"{"):
            found: dict[str, Any] = json.loads(line)
            return found
        print(line.decode(), end="", file=sys.stderr)
    raise RuntimeError("the worker has ended")


async def schedule_clear_leftovers(client: Client, task_queue: str, cluster: str) -> None:
    asked = {"cluster": cluster, "only_expired": True, "when_busy": "wait"}
    entry = {"runbook": "clear-leftovers", "every": "1m", "jitter": "15s", "input": asked}
    file = SchedulesFile.model_validate({"owner": cluster, "schedules": {f"{cluster}/clear-leftovers": entry}})
    await applying.apply(client, file, task_queue)


async def start_run(client: Client, task_queue: str, cluster: str) -> Run:
    request = SetReplicationFactorInput(
        cluster=cluster, requester="benchmark", topics=("events.a",), replication_factor=3, wait_for_approval=False
    )
    name = "SetReplicationFactor"
    return await client.start_workflow(name, request, id=f"{cluster}/{name}", task_queue=task_queue, result_type=RunbookResult)


async def until_it_copies(run: Run) -> None:
    while True:
        with suppress(Exception):
            status: Status = await run.query("status", result_type=Status)
            if status.step == STEP and status.progress is not None and status.progress.total_partitions:
                return
        described = await run.describe()
        if described.status != WorkflowExecutionStatus.RUNNING:
            raise RuntimeError(f"{run.id} has ended: {await run.result()}")
        await asyncio.sleep(1.0)


def main() -> None:
    parser = argparse.ArgumentParser(prog="benchmarks.clusters", description="Many clusters in one worker.")
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout")
    parser.add_argument("--clusters", type=int, default=100)
    parser.add_argument("--partitions", type=int, default=30, help="of each cluster")
    parser.add_argument("--seconds", type=float, default=90.0, help="how long the runs are watched")
    parser.add_argument("--worker", metavar="ADDRESS", help=argparse.SUPPRESS)
    parser.add_argument("--task-queue", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.worker:
        asyncio.run(be_worker(asked.worker, asked.task_queue, asked.clusters, asked.partitions))
        return
    found = asyncio.run(measure(asked.clusters, asked.partitions, asked.seconds))
    if asked.json:
        print(json.dumps(found))
        return
    for name, value in found.items():
        print(f"{name:30} {value:,.3f}" if isinstance(value, float) else f"{name:30} {value:,}")


if __name__ == "__main__":
    main()
