"""A rotation of certificates: its goal, who takes part, and the one next change.

A party is a node or one of our own clients. What it presents and what it trusts is at three places: in its Secret, in its
files, into which the kubelet brings the Secret, and in the process, as handshakes show. Any change of a node's configuration
makes it read its files, a process that restarts does too, and a pod that is made anew gets the Secret: so what is at any of
the three may be in force next.

A fourth never changes while the process lives: a node's own connection to the quorum (Kafka's Raft client) presents and trusts
what the process was started with.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Generic, Literal, NamedTuple, TypeVar

Mode = Literal["renew", "change-authority", "change-names"]

T = TypeVar("T")


class Phase(StrEnum):
    """The parts of a rotation, in order; only a change of authority has all of them."""

    TRUST = "trust both authorities"
    CERTIFICATES = "new certificates"
    """Of brokers, and of our own clients."""
    RESTART_TO_TRUST = "restart: connections of the quorum trust both authorities"
    CONTROLLERS = "new certificates of controllers"
    RESTART_TO_PRESENT = "restart: connections of the quorum present new certificates"
    DROP = "drop the old authority"


@dataclass(frozen=True)
class Places(Generic[T]):
    """One thing at the three places that it has on its way; None: nobody can see it there now."""

    secret: T | None = None
    file: T | None = None
    served: T | None = None

    def known(self) -> Iterator[T]:
        """What it is at each place that can be seen: any of these may be in force now, or after a restart."""
        return (one for one in (self.secret, self.file, self.served) if one is not None)


class Presented(NamedTuple):
    """A certificate that a party presents."""

    sha256: str
    authority: str | None
    """That has issued it; None: none that is known."""
    is_wanted: bool = False
    """It is what the rotation is to bring: of the wanted authority, with the wanted names, and not the one of before."""


NOTHING = Presented("", None)
"""Of a file that can't be used, whatever certificate it has: a node doesn't load it, nor start with it."""

Trusted = frozenset[str]
"""Authorities, by SHA-256."""


@dataclass(frozen=True)
class Party:
    """A node or a client of ours, as it was seen just now."""

    name: str
    certificate: Places[Presented]
    trust: Places[Trusted]
    is_up: bool = True
    is_client: bool = False
    """It connects to nodes, and nobody connects to it."""
    is_controller: bool = False
    """Every node's connection of the quorum goes to it."""
    reloads: bool = True
    """It takes new files without a restart."""
    started_certificate: Presented | None = None
    """What its process was started with: its connection of the quorum presents that as long as it runs. None: nobody can tell."""
    started_trust: Trusted | None = None
    """The same of what that connection trusts."""
    start_is_recorded: bool = True
    """What it was started with is known, or known to be unknown; False: its agent hasn't looked yet since it started."""
    is_cut_off: bool = False
    """It is a broker that no controller lets in, with a certificate that has expired: it serves nobody, so nobody misses it."""


@dataclass(frozen=True)
class Goal:
    """What a rotation is to bring about."""

    mode: Mode
    authority: str
    """That issues the new certificates."""
    old: Trusted = frozenset()
    """Authorities that nobody is to trust any more at the end; only a change of authority has any."""
    canary: str | None = None
    """The party that the others wait for in each phase."""
    at_once: int = 5
    """Parties that change together, after the canary."""
    may_restart: bool = True
    """False: what only restarts can end is left to a later run, and both authorities are trusted until then."""
    has_controllers: bool = True
    """The quorum's connections have TLS."""
    controllers_first: bool = False
    """Without a quorum no broker comes up: where certificates have expired."""

    @property
    def phases(self) -> tuple[Phase, ...]:
        if self.mode != "change-authority":
            phases = (Phase.CERTIFICATES, Phase.CONTROLLERS)
            return phases[::-1] if self.controllers_first else phases
        if not self.has_controllers:
            return (Phase.TRUST, Phase.CERTIFICATES, Phase.DROP)
        return tuple(Phase) if self.may_restart else (Phase.TRUST, Phase.CERTIFICATES)


class Stage(StrEnum):
    """How far a party is in a phase."""

    BEFORE = "not begun"
    ARRIVES = "the kubelet brings the files"
    LOADS = "the process doesn't use them yet"
    UNSEEN = "it can't be seen"
    DONE = "proven by a handshake"


class Change(NamedTuple):
    """The next change: these parties, in this phase. None: nothing may change yet, and why."""

    phase: Phase
    names: tuple[str, ...]
    by_restart: bool = False
    why_not: tuple[str, ...] = ()
    """Why nothing may go on now; the names are empty then."""
    until: str = ""
    """What would let it go on."""
