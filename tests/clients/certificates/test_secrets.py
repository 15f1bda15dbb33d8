"""Secrets through the real API library, with a server on loopback; `test_on_kubernetes.py` has a real API server."""

import base64
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from kubernetes.client import ApiClient, Configuration

from kafka_runbooks.clients.errors import ClientError, Conflict, Refused, Unreachable
from kafka_runbooks.clients.kubernetes import connection
from kafka_runbooks.clients.kubernetes.connection import Connection
from kafka_runbooks.clients.kubernetes.secrets import KubernetesSecrets

KEY = b"-----BEGIN PRIVATE KEY----- c2VjcmV0"


class Server:
    """Answers every request with `status`, and repeats in its message what it was sent, as an admission webhook may."""

    def __init__(self) -> None:
        self.status = 200
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_PATCH(self) -> None:
                sent = self.rfile.read(int(self.headers["Content-Length"])).decode()
                body = json.dumps({"message": f"denied: {sent} {KEY.decode()}"}).encode()
                self.send_response(server.status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None: ...

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.http.serve_forever, args=(0.02,), daemon=True).start()


@pytest.fixture
def repeating() -> Iterator[Server]:
    server = Server()
    yield server
    server.http.shutdown()
    server.http.server_close()


@pytest.mark.parametrize(
    ("status", "kind", "hint"),
    [
        (403, Refused, r"does the worker's Role name it, with get and patch\?"),
        (409, Conflict, "someone else has changed it"),
        (422, Refused, "is it immutable, or larger than 1 MiB"),
        (404, Conflict, "was deleted"),
        (400, Refused, "400"),
        (500, Unreachable, "500"),
    ],
)
def test_an_error_shows_nothing_of_what_was_written(
    repeating: Server, monkeypatch: pytest.MonkeyPatch, status: int, kind: type[ClientError], hint: str
) -> None:
    configuration = Configuration(host=f"http://127.0.0.1:{repeating.http.server_port}")
    configuration.retries = False
    repeating.status = status
    with ApiClient(configuration) as client:
        monkeypatch.setattr(connection, "connect", lambda: client)
        with pytest.raises(kind, match=f"Secret kafka-events-tls in namespace kafka.*{hint}") as caught:
            KubernetesSecrets("kafka", Connection()).write("kafka-events-tls", {"a.pem": KEY}, "1")
    assert type(caught.value) is kind and caught.value.__cause__ is None, "a cause would reach the history"
    assert KEY.decode() not in str(caught.value) and base64.b64encode(KEY).decode() not in str(caught.value)
