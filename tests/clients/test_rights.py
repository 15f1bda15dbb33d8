"""Rights are asked of a server that speaks SelfSubjectAccessReview, through the real library: each missing one is named."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from kubernetes.client import ApiClient, Configuration

from kafka_runbooks.clients.errors import Unreachable
from kafka_runbooks.clients.kubernetes import KubernetesApi, connection, rights
from kafka_runbooks.models.rights import Right

NEEDED = (*rights.of_worker("kafka"), Right("certificates.k8s.io", "signers", "approve", name="example.com/kafka"))


class Authorizer:
    """Allows what RBAC would: everything but `denied`. Its Date is `date`, if that is given."""

    def __init__(self) -> None:
        self.denied: set[Right] = set()
        self.asked: list[Right] = []
        self.date: str | None = None
        self.minor = "34"
        self.status = 201
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                assert self.path == "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
                asked = body["spec"]["resourceAttributes"]
                below = f"/{asked['subresource']}" if "subresource" in asked else ""
                right = Right(asked["group"], asked["resource"] + below, asked["verb"], asked.get("namespace"), asked.get("name"))
                server.asked.append(right)
                self.answer(server.status, body | {"status": {"allowed": right not in server.denied}})

            def do_GET(self) -> None:
                assert self.path == "/version/"
                names = ("gitVersion", "gitCommit", "gitTreeState", "buildDate", "goVersion", "compiler", "platform")
                self.answer(200, {"major": "1", "minor": server.minor, **dict.fromkeys(names, "")})

            def answer(self, status: int, found: dict[str, Any]) -> None:
                body = json.dumps(found).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def date_time_string(self, timestamp: float | None = None) -> str:
                return server.date or super().date_time_string(timestamp)

            def log_message(self, *_: object) -> None: ...

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.http.serve_forever, args=(0.02,), daemon=True).start()


@pytest.fixture
def authorizer() -> Iterator[Authorizer]:
    server = Authorizer()
    yield server
    server.http.shutdown()
    server.http.server_close()


@pytest.fixture
def kubernetes(authorizer: Authorizer, monkeypatch: pytest.MonkeyPatch) -> Iterator[KubernetesApi]:
    configuration = Configuration(host=f"http://127.0.0.1:{authorizer.http.server_port}")
    configuration.retries = False
    with ApiClient(configuration) as client:
        monkeypatch.setattr(connection, "connect", lambda: client)
        yield KubernetesApi("main", "kafka")


def test_each_missing_verb_is_named(authorizer: Authorizer, kubernetes: KubernetesApi) -> None:
    assert kubernetes.denied(NEEDED) == () and authorizer.asked == list(NEEDED)
    for right in NEEDED:
        authorizer.denied = {right}
        assert kubernetes.denied(NEEDED) == (right,)
    authorizer.denied = set(NEEDED)
    assert kubernetes.denied(NEEDED) == NEEDED


def test_who_gives_no_answer_denies_nothing(authorizer: Authorizer, kubernetes: KubernetesApi) -> None:
    authorizer.status = 503
    with pytest.raises(Unreachable, match="may we list pods in namespace kafka"):
        kubernetes.denied(NEEDED)


def test_a_right_s_rule_is_what_a_role_takes() -> None:
    assert Right("", "pods", "delete", "kafka").rule == '{apiGroups: [""], resources: [pods], verbs: [delete]}'
    assert str(Right("", "pods", "delete", "kafka")) == "delete pods in namespace kafka"
    secret = Right("", "secrets", "get", "kafka", "kafka-ca")
    assert secret.rule == '{apiGroups: [""], resources: [secrets], resourceNames: [kafka-ca], verbs: [get]}'
    assert str(secret) == "get secrets kafka-ca in namespace kafka"


def test_version_and_clock_of_the_api_server(authorizer: Authorizer, kubernetes: KubernetesApi) -> None:
    authorizer.minor = "31+"  # as some clouds say it
    found = kubernetes.server()
    assert found.version == (1, 31)
    assert found.clock_ahead_seconds is not None and -5 < found.clock_ahead_seconds <= 1
    authorizer.date = "Tue, 01 Jan 2036 00:00:00 GMT"
    ahead = kubernetes.server().clock_ahead_seconds
    assert ahead is not None and ahead > 86_400
