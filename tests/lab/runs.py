"""What the runbooks' tests on the lab share: starting runs, losing nodes, checked traffic, and what is left at the end."""

import json
import os
import signal
import subprocess
import sys
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

from kafka_runbooks_lab import kafka_tools
from kafka_runbooks_lab.lab import Lab

ADDRESS = "127.0.0.1:7233"
CONNECT = "from kafka_runbooks_lab.connection import kafka_python, librdkafka\n"


def command(*argv: str, seconds: float = 300) -> subprocess.CompletedProcess[str]:
    executable = Path(sys.executable).parent / argv[0]
    return subprocess.run([str(executable), *argv[1:]], capture_output=True, text=True, timeout=seconds, stdin=subprocess.DEVNULL)


def runbook(*argv: str, seconds: float = 300) -> subprocess.CompletedProcess[str]:
    return command("kafka-runbooks", *argv, seconds=seconds)


def ask(**fields: Any) -> str:
    return json.dumps({"cluster": "lab", "requester": "test", "wait_for_approval": False, **fields})


ANY_DISK = {"max_utilisation": 1}
"""For plans of placement: the lab's disks are the machine's, however full it is with other things."""


def result_of(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    assert done.stdout.strip(), done.stderr[-3000:]
    found: dict[str, Any] = json.loads(done.stdout[done.stdout.index("{") :])
    return found


def kafka(lab: Lab, code: str, *argv: str) -> str:
    """Run Python in the lab's network, with `librdkafka` and `kafka_python` for how to connect; what it printed."""
    done = lab.exec([sys.executable, "-c", CONNECT + code, *argv], timeout=120)
    assert done.returncode == 0, done.stderr[-3000:]
    return str(done.stdout)


def plain() -> str:
    return json.dumps({"cluster": "lab", "requester": "test"})


def create_topic(lab: Lab, name: str, replicas: list[list[int]], minimum_in_sync: int = 1) -> None:
    kafka(
        lab,
        """
import json, sys
from confluent_kafka.admin import AdminClient, NewTopic
name, replicas, minimum = sys.argv[1], json.loads(sys.argv[2]), sys.argv[3]
topic = NewTopic(name, num_partitions=len(replicas), replica_assignment=replicas, config={'min.insync.replicas': minimum})
admin = AdminClient(librdkafka())
admin.create_topics([topic])[name].result(30)
""",
        name,
        json.dumps(replicas),
        str(minimum_in_sync),
    )


def fill(lab: Lab, name: str, records: int) -> None:
    """Records of 10 kB, evenly over the partitions."""
    kafka(
        lab,
        """
import os, sys
from confluent_kafka import Producer
name, records = sys.argv[1], int(sys.argv[2])
producer = Producer({**librdkafka(), 'acks': 'all'})
partitions = len(producer.list_topics(name, timeout=20).topics[name].partitions)
for n in range(records):
    producer.produce(name, value=os.urandom(10_000), partition=n % partitions); producer.poll(0)
    if n % 500 == 0: producer.flush(60)
assert producer.flush(60) == 0
""",
        name,
        str(records),
    )


def make_topic(lab: Lab, name: str, records: int = 2_000) -> None:
    """Twelve partitions on the events map, RF 3, with some data (records of 10 kB)."""
    ids = [1001, 1002, 1003]
    create_topic(lab, name, [[ids[(n + k) % 3] for k in range(3)] for n in range(12)], minimum_in_sync=2)
    if records:
        fill(lab, name, records)


def uneven_topic(lab: Lab, records: int = 6_000) -> str:
    """Twelve partitions of 5 MB on two of the three brokers of the events map, in two copies; its name."""
    name = f"events.{uuid.uuid4().hex[:8]}"
    create_topic(lab, name, [[1001, 1002] if n % 2 else [1002, 1001] for n in range(12)])
    fill(lab, name, records)
    return name


def counts(lab: Lab, topic: str) -> Counter[int]:
    """Broker -> how many replicas of the topic it has."""
    named = {name: row for name, row in assignment(lab).items() if name.rsplit("-", 1)[0] == topic}
    return Counter(broker for row in named.values() for broker in row)


def purge(lab: Lab) -> None:
    """Every topic but the consumers' offsets goes."""
    names = {name.rsplit("-", 1)[0] for name in assignment(lab)} - {"__consumer_offsets"}
    if names:
        delete_topics(lab, *sorted(names))


def ensure_offsets_topic(lab: Lab) -> None:
    """Kafka makes it for the first group of consumers, on whatever brokers there are then: not on one that is to go again."""
    kafka(
        lab,
        """
import sys, time
from confluent_kafka import Consumer, KafkaException, TopicPartition
consumer = Consumer({**librdkafka(), 'group.id': 'offsets-topic'})
for attempt in range(30):
    try:
        consumer.committed([TopicPartition('any', 0)], timeout=10)
        break
    except KafkaException:
        time.sleep(1)
consumer.close()
""",
    )


def delete_topics(lab: Lab, *names: str) -> None:
    kafka(
        lab,
        """
import sys
from confluent_kafka.admin import AdminClient
admin = AdminClient(librdkafka())
for future in admin.delete_topics(sys.argv[1:]).values(): future.result(30)
""",
        *names,
    )


def add_partitions(lab: Lab, topic: str, replicas: list[list[int]]) -> bool:
    """More partitions for a topic, on these brokers; False while Kafka refuses, because its first partition is moving."""
    return "added" in kafka(
        lab,
        """
import json, sys
from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient, NewPartitions
admin = AdminClient(librdkafka())
more = json.loads(sys.argv[2])
total = len(admin.list_topics(topic=sys.argv[1], timeout=20).topics[sys.argv[1]].partitions) + len(more)
wanted = NewPartitions(sys.argv[1], total, replica_assignment=more)
try:
    for future in admin.create_partitions([wanted]).values(): future.result(30)
    print("added")
except KafkaException as error:
    if error.args[0].name() != "INVALID_REPLICA_ASSIGNMENT": raise
""",
        topic,
        json.dumps(replicas),
    )


def active_controller(lab: Lab) -> str | None:
    """The pod of the active KRaft controller (node id 1 is the first), or None while there is none."""
    code = "print(admin.describe_metadata_quorum()['topics'][0]['partitions'][0]['leader_id'])"
    try:
        found = int(kafka(lab, f"{_CLIENT}\n{code}"))
    except AssertionError:
        return None
    return f"kafka-controller-{found - 1}" if found > 0 else None


def config_map(name: str, text: str) -> str:
    """A manifest."""
    return json.dumps({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"plan.json": text}})


def largest_payload_bytes(run: str) -> int:
    """The largest payload anywhere in a run's history."""

    def payloads(node: Any) -> Iterator[int]:
        if isinstance(node, dict):
            if isinstance(node.get("data"), str) and "metadata" in node:
                yield len(node["data"]) * 3 // 4
            for value in node.values():
                yield from payloads(value)
        elif isinstance(node, list):
            for value in node:
                yield from payloads(value)

    return max(payloads(json.loads(temporal("workflow", "show", "-w", run, "-o", "json").stdout)))


def set_config(lab: Lab, kind: str, name: str, key: str, value: str) -> None:
    """As another tool would; an empty value deletes the key."""
    kafka(
        lab,
        """
import sys
from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource
kind, name, key, value = sys.argv[1:]
operation = AlterConfigOpType.SET if value else AlterConfigOpType.DELETE
entry = ConfigEntry(key, value or None, incremental_operation=operation)
resource = ConfigResource(kind, name, incremental_configs=[entry])
admin = AdminClient(librdkafka())
for future in admin.incremental_alter_configs([resource]).values(): future.result(30)
""",
        kind,
        name,
        key,
        value,
    )


def append_to_list(lab: Lab, topic: str, key: str, value: str) -> None:
    """Add to a list of a topic, and leave what is in it."""
    kafka(
        lab,
        """
import sys
from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource
topic, key, value = sys.argv[1:]
entry = ConfigEntry(key, value, incremental_operation=AlterConfigOpType.APPEND)
resource = ConfigResource('topic', topic, incremental_configs=[entry])
admin = AdminClient(librdkafka())
for future in admin.incremental_alter_configs([resource]).values(): future.result(30)
""",
        topic,
        key,
        value,
    )


def set_default(lab: Lab, key: str, value: str) -> None:
    """The default of all brokers, which the Python clients can't name; an empty value deletes the key."""
    what = ["--add-config", f"{key}={value}"] if value else ["--delete-config", key]
    alter = ["--alter", "--entity-type", "brokers", "--entity-default", *what]
    done = lab.exec(kafka_tools.argv("configs", alter), timeout=60)
    assert done.returncode == 0 and "Completed" in done.stdout, done.stdout + done.stderr[-1000:]


_CLIENT = """
import json, sys
from kafka import KafkaAdminClient
from kafka.structs import TopicPartition
admin = KafkaAdminClient(**kafka_python())
"""


def move(lab: Lab, topic: str, replicas: list[list[int]]) -> None:
    """Start a reassignment, as another tool would."""
    targets = "{TopicPartition(sys.argv[1], n): one for n, one in enumerate(json.loads(sys.argv[2]))}"
    kafka(lab, f"{_CLIENT}\nadmin.alter_partition_reassignments({targets})", topic, json.dumps(replicas))


def move_one(lab: Lab, topic: str, partition: int, replicas: list[int]) -> None:
    """Start a reassignment of one partition."""
    code = "admin.alter_partition_reassignments({TopicPartition(sys.argv[1], int(sys.argv[2])): json.loads(sys.argv[3])})"
    kafka(lab, f"{_CLIENT}\n{code}", topic, str(partition), json.dumps(replicas))


def moving(lab: Lab) -> set[str]:
    """Topics with a reassignment in progress."""
    found = kafka(lab, f"{_CLIENT}\nprint(json.dumps(sorted({{one.topic for one in admin.list_partition_reassignments()}})))")
    return set(json.loads(found))


_METADATA = """
import json, sys
from confluent_kafka.admin import AdminClient
metadata = AdminClient(librdkafka()).list_topics(timeout=20)
"""


def brokers(lab: Lab) -> list[int]:
    found: list[int] = json.loads(kafka(lab, f"{_METADATA}\nprint(json.dumps(sorted(metadata.brokers)))"))
    return found


def assignment(lab: Lab) -> dict[str, list[int]]:
    """Partition -> its replica list, of the whole cluster."""
    code = "print(json.dumps({f'{t.topic}-{p.id}': p.replicas for t in metadata.topics.values() for p in t.partitions.values()}))"
    found: dict[str, list[int]] = json.loads(kafka(lab, f"{_METADATA}\n{code}"))
    return found


def replicas_on(lab: Lab, broker_id: int) -> dict[str, int]:
    """Partition -> the broker's place in its replica list, for each that it has a replica of."""
    code = """
print(json.dumps({f'{t.topic}-{p.id}': p.replicas.index(int(sys.argv[1])) for t in metadata.topics.values()
                  for p in t.partitions.values() if int(sys.argv[1]) in p.replicas}))
"""
    found: dict[str, int] = json.loads(kafka(lab, _METADATA + code, str(broker_id)))
    return found


def leftovers(lab: Lab) -> dict[str, Any]:
    """Throttles in Kafka, ledgers and cordons in Kubernetes."""
    found: dict[str, Any] = json.loads(
        kafka(
            lab,
            """
import json, sys
from confluent_kafka.admin import AdminClient, ConfigResource, ResourceType
admin = AdminClient(librdkafka())
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
def checked_traffic(lab: Lab, topic: str, per_second: int = 200) -> Iterator[dict[str, Any]]:
    """Traffic while the block runs, which begins once records are acknowledged; the dictionary is filled at its end."""
    script = str(Path(__file__).with_name("traffic.py"))
    process = lab.popen([sys.executable, script, topic, str(per_second)], stdout=subprocess.PIPE, stdin=subprocess.DEVNULL)
    report: dict[str, Any] = {}
    try:
        assert process.stdout is not None and process.stdout.readline() == "ready\n", "traffic has ended before its first records"
        yield report
        process.send_signal(signal.SIGTERM)
        out, _ = process.communicate(timeout=200)
        report.update(json.loads(out.strip().splitlines()[-1]))
    finally:
        process.kill()
        process.communicate()


@contextmanager
def watched(lab: Lab) -> Iterator[dict[str, Any]]:
    """Every partition is looked at five times a second while the block runs: the dictionary has `samples` and who was `below`."""
    script = str(Path(__file__).with_name("minimum_in_sync.py"))
    process = lab.popen([sys.executable, script, "5"], stdout=subprocess.PIPE, stdin=subprocess.DEVNULL)
    report: dict[str, Any] = {}
    try:
        yield report
        process.send_signal(signal.SIGTERM)
        out, _ = process.communicate(timeout=60)
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


@contextmanager
def losing(lab: Lab) -> Iterator[str]:
    """Broker 1001's node has lost its power for good; a spare is there in its zone. An id for a run."""
    _, node, zone = place_of(lab, 1001)
    lab.kill_node(node)
    lab.add_node(zone, "events")
    try:
        yield fresh()
    finally:
        lab.delete_node(node)


@contextmanager
def fourth_broker(lab: Lab) -> Iterator[int]:
    """The id of a fourth broker of the events map, empty, for the time of the block."""
    lab.wait_ready()
    ensure_offsets_topic(lab)
    _, _, zone = place_of(lab, 1003)
    node = lab.add_node(zone, "events")
    lab.kubectl("-n", "kafka", "scale", "statefulset", "kafka-events", "--replicas=4")
    try:
        eventually("a fourth broker", 90, lambda: len(brokers(lab)) == 7)
        yield max(brokers(lab))
    finally:
        lab.kubectl("-n", "kafka", "scale", "statefulset", "kafka-events", "--replicas=3")
        lab.kubectl("-n", "kafka", "wait", "--for=delete", "pod/kafka-events-3", "--timeout=90s")
        lab.kubectl("-n", "kafka", "delete", "pvc", "data-kafka-events-3", "--ignore-not-found", "--wait=false")
        lab.kill_node(node)
        lab.delete_node(node)
        eventually("six brokers", 60, lambda: len(brokers(lab)) == 6)


def fresh() -> str:
    """An id for a run."""
    return f"lab/test/{uuid.uuid4().hex[:8]}"


def intact(traffic: dict[str, Any]) -> None:
    assert traffic["acknowledged"] > 100, traffic
    assert (traffic["lost"], traffic["produce_errors"]) == (0, 0), traffic


def holds(result: dict[str, Any]) -> None:
    assert result["outcome"] == "done", result
    assert [check for check in result["checks"] if not check["holds"]] == []


def worker_pid() -> int | None:
    """The worker's process on this host, if one runs."""
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            line = (folder / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if line[1:3] == [b"-m", b"worker"]:
            return int(folder.name)
    return None


def kill_worker(lab: Lab) -> None:
    """SIGKILL, and a new pod at once: the kubelet would let a container that crashed often wait."""
    eventually("a worker", 60, lambda: worker_pid() is not None)
    pid = worker_pid()
    if pid is not None:
        os.kill(pid, signal.SIGKILL)
    pods = ["-n", "kafka-runbooks", "delete", "pod", "-l", "app.kubernetes.io/name=kafka-runbooks-worker"]
    lab.kubectl(*pods, "--force", "--grace-period=0")


def kill_after_every_step(lab: Lab, run: str, seconds: float = 480) -> list[str]:
    """Kill the worker whenever another activity of the run has ended, until the run is over; the activities, in that order."""
    ends = time.monotonic() + seconds
    boundaries: list[str] = []
    while not is_closed(run):
        assert time.monotonic() < ends, f"not over in {seconds} s; killed after {boundaries}: {status(run)}"
        more = completed(run) - set(boundaries)
        if more:
            boundaries += sorted(more)
            kill_worker(lab)
        time.sleep(0.2)
    return boundaries


def temporal(*argv: str, seconds: float = 60) -> subprocess.CompletedProcess[str]:
    """The `temporal` command, as operators have it."""
    done = command("temporal", *argv, "--address", ADDRESS, seconds=seconds)
    assert done.returncode == 0, done.stderr
    return done


def start(run: str, asked: str, runbook: str = "ReplaceBroker") -> None:
    """Start a runbook by the `temporal` command and come back at once."""
    temporal(
        *("workflow", "start", "--type", runbook, "--task-queue", "kafka-runbooks"),
        *("--workflow-id", run, "--input", asked, "--fail-existing"),
    )


def outcome(run: str, seconds: float = 300) -> dict[str, Any]:
    """The result, once it has one, whichever way it ended."""
    return result_of(runbook("status", run, "--watch", "-o", "json", seconds=seconds))


def status(run: str) -> dict[str, Any]:
    """The `status` query, joined with the younger heartbeat; empty while no worker answers."""
    done = runbook("status", run, "-o", "json", seconds=60)
    found: dict[str, Any] = json.loads(done.stdout) if done.returncode == 0 and done.stdout.strip() else {}
    return found.get("status") or {}


def until_status(run: str, holds: Callable[[dict[str, Any]], Any], seconds: float = 120) -> dict[str, Any]:
    """The first status for which it holds."""
    ends = time.monotonic() + seconds
    while True:
        found = status(run)
        if found and holds(found):
            return found
        assert time.monotonic() < ends, f"not within {seconds} s: {found}"
        time.sleep(0.5)


def open_runs() -> list[str]:
    """The runs that are open, permits aside."""
    listed = json.loads(temporal("workflow", "list", "--query", 'ExecutionStatus="Running"', "-o", "json").stdout or "[]")
    return [one["execution"]["workflowId"] for one in listed if one["execution"]["workflowId"].startswith("lab/")]


def end_open() -> None:
    """Terminate what a failed test has left open, and give back what it had set: the next one finds the cluster free."""
    left = open_runs()
    for run in left:
        command("temporal", "workflow", "terminate", "-w", run, "--reason", "its test is over", "--address", ADDRESS)
    if left:
        runbook("start", "ClearLeftovers", "--input", plain(), "--wait")


def is_closed(run: str) -> bool:
    described = json.loads(temporal("workflow", "describe", "-w", run, "-o", "json").stdout)
    return "RUNNING" not in described["workflowExecutionInfo"]["status"]


def closed_at(run: str) -> float:
    """When a run closed, by Temporal, in seconds since the epoch."""
    described = json.loads(temporal("workflow", "describe", "-w", run, "-o", "json").stdout)
    return datetime.fromisoformat(described["workflowExecutionInfo"]["closeTime"].replace("Z", "+00:00")).timestamp()


def update(run: str, name: str, **word: Any) -> None:
    """An update by the `temporal` command: approve, pause, resume, abort…"""
    asked = json.dumps({"by": "ana", "reason": "test", **word})
    temporal("workflow", "update", "execute", "-w", run, "--name", name, "--input", asked)


def try_update(run: str, name: str) -> bool:
    """An update that may be refused, or come too late; whether it was accepted."""
    try:
        update(run, name)
    except AssertionError:
        return False
    return True


def completed(run: str) -> set[str]:
    """Activities that have ended, from the history; one that ended several times, with the number of times."""
    events = json.loads(temporal("workflow", "show", "-w", run, "-o", "json").stdout)["events"]
    scheduled = {
        event["eventId"]: event["activityTaskScheduledEventAttributes"]["activityType"]["name"]
        for event in events
        if "activityTaskScheduledEventAttributes" in event
    }
    ended: Counter[str] = Counter()
    for event in events:
        if "activityTaskCompletedEventAttributes" in event:
            ended[scheduled[event["activityTaskCompletedEventAttributes"]["scheduledEventId"]]] += 1
    return {name if number == 0 else f"{name} {number + 1}" for name, count in ended.items() for number in range(count)}


def eventually(what: str, seconds: float, check: Callable[[], bool]) -> None:
    ends = time.monotonic() + seconds
    while not check():
        assert time.monotonic() < ends, f"{what}: not within {seconds} s"
        time.sleep(0.3)
