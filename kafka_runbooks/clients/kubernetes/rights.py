"""The worker's rights: which calls of `api` and `secrets` need, and those of a cluster's issuers, and which of them are missing.

The API server is asked about each (SelfSubjectAccessReview), which everybody may. What is listed here is what `deploy/kubernetes`
grants; a test compares both with the calls.
"""

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

from kubernetes import client

from kafka_runbooks.clients.certificates.settings import (
    CertificatesSettings,
    CertManagerSettings,
    IssuerSettings,
    KubernetesSettings,
    PrivateSettings,
)
from kafka_runbooks.clients.kubernetes.connection import Connection, mapped
from kafka_runbooks.models.kubernetes import ApiServer
from kafka_runbooks.models.rights import Right

TIMEOUT_SECONDS = 10

IN_THE_NAMESPACE = (
    ("", "pods", ("list", "patch", "delete")),
    ("", "pods/log", ("get",)),
    ("", "persistentvolumeclaims", ("get", "delete")),
    ("apps", "statefulsets", ("list",)),
    ("apps", "statefulsets/scale", ("patch",)),
    ("policy", "poddisruptionbudgets", ("list",)),
    ("", "configmaps", ("get", "list", "create", "update", "delete")),
    ("", "events", ("create", "patch")),
)
"""API group, resource and verbs, in the namespace of the Kafka cluster."""
EVERYWHERE = (
    ("", "nodes", ("get", "list", "patch")),
    ("", "persistentvolumes", ("get", "list", "delete")),
)
"""What has no namespace."""


def of_worker(namespace: str) -> tuple[Right, ...]:
    """What the worker needs for any cluster whose pods are in this namespace."""
    return (
        *(Right(group, resource, verb, namespace) for group, resource, verbs in IN_THE_NAMESPACE for verb in verbs),
        *(Right(group, resource, verb) for group, resource, verbs in EVERYWHERE for verb in verbs),
    )


def for_certificates(settings: CertificatesSettings, namespace: str, secrets: Iterable[str]) -> tuple[Right, ...]:
    """What it needs besides to rotate certificates.

    Args:
        settings: of the cluster's entry.
        namespace: of the cluster.
        secrets: those with the nodes' certificates.
    """
    changed = {(namespace, name) for name in secrets}
    for one in settings.clients.values():
        elsewhere, _, name = one.secret.rpartition("/")
        changed.add((elsewhere or namespace, name))
    return (
        *(Right("", "secrets", verb, where, name) for where, name in sorted(changed) for verb in ("get", "patch")),
        *dict.fromkeys(right for issuer in settings.issuers.values() for right in _of_issuer(issuer, namespace)),
    )


def _of_issuer(issuer: IssuerSettings, namespace: str) -> Iterator[Right]:
    match issuer:
        case PrivateSettings():
            yield Right("", "secrets", "get", namespace, issuer.secret)
        case KubernetesSettings():
            group, requests = "certificates.k8s.io", "certificatesigningrequests"
            yield from (Right(group, requests, verb) for verb in ("create", "get", "delete"))
            if issuer.approves:
                yield Right(group, f"{requests}/approval", "patch")
                yield Right(group, "signers", "approve", name=issuer.signer)
        case CertManagerSettings():
            group = "cert-manager.io"
            yield from (Right(group, "certificaterequests", verb, namespace) for verb in ("create", "get", "delete"))
            if issuer.issuer_kind == "Issuer":
                yield Right(group, "issuers", "get", namespace)
            else:
                yield Right(group, "clusterissuers", "get")


def denied(connection: Connection, rights: Iterable[Right]) -> tuple[Right, ...]:
    """Those of these rights that whoever we are connected as doesn't have."""
    api = client.AuthorizationV1Api(connection.client())
    return tuple(right for right in rights if not _is_allowed(api, right))


def _is_allowed(api: Any, right: Right) -> bool:
    resource, _, subresource = right.resource.partition("/")
    asked = client.V1ResourceAttributes(
        group=right.group,
        resource=resource,
        subresource=subresource or None,
        verb=right.verb,
        namespace=right.namespace,
        name=right.name,
    )
    review = client.V1SelfSubjectAccessReview(spec=client.V1SelfSubjectAccessReviewSpec(resource_attributes=asked))
    with mapped(f"may we {right}"):
        answer = api.create_self_subject_access_review(review, _request_timeout=TIMEOUT_SECONDS)
    return bool(answer.status.allowed)


def server(connection: Connection) -> ApiServer:
    """Version and clock of the API server."""
    with mapped("version of the API server"):
        found, _, headers = client.VersionApi(connection.client()).get_code_with_http_info(_request_timeout=TIMEOUT_SECONDS)
    minor = "".join(letter for letter in found.minor if letter.isdecimal())  # Some clouds append a "+".
    date = headers.get("Date")
    ahead = None if date is None else (parsedate_to_datetime(date) - datetime.now(UTC)).total_seconds()
    return ApiServer(version=(int(found.major), int(minor)), clock_ahead_seconds=ahead)
