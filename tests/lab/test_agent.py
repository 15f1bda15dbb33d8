"""The agent beside a real broker: identity for life, readiness that means in sync, a glass that can be broken for a while."""

import json
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import TypeVar

import pytest
from kafka_runbooks_lab import paths
from kafka_runbooks_lab.lab import Lab

from kafka_runbooks.clients.kubernetes.register import is_id
from kafka_runbooks.models import labels
from tests.lab import runs

POD = "kafka-checks-2"
SOURCES = (1004, 1005)
TOPIC = "check_runs.agent"
CATCH_UP_RECORDS = 6_000
"""Of 10 kB."""
T = TypeVar("T")


def python(lab: Lab, code: str) -> str:
    """Run Python in the lab's network, as the lab's administrator; what it printed."""
    environment = [f"KUBECONFIG={paths.STATE}/admin.kubeconfig", f"PYTHONPATH={paths.CHECKOUT}"]
    done = lab.exec(["env", *environment, sys.executable, "-c", code])
    assert done.returncode == 0, done.stderr
    return str(done.stdout).strip()


def ask(lab: Lab, pod: str, path: str) -> tuple[int, str]:
    """Status and body of the agent's answer; 0 while nobody answers."""
    url = f"http://{pod}.{pod.rpartition('-')[0]}.kafka.svc.cluster.local:{labels.AGENT_PORT}/{path}"
    code = f"""
import json, urllib.request, urllib.error
try:
    answer = urllib.request.urlopen({url!r}, timeout=3)
    print(json.dumps([answer.status, answer.read().decode()]))
except urllib.error.HTTPError as error:
    print(json.dumps([error.code, error.read().decode()]))
except OSError as error:
    print(json.dumps([0, str(error)]))
"""
    status, body = json.loads(python(lab, code))
    return status, body


def readyz(lab: Lab, status: int, words: str = "") -> str | None:
    """The body of `/readyz`, if it answers with this status and these words."""
    found, body = ask(lab, POD, "readyz")
    return body if found == status and words in body else None


def until(what: str, seconds: float, look: Callable[[], T | None]) -> T:
    deadline = time.monotonic() + seconds
    while not (found := look()):
        assert time.monotonic() < deadline, f"{what}: not after {seconds} s"
        time.sleep(0.5)
    return found


def kubectl(lab: Lab, *argv: str) -> str:
    return lab.kubectl("-n", "kafka", *argv)


def pod(lab: Lab, name: str) -> dict[str, object]:
    """The parts of a pod that tests compare."""
    found = json.loads(kubectl(lab, "get", "pod", name, "-o", "json"))
    conditions = {one["type"]: one["status"] for one in found["status"].get("conditions", [])}
    return {
        "uid": found["metadata"]["uid"],
        "node": found["spec"].get("nodeName"),
        "id": found["metadata"]["labels"].get(labels.BROKER_ID),
        "ready": conditions.get("Ready") == "True",
    }


def given_ids(lab: Lab) -> dict[str, str]:
    name = labels.BROKER_IDS_CONFIG_MAP_PREFIX + "lab"
    ids: dict[str, str] = json.loads(kubectl(lab, "get", "configmap", name, "-o", "json"))["data"]
    return {pod: broker_id for pod, broker_id in ids.items() if is_id(pod)}


def node_labels(lab: Lab) -> dict[str, str | None]:
    nodes = json.loads(lab.kubectl("get", "nodes", "-o", "json"))["items"]
    return {node["metadata"]["name"]: node["metadata"]["labels"].get(labels.BROKER_ID) for node in nodes}


def wait_ready_anew(lab: Lab, name: str, before_uid: object, seconds: float = 120) -> dict[str, object]:
    def look() -> dict[str, object] | None:
        try:
            now = pod(lab, name)
        except Exception:
            return None  # between the old pod and the new one
        return now if now["uid"] != before_uid and now["ready"] else None

    return until(f"{name} ready again", seconds, look)


def throttle(lab: Lab, rate: str, entries: str) -> None:
    for source in SOURCES:
        runs.set_config(lab, "broker", str(source), "leader.replication.throttled.rate", rate)
    runs.set_config(lab, "topic", TOPIC, "leader.replication.throttled.replicas", entries)


def events(lab: Lab, reason: str) -> list[str]:
    found = json.loads(kubectl(lab, "get", "events", "-o", "json", "--field-selector", f"reason={reason}"))["items"]
    return [event["message"] for event in found if event["involvedObject"]["name"] == POD]


def test_pods_nodes_and_register_say_the_same(lab: Lab) -> None:
    ids = given_ids(lab)
    assert len(set(ids.values())) == 6
    marks = node_labels(lab)
    for name, broker_id in ids.items():
        now = pod(lab, name)
        assert now["id"] == broker_id
        assert marks[str(now["node"])] == broker_id
    assert sorted(mark for mark in marks.values() if mark) == sorted(ids.values())


def test_a_race_for_ids_gives_none_twice(lab: Lab) -> None:
    code = """
import json
from multiprocessing import get_context
from kafka_runbooks.agent.identity import claim_id
from kafka_runbooks.clients.kubernetes.agent import AgentKubernetes
from kafka_runbooks.models.kubernetes import LastStart

def claim(name):
    return claim_id(AgentKubernetes("kafka", name), "race", name, 2001, LastStart(rack="a", node="a", node_uid="a"))

if __name__ == "__main__":
    names = [f"racer-{letter}" for letter in "abcdefgh"]
    with get_context("fork").Pool(len(names)) as pool:
        print(json.dumps([pool.map(claim, names, chunksize=1) for _ in range(2)]))
"""
    kubectl(lab, "create", "configmap", labels.BROKER_IDS_CONFIG_MAP_PREFIX + "race")
    try:
        first, again = json.loads(python(lab, code))
    finally:
        kubectl(lab, "delete", "configmap", labels.BROKER_IDS_CONFIG_MAP_PREFIX + "race", "--ignore-not-found")
    assert sorted(first) == list(range(2001, 2009))
    assert again == first


@pytest.fixture(scope="module")
def behind(lab: Lab) -> Iterator[None]:
    """`POD` restarted on its own node and disk, with 60 MB to catch up with at 1 MB/s a source."""
    node, before = str(pod(lab, POD)["node"]), pod(lab, POD)["uid"]
    runs.create_topic(lab, TOPIC, [[1004, 1005, 1006]], minimum_in_sync=2)
    lab.kubectl("cordon", node)
    try:
        kubectl(lab, "delete", "pod", POD, "--wait=true")
        runs.fill(lab, TOPIC, CATCH_UP_RECORDS)
        throttle(lab, "1000000", "0:1004,0:1005")
        lab.kubectl("uncordon", node)
        until("the agent answers", 90, lambda: ask(lab, POD, "kafkaz")[0] == 200)
        yield
    finally:
        lab.kubectl("uncordon", node)
        throttle(lab, "", "")
        kubectl(lab, "annotate", "pod", POD, f"{labels.FORCE_READY}-")
        wait_ready_anew(lab, POD, before)
        runs.delete_topics(lab, TOPIC)


def annotate(lab: Lab, expires_in_s: float, **more: str) -> None:
    expires_at = (datetime.now(UTC) + timedelta(seconds=expires_in_s)).isoformat(timespec="seconds")
    text = json.dumps({"owner": "ana", "reason": "INC-7", "expires_at": expires_at} | more)
    kubectl(lab, "annotate", "--overwrite", "pod", POD, f"{labels.FORCE_READY}={text}")


def test_not_ready_while_it_catches_up(lab: Lab, behind: None) -> None:
    why = until("behind and said so", 30, lambda: readyz(lab, 503, "not in sync"))
    assert f"{TOPIC}-0" in why
    assert not pod(lab, POD)["ready"]
    # Not ready, yet reachable: the headless Service publishes it, or it could never catch up.
    assert ask(lab, POD, "livez")[0] == 200


def test_forced_by_hand_and_never_longer_than_said(lab: Lab, behind: None) -> None:
    annotate(lab, 25)
    started = time.monotonic()
    body = until("forced", 15, lambda: readyz(lab, 200))
    assert "forced until" in body and "ana: INC-7" in body and "not in sync" in body
    until("Kubernetes thinks so too", 10, lambda: pod(lab, POD)["ready"])
    until("an event says so", 15, lambda: events(lab, "ReadinessForced"))
    assert len(events(lab, "ReadinessForced")) == 1
    until("over", 20, lambda: ask(lab, POD, "readyz")[0] == 503)
    assert time.monotonic() - started < 25 + 5
    until("an event says so", 15, lambda: events(lab, "ReadinessForceExpired"))
    assert any("INC-7" in message for message in events(lab, "ReadinessForceExpired"))


def test_forced_for_too_long_is_ignored(lab: Lab, behind: None) -> None:
    annotate(lab, 25 * 3600)
    messages = until("an event says so", 20, lambda: events(lab, "ReadinessForceIgnored"))
    assert "more than 24 hours" in messages[0]
    assert ask(lab, POD, "readyz")[0] == 503


def test_ready_once_in_sync_and_the_same_broker_as_before(lab: Lab, behind: None) -> None:
    kubectl(lab, "annotate", "pod", POD, f"{labels.FORCE_READY}-")
    throttle(lab, "", "")
    body = until("in sync", 60, lambda: readyz(lab, 200))
    assert "in sync" in body and "forced" not in body
    until("Kubernetes thinks so too", 10, lambda: pod(lab, POD)["ready"])
    assert pod(lab, POD)["id"] == "1006" == given_ids(lab)[POD]


def test_small(lab: Lab) -> None:
    """About a hundredth of a core at most, and 120 MB, while probes come in."""

    def cost() -> tuple[float, float]:
        lines = dict(line.rsplit(" ", 1) for line in ask(lab, POD, "metrics")[1].splitlines() if not line.startswith("#"))
        return float(lines["process_cpu_seconds_total"]), float(lines["process_resident_memory_bytes"])

    cpu_before, _ = cost()
    started = time.monotonic()
    time.sleep(15)
    cpu_after, resident_bytes = cost()
    share = (cpu_after - cpu_before) / (time.monotonic() - started)
    print(f"agent: {share:.2%} of a core, {resident_bytes / 1e6:.0f} MB")
    assert share < 0.015
    assert resident_bytes < 120e6


def test_the_id_follows_the_pod_to_another_node(lab: Lab) -> None:
    before = pod(lab, POD)
    home = str(before["node"])
    zone = next(node.zone for node in lab.nodes() if node.name == home)
    other = lab.add_node(zone, "checks")
    try:
        lab.kubectl("cordon", home)
        kubectl(lab, "delete", "pvc", f"data-{POD}", "--wait=false")
        kubectl(lab, "delete", "pod", POD)
        now = wait_ready_anew(lab, POD, before["uid"])
        assert now["node"] == other and now["id"] == before["id"]
        assert node_labels(lab)[other] == before["id"], "the old node's label is a runbook's to remove: agents may not touch it"
    finally:
        lab.kubectl("uncordon", home)
        lab.kubectl("cordon", other)
        moved = pod(lab, POD)["uid"]
        kubectl(lab, "delete", "pvc", f"data-{POD}", "--wait=false")
        kubectl(lab, "delete", "pod", POD)
        wait_ready_anew(lab, POD, moved)
        lab.delete_node(other)
    assert pod(lab, POD)["node"] == home and node_labels(lab)[home] == before["id"]
