"""`ReplaceBroker` on the lab: real Kubernetes, Kafka and Temporal, with checked traffic running all the while."""

import json
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from kafka_runbooks_lab.lab import Lab

pytestmark = [pytest.mark.lab, pytest.mark.timeout(420)]

BOOTSTRAP = "kafka-bootstrap.kafka.svc.cluster.local:9092"
ACTIVITIES = (
    "survey_broker",
    "make_replacement_plan",
    "take_throttle_leases",
    "wait_for_pod",
    "follow_catch_up",
    "elect_preferred_leaders",
    "give_back",
)
"""Steps of a restart after whose end the worker is killed: one run of the runbook, killed at every one of them."""


def command(*argv: str, seconds: float = 300) -> subprocess.CompletedProcess[str]:
    executable = Path(sys.executable).parent / argv[0]
    return subprocess.run([str(executable), *argv[1:]], capture_output=True, text=True, timeout=seconds, stdin=subprocess.DEVNULL)


def runbook(*argv: str, seconds: float = 300) -> subprocess.CompletedProcess[str]:
    return command("kafka-runbooks", *argv, seconds=seconds)


def ask(**fields: Any) -> str:
    return json.dumps({"cluster": "lab", "requester": "test", "wait_for_approval": False, **fields})


def result_of(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    assert done.stdout.strip(), done.stderr[-3000:]
    found: dict[str, Any] = json.loads(done.stdout[done.stdout.index("{") :])
    return found


def kafka(lab: Lab, code: str, *argv: str) -> str:
    done = lab.exec([sys.executable, "-c", code, BOOTSTRAP, *argv], timeout=120)
    assert done.returncode == 0, done.stderr[-3000:]
    return str(done.stdout)


def make_topic(lab: Lab, name: str, records: int = 2_000) -> None:
    """Twelve partitions on the events map, RF 3, with some data (records of 10 kB)."""
    kafka(
        lab,
        """
import os, sys
from confluent_kafka.admin import AdminClient, NewTopic
from confluent_kafka import Producer
bootstrap, name, records = sys.argv[1], sys.argv[2], int(sys.argv[3])
ids = [1001, 1002, 1003]
spread = [[ids[(n + k) % 3] for k in range(3)] for n in range(12)]
admin = AdminClient({'bootstrap.servers': bootstrap})
admin.create_topics(
    [NewTopic(name, num_partitions=12, replica_assignment=spread, config={'min.insync.replicas': '2'})])[name].result(30)
producer = Producer({'bootstrap.servers': bootstrap, 'acks': 'all'})
for n in range(records):
    producer.produce(name, value=os.urandom(10_000)); producer.poll(0)
    if n % 500 == 0: producer.flush(60)
assert producer.flush(60) == 0
""",
        name,
        str(records),
    )


def leftovers(lab: Lab) -> dict[str, Any]:
    """Throttles in Kafka, ledgers and cordons in Kubernetes."""
    found: dict[str, Any] = json.loads(
        kafka(
            lab,
            """
import json, sys
from confluent_kafka.admin import AdminClient, ConfigResource, ResourceType
admin = AdminClient({'bootstrap.servers': sys.argv[1]})
metadata = admin.list_topics(timeout=20)
found = {}
def own(kind, names):
    for name in names:
        for resource, future in admin.describe_configs([ConfigResource(kind, name)]).items():
            for key, entry in future.result(20).items():
                if 'throttled' in key and entry.value and not entry.is_default: found[f'{name} {key}'] = entry.value
own(ResourceType.TOPIC, list(metadata.topics)); own(ResourceType.BROKER, [str(b) for b in metadata.brokers])
print(json.dumps(found))
""",
        )
    )
    ledgers = lab.kubectl("-n", "kafka", "get", "configmap", "-l", "kafka-runbooks.io/record=ledger", "-o", "name").split()
    cordons = lab.kubectl("get", "nodes", "-o", "jsonpath={.items[?(@.spec.unschedulable==true)].metadata.name}").split()
    return found | dict.fromkeys([*ledgers, *cordons], "left")


@contextmanager
def checked_traffic(lab: Lab, topic: str) -> Iterator[dict[str, Any]]:
    """Traffic while the block runs; the dictionary is filled at its end."""
    script = str(Path(__file__).with_name("traffic.py"))
    process = lab.popen([sys.executable, script, BOOTSTRAP, topic, "200"], stdout=subprocess.PIPE, stdin=subprocess.DEVNULL)
    report: dict[str, Any] = {}
    try:
        time.sleep(3)
        yield report
        process.send_signal(signal.SIGTERM)
        out, _ = process.communicate(timeout=200)
        report.update(json.loads(out.strip().splitlines()[-1]))
    finally:
        process.kill()
        process.communicate()


def place_of(lab: Lab, broker_id: int) -> tuple[str, str, str]:
    """Pod, node and zone of a broker."""
    pods = json.loads(lab.kubectl("-n", "kafka", "get", "pods", "-l", f"kafka-runbooks.io/broker-id={broker_id}", "-o", "json"))[
        "items"
    ]
    pod, node = pods[0]["metadata"]["name"], pods[0]["spec"]["nodeName"]
    zone = lab.kubectl("get", "node", node, "-o", "jsonpath={.metadata.labels.topology\\.kubernetes\\.io/zone}")
    return pod, node, zone


def holds(result: dict[str, Any]) -> None:
    assert result["outcome"] == "done", result
    assert [check for check in result["checks"] if not check["holds"]] == []


@pytest.fixture
def topic(lab: Lab) -> str:
    lab.wait_ready()
    name = f"events.{uuid.uuid4().hex[:8]}"
    make_topic(lab, name)
    make_topic(lab, f"{name}.traffic", records=0)
    return name


def test_a_lost_node_s_broker_comes_back_and_no_record_is_lost(lab: Lab, topic: str) -> None:
    _, node, zone = place_of(lab, 1001)
    with checked_traffic(lab, f"{topic}.traffic") as traffic:
        lab.kill_node(node)
        spare = lab.add_node(zone, "events")
        eventually("NotReady", 40, lambda: " NotReady" in lab.kubectl("get", "node", node, "--no-headers"))
        done = runbook("start", "ReplaceBroker", "--input", ask(broker_id=1001), "--wait", "-o", "json")
        result = result_of(done)
        assert done.returncode == 0, result
    holds(result)
    assert place_of(lab, 1001)[1:] == (spare, zone)
    assert traffic["acknowledged"] > 1000
    assert (traffic["lost"], traffic["produce_errors"]) == (0, 0), traffic
    assert result["copied_bytes"] >= 0.9 * result["lower_bound_bytes"] > 10_000_000
    lab.delete_node(node)
    assert leftovers(lab) == {}


def worker_pid(lab: Lab) -> int:
    """The worker's process on this host."""
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            line = (folder / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if any(part.endswith(b"/kafka-runbooks") for part in line) and b"worker" in line:
            return int(folder.name)
    raise AssertionError("no worker runs")


def kill_worker(lab: Lab) -> None:
    """SIGKILL, and a new pod at once: the kubelet would let a container that crashed often wait."""
    os.kill(worker_pid(lab), signal.SIGKILL)
    pods = ["-n", "kafka-runbooks", "delete", "pod", "-l", "app.kubernetes.io/name=kafka-runbooks-worker"]
    lab.kubectl(*pods, "--force", "--grace-period=0")


def completed(workflow_id: str) -> set[str]:
    """Activities that have ended, from the history."""
    done = command("temporal", "workflow", "show", "--address", "127.0.0.1:7233", "-w", workflow_id, "-o", "json", seconds=30)
    events = json.loads(done.stdout)["events"]
    scheduled = {
        event["eventId"]: event["activityTaskScheduledEventAttributes"]["activityType"]["name"]
        for event in events
        if "activityTaskScheduledEventAttributes" in event
    }
    return {
        scheduled[event["activityTaskCompletedEventAttributes"]["scheduledEventId"]]
        for event in events
        if "activityTaskCompletedEventAttributes" in event
    }


def eventually(what: str, seconds: float, check: Callable[[], bool]) -> None:
    ends = time.monotonic() + seconds
    while not check():
        assert time.monotonic() < ends, f"{what}: not within {seconds} s"
        time.sleep(0.3)


def test_the_worker_is_killed_after_every_step_of_a_restart(lab: Lab, topic: str) -> None:
    """Each step's end is a boundary; the next worker goes on from what the world looks like."""
    pod, _, _ = place_of(lab, 1002)
    workflow_id = f"lab/killed/{uuid.uuid4()}"
    with checked_traffic(lab, f"{topic}.traffic") as traffic:
        lab.kubectl("-n", "kafka", "delete", "pod", pod, "--wait=false")
        asked = ask(broker_id=1002, node_state="returns", throttle={"mode": "fixed", "rate_bytes_per_s": 50_000_000})
        started = command(
            *(
                "temporal",
                "workflow",
                "start",
                "--address",
                "127.0.0.1:7233",
                "--type",
                "ReplaceBroker",
                "--task-queue",
                "kafka-runbooks",
            ),
            *("--workflow-id", workflow_id, "--input", asked, "--fail-existing"),
        )
        assert started.returncode == 0, started.stderr
        killed_after = []
        for activity in ACTIVITIES:
            eventually(activity, 120, lambda activity=activity: activity in completed(workflow_id))  # type: ignore[misc]
            kill_worker(lab)
            killed_after.append(activity)
        done = command(
            "temporal", "workflow", "result", "--address", "127.0.0.1:7233", "-w", workflow_id, "-o", "json", seconds=200
        )
    result = json.loads(done.stdout)
    holds(result.get("result", result))
    assert tuple(killed_after) == ACTIVITIES
    assert (traffic["lost"], traffic["produce_errors"]) == (0, 0), traffic
    assert leftovers(lab) == {}


def test_bad_input_touches_nothing(lab: Lab) -> None:
    lab.wait_ready()
    unknown = runbook("start", "ReplaceBroker", "--input", ask(broker_id=77), "--wait", "-o", "json")
    assert unknown.returncode == 3 and "broker_id: 77" in unknown.stdout + unknown.stderr
    malformed = runbook("start", "ReplaceBroker", "--input", '{"cluster": ')
    assert malformed.returncode == 2 and "JSON" in malformed.stderr + malformed.stdout
    misspelt = runbook("start", "ReplaceBroker", "--input", ask(broker_ids=1001))
    assert misspelt.returncode == 2 and "broker_ids" in misspelt.stderr + misspelt.stdout
    elsewhere = runbook(
        "start", "ReplaceBroker", "--input", json.dumps({**json.loads(ask(broker_id=1)), "cluster": "nope"}), "--wait"
    )
    assert elsewhere.returncode == 3 and "nope" in elsewhere.stdout + elsewhere.stderr
    assert leftovers(lab) == {}
