"""What the TLS files of the Kafka process beside the agent hold, for the worker to know without a look into the pod.

The kubelet brings a changed Secret into a running pod some time later, and nobody outside sees when. So the agent, which has the
same Secret mounted, publishes a digest of the public certificates in each file: never anything that depends on a key. The start
script keeps the certificates that the process was started with, which its connections to the controllers use until its end.
"""

import os
import threading
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

import structlog
from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from kafka_runbooks.clients.certificates import pem
from kafka_runbooks.clients.errors import ClientError
from kafka_runbooks.clients.kubernetes.register import TLS
from kafka_runbooks.models.certificates import TlsFiles

log = structlog.get_logger()

PERIOD_S = 2.0
"""A rotation waits for it, and reading some small files costs nothing."""


class Register(Protocol):
    """Where it is published (`clients.kubernetes.agent`)."""

    def pod_uid(self) -> str: ...

    def add_entries(self, cluster: str, entries: Mapping[str, str], version: str | None) -> None: ...


class TlsFilesWatch:
    """Reads the files every few seconds, and publishes what is new.

    Args:
        files: Kafka's PEM keystores and truststores.
        started: the folder in which the start script has kept the certificates of each, under the same name.
        own: the agent's own client files, by what they are.
    """

    def __init__(
        self, register: Register, cluster: str, pod: str, *, files: Iterable[Path], started: Path, own: Mapping[str, Path]
    ) -> None:
        self._register = register
        self._cluster = cluster
        self._entry = pod + TLS
        self._files = tuple(files)
        self._started = started
        self._own = dict(own)
        self._published: TlsFiles | None = None

    def poll(self) -> None:
        """Read once.

        Raises:
            ClientError: the API server doesn't take what was found.
        """
        read = {path: _read(path) for path in self._files}
        kept = {path: _read(self._started / path.name) for path in self._files}
        started = [one for one in kept.values() if one is not None]
        keystores = [path for path, one in read.items() if one is not None and pem.KEY.search(one.data)]
        found = TlsFiles(
            pod_uid=self._register.pod_uid(),
            sha256={str(path): pem.digest(one.data) for path, one in read.items() if one is not None},
            changed_at={str(path): one.changed_at for path, one in read.items() if one is not None},
            unusable=tuple(str(path) for path, one in read.items() if one is None or not is_usable(one.data)),
            started_with={str(path): pem.digest(one.data) for path, one in kept.items() if one is not None},
            started_at=max((one.changed_at for one in started), default=None),
            lasts=_lasts(read[path] for path in keystores),
            started_lasts=_lasts(kept[path] for path in keystores),
            own_sha256={what: pem.digest(one.data) for what, path in self._own.items() if (one := _read(path)) is not None},
        )
        if found != self._published:
            self._register.add_entries(self._cluster, {self._entry: found.model_dump_json(exclude_defaults=True)}, None)
            log.info("TLS files", sha256=found.sha256, unusable=found.unusable)
            self._published = found

    def run(self, stop: threading.Event) -> None:
        while not stop.is_set():
            try:
                self.poll()
            except ClientError as error:
                log.warning("TLS files not published", error=str(error))
            except Exception:
                log.exception("TLS files not read")
            stop.wait(PERIOD_S)


class _File:
    def __init__(self, data: bytes, changed_at: datetime) -> None:
        self.data = data
        self.changed_at = changed_at


def _read(path: Path) -> _File | None:
    """A file with the time at which its content came; None if there is none."""
    try:
        with path.open("rb") as file:
            return _File(file.read(), datetime.fromtimestamp(os.fstat(file.fileno()).st_mtime, UTC))
    except OSError:
        return None


def _lasts(keystores: Iterable[_File | None]) -> tuple[datetime, datetime] | None:
    """Of the certificate that ends first."""
    leaves = [leaf for one in keystores if one is not None for leaf in pem.certificates(one.data)[:1]]
    return min(((leaf.not_before, leaf.not_after) for leaf in leaves), key=lambda lasts: lasts[1], default=None)


def is_usable(data: bytes) -> bool:
    """Whether a file holds certificates, and the key of the first one if it holds any; of an encrypted one that can't be told."""
    try:
        first, *_ = x509.load_pem_x509_certificates(data)
        key = pem.KEY.search(data)
        return key is None or load_pem_private_key(key.group(), None).public_key() == first.public_key()
    except TypeError:  # It wants a password.
        return True
    except ValueError:
        return False
