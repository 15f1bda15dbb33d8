"""Asks the bootstrap servers by hand whether they take a connection, and says why not: TCP, TLS, authentication.

The libraries don't: to librdkafka an expired certificate, another name and an unknown CA are the same, a plain connection to a
TLS listener is a timeout, and kafka-python tries until its time is over. One message does: a SaslHandshake, which every listener
answers before anything else, and which says whether it has SASL and which mechanisms.
"""

import random
import socket
import ssl
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

from kafka_runbooks.clients.errors import ClientError, Refused, Unreachable
from kafka_runbooks.clients.security import files
from kafka_runbooks.clients.security.connection import CLIENT_ID, Connection
from kafka_runbooks.clients.security.settings import OAuthSasl

TIMEOUT_SECONDS = 4.0
ADDRESSES_TO_TRY = 4
EXPIRED, NOT_YET_VALID, OTHER_NAME, OTHER_ADDRESS = 10, 9, 62, 64
"""OpenSSL's results of a verification. (Not in Python's `ssl`.)"""
UNKNOWN_ISSUER = (2, 18, 19, 20, 21)
TLS_RECORDS = (0x15, 0x16)
"""What the first byte of an answer is where TLS is spoken: an alert or a handshake."""


def probe(connection: Connection) -> str:
    """One of the bootstrap servers that takes the connection, credentials included.

    Raises:
        Refused: those that answer refuse it, or a file can't be used.
        Unreachable: none answers, or those that refuse it took it a moment ago.
    """
    try:
        server = _first_that_accepts(connection)
    except Refused as error:
        raise connection.refused(error) from error.__cause__
    connection.accepted()
    return server


@contextmanager
def link_to(connection: Connection, server: str) -> Iterator[socket.socket]:
    """An authenticated link to one server, for `ask`: of a controller, which no client library connects to.

    Raises:
        Refused: it refuses the connection, or a file can't be used.
        Unreachable: it doesn't answer.
    """
    settings = connection.for_kafka_python()
    with _Probe(connection, settings, _in_turn([server])[0]).link() as link:
        yield link


def _first_that_accepts(connection: Connection) -> str:
    settings = connection.for_kafka_python()
    failures: dict[_Address, ClientError] = {}
    for address in _in_turn(connection.servers):
        if isinstance(failures.get(address), Refused) and not isinstance(failures[address], _Distrusted):
            continue
        try:
            _Probe(connection, settings, address).run()
        except ClientError as error:
            failures[address] = error
        else:
            return address.server
    for failure in failures.values():
        if isinstance(failure, Refused):
            raise Refused(str(failure)) from failure
    raise next(iter(failures.values()))


class _Distrusted(Refused):
    """A broker's certificate can't be verified. Another broker behind the same address may have a good one."""


class _Address(NamedTuple):
    """One of those behind a bootstrap server's name."""

    server: str
    host: str
    ip: str
    port: int


def _in_turn(servers: Sequence[str]) -> list[_Address]:
    """Some addresses in random order. What is behind one may change with each connection, so few are tried again."""
    found, unknown = [], None
    for server in servers:
        host, _, port = server.rpartition(":")
        if not port.isdecimal():
            raise Refused(f"bootstrap_servers: {server!r} is no host:port")
        host = host.strip("[]")
        try:
            resolved = socket.getaddrinfo(host, int(port), type=socket.SOCK_STREAM)
        except OSError as error:
            unknown = Unreachable(f"{server} doesn't answer: {files.reason(error)}")
            continue
        found += [_Address(server, host, str(at[0]), int(port)) for *_, at in resolved]
    if unknown is not None and not found:
        raise unknown
    return (random.sample(found, len(found)) * ADDRESSES_TO_TRY)[:ADDRESSES_TO_TRY]


class _Probe:
    """Of one address."""

    def __init__(self, connection: Connection, settings: dict[str, Any], address: _Address) -> None:
        self._security = connection.security
        self._settings = settings
        self._server = address.server
        self._host = address.host
        self._where = (address.ip, address.port)

    def run(self) -> None:
        """Connect, and leave again."""
        with self.link():
            pass

    @contextmanager
    def link(self) -> Iterator[socket.socket]:
        """Connect, and authenticate."""
        with self._connected() as plain, self._secured(plain) as link:
            mechanisms = self._mechanisms(link)
            sasl = self._security.sasl
            if sasl is None:
                if mechanisms is not None:
                    self._refuse(f"the listener wants SASL ({', '.join(mechanisms)}): give protocol and sasl")
            elif mechanisms is None:
                self._refuse(f"the listener has no SASL: protocol {self._security.protocol} doesn't fit")
            elif sasl.mechanism not in mechanisms:
                self._refuse(f"the listener doesn't take {sasl.mechanism}, only {', '.join(mechanisms)}")
            else:
                self._authenticate(link)
            yield link

    def _refuse(self, why: str) -> None:
        raise Refused(f"{self._server}: {why}")

    @contextmanager
    def _connected(self) -> Iterator[socket.socket]:
        try:
            with socket.create_connection(self._where, TIMEOUT_SECONDS) as plain:
                yield plain
        except OSError as error:
            raise Unreachable(f"{self._server} doesn't answer: {files.reason(error)}") from error

    @contextmanager
    def _secured(self, plain: socket.socket) -> Iterator[socket.socket]:
        if not self._security.has_tls:
            yield plain
            return
        try:
            link = self._settings["ssl_context"].wrap_socket(plain, server_hostname=self._host)
        except ssl.SSLCertVerificationError as error:
            raise _Distrusted(f"{self._server}: {self._distrust(error)}") from error
        except (ssl.SSLError, ConnectionError) as error:
            if self._speaks_plain():
                self._refuse(f"the listener has no TLS: protocol {self._security.protocol} doesn't fit")
            raise Unreachable(f"{self._server}: TLS handshake: {_named(error)}") from error
        with link:
            yield link

    def _distrust(self, error: ssl.SSLCertVerificationError) -> str:
        if error.verify_code == EXPIRED:
            return "the broker's certificate, or its CA's, has expired"
        if error.verify_code == NOT_YET_VALID:
            return "the broker's certificate, or its CA's, isn't valid yet: is a clock wrong?"
        if error.verify_code in (OTHER_NAME, OTHER_ADDRESS):
            return f"the broker's certificate is for other names than {self._host}"
        if error.verify_code in UNKNOWN_ISSUER:
            return f"the broker's certificate isn't of a CA in ca_file ({self._security.ca_file or 'by default the system'})"
        return f"the broker's certificate can't be verified: {error.verify_message}"

    def _mechanisms(self, link: socket.socket) -> list[str] | None:
        """The mechanisms of the listener; None if it has no SASL."""
        from kafka.errors import IllegalSaslStateError, for_code
        from kafka.protocol.sasl import SaslHandshakeRequest

        sasl = self._security.sasl
        try:
            answer = ask(link, SaslHandshakeRequest(mechanism=sasl.mechanism if sasl else "PLAIN", version=1))
        except ssl.SSLError as error:
            # With TLS 1.3 a refused client certificate shows at the first read.
            which = self._security.certificate_file
            why = (
                f"refuses the client certificate {which}"
                if which
                else "wants a client certificate: give certificate_file and key_file"
            )
            raise Refused(f"{self._server}: the broker {why} ({_named(error)})") from error
        except (OSError, ValueError) as error:
            is_silent = isinstance(error, TimeoutError)
            if not is_silent and not self._security.has_tls and self._speaks_tls():
                self._refuse(f"the listener speaks TLS: protocol {self._security.protocol} doesn't fit")
            raise Unreachable(f"{self._server} doesn't answer as Kafka does: {files.reason(error)}") from error
        return None if for_code(answer.error_code) is IllegalSaslStateError else list(answer.mechanisms)

    def _authenticate(self, link: socket.socket) -> None:
        from kafka.errors import NoError, for_code
        from kafka.net.sasl import get_sasl_mechanism
        from kafka.protocol.sasl import SaslAuthenticateRequest

        sasl = self._security.sasl
        assert sasl is not None
        who = sasl.client_id if isinstance(sasl, OAuthSasl) else sasl.username
        refusal = f"refuses {who} ({sasl.mechanism}): check user and password"
        if isinstance(sasl, OAuthSasl):
            refusal = f"refuses the token of {who} ({sasl.mechanism})"
        mechanism = get_sasl_mechanism(sasl.mechanism)(host=self._host, **self._settings)
        try:
            while not mechanism.is_done():
                answer = ask(link, SaslAuthenticateRequest(mechanism.auth_bytes(), version=1))
                if for_code(answer.error_code) is not NoError:
                    self._refuse(f"{refusal}: {answer.error_message or for_code(answer.error_code).__name__}")
                mechanism.receive(answer.auth_bytes)
        except (OSError, ValueError) as error:
            raise Unreachable(f"{self._server}: authentication: {files.reason(error)}") from error
        if not mechanism.is_authenticated():
            self._refuse(refusal)

    def _speaks_plain(self) -> bool:
        """Whether it answers without TLS."""
        from kafka.protocol.sasl import SaslHandshakeRequest

        try:
            with self._connected() as plain:
                ask(plain, SaslHandshakeRequest(mechanism="PLAIN", version=1))
        except (ClientError, OSError, ValueError):
            return False
        return True

    def _speaks_tls(self) -> bool:
        """Whether it answers a TLS handshake, whatever it then says."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        try:
            with self._connected() as plain, context.wrap_socket(plain):
                return True
        except (ClientError, OSError):
            return False


def ask(link: socket.socket, request: Any) -> Any:
    """The answer to a message of a set version.

    Raises:
        OSError: none comes.
        ValueError: it isn't Kafka's.
    """
    from kafka.errors import KafkaError
    from kafka.protocol.parser import KafkaProtocol

    parser = KafkaProtocol(client_id=CLIENT_ID)
    parser.send_request(request)
    link.sendall(parser.send_bytes())
    while data := link.recv(4096):
        try:
            answers = parser.receive_bytes(data)
        except KafkaError as error:
            raise ValueError("not Kafka's protocol") from error
        if answers:
            return answers[0][1]
    raise ConnectionResetError("closed the connection")


def _named(error: OSError) -> str:
    return (isinstance(error, ssl.SSLError) and error.reason) or files.reason(error)
