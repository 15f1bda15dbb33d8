"""The identity of a ZooKeeper member: the server ID that its pod keeps for life, and whether its disk may be empty.

IDs are given for the whole ensemble at once by whichever pod comes first, since each member's configuration lists all of them. An
entry is never removed or given to another pod.

An empty disk is either a new ensemble's or a lost one, and ZooKeeper can't tell which. A member that begins with an empty
database votes like any other, so with one that lags behind it could elect a leader that lacks what the lost disk had confirmed.
So ZooKeeper is told to give a member without data no vote until it has copied from a leader (`zookeeper.db.autocreate=false`,
ZOOKEEPER-261), and the file `initialize`, which lifts that, is written once for each of an ensemble's first members.
"""

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Protocol

from kafka_runbooks.agent.identity import ATTEMPTS, choose_id, twins
from kafka_runbooks.clients.errors import Conflict, Refused, Unreachable
from kafka_runbooks.clients.kubernetes.server_ids import ServerIds

FIRST_ID = 1
"""ZooKeeper takes 1 to 255."""


class Register(Protocol):
    """Where IDs are given (`clients.kubernetes.server_ids`)."""

    def read(self) -> ServerIds: ...

    def add(self, ids: Mapping[str, int], may_be_empty: Iterable[str], version: str) -> None: ...

    def begun(self, pod: str) -> None: ...


def pods_of(pod: str, size: int) -> tuple[str, ...]:
    """The pods of the ensemble that a pod is of, in the order of their ordinals.

    Raises:
        Refused: the pod isn't one of so many.
    """
    stateful_set = pod.rpartition("-")[0]
    pods = tuple(f"{stateful_set}-{ordinal}" for ordinal in range(size))
    if pod not in pods:
        raise Refused(f"ENSEMBLE_SIZE: {pod} is not one of {size} members; it must be as many as the StatefulSet has replicas")
    return pods


def claim_server_ids(register: Register, pods: Sequence[str]) -> dict[str, int]:
    """Find the members' IDs or give them, while any number of pods do the same. Only the first ones may begin with empty disks.

    Raises:
        Refused: two pods have the same ID in the register, and nothing here can tell which of them is right.
        Unreachable: lost every race, or the API server doesn't answer.
    """
    for _ in range(ATTEMPTS):
        found = register.read()
        ids = dict(found.ids)
        for pod in pods:
            ids[pod] = choose_id(ids, pod, FIRST_ID)
            if others := twins(ids, pod):
                raise Refused(f"server ID {ids[pod]} of {pod} is also given to {', '.join(others)}; correct the annotations")
        if new := {pod: ids[pod] for pod in pods if pod not in found.ids}:
            try:
                register.add(new, () if found.ids else new, found.version)
            except Conflict:
                continue
        return {pod: ids[pod] for pod in pods}
    raise Unreachable(f"lost {ATTEMPTS} races for server IDs")


def prepare_disk(register: Register, pod: str, server_id: int, folder: Path) -> bool:
    """Write the ID onto the disk, and let ZooKeeper begin empty if the pod still may; whether it may.

    Raises:
        Refused: the disk is another server's.
    """
    folder.mkdir(parents=True, exist_ok=True)
    own = folder / "myid"
    if own.exists() and (other := own.read_text().strip()) != str(server_id):
        raise Refused(f"the disk is of server {other}, and {pod} is server {server_id} by the register; correct the annotation")
    _write(own, f"{server_id}\n")
    if pod not in register.read().may_be_empty:
        return False
    # In this order: without the file the member would wait for a leader for ever, and with it the next attempt writes it again.
    _write(folder / "initialize", "")
    register.begun(pod)
    return True


def write_servers(path: Path, ids: Mapping[str, int], namespace: str) -> None:
    """The members' addresses, as ZooKeeper's configuration has them; on which ports clients are served `zoo.cfg` says."""
    lines = [f"server.{server_id}={host_of(pod, namespace)}:2888:3888\n" for pod, server_id in ids.items()]
    _write(path, "".join(lines))


def host_of(pod: str, namespace: str) -> str:
    """A member's own name; the headless Service is called like the StatefulSet."""
    return f"{pod}.{pod.rpartition('-')[0]}.{namespace}.svc.cluster.local"


def _write(path: Path, text: str) -> None:
    """All of it or nothing, and on the disk when this returns."""
    beside = path.with_name(path.name + ".new")
    with beside.open("w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    os.replace(beside, path)
