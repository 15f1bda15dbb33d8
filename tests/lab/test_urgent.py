"""Two of the three brokers of a map are lost: how soon every partition takes acks=all writes again, on the lab."""

import json
import time
import uuid
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest
from kafka_runbooks_lab.lab import Lab

from tests.lab import runs
from tests.lab.runs import ask, checked_traffic, eventually, fresh, holds, intact, leftovers, place_of

pytestmark = [pytest.mark.timeout(1_200), pytest.mark.soak]  # tests/throttle/test_urgent_on_kafka.py

LOST = (1001, 1002)
ADAPTS = {
    "mode": "adapt",
    "floor_bytes_per_s": 500_000,
    "ceiling_bytes_per_s": 1_000_000,
    "produce_p99_limit_ms": 5_000,
    "fetch_p99_limit_ms": 10_000,
}
"""The limits are those of a machine on which everything runs at once."""
FIXED = {"mode": "fixed", "rate_bytes_per_s": 1_000_000}
"""Holds everything alike, as before partitions that refuse writes came first."""


@pytest.fixture
def topics(lab: Lab) -> Iterator[tuple[str, str]]:
    """One of 60 MB that refuses writes without `LOST`, and one of 180 MB that has 1003 and 1004 too; and `.traffic` like that."""
    lab.wait_ready()
    name = f"events.{uuid.uuid4().hex[:8]}"
    rest = f"{name}.rest"
    runs.make_topic(lab, name, records=6_000)
    for topic in (rest, f"{rest}.traffic"):
        runs.create_topic(lab, topic, [[1003, 1004, LOST[number % 2]] for number in range(12)], minimum_in_sync=2)
    runs.fill(lab, rest, 18_000)
    yield name, rest
    runs.delete_topics(lab, name, rest, f"{rest}.traffic")


def refusing(lab: Lab, topic: str) -> int | None:
    """Partitions of a topic with less than two replicas in sync; None where the bootstrap address leads to a dead broker."""
    code = """
import sys
from confluent_kafka.admin import AdminClient
found = AdminClient(librdkafka()).list_topics(sys.argv[1], timeout=20).topics[sys.argv[1]]
print(sum(len(one.isrs) < 2 for one in found.partitions.values()))
"""
    with suppress(AssertionError):
        return int(runs.kafka(lab, code, topic))
    return None


def note(run: str) -> str:
    return str((runs.status(run).get("progress") or {}).get("note", ""))


@pytest.mark.parametrize("throttle", [ADAPTS, FIXED], ids=["urgent first", "all alike"])
def test_every_partition_takes_writes_again(lab: Lab, topics: tuple[str, str], throttle: dict[str, Any]) -> None:
    """Prints the seconds from the power cut, and from the beginning of the catch-up; without figures of its own to keep."""
    name, rest = topics
    places = [place_of(lab, broker) for broker in LOST]
    run = fresh()
    try:
        with checked_traffic(lab, f"{rest}.traffic") as traffic:
            cut_at = time.monotonic()
            for _, node, zone in places:
                lab.kill_node(node)
                lab.add_node(zone, "events")
            eventually("writes are refused", 60, lambda: refusing(lab, name) == 12)
            runs.start(run, ask(broker_ids=LOST, node_is_gone=True, throttle=throttle))
            runs.until_status(run, lambda status: status["step"] == "follow the catch-up", seconds=300)
            began = time.monotonic()
            notes: list[str] = []
            while refusing(lab, name) != 0:
                assert time.monotonic() - began < 600, notes[-3:]
                notes.append(note(run))
                time.sleep(1)
            ended = time.monotonic()
            notes.append(note(run))  # Of the look that has let them go; they may be in sync a second later.
            print(json.dumps({"from_the_power_cut_s": round(ended - cut_at, 1), "from_the_catch_up_s": round(ended - began, 1)}))
            runs.update(run, "set_throttle", rate_bytes_per_s=50_000_000)
            result = runs.outcome(run, seconds=600)
        holds(result)
        intact(traffic)
        if throttle is ADAPTS:
            assert any("refuse writes" in note and "copied first" in note for note in notes), notes
    finally:
        for _, node, _ in places:
            lab.delete_node(node)
    assert leftovers(lab) == {}
