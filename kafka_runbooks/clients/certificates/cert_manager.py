"""cert-manager: a CertificateRequest for each certificate, and the answer of the Issuer or ClusterIssuer that it names.

A request, and no Certificate: of a Certificate cert-manager makes the key, keeps it in a Secret of its own that the worker would
have to read, and renews it there by itself, where no broker would ever serve it. With a request the key is made here.

Requests are deleted once they are answered or given up. What becomes of one whose worker has died is nothing: its key is gone.
"""

import base64
import time
import uuid
from collections.abc import Mapping
from typing import Any

from kubernetes import client

from kafka_runbooks.clients.certificates import leaves
from kafka_runbooks.clients.certificates.protocols import Leaf, LeafRequest
from kafka_runbooks.clients.certificates.settings import CertManagerSettings
from kafka_runbooks.clients.errors import ClientError, Refused, Unreachable
from kafka_runbooks.clients.kubernetes.connection import Connection, mapped

TIMEOUT_SECONDS = 10
LOOK_EVERY_SECONDS = 0.5
GROUP, VERSION, REQUESTS = "cert-manager.io", "v1", "certificaterequests"


class CertManagerIssuer:
    """`Issuer` by cert-manager, in the cluster's namespace."""

    def __init__(self, connection: Connection, namespace: str, settings: CertManagerSettings) -> None:
        self._connection = connection
        self._namespace = namespace
        self._settings = settings
        self._named = f"{settings.issuer_kind} {settings.issuer} of cert-manager"

    def authorities(self) -> tuple[str, ...]:
        return tuple(map(leaves.pem, leaves.authorities(self._settings.ca_file)))

    def check(self, request: LeafRequest) -> None:
        leaves.authorities(self._settings.ca_file)
        leaves.subject(request)
        leaves.extensions(request)
        with mapped(self._named):
            if self._settings.issuer_kind == "ClusterIssuer":
                found = self._api.get_cluster_custom_object(
                    GROUP, VERSION, "clusterissuers", self._settings.issuer, _request_timeout=TIMEOUT_SECONDS
                )
            else:
                found = self._api.get_namespaced_custom_object(
                    GROUP, VERSION, self._namespace, "issuers", self._settings.issuer, _request_timeout=TIMEOUT_SECONDS
                )
        ready = _conditions(found).get("Ready", {})
        if ready.get("status") != "True":
            raise Refused(f"{self._named} isn't ready: {_words(ready) or 'it has no status; is cert-manager running?'}")

    def issue(self, request: LeafRequest) -> Leaf:
        key = leaves.new_key()
        name = f"kafka-runbooks-{uuid.uuid4()}"
        try:
            self._create(name, request, leaves.signing_request(request, key))
            chain = leaves.certificates(self._answer(name), f"the answer of {self._named}")
        finally:
            self._delete(name)
        return leaves.leaf(request, key, chain, leaves.authorities(self._settings.ca_file))

    @property
    def _api(self) -> Any:
        return client.CustomObjectsApi(self._connection.client())

    def _create(self, name: str, request: LeafRequest, signing_request: str) -> None:
        spec: dict[str, Any] = {
            "request": base64.b64encode(signing_request.encode()).decode(),
            "issuerRef": {"group": GROUP, "kind": self._settings.issuer_kind, "name": self._settings.issuer},
            "usages": leaves.usages(request),
        }
        if request.lifetime is not None:
            spec["duration"] = f"{int(request.lifetime.total_seconds())}s"
        body = {"apiVersion": f"{GROUP}/{VERSION}", "kind": "CertificateRequest", "metadata": {"name": name}, "spec": spec}
        with mapped(f"create CertificateRequest for {self._named}"):
            self._api.create_namespaced_custom_object(
                GROUP, VERSION, self._namespace, REQUESTS, body, _request_timeout=TIMEOUT_SECONDS
            )

    def _answer(self, name: str) -> bytes:
        """The certificate, once it is there."""
        deadline = time.monotonic() + self._settings.wait_seconds
        while True:
            with mapped(f"CertificateRequest {name}"):
                found = self._api.get_namespaced_custom_object(
                    GROUP, VERSION, self._namespace, REQUESTS, name, _request_timeout=TIMEOUT_SECONDS
                )
            conditions = _conditions(found)
            for kind in ("Denied", "InvalidRequest"):
                if conditions.get(kind, {}).get("status") == "True":
                    said = "denied" if kind == "Denied" else "called invalid"
                    raise Refused(f"{self._named}: the request was {said}: {_words(conditions[kind])}")
            ready = conditions.get("Ready", {})
            if ready.get("reason") == "Failed":
                raise Refused(f"{self._named}: the request failed: {_words(ready)}")
            if ready.get("status") == "True":
                return base64.b64decode(found["status"]["certificate"])
            if time.monotonic() >= deadline:
                missing = "the request is approved, but not answered" if "Approved" in conditions else "nobody has approved it"
                said = f" ({_words(ready)})" if ready else "; is cert-manager running?"
                raise Unreachable(f"{self._named}: after {self._settings.wait_seconds} s {missing}{said}")
            time.sleep(LOOK_EVERY_SECONDS)

    def _delete(self, name: str) -> None:
        try:
            with mapped(f"delete CertificateRequest {name}", missing_ok=True):
                self._api.delete_namespaced_custom_object(
                    GROUP, VERSION, self._namespace, REQUESTS, name, _request_timeout=TIMEOUT_SECONDS
                )
        except ClientError:
            pass  # What stays has no use for anybody.


def _conditions(found: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    return {str(one["type"]): one for one in found.get("status", {}).get("conditions", ())}


def _words(condition: Mapping[str, Any]) -> str:
    return ": ".join(str(condition[part]) for part in ("reason", "message") if condition.get(part))[:300]
