"""How an ensemble is connected to: a link to one member, and a session with whichever member takes it.

A session is opened for each question and closed after it: that costs milliseconds, and a session that lasts would have to be
watched for its expiry. kazoo makes the session on links of ours, since its own trust the system's CAs beside those of `ca_file`.
"""

import logging
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

from kazoo.client import KazooClient
from kazoo.exceptions import (
    KazooException,
    NoAuthError,
    NoNodeError,
    SessionClosedRequireSaslError,
    UnimplementedError,
)
from kazoo.handlers.threading import KazooTimeoutError, SequentialThreadingHandler
from kazoo.protocol.states import KeeperState

from kafka_runbooks.clients.errors import ClientError, Refused, Unreachable
from kafka_runbooks.clients.security import files
from kafka_runbooks.clients.zookeeper.reads import MultiRead, Znode
from kafka_runbooks.clients.zookeeper.settings import ZookeeperSettings, split

SESSION_SECONDS = 5.0
"""For a session to be made, by all members together. Each has its share, so that one that hangs leaves time for the others."""
MEMBER_SECONDS = 2.0
"""For a member's answer to one four-letter word."""
REQUEST_SECONDS = 10.0
AT_ONCE = 2000
"""Znodes in one request, which may have a megabyte (`jute.maxbuffer`)."""
MOST_BYTES = 1 << 20
_SHORTEST_SECONDS = 0.01
_LOST_SECONDS = 0.5

_LOGGER = logging.getLogger("kafka_runbooks.kazoo")
_LOGGER.setLevel(logging.CRITICAL)
"""kazoo would log each refused connection; the error raised here reports it once."""


class Connection:
    """To one ensemble.

    Attributes:
        addresses: `host:port` of each member.
        chroot: of everything that Kafka keeps; empty: none.
    """

    def __init__(self, settings: ZookeeperSettings) -> None:
        self._settings = settings
        self.addresses, self.chroot = split(settings.hosts)

    def ask(self, address: str, words: Iterable[str]) -> dict[str, str]:
        """One member's answers to four-letter words.

        Raises:
            Unreachable: it doesn't answer.
            Refused: a file can't be used, or its certificate can't be trusted.
        """
        host, port = _parts(address)
        context = self._context()
        try:
            return {word: _ask(context, host, port, word) for word in words}
        except ssl.SSLCertVerificationError as error:
            raise Refused(f"{address}: its certificate can't be trusted: {error.verify_message}") from error
        except OSError as error:
            raise Unreachable(f"{address}: {_reason(error)}") from error

    @contextmanager
    def session(self, *, chroot: bool = True) -> Iterator["Session"]:
        """A session, and what goes wrong on it as one of our errors.

        Args:
            chroot: paths are below the chroot.

        Raises:
            Unreachable: no member makes one in time, each with the reason; or it is lost.
            Refused: the credentials, or the right to a znode; or a file can't be used.
        """
        name = f"ZooKeeper {self._settings.hosts}"
        hosts = ",".join(self.addresses)
        handler = _Handler(self._context(), SESSION_SECONDS / len(self.addresses))
        client = KazooClient(
            hosts=hosts + (self.chroot if chroot else ""),
            timeout=SESSION_SECONDS,
            handler=handler,
            logger=_LOGGER,
            **self._credentials(),
        )
        # SASL begins once there is a session, and one that fails ends as any other that is lost.
        client.add_listener(lambda _: handler.note_state(client.client_state))
        try:
            if not client.start_async().wait(SESSION_SECONDS):
                raise self._no_session(name)
            yield Session(client)
        except KazooTimeoutError as error:
            raise Unreachable(f"{name} doesn't answer in {REQUEST_SECONDS:g} s") from error
        except KazooException as error:
            if isinstance(error, UnimplementedError):
                raise Refused(f"{name}: ZooKeeper 3.6 or newer is needed") from error
            if isinstance(error, NoAuthError) or handler.was_refused():
                raise Refused(f"{name} doesn't allow it: {error!r}{self._who()}") from error
            raise Unreachable(f"{name}: {error!r}") from error
        finally:
            client.stop()
            client.close()

    def each(self, words: Sequence[str]) -> dict[str, dict[str, str] | ClientError]:
        """Every member's answers to four-letter words, or why it has none; all are asked at once."""

        def asked(address: str) -> dict[str, str] | ClientError:
            try:
                return self.ask(address, words)
            except ClientError as error:
                return error

        with ThreadPoolExecutor(len(self.addresses)) as pool:
            return dict(zip(self.addresses, pool.map(asked, self.addresses), strict=True))

    def _no_session(self, name: str) -> ClientError:
        """Says what each member says, for a session that isn't made has no reason."""
        found = self.each(["srvr"])
        faults = [_fault(address, answer) for address, answer in found.items()]
        message = f"{name} doesn't answer in {SESSION_SECONDS:g} s: {'; '.join(faults)}"
        return (Refused if all(isinstance(one, Refused) for one in found.values()) else Unreachable)(message)

    def _context(self) -> ssl.SSLContext | None:
        return None if self._settings.tls is None else files.client_context(self._settings.tls)

    def _credentials(self) -> dict[str, Any]:
        if (digest := self._settings.digest) is not None:
            password = files.read_secret(digest.password_file, "digest.password_file")
            return {"auth_data": [("digest", f"{digest.username}:{password}")]}
        if (sasl := self._settings.sasl) is not None:
            password = files.read_secret(sasl.password_file, "sasl.password_file")
            return {"sasl_options": {"mechanism": "DIGEST-MD5", "username": sasl.username, "password": password}}
        return {}

    def _who(self) -> str:
        user = self._settings.digest or self._settings.sasl
        return f" (user {user.username}: check its password and the znodes' ACLs)" if user else " (give digest or sasl)"


class Session:
    """Reads, each within bounded time; kazoo's errors are mapped by `Connection.session`."""

    def __init__(self, client: Any) -> None:
        self._client = client

    def sync(self) -> int:
        """Have the member that serves this session catch up with the leader; returns the last transaction that it has then.

        That has at least the transaction which made this session.
        """
        self._client.sync_async("/").get(timeout=REQUEST_SECONDS)
        return int(self._client.last_zxid)

    def read(self, path: str) -> bytes | None:
        """What a znode holds; None: there is none."""
        return self.read_all([path])[0]

    def read_all(self, paths: Sequence[str]) -> list[bytes | None]:
        """What znodes hold, in order; None where there is none."""
        return [None if node is None else node.data for node in self.nodes(paths)]

    def nodes(self, paths: Sequence[str]) -> list[Znode | None]:
        """The znodes, in order; None where there is none."""
        rooted = [self._client.chroot + path for path in paths]
        asked = []
        for start in range(0, len(rooted), AT_ONCE):
            asked.append(self._client.handler.async_result())
            self._client._call(MultiRead(rooted[start : start + AT_ONCE]), asked[-1])
        return [znode for one in asked for znode in one.get(timeout=REQUEST_SECONDS)]

    def change(self, *, write: Mapping[str, tuple[bytes, int]], delete: Mapping[str, int]) -> None:
        """Write and delete znodes, all of them or none, each in the version that was read.

        Raises:
            Unreachable: one has been changed since; read again.
        """
        transaction = self._client.transaction()
        for path, (data, version) in write.items():
            transaction.set_data(path, data, version)
        for path, version in delete.items():
            transaction.delete(path, version)
        results = transaction.commit_async().get(timeout=REQUEST_SECONDS)
        if failed := [one for one in results if isinstance(one, Exception)]:
            if any(isinstance(one, NoAuthError) for one in failed):
                raise NoAuthError
            raise Unreachable(f"{', '.join([*write, *delete])} changed meanwhile")

    def children(self, path: str) -> list[str]:
        """The names below a znode; none if there is no such znode."""
        try:
            return sorted(self._client.get_children_async(path).get(timeout=REQUEST_SECONDS))
        except NoNodeError:
            return []


class _Handler(SequentialThreadingHandler):  # type: ignore[misc]
    def __init__(self, context: ssl.SSLContext | None, seconds: float) -> None:
        super().__init__()
        self._context = context
        self._seconds = seconds
        self._has_failed_sasl = False
        self._ended = threading.Event()

    def note_state(self, state: KeeperState) -> None:
        self._has_failed_sasl |= state == KeeperState.AUTH_FAILED

    def was_refused(self) -> bool:
        """Whether the session has ended, or ends now, since its user isn't who he says."""
        self._ended.wait(_LOST_SECONDS)
        return self._has_failed_sasl

    def spawn(self, func: Callable[..., None], *arguments: object, **named: object) -> threading.Thread:
        """Run kazoo's loop, which lets this error of a server that demands SASL (`sessionRequireClientSASLAuth`) through."""

        def guarded() -> None:
            try:
                func(*arguments, **named)
            except SessionClosedRequireSaslError:
                self._has_failed_sasl = True
            finally:
                self._ended.set()

        found: threading.Thread = super().spawn(guarded)
        return found

    def create_connection(self, address: tuple[str, int], hostname: str, **_: object) -> socket.socket:
        return _link(self._context, address, hostname, self._seconds)


def _link(context: ssl.SSLContext | None, address: tuple[str, int], name: str, seconds: float) -> socket.socket:
    plain = socket.create_connection(address, seconds)
    try:
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return plain if context is None else context.wrap_socket(plain, server_hostname=name)
    except BaseException:
        plain.close()
        raise


def _ask(context: ssl.SSLContext | None, host: str, port: int, word: str) -> str:
    answer, deadline = b"", time.monotonic() + MEMBER_SECONDS
    with _link(context, (host, port), host, MEMBER_SECONDS) as link:
        link.sendall(word.encode())
        while len(answer) < MOST_BYTES and (more := link.recv(1 << 16)):
            answer += more
            link.settimeout(max(deadline - time.monotonic(), _SHORTEST_SECONDS))
    return answer.decode(errors="replace")


def _fault(address: str, answer: dict[str, str] | ClientError) -> str:
    if isinstance(answer, ClientError):
        return str(answer)
    lines = answer["srvr"].strip().splitlines() or ["nothing"]
    return f"{address}: says {next((line for line in lines if line.startswith('Mode: ')), lines[0])}"


def _parts(address: str) -> tuple[str, int]:
    host, _, port = address.rpartition(":")
    return host.strip("[]"), int(port)


def _reason(error: OSError) -> str:
    if isinstance(error, TimeoutError):
        return f"doesn't answer in {MEMBER_SECONDS:g} s"
    if isinstance(error, ssl.SSLError):
        return f"TLS: {error.reason or 'closed'}"
    return files.reason(error)
