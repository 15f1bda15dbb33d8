"""Cordons and errors through the real API library, with a server on loopback that keeps one node; the lab has a real one."""

import copy
import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from kubernetes.client import (
    ApiClient,
    Configuration,
    V1Node,
    V1NodeSpec,
    V1NodeStatus,
    V1NodeSystemInfo,
    V1ObjectMeta,
    V1PersistentVolumeClaim,
    V1StatefulSet,
    V1StatefulSetOrdinals,
    V1StatefulSetPersistentVolumeClaimRetentionPolicy,
    V1StatefulSetSpec,
)

from kafka_runbooks.clients.errors import Conflict, Refused, Unreachable
from kafka_runbooks.clients.kubernetes import KubernetesApi, connection, objects, register
from kafka_runbooks.models import labels
from kafka_runbooks.models.kubernetes import StatefulSet

OWNER = "replace-broker-7/run-1"


class Server:
    """Serves `/api/v1/nodes/node-1`; a merge patch with another resourceVersion than the node's is a conflict, as usual.

    Keeps ConfigMaps too, and lists them without content where that is asked for.
    """

    def __init__(self) -> None:
        self.metadata: dict[str, Any] = {"name": "node-1", "uid": "u", "resourceVersion": "5", "annotations": {}}
        self.spec: dict[str, Any] = {}
        self.patches: list[dict[str, Any]] = []
        self.status = 200
        self.changes_after_read = False
        self.config_maps: dict[str, dict[str, Any]] = {}
        self.sent_bytes = 0
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                path = self.path.split("?")[0]
                if path.endswith("/configmaps") and server.status == 200:
                    self.send(200, server.listed(is_metadata_only="as=PartialObjectMetadataList" in self.headers["Accept"]))
                    return
                if (name := path.rpartition("/configmaps/")[2]) in server.config_maps:
                    self.send(200, server.config_maps[name])
                    return
                read = copy.deepcopy(server.metadata)
                if server.changes_after_read:  # Before the answer: the client may be back before this thread goes on.
                    server.bump()
                self.answer(server.status if self.path.endswith("/nodes/node-1") else 404, read)

            def do_PATCH(self) -> None:
                patch = json.loads(self.body())
                self.answer(server.apply(patch) if self.path.endswith("/nodes/node-1") else 404)

            def do_PUT(self) -> None:
                self.body()
                self.answer(404)

            def do_POST(self) -> None:
                body = json.loads(self.body())
                if not self.path.endswith("/configmaps") or server.status != 200:
                    self.answer(404)
                    return
                body["metadata"]["resourceVersion"] = "1"
                server.config_maps[body["metadata"]["name"]] = body
                self.send(201, body)

            do_DELETE = do_PUT

            def body(self) -> bytes:
                return self.rfile.read(int(self.headers.get("Content-Length", 0)))

            def answer(self, status: int, metadata: dict[str, Any] | None = None) -> None:
                node = {
                    "kind": "Node",
                    "apiVersion": "v1",
                    "metadata": metadata or server.metadata,
                    "spec": server.spec,
                    "status": {},
                }
                self.send(status, node if status == 200 else {"message": f"status {status}"})

            def send(self, status: int, found: dict[str, Any]) -> None:
                body = json.dumps(found).encode()
                server.sent_bytes += len(body)
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None: ...

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.http.serve_forever, args=(0.02,), daemon=True).start()

    def listed(self, *, is_metadata_only: bool) -> dict[str, Any]:
        if not is_metadata_only:
            return {"kind": "ConfigMapList", "apiVersion": "v1", "metadata": {}, "items": list(self.config_maps.values())}
        items = [
            {"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": one["metadata"]}
            for one in self.config_maps.values()
        ]
        return {"kind": "PartialObjectMetadataList", "apiVersion": "meta.k8s.io/v1", "metadata": {}, "items": items or None}

    def apply(self, patch: dict[str, Any]) -> int:
        self.patches.append(patch)
        if patch["metadata"].pop("resourceVersion") != self.metadata["resourceVersion"]:
            return 409
        for part, changes in ((self.metadata["annotations"], patch["metadata"]["annotations"]), (self.spec, patch["spec"])):
            for key, value in changes.items():
                if value is None:
                    part.pop(key, None)
                else:
                    part[key] = value
        self.bump()
        return 200

    def bump(self) -> None:
        self.metadata["resourceVersion"] = str(int(self.metadata["resourceVersion"]) + 1)


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    yield server
    server.http.shutdown()
    server.http.server_close()


@pytest.fixture
def kubernetes(server: Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[KubernetesApi]:
    configuration = Configuration(host=f"http://127.0.0.1:{server.http.server_port}")
    configuration.retries = False
    with ApiClient(configuration) as client:
        monkeypatch.setattr(connection, "connect", lambda: client)
        yield KubernetesApi("main", "kafka")


def test_a_node_is_cordoned_by_its_owner_and_given_back_as_it_was(server: Server, kubernetes: KubernetesApi) -> None:
    kubernetes.cordon("node-1", "u", OWNER)
    assert server.spec == {"unschedulable": True} and server.metadata["annotations"] == {labels.CORDON_OWNER: OWNER}
    kubernetes.cordon("node-1", "u", OWNER)
    kubernetes.uncordon("node-1", "u", "another/run")
    assert len(server.patches) == 1
    kubernetes.uncordon("node-1", "u", OWNER)
    kubernetes.uncordon("node-1", "u", OWNER)
    assert server.spec == {} and server.metadata["annotations"] == {} and len(server.patches) == 2


def test_a_node_that_someone_else_cordoned_is_left_alone(server: Server, kubernetes: KubernetesApi) -> None:
    server.spec["unschedulable"] = True
    kubernetes.cordon("node-1", "u", OWNER)
    kubernetes.uncordon("node-1", "u", OWNER)
    assert not server.patches and server.spec == {"unschedulable": True}


def test_a_node_that_changes_between_read_and_write_is_a_conflict(server: Server, kubernetes: KubernetesApi) -> None:
    server.changes_after_read = True
    with pytest.raises(Conflict, match="cordon node-1: 409"):
        kubernetes.cordon("node-1", "u", OWNER)
    assert server.spec == {}


def test_a_node_that_is_gone_has_no_cordon_and_a_failing_server_is_unreachable(server: Server, kubernetes: KubernetesApi) -> None:
    kubernetes.cordon("node-2", "u", OWNER)
    kubernetes.uncordon("node-2", "u", OWNER)
    assert not server.patches
    server.status = 500
    with pytest.raises(Unreachable, match="node node-1: 500"):
        kubernetes.uncordon("node-1", "u", OWNER)


CALLS: dict[str, Callable[[KubernetesApi], object]] = {
    "broker_pods": lambda kubernetes: kubernetes.broker_pods(),
    "stateful_sets": lambda kubernetes: kubernetes.stateful_sets(),
    "nodes": lambda kubernetes: kubernetes.nodes(),
    "delete_claim": lambda kubernetes: kubernetes.delete_claim("data-0", "u"),
    "write_record": lambda kubernetes: kubernetes.write_record("plan", "plan", {}, "", None, {}),
    "records": lambda kubernetes: kubernetes.records("plan"),
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_a_404_that_is_no_missing_object_is_refused_by_that_very_class(
    server: Server, kubernetes: KubernetesApi, call: Callable[[KubernetesApi], object]
) -> None:
    """Temporal knows an error by its class's name: a subclass would be retried for ever."""
    server.status = 404
    with pytest.raises(Refused) as refused:
        call(kubernetes)
    assert type(refused.value) is Refused


def test_what_is_not_there_is_none_or_gone_already(server: Server, kubernetes: KubernetesApi) -> None:
    server.status = 404
    assert kubernetes.claim("data-0") is None and kubernetes.read_record("plan") is None and kubernetes.broker_ids() == {}
    kubernetes.delete_pod("kafka-0", "u", force=True)
    kubernetes.delete_record("plan")
    with pytest.raises(Conflict, match="record plan was deleted"):
        kubernetes.write_record("plan", "plan", {}, "", "5", {})
    with pytest.raises(Conflict, match="StatefulSet kafka-events was deleted"):
        kubernetes.scale(StatefulSet(name="kafka-events", version="1", replicas=3), 2)


def test_records_are_listed_without_what_is_in_them(server: Server, kubernetes: KubernetesApi) -> None:
    content = {"json.gz": bytes(100_000)}
    for name in ("plan-b", "plan-a"):
        kubernetes.write_record(name, "plan", content, "words", None, {"written-at": f"the time of {name}"})
    sent_before = server.sent_bytes
    assert kubernetes.records("plan") == {name: {"written-at": f"the time of {name}"} for name in ("plan-a", "plan-b")}
    assert server.sent_bytes - sent_before < 2_000
    record = kubernetes.read_record("plan-a")
    assert record is not None and record.annotations == {"written-at": "the time of plan-a"}
    assert record.parts == {**content, "summary": b"words"}


def test_a_node_that_was_given_the_name_since_is_left_alone(server: Server, kubernetes: KubernetesApi) -> None:
    kubernetes.cordon("node-1", "another uid", OWNER)
    assert not server.patches
    server.spec["unschedulable"], server.metadata["annotations"] = True, {labels.CORDON_OWNER: OWNER}
    server.metadata["labels"] = {labels.BROKER_ID: "1001"}
    kubernetes.uncordon("node-1", "another uid", OWNER)
    kubernetes.clear_broker_label("node-1", "another uid")
    assert not server.patches


def node(name: str, **marks: str) -> V1Node:
    info = V1NodeSystemInfo.model_construct(machine_id="m", system_uuid=marks.pop("system_uuid", ""))
    return V1Node(
        metadata=V1ObjectMeta(name=name, uid=name, labels=marks), spec=V1NodeSpec(), status=V1NodeStatus(node_info=info)
    )


def test_a_label_that_is_no_number_is_its_node_s_problem_alone() -> None:
    found = objects.nodes([node("a", **{labels.BROKER_ID: "ten"}), node("b", **{labels.BROKER_ID: "1002"})])
    assert [(one.name, one.broker_id) for one in found] == [("a", None), ("b", 1002)]


def test_a_uuid_that_several_nodes_report_identifies_none_of_them() -> None:
    found = objects.nodes([node("a", system_uuid="same"), node("b", system_uuid="same"), node("c", system_uuid="own")])
    assert [one.machine.system_uuid for one in found] == [None, None, "own"]


def test_an_entry_of_the_register_that_is_no_number_is_its_pod_s_problem_alone() -> None:
    data = {
        "events-0": "1001",
        "events-1": "ten",
        "events-0.start": "{",
        "events-2.start": '{"rack":"a","node":"n","node_uid":"u"}',
    }
    assert register.broker_ids(data) == {"events-0": 1001}
    assert list(register.last_starts(data)) == ["events-2"]


def test_a_stateful_set_s_ordinals_templates_and_retention() -> None:
    template = V1PersistentVolumeClaim(metadata=V1ObjectMeta(name="logs"))
    spec = V1StatefulSetSpec(selector={}, service_name="s", template={}, replicas=3, volume_claim_templates=[template])
    found = objects.stateful_set(V1StatefulSet(metadata=V1ObjectMeta(name="events", resource_version="7"), spec=spec))
    assert (found.first_ordinal, found.end, found.claims_of("events-2"), found.deletes_claims) == (
        0,
        3,
        ("logs-events-2",),
        False,
    )
    spec.ordinals = V1StatefulSetOrdinals(start=5)
    spec.persistent_volume_claim_retention_policy = V1StatefulSetPersistentVolumeClaimRetentionPolicy(when_scaled="Delete")
    found = objects.stateful_set(V1StatefulSet(metadata=V1ObjectMeta(name="events", resource_version="7"), spec=spec))
    assert (found.first_ordinal, found.end, found.deletes_claims) == (5, 8, True)


def test_no_records_are_none(kubernetes: KubernetesApi) -> None:
    """A list without items is null in the form that carries metadata only; seen on the lab, where no run could begin."""
    assert kubernetes.records("plan") == {}
