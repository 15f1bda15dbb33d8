"""Tokens for OAUTHBEARER, by the client-credentials grant (RFC 6749, 4.4) as KIP-768 has it.

Both libraries have a way of their own to ask for one. Asked here, one token serves both, the secret is read anew for each, and
what goes wrong is said in the same words.
"""

import threading
import time
from dataclasses import dataclass

import httpx

from kafka_runbooks.clients.errors import Refused, Unreachable
from kafka_runbooks.clients.security.files import read_secret, tls_context
from kafka_runbooks.clients.security.settings import OAuthSasl

TIMEOUT_SECONDS = 5.0
USED_FOR = 0.8
"""The share of a token's lifetime after which another one is asked for."""


@dataclass(frozen=True)
class _Token:
    text: str
    ends_at: float
    """Unix seconds."""
    renewed_at: float
    """By a monotonic clock, as is the next."""
    useless_at: float


class TokenSource:
    """Tokens of one client; any number of threads may use it. It is a token provider to kafka-python, too."""

    def __init__(self, settings: OAuthSasl) -> None:
        self._settings = settings
        self._lock = threading.Lock()
        self._token: _Token | None = None

    def token(self) -> str:
        """A token that is valid for a while.

        Raises:
            Unreachable: the endpoint doesn't answer.
            Refused: it refuses the client.
        """
        return self._current().text

    def extensions(self) -> dict[str, str]:
        """None; kafka-python asks."""
        return {}

    def for_librdkafka(self, _: object) -> tuple[str, float]:
        """A token and its end in Unix seconds, as an `oauth_cb` returns them."""
        found = self._current()
        return found.text, found.ends_at

    def _current(self) -> _Token:
        with self._lock:
            if self._token is None or time.monotonic() >= self._token.renewed_at:
                try:
                    self._token = self._ask()
                except Unreachable:
                    if self._token is None or time.monotonic() >= self._token.useless_at:
                        raise
            return self._token

    def _ask(self) -> _Token:
        settings, url = self._settings, str(self._settings.token_endpoint_url)
        form = {"grant_type": "client_credentials"} | ({"scope": settings.scope} if settings.scope else {})
        secret = read_secret(settings.client_secret_file, "sasl.client_secret_file")
        verify = tls_context(settings.ca_file, "sasl.ca_file")
        try:
            answer = httpx.post(
                url, data=form, auth=(settings.client_id, secret), timeout=TIMEOUT_SECONDS, verify=verify, trust_env=False
            )
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise Unreachable(f"the token endpoint {url} doesn't answer: {error or type(error).__name__}") from error
        if answer.is_client_error and answer.status_code != httpx.codes.TOO_MANY_REQUESTS:
            raise Refused(
                f"the token endpoint {url} refuses client_id {settings.client_id} with status {answer.status_code}"
                f"{_error_code(answer)}: check client_id, client_secret_file and scope"
            )
        if not answer.is_success:
            raise Unreachable(f"the token endpoint {url} answers with status {answer.status_code}")
        try:
            text, seconds = str(answer.json()["access_token"]), float(answer.json().get("expires_in", 0)) or 60.0
        except (ValueError, KeyError, TypeError, AttributeError):
            raise Unreachable(f"the token endpoint {url} answers without a token: is this its address?") from None
        now = time.monotonic()
        return _Token(text, time.time() + seconds, now + USED_FOR * seconds, now + seconds)


def _error_code(answer: httpx.Response) -> str:
    """RFC 6749's `error`. Its description is left out: some servers repeat what was sent."""
    try:
        code = answer.json()["error"]
    except (ValueError, KeyError, TypeError):
        return ""
    return f" ({code})" if isinstance(code, str) and code.isidentifier() else ""
