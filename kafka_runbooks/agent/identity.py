"""A broker's identity: the id that its pod keeps for life, and its rack.

Ids are assigned in the cluster's register, first come, first served. Each change is based on the version that was read, so of two
pods that want the same id the API server rejects one, which reads again. An entry is never removed: a pod that is gone may return
with its disk. Where a label disagrees, the register is right; labels only follow it.
"""

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from kafka_runbooks.clients.errors import Conflict, Refused, Unreachable
from kafka_runbooks.clients.kubernetes.register import START, broker_ids, is_id
from kafka_runbooks.models.kubernetes import LastStart

ATTEMPTS = 100
"""Each lost race means that another pod has written: as often as pods may start at once, with some to spare."""


class Register(Protocol):
    """Where ids are assigned (`clients.kubernetes.agent`)."""

    def entries(self, cluster: str) -> tuple[dict[str, str], str]: ...

    def add_entries(self, cluster: str, entries: Mapping[str, str], version: str) -> None: ...


def choose_id(ids: Mapping[str, int], pod: str, first: int) -> int:
    """The pod's id: the one it has; else first + ordinal, if that is free; else the lowest free one from `first` on.

    The ordinal first, so that a fresh StatefulSet's ids follow its ordinals whatever order its pods start in.
    """
    if pod in ids:
        return ids[pod]
    taken = set(ids.values())
    ordinal = re.search(r"-(\d+)$", pod)
    wanted = first + (int(ordinal[1]) if ordinal else 0)
    if wanted not in taken:
        return wanted
    candidate = first
    while candidate in taken:
        candidate += 1
    return candidate


def twins(ids: Mapping[str, int], pod: str) -> list[str]:
    """Other pods that have its id, which no agent has given."""
    return [other for other, taken in ids.items() if taken == ids[pod] and other != pod]


def claim_id(register: Register, cluster: str, pod: str, first_broker_id: int, start: LastStart) -> int:
    """Find the pod's id or take one, while any number of other pods do the same, and record where the broker starts.

    Raises:
        Refused: two pods have the same id in the register, and nothing here can tell which of them is right; or the pod needs a
            new id, and an entry isn't a number, so that any number may be taken already.
        Unreachable: lost every race, or the API server doesn't answer.
    """
    where = start.model_dump_json(exclude_none=True)
    for _ in range(ATTEMPTS):
        entries, version = register.entries(cluster)
        ids = broker_ids(entries)
        unreadable = [f"{other} has {entries[other]!r}" for other in entries if other not in ids and is_id(other)]
        if unreadable and pod not in ids:
            raise Refused(f"{', '.join(unreadable)}, which is not a broker ID; correct the ConfigMap")
        broker_id = choose_id(ids, pod, first_broker_id)
        if others := twins({**ids, pod: broker_id}, pod):
            raise Refused(f"broker id {broker_id} of {pod} is also given to {', '.join(others)}; correct the ConfigMap")
        if pod in ids and entries.get(pod + START) == where:
            return broker_id
        try:
            register.add_entries(cluster, {pod: str(broker_id), pod + START: where}, version)
        except Conflict:
            continue
        return broker_id
    raise Unreachable(f"lost {ATTEMPTS} races for a broker id")


def write_identity(path: Path, broker_id: int, rack: str) -> None:
    """What the broker's start script appends to its properties."""
    beside = path.with_name(path.name + ".new")
    beside.write_text(f"node.id={broker_id}\nbroker.rack={rack}\n")
    os.replace(beside, path)


def read_broker_id(path: Path) -> int:
    """The id from the identity file.

    Raises:
        Refused: the file is absent or has no node.id.
    """
    try:
        found = re.search(r"^node\.id=(\d+)$", path.read_text(), re.MULTILINE)
    except OSError as error:
        raise Refused(f"{path}: {error.strerror}; did `identify` run?") from error
    if found is None:
        raise Refused(f"{path} has no node.id")
    return int(found[1])
