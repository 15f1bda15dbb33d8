"""One cluster's connection: addresses and security, as each library takes them, with what the files hold now.

A library loads certificates and passwords when its client is made. So a client is made again when a file has changed (`Renewed`),
and a rotation needs no restart.
"""

import logging
import ssl
import threading
import time
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from kafka_runbooks.clients.errors import ClientError, Refused, Unreachable
from kafka_runbooks.clients.security import files
from kafka_runbooks.clients.security.settings import OAuthSasl, PasswordSasl, Security

if TYPE_CHECKING:
    from kafka_runbooks.clients.security.tokens import TokenSource

log = logging.getLogger(__name__)

CLIENT_ID = "kafka-runbooks"
ROTATION_SECONDS = 180.0
"""How long brokers and our files may differ in a rotation: the kubelet brings a changed Secret within two minutes."""
RETIRED_SECONDS = 60.0
"""How long a replaced client stays open: longer than any request that may be under way on it."""
VERBOSE_LOGGERS = ("kafka.protocol.parser", "kafka.net.connection")
"""Of kafka-python: at level DEBUG they log what is sent, and so passwords and tokens."""


def _is_above_debug(record: logging.LogRecord) -> bool:
    return record.levelno > logging.DEBUG


class _Masked(str):
    """A secret whose repr doesn't show it: kafka-python logs its configuration."""

    def __repr__(self) -> str:
        return "'***'"


def addresses(brokers: Iterable[tuple[str, int]]) -> tuple[str, ...]:
    """`host:port` of brokers as they advertise themselves."""
    return tuple(f"[{host}]:{port}" if ":" in host else f"{host}:{port}" for host, port in brokers)


class Connection:
    """How to reach one cluster's brokers.

    Attributes:
        servers: `host:port` of each bootstrap server.
        security: the settings.

    Args:
        tokens: those of a connection to the same cluster, if there is one.
    """

    def __init__(self, bootstrap_servers: str, security: Security | None = None, tokens: "TokenSource | None" = None) -> None:
        self.servers = tuple(server.strip() for server in bootstrap_servers.split(","))
        self.security = security or Security()
        sasl = self.security.sasl
        self._tokens = tokens or (_token_source(sasl) if isinstance(sasl, OAuthSasl) else None)
        paths = (
            *(self.security.ca_file, self.security.certificate_file, self.security.key_file, self.security.key_password_file),
            sasl.password_file if isinstance(sasl, PasswordSasl) else None,
        )
        self._paths = [path for path in paths if path is not None]
        self._was_accepted = False
        self._refused_at: float | None = None

    def to(self, servers: tuple[str, ...]) -> "Connection":
        """The same to other servers, of which nothing is known yet."""
        return Connection(",".join(servers), self.security, self._tokens)

    def version(self) -> files.Version:
        """A value that changes when a file does that a library loads."""
        return files.version(self._paths)

    def accepted(self) -> None:
        """Brokers take the connection."""
        self._was_accepted, self._refused_at = True, None

    def refused(self, error: Refused) -> ClientError:
        """A refusal as it counts. In a rotation, what was taken may be refused for a while, which must not end a run of days."""
        now = time.monotonic()
        if self._refused_at is None:
            self._refused_at = now
        if self._was_accepted and now - self._refused_at < ROTATION_SECONDS:
            return Unreachable(f"{error} (taken before: waits {ROTATION_SECONDS:.0f} s for the end of a rotation)")
        return error

    def tls_context(self) -> ssl.SSLContext:
        """As the files are now.

        Raises:
            Refused: one can't be used; the message names the field and the path.
        """
        return files.client_context(self.security)

    def for_kafka_python(self) -> dict[str, Any]:
        """Arguments of kafka-python's clients, without the bootstrap servers.

        Raises:
            Refused: a file can't be used.
            Unreachable: the token endpoint doesn't answer.
        """
        for name in VERBOSE_LOGGERS:
            logging.getLogger(name).addFilter(_is_above_debug)
        found: dict[str, Any] = {"security_protocol": self.security.protocol}
        if self.security.has_tls:
            found["ssl_context"] = self.tls_context()
        if self.security.sasl is not None:
            found["sasl_mechanism"] = self.security.sasl.mechanism
        if isinstance(self.security.sasl, PasswordSasl):
            found["sasl_plain_username"] = self.security.sasl.username
            found["sasl_plain_password"] = _Masked(self._password(self.security.sasl))
        if self._tokens is not None:
            self._tokens.token()
            found["sasl_oauth_token_provider"] = self._tokens
        return found

    def for_librdkafka(self) -> dict[str, Any]:
        """Configuration of librdkafka's clients, without the bootstrap servers; raises likewise."""
        found: dict[str, Any] = {"security.protocol": self.security.protocol}
        if self.security.has_tls:
            self.tls_context()  # It says what is wrong with a file; librdkafka doesn't.
            paths = {
                "ssl.ca.location": self.security.ca_file,
                "ssl.certificate.location": self.security.certificate_file,
                "ssl.key.location": self.security.key_file,
            }
            found |= {key: str(path) for key, path in paths.items() if path is not None}
            if (password := self._key_password()) is not None:
                found["ssl.key.password"] = password
        if self.security.sasl is not None:
            found["sasl.mechanism"] = self.security.sasl.mechanism
        if isinstance(self.security.sasl, PasswordSasl):
            found |= {"sasl.username": self.security.sasl.username, "sasl.password": self._password(self.security.sasl)}
        if self._tokens is not None:
            self._tokens.token()
            found["oauth_cb"] = self._tokens.for_librdkafka
        return found

    def _key_password(self) -> str | None:
        path = self.security.key_password_file
        return None if path is None else files.read_secret(path, "key_password_file")

    def _password(self, sasl: PasswordSasl) -> str:
        return files.read_secret(sasl.password_file, "sasl.password_file")


def _token_source(sasl: OAuthSasl) -> "TokenSource":
    """Known to kafka-python as a token provider. The HTTP library is imported only where there are tokens."""
    from kafka.net.sasl.oauth import AbstractTokenProvider

    from kafka_runbooks.clients.security.tokens import TokenSource

    AbstractTokenProvider.register(TokenSource)
    return TokenSource(sasl)


Client = TypeVar("Client")


class Renewed(Generic[Client]):
    """A client that is opened on first use, and made again when a file of its connection has changed.

    While new files can't be used, as between the two writes of a certificate and its key, the client that there is stays.

    Args:
        make: makes a client from the files as they are.
        close: closes one that was replaced.
    """

    def __init__(self, connection: Connection, make: Callable[[], Client], close: Callable[[Client], None]) -> None:
        self._connection = connection
        self._make = make
        self._close = close
        self._lock = threading.Lock()
        self._client: Client | None = None
        self._made_of: files.Version = ()
        self._retired: list[tuple[float, Client]] = []

    def get(self) -> Client:
        """The client; hold it as long as one of its requests is under way."""
        with self._lock:
            self._close_retired(RETIRED_SECONDS)
            version = self._connection.version()
            if self._client is None or version != self._made_of:
                self._renew(version)
            assert self._client is not None
            return self._client

    def _renew(self, version: files.Version) -> None:
        try:
            made = self._make()
        except ClientError as error:
            if self._client is None:
                raise
            log.warning("the changed files of the connection to %s can't be used yet: %s", self._connection.servers, error)
            return
        if self._client is not None:
            self._retired.append((time.monotonic(), self._client))
            log.info("the connection to %s follows its changed files", self._connection.servers)
        self._client, self._made_of = made, version

    def close(self) -> None:
        """Close all; the next `get` makes a new client."""
        with self._lock:
            if self._client is not None:
                self._retired.append((time.monotonic(), self._client))
            self._client = None
            self._close_retired(0.0)

    def _close_retired(self, at_least_seconds: float) -> None:
        now = time.monotonic()
        for entry in [entry for entry in self._retired if now - entry[0] >= at_least_seconds]:
            self._retired.remove(entry)
            self._close(entry[1])
