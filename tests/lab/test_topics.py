"""`TopicReconcile` on the lab: ConfigMaps through the API, topics on real brokers with ACLs, other runbooks beside it."""

import json
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from kafka_runbooks_lab.lab import Lab

from kafka_runbooks.models import labels
from tests.lab import runs
from tests.lab.runs import ask, eventually, fresh, holds, leftovers

pytestmark = pytest.mark.timeout(900)

MAPS = "maps:\n  - {name: events, topics: 'events\\..*'}\n  - {name: checks, topics: 'check_runs.*'}\ntopics:\n"
EVENTS, CHECKS = {1001, 1002, 1003}, {1004, 1005, 1006}
CONFIG_MAP = "topics-of-test"


@pytest.fixture
def name(lab: Lab) -> Iterator[str]:
    """What the test's topics begin with; they and their definitions are gone afterwards."""
    lab.wait_ready()
    runs.ensure_offsets_topic(lab)
    runs.purge(lab)
    yield f"events.{uuid.uuid4().hex[:8]}"
    lab.kubectl("-n", "kafka", "delete", "configmap", CONFIG_MAP, "--ignore-not-found")
    runs.purge(lab)


def define(lab: Lab, *topics: str) -> None:
    marks = {labels.CLUSTER: "lab", labels.DEFINITIONS: labels.TOPICS}
    metadata = {"name": CONFIG_MAP, "namespace": "kafka", "labels": marks}
    data = {"topics.yaml": MAPS + "".join(f"  - {{{one}}}\n" for one in topics)}
    lab.kubectl(
        "apply", "-f", "-", input=json.dumps({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data})
    )


def topic(name: str, partitions: int, replication_factor: int = 3, configs: str = "{min.insync.replicas: 2}") -> str:
    return f"name: {name}, partitions: {partitions}, replication_factor: {replication_factor}, configs: {configs}"


def reconcile(run: str, **fields: Any) -> None:
    runs.start(run, ask(**{"when_harmless": "go", **fields}), "TopicReconcile")


def rows(lab: Lab, topic: str) -> list[list[int]]:
    found = {name: row for name, row in runs.assignment(lab).items() if name.rsplit("-", 1)[0] == topic}
    return [found[f"{topic}-{number}"] for number in range(len(found))]


def is_gone(lab: Lab, broker_id: int) -> bool:
    try:
        return broker_id not in runs.brokers(lab)
    except AssertionError:
        return False  # The Service has led to the broker itself.


def waits(run: str, text: str) -> dict[str, Any]:
    return runs.until_status(run, lambda status: text in ((status["waiting"] or {}).get("reason") or ""))


def test_definitions_are_followed_and_a_roll_waits_meanwhile(lab: Lab, name: str) -> None:
    """Made within their maps, though the worker is killed; then one grows, while a roll waits for the permit."""
    other = name.replace("events.", "check_runs.")
    define(lab, *(topic(f"{name}.{number}", 6) for number in range(40)), topic(other, 3, 3, "{retention.ms: 3600000}"))
    made = fresh()
    reconcile(made)
    runs.until_status(made, lambda _: True)  # Whichever step it is at: a later one may be over before anybody looks.
    runs.kill_worker(lab)
    result = runs.outcome(made)
    holds(result)
    assert result["summary"] == "topics: 41 to make"
    for number in range(40):
        placed = rows(lab, f"{name}.{number}")
        assert len(placed) == 6 and all(set(row) == EVENTS for row in placed)
    assert [set(row) for row in rows(lab, other)] == [CHECKS] * 3
    assert "TopicsMissing" in lab.kubectl("-n", "kafka", "describe", "configmap", CONFIG_MAP)

    define(lab, topic(f"{name}.0", 8), topic(other, 3, 3, "{retention.ms: 7200000}"))
    grown, roll = fresh(), fresh()
    reconcile(grown, wait_for_approval=True, acknowledged_risks=[f"keys-move:{name}.0"])
    runs.until_status(grown, lambda status: status["phase"] == "gate" and status["waiting"])
    runs.start(roll, ask(reason="test", node_ids=[1006], when_busy="wait"), "RollingRestart")
    waits(roll, grown)
    runs.update(grown, "approve")
    holds(runs.outcome(grown))
    assert len(rows(lab, f"{name}.0")) == 8
    holds(runs.outcome(roll))

    again = fresh()
    reconcile(again)
    result = runs.outcome(again)
    assert result["outcome"] == "nothing to do" and "39 unmanaged" in result["summary"], result
    assert leftovers(lab) == {}


# tests/workflows/test_topic_reconcile.py: places on brokers that are up, refusals; test_topic_reconcile_on_kafka.py
@pytest.mark.soak
def test_a_broker_is_down_as_topics_are_made(lab: Lab, name: str) -> None:
    """What it can't have goes to the others, or is refused where they don't suffice; what it had in the plan is planned again."""
    _, node, _ = runs.place_of(lab, 1003)
    define(lab, *(topic(f"{name}.{number}", 6, 2, "{}") for number in range(30)))
    run = fresh()
    reconcile(run, when_harmless="ask", wait_for_approval=True)
    runs.until_status(run, lambda status: status["phase"] == "gate" and status["waiting"])
    lab.kill_node(node)
    try:
        eventually("broker 1003 is gone", 60, lambda: is_gone(lab, 1003))
        runs.update(run, "approve")
        result = runs.outcome(run)
        holds(result)
        for number in range(30):
            assert all(set(row) == {1001, 1002} for row in rows(lab, f"{name}.{number}"))
        define(lab, topic(f"{name}.three", 3))
        refused = fresh()
        reconcile(refused)
        assert [reason["name"] for reason in runs.outcome(refused)["reasons"]] == ["too-few-brokers:events"]
        assert rows(lab, f"{name}.three") == []
    finally:
        lab.start_node(node)
    lab.wait_ready()
    again = fresh()
    reconcile(again)
    holds(runs.outcome(again))
    assert all(set(row) == EVENTS for row in rows(lab, f"{name}.three"))
    assert leftovers(lab) == {}


# tests/workflows/test_topic_reconcile.py
@pytest.mark.soak
def test_a_map_that_has_grown_by_a_broker_has_it_for_new_topics(lab: Lab, name: str) -> None:
    define(lab, topic(f"{name}.before", 6, 2, "{}"))
    first = fresh()
    reconcile(first)
    holds(runs.outcome(first))
    with runs.fourth_broker(lab) as fourth:
        define(lab, topic(f"{name}.before", 8, 2, "{}"), topic(f"{name}.after", 8, 3))
        second = fresh()
        reconcile(second, acknowledged_risks=[f"keys-move:{name}.before"])
        holds(runs.outcome(second))
        assert fourth in {broker for row in rows(lab, f"{name}.before")[6:] for broker in row}
        led = [row[0] for row in rows(lab, f"{name}.after")]
        assert sorted(led.count(broker) for broker in (*EVENTS, fourth)) == [2, 2, 2, 2]
        runs.purge(lab)
    assert leftovers(lab) == {}
