"""A worker's memory with large clusters: `uv run python -m benchmarks.memory [--json] [--runs N] [--partitions N]`.

Two runs at the same time, each on a cluster of 300 brokers and 200,000 partitions in 3 copies: preflight and plan of a
`SetReplicationFactor` that takes a copy off each partition (200,000 moves), its plan in the plan store, and some looks of the
mover that carries it out. Kafka is another process (`benchmarks.sockets`), the client a real one; Kubernetes is a fake in memory,
whose ConfigMaps with the plans (5 MB each) are counted in.

- `peak_memory_bytes`: the process's highest resident set; the pod's limit is 1 GiB, in which a worker without runs takes 120 MB;
- `memory_after_bytes`: what is left of it when both runs have ended;
- `longest_pause_seconds`: for how long another thread, which only sleeps, did not get its turn. The event loop, which sends
  heartbeats, waits as long (12 s are allowed), and so does a workflow (2 s).
"""

import argparse
import gc
import json
import subprocess
import sys
import threading
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from temporalio.testing import ActivityEnvironment

import worker.wiring  # noqa: F401  # what every worker has in memory
from activities import plan_store
from activities.move_plans import MovePlanActivities
from activities.mover import Mover
from activities.step import Access, Steps, step
from benchmarks.looks import Site, sockets
from benchmarks.sockets import FIRST_BROKER
from kafka_runbooks.clients.clusters import ClusterClients
from kafka_runbooks.models.inputs import SetReplicationFactorInput
from kafka_runbooks.models.messages import PlanRequest, StepRequest, Token
from tests.fakes.link import FakeLink
from tests.fakes.world import World

BROKERS, PARTITIONS_PER_TOPIC, LOOKS = 300, 20, 5


class OneCluster:
    """`protocols.Clusters` of a site."""

    def __init__(self, site: Site) -> None:
        self._clients = site.clients

    def names(self) -> tuple[str, ...]:
        return ("main",)

    def open(self, name: str) -> ClusterClients:
        return self._clients


class Pauses:
    """A thread that wants its turn every few milliseconds."""

    def __init__(self) -> None:
        self.longest_seconds = 0.0
        threading.Thread(target=self._watch, daemon=True).start()

    def _watch(self) -> None:
        last = time.monotonic()
        while True:
            time.sleep(0.005)
            now = time.monotonic()
            self.longest_seconds = max(self.longest_seconds, now - last - 0.005)
            last = now


def run(number: int, servers: str, seconds: dict[int, dict[str, float]]) -> None:
    """Plan, and look."""
    zones = tuple(f"zone-{broker}" for broker in range(BROKERS))  # A broker each. Racks are what Kafka says.
    world = World(maps=("events",), zones=zones, first_broker_id=FIRST_BROKER)
    site, link = Site(servers, world), FakeLink()
    untyped: Any = link
    access = Access(OneCluster(site), untyped)
    token = Token(cluster="main", workflow_id=f"w{number}", run_id=f"r{number}", permit_run_id="p")
    took: dict[str, float] = {}

    class Moves(Steps):
        @step
        def move(self, request: StepRequest) -> None:
            mover = Mover(site.clients, self._link, request, plan_store.load_moves(site.kubernetes, request))
            for _ in range(LOOKS):
                began = time.monotonic()
                mover.advance()
                took["look"] = time.monotonic() - began

    request = SetReplicationFactorInput(
        cluster="main", requester="benchmark", topics=(".*",), replication_factor=2, max_utilisation=1
    )
    asked: PlanRequest[SetReplicationFactorInput] = PlanRequest(request=request, token=token)
    began = time.monotonic()
    survey = ActivityEnvironment().run(MovePlanActivities(access).plan_set_replication_factor, asked)
    took["plan"] = time.monotonic() - began
    if survey.plan is None:
        raise RuntimeError(f"no plan: {survey.nothing_to_do} {survey.reasons[:3]}")
    took["moves"] = survey.plan.partitions
    ActivityEnvironment().run(Moves(access).move, StepRequest(token=token, plan=survey.plan.reference))
    site.kafka.close()
    seconds[number] = took


def memory(field: str) -> int:
    """Of this process, as the kernel counts it."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{field}:"))


def be_worker(servers: list[str]) -> dict[str, Any]:
    before, pauses, seconds = memory("VmRSS"), Pauses(), dict[int, dict[str, float]]()
    cpu = time.process_time()
    threads = [threading.Thread(target=run, args=(number, one, seconds)) for number, one in enumerate(servers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    cpu = time.process_time() - cpu
    gc.collect()
    if len(seconds) < len(servers):
        raise RuntimeError("a run has failed")
    return {
        "runs": len(servers),
        "moves_each": int(seconds[0]["moves"]),
        "memory_before_bytes": before,
        "peak_memory_bytes": memory("VmHWM"),
        "memory_after_bytes": memory("VmRSS"),
        "plan_seconds": max(one["plan"] for one in seconds.values()),
        "look_seconds": max(one["look"] for one in seconds.values()),
        "cpu_seconds": cpu,
        "longest_pause_seconds": pauses.longest_seconds,
    }


def measure(runs: int, partitions: int) -> dict[str, Any]:
    """In a process of its own, so that the memory is its own."""
    with ExitStack() as stack:
        clusters = [
            stack.enter_context(sockets(BROKERS, partitions // PARTITIONS_PER_TOPIC, PARTITIONS_PER_TOPIC, 0.05, in_flight=0))
            for _ in range(runs)
        ]
        command = [sys.executable, "-m", "benchmarks.memory", "--worker", *clusters]
        done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return found


def main() -> None:
    parser = argparse.ArgumentParser(prog="benchmarks.memory", description="A worker's memory with large clusters.")
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout")
    parser.add_argument("--runs", type=int, default=2)
    parser.add_argument("--partitions", type=int, default=200_000, help="of each cluster")
    parser.add_argument("--worker", nargs="+", metavar="SERVERS", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.worker:
        print(json.dumps(be_worker(asked.worker)))
        return
    found = measure(asked.runs, asked.partitions)
    if asked.json:
        print(json.dumps(found))
        return
    for name, value in found.items():
        print(f"{name:24} {value:,.3f}" if isinstance(value, float) else f"{name:24} {value:,}")


if __name__ == "__main__":
    main()
