"""Links to a runbook in an incident: signed, so that nobody changes what they ask for, and expiring.

A link says which runbook, with which input, until when. It is no right to start it: the page wants to know who presses. Its time
(`at`) is part of the run's workflow ID, so everybody who presses the same link lands on the same run.

Keys are lines of a file. The first signs and all verify: to rotate, put a new one on top, and remove the old one once the last
link that it signed has expired.
"""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pydantic
from itsdangerous import BadData, URLSafeSerializer
from pydantic import AwareDatetime
from pydantic_settings import BaseSettings, SettingsConfigDict

from kafka_runbooks.catalogue import RUNBOOKS
from kafka_runbooks.models.base import Model
from kafka_runbooks.models.inputs import RunbookInput
from kafka_runbooks.runs import starting, validation
from kafka_runbooks.runs.durations import duration
from kafka_runbooks.runs.validation import BadInput

LEAST_CHARACTERS = 32
"""Of a key: `openssl rand -hex 32` has 64."""
MOST_VALIDITY = timedelta(days=7)
MOST_TOKEN_CHARACTERS = 8000
"""Proxies refuse URLs much longer than that."""
_SALT = "kafka-runbooks/link"


class BadKeys(Exception):
    """The keys can't be used; the message says why, and never what they are."""


class BadLink(Exception):
    """It was not signed by us, or has been changed."""


class Expired(BadLink):
    """It was ours, and is over."""


class LinkSettings(BaseSettings):
    """What makes links; from the environment variables `KAFKA_RUNBOOKS_<FIELD>`."""

    model_config = SettingsConfigDict(env_prefix="KAFKA_RUNBOOKS_")

    page_url: str | None = None
    """Where people reach the page: `https://runbooks.example.org`."""
    link_keys_file: Path | None = None


class Link(Model):
    """What a link asks for."""

    runbook: str
    """As the catalogue has it."""
    input: dict[str, Any]
    """Its fields, but for who asks: that is whoever presses."""
    made_by: str
    at: AwareDatetime
    """When what it is about began, or it was made; part of the run's workflow ID."""
    expires: AwareDatetime

    def request(self, requester: str) -> RunbookInput:
        """The runbook's input, asked for by `requester`.

        Raises:
            BadInput: this version of the runbook takes no such input.
        """
        if self.runbook not in RUNBOOKS:
            raise BadInput(f"runbook: there is no {self.runbook!r} in this version")
        return validation.validate(RUNBOOKS[self.runbook].input, {**self.input, "requester": requester})

    @property
    def workflow_id(self) -> str:
        """The ID of its run, whoever presses."""
        return starting.workflow_id(self.runbook, self.request(self.made_by), self.at)


def made(
    runbook: str, request: RunbookInput, *, validity: timedelta, at: datetime | None = None, now: datetime | None = None
) -> Link:
    """A link of a validated input.

    Args:
        runbook: as the catalogue has it.
        request: its input; the requester is who makes the link.
        validity: how long it is valid from now on.
        at: when what it is about began; default: now.
        now: the time; default: the clock's.
    """
    now = now or datetime.now(UTC)
    fields = request.model_dump(mode="json", exclude_unset=True)
    made_by = fields.pop("requester")
    return Link(runbook=runbook, input=fields, made_by=made_by, at=at or now, expires=now + validity)


def validity(text: str) -> timedelta:
    """`30m`, `4h`, `2d`.

    Raises:
        BadInput: it is none of these, or too long.
    """
    try:
        length = duration(text)
    except ValueError as error:
        raise BadInput(str(error)) from error
    if not length:
        raise BadInput(f"{text} is no time at all; give 30m, 4h or 2d")
    if length > MOST_VALIDITY:
        raise BadInput(f"{text} is too long: a link is valid for at most {MOST_VALIDITY.days}d")
    return length


def read_keys(file: Path | None) -> tuple[str, ...]:
    """The keys, the one that signs first. Empty lines and those with # are passed over.

    Raises:
        BadKeys: the file can't be read, or has no key that is long enough.
    """
    if file is None:
        raise BadKeys("KAFKA_RUNBOOKS_LINK_KEYS_FILE is not set: the file with the keys that sign links, one a line")
    try:
        lines = file.read_text().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise BadKeys(f"KAFKA_RUNBOOKS_LINK_KEYS_FILE: can't read {file}: {reason}") from error
    keys = [(number, line.strip()) for number, line in enumerate(lines, 1) if line.strip() and not line.startswith("#")]
    for number, key in keys:
        if len(key) < LEAST_CHARACTERS:
            how = "make one with `openssl rand -hex 32`"
            raise BadKeys(f"{file}: the key in line {number} has fewer than {LEAST_CHARACTERS} characters; {how}")
    if not keys:
        raise BadKeys(f"{file} has no key; make one with `openssl rand -hex 32`")
    return tuple(key for _, key in keys)


def sign(link: Link, keys: Sequence[str]) -> str:
    """The token of a link.

    Raises:
        BadInput: it would be too long for a URL.
    """
    token = _serializer(keys).dumps(link.model_dump(mode="json"))
    text = token.decode() if isinstance(token, bytes) else token
    if len(text) > MOST_TOKEN_CHARACTERS:
        raise BadInput(f"the input is too long for a link ({len(text)} characters): start it with `kafka-runbooks start`")
    return text


def read(token: str, keys: Sequence[str], now: datetime | None = None) -> Link:
    """The link of a token.

    Raises:
        Expired: it is over.
        BadLink: none of the keys has signed it.
    """
    try:
        link = Link.model_validate(_serializer(keys).loads(token[: MOST_TOKEN_CHARACTERS + 1]))
    except (BadData, pydantic.ValidationError) as error:
        raise BadLink("this link was not signed by us, or has been changed on its way") from error
    if (now or datetime.now(UTC)) >= link.expires:
        raise Expired(f"this link has expired at {link.expires.astimezone(UTC):%Y-%m-%d %H:%M} UTC")
    return link


def url(page_url: str | None, token: str) -> str:
    """Where the page shows it.

    Raises:
        BadInput: nobody has said where the page is.
    """
    parts = urlsplit(page_url or "")
    if parts.scheme not in ("http", "https") or not parts.netloc or parts.query or parts.fragment:
        raise BadInput(f"KAFKA_RUNBOOKS_PAGE_URL: {page_url!r} is not the page's URL, such as https://runbooks.example.org")
    return f"{str(page_url).rstrip('/')}/links/{token}"


def _serializer(keys: Sequence[str]) -> URLSafeSerializer:
    # itsdangerous signs with the last of its keys.
    return URLSafeSerializer(list(reversed(keys)), salt=_SALT)
