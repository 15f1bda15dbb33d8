"""Plans and ledgers, kept beside the cluster as compressed JSON in ConfigMaps.

A ConfigMap holds at most 1 MiB, so a record is one or several numbered ConfigMaps; the first holds their number.
"""

import gzip
from typing import TypeVar

from kafka_runbooks.clients.errors import Refused
from kafka_runbooks.clients.protocols import Kubernetes
from kafka_runbooks.models.base import Model

PLAN = "plan"
LEDGER = "ledger"
PART_BYTES = 700_000
"""Under 1 MiB with base64 and metadata."""

M = TypeVar("M", bound=Model)


def save(kubernetes: Kubernetes, kind: str, name: str, value: Model, summary: str) -> None:
    """Create or replace a record. The first part is written last, so that no reader finds a new record incomplete."""
    data = gzip.compress(value.model_dump_json().encode(), mtime=0)
    parts = [data[start : start + PART_BYTES] for start in range(0, len(data), PART_BYTES)]
    for number in range(len(parts) - 1, 0, -1):
        kubernetes.write_record(f"{name}-part-{number}", f"{kind}-part", {"json.gz": parts[number]}, f"part of {name}")
    kubernetes.write_record(name, kind, {"json.gz": parts[0], "parts": str(len(parts)).encode()}, summary)


def load(kubernetes: Kubernetes, name: str, model: type[M]) -> M | None:
    """Read a record, or None if there is none.

    Raises:
        Refused: it exists but can't be read.
    """
    first = kubernetes.read_record(name)
    if first is None:
        return None
    data = bytes(first["json.gz"])
    for number in range(1, int(first.get("parts", b"1"))):
        part = kubernetes.read_record(f"{name}-part-{number}")
        if part is None:
            raise Refused(f"record {name}: part {number} is missing")
        data += part["json.gz"]
    try:
        return model.model_validate_json(gzip.decompress(data))
    except (ValueError, OSError, EOFError) as error:
        raise Refused(f"record {name} can't be read: {error}") from error


def remove(kubernetes: Kubernetes, name: str) -> None:
    """Delete a record with its parts; one that doesn't exist is fine."""
    first = kubernetes.read_record(name)
    if first is None:
        return
    for number in range(1, int(first.get("parts", b"1"))):
        kubernetes.delete_record(f"{name}-part-{number}")
    kubernetes.delete_record(name)
