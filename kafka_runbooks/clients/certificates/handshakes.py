"""What nodes present, and whose clients they let in, as connecting to them shows.

Nothing is verified, so that an expired certificate or one of an unknown authority is seen like any other. A client is let in if
it gets an answer to a message: with TLS 1.3 a server refuses a certificate after the handshake, at the first read. Each network
thread of a listener reloads its files by itself and gets its connections in turn, so there are as many connections with each
certificate as there are threads, and they have to agree.

pyOpenSSL, since the standard library takes keys from files only, and shows no chain that it hasn't verified.
"""

import socket
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import Enum
from functools import cached_property
from typing import Any, TypeVar

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key
from kafka.protocol.metadata import ApiVersionsRequest
from kafka.protocol.parser import KafkaProtocol
from OpenSSL import SSL

from kafka_runbooks.clients.certificates import pem
from kafka_runbooks.clients.certificates.protocols import Leaf
from kafka_runbooks.clients.security import files
from kafka_runbooks.clients.security.connection import CLIENT_ID
from kafka_runbooks.models.certificates import Listener, Seen

CONNECTION_SECONDS = 4.0
LISTENER_SECONDS = 30.0
"""For all connections to one listener: one that hangs is told from a slow machine."""
AT_ONCE = 32
"""Listeners."""
READ_BYTES = 16384
CERTIFICATE_ALERTS = (
    "bad certificate",
    "unsupported certificate",
    "certificate revoked",
    "certificate expired",
    "certificate unknown",
    "certificate required",
    "unknown ca",
    "access denied",
    "decrypt error",
)
"""What a server says that refuses a client's certificate, in OpenSSL's words; other alerts are no answer to that. The last one
is what some say to one of an authority with the name of one that they trust."""

T = TypeVar("T")


class Answer(Enum):
    """How a listener answers a client."""

    LET_IN = "let in"
    REFUSED = "refused"
    NONE = "no answer"


@dataclass(frozen=True)
class Contact:
    """One connection."""

    answer: Answer
    chain: tuple[bytes, ...] = ()
    """DER of what the server has presented; empty if the handshake didn't get that far."""
    problem: str | None = None
    is_cut_off: bool = False
    """The connection was cut after the handshake."""


class TlsHandshakes:
    """`protocols.Handshakes` by real connections."""

    def see(self, listeners: Sequence[Listener], authorities: Mapping[str, Leaf | None]) -> tuple[Seen, ...]:
        if not listeners:
            return ()
        known = tuple(authorities)
        clients = {
            pem.fingerprint(authority): _context(leaf)
            for authority, leaf in authorities.items()
            if leaf is not None and _is_valid_now(leaf)
        }
        stranger = _context(_stranger())
        with ThreadPoolExecutor(min(AT_ONCE, len(listeners))) as threads:
            return tuple(threads.map(lambda listener: _Look(listener, known, clients, stranger).seen(), listeners))


class _Look:
    """At one listener."""

    def __init__(
        self, listener: Listener, authorities: Sequence[str], clients: Mapping[str, SSL.Context], stranger: SSL.Context
    ) -> None:
        self._listener = listener
        self._authorities = authorities
        self._clients = clients
        self._stranger = stranger
        self._ends_at = time.monotonic() + LISTENER_SECONDS

    def seen(self) -> Seen:
        """Never raises."""
        first = self._contact(self._stranger)
        if first.answer is Answer.NONE:
            return self._judged(first.chain, problem=first.problem)
        asks = first.answer is not Answer.LET_IN
        contacts = {authority: self._contacts(client) for authority, client in self._clients.items()} if asks else {}
        if not contacts:
            contacts[""] = self._contacts(self._stranger)
        every = [first, *(one for some in contacts.values() for one in some)]
        answers = {authority: {one.answer for one in some} for authority, some in contacts.items() if authority}
        trusts = {authority: found == {Answer.LET_IN} for authority, found in answers.items() if _is_one(found)}
        return self._judged(
            every[-1].chain or first.chain,
            trusts=trusts,
            asks_for_certificates=asks,
            is_settled=len({one.chain for one in every if one.chain}) == 1 and len(trusts) == len(answers),
            problem=next((one.problem for one in every if one.answer is Answer.NONE), None),
        )

    def _judged(self, chain: Sequence[bytes], **shown: Any) -> Seen:
        try:
            certificates = tuple(pem.certificate(der) for der in chain)
            authority = pem.issued_by(chain[0], chain[1:], self._authorities) if chain else None
        except ValueError as error:
            return Seen(listener=self._listener, problem=f"{self._where} presents what can't be read as a certificate: {error}")
        return Seen(listener=self._listener, chain=certificates, authority=authority, **shown)

    @property
    def _where(self) -> str:
        return f"{self._listener.host}:{self._listener.port}"

    def _contacts(self, client: SSL.Context) -> list[Contact]:
        found: list[Contact] = []
        while len(found) < max(1, self._listener.network_threads) and (not found or found[-1].answer is not Answer.NONE):
            found.append(self._contact(client))
        return found

    def _contact(self, client: SSL.Context) -> Contact:
        found = self._connection(client)
        # A server that refuses and closes before it has read the question resets the connection, and its alert is lost.
        return self._connection(client, asks=False) if found.is_cut_off else found

    def _connection(self, client: SSL.Context, *, asks: bool = True) -> Contact:
        left = min(CONNECTION_SECONDS, self._ends_at - time.monotonic())
        if left <= 0:
            return Contact(Answer.NONE, problem=f"{self._where}: not seen within {LISTENER_SECONDS:.0f} s")
        try:
            with socket.create_connection((self._listener.host, self._listener.port), left) as plain:
                return _Link(plain, client, self._listener.host, time.monotonic() + left).contact(self._where, asks=asks)
        except (OSError, UnicodeError) as error:
            return Contact(Answer.NONE, problem=f"{self._where} doesn't answer: {files.reason(error)}")


class _Link:
    """TLS over one socket, by way of buffers: so every wait has an end."""

    def __init__(self, plain: socket.socket, client: SSL.Context, host: str, ends_at: float) -> None:
        self._plain = plain
        self._ends_at = ends_at
        self._tls = SSL.Connection(client, None)
        self._tls.set_connect_state()
        if not _is_address(host):
            self._tls.set_tlsext_host_name(host.encode("idna"))

    def contact(self, where: str, *, asks: bool) -> Contact:
        is_secured = False
        try:
            self._step(self._tls.do_handshake)
            is_secured = True
            if asks:
                self._step(lambda: self._tls.sendall(_question()))
            self._step(lambda: self._tls.recv(1))
        except SSL.Error as error:
            if _is_refusal(error):
                return Contact(Answer.REFUSED, self.chain)
            return Contact(Answer.NONE, self.chain, f"{where}: TLS: {_reason_of(error)}")
        except OSError as error:
            what = (
                "doesn't answer after the handshake" if is_secured else "answers the TLS handshake with nothing: has it no TLS?"
            )
            is_cut_off = is_secured and asks and isinstance(error, ConnectionError)
            return Contact(Answer.NONE, self.chain, f"{where}: {what} ({files.reason(error)})", is_cut_off)
        return Contact(Answer.LET_IN, self.chain)

    @cached_property
    def chain(self) -> tuple[bytes, ...]:
        found = self._tls.get_peer_cert_chain(as_cryptography=True) or ()
        return tuple(one.public_bytes(Encoding.DER) for one in found)

    def _step(self, act: Callable[[], T]) -> T:
        while True:
            try:
                done = act()
                self._flush()
                return done
            except SSL.WantReadError:
                self._flush()
            self._plain.settimeout(max(0.001, self._ends_at - time.monotonic()))
            data = self._plain.recv(READ_BYTES)
            if not data:
                raise ConnectionResetError("closes the connection")
            self._tls.bio_write(data)

    def _flush(self) -> None:
        while True:
            try:
                data = self._tls.bio_read(READ_BYTES)
            except SSL.WantReadError:
                return
            self._plain.settimeout(max(0.001, self._ends_at - time.monotonic()))
            self._plain.sendall(data)


def _question() -> bytes:
    """An ApiVersions request: every listener answers it to whoever is let in, before SASL too."""
    parser = KafkaProtocol(client_id=CLIENT_ID)
    parser.send_request(ApiVersionsRequest(version=0))
    return bytes(parser.send_bytes())


def _context(leaf: Leaf) -> SSL.Context:
    """Takes part with this certificate, and verifies nobody."""
    context = SSL.Context(SSL.TLS_CLIENT_METHOD)
    context.set_verify(SSL.VERIFY_NONE)
    own, *above = x509.load_pem_x509_certificates(leaf.chain.encode())
    context.use_certificate(own)
    for one in above:
        context.add_extra_chain_cert(one)
    context.use_privatekey(load_pem_private_key(leaf.key.encode(), None))  # type: ignore[arg-type]
    return context


def _is_valid_now(leaf: Leaf) -> bool:
    """Else it would be refused by those who trust its authority, too."""
    own, *_ = pem.certificates(leaf.chain.encode())
    return own.not_before <= datetime.now(UTC) <= own.not_after


def _stranger() -> Leaf:
    """A certificate of nobody. Who lets it in doesn't ask, or trusts everybody."""
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)
    name = x509.Name.from_rfc4514_string(f"CN={CLIENT_ID}-stranger")
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    return Leaf(
        certificate.public_bytes(Encoding.PEM).decode(),
        key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode(),
    )


def _is_one(answers: set[Answer]) -> bool:
    """Whether all connections agree, and say something."""
    return len(answers) == 1 and Answer.NONE not in answers


def _is_refusal(error: SSL.Error) -> bool:
    """Whether the other side has said that it refuses the certificate."""
    return any(f"alert {what}" in _reason_of(error) for what in CERTIFICATE_ALERTS)


def _reason_of(error: SSL.Error) -> str:
    """In OpenSSL's words: each part is a library, a function and a reason."""
    parts = error.args[0] if error.args and isinstance(error.args[0], (list, tuple)) else ()
    return "; ".join(str(part[-1]) for part in parts) or str(error) or type(error).__name__


def _is_address(host: str) -> bool:
    for family in (socket.AF_INET, socket.AF_INET6):
        try:
            socket.inet_pton(family, host)
        except OSError:
            continue
        return True
    return False
