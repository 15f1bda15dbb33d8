"""Certificates as runbooks speak of them: what is public of one, and what a listener was seen to present and to trust.

A certificate authority is named by the SHA-256 of its certificate, for two can have the same subject. Whether a listener trusts
one is known only by asking: a client with a certificate of that authority connects, and reads, for with TLS 1.3 a server refuses
a client only after the handshake.
"""

from datetime import datetime
from typing import Literal

from pydantic import Field

from kafka_runbooks.models.base import Line, Model


class Certificate(Model):
    """What is public of a certificate."""

    subject: str
    """The distinguished name, as RFC 4514 writes it; so is the issuer's."""
    issuer: str
    serial: str
    """In hexadecimal, as openssl prints it."""
    sha256: str
    """Of the whole certificate, in hexadecimal."""
    names: tuple[str, ...] = ()
    """Subject alternative names: DNS names and IP addresses."""
    not_before: datetime
    not_after: datetime


class Listener(Model):
    """Where one node is connected to by TLS."""

    node_id: int
    name: str
    """Kafka's name of the listener, in capital letters."""
    host: str
    port: int
    is_controller: bool = False
    """A controller's: asked for a reload itself, for brokers don't pass that on."""
    network_threads: int = 3
    """Kafka's `num.network.threads`: each reloads by itself, and connections go to them in turn."""


class Seen(Model):
    """What handshakes with one listener show."""

    listener: Listener
    chain: tuple[Certificate, ...] = ()
    """The node's certificate and those above it that it sends along; empty if no handshake got that far."""
    authority: str | None = None
    """The authority, of those asked about, that has issued the certificate; None if none of them has."""
    trusts: dict[str, bool] = Field(default_factory=dict)
    """By authority: whether a client with a certificate of it is let in. Left out: one that there was no certificate of, and one
    about which connections differ."""
    asks_for_certificates: bool = True
    """False: it lets in anybody, so nothing is known of whom it trusts."""
    is_settled: bool = True
    """All connections showed the same. If not, a reload is under way: look again."""
    problem: Line | None = None
    """Why nothing, or not all, could be seen: it doesn't answer, or speaks no TLS."""


class Stores(Model):
    """A listener with TLS, and the files that its node reads its certificate, and the authorities that it trusts, from."""

    listener: Listener
    keystore: str
    """A path in the node's file system, as Kafka's `ssl.keystore.location` has it."""
    truststore: str | None = None
    is_pem: bool = True
    """Both files are PEM; other formats have a password, and are left alone."""
    client_authentication: Literal["required", "requested", "none"] = "required"
    """Kafka's `ssl.client.auth`: what a listener trusts can be seen only where it asks for certificates."""


class TlsFiles(Model):
    """What a pod's agent has found in the TLS files of the Kafka process, or of the member of a ZooKeeper ensemble, beside it."""

    pod_uid: str
    sha256: dict[str, str] = Field(default_factory=dict)
    """Path -> the digest of the public certificates in it (`clients.certificates.pem.digest`)."""
    changed_at: dict[str, datetime] = Field(default_factory=dict)
    """Path -> when its content came, by the clock of the node."""
    unusable: tuple[str, ...] = ()
    """Paths that there is nothing at, or nothing in PEM, or a key that isn't the certificate's."""
    started_with: dict[str, str] = Field(default_factory=dict)
    """The same as it was when the Kafka process started: its connection of the quorum goes by that. Empty: nobody knows."""
    started_at: datetime | None = None
    """When that was; an earlier process's says nothing."""
    lasts: tuple[datetime, datetime] | None = None
    """From when to when the certificate in the keystore is valid; of several, the one that ends first."""
    started_lasts: tuple[datetime, datetime] | None = None
    """The same of what it was started with: before the end, the process has to be restarted."""
    own_sha256: dict[str, str] = Field(default_factory=dict)
    """The same of the agent's own client files: `certificate` and `ca`."""

    def is_of_process(self, started_at: datetime | None) -> bool:
        """Whether what it was started with is told of the process that has run since then."""
        return self.started_at is not None and started_at is not None and self.started_at >= started_at


class ClientHandshake(Model):
    """A client that has connected to a broker, as the broker's Java logs it."""

    host: str
    subject: str
    issuer: str


class ClientSecret(Model):
    """The Secret of one of our own clients' certificates, and its keys."""

    name: str
    """`worker`, `agent`."""
    secret: str
    """`NAMESPACE/NAME` where it isn't in the cluster's namespace."""
    certificate_key: str = "tls.crt"
    key_key: str = "tls.key"
    ca_key: str = "ca.crt"
