"""A rolling restart of the lab's six brokers, against one by one with a pause between, and against what safety allows.

    uv run python -m benchmarks.rolling_restart --json

It brings the lab up if it isn't, and takes about ten minutes. Of three rolls, since how long a JVM takes to start on two cores
differs by half, medians are printed:

- `makespan_ratio`: the runbook's time, from its first deletion to its last broker's being in sync and leading again, over the sum
  of the brokers' own restart times (of each, while the runbook runs: from its pod's deletion to the new one's being Ready, which
  means in sync) divided by how many safety lets go together. So it is what the runbook adds: to look, to wait, to elect;
- `alone_ratio`: the same, but each broker's restart is one alone by hand, under the same traffic, also until it leads again. Two
  brokers that start together share this machine's cores, so that is more;
- `machine_ratio`: the runbook's time over that of the same rounds by hand, each one's pods deleted at once: as many share the
  cores then;
- `serial_ratio`: the same time over that of one by one with 30 s between;
- `below_min_isr_samples`: how often any partition had fewer in-sync replicas than its minimum while the runbook ran;
- `p99_ratio`: the producers' 99th percentile while the runbook ran, over that of the idle cluster.
"""

import subprocess
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import partial
from statistics import median
from typing import Any

from kafka_runbooks_lab.lab import Lab

from benchmarks import on_the_lab
from tests.lab import runs

BROKERS = {
    1001: "kafka-events-0",
    1002: "kafka-events-1",
    1003: "kafka-events-2",
    1004: "kafka-checks-0",
    1005: "kafka-checks-1",
    1006: "kafka-checks-2",
}
ROLLS = 3
PAUSE_SECONDS = 30.0
IDLE_SECONDS = 40.0
RECORDS_PER_SECOND = 50
"""Of the checked traffic: what brokers do for it is taken from those that start on the same two cores."""


def measure(lab: Lab) -> dict[str, Any]:
    lab.wait_ready()
    runs.ensure_offsets_topic(lab)
    topic = f"events.{uuid.uuid4().hex[:8]}"
    runs.make_topic(lab, topic, records=600)
    runs.make_topic(lab, f"{topic}.traffic", records=0)
    traffic = partial(runs.checked_traffic, lab, f"{topic}.traffic", RECORDS_PER_SECOND)
    try:
        with traffic() as idle:
            time.sleep(IDLE_SECONDS)
        with traffic(), runs.watched(lab):
            alone = {broker_id: restart(lab, [broker_id]) for broker_id in BROKERS}
        rolls = [roll(lab, traffic) for _ in range(ROLLS)]
        # What the rounds were: brokers of one zone, so one of each map.
        with traffic():
            together = [restart(lab, pair) for pair in ((1001, 1004), (1002, 1005), (1003, 1006))]
    finally:
        runs.delete_topics(lab, topic, f"{topic}.traffic")
    at_once = len(BROKERS) / rolls[0].rounds
    rolled = median(one.makespan_seconds for one in rolls)
    return {
        "outcomes": [one.outcome for one in rolls],
        "rounds": rolls[0].rounds,
        "makespan_seconds": [round(one.makespan_seconds, 1) for one in rolls],
        "makespan_ratio": round(median(one.makespan_seconds / (sum(one.own_seconds.values()) / at_once) for one in rolls), 2),
        "alone_ratio": round(rolled / (sum(alone.values()) / at_once), 2),
        "machine_ratio": round(rolled / sum(together), 2),
        "serial_ratio": round(rolled / (sum(alone.values()) + PAUSE_SECONDS * (len(BROKERS) - 1)), 2),
        "below_min_isr_samples": sum(one.below for one in rolls),
        "samples": sum(one.samples for one in rolls),
        "p99_ratio": round(median(one.p99_ms for one in rolls) / idle["p99_ms"], 1),
        "idle_p99_ms": round(idle["p99_ms"], 1),
        "lost_records": sum(one.lost_records for one in rolls),
        "steps_seconds": [{name: round(seconds, 1) for name, seconds in one.steps_seconds.items()} for one in rolls],
        "own_restart_seconds": [{pod: round(seconds, 1) for pod, seconds in one.own_seconds.items()} for one in rolls],
        "alone_restart_seconds": {str(broker_id): round(seconds, 1) for broker_id, seconds in alone.items()},
        "together_restart_seconds": [round(seconds, 1) for seconds in together],
    }


@dataclass(frozen=True)
class Roll:
    """One run of the runbook. `below` counts the samples with a partition below its minimum."""

    outcome: str
    rounds: int
    steps_seconds: dict[str, float]
    own_seconds: dict[str, float]
    below: int
    samples: int
    p99_ms: float
    lost_records: int

    @property
    def makespan_seconds(self) -> float:
        return sum(self.steps_seconds.values())


def roll(lab: Lab, traffic: Callable[[], AbstractContextManager[dict[str, Any]]]) -> Roll:
    with traffic() as rolling, runs.watched(lab) as seen, restarts(lab) as own:
        run = runs.fresh()
        runs.start(run, runs.ask(reason="benchmark", node_ids=list(BROKERS)), "RollingRestart")
        result = runs.outcome(run, seconds=900)
    steps = result["steps"]
    return Roll(
        outcome=result["outcome"],
        rounds=sum(1 for step in steps if step["step"] == "restart the round"),
        steps_seconds={name: sum(step["seconds"] for step in steps if step["step"] == name) for name in ROUND_STEPS},
        own_seconds=own,
        below=len(seen["below"]),
        samples=seen["samples"],
        p99_ms=rolling["p99_ms"],
        lost_records=rolling["lost"],
    )


ELECT = """
import time
from confluent_kafka import ElectionType
from confluent_kafka.admin import AdminClient
admin = AdminClient(librdkafka())
admin.list_topics(timeout=20)
began = time.monotonic()
admin.elect_leaders(ElectionType.PREFERRED, None).result(60)
def left():
    topics = admin.list_topics(timeout=20).topics.values()
    return [one for topic in topics for one in topic.partitions.values() if one.leader != one.replicas[0]]
while left():
    time.sleep(0.1)
print(time.monotonic() - began)
"""
"""Preferred leaders of all partitions, by one request."""
ROUND_STEPS = ("choose the next round", "restart the round", "follow the restart", "elect preferred leaders")


def restart(lab: Lab, broker_ids: Sequence[int]) -> float:
    """Delete brokers' pods at once; the seconds until others are Ready, which means in sync, and lead what they should."""
    before = {pod: uid_of(lab, pod) for pod in (BROKERS[broker_id] for broker_id in broker_ids)}
    began = time.monotonic()
    lab.kubectl("-n", "kafka", "delete", "pod", *before, "--wait=false")
    for pod, uid in before.items():
        runs.eventually(f"a new {pod}", 120, partial(is_new, lab, pod, uid))
        lab.kubectl("-n", "kafka", "wait", "--for=condition=Ready", f"pod/{pod}", "--timeout=180s")
    took = time.monotonic() - began
    took += float(runs.kafka(lab, ELECT))  # Without the time that the client of this benchmark takes to start.
    time.sleep(5)
    return took


@contextmanager
def restarts(lab: Lab) -> Iterator[dict[str, float]]:
    """Each pod that restarts while the block runs -> the seconds from its deletion until its successor is Ready."""
    columns = "{.metadata.name} {.metadata.uid} {.metadata.deletionTimestamp}/{.status.conditions[?(@.type=='Ready')].status}"
    argv = lab.kubectl_argv("-n", "kafka", "get", "pods", "--watch", "-o", f'jsonpath={columns}{{"\\n"}}')
    process = lab.popen(argv, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL)
    took: dict[str, float] = {}
    deleted: dict[str, tuple[str, float]] = {}

    def follow() -> None:
        for line in process.stdout or ():
            pod, uid, state = line.split(" ", 2)
            told_to_end, _, is_ready = state.strip().partition("/")
            if told_to_end:
                deleted.setdefault(pod, (uid, time.monotonic()))
            elif is_ready == "True" and pod in deleted and deleted[pod][0] != uid:
                took.setdefault(pod, time.monotonic() - deleted[pod][1])

    thread = threading.Thread(target=follow)
    thread.start()
    try:
        yield took
    finally:
        process.terminate()
        thread.join()


def is_new(lab: Lab, pod: str, before: str) -> bool:
    return uid_of(lab, pod) not in ("", before)


def uid_of(lab: Lab, pod: str) -> str:
    return lab.kubectl("-n", "kafka", "get", "pod", pod, "--ignore-not-found", "-o", "jsonpath={.metadata.uid}")


if __name__ == "__main__":
    on_the_lab.main(__doc__, measure)
