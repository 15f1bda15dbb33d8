"""Secrets of the cluster's namespace, read and changed by name; `NAMESPACE/NAME` is one of another namespace, such as our own.

The worker's Role names each of them, so they are neither listed nor created here. What is in one stays out of errors: the
library's own errors would quote it, and the API server repeats the words of admission webhooks.
"""

import base64
import json
from collections.abc import Mapping
from typing import Any

from kubernetes import client

from kafka_runbooks.clients.certificates.protocols import Secret
from kafka_runbooks.clients.errors import Conflict
from kafka_runbooks.clients.kubernetes.connection import Connection, mapped

TIMEOUT_SECONDS = 10
HINTS = {
    403: "(does the worker's Role name it, with get and patch?)",
    409: "(someone else has changed it)",
    422: "(is it immutable, or larger than 1 MiB?)",
}


class KubernetesSecrets:
    """`Secrets` of one namespace, or of the one that a name gives; may be used by several threads."""

    def __init__(self, namespace: str, connection: Connection) -> None:
        self._namespace = namespace
        self._connection = connection

    def read(self, name: str) -> Secret | None:
        found: dict[str, Any] | None = None
        with mapped(self._named(name), missing_ok=True, hints=HINTS):
            answer = client.CoreV1Api(self._connection.client()).read_namespaced_secret(
                *self._place(name), _request_timeout=TIMEOUT_SECONDS, _preload_content=False
            )
            found = json.loads(answer.read())
        if found is None:
            return None
        data = {key: base64.b64decode(value) for key, value in (found.get("data") or {}).items()}
        return Secret(data, str(found["metadata"]["resourceVersion"]))

    def write(self, name: str, changes: Mapping[str, bytes | None], version: str) -> str:
        data = {key: None if value is None else base64.b64encode(value).decode() for key, value in changes.items()}
        body = {"metadata": {"resourceVersion": version}, "data": data}
        with mapped(self._named(name), missing_ok=True, hints=HINTS):
            answer = client.CoreV1Api(self._connection.client()).patch_namespaced_secret(
                *self._place(name), body, _request_timeout=TIMEOUT_SECONDS, _preload_content=False
            )
            return str(json.loads(answer.read())["metadata"]["resourceVersion"])
        raise Conflict(f"{self._named(name)} was deleted")

    def _place(self, name: str) -> tuple[str, str]:
        """Its own name and its namespace."""
        namespace, _, own = name.rpartition("/")
        return own, namespace or self._namespace

    def _named(self, name: str) -> str:
        own, namespace = self._place(name)
        return f"Secret {own} in namespace {namespace}"
