"""What the API says of pods that restart, through the real API library: revisions, process starts, what is stuck, and budgets."""

import json
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from kubernetes.client import ApiClient, Configuration

from kafka_runbooks.clients.kubernetes import KubernetesApi, connection
from kafka_runbooks.models import labels
from kafka_runbooks.models.certificates import ClientHandshake, TlsFiles
from kafka_runbooks.models.kubernetes import BrokerPod, DisruptionBudget, FileChanges, SecretMount

STARTED = "2026-01-01T00:00:05Z"
KINDS = {"pods": ("PodList", "v1"), "statefulsets": ("StatefulSetList", "apps/v1"), "nodes": ("NodeList", "v1")}
KINDS["poddisruptionbudgets"] = ("PodDisruptionBudgetList", "policy/v1")
RUNNING = {"running": {"startedAt": STARTED}}
REGISTER = {
    "kafka-events-0.file": FileChanges(pod_uid="u", started_at=datetime(2026, 1, 1, tzinfo=UTC)).model_dump_json(),
    "kafka-events-0.tls": TlsFiles(pod_uid="broker's").model_dump_json(),
}
SERVER_IDS = {f"{pod}.tls": TlsFiles(pod_uid="member's").model_dump_json() for pod in ("zookeeper-0", "kafka-events-0")}


def matches(found: dict[str, str], selector: str) -> bool:
    """As the API server selects by label: `a=b`, `a!=b`, `a`."""
    for term in filter(None, selector.split(",")):
        name, is_not, value = term.partition("!=")
        if is_not:
            if found.get(name) == value:
                return False
            continue
        name, is_equal, value = term.partition("=")
        if name not in found or (is_equal and found[name] != value):
            return False
    return True


class Lists:
    """Serves lists of objects, selected by label, and the register."""

    def __init__(self) -> None:
        self.items: dict[str, list[dict[str, Any]]] = {kind: [] for kind in KINDS}
        self.log, self.asked_log = "", ""
        lists = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                url = urlsplit(self.path)
                name = url.path.rpartition("/")[2]
                found: dict[str, Any]
                if name in KINDS:
                    kind, version = KINDS[name]
                    selector = parse_qs(url.query).get("labelSelector", [""])[0]
                    items = [one for one in lists.items[name] if matches(one["metadata"].get("labels", {}), selector)]
                    found = {"kind": kind, "apiVersion": version, "metadata": {}, "items": items}
                else:
                    data = SERVER_IDS if name.startswith("zookeeper-ids-") else REGISTER
                    found = {"kind": "ConfigMap", "apiVersion": "v1", "metadata": {"name": name}, "data": data}
                body = json.dumps(found).encode()
                if name == "log":
                    lists.asked_log, body = self.path, lists.log.encode()
                self.send_response(200)
                self.send_header("Content-Type", "text/plain" if name == "log" else "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None: ...

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.http.serve_forever, args=(0.02,), daemon=True).start()

    def pod(self, name: str, marks: dict[str, str], states: dict[str, dict[str, Any]], **changed: Any) -> None:
        """A pod with containers in these states."""
        common = {"image": "i", "imageID": "", "ready": True, "restartCount": 2, **changed.pop("last", {})}
        containers = [{"name": one, "state": state, **common} for one, state in states.items()]
        owner = {"kind": "StatefulSet", "name": name.rpartition("-")[0], "apiVersion": "apps/v1", "uid": "s"}
        metadata = {
            "name": name,
            "uid": "u",
            "labels": {labels.CLUSTER: "main", "controller-revision-hash": "kafka-7d9f", **marks},
            "annotations": changed.pop("annotations", {}),
            "ownerReferences": [owner],
        }
        spec = {"containers": [{"name": one} for one in states], "nodeName": "node-1"}
        status = {"phase": "Running", "containerStatuses": containers, "podIP": "10.0.0.1", **changed}
        self.items["pods"].append({"metadata": metadata, "spec": spec, "status": status})

    def stateful_set(self, name: str, marks: dict[str, str], *, strategy: str = "OnDelete", observed: int = 3) -> None:
        spec = {"replicas": 3, "serviceName": "s", "selector": {}, "template": {}, "updateStrategy": {"type": strategy}}
        status = {
            "replicas": 3,
            "observedGeneration": observed,
            "updateRevision": f"{name}-new",
            "currentRevision": f"{name}-old",
        }
        metadata = {"name": name, "generation": 3, "resourceVersion": "1", "labels": {labels.CLUSTER: "main", **marks}}
        self.items["statefulsets"].append({"metadata": metadata, "spec": spec, "status": status})


@pytest.fixture
def lists() -> Iterator[Lists]:
    lists = Lists()
    yield lists
    lists.http.shutdown()
    lists.http.server_close()


@pytest.fixture
def kubernetes(lists: Lists, monkeypatch: pytest.MonkeyPatch) -> Iterator[KubernetesApi]:
    configuration = Configuration(host=f"http://127.0.0.1:{lists.http.server_port}")
    configuration.retries = False
    with ApiClient(configuration) as client:
        monkeypatch.setattr(connection, "connect", lambda: client)
        yield KubernetesApi("main", "kafka")


EVENTS = {labels.MAP: "events", labels.BROKER_ID: "1001"}


def test_brokers_controllers_and_combined_nodes_are_told_by_their_labels(lists: Lists, kubernetes: KubernetesApi) -> None:
    first = {labels.FIRST_CONTROLLER_ID: "100"}
    lists.pod("kafka-events-0", EVENTS, {"agent": RUNNING, "kafka": RUNNING})
    lists.pod(
        "kafka-combined-0", {labels.MAP: "small", labels.ROLES: "broker-controller", labels.BROKER_ID: "1"}, {"kafka": RUNNING}
    )
    lists.pod("kafka-controller-2", {labels.ROLES: "controller"}, {"kafka": RUNNING}, annotations=first)
    lists.pod("kafka-controller-1", {labels.ROLES: "controller"}, {"kafka": RUNNING})
    lists.pod("another", {}, {"kafka": RUNNING})
    lists.pod("other-events-0", {**EVENTS, labels.CLUSTER: "other"}, {"kafka": RUNNING})
    combined, events = kubernetes.broker_pods()
    assert (combined.name, combined.broker_id, combined.is_controller) == ("kafka-combined-0", 1, True)
    assert (events.name, events.broker_id, events.is_controller) == ("kafka-events-0", 1001, False)
    assert (events.revision, events.started_at, events.restarts) == ("kafka-7d9f", datetime(2026, 1, 1, 0, 0, 5, tzinfo=UTC), 2)
    assert events.stuck is None and events.why_pending is None
    second, third = kubernetes.controller_pods()
    assert (second.name, second.node_id) == ("kafka-controller-1", None), "it doesn't tell its id"
    assert (third.name, third.node_id, third.node, third.stateful_set) == (
        "kafka-controller-2",
        102,
        "node-1",
        "kafka-controller",
    )
    assert third.is_controller and third.revision == "kafka-7d9f"


def only(kubernetes: KubernetesApi) -> BrokerPod:
    (pod,) = kubernetes.broker_pods()
    return pod


def test_a_container_that_ends_again_and_again_is_stuck_with_how_it_ended(lists: Lists, kubernetes: KubernetesApi) -> None:
    waiting = {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 5m0s"}}
    ended = {"lastState": {"terminated": {"exitCode": 137, "reason": "OOMKilled"}}}
    lists.pod("kafka-events-0", EVENTS, {"kafka": waiting}, last=ended)
    pod = only(kubernetes)
    assert (
        pod.stuck == "kafka: CrashLoopBackOff: back-off 5m0s; it ended with exit code 137 (OOMKilled)" and pod.started_at is None
    )


@pytest.mark.parametrize(
    "reason", ["ErrImagePull", "ImagePullBackOff", "InvalidImageName", "CreateContainerConfigError", "RunContainerError"]
)
def test_what_does_not_pass_by_itself_is_stuck_in_any_container(lists: Lists, kubernetes: KubernetesApi, reason: str) -> None:
    lists.pod("kafka-events-0", EVENTS, {"kafka": RUNNING, "agent": {"waiting": {"reason": reason, "message": "why"}}})
    assert only(kubernetes).stuck == f"agent: {reason}: why"


@pytest.mark.parametrize("reason", ["ContainerCreating", "PodInitializing"])
def test_a_pod_on_its_way_is_not_stuck(lists: Lists, kubernetes: KubernetesApi, reason: str) -> None:
    lists.pod("kafka-events-0", EVENTS, {"kafka": {"waiting": {"reason": reason}}}, phase="Pending")
    pod = only(kubernetes)
    assert pod.stuck is None and pod.why_pending == reason and pod.started_at is None


def test_an_identity_that_is_not_found_is_told_by_its_init_container(lists: Lists, kubernetes: KubernetesApi) -> None:
    waiting = {"waiting": {"reason": "CrashLoopBackOff"}}
    init = [{"name": "identify", "image": "i", "imageID": "", "ready": False, "restartCount": 4, "state": waiting}]
    lists.pod("kafka-events-0", EVENTS, {"kafka": {"waiting": {"reason": "PodInitializing"}}}, initContainerStatuses=init)
    assert only(kubernetes).stuck == "identify: CrashLoopBackOff"


def test_stateful_sets_of_maps_and_controllers_with_the_newest_revision(lists: Lists, kubernetes: KubernetesApi) -> None:
    lists.stateful_set("kafka-events", {labels.MAP: "events"})
    lists.stateful_set("kafka-controller", {labels.ROLES: "controller"}, strategy="RollingUpdate")
    lists.stateful_set("kafka-checks", {labels.MAP: "checks"}, observed=2)
    lists.stateful_set("zookeeper", {})
    found = {one.name: (one.update_revision, one.update_strategy) for one in kubernetes.stateful_sets()}
    assert found == {
        "kafka-checks": (None, "OnDelete"),  # Kubernetes hasn't taken note of its newest template.
        "kafka-controller": ("kafka-controller-new", "RollingUpdate"),
        "kafka-events": ("kafka-events-new", "OnDelete"),
    }


def test_a_zookeeper_ensemble_is_told_by_its_label_and_runs_in_its_own_container(lists: Lists, kubernetes: KubernetesApi) -> None:
    marks = {"app.kubernetes.io/component": "zookeeper"}
    lists.stateful_set("zookeeper", marks)
    lists.stateful_set("other-zookeeper", {**marks, labels.CLUSTER: "other"})
    lists.stateful_set("kafka-events", {labels.MAP: "events"})
    lists.pod("zookeeper-0", marks, {"zookeeper": RUNNING, "agent": {"waiting": {"reason": "ErrImagePull"}}})
    lists.pod("zookeeper-1", marks, {"zookeeper": {"waiting": {"reason": "PodInitializing"}}, "agent": RUNNING})
    lists.pod("kafka-events-0", EVENTS, {"kafka": RUNNING})
    assert [(one.name, one.update_revision) for one in kubernetes.ensemble_sets()] == [("zookeeper", "zookeeper-new")]
    first, second = kubernetes.ensemble_pods()
    assert (first.name, first.stateful_set, first.revision, first.restarts) == ("zookeeper-0", "zookeeper", "kafka-7d9f", 2)
    assert first.started_at == datetime(2026, 1, 1, 0, 0, 5, tzinfo=UTC) and first.stuck == "agent: ErrImagePull"
    assert second.started_at is None and second.stuck is None
    assert [pod.name for pod in kubernetes.broker_pods()] == ["kafka-events-0"] and kubernetes.controller_pods() == ()


def test_how_members_connect_is_what_the_pod_was_made_with_and_what_the_template_says_now(
    lists: Lists, kubernetes: KubernetesApi
) -> None:
    marks = {"app.kubernetes.io/component": "zookeeper"}
    lists.stateful_set("zookeeper", marks)
    lists.pod("zookeeper-0", marks, {"agent": RUNNING, "zookeeper": RUNNING})
    lists.pod("zookeeper-1", marks, {"zookeeper": RUNNING})

    def environment(step: str) -> dict[str, Any]:
        return {"name": "zookeeper", "env": [{"name": "HEAP", "value": "1g"}, {"name": "QUORUM_TLS", "value": step}]}

    lists.items["pods"][0]["spec"]["containers"][1] = environment("accepted")
    lists.items["statefulsets"][0]["spec"]["template"] = {"spec": {"containers": [environment("spoken")]}}
    assert [one.quorum_tls for one in kubernetes.ensemble_pods()] == ["accepted", None]
    assert [one.quorum_tls for one in kubernetes.ensemble_sets()] == ["spoken"]


def test_a_member_tells_of_itself_and_never_in_a_broker_s_place(kubernetes: KubernetesApi) -> None:
    found = {name: one.pod_uid for name, one in kubernetes.tls_files().items()}
    assert found == {"zookeeper-0": "member's", "kafka-events-0": "broker's"}


def test_budgets_taints_and_changes_of_files(lists: Lists, kubernetes: KubernetesApi) -> None:
    counts = {"currentHealthy": 2, "desiredHealthy": 2, "disruptionsAllowed": 0, "expectedPods": 3}
    lists.items["poddisruptionbudgets"] = [
        {"metadata": {"name": "kafka-events"}, "spec": {}, "status": counts},
        {"metadata": {"name": "fresh"}, "spec": {}},
    ]
    assert kubernetes.disruption_budgets() == (
        DisruptionBudget(name="fresh", selected_pods=0, allowed_disruptions=0),
        DisruptionBudget(name="kafka-events", selected_pods=3, allowed_disruptions=0),
    )
    taints = [{"key": "ToBeDeletedByClusterAutoscaler", "effect": "NoSchedule"}]
    lists.items["nodes"] = [{"metadata": {"name": "a", "uid": "a"}, "spec": {"taints": taints}, "status": {}}]
    assert kubernetes.nodes()[0].taints == ("ToBeDeletedByClusterAutoscaler",)
    assert kubernetes.file_changes()["kafka-events-0"].changed == {}


def test_the_secrets_in_the_file_system_of_kafkas_container(lists: Lists, kubernetes: KubernetesApi) -> None:
    """Whole ones, one with a chosen name for its file, and a single file that never changes; not those of other containers."""
    lists.pod("events-0", {labels.MAP: "events"}, {labels.KAFKA_CONTAINER: RUNNING, "agent": RUNNING})
    spec = lists.items["pods"][-1]["spec"]
    spec["volumes"] = [
        {"name": "whole", "secret": {"secretName": "kafka-events-tls"}},
        {"name": "named", "secret": {"secretName": "trust", "items": [{"key": "ca.crt", "path": "trusted.pem"}]}},
        {"name": "single", "secret": {"secretName": "old"}},
        {"name": "agents", "secret": {"secretName": "agent"}},
        {"name": "data", "emptyDir": {}},
    ]
    spec["containers"][0]["volumeMounts"] = [
        {"name": "whole", "mountPath": "/etc/kafka-tls"},
        {"name": "named", "mountPath": "/etc/trust/"},
        {"name": "single", "mountPath": "/etc/key.pem", "subPath": "key.pem"},
        {"name": "data", "mountPath": "/data"},
    ]
    spec["containers"][1]["volumeMounts"] = [{"name": "agents", "mountPath": "/etc/agent"}]
    (pod,) = kubernetes.broker_pods()
    whole, named, single = pod.secrets
    assert whole == SecretMount(secret="kafka-events-tls", path="/etc/kafka-tls")
    assert whole.key_of("/etc/kafka-tls/events-0.pem") == "events-0.pem" and whole.key_of("/etc/other/events-0.pem") is None
    assert named.key_of("/etc/trust/trusted.pem") == "ca.crt" and named.key_of("/etc/trust/ca.crt") is None
    assert single.is_sub_path and single.key_of("/etc/key.pem") == "key.pem" and single.key_of("/etc/other.pem") is None


def test_who_has_connected_is_read_from_the_log_of_kafkas_container(lists: Lists, kubernetes: KubernetesApi) -> None:
    assert kubernetes.client_handshakes("events-0") is None, "a log without a line of Java's security log"
    lists.log = (
        "x jdk.event.security X509Certificate: Alg:a, Serial:1, Subject:CN=b, Issuer:CN=ca, Key type:EC, Length:1, Cert Id:7, V\n"
        "x jdk.event.security  TLSHandshake: 10.0.0.7:4, TLSv1.3, TLS_AES_256_GCM_SHA384, 7\n"
    )
    assert kubernetes.client_handshakes("events-0") == (ClientHandshake(host="10.0.0.7", subject="CN=b", issuer="CN=ca"),)
    assert (
        "/pods/events-0/log" in lists.asked_log
        and "container=kafka" in lists.asked_log
        and "sinceSeconds=3600" in lists.asked_log
    )
