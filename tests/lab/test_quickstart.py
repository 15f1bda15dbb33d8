"""docs/quickstart.md, line by line, on a Kafka that was deployed without us (`shop.yaml`): from `doctor` to a rebalance.

The lines are the page's own: what is in it is what is run. Then the table at its end, runbook by runbook, without the agent and
with pods that look like Strimzi's.
"""

import json
import re
import shutil
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml
from kafka_runbooks_lab import builds, paths, workloads
from kafka_runbooks_lab.lab import Lab
from kafka_runbooks_lab.nodes import ZONES

from kafka_runbooks.models import labels
from tests.lab.runs import command, eventually, holds, result_of
from tests.quickstart import ROOT, SHOP, Shell, block, lines, table

# tests/clients/test_quickstart.py: step 6 on an API server alone; tests/workflows/test_foreign_clusters.py: the table in memory
pytestmark = [pytest.mark.soak, pytest.mark.timeout(1500)]

QUEUE = "kafka-runbooks-shop"
BOOTSTRAP = "shop-kafka.shop.svc.cluster.local:9092"
PODS = ("shop-kafka-0", "shop-kafka-1", "shop-kafka-2", "shop-controller-0")
SETS = ("shop-controller", "shop-kafka")
TOPIC, PARTITIONS, RECORDS = "orders", 12, 1_200
ANY_DISK = " --max-utilisation 1"
"""For the page's lines: the lab's disks are the machine's, however full it is with other things."""
LATER = {
    "StatefulSet shop-kafka: readiness says nothing of replicas": '"Add the agent"',
    "no broker's metrics exporter answers": "docs/metrics.md; until then runs need a fixed throttle",
}
"""What `doctor` goes on naming without the agent and without an exporter: how the fault begins, and what mends it."""
ASKED: dict[str, str] = {
    "rebalance": "--level replica-count --max-utilisation 1",
    "scale-up": "--brokers 2 --level replica-count --max-utilisation 1",
    "decommission": "--brokers 1 --max-utilisation 1",
    "set-replication-factor": "--topics TOPIC --replication-factor 3 --max-utilisation 1",
    "evacuate-leaders": "--brokers 0",
    "run-plan": """--plan '{"version": 1, "partitions": [{"topic": "TOPIC", "partition": 0, "replicas": [2, 1]}]}'""",
    "topic-reconcile": "",
    "rolling-restart": "--reason CHG-12",
    "upgrade": "--reason CHG-12",
    "rotate-certificates": "--reason CHG-12 --mode renew",
    "drain": "--reason CHG-12 --node NODE",
    "replace-broker": "--broker-id BROKER --node-is-gone",
}
"""Runbook -> the options of a preview; BROKER is on NODE, alone."""
DEFINITIONS = {
    "apiVersion": "v1",
    "kind": "ConfigMap",
    "metadata": {
        "name": "topics",
        "namespace": "shop",
        "labels": {labels.CLUSTER: "shop", labels.DEFINITIONS: labels.TOPICS},
    },
    "data": {"topics.yaml": "topics:\n  - {name: orders.new, partitions: 3, replication_factor: 2}\n"},
}
"""For a preview of `topic-reconcile`."""
STRIMZI = {
    "app.kubernetes.io/managed-by": "strimzi-cluster-operator",
    "strimzi.io/broker-role": "true",
    "strimzi.io/cluster": "shop",
    "strimzi.io/controller": "strimzipodset",
    "strimzi.io/kind": "Kafka",
    "strimzi.io/name": "shop-kafka",
    "strimzi.io/pool-name": "kafka",
}


class Shop(Shell):
    """Whoever follows the page, in a copy of `deploy/` that may be changed; and what is to be seen of the cluster."""

    def __init__(self, lab: Lab, folder: Path) -> None:
        super().__init__(folder, lab.exec_argv(lab.kubectl_argv()), KAFKA_RUNBOOKS_TASK_QUEUE=QUEUE)
        self.lab = lab
        shutil.copytree(ROOT / "deploy" / "kubernetes", folder / "deploy" / "kubernetes")

    def faults(self) -> dict[str, str]:
        """What `doctor` names, with what mends it."""
        done = self.attempt("kafka-runbooks doctor shop -o json")
        assert done.stdout.strip(), done.stderr[-3000:]
        checks: list[dict[str, Any]] = json.loads(done.stdout)["checks"]
        found = {check["fault"]: check["remedy"] for check in checks if check["fault"]}
        assert done.returncode == (1 if found else 0)
        return found

    def said(self, runbook: str, options: str) -> str:
        """What `plan` comes to, in the words of the table."""
        done = self.attempt(f"kafka-runbooks plan {runbook} --cluster shop {options} -o json")
        assert done.stdout.strip(), f"plan {runbook} {options}: {done.stderr[-3000:]}"
        survey = json.loads(done.stdout)
        against = [reason for reason in survey["reasons"] if not reason["can_be_acknowledged"]]
        if against:
            print(f"plan {runbook}: {against}")
            return f"refuses: `{against[0]['name']}`"
        return "plans" if survey["plan"] is not None else f"nothing to do: {survey['nothing_to_do']}"

    def kubectl(self, *argv: str) -> str:
        return self.lab.kubectl("-n", "shop", *argv)

    def kafka(self, code: str, *argv: str) -> Any:
        """Run Python in the lab's network with an `admin` of confluent-kafka; the JSON that it printed, if any."""
        begin = f"import json, sys\nfrom confluent_kafka.admin import *\nBOOTSTRAP = {BOOTSTRAP!r}\n"
        begin += "admin = AdminClient({'bootstrap.servers': BOOTSTRAP})\n"
        done = self.lab.exec([sys.executable, "-c", begin + code, *argv], timeout=120)
        assert done.returncode == 0, done.stderr[-3000:]
        return json.loads(done.stdout) if done.stdout.strip() else None

    def placed(self) -> dict[int, dict[str, list[int]]]:
        """Partition of the topic -> its replicas, and those in sync."""
        code = f"found = admin.list_topics({TOPIC!r}, timeout=20).topics[{TOPIC!r}].partitions\n"
        found = self.kafka(
            code + "print(json.dumps({p.id: {'replicas': p.replicas, 'in sync': p.isrs} for p in found.values()}))"
        )
        return {int(partition): rows for partition, rows in found.items()}

    def brokers(self) -> list[int]:
        found: list[int] = self.kafka("print(json.dumps(sorted(admin.list_topics(timeout=40).brokers)))")
        return found

    def uids(self) -> dict[str, str]:
        pods = json.loads(self.kubectl("get", "pods", "-o", "json"))["items"]
        return {pod["metadata"]["name"]: pod["metadata"]["uid"] for pod in pods}

    def node_of(self, pod: str) -> str:
        return self.kubectl("get", "pod", pod, "-o", "jsonpath={.spec.nodeName}")

    def are_covered(self) -> bool:
        """The brokers, by the PodDisruptionBudget."""
        return self.kubectl("get", "poddisruptionbudget", "kafka-runbooks", "-o", "jsonpath={.status.expectedPods}") == "3"

    def are_in_sync(self) -> bool:
        """The topic's replicas."""
        return all(set(one["replicas"]) == set(one["in sync"]) for one in self.placed().values())


MAKE_TOPIC = """
rows = [[0, 1] if n % 2 else [1, 0] for n in range(int(sys.argv[2]))]
admin.create_topics([NewTopic(sys.argv[1], num_partitions=len(rows), replica_assignment=rows)])[sys.argv[1]].result(30)
from confluent_kafka import Producer
import os
producer = Producer({'bootstrap.servers': BOOTSTRAP, 'acks': 'all'})
for n in range(int(sys.argv[3])):
    producer.produce(sys.argv[1], key=str(n), value=os.urandom(10_000), partition=n % len(rows))
    if n % 200 == 0: producer.flush(60)
assert producer.flush(60) == 0
"""
READ_TOPIC = """
from kafka import KafkaConsumer, TopicPartition
consumer = KafkaConsumer(bootstrap_servers=BOOTSTRAP, group_id=None, auto_offset_reset='earliest', consumer_timeout_ms=10_000)
own = [TopicPartition(sys.argv[1], n) for n in range(int(sys.argv[2]))]
consumer.assign(own)
left, found = sum(consumer.end_offsets(own).values()), []
for record in consumer:
    found.append(int(record.key)); left -= 1
    if not left: break
print(json.dumps(found))
"""
THROTTLES = """
found = {}
metadata = admin.list_topics(timeout=20)
for kind, names in ((ResourceType.TOPIC, list(metadata.topics)), (ResourceType.BROKER, list(map(str, metadata.brokers)))):
    for name in names:
        for future in admin.describe_configs([ConfigResource(kind, name)]).values():
            for key, entry in future.result(20).items():
                if 'throttled' in key and entry.value and not entry.is_default: found[f'{name} {key}'] = entry.value
print(json.dumps(found))
"""


@contextmanager
def nodes_of_its_own(lab: Lab, zones: tuple[str, ...]) -> Iterator[list[str]]:
    """Nodes without our labels, each with a disk, in these zones."""
    names: list[str] = []
    try:
        for zone in zones:
            names.append(lab.add_node(zone))
            lab.kubectl("label", "node", names[-1], f"{labels.MAP}-", "pool=shop")
        yield names
    finally:
        for name in names:
            lab.delete_node(name)
            lab.kubectl("delete", "pv", f"local-{name}", "--ignore-not-found", "--wait=false")


@contextmanager
def somebodys_kafka(lab: Lab) -> Iterator[None]:
    """`shop.yaml` on three nodes, Ready."""
    with nodes_of_its_own(lab, ZONES) as nodes:
        text = SHOP.read_text().replace("@FIRST_NODE@", nodes[0])
        try:
            lab.kubectl("apply", "-f", "-", input=workloads.fill_in(text, builds.where()))
            for name in SETS:
                lab.kubectl("-n", "shop", "rollout", "status", f"statefulset/{name}", "--timeout=240s")
            yield
        finally:
            lab.kubectl("-n", "shop", "delete", "statefulset", *SETS, "--ignore-not-found", "--wait=false")
            lab.kubectl("-n", "shop", "delete", "pod", "--all", "--force", "--grace-period=0")
            lab.kubectl("delete", "namespace", "shop", "--ignore-not-found", "--timeout=120s")
            lab.kubectl("delete", "pv", "shop-controller", "--ignore-not-found", "--wait=false")


@contextmanager
def worker_of_its_own(shop: Shop) -> Iterator[None]:
    """The page's `kubectl apply -k deploy/kubernetes/base`, beside the lab's own worker: with other names and a queue of its own.

    As on a cluster without TLS, there is no Secret with its certificate.
    """
    overlay = shop.folder / "worker-of-shop"
    overlay.mkdir()
    shutil.copy(paths.LAB / "overlay" / "patch-worker.yaml", overlay)
    queue = {"op": "add", "path": "/spec/template/spec/containers/0/env/-"}
    queue_value = {"name": "KAFKA_RUNBOOKS_TASK_QUEUE", "value": QUEUE}
    no_secret = {"op": "replace", "path": "/spec/template/spec/volumes/1/secret/secretName", "value": "there-is-none"}
    (overlay / "kustomization.yaml").write_text(
        yaml.safe_dump(
            {
                "apiVersion": "kustomize.config.k8s.io/v1beta1",
                "kind": "Kustomization",
                "resources": ["../deploy/kubernetes/base"],
                "nameSuffix": "-of-shop",
                "labels": [
                    {"pairs": {"kafka-runbooks.io/worker-of": "shop"}, "includeSelectors": True, "includeTemplates": True}
                ],
                "images": [{"name": "kafka-runbooks", "newName": "localhost/lab", "newTag": "1"}],
                "patches": [
                    {"target": {"kind": "Deployment"}, "patch": yaml.safe_dump([queue | {"value": queue_value}, no_secret])},
                    {"target": {"kind": "Deployment"}, "path": "patch-worker.yaml"},
                ],
            }
        )
    )
    account = "kafka-runbooks:kafka-runbooks-worker"
    access = shop.folder / "deploy/kubernetes/base/kafka-access.yaml"
    access.write_text(access.read_text().replace(f'{account}"', f'{account}-of-shop"'))
    made = workloads.fill_in(shop.lab.kubectl("kustomize", str(overlay)), builds.where())
    own = "\n---\n".join(one for one in made.split("\n---\n") if "\nkind: Namespace\n" not in f"\n{one}\n")
    try:
        shop.lab.kubectl("apply", "-f", "-", input=own)
        rollout = ("rollout", "status", "deployment/kafka-runbooks-worker-of-shop", "--timeout=120s")
        shop.lab.kubectl("-n", "kafka-runbooks", *rollout)
        yield
    finally:
        end_open_runs()
        shop.lab.kubectl("delete", "--ignore-not-found", "--wait=false", "-f", "-", input=own)


def end_open_runs() -> None:
    """Of a failed test: nobody would work on them any more."""
    listed = command("temporal", "workflow", "list", "--query", 'ExecutionStatus="Running"', "-o", "json")
    for one in json.loads(listed.stdout or "[]"):
        run = one["execution"]["workflowId"]
        if run.startswith(("shop/", "kafka-permit/shop")):
            command("temporal", "workflow", "terminate", "-w", run, "--reason", "its test is over")


def label_it(shop: Shop) -> None:
    """Step 6: `doctor` names what is missing, and after the page's lines only what can wait; nothing restarts."""
    before, told = shop.uids(), shop.faults()
    assert len(told) == 2 and any("as the brokers of shop" in one for one in told), told
    assert any("no controllers of shop" in one for one in told), told
    *mending, doctor = lines("6. Label your cluster")
    for line in mending:
        shop.run(line)
    eventually("Kubernetes has looked at the PodDisruptionBudget", 30, shop.are_covered)
    only_what_can_wait(shop.faults())
    done = shop.attempt(doctor)
    assert done.returncode == 1 and f"{len(LATER)} faults" in done.stdout, done.stdout + done.stderr
    assert shop.uids() == before, "a pod has restarted"


def only_what_can_wait(faults: dict[str, str]) -> None:
    assert len(faults) == len(LATER), faults
    for begin, remedy in LATER.items():
        assert any(begin in fault and remedy in said for fault, said in faults.items()), faults


def rebalance_it(shop: Shop) -> None:
    """Step 7, to a run that is done and a contract that holds."""
    run = "ID"
    for line in lines("7. Plan, start, approve"):
        if line.startswith(("kafka-runbooks plan ", "kafka-runbooks start ")):
            line += ANY_DISK
        if " approve " in line:
            eventually("the plan's gate", 60, partial(is_at_its_gate, shop, run))
            assert set(Counter(spread(shop))) == {0, 1}, "it began before it was approved"
        said = shop.run(re.sub(r"\bID\b", run, line))
        if " plan " in line:
            assert "rebalance map main" in said, said
        if " start " in line:
            found = re.search(r"^started (\S+)$", said, re.MULTILINE)
            assert found is not None, said
            run = found[1]
        if " list " in line:
            assert "rebalance" in said, said
    holds(result_of(shop.attempt(f"kafka-runbooks status {run} --watch -o json")))
    assert spread(shop) == {0: 8, 1: 8, 2: 8}
    assert shop.are_in_sync()
    assert sorted(shop.kafka(READ_TOPIC, TOPIC, str(PARTITIONS))) == list(range(RECORDS))
    assert shop.kafka(THROTTLES) == {}
    assert shop.kubectl("get", "configmap", "-l", "kafka-runbooks.io/record=ledger", "-o", "name") == ""


def is_at_its_gate(shop: Shop, run: str) -> bool:
    done = shop.attempt(f"kafka-runbooks status {run} -o json")
    found: dict[str, Any] = json.loads(done.stdout) if done.stdout.strip() else {}
    return (found.get("status") or {}).get("phase") == "gate"


def spread(shop: Shop) -> Counter[int]:
    """Broker -> how many replicas of the topic it has."""
    return Counter(broker for one in shop.placed().values() for broker in one["replicas"])


@contextmanager
def without_power(shop: Shop, lost: str) -> Iterator[None]:
    """A broker's node is down, and there is a spare in its zone; it comes back."""
    zone = shop.lab.kubectl("get", "node", lost, "-o", "jsonpath={.metadata.labels.topology\\.kubernetes\\.io/zone}")
    with nodes_of_its_own(shop.lab, (zone,)) as (spare,):
        shop.lab.kubectl("label", "node", spare, f"{labels.MAP}=main")
        shop.lab.kill_node(lost)
        ready = "jsonpath={.status.conditions[?(@.type=='Ready')].status}"
        eventually("its node is missed", 60, lambda: shop.lab.kubectl("get", "node", lost, "-o", ready) == "Unknown")
        eventually("its broker is missed", 60, lambda: len(shop.brokers()) == 2)
        yield
    shop.lab.start_node(lost)
    eventually("its broker is back", 120, lambda: shop.brokers() == [0, 1, 2])
    eventually("it is in sync", 120, shop.are_in_sync)


def made_strimzis(shop: Shop) -> None:
    """The same brokers, of no StatefulSet, with Strimzi's labels on their pods and none of ours, and no register."""
    shop.kubectl("delete", "statefulset", *SETS, "--cascade=orphan")
    owned = "jsonpath={.items[*].metadata.ownerReferences[*].kind}"
    eventually("pods of nobody", 60, lambda: shop.kubectl("get", "pods", "-o", owned) == "")
    gone = [f"{mark}-" for mark in (labels.CLUSTER, labels.MAP, labels.ROLES)]
    shop.kubectl("label", "pod", *PODS, *gone, *(f"{key}={value}" for key, value in STRIMZI.items()))
    shop.kubectl("delete", "configmap", "kafka-broker-ids-shop")
    assert shop.brokers() == [0, 1, 2]


def test_a_team_follows_the_quickstart_without_the_agent(lab: Lab, tmp_path: Path) -> None:
    assert ASKED.keys() == table().keys()
    shop, seen = Shop(lab, tmp_path), dict[str, list[str]]()
    (tmp_path / "deploy/kubernetes/base/config/clusters.yaml").write_text(block("3. Name your clusters", "yaml"))
    name_the_namespace, apply, *_ = lines("4. Run the worker")
    assert apply == "kubectl apply -k deploy/kubernetes/base"  # `worker_of_its_own` does it
    shop.run(name_the_namespace)
    with somebodys_kafka(lab), worker_of_its_own(shop):
        shop.run(next(line for line in lines("5. Set up operators") if line.startswith("kafka-runbooks setup")))
        label_it(shop)
        shop.kafka(MAKE_TOPIC, TOPIC, str(PARTITIONS), str(RECORDS))
        lab.kubectl("apply", "-f", "-", input=json.dumps(DEFINITIONS))
        alone = next(n for n in (2, 1) if shop.node_of(f"shop-kafka-{n}") != shop.node_of("shop-controller-0"))
        node = shop.node_of(f"shop-kafka-{alone}")

        def preview(name: str, topic: str) -> None:
            options = ASKED[name].replace("TOPIC", topic).replace("NODE", node).replace("BROKER", str(alone))
            seen.setdefault(name, []).append(shop.said(name, options))

        for name in ASKED:
            if name != "replace-broker":
                preview(name, TOPIC)
        rebalance_it(shop)
        with without_power(shop, node):
            preview("replace-broker", TOPIC)
        made_strimzis(shop)
        # So that there is something to balance again.
        shop.kafka(MAKE_TOPIC, f"{TOPIC}.more", str(PARTITIONS), "120")
        for name in ASKED:
            preview(name, f"{TOPIC}.more")
    assert {name: tuple(found) for name, found in seen.items()} == table(), seen
