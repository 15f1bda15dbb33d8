"""What only a lab can show of clusters that are not tidy: names that come again, and brokers that are up and silent."""

import json
import os
import signal
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from kafka_runbooks_lab.lab import Lab

from tests.lab import runs
from tests.lab.chaos.faults import broker_pids
from tests.lab.runs import ask, checked_traffic, eventually, fresh, holds, intact, leftovers, place_of

pytestmark = pytest.mark.timeout(600)

SLOW = {"throttle": {"mode": "fixed", "rate_bytes_per_s": 400_000}}
NAMED_WITHIN_SECONDS = 15.0
"""For a broker that doesn't answer; the command that reads the status takes a second or two of it."""


@pytest.fixture
def topic(lab: Lab) -> Iterator[str]:
    """Twelve partitions of 2.5 MB on 1002 and 1003; `.again`, a small one on the same brokers; `.traffic`, one for that."""
    lab.wait_ready()
    name = f"events.{uuid.uuid4().hex[:8]}"
    runs.create_topic(lab, name, [[1002, 1003] if number % 2 else [1003, 1002] for number in range(12)])
    runs.create_topic(lab, f"{name}.again", small())
    runs.create_topic(lab, f"{name}.traffic", [[1001, 1002], [1002, 1003], [1003, 1001]])
    runs.fill(lab, name, 3_000)
    runs.fill(lab, f"{name}.again", 400)
    yield name
    runs.delete_topics(lab, name, f"{name}.again", f"{name}.traffic")


def small() -> list[list[int]]:
    return [[1002, 1003] for _ in range(4)]


def onto_1001(topic: str, partitions: int) -> list[dict[str, Any]]:
    """One of the two replicas stays, the other moves."""
    return [{"topic": topic, "partition": number, "replicas": [1001, 1002]} for number in range(partitions)]


def run_plan(run: str, partitions: list[dict[str, Any]], **fields: Any) -> None:
    runs.start(run, ask(plan={"version": 1, "partitions": partitions}, **SLOW, **fields), "RunPlan")


def moving(run: str) -> None:
    runs.until_status(run, lambda status: (status["progress"] or {}).get("done_bytes", 0) > 0)


def test_a_topic_that_is_made_again_under_its_name_is_another_one(lab: Lab, topic: str) -> None:
    """It is left where it was made, is said, and counts neither as moved nor as planned."""
    run, again = fresh(), f"{topic}.again"
    run_plan(run, [*onto_1001(topic, 12), *onto_1001(again, 4)], limits={"moves_at_once": 4})
    moving(run)
    runs.delete_topics(lab, again)
    eventually("it is gone", 30, lambda: not runs.counts(lab, again))
    runs.create_topic(lab, again, small())
    said = ""
    ends = time.monotonic() + 300
    while not runs.is_closed(run):
        assert time.monotonic() < ends, said
        status = runs.status(run)
        said += json.dumps([status.get("notes"), status.get("reasons"), status.get("waiting")])
        if status.get("phase") == "gate":
            runs.try_update(run, "approve")
        time.sleep(1)
    result = runs.outcome(run)
    holds(result)
    assert {name: row for name, row in runs.assignment(lab).items() if name.startswith(f"{again}-")} == {
        f"{again}-{number}": row for number, row in enumerate(small())
    }
    assert again in json.dumps([result["summary"], result["checks"], result.get("notes")]) + said, result
    assert not any("16 of 16" in check["detail"] for check in result["checks"]), result["checks"]
    assert leftovers(lab) == {}


@contextmanager
def stopped(lab: Lab, broker: int) -> Iterator[float]:
    """The broker's process stands still: its machine, its pod and its connections are there. Yields when that began."""
    pid = broker_pids()[place_of(lab, broker)[0]]
    os.kill(pid, signal.SIGSTOP)
    try:
        yield time.monotonic()
    finally:
        os.kill(pid, signal.SIGCONT)


# tests/moves, tests/workflows: what a silent broker holds up
@pytest.mark.soak
def test_a_replica_s_broker_that_hangs_is_named_at_once(lab: Lab, topic: str) -> None:
    """1002's replicas stay in each set: nothing of a partition is done while they are out of sync."""
    run = fresh()
    with checked_traffic(lab, f"{topic}.traffic") as traffic:
        run_plan(run, onto_1001(topic, 12))
        moving(run)
        with stopped(lab, 1002) as began:
            runs.until_status(run, lambda status: names(status, 1002), 60)
            seconds = time.monotonic() - began
        result = runs.outcome(run)
    holds(result)
    assert traffic["lost"] == 0, traffic
    assert leftovers(lab) == {}
    assert seconds < NAMED_WITHIN_SECONDS


def names(status: dict[str, Any], broker: int) -> bool:
    progress = status.get("progress") or {}
    waiting = status.get("waiting") or {}
    return str(broker) in json.dumps([progress.get("note"), waiting.get("reason"), waiting.get("blocking")])


# tests/workflows/test_places.py: test_a_machine_that_is_replaced_under_its_old_name_is_landed_on
@pytest.mark.soak
def test_a_machine_that_is_replaced_under_its_old_name_takes_its_broker(lab: Lab, topic: str) -> None:
    """Another Node object, an empty disk, no other free node: bare metal that was repaired."""
    _, node, _ = place_of(lab, 1001)
    uid = lab.kubectl("get", "node", node, "-o", "jsonpath={.metadata.uid}")
    run = fresh()
    with checked_traffic(lab, f"{topic}.traffic") as traffic:
        lab.kill_node(node)
        runs.start(run, ask(broker_id=1001, node_is_gone=True))
        try:
            runs.until_status(run, lambda status: status["phase"] == "steps" and status["waiting"], 180)
        finally:
            lab.kubectl("delete", "node", node, "--wait=false")
            lab.wipe_disk(node)
            lab.start_node(node, wait_seconds=120)
        assert lab.kubectl("get", "node", node, "-o", "jsonpath={.metadata.uid}") != uid
        result = runs.outcome(run)
    holds(result)
    intact(traffic)
    assert place_of(lab, 1001)[1] == node
    lab.wait_ready()
    assert leftovers(lab) == {}
