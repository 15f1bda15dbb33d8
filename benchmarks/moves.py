"""How fast data moves relative to the throttle, and its effect on producers: `uv run python -m benchmarks.moves [--json]`.

On the lab, which is started if it isn't up: real Kafka, one topic of 1.2 GB in two copies, all led by broker 1001. Its second
copies move from one broker to another and back, four times:

- under a fixed throttle, with no other traffic: `throughput_ratio` is bytes moved over the time of the move times the rate in
  force on the one source; `release_seconds` runs from the last reassignment's end, as reported by the cluster, to the
  closed run, whose permit is released by then;
- by Kafka's own `kafka-reassign-partitions` (ReassignPartitionsCommand) with the same plan and rate: `peer_seconds`, from
  `--execute` until `--verify` reports completion, which also removes the throttle; `our_seconds` is the whole run;
- beside a producer with acks=all, under the adaptive throttle: `p99_ratio` is its p99 while data moves over its p99 before;
- the same without a throttle that binds (1 GB/s): `p99_ratio_unthrottled`.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
import uuid
from pathlib import Path
from typing import Any

from kafka_runbooks_lab import kafka_tools
from kafka_runbooks_lab.lab import Lab

from tests.lab import runs

PARTITIONS = 12
RECORDS = 120_000
"""Of 10 kB."""
RATE_BYTES_PER_S = 20_000_000
HOME, AWAY = [1001, 1002], [1001, 1003]
IDLE_SECONDS = 30.0

WATCH = """
import sys, time
from kafka import KafkaAdminClient
admin, topic, started = KafkaAdminClient(**kafka_python()), sys.argv[1], False
while True:
    moving = any(one.topic == topic for one in admin.list_partition_reassignments())
    if started and not moving: print(time.time()); break
    started = started or moving
    time.sleep(0.05)
"""


class Bench:
    """One topic on the lab, and its moves."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.topic = f"events.bench.{uuid.uuid4().hex[:8]}"
        self.place = HOME

    def plan(self) -> dict[str, Any]:
        """A reassignment JSON to the other brokers."""
        self.place = AWAY if self.place == HOME else HOME
        rows = [{"topic": self.topic, "partition": number, "replicas": self.place} for number in range(PARTITIONS)]
        return {"version": 1, "partitions": rows}

    def own(self, throttle: dict[str, Any]) -> dict[str, float]:
        """Seconds of a run: the move alone, the whole run, and from the last byte to its end."""
        run = f"bench/{uuid.uuid4().hex[:8]}"
        watch = self.lab.popen([sys.executable, "-c", runs.CONNECT + WATCH, self.topic], stdout=subprocess.PIPE)
        try:
            began = time.time()
            limits = {"moves_in_per_broker": PARTITIONS, "moves_out_per_broker": PARTITIONS}
            runs.start(run, runs.ask(plan=self.plan(), throttle=throttle, limits=limits), "RunPlan")
            result = runs.outcome(run, 600)
            runs.holds(result)
            ended = runs.closed_at(run)
            out, _ = watch.communicate(timeout=60)
        finally:
            watch.kill()
        times = {one["step"]: one["seconds"] for one in result["steps"]}
        return {
            "copied_bytes": result["copied_bytes"],
            "move": times["reassign partitions"],
            "whole": ended - began,
            "release": ended - float(out.strip().splitlines()[-1]),
        }

    def peer(self) -> float:
        """Seconds of the same move by Kafka's own tool."""
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "plan.json"
            file.write_text(json.dumps(self.plan()))
            began = time.time()
            self.tool(file, "--execute", "--throttle", str(RATE_BYTES_PER_S))
            while "still in progress" in self.tool(file, "--verify"):
                time.sleep(0.2)
            return time.time() - began

    def tool(self, file: Path, *argv: str) -> str:
        done = self.lab.exec(kafka_tools.argv("reassign-partitions", ["--reassignment-json-file", str(file), *argv]), timeout=600)
        if done.returncode:
            raise RuntimeError(done.stderr[-2000:])
        return str(done.stdout)

    def p99_ms(self, throttle: dict[str, Any]) -> tuple[float, float]:
        """A producer's p99 without and with a concurrent move."""
        found = []
        for move in (False, True):
            with runs.checked_traffic(self.lab, f"{self.topic}.traffic") as traffic:
                if move:
                    self.own(throttle)
                else:
                    time.sleep(IDLE_SECONDS)
            found.append(float(traffic["p99_ms"]))
        return found[0], found[1]


def measure(lab: Lab) -> dict[str, Any]:
    """All four moves."""
    bench = Bench(lab)
    runs.create_topic(lab, bench.topic, [HOME] * PARTITIONS)
    runs.create_topic(lab, f"{bench.topic}.traffic", [HOME] * 3)
    try:
        runs.fill(lab, bench.topic, RECORDS)
        fixed = bench.own({"mode": "fixed", "rate_bytes_per_s": RATE_BYTES_PER_S})
        peer = bench.peer()
        idle, adapting = bench.p99_ms({"mode": "adapt"})
        idle_again, unthrottled = bench.p99_ms({"mode": "fixed", "rate_bytes_per_s": 1_000_000_000})
    finally:
        runs.delete_topics(lab, bench.topic, f"{bench.topic}.traffic")
    return {
        "throughput_ratio": fixed["copied_bytes"] / (fixed["move"] * RATE_BYTES_PER_S),
        "p99_ratio": adapting / idle,
        "p99_ratio_unthrottled": unthrottled / idle_again,
        "release_seconds": fixed["release"],
        "our_seconds": fixed["whole"],
        "peer_seconds": peer,
        "copied_bytes": fixed["copied_bytes"],
        "rate_bytes_per_s": RATE_BYTES_PER_S,
        "p99_ms": {"idle": [idle, idle_again], "adapting": adapting, "unthrottled": unthrottled},
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="benchmarks.moves", description="Moves on the lab: against the throttle, Kafka's own tool, and beside producers."
    )
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout")
    asked = parser.parse_args()
    lab = Lab(lambda line: print(line, file=sys.stderr, flush=True))
    was_up = lab.is_up()
    lab.up()
    try:
        lab.wait_ready()
        found = measure(lab)
    finally:
        if not was_up:
            lab.down()
    if asked.json:
        print(json.dumps(found))
        return
    for name, value in found.items():
        print(f"{name:24} {value}")


if __name__ == "__main__":
    main()
