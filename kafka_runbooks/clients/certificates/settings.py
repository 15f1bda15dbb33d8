"""`certificates: {…}` of a cluster's entry in the clusters file: who issues the certificates of its nodes.

Several issuers may be listed, so that a change of authority is a move from what is served to another one by name.
"""

from datetime import timedelta
from typing import Annotated, Literal

from pydantic import Field, StringConstraints, model_validator

from kafka_runbooks.clients.security.settings import SecretsAsFiles

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


IssuerSettings = PrivateSettings


class CertificatesSettings(SecretsAsFiles):
    """The issuers by name, and the one that is asked unless a runbook is told another."""

    issuer: str
    issuers: dict[str, IssuerSettings] = Field(min_length=1)

    @model_validator(mode="after")
    def _is_known(self) -> "CertificatesSettings":
        if self.issuer not in self.issuers:
            raise ValueError(f"issuer: name one of issuers: {', '.join(self.issuers)}")
        return self
