"""The lab does what a cluster does: it dies like one, and comes back like one."""

import json
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from kafka_runbooks_lab import network
from kafka_runbooks_lab.errors import BadInput, LabError
from kafka_runbooks_lab.lab import Lab
from kafka_runbooks_lab.nodes import ZONES, Node
from kafka_runbooks_lab.paths import temporal
from kafka_runbooks_lab.workloads import Flavour

from kafka_runbooks.models import labels
from tests.lab import runs

pytestmark = pytest.mark.timeout(2_400)  # the first of them brings the lab up, and builds Kubernetes where nothing is built
WORKER = "--as=system:serviceaccount:kafka-runbooks:kafka-runbooks-worker"
BROKER = "--as=system:serviceaccount:kafka:kafka-broker"


def python(lab: Lab, code: str, *argv: str) -> str:
    """Run Python in the lab's network; what it printed."""
    done = lab.exec([sys.executable, "-c", code, *argv])
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def node_of(lab: Lab, pod: str) -> str:
    return lab.kubectl("-n", "kafka", "get", "pod", pod, "-o", "jsonpath={.spec.nodeName}")


def kubernetes_says(lab: Lab, node: str) -> str:
    jsonpath = "jsonpath={.status.conditions[?(@.type=='Ready')].status}"
    return lab.kubectl("get", "node", node, "-o", jsonpath)


def eventually(what: str, seconds: float, check: object) -> None:
    assert callable(check)
    deadline = time.monotonic() + seconds
    while not check():
        assert time.monotonic() < deadline, f"{what}: not after {seconds} s"
        time.sleep(0.5)


def test_up_again_changes_nothing(lab: Lab) -> None:
    pods = lab.kubectl("get", "pods", "-A", "-o", "jsonpath={.items[*].metadata.uid}")
    assert lab.up() == 0.0
    assert lab.kubectl("get", "pods", "-A", "-o", "jsonpath={.items[*].metadata.uid}") == pods


def test_nodes_are_labelled_as_a_cloud_would(lab: Lab) -> None:
    found = {node["metadata"]["name"]: node for node in json.loads(lab.kubectl("get", "nodes", "-o", "json"))["items"]}
    for group, instance_type in {"events": "i4i.large", "checks": "m6id.large"}.items():
        mine = [node for node in lab.nodes() if node.group == group]
        assert {node.zone for node in mine} == set(ZONES)
        for node in mine:
            assert found[node.name]["metadata"]["labels"].items() >= {
                (labels.MAP, group),
                (labels.ZONE, node.zone),
                (labels.INSTANCE_TYPE, instance_type),
            }
            assert found[node.name]["status"]["nodeInfo"]["kubeletVersion"] == "v1.36.3"


def test_six_brokers_with_the_racks_of_their_nodes(lab: Lab) -> None:
    code = """
import json
from kafka import KafkaAdminClient
brokers = KafkaAdminClient(**kafka_python()).describe_cluster()["brokers"]
print(json.dumps({b.get("node_id", b.get("broker_id")): [b["host"], b["rack"]] for b in brokers}))
"""
    brokers = json.loads(runs.kafka(lab, code))
    assert sorted(brokers) == ["1001", "1002", "1003", "1004", "1005", "1006"]
    nodes = {node.name: node for node in lab.nodes()}
    for broker, (host, rack) in brokers.items():
        pod, service = host.split(".")[:2]
        assert service == ("kafka-events" if int(broker) < 1004 else "kafka-checks")
        assert rack == nodes[node_of(lab, pod)].zone


def test_metrics_are_few_and_the_right_ones(lab: Lab) -> None:
    url = "http://kafka-checks-0.kafka-checks:9404/metrics"
    text = python(lab, f"import urllib.request as r; print(r.urlopen({url!r}, timeout=10).read().decode())")
    assert 'kafka_network_request_total_time_ms{percentile="99",request="Produce"}' in text
    assert "kafka_server_replicationbytesin_total" in text
    assert len(text) < 100_000


@pytest.mark.parametrize(
    ("who", "verb", "what", "namespace", "expected"),
    [
        (WORKER, "delete", "pods", "kafka", "yes"),
        (WORKER, "create", "pods/eviction", "kafka", "no"),
        (WORKER, "delete", "persistentvolumeclaims", "kafka", "yes"),
        (WORKER, "patch", "nodes", "kafka", "yes"),
        (WORKER, "delete", "nodes", "kafka", "no"),
        (WORKER, "create", "pods", "kafka", "no"),
        (WORKER, "create", "pods/exec", "kafka", "no"),
        (WORKER, "get", "secrets", "kafka", "no"),
        (WORKER, "delete", "statefulsets", "kafka", "no"),
        (WORKER, "delete", "pods", "kube-system", "no"),
        (BROKER, "patch", "nodes", "kafka", "yes"),
        (BROKER, "delete", "pods", "kafka", "no"),
        (BROKER, "get", "secrets", "kafka", "no"),
        (BROKER, "get", "pods", "kube-system", "no"),
    ],
)
def test_least_access(lab: Lab, who: str, verb: str, what: str, namespace: str, expected: str) -> None:
    resource, _, subresource = what.partition("/")
    argv = lab.kubectl_argv("auth", "can-i", verb, resource, f"--subresource={subresource}", who, "-n", namespace)
    assert lab.exec(argv).stdout.strip() == expected  # exits 1 with its "no"


def test_names_resolve_and_services_answer_from_the_host_side(lab: Lab) -> None:
    code = "import socket; print(socket.gethostbyname('temporal.temporal.svc.cluster.local'))"
    assert python(lab, code) == network.TEMPORAL
    health = lab.exec([str(temporal()), "operator", "cluster", "health", "--address", "temporal.temporal:7233"])
    assert "SERVING" in health.stdout


def test_temporal_keeps_its_state_over_a_restart(lab: Lab) -> None:
    command = [str(temporal()), "workflow", "--address", "127.0.0.1:7233"]
    start = ["start", "--type", "Nobody", "--task-queue", "nobody", "--workflow-id", "restart-me", "--fail-existing"]
    attribute = ["--search-attribute", 'KafkaCluster="lab"']
    subprocess.run([*command, *start, *attribute], check=True, capture_output=True)
    try:
        lab.restart_temporal()
        described = subprocess.run([*command, "describe", "-w", "restart-me"], check=True, capture_output=True, text=True).stdout
        assert "KafkaCluster" in described and "Nobody" in described
    finally:
        subprocess.run([*command, "terminate", "-w", "restart-me"], check=True, capture_output=True)


def test_a_frozen_api_server_answers_nobody_and_then_goes_on(lab: Lab) -> None:
    lab.pause_api_server()
    try:
        with pytest.raises(LabError):
            lab.kubectl("get", "nodes", "--request-timeout=2s")
    finally:
        lab.resume_api_server()
    assert "system-a" in lab.kubectl("get", "nodes")


@pytest.mark.parametrize("pod", ["kafka-checks-0", "kafka-controller-0"])
def test_no_broker_and_no_controller_is_evicted(lab: Lab, pod: str) -> None:
    """Every eviction is refused, so a drain goes through `Drain`, by the rules; only tried, not carried out."""
    eviction = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": pod, "namespace": "kafka"}}
    eviction["deleteOptions"] = {"dryRun": ["All"]}
    path = f"/api/v1/namespaces/kafka/pods/{pod}/eviction"
    with pytest.raises(LabError, match="disruption budget"):
        lab.kubectl("create", "--raw", path, "-f", "-", input=json.dumps(eviction))


def test_power_cut_is_silent_and_the_disk_outlives_it(lab: Lab) -> None:
    pod = "kafka-events-1"
    node = node_of(lab, pod)
    address = lab.kubectl("-n", "kafka", "get", "pod", pod, "-o", "jsonpath={.status.podIP}")
    meta = "/var/lib/local-disks/data/kafka/meta.properties"
    disk = next(each for each in lab.nodes() if each.name == node).var / meta.removeprefix("/var/")
    before = disk.read_text()
    connected = "import socket, sys; s = socket.create_connection((sys.argv[1], 9092), 5); print('connected', flush=True)"
    silent = f"{connected}\ns.settimeout(6)\ntry: print('heard', s.recv(1))\nexcept TimeoutError: print('silence')"
    with lab.popen([sys.executable, "-c", silent, address], stdout=subprocess.PIPE) as peer:
        assert peer.stdout is not None
        assert peer.stdout.readline() == "connected\n"
        lab.kill_node(node)
        assert peer.stdout.readline() == "silence\n"  # no FIN, no RST: nothing that a dying process would send
    assert not lab.has_power(node)
    with pytest.raises(LabError, match="no power already"):
        lab.kill_node(node)
    eventually("NotReady", 30, lambda: kubernetes_says(lab, node) != "True")
    lab.start_node(node)
    lab.wait_ready()
    assert node_of(lab, pod) == node
    assert disk.read_text() == before


def test_a_lost_node_is_replaced_by_an_empty_one_in_its_zone(lab: Lab) -> None:
    pod, claim = "kafka-events-2", "data-kafka-events-2"
    old = next(node for node in lab.nodes() if node.name == node_of(lab, pod))
    lab.kill_node(old.name)
    lab.wipe_disk(old.name)
    with ThreadPoolExecutor() as pool:
        new = pool.submit(lab.add_node, old.zone, old.group)
        lab.delete_node(old.name)
        lab.kubectl("-n", "kafka", "delete", "pvc", claim, "--wait=false")
        lab.kubectl("-n", "kafka", "delete", "pod", pod, "--grace-period=0", "--force")
        assert new.result() not in (None, old.name)
    eventually("pod", 30, lambda: pod in lab.kubectl("-n", "kafka", "get", "pods", "-o", "name"))
    lab.wait_ready()
    assert node_of(lab, pod) == new.result()
    assert old.name not in {node.name for node in lab.nodes()}
    lab.kubectl("delete", "pv", f"local-{old.name}", "--ignore-not-found")


def test_a_released_volume_is_cleaned_and_offered_again(lab: Lab) -> None:
    name = lab.add_node("zone-a", "events")
    node: Node = next(node for node in lab.nodes() if node.name == name)

    def phase() -> str:
        return lab.kubectl("get", "pv", f"local-{name}", "--ignore-not-found", "-o", "jsonpath={.status.phase}")

    eventually("the new node's volume", 20, lambda: phase() == "Available")
    (node.disk / "old").write_text("someone's data")
    claim = {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": "borrowed", "namespace": "kafka"},
        "spec": {
            "accessModes": ["ReadWriteOnce"],
            "storageClassName": "local",
            "volumeName": f"local-{name}",
            "resources": {"requests": {"storage": "1Gi"}},
        },
    }
    lab.kubectl("create", "-f", "-", input=json.dumps(claim))
    eventually("bound", 20, lambda: phase() == "Bound")
    lab.kubectl("-n", "kafka", "delete", "pvc", "borrowed")
    eventually("offered again", 30, lambda: phase() == "Available" and not (node.disk / "old").exists())
    lab.delete_node(name)
    lab.kubectl("delete", "pv", f"local-{name}")


@pytest.mark.parametrize(
    ("act", "names"),
    [
        (lambda lab: lab.kill_node("events-z"), "events-z"),
        (lambda lab: lab.add_node("zone-x"), "zone-x"),
        (lambda lab: lab.add_node("zone-a", "gpu"), "gpu"),
        (lambda lab: lab.wipe_disk("checks-a"), "kill-node checks-a"),
        (lambda lab: lab.up(plaintext=True), "speaks TLS"),
        (lambda lab: lab.up(flavour=Flavour.ZOOKEEPER), "is of flavour kraft"),
        (lambda lab: lab.up(flavour=Flavour.ZOOKEEPER, plaintext=True), "plaintext is for flavour kraft"),
    ],
)
def test_bad_input_names_what_is_wrong(lab: Lab, act: object, names: str) -> None:
    before = [node.name for node in lab.nodes()]
    assert callable(act)
    with pytest.raises(BadInput, match=names):
        act(lab)
    assert [node.name for node in lab.nodes()] == before


def test_commands_run_in_the_lab_as_themselves(lab: Lab) -> None:
    """Signals and exit codes of `popen` and `exec` are the command's own, not a wrapper's."""
    with lab.popen(["sleep", "60"]) as process:
        process.terminate()
        assert process.wait(5) == -15
    assert lab.exec(["sh", "-c", "exit 7"]).returncode == 7


def test_memory_is_under_five_gigabytes(lab: Lab) -> None:
    assert 1e9 < lab.memory_bytes() < 5e9
