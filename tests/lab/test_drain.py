"""Drains on the lab, under checked traffic: one that somebody else begins, and one of our own with its node rebooted."""

import json
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from kafka_runbooks_lab.lab import Lab

from tests.lab import runs
from tests.lab.runs import ask, checked_traffic, eventually, fresh, holds, intact, leftovers, until_status, watched

pytestmark = pytest.mark.timeout(600)

DRAIN = ("--ignore-daemonsets", "--delete-emptydir-data", "--timeout=300s")


@pytest.fixture
def topic(lab: Lab) -> Iterator[str]:
    """Three copies on the events map, of which two must be in sync."""
    lab.wait_ready()
    runs.ensure_offsets_topic(lab)
    name = f"events.{uuid.uuid4().hex[:8]}"
    runs.make_topic(lab, name, records=600)
    runs.make_topic(lab, f"{name}.traffic", records=0)
    yield name
    runs.delete_topics(lab, name, f"{name}.traffic")


def kafka_pods_on(lab: Lab, node: str) -> list[str]:
    """Pods of Kafka on a node."""
    pods = json.loads(lab.kubectl("-n", "kafka", "get", "pods", "-o", "json"))["items"]
    return sorted(pod["metadata"]["name"] for pod in pods if pod["spec"].get("nodeName") == node)


def is_cordoned(lab: Lab, node: str) -> bool:
    return json.loads(lab.kubectl("get", "node", node, "-o", "json"))["spec"].get("unschedulable", False) is True


def test_a_drain_of_somebody_else_is_refused_until_it_is_let_through(lab: Lab, topic: str, tmp_path: Path) -> None:
    pod, node, _ = runs.place_of(lab, 1002)
    log, run = tmp_path / "drain.log", fresh()
    with checked_traffic(lab, f"{topic}.traffic") as traffic, watched(lab) as seen, log.open("w") as output:
        drain = lab.popen(lab.kubectl_argv("drain", node, *DRAIN), stdout=output, stderr=subprocess.STDOUT)
        try:
            eventually("the refusal", 60, lambda: "disruption budget" in log.read_text())
            assert kafka_pods_on(lab, node) == [pod]
            runs.start(run, ask(reason="a drain", announced=True), "Drain")
            result = runs.outcome(run)
            holds(result)
            assert f"let {pod} go from {node}" in result["summary"]
            assert drain.wait(60) == 0, log.read_text()
            assert kafka_pods_on(lab, node) == [] and is_cordoned(lab, node)
        finally:
            drain.kill()
            lab.kubectl("uncordon", node)
        lab.wait_ready()
    intact(traffic)
    assert seen["below"] == [] and seen["samples"] > 20, seen
    assert kafka_pods_on(lab, node) == [pod] and leftovers(lab) == {}


@pytest.mark.soak
def test_a_drain_of_somebody_else_during_a_roll_is_let_through_after_it(lab: Lab, topic: str, tmp_path: Path) -> None:
    pod, node, _ = runs.place_of(lab, 1001)
    log, roll, let_through = tmp_path / "drain.log", fresh(), fresh()
    with checked_traffic(lab, f"{topic}.traffic") as traffic, watched(lab) as seen, log.open("w") as output:
        runs.start(roll, ask(reason="test", node_ids=[1002, 1003]), "RollingRestart")
        until_status(roll, lambda status: status["step"] == "follow the restart")
        drain = lab.popen(lab.kubectl_argv("drain", node, *DRAIN), stdout=output, stderr=subprocess.STDOUT)
        try:
            eventually("the refusal", 60, lambda: "disruption budget" in log.read_text())
            runs.start(let_through, ask(reason="a drain", announced=True, when_busy="wait"), "Drain")
            holds(runs.outcome(roll))
            holds(runs.outcome(let_through))
            assert drain.wait(60) == 0, log.read_text()
            assert kafka_pods_on(lab, node) == [] and is_cordoned(lab, node)
        finally:
            drain.kill()
            lab.kubectl("uncordon", node)
        lab.wait_ready()
    intact(traffic)
    assert seen["below"] == [] and seen["samples"] > 20, seen
    assert kafka_pods_on(lab, node) == [pod] and leftovers(lab) == {}


@pytest.mark.soak
def test_a_node_is_emptied_rebooted_and_handed_back(lab: Lab, topic: str) -> None:
    pod, node, _ = runs.place_of(lab, 1001)
    run = fresh()
    with checked_traffic(lab, f"{topic}.traffic") as traffic, watched(lab) as seen:
        runs.start(run, ask(reason="new kernel", nodes=[node]), "Drain")
        until_status(run, lambda status: "is yours" in ((status["waiting"] or {}).get("reason") or ""))
        assert kafka_pods_on(lab, node) == [] and is_cordoned(lab, node)
        lab.kill_node(node)
        lab.start_node(node)
        done = runs.runbook("uncordon", run, "--reason", "new kernel", "--by", "test")
        assert done.returncode == 0, done.stderr
        holds(runs.outcome(run))
    intact(traffic)
    assert seen["below"] == [], seen
    assert kafka_pods_on(lab, node) == [pod] and leftovers(lab) == {}
