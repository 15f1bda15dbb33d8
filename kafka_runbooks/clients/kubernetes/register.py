"""The register of brokers, one ConfigMap a cluster: pod name -> broker ID, and what must outlive the pods.

Agents write it, runbooks read it. It is what remains known of a broker when its pod and its node are gone: which rack it was in,
and on which machine. Under `<pod>` it has the ID, under `<pod>.start` the last start as JSON, under `<pod>.file` how the broker's
properties file has changed since, and under `<pod>.tls` what its TLS files hold.
"""

import logging
from collections.abc import Mapping
from typing import TypeVar

from pydantic import ValidationError

from kafka_runbooks.models import labels
from kafka_runbooks.models.base import Model
from kafka_runbooks.models.certificates import TlsFiles
from kafka_runbooks.models.kubernetes import FileChanges, LastStart

START, FILE, TLS = ".start", ".file", ".tls"
"""No pod of a StatefulSet is called so: its name ends with its ordinal."""

M = TypeVar("M", bound=Model)

log = logging.getLogger(__name__)


def name_of(cluster: str) -> str:
    return labels.BROKER_IDS_CONFIG_MAP_PREFIX + cluster


def is_id(key: str) -> bool:
    """Whether an entry is a pod's broker ID."""
    return not key.endswith((START, FILE, TLS))


def broker_ids(data: Mapping[str, str]) -> dict[str, int]:
    """The assigned IDs. An entry that isn't a number is its pod's problem: the pod counts as not assigned, and it is logged."""
    ids = {}
    for pod, value in sorted(data.items()):
        if not is_id(pod):
            continue
        try:
            ids[pod] = int(value)
        except ValueError:
            log.warning("broker IDs: %s has %r, which is no broker ID", pod, value)
    return ids


def last_starts(data: Mapping[str, str]) -> dict[str, LastStart]:
    """Where brokers started last; an entry that can't be read counts as absent."""
    return _entries(data, START, LastStart)


def file_changes(data: Mapping[str, str]) -> dict[str, FileChanges]:
    """How brokers' files have changed since their start; likewise."""
    return _entries(data, FILE, FileChanges)


def tls_files(data: Mapping[str, str]) -> dict[str, TlsFiles]:
    """What brokers' TLS files hold; likewise."""
    return _entries(data, TLS, TlsFiles)


def _entries(data: Mapping[str, str], ending: str, model: type[M]) -> dict[str, M]:
    found = {}
    for key, value in sorted(data.items()):
        if key.endswith(ending):
            try:
                found[key.removesuffix(ending)] = model.model_validate_json(value)
            except ValidationError:
                log.warning("broker IDs: %s can't be read", key)
    return found
