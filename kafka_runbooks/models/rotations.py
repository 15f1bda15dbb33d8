"""A rotation of certificates: its goal, who takes part, and the one next change.

A party is a node or one of our own clients. What it presents and what it trusts is at three places: in its Secret, in its
files, into which the kubelet brings the Secret, and in the process, as handshakes show. A process that restarts reads its
files, and a pod that is made anew gets the Secret: so what is at any of the three may be in force next.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Generic, Literal, NamedTuple, TypeVar

Mode = Literal["renew", "change-authority", "change-names"]

T = TypeVar("T")


class Phase(StrEnum):
    """The parts of a rotation, in order; only a change of authority has all three."""

    TRUST = "trust both authorities"
    CERTIFICATES = "new certificates"
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
    reloads: bool = True
    """It reads new files without a restart."""
    goes_last: bool = False
    """The active controller: the others restart before it."""


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

    @property
    def phases(self) -> tuple[Phase, ...]:
        return tuple(Phase) if self.mode == "change-authority" else (Phase.CERTIFICATES,)


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
