"""One GET of JSON from a metrics server, with what can go wrong in our own words."""

from collections.abc import Mapping
from typing import Any

import httpx

from kafka_runbooks.clients.errors import Refused, Unreachable

TIMEOUT_SECONDS = 10.0


def get_json(client: httpx.Client, path: str, parameters: Mapping[str, str], who: str) -> dict[str, Any]:
    """Ask, and return the object that is answered.

    Args:
        who: the server in words, for messages ("Prometheus http://…"). Nothing else of the request gets into one: headers
            carry keys.

    Raises:
        Unreachable: no answer in time, a fault of the server, a rate limit, or no JSON object.
        Refused: the server says that the request or its credentials are wrong.
    """
    try:
        answer = client.get(path, params=parameters)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise Unreachable(f"{who} doesn't answer: {error or type(error).__name__}") from error
    try:
        body = answer.json()
    except ValueError:
        body = None
    if answer.status_code == httpx.codes.TOO_MANY_REQUESTS:
        seconds = answer.headers.get("X-RateLimit-Reset") or answer.headers.get("Retry-After")
        raise Unreachable(f"{who}: rate limit reached" + (f", again in {seconds} s" if seconds else ""))
    if answer.is_client_error or answer.is_redirect:
        raise Refused(f"{who} answers {answer.status_code}: {_said(body) or answer.reason_phrase}")
    if not answer.is_success:
        raise Unreachable(f"{who} answers {answer.status_code}: {_said(body) or answer.reason_phrase}")
    if not isinstance(body, dict):
        raise Unreachable(f"{who} answers no JSON object: is it the API's address?")
    return body


def _said(body: object) -> str | None:
    """The error in the words of Prometheus (`error`) or Datadog (`error`, `errors`)."""
    if not isinstance(body, dict):
        return None
    said = body.get("error") or body.get("errors")
    return str(said if isinstance(said, str) else ", ".join(map(str, said)))[:500] if isinstance(said, (str, list)) else None
