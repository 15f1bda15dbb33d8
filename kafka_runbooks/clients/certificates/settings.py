"""`certificates: {…}` of a cluster's entry in the clusters file: who issues the certificates of its nodes.

Several issuers may be listed, so that a change of authority is a move from what is served to another one by name.
"""

from datetime import timedelta
from typing import Annotated, Literal

from pydantic import AnyHttpUrl, Field, StringConstraints, UrlConstraints, model_validator

from kafka_runbooks.clients.security.settings import AbsolutePath, SecretsAsFiles

ObjectName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?$")]
"""The name of an object in Kubernetes."""


class PrivateSettings(SecretsAsFiles):
    """A CA whose certificate and key are in a Secret of the cluster's namespace, as `tls.crt` and `tls.key`."""

    kind: Literal["private"]
    secret: ObjectName
    lifetime_days: int = Field(default=90, ge=1, le=3650)

    @property
    def lifetime(self) -> timedelta:
        return timedelta(days=self.lifetime_days)


class KubernetesSettings(SecretsAsFiles):
    """A signer of CertificateSigningRequests (certificates.k8s.io/v1)."""

    kind: Literal["kubernetes"]
    signer: Annotated[str, StringConstraints(pattern=r"^[a-z0-9.-]+\.[a-z0-9-]+/[A-Za-z0-9._:-]+$")]
    """Its name, such as `example.com/kafka`."""
    ca_file: AbsolutePath
    """The certificates of the CA that it signs with; the API tells them to nobody."""
    approves: bool = False
    """The worker approves its own requests. Otherwise somebody else does, or a controller."""
    wait_seconds: int = Field(default=60, ge=1, le=600)
    """How long an approval and the certificate are waited for."""


class StepSettings(SecretsAsFiles):
    """A step-ca server, with a provisioner of the type JWK."""

    kind: Literal["step"]
    url: Annotated[AnyHttpUrl, UrlConstraints(allowed_schemes=["https"])]
    ca_file: AbsolutePath
    """The server's root: its own certificate is of it, and what it issues."""
    provisioner: str = Field(min_length=1)
    password_file: AbsolutePath
    """With the password of the provisioner's key, which the server hands out encrypted."""


class CertManagerSettings(SecretsAsFiles):
    """An Issuer of cert-manager in the cluster's namespace, or a ClusterIssuer."""

    kind: Literal["cert-manager"]
    issuer: ObjectName
    issuer_kind: Literal["Issuer", "ClusterIssuer"] = "Issuer"
    ca_file: AbsolutePath
    """The certificates of the CA that it signs with."""
    wait_seconds: int = Field(default=60, ge=1, le=600)
    """How long an approval and the certificate are waited for."""


IssuerSettings = Annotated[PrivateSettings | KubernetesSettings | StepSettings | CertManagerSettings, Field(discriminator="kind")]


class ClientSettings(SecretsAsFiles):
    """The Secret of one of our own clients, and what its keys are called."""

    secret: Annotated[str, StringConstraints(pattern=r"^([a-z0-9][-a-z0-9]*/)?[a-z0-9][-.a-z0-9]*$", max_length=317)]
    """`NAMESPACE/NAME` where it isn't in the cluster's namespace."""
    certificate_key: str = "tls.crt"
    key_key: str = "tls.key"
    ca_key: str = "ca.crt"


class CertificatesSettings(SecretsAsFiles):
    """The issuers by name, and the one that is asked unless a runbook is told another."""

    issuer: str
    issuers: dict[str, IssuerSettings] = Field(min_length=1)
    clients: dict[Literal["worker", "agent"], ClientSettings] = Field(default_factory=dict)
    """Our own, whose certificates are rotated along with the nodes'."""

    @model_validator(mode="after")
    def _is_known(self) -> "CertificatesSettings":
        if self.issuer not in self.issuers:
            raise ValueError(f"issuer: name one of issuers: {', '.join(self.issuers)}")
        return self
