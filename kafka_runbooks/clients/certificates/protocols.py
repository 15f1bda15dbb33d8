"""What `RotateCertificates` asks of the outside world beside Kafka and Kubernetes: issuers, Secrets, and handshakes.

Private keys pass through an activity's memory on their way from where they are made to the Secret, and nowhere else. What carries
one is a plain class and no model, so that nothing that workflows exchange can hold it, and its representation shows none.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Literal, Protocol

from kafka_runbooks.models.certificates import Listener, Seen

Usage = Literal["server", "client"]


@dataclass(frozen=True)
class LeafRequest:
    """What a certificate is asked for. The key is made by whoever answers."""

    subject: str
    """The distinguished name, as RFC 4514 writes it."""
    names: tuple[str, ...]
    """Subject alternative names: DNS names and IP addresses."""
    lifetime: timedelta | None = None
    """None: as long as the issuer gives it."""
    usages: frozenset[Usage] = frozenset(("server", "client"))
    """What it is for. A broker is a client too, of the others and of the controllers, unless it connects to them without it."""


@dataclass(frozen=True)
class Leaf:
    """A certificate with its private key, as PEM."""

    chain: str
    """The certificate, followed by the intermediate ones."""
    key: str = field(repr=False)
    """PKCS #8, not encrypted."""


class Issuer(Protocol):
    """One certificate authority, or what speaks for one."""

    def authorities(self) -> tuple[str, ...]:
        """The certificates (PEM) that those who verify what it issues have to trust.

        Raises:
            Unreachable: it doesn't answer.
            Refused: it isn't what it is said to be, or it refuses us.
        """

    def check(self, request: LeafRequest) -> None:
        """Find out, without having anything issued, what would make `issue` fail.

        Raises:
            Unreachable: it doesn't answer.
            Refused: it will not issue this one, as far as that can be known now.
        """

    def issue(self, request: LeafRequest) -> Leaf:
        """Have a certificate issued. It is what was asked for, and of one of the authorities: that has been looked at.

        Raises:
            Unreachable: it doesn't answer in time; what was begun there goes on or expires by itself.
            Refused: it will not issue this one.
        """


@dataclass(frozen=True)
class Secret:
    """A Secret's data, and the version in which it was read."""

    data: Mapping[str, bytes] = field(repr=False)
    version: str


class Secrets(Protocol):
    """Kubernetes Secrets of the cluster's namespace. None is created: pods need theirs before any runbook can run."""

    def read(self, name: str) -> Secret | None:
        """A Secret, or None."""

    def write(self, name: str, changes: Mapping[str, bytes | None], version: str) -> str:
        """Set keys (None removes one) if it still has this version; the new version.

        Raises:
            Conflict: someone else has written or deleted it.
        """


class Handshakes(Protocol):
    """What nodes are seen to present and to trust, by connecting to them."""

    def see(self, listeners: Sequence[Listener], authorities: Mapping[str, Leaf | None]) -> tuple[Seen, ...]:
        """Connect to each, at once, with a certificate of nobody and with one of each authority; in the given order.

        Never raises for a listener: what is wrong with it is in its `problem`. Nothing that is presented is verified here, so an
        expired certificate is seen like any other.

        Args:
            listeners: where to connect to.
            authorities: the PEM certificate of each one, and a leaf of it to connect with if there is one. A leaf that isn't
                valid now isn't used, for it would be refused whoever trusts its authority.
        """
        ...
