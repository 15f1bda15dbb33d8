"""One GET of JSON from a metrics server, with its failures mapped to `clients.errors`."""

from collections.abc import Mapping
from typing import Any

import httpx

from kafka_runbooks.clients.errors import Refused, Unreachable

TIMEOUT_SECONDS = 10.0


def get_json(client: httpx.Client, path: str, parameters: Mapping[str, str], server: str) -> dict[str, Any]:
    """Send a GET request and return the JSON object.

    Args:
        server: what messages call the server ("Prometheus http://…"). They contain nothing else of the request, since headers
            carry keys.

    Raises:
        Unreachable: no answer in time, a fault of the server, a rate limit, or no JSON object.
        Refused: the server rejects the request or its credentials.
    """
    try:
        answer = client.get(path, params=parameters)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise Unreachable(f"{server} doesn't answer: {error or type(error).__name__}") from error
    try:
        body = answer.json()
    except ValueError:
        body = None
    if answer.status_code == httpx.codes.TOO_MANY_REQUESTS:
        seconds = answer.headers.get("X-RateLimit-Reset") or answer.headers.get("Retry-After")
        raise Unreachable(f"{server}: rate limit reached" + (f", again in {seconds} s" if seconds else ""))
    if answer.is_client_error or answer.is_redirect:
        raise Refused(f"{server} answers {answer.status_code}: {_error_in(body) or answer.reason_phrase}")
    if not answer.is_success:
        raise Unreachable(f"{server} answers {answer.status_code}: {_error_in(body) or answer.reason_phrase}")
    if not isinstance(body, dict):
        raise Unreachable(f"{server} answers with something else than a JSON object: is this the API's address?")
    return body


def _error_in(body: object) -> str | None:
    """The message in an error response of Prometheus (`error`) or Datadog (`error`, `errors`)."""
    if not isinstance(body, dict):
        return None
    errors = body.get("error") or body.get("errors")
    if isinstance(errors, list):
        errors = ", ".join(map(str, errors))
    return errors[:500] if isinstance(errors, str) else None
