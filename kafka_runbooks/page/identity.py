"""Who looks and presses: told by a proxy that proves itself, or by OIDC; never by the link."""

import hmac
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Protocol

from fastapi import Depends, Request

from kafka_runbooks.page.settings import PageSettings, secret

SECRET_HEADER = "X-Proxy-Secret"
MOST_CHARACTERS = 200
SESSION_USER = "user"


class Unknown(Exception):
    """Nobody has said who this is."""


@dataclass(frozen=True)
class Person:
    """Somebody who was identified."""

    name: str


class Identity(Protocol):
    """How people are identified."""

    can_log_in: bool
    """Whether the page itself can ask who it is."""

    def person(self, request: Request) -> Person:
        """Who sends a request.

        Raises:
            Unknown: nobody knows.
        """


def same(given: str, wanted: str) -> bool:
    """Whether a secret is right, in a time that doesn't tell how much of it is."""
    return hmac.compare_digest(given.encode(), wanted.encode())


class ProxyIdentity:
    """A proxy in front of the page has identified them. Anybody can send its header; only the proxy has its secret."""

    can_log_in = False

    def __init__(self, settings: PageSettings) -> None:
        assert settings.proxy_secret_file is not None
        self._file = settings.proxy_secret_file
        self._header = settings.proxy_user_header

    def person(self, request: Request) -> Person:
        """Who sends a request.

        Raises:
            Unknown: the secret is missing or wrong, or there isn't exactly one name.
        """
        secrets = request.headers.getlist(SECRET_HEADER)
        is_proxy = same(secrets[0] if len(secrets) == 1 else "", secret(self._file))
        if not is_proxy:
            raise Unknown("this didn't come through the proxy that says who you are")
        return Person(_name(request.headers.getlist(self._header)))


class SessionIdentity:
    """They have logged in at the OIDC provider (`page.oidc`), which a signed cookie remembers."""

    can_log_in = True

    def person(self, request: Request) -> Person:
        """Who sends a request.

        Raises:
            Unknown: they haven't logged in.
        """
        user = request.session.get(SESSION_USER)
        if not isinstance(user, str):
            raise Unknown("you are not logged in")
        return Person(user)


def _name(given: Sequence[str]) -> str:
    """The one name. Two headers mean that the proxy has passed on one that somebody else wrote."""
    if len(given) != 1:
        raise Unknown("the proxy doesn't say who you are, or says it twice")
    return checked(given[0])


def checked(name: str) -> str:
    """A name that can be recorded and shown.

    Raises:
        Unknown: it can't.
    """
    name = name.strip()
    if not name or len(name) > MOST_CHARACTERS or any(unicodedata.category(one).startswith("C") for one in name):
        raise Unknown("what should be your name is none")
    return name


def _person(request: Request) -> Person:
    identity: Identity = request.app.state.identity
    return identity.person(request)


KnownPerson = Annotated[Person, Depends(_person)]
"""Asks who sends the request, before anything else is done for it."""
