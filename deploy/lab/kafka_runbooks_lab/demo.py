"""A real broker is lost with its node and its disk while records flow, and a durable workflow restores it.

`python -m kafka_runbooks_lab.demo`, or `make demo`. Exit code 0 only if no acknowledged record was lost and nothing was left
behind. A lab that was up already stays up; one started by the demo is taken down, unless `--keep`.
"""

import asyncio
import json
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console, Group
from rich.live import Live
from rich.text import Text
from temporalio.client import Client
from temporalio.contrib.pydantic import pydantic_data_converter

from kafka_runbooks.cli import equivalents, printing
from kafka_runbooks.models.results import PhaseTime, RunbookResult
from kafka_runbooks.runs import observing
from kafka_runbooks_lab import paths, report, temporal
from kafka_runbooks_lab.errors import LabError, Unsupported
from kafka_runbooks_lab.lab import Lab
from kafka_runbooks_lab.remains import remains
from kafka_runbooks_lab.traffic import CHECKED

BROKER_ID = 1001
ADDRESS = f"127.0.0.1:{temporal.GRPC_PORT}"
CALM_SECONDS = 10.0
"""Baseline traffic, before the power cut and after the recovery."""

WARM_UP_SECONDS = 5.0
"""Ignored at the start: the first records include connections and metadata requests."""

console = Console(highlight=False, soft_wrap=True, width=None if sys.stdout.isatty() else 160)


class Demo:
    """The demo's phases, in order, each timed."""

    def __init__(self, lab: Lab, size_bytes: int, folder: Path) -> None:
        self.lab = lab
        self.phases: dict[str, float] = {}
        self._size_bytes = size_bytes
        self._folder = folder
        self._windows: dict[str, tuple[float, float]] = {}

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        console.print(f"[bold]{name}[/]")
        began = time.monotonic()
        yield
        self.phases[name] = time.monotonic() - began

    def play(self) -> bool:
        """Run the demo; returns whether it succeeded."""
        self._folder.mkdir(parents=True, exist_ok=True)
        for name in ("stats.jsonl", "windows.json", "traffic.json", "report.json"):
            (self._folder / name).unlink(missing_ok=True)
        with self.phase("the lab: Kubernetes, Kafka, Temporal, the worker"):
            self.lab.up()
            self.lab.wait_ready()
        with self.phase(f"topics on both maps, {self._size_bytes / 1e9:.1f} GB"):
            console.print(f"  {self._in_lab('load', '--size-bytes', str(self._size_bytes))}")
            self.lab.wait_ready()
        traffic = self._start_traffic()
        try:
            self._wait_for_traffic(traffic)
            time.sleep(WARM_UP_SECONDS)
            before = time.time()
            time.sleep(CALM_SECONDS)
            cut = time.time()
            old = self._cut_power()
            with self.phase("Kubernetes notices: an alert fires"):
                self.lab.kubectl("wait", "--for=condition=Ready=Unknown", "--timeout=60s", f"node/{old}")
            workflow_id, run_id = self._start_runbook()
            link = observing.ui_link(workflow_id, run_id, "default")
            console.print(Text(f"  {link}"))
            with self.phase("the runbook"):
                result = asyncio.run(self._watch(workflow_id, run_id))
            ended = time.time()
            time.sleep(CALM_SECONDS)
            self._windows = {
                "before": (before, cut),
                "during": (cut, ended),
                "catch-up": (ended - seconds_since(result.steps, "wait for the pod"), ended),
                "after": (ended, time.time()),
            }
            with self.phase("every record is read back"):
                found = self._end_traffic(traffic)
        finally:
            traffic.kill()
        with self.phase("what is left"):
            self.lab.delete_node(old)
            left = remains(self.lab)
        made = report.make(result, found, left, self.phases, workflow_id, [link])
        report.write(made, self._folder / "report.json")
        report.show(console, made)
        console.print(Text(f"report: {self._folder / 'report.json'}"))
        return bool(made["ok"])

    def _in_lab(self, *argv: str) -> str:
        done = self.lab.exec([sys.executable, "-m", "kafka_runbooks_lab.traffic", *argv], timeout=300)
        if done.returncode:
            raise LabError(f"traffic {argv[0]} failed: {done.stderr[-2000:]}")
        return str(done.stdout).strip()

    def _start_traffic(self) -> "subprocess.Popen[str]":
        argv = [sys.executable, "-m", "kafka_runbooks_lab.traffic", "run", *CHECKED.values()]
        for option, name in (("--stats", "stats.jsonl"), ("--windows", "windows.json"), ("--report", "traffic.json")):
            argv += [option, str(self._folder / name)]
        with (self._folder / "traffic.log").open("w") as log:
            return self.lab.popen(argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    def _wait_for_traffic(self, traffic: "subprocess.Popen[str]") -> None:
        ends = time.monotonic() + 60
        while not self._last_stats().get("consumed"):
            if traffic.poll() is not None or time.monotonic() > ends:
                raise LabError(f"no record was acknowledged; see {self._folder / 'traffic.log'}")
            time.sleep(0.5)

    def _last_stats(self) -> dict[str, Any]:
        file = self._folder / "stats.jsonl"
        lines = file.read_text().splitlines() if file.exists() else []
        found: dict[str, Any] = json.loads(lines[-1]) if lines else {}
        return found

    def _cut_power(self) -> str:
        """Cut the power of the broker's node and add one in its zone, as an autoscaler would; returns the dead node's name."""
        pods = ["-n", "kafka", "get", "pods", "-l", f"kafka-runbooks.io/broker-id={BROKER_ID}"]
        node = self.lab.kubectl(*pods, "-o", "jsonpath={.items[0].spec.nodeName}")
        zone = next(known.zone for known in self.lab.nodes() if known.name == node)
        with self.phase(f"power cut on {node}, where broker {BROKER_ID} runs; a spare node joins {zone}"):
            self.lab.kill_node(node)
            console.print(f"  {node} has lost power; {self.lab.add_node(zone, 'events')} joined")
        return node

    def _start_runbook(self) -> tuple[str, str]:
        """Start the runbook with the `temporal` command; returns workflow id and run id."""
        workflow_id = f"lab/replace-broker/{BROKER_ID}-{datetime.now(UTC):%Y%m%dT%H%M%SZ}"
        data = {"cluster": "lab", "requester": "demo", "broker_id": BROKER_ID, "node_state": "lost", "wait_for_approval": False}
        command = equivalents.start("ReplaceBroker", data, workflow_id, "kafka-runbooks")
        console.print(Text(f"$ TEMPORAL_ADDRESS={ADDRESS} {command}", style="cyan"))
        argv = shlex.split(command)
        argv[0] = str(Path(sys.executable).parent / argv[0])
        environment = {**os.environ, "TEMPORAL_ADDRESS": ADDRESS}
        done = subprocess.run([*argv, "-o", "json"], capture_output=True, text=True, env=environment, timeout=60)
        if done.returncode:
            raise LabError(f"the runbook was not started: {done.stderr}")
        return workflow_id, str(json.loads(done.stdout)["runId"])

    async def _watch(self, workflow_id: str, run_id: str) -> RunbookResult:
        client = await Client.connect(ADDRESS, data_converter=pydantic_data_converter)
        log = printing.Log()
        with Live(console=console, auto_refresh=False) as live:

            def show(observed: observing.Observation) -> None:
                if console.is_terminal:
                    live.update(Group(printing.run(observed), Text(self._traffic_line(), style="dim")), refresh=True)
                elif line := log.line(observed):
                    console.print(Text(f"  {line}"))

            return await observing.follow(client, workflow_id, run_id, show)

    def _traffic_line(self) -> str:
        stats = self._last_stats()
        if not stats:
            return "traffic: no figures yet"
        return (
            f"traffic: {stats['acknowledged']} records acknowledged, {stats['consumed']} read back, {stats['errors']} errors, "
            f"p99 {stats['p99_ms']} ms"
        )

    def _end_traffic(self, traffic: "subprocess.Popen[str]") -> dict[str, Any]:
        (self._folder / "windows.json").write_text(json.dumps(self._windows))
        traffic.send_signal(signal.SIGTERM)
        traffic.wait(timeout=300)
        file = self._folder / "traffic.json"
        if not file.exists():
            raise LabError(f"the traffic wrote no report; see {self._folder / 'traffic.log'}")
        found: dict[str, Any] = json.loads(file.read_text())
        return found


def seconds_since(steps: Sequence[PhaseTime], first: str) -> float:
    """Seconds from the beginning of this step to the end of the last one."""
    names = [step.step for step in steps]
    return sum(step.seconds for step in steps[names.index(first) :]) if first in names else 0.0


def demo(
    keep: Annotated[bool, typer.Option("--keep", help="Leave the lab up.")] = False,
    size_bytes: Annotated[int, typer.Option(min=1_000_000, help="Data on all topics, before replication.")] = 1_000_000_000,
) -> None:
    """Lose a broker with its node and disk, and restore it."""
    lab = Lab(lambda line: console.print(Text(f"  {line}")))
    was_up = lab.is_up()
    code = 1
    try:
        code = 0 if Demo(lab, size_bytes, paths.CHECKOUT / "build/demo").play() else 1
    except Unsupported as error:
        console.print(Text(f"error: {error}", style="red"))
        code = 2
    except LabError as error:
        console.print(Text(f"error: {error}", style="red"))
    finally:
        if keep or was_up:
            console.print("the lab stays up: `kafka-runbooks-lab status`, `make lab-down`")
        else:
            console.print("the lab is taken down (--keep leaves it up)")
            lab.down()
    sys.stdout.flush()
    os._exit(code)


if __name__ == "__main__":
    typer.run(demo)
