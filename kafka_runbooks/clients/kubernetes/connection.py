"""Connecting to the API server, and mapping its errors to `clients.errors`."""

import json
from collections.abc import Iterator
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


@contextmanager
def mapped(what: str, *, missing_ok: bool = False) -> Iterator[None]:
    """Map the library's errors to `clients.errors`. An error's body may hold objects, so only its message is kept.

    Args:
        what: what is being done, for messages.
        missing_ok: leave the block without an error if the object doesn't exist.
    """
    try:
        yield
    except ApiException as error:
        if error.status == 404 and missing_ok:
            return
        message = f"{what}: {error.status} {error.reason} {_message(error.body)}".strip()
        if error.status == 409:
            raise Conflict(message) from error
        if error.status in (400, 401, 403, 404, 405, 422):
            raise Refused(message) from error
        raise Unreachable(message) from error
    except (HTTPError, OSError) as error:
        raise Unreachable(f"{what}: {type(error).__name__}") from error
    except ConfigException as error:
        raise Refused(f"{what}: {error}") from error


def _message(body: Any) -> str:
    try:
        return str(json.loads(body)["message"])[:300]
    except (TypeError, ValueError, KeyError):
        return ""
