"""`zookeeper: {…}` of a cluster's entry in the clusters file: its ensemble, and how it is connected to."""

from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, model_validator

from kafka_runbooks.clients.security.settings import AbsolutePath, SecretsAsFiles, TlsSettings

DEFAULT_PORT = 2181


def split(hosts: str) -> tuple[tuple[str, ...], str]:
    """`host:port` of each member, and the chroot or an empty string, of ZooKeeper's connect string.

    Raises:
        ValueError: it isn't one; the message says why.
    """
    addresses, slash, chroot = hosts.strip().partition("/")
    found = tuple(_address(one.strip()) for one in addresses.split(","))
    if len(set(found)) != len(found):
        raise ValueError("lists an address twice; give each member of the ensemble once")
    if slash and (not chroot or "," in chroot or "//" in f"/{chroot}" or chroot.endswith("/")):
        raise ValueError("the chroot stands once, after the last host, and is a path such as /kafka")
    return found, slash + chroot


def _address(text: str) -> str:
    try:
        parts = urlsplit(f"zookeeper://{text}")
        host, port = parts.hostname, parts.port or DEFAULT_PORT
    except ValueError:
        host, port = None, 0
    if not host or any(sign in text for sign in "@?# "):
        raise ValueError("give host:port,host:port, each member of the ensemble once, then the chroot if there is one")
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _hosts(hosts: str) -> str:
    split(hosts)
    return hosts


class Credentials(SecretsAsFiles):
    """A user with a password."""

    username: str = Field(min_length=1, pattern="^[^:]+$")
    password_file: AbsolutePath


class ZookeeperSettings(SecretsAsFiles):
    """How to reach an ensemble. Files are read for each connection."""

    hosts: Annotated[str, Field(min_length=1), AfterValidator(_hosts)]
    """`host:port` of every member, separated by commas, followed by the chroot if there is one: Kafka's `zookeeper.connect`."""
    tls: TlsSettings | None = None
    """None: without TLS. Otherwise the ports are those of `secureClientPort`."""
    digest: Credentials | None = None
    """A user of the scheme `digest`, whom ACLs of znodes name. ZooKeeper takes any password: a wrong one is another user."""
    sasl: Credentials | None = None
    """A user of the servers' JAAS section `Server` (SASL DIGEST-MD5)."""

    @model_validator(mode="after")
    def _one_user(self) -> "ZookeeperSettings":
        if self.digest is not None and self.sasl is not None:
            raise ValueError("digest, sasl: give one of them")
        return self
