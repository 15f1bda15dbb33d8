"""What keeps other sites from pressing: a form's token, where it was sent from, and headers that browsers obey."""

from collections.abc import Sequence
from typing import Annotated

from fastapi import Form, Request
from itsdangerous import BadData, URLSafeTimedSerializer
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from kafka_runbooks.page.identity import Person

FORM_SECONDS = 12 * 3600
"""How long a form may be open before it is sent."""
MOST_BODY_BYTES = 1_000_000
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "form-action 'self'; frame-ancestors 'none'; base-uri 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}
"""`same-origin`, since with `no-referrer` browsers hide the origin of forms too."""

FormToken = Annotated[str, Form(max_length=2000, description="the token of the form, as the page has it")]


class Forged(Exception):
    """A form that this page hasn't made for this person."""


def form_token(keys: Sequence[str], person: Person, path: str) -> str:
    """What the form for `path` carries. Other sites can't read it, and it is of no use to other people."""
    token = _serializer(keys).dumps([person.name, path])
    return token.decode() if isinstance(token, bytes) else token


def check_form(request: Request, keys: Sequence[str], person: Person, token: str, page_url: str) -> None:
    """Make sure that this page has made the form, for this person.

    Raises:
        Forged: it hasn't.
    """
    origin, site = request.headers.get("origin"), request.headers.get("sec-fetch-site")
    if (origin is not None and origin != page_url) or site not in (None, "same-origin"):
        raise Forged("this was sent by another site")
    try:
        found = _serializer(keys).loads(token, max_age=FORM_SECONDS)
    except BadData as error:
        raise Forged("this form is not ours, or was open for too long: load the page again") from error
    if found != [person.name, request.scope["path"]]:
        raise Forged("this form was made for somebody else: load the page again")


class TooLong(HTTPException):
    """A body that no form and no alert has."""

    def __init__(self) -> None:
        super().__init__(413, f"more than {MOST_BODY_BYTES} bytes")


class ShortBodies:
    """Reads no more of a request than a form or an alert may have, whoever sends it."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        received = 0

        async def receive_few() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > MOST_BODY_BYTES:
                raise TooLong
            return message

        await self._app(scope, receive_few, send)


class SafeHeaders:
    """Adds `HEADERS` to every response, those of errors too."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        await self._app(scope, receive, send_with_headers)


def _serializer(keys: Sequence[str]) -> URLSafeTimedSerializer:
    return URLSafeTimedSerializer(list(reversed(keys)), salt="kafka-runbooks/form")
