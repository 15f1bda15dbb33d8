"""Certificates from cert-manager's own controllers, on a real API server with its own CustomResourceDefinitions.

The tests at the top do without the controllers, so that somebody else can answer first. All are the soak's, for building the
controllers takes minutes: what they share with other issuers (keys, requests, waiting, refusals) `test_on_kubernetes.py` covers.
"""

import contextlib
import json
import threading
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from kafka_runbooks_lab import builds

from kafka_runbooks.clients.certificates.cert_manager import CertManagerIssuer
from kafka_runbooks.clients.certificates.kubernetes import KubernetesIssuer
from kafka_runbooks.clients.certificates.protocols import LeafRequest
from kafka_runbooks.clients.certificates.settings import CertManagerSettings, KubernetesSettings
from kafka_runbooks.clients.errors import ClientError, Refused, Unreachable
from tests.clients.certificates.authorities import Authority, authority
from tests.clients.certificates.local_kubernetes import WORKER, LocalKubernetes, secret, wait_until

pytestmark = [pytest.mark.soak, pytest.mark.timeout(2_400)]

REQUEST = LeafRequest(
    "CN=kafka-events-0,OU=brokers,O=example,L=Berlin,DC=example,DC=com",
    ("kafka-events-0.kafka.svc", "10.0.0.7"),
    timedelta(days=7),
)
SIGNER = "issuers.cert-manager.io/kafka.kafka"


@pytest.fixture(scope="module")
def installed(api_server: LocalKubernetes) -> Path:
    """What is installed of cert-manager beside its controllers; their folder."""
    folder = builds.ensure_cert_manager(print)
    api_server.kubectl("apply", "--server-side", "-f", str(folder / "crds"))
    api_server.kubectl("wait", "--for=condition=Established", "crd", "--all", "--timeout=120s")
    return folder


@pytest.fixture(scope="module")
def ca(api_server: LocalKubernetes, installed: Path) -> Authority:
    """Of an intermediate CA, the Issuer `kafka` and a ClusterIssuer; the Issuer `broken` has no Secret."""
    root = authority("Root")
    api_server.apply(secret("issuing", authority("Middle", above=root).secret))
    for kind, name, where in (
        ("Issuer", "kafka", "issuing"),
        ("Issuer", "broken", "none"),
        ("ClusterIssuer", "kafka", "issuing"),
    ):
        metadata = {"name": name} | ({"namespace": "kafka"} if kind == "Issuer" else {})
        api_server.apply(
            {"apiVersion": "cert-manager.io/v1", "kind": kind, "metadata": metadata, "spec": {"ca": {"secretName": where}}}
        )
    return root


@pytest.fixture(scope="module")
def controllers(api_server: LocalKubernetes, installed: Path, ca: Authority) -> None:
    api_server.spawn(str(installed / "certmanager"), str(api_server.kubeconfig("manager")), "kafka")

    def are_ready() -> bool:
        found = json.loads(api_server.kubectl("-n", "kafka", "get", "issuers,clusterissuers", "-o", "json"))["items"]
        return all(one.get("status", {}).get("conditions") for one in found)

    wait_until("cert-manager's issuers", are_ready, 120)


def issuer(kubernetes: LocalKubernetes, root: Authority, **settings: object) -> CertManagerIssuer:
    path = kubernetes.folder / "cert-manager.pem"
    path.write_bytes(root.pem)
    entry = {"kind": "cert-manager", "issuer": "kafka", "ca_file": path, **settings}
    return CertManagerIssuer(kubernetes.connection(), "kafka", CertManagerSettings.model_validate(entry))


def requests(kubernetes: LocalKubernetes) -> list[str]:
    return kubernetes.kubectl("-n", "kafka", "get", "certificaterequests", "-o", "name").split()


@contextlib.contextmanager
def somebody_sets(kubernetes: LocalKubernetes, *conditions: Mapping[str, str]) -> Iterator[None]:
    """Whoever answers the next request."""
    now = datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
    status = {"status": {"conditions": [{"lastTransitionTime": now, **one} for one in conditions]}}

    def answer() -> None:
        wait_until("a request", lambda: bool(requests(kubernetes)))
        (name,) = requests(kubernetes)
        kubernetes.kubectl("-n", "kafka", "patch", name, "--subresource=status", "--type=merge", "-p", json.dumps(status))

    person = threading.Thread(target=answer)
    person.start()
    yield
    person.join()


APPROVED = {"type": "Approved", "status": "True", "reason": "cert-manager.io", "message": "Certificate request has been approved"}
ANSWERS: dict[str, tuple[list[dict[str, str]], type[ClientError], str]] = {
    "denied": (
        [{"type": "Denied", "status": "True", "reason": "cmctl", "message": "not tonight"}],
        Refused,
        "the request was denied: cmctl: not tonight",
    ),
    "invalid": (
        [APPROVED, {"type": "InvalidRequest", "status": "True", "reason": "policy", "message": "no IP addresses"}],
        Refused,
        "the request was called invalid: policy: no IP addresses",
    ),
    "failed": (
        [APPROVED, {"type": "Ready", "status": "False", "reason": "Failed", "message": "Error signing certificate"}],
        Refused,
        "the request failed: Failed: Error signing certificate",
    ),
    "pending": (
        [APPROVED, {"type": "Ready", "status": "False", "reason": "Pending", "message": "Referenced secret not found"}],
        Unreachable,
        r"after 3 s the request is approved, but not answered \(Pending: Referenced secret not found\)",
    ),
}


@pytest.mark.parametrize("answer", ANSWERS)
def test_what_somebody_says_of_a_request_is_told(api_server: LocalKubernetes, ca: Authority, answer: str) -> None:
    conditions, kind, why = ANSWERS[answer]
    with somebody_sets(api_server, *conditions), pytest.raises(kind, match=f"Issuer kafka of cert-manager: {why}"):
        issuer(api_server, ca, wait_seconds=3 if kind is Unreachable else 60).issue(REQUEST)
    assert requests(api_server) == []


def test_without_its_controllers_nothing_is_issued_and_that_is_said(api_server: LocalKubernetes, ca: Authority) -> None:
    one = issuer(api_server, ca, wait_seconds=1)
    with pytest.raises(Refused, match="Issuer kafka of cert-manager isn't ready: it has no status; is cert-manager running"):
        one.check(REQUEST)
    with pytest.raises(Unreachable, match="after 1 s nobody has approved it; is cert-manager running"):
        one.issue(REQUEST)
    assert requests(api_server) == []


@pytest.mark.parametrize("kind", ["Issuer", "ClusterIssuer"])
def test_a_leaf_is_what_was_asked_for(api_server: LocalKubernetes, controllers: None, ca: Authority, kind: str) -> None:
    one = issuer(api_server, ca, issuer_kind=kind)
    one.check(REQUEST)
    leaf = one.issue(REQUEST)
    chain = x509.load_pem_x509_certificates(leaf.chain.encode())
    assert [found.subject.rfc4514_string() for found in chain] == [REQUEST.subject, "CN=Middle"]
    assert abs(chain[0].not_valid_after_utc - datetime.now(UTC) - timedelta(days=7)) < timedelta(minutes=5)
    assert one.issue(LeafRequest("CN=client", (), timedelta(hours=24), frozenset({"client"}))).chain
    assert one.authorities() == (ca.pem.decode(),) and requests(api_server) == []


def test_an_issuer_that_can_t_issue_is_told_beforehand(api_server: LocalKubernetes, controllers: None, ca: Authority) -> None:
    for settings, why in (
        ({"issuer": "kafak"}, r'Issuer kafak of cert-manager: 404 .*issuers.cert-manager.io "kafak" not found'),
        ({"issuer": "kafak", "issuer_kind": "ClusterIssuer"}, "ClusterIssuer kafak of cert-manager: 404"),
        ({"issuer": "broken"}, "Issuer broken of cert-manager isn't ready: ErrGetKeyPair: "),
    ):
        with pytest.raises(Refused, match=why):
            issuer(api_server, ca, **settings).check(REQUEST)
    with pytest.raises(Refused, match="can't be used: it isn't of the CA in ca_file"):
        issuer(api_server, authority("Another")).issue(REQUEST)


def test_it_signs_what_is_asked_for_by_kubernetes_own_api(api_server: LocalKubernetes, controllers: None, ca: Authority) -> None:
    """With the two rights beside `signing-requests.yaml` that docs/security.md names."""
    api_server.apply(
        *granted(
            "ClusterRole",
            {"apiGroups": ["certificates.k8s.io"], "resources": ["signers"], "resourceNames": [SIGNER], "verbs": ["approve"]},
        ),
        *granted(
            "Role",
            {"apiGroups": ["cert-manager.io"], "resources": ["signers"], "resourceNames": ["kafka"], "verbs": ["reference"]},
        ),
    )
    path = api_server.folder / "root.pem"
    path.write_bytes(ca.pem)
    settings = KubernetesSettings(kind="kubernetes", signer=SIGNER, ca_file=path, approves=True)
    leaf = KubernetesIssuer(api_server.connection(), settings).issue(REQUEST)
    assert x509.load_pem_x509_certificates(leaf.chain.encode())[0].subject.rfc4514_string() == REQUEST.subject


def granted(kind: str, rule: dict[str, Any]) -> list[dict[str, Any]]:
    """A role with this rule, given to the worker."""
    name = {"name": "test-cert-manager-signer"} | ({"namespace": "kafka"} if kind == "Role" else {})
    version = "rbac.authorization.k8s.io/v1"
    return [
        {"apiVersion": version, "kind": kind, "metadata": name, "rules": [rule]},
        {
            "apiVersion": version,
            "kind": f"{kind}Binding",
            "metadata": name,
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": name["name"]},
            "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": WORKER}],
        },
    ]
