"""Cordons through the real API library, against a server on loopback that keeps one node; the lab has the real API server."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from kubernetes.client import ApiClient, Configuration

from kafka_runbooks.clients.errors import Conflict, Unreachable
from kafka_runbooks.clients.kubernetes import KubernetesApi, api
from kafka_runbooks.models import labels

OWNER = "replace-broker-7/run-1"


class Server:
    """Serves `/api/v1/nodes/node-1`; a merge patch with another resourceVersion than the node's is a conflict, as usual."""

    def __init__(self) -> None:
        self.metadata: dict[str, Any] = {"name": "node-1", "uid": "u", "resourceVersion": "5", "annotations": {}}
        self.spec: dict[str, Any] = {}
        self.patches: list[dict[str, Any]] = []
        self.status = 200
        self.changes_after_read = False
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.answer(server.status if self.path.endswith("/nodes/node-1") else 404)
                if server.changes_after_read:
                    server.bump()

            def do_PATCH(self) -> None:
                patch = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                self.answer(server.apply(patch))

            def answer(self, status: int) -> None:
                node = {"kind": "Node", "apiVersion": "v1", "metadata": server.metadata, "spec": server.spec, "status": {}}
                body = json.dumps(node if status == 200 else {"message": f"status {status}"}).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None: ...

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.http.serve_forever, daemon=True).start()

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
        monkeypatch.setattr(api, "connect", lambda: client)
        yield KubernetesApi("main", "kafka")


def test_a_node_is_cordoned_by_its_owner_and_given_back_as_it_was(server: Server, kubernetes: KubernetesApi) -> None:
    kubernetes.cordon("node-1", OWNER)
    assert server.spec == {"unschedulable": True} and server.metadata["annotations"] == {labels.CORDON_OWNER: OWNER}
    kubernetes.cordon("node-1", OWNER)
    kubernetes.uncordon("node-1", "another/run")
    assert len(server.patches) == 1
    kubernetes.uncordon("node-1", OWNER)
    kubernetes.uncordon("node-1", OWNER)
    assert server.spec == {} and server.metadata["annotations"] == {} and len(server.patches) == 2


def test_a_node_that_someone_else_cordoned_is_left_alone(server: Server, kubernetes: KubernetesApi) -> None:
    server.spec["unschedulable"] = True
    kubernetes.cordon("node-1", OWNER)
    kubernetes.uncordon("node-1", OWNER)
    assert not server.patches and server.spec == {"unschedulable": True}


def test_a_node_that_changes_between_read_and_write_is_a_conflict(server: Server, kubernetes: KubernetesApi) -> None:
    server.changes_after_read = True
    with pytest.raises(Conflict, match="cordon node-1: 409"):
        kubernetes.cordon("node-1", OWNER)
    assert server.spec == {}


def test_a_node_that_is_gone_has_no_cordon_and_a_failing_server_is_unreachable(server: Server, kubernetes: KubernetesApi) -> None:
    kubernetes.cordon("node-2", OWNER)
    kubernetes.uncordon("node-2", OWNER)
    assert not server.patches
    server.status = 500
    with pytest.raises(Unreachable, match="node node-1: 500"):
        kubernetes.uncordon("node-1", OWNER)
