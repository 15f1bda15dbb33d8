"""Connecting to the API server, and mapping its errors to `clients.errors`."""

import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from kubernetes import client, config
from kubernetes.client.rest import ApiException
from kubernetes.config import ConfigException
from urllib3.exceptions import HTTPError

from kafka_runbooks.clients.errors import Conflict, Refused, Unreachable


def connect() -> Any:
    """An API client: with the pod's ServiceAccount in a cluster, else with the kubeconfig."""
    try:
        config.load_incluster_config()
    except ConfigException:
        config.load_kube_config()
    return client.ApiClient()


class Connection:
    """One API client for whoever needs it, in any thread; made when it is needed first."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._client: Any = None

    def client(self) -> Any:
        with self._lock:
            if self._client is None:
                with mapped("connect"):
                    self._client = connect()
            return self._client


@contextmanager
def mapped(what: str, *, missing_ok: bool = False, hints: Mapping[int, str] | None = None) -> Iterator[None]:
    """Map the library's errors to `clients.errors`. An error's body may hold objects, so only its message is kept.

    Args:
        what: what is being done, for messages.
        missing_ok: leave the block without an error if the object doesn't exist.
        hints: for what is secret: what to say, by status, instead of that message, which may repeat what was sent.
    """
    try:
        yield
    except ApiException as error:
        if error.status == 404 and missing_ok:
            return
        words = _message(error.body) if hints is None else hints.get(error.status, "")
        message = f"{what}: {error.status} {error.reason} {words}".strip()
        cause = error if hints is None else None
        if error.status == 409:
            raise Conflict(message) from cause
        if error.status in (400, 401, 403, 404, 405, 422):
            raise Refused(message) from cause
        raise Unreachable(message) from cause
    except (HTTPError, OSError) as error:
        raise Unreachable(f"{what}: {type(error).__name__}") from (error if hints is None else None)
    except ConfigException as error:
        raise Refused(f"{what}: {error}") from error


def _message(body: Any) -> str:
    try:
        return str(json.loads(body)["message"])[:300]
    except (TypeError, ValueError, KeyError):
        return ""
