"""Whether the broker's properties file has changed since the broker read it, for the worker to know without a look into the pod.

The kubelet brings a changed ConfigMap or Secret into a running pod; the broker goes on with what it was started with. So the
start script keeps what is mounted when it starts the broker (`started_properties`), and this compares, key by key. What it finds
is published in the register: the names of changed keys, and the values of those that Kafka calls neither secret nor read-only.
"""

import json
import threading
from collections.abc import Callable, Collection, Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

import structlog
from javaproperties import loads

from kafka_runbooks.clients.errors import ClientError
from kafka_runbooks.clients.kubernetes.register import FILE
from kafka_runbooks.models.kubernetes import FileChanges

log = structlog.get_logger()

PERIOD_S = 10.0
MOST_BYTES = 1500
"""Of what one broker publishes: 300 of them share a ConfigMap of 1 MiB, without which no new broker gets an ID."""


class Register(Protocol):
    """Where it is published (`clients.kubernetes.agent`)."""

    def pod_uid(self) -> str: ...

    def add_entries(self, cluster: str, entries: Mapping[str, str], version: str | None) -> None: ...


def differences(before: Mapping[str, str], now: Mapping[str, str]) -> frozenset[str]:
    """Keys that were added, removed or given another value."""
    return frozenset(key for key in before.keys() | now.keys() if before.get(key) != now.get(key))


def fitting(values: Mapping[str, str | None]) -> dict[str, str | None]:
    """Without values, and then without the last keys, where they are too many to publish: a restart applies them all."""
    found = dict(values)
    if len(json.dumps(found)) > MOST_BYTES:
        found = dict.fromkeys(found)
    while len(json.dumps(found)) > MOST_BYTES:
        found.popitem()
    return found


class FileWatch:
    """Compares every few seconds, and publishes what is new.

    Args:
        files: what the start script makes the broker's properties of, in its order; one that doesn't exist is left out.
        started: what they were together when the broker was started.
        updatable: those of some keys that the broker can apply without a restart and whose values are no secret.
    """

    def __init__(
        self,
        register: Register,
        cluster: str,
        pod: str,
        *,
        files: Iterable[Path],
        started: Path,
        updatable: Callable[[Collection[str]], frozenset[str]],
    ) -> None:
        self._register = register
        self._cluster = cluster
        self._entry = pod + FILE
        self._files = tuple(files)
        self._started = started
        self._updatable = updatable
        self._published: FileChanges | None = None

    def poll(self) -> None:
        """Compare once.

        Raises:
            ClientError: the API server doesn't take what was found.
            OSError, ValueError: a file can't be read; the start script of this pod may be an older one.
        """
        started_at = datetime.fromtimestamp(self._started.stat().st_mtime, UTC)
        before = loads(self._started.read_text())
        now = loads("\n".join(file.read_text() for file in self._files if file.exists()))
        changed = differences(before, now)
        known, told = self._published, self._told(changed)
        if told is None:
            # The broker doesn't answer. What is published of the same start and keys may have values, which are right still.
            if known is not None and known.started_at == started_at and known.changed.keys() == changed:
                return
            told = frozenset()
        values = fitting({key: now.get(key) if key in told else None for key in sorted(changed)})
        found = FileChanges(pod_uid=self._register.pod_uid(), started_at=started_at, changed=values)
        if found != known:
            self._register.add_entries(self._cluster, {self._entry: found.model_dump_json()}, None)
            log.info("properties file", changed=sorted(changed), applicable=sorted(told & now.keys()))
            self._published = found

    def _told(self, changed: Collection[str]) -> frozenset[str] | None:
        """Keys whose values may be told; None where the broker doesn't say."""
        if not changed:
            return frozenset()
        try:
            return self._updatable(changed)
        except ClientError as error:
            log.warning("the broker doesn't say what it can apply", error=str(error))
            return None

    def run(self, stop: threading.Event) -> None:
        while not stop.is_set():
            try:
                self.poll()
            except (ClientError, OSError, ValueError) as error:
                log.warning("properties file not compared", error=str(error))
            except Exception:
                log.exception("properties file not compared")
            stop.wait(PERIOD_S)
