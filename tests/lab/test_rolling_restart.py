"""Rolling restarts on the lab, under checked traffic, with every partition looked at several times a second."""

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
from tests.lab.runs import ask, checked_traffic, eventually, fresh, holds, intact, leftovers, watched

pytestmark = pytest.mark.timeout(900)

BROKERS = ("kafka-events-0", "kafka-events-1", "kafka-events-2", "kafka-checks-0", "kafka-checks-1", "kafka-checks-2")
CONTROLLERS = ("kafka-controller-0", "kafka-controller-1", "kafka-controller-2")


@pytest.fixture
def topic(lab: Lab) -> Iterator[str]:
    """Data and traffic on the events map, data on the other; three copies of each, of which two must be in sync."""
    lab.wait_ready()
    runs.ensure_offsets_topic(lab)
    name = f"events.{uuid.uuid4().hex[:8]}"
    other = name.replace("events.", "check_runs.")
    runs.make_topic(lab, name, records=600)
    runs.make_topic(lab, f"{name}.traffic", records=0)
    runs.create_topic(lab, other, [[1004, 1005, 1006]] * 3, 2)
    yield name
    runs.delete_topics(lab, name, f"{name}.traffic", other)


def uids(lab: Lab) -> dict[str, str]:
    pods = json.loads(lab.kubectl("-n", "kafka", "get", "pods", "-o", "json"))["items"]
    return {pod["metadata"]["name"]: pod["metadata"]["uid"] for pod in pods}


def roll(run: str, **fields: Any) -> None:
    runs.start(run, ask(reason="test", **fields), "RollingRestart")


def changed(lab: Lab, before: dict[str, str]) -> set[str]:
    return {name for name, uid in uids(lab).items() if before.get(name) != uid} & {*BROKERS, *CONTROLLERS}


def waits(run: str, text: str, seconds: float = 240) -> dict[str, Any]:
    return runs.until_status(run, lambda status: text in ((status["waiting"] or {}).get("reason") or ""), seconds)


def test_everything_restarts_and_no_partition_refuses_a_write(lab: Lab, topic: str) -> None:
    """Six brokers of two maps and three controllers: brokers of a zone go together."""
    before, run = uids(lab), fresh()
    with checked_traffic(lab, f"{topic}.traffic") as traffic, watched(lab) as seen:
        roll(run)
        result = runs.outcome(run, seconds=800)
        holds(result)
    intact(traffic)
    assert changed(lab, before) == {*BROKERS, *CONTROLLERS}
    assert seen["below"] == [] and seen["samples"] > 100, seen
    assert "9 nodes in 6 rounds" in result["summary"]
    assert leftovers(lab) == {}


@contextmanager
def broken_template(lab: Lab) -> Iterator[None]:
    """Kafka's container in the template of the checks map wants a variable from a ConfigMap that doesn't exist."""
    template = json.loads(lab.kubectl("-n", "kafka", "get", "statefulset", "kafka-checks", "-o", "json"))["spec"]["template"]
    number = [container["name"] for container in template["spec"]["containers"]].index("kafka")
    gone = {"name": "GONE", "valueFrom": {"configMapKeyRef": {"name": "gone", "key": "gone"}}}
    patch = [{"op": "add", "path": f"/spec/template/spec/containers/{number}/env/-", "value": gone}]
    lab.kubectl("-n", "kafka", "patch", "statefulset", "kafka-checks", "--type=json", "-p", json.dumps(patch))
    try:
        yield
    finally:
        lab.kubectl("-n", "kafka", "rollout", "undo", "statefulset/kafka-checks")


def test_a_pod_that_does_not_start_stops_the_roll_until_its_template_is_repaired(lab: Lab, topic: str) -> None:
    run, before = fresh(), uids(lab)
    with broken_template(lab):
        roll(run, only_outdated=True, map="checks")
        status = waits(run, "is stuck")
        assert "repair the template" in status["waiting"]["unblocks"]
        assert len(changed(lab, before)) == 1
    result = runs.outcome(run, seconds=600)
    holds(result)
    assert leftovers(lab) == {}


def test_a_topic_with_one_copy_is_refused_until_it_is_acknowledged(lab: Lab, topic: str) -> None:
    single = f"{topic}.single"
    runs.create_topic(lab, single, [[1001]])
    before, run = uids(lab), fresh()
    try:
        roll(run, node_ids=[1001])
        refused = runs.outcome(run)
        assert [reason["name"] for reason in refused["reasons"]] == [f"no-spare-replica:{single}"]
        assert changed(lab, before) == set()
        again = fresh()
        roll(again, node_ids=[1001], acknowledged_risks=[f"no-spare-replica:{single}"])
        holds(runs.outcome(again))
        assert changed(lab, before) == {"kafka-events-0"}
    finally:
        runs.delete_topics(lab, single)


@pytest.mark.soak
def test_a_broker_is_lost_during_a_roll(lab: Lab, topic: str) -> None:
    """No other node of its partitions goes down until it is back."""
    run, before = fresh(), uids(lab)
    _, node, _ = runs.place_of(lab, 1003)
    with checked_traffic(lab, f"{topic}.traffic") as traffic:
        roll(run, node_ids=[1001, 1002])
        runs.until_status(run, lambda status: status["step"] == "follow the restart")
        lab.kill_node(node)
        status = waits(run, "no node of the next round may go down")
        assert "1003" in json.dumps(status["waiting"])
        time.sleep(10)
        assert len(changed(lab, before) & set(BROKERS[:2])) == 1
        lab.start_node(node)
        holds(runs.outcome(run, seconds=600))
    assert traffic["lost"] == 0
    assert changed(lab, before) >= {"kafka-events-0", "kafka-events-1"}


@pytest.mark.soak
def test_another_tool_starts_a_reassignment_during_a_roll(lab: Lab, topic: str) -> None:
    """It crawls: whatever the rate, a source sends 10 MB in its first answer, and 13 MB are to be copied."""
    run, big = fresh(), f"{topic}.big"
    runs.create_topic(lab, big, [[1001, 1002]])
    runs.fill(lab, big, 1_300)
    try:
        roll(run, map="events", limits={"at_once": 1})
        runs.until_status(run, lambda status: status["step"] == "follow the restart")
        runs.set_config(lab, "broker", "1004", "follower.replication.throttled.rate", "10000")
        runs.set_config(lab, "topic", big, "follower.replication.throttled.replicas", "0:1004")
        runs.move_one(lab, big, 0, [1001, 1002, 1004])
        waits(run, "being reassigned")
        runs.set_config(lab, "broker", "1004", "follower.replication.throttled.rate", "")
        eventually("the other tool's reassignment", 120, lambda: not runs.moving(lab))
        holds(runs.outcome(run, seconds=600))
    finally:
        runs.set_config(lab, "broker", "1004", "follower.replication.throttled.rate", "")
        runs.delete_topics(lab, big)


@pytest.mark.soak
def test_a_broker_that_was_killed_recovers_its_logs_and_is_waited_for(lab: Lab, topic: str) -> None:
    """SIGKILL in the middle of a roll, with logs that weren't flushed: its pod is never deleted for that."""
    run = fresh()
    runs.fill(lab, topic, 4_000)
    roll(run, node_ids=[1001])
    runs.until_status(run, lambda status: status["step"] == "follow the restart")
    old = broker_pids().get("kafka-events-0")
    eventually("a new process", 120, lambda: broker_pids().get("kafka-events-0") not in (None, old))
    uid = uids(lab)["kafka-events-0"]
    os.kill(broker_pids()["kafka-events-0"], signal.SIGKILL)
    holds(runs.outcome(run, seconds=600))
    assert uids(lab)["kafka-events-0"] == uid


@pytest.mark.soak
def test_the_active_controller_changes_during_a_roll(lab: Lab, topic: str) -> None:
    run, before = fresh(), uids(lab)
    roll(run, node_ids=[1, 2, 3])
    runs.until_status(run, lambda status: status["step"] == "follow the restart")
    active = runs.active_controller(lab)
    eventually("controllers", 120, lambda: runs.active_controller(lab) is not None)
    if active is not None and uids(lab)[active] == before[active]:
        lab.kubectl("-n", "kafka", "delete", "pod", active, "--wait=false")
    holds(runs.outcome(run, seconds=600))
    assert changed(lab, before) >= set(CONTROLLERS)


@pytest.mark.soak
def test_a_worker_is_killed_at_each_boundary_of_a_roll(lab: Lab, topic: str) -> None:
    run, before = fresh(), uids(lab)
    with checked_traffic(lab, f"{topic}.traffic") as traffic, watched(lab) as seen:
        roll(run)
        boundaries = runs.kill_after_every_step(lab, run, seconds=850)
        holds(runs.outcome(run))
    intact(traffic)
    assert changed(lab, before) == {*BROKERS, *CONTROLLERS} and seen["below"] == []
    assert len(boundaries) >= 25, boundaries


@pytest.mark.soak
def test_an_abort_leaves_the_cluster_whole_and_another_roll_goes_on(lab: Lab, topic: str) -> None:
    run, before = fresh(), uids(lab)
    started = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    roll(run, map="events", limits={"at_once": 1})
    runs.until_status(run, lambda status: status["step"] == "follow the restart")
    runs.update(run, "abort")
    result = runs.outcome(run, seconds=300)
    assert result["outcome"] == "aborted" and "1 of 3 nodes" in result["summary"], result
    first = changed(lab, before)
    assert len(first) == 1
    again = fresh()
    roll(again, map="events", started_before=started)
    holds(runs.outcome(again, seconds=600))
    assert changed(lab, before) == set(BROKERS[:3])
