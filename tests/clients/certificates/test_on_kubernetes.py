"""Secrets and CertificateSigningRequests on a real API server, with the rights that the worker is deployed with.

The controller-manager signs for Kubernetes' own signers. For one of somebody else's, `signer` below does what such controllers
do: it signs what is approved, as it was asked for.
"""

import base64
import contextlib
import threading
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from kubernetes import client

from kafka_runbooks.clients.certificates import kubernetes as module
from kafka_runbooks.clients.certificates.kubernetes import KubernetesIssuer
from kafka_runbooks.clients.certificates.private import PrivateIssuer
from kafka_runbooks.clients.certificates.protocols import LeafRequest
from kafka_runbooks.clients.certificates.settings import KubernetesSettings, PrivateSettings
from kafka_runbooks.clients.errors import Conflict, Refused, Unreachable
from kafka_runbooks.clients.kubernetes.secrets import KubernetesSecrets
from tests.clients.certificates.authorities import Authority, authority
from tests.clients.certificates.local_kubernetes import LocalKubernetes, secret, wait_until

pytestmark = pytest.mark.timeout(2_400)  # the first one may have to build what it starts

OURS = "example.com/kafka"
REQUEST = LeafRequest("CN=kafka-events-0,O=example", ("kafka-events-0.kafka.svc", "10.0.0.7"))
NODE = LeafRequest("CN=system:node:kafka-events-0,O=system:nodes", REQUEST.names, usages=frozenset({"server"}))


@pytest.fixture
def secrets(api_server: LocalKubernetes) -> KubernetesSecrets:
    return KubernetesSecrets("kafka", api_server.connection())


def test_a_secret_is_changed_key_by_key_and_only_in_the_version_that_was_read(
    api_server: LocalKubernetes, secrets: KubernetesSecrets
) -> None:
    assert secrets.read("kafka-events-tls") is None
    with pytest.raises(Conflict, match="Secret kafka-events-tls in namespace kafka was deleted"):
        secrets.write("kafka-events-tls", {"a": b"1"}, "1")
    api_server.apply(secret("kafka-events-tls", {"a.pem": b"a", "b.pem": b"b", "c.pem": b"c"}))
    found = secrets.read("kafka-events-tls")
    assert found is not None
    version = secrets.write("kafka-events-tls", {"a.pem": b"new", "b.pem": None}, found.version)
    with pytest.raises(Conflict, match="someone else has changed it"):
        secrets.write("kafka-events-tls", {"c.pem": b"lost"}, found.version)
    again = secrets.read("kafka-events-tls")
    assert again is not None and again.data == {"a.pem": b"new", "c.pem": b"c"} and again.version == version


def test_no_other_secret_is_reached_and_no_ca_is_changed(api_server: LocalKubernetes, secrets: KubernetesSecrets) -> None:
    api_server.apply(secret("somebody-else", {"password": b"p"}), secret("kafka-ca", authority().secret))
    with pytest.raises(Refused, match=r"Secret somebody-else in namespace kafka: 403 Forbidden .*does the worker's Role name it"):
        secrets.read("somebody-else")
    found = secrets.read("kafka-ca")
    assert found is not None
    with pytest.raises(Refused, match="403"):
        secrets.write("kafka-ca", {"tls.crt": b""}, found.version)
    leaf = PrivateIssuer(secrets, PrivateSettings(kind="private", secret="kafka-ca")).issue(REQUEST)
    assert x509.load_pem_x509_certificates(leaf.chain.encode())[0].subject.rfc4514_string() == REQUEST.subject


class Signer(threading.Thread):
    """Signs what is approved for `example.com/kafka`, with an intermediate CA."""

    def __init__(self, api: Any) -> None:
        super().__init__(daemon=True)
        self._api = client.CertificatesV1Api(api)
        self._ended = threading.Event()
        self.root = authority("Root")
        self.middle = authority("Middle", above=self.root)
        self.asked: list[Any] = []

    def run(self) -> None:
        while not self._ended.wait(0.2):
            for found in self._api.list_certificate_signing_request(field_selector=f"spec.signerName={OURS}").items:
                conditions = {one.type for one in found.status.conditions or ()}
                if conditions == {"Approved"} and not found.status.certificate:
                    self.asked.append(found.spec)
                    body = {"status": {"certificate": base64.b64encode(self._signed(found)).decode()}}
                    self._api.patch_certificate_signing_request_status(found.metadata.name, body)

    def _signed(self, found: Any) -> bytes:
        request = x509.load_pem_x509_csr(base64.b64decode(found.spec.request))
        ca = self.middle.certificate
        builder = (
            x509.CertificateBuilder()
            .subject_name(request.subject)
            .issuer_name(ca.subject)
            .public_key(request.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(ca.not_valid_before_utc)
            .not_valid_after(ca.not_valid_before_utc + timedelta(days=2))
        )
        for extension in request.extensions:
            builder = builder.add_extension(extension.value, extension.critical)
        return builder.sign(self.middle.key, hashes.SHA256()).public_bytes(Encoding.PEM) + self.middle.pem

    def end(self) -> None:
        self._ended.set()
        self.join()


@pytest.fixture(scope="module")
def signer(api_server: LocalKubernetes) -> Iterator[Signer]:
    running = Signer(api_server.connection("admin").client())
    running.start()
    yield running
    running.end()


def issuer(kubernetes: LocalKubernetes, made: Authority, user: str | None = None, **settings: object) -> KubernetesIssuer:
    path = kubernetes.folder / "ca.pem"
    path.write_bytes(made.pem)
    entry = {"kind": "kubernetes", "signer": OURS, "ca_file": path, **settings}
    connection = kubernetes.connection() if user is None else kubernetes.connection(user)
    return KubernetesIssuer(connection, KubernetesSettings.model_validate(entry))


def requests(kubernetes: LocalKubernetes) -> list[str]:
    return kubernetes.kubectl("get", "csr", "-o", "name").split()


def test_a_request_that_the_worker_approves_is_issued_and_leaves_nothing(api_server: LocalKubernetes, signer: Signer) -> None:
    one = issuer(api_server, signer.root, approves=True)
    leaf = one.issue(LeafRequest(REQUEST.subject, REQUEST.names, timedelta(hours=5)))
    chain = x509.load_pem_x509_certificates(leaf.chain.encode())
    assert [found.subject.rfc4514_string() for found in chain] == [REQUEST.subject, "CN=Middle"]
    assert one.authorities() == (signer.root.pem.decode(),)
    asked = signer.asked[-1]
    assert asked.expiration_seconds == 5 * 3600 and asked.usages == ["digital signature", "server auth", "client auth"]
    assert requests(api_server) == []


@contextlib.contextmanager
def person_says(kubernetes: LocalKubernetes, verb: str) -> Iterator[None]:
    """Somebody who approves or denies the next request."""

    def speak() -> None:
        wait_until("a request", lambda: bool(requests(kubernetes)))
        kubernetes.kubectl("certificate", verb, *(name.rpartition("/")[2] for name in requests(kubernetes)))

    person = threading.Thread(target=speak)
    person.start()
    yield
    person.join()


def test_somebody_else_s_approval_is_waited_for(api_server: LocalKubernetes, signer: Signer) -> None:
    with person_says(api_server, "approve"):
        assert issuer(api_server, signer.root).issue(REQUEST).chain.count("BEGIN CERTIFICATE") == 2
    assert requests(api_server) == []


def test_a_denial_is_told(api_server: LocalKubernetes, signer: Signer) -> None:
    denied = r"signer example.com/kafka: the request was denied: KubectlDeny: This CSR was denied"
    with person_says(api_server, "deny"), pytest.raises(Refused, match=denied):
        issuer(api_server, signer.root).issue(REQUEST)
    assert requests(api_server) == []


def test_without_an_approval_or_a_signer_it_ends_in_time_and_says_which(api_server: LocalKubernetes) -> None:
    with pytest.raises(Unreachable, match="in 1 s nobody has approved the request; approve the next one"):
        issuer(api_server, authority(), wait_seconds=1).issue(REQUEST)
    with pytest.raises(Unreachable, match="in 1 s nobody has signed the request: is its controller running"):
        issuer(api_server, authority(), "admin", approves=True, wait_seconds=1, signer="example.com/away").issue(REQUEST)
    with pytest.raises(
        Refused, match=r"approve a CertificateSigningRequest for example.com/away: 403 .*not permitted to approve"
    ):
        issuer(api_server, authority(), approves=True, wait_seconds=1, signer="example.com/away").issue(REQUEST)
    assert requests(api_server) == []


def test_an_answer_of_another_ca_than_everybody_is_told_to_trust_is_refused(api_server: LocalKubernetes, signer: Signer) -> None:
    with pytest.raises(Refused, match="can't be used: it isn't of the CA in ca_file"):
        issuer(api_server, authority("Another"), approves=True).issue(REQUEST)


BUILT_IN = [
    ("kubernetes.io/kubelet-serving", NODE, None),
    ("kubernetes.io/kubelet-serving", REQUEST, "issues certificates for servers only"),
    ("kubernetes.io/kubelet-serving", LeafRequest(REQUEST.subject, REQUEST.names, usages=NODE.usages), "O=system:nodes"),
    ("kubernetes.io/kubelet-serving", LeafRequest(NODE.subject, (), usages=NODE.usages), "there is none"),
    ("kubernetes.io/kube-apiserver-client", LeafRequest("CN=a", ("a",), usages=frozenset({"client"})), None),
    ("kubernetes.io/kube-apiserver-client", REQUEST, "issues certificates for clients only"),
    ("kubernetes.io/kube-apiserver-client-kubelet", REQUEST, "issues for Kubernetes' own parts only"),
    ("kubernetes.io/legacy-unknown", REQUEST, "can't be asked by certificates.k8s.io/v1"),
]


@pytest.mark.parametrize(("name", "request_", "why"), BUILT_IN)
def test_kubernetes_own_signers_issue_exactly_what_is_not_refused_beforehand(
    api_server: LocalKubernetes, monkeypatch: pytest.MonkeyPatch, name: str, request_: LeafRequest, why: str | None
) -> None:
    one = issuer(api_server, api_server.signer, "admin", approves=True, signer=name)
    if why is None:
        assert one.issue(request_).chain
    else:
        for call in (one.check, one.issue):
            with pytest.raises(Refused, match=f"signer {name}: .*{why}"):
                call(request_)
        monkeypatch.setattr(module, "_fault", lambda *_: None)
        with pytest.raises(Refused, match=r"the request was failed: SignerValidationFailure|422|403"):
            one.issue(request_)
    assert requests(api_server) == []
