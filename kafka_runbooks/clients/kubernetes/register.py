"""The register of brokers, one ConfigMap a cluster: pod name -> broker ID, and where each broker started last.

Agents write it, runbooks read it. It is what remains known of a broker when its pod and its node are gone: which rack it was in,
and on which machine. Under `<pod>` it has the ID, under `<pod>.start` the last start as JSON.
"""

import logging
from collections.abc import Mapping

from pydantic import ValidationError

from kafka_runbooks.models import labels
from kafka_runbooks.models.kubernetes import LastStart

START = ".start"
"""No pod of a StatefulSet is called so: its name ends with its ordinal."""

log = logging.getLogger(__name__)


def name_of(cluster: str) -> str:
    return labels.BROKER_IDS_CONFIG_MAP_PREFIX + cluster


def broker_ids(data: Mapping[str, str]) -> dict[str, int]:
    """The assigned IDs. An entry that isn't a number is its pod's problem: the pod counts as not assigned, and it is logged."""
    ids = {}
    for pod, value in sorted(data.items()):
        if pod.endswith(START):
            continue
        try:
            ids[pod] = int(value)
        except ValueError:
            log.warning("broker IDs: %s has %r, which is no broker ID", pod, value)
    return ids


def last_starts(data: Mapping[str, str]) -> dict[str, LastStart]:
    """Where brokers started last; an entry that can't be read counts as absent."""
    found = {}
    for key, value in sorted(data.items()):
        if key.endswith(START):
            try:
                found[key.removesuffix(START)] = LastStart.model_validate_json(value)
            except ValidationError:
                log.warning("broker IDs: %s can't be read", key)
    return found
