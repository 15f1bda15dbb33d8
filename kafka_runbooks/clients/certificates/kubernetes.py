"""Kubernetes' own API for certificates: a CertificateSigningRequest, somebody's approval, and a signer's answer.

Which signer answers is in the request. The controller-manager has some built in, and all of them are made for Kubernetes itself:
none issues a certificate that is for servers and clients at once. So a broker that presents its certificate to others needs the
signer of somebody else, such as cert-manager's.

A request is deleted once it is answered or given up. One whose worker has died is deleted by Kubernetes: after an hour if it
was approved, else after a day; its key is in nobody's hands then.
"""

import base64
import time
import uuid
from typing import Any

from cryptography.x509.oid import NameOID
from kubernetes import client

from kafka_runbooks.clients.certificates import leaves
from kafka_runbooks.clients.certificates.protocols import Leaf, LeafRequest
from kafka_runbooks.clients.certificates.settings import KubernetesSettings
from kafka_runbooks.clients.errors import ClientError, Conflict, Refused, Unreachable
from kafka_runbooks.clients.kubernetes.connection import Connection, mapped

TIMEOUT_SECONDS = 10
LOOK_EVERY_SECONDS = 0.5
LEAST_SECONDS = 600
"""The shortest lifetime that may be asked for."""
APPROVED = {
    "type": "Approved",
    "status": "True",
    "reason": "KafkaRunbooks",
    "message": "asked for by a rotation of certificates",
}
SERVING, CLIENT = "kubernetes.io/kubelet-serving", "kubernetes.io/kube-apiserver-client"


class KubernetesIssuer:
    """`Issuer` by a signer of CertificateSigningRequests."""

    def __init__(self, connection: Connection, settings: KubernetesSettings) -> None:
        self._connection = connection
        self._settings = settings

    def authorities(self) -> tuple[str, ...]:
        return tuple(map(leaves.pem, leaves.authorities(self._settings.ca_file)))

    def check(self, request: LeafRequest) -> None:
        leaves.authorities(self._settings.ca_file)
        leaves.subject(request)
        leaves.extensions(request)
        if fault := _fault(self._settings.signer, request):
            raise Refused(f"signer {self._settings.signer}: {fault}")

    def issue(self, request: LeafRequest) -> Leaf:
        self.check(request)
        key = leaves.new_key()
        name = f"kafka-runbooks-{uuid.uuid4()}"
        try:
            self._create(name, request, leaves.signing_request(request, key))
            chain = leaves.certificates(self._answer(name), f"the answer of signer {self._settings.signer}")
        finally:
            self._delete(name)
        return leaves.leaf(request, key, chain, leaves.authorities(self._settings.ca_file))

    @property
    def _api(self) -> Any:
        return client.CertificatesV1Api(self._connection.client())

    def _create(self, name: str, request: LeafRequest, signing_request: str) -> None:
        spec: dict[str, Any] = {
            "request": base64.b64encode(signing_request.encode()).decode(),
            "signerName": self._settings.signer,
            "usages": leaves.usages(request),
        }
        if request.lifetime is not None:
            spec["expirationSeconds"] = max(LEAST_SECONDS, int(request.lifetime.total_seconds()))
        body = {"metadata": {"name": name}, "spec": spec}
        with mapped(f"create CertificateSigningRequest for {self._settings.signer}"):
            self._api.create_certificate_signing_request(body, _request_timeout=TIMEOUT_SECONDS)

    def _answer(self, name: str) -> bytes:
        """The certificate, once it is there."""
        deadline = time.monotonic() + self._settings.wait_seconds
        while True:
            with mapped(f"CertificateSigningRequest {name}"):
                found = self._api.read_certificate_signing_request(name, _request_timeout=TIMEOUT_SECONDS)
            conditions = {one.type: one for one in found.status.conditions or ()}
            for kind in ("Denied", "Failed"):
                if kind in conditions:
                    why = ": ".join(filter(None, (conditions[kind].reason, conditions[kind].message)))
                    raise Refused(
                        f"signer {self._settings.signer}: the request was {'denied' if kind == 'Denied' else 'failed'}: {why}"
                    )
            if found.status.certificate:
                return base64.b64decode(found.status.certificate)
            is_approved = "Approved" in conditions
            if not is_approved and self._settings.approves:
                self._approve(name, found.metadata.resource_version)
                continue
            if time.monotonic() >= deadline:
                missing = "signed the request: is its controller running?"
                if not is_approved:
                    missing = "approved the request; approve the next one (`kubectl get csr`, `kubectl certificate approve NAME`)"
                raise Unreachable(f"signer {self._settings.signer}: in {self._settings.wait_seconds} s nobody has {missing}")
            time.sleep(LOOK_EVERY_SECONDS)

    def _approve(self, name: str, version: str) -> None:
        body = {"metadata": {"resourceVersion": version}, "status": {"conditions": [APPROVED]}}
        try:
            with mapped(f"approve a CertificateSigningRequest for {self._settings.signer}"):
                self._api.patch_certificate_signing_request_approval(name, body, _request_timeout=TIMEOUT_SECONDS)
        except Conflict:
            pass  # Somebody else was there first; what he said is read next.

    def _delete(self, name: str) -> None:
        try:
            with mapped(f"delete CertificateSigningRequest {name}", missing_ok=True):
                self._api.delete_certificate_signing_request(name, _request_timeout=TIMEOUT_SECONDS)
        except ClientError:
            pass  # Kubernetes does, an hour later.


def _fault(signer: str, request: LeafRequest) -> str | None:
    """Why one of Kubernetes' own signers won't issue it (kube-controller-manager's `csrsigning`)."""
    if not signer.startswith("kubernetes.io/"):
        return None
    if signer == SERVING:
        name = leaves.subject(request)
        organizations = [one.value for one in name.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)]
        common = [str(one.value) for one in name.get_attributes_for_oid(NameOID.COMMON_NAME)]
        if request.usages != {"server"}:
            return "issues certificates for servers only; that of a broker which presents it to others is for clients too"
        if organizations != ["system:nodes"] or not (common and common[0].startswith("system:node:")):
            return f"issues for O=system:nodes and a CN that begins with system:node: only, not for {request.subject}"
        return None if request.names else "issues for DNS names or IP addresses only, and there is none"
    if signer == CLIENT:
        return None if request.usages == {"client"} else "issues certificates for clients only"
    if signer == "kubernetes.io/legacy-unknown":
        return "can't be asked by certificates.k8s.io/v1"
    return "issues for Kubernetes' own parts only"
