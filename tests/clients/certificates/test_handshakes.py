"""What handshakes show, with servers of every kind on loopback; `test_reload_on_kafka` has Kafka's."""

import itertools
import socket
import ssl
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from kafka_runbooks.clients.certificates import handshakes, pem, protocols
from kafka_runbooks.clients.certificates.handshakes import TlsHandshakes
from kafka_runbooks.models.certificates import Listener, Seen
from tests.clients.security.certificates import Authority, Leaf, written

OURS, OTHER, TWIN = Authority("CA"), Authority("other CA"), Authority("CA")
SERVER = OURS.leaf("kafka-0", "127.0.0.1", hosts=("kafka-0.kafka",))


def probe_of(authority: Authority, *, expired: bool = False) -> protocols.Leaf:
    leaf = authority.leaf("probe", expired=expired)
    return protocols.Leaf(leaf.certificate, leaf.key)


PROBES = {one.pem: probe_of(one) for one in (TWIN, OURS, OTHER)}
TWIN_SHA256, OURS_SHA256, OTHER_SHA256 = map(pem.fingerprint, PROBES)
TRUST = {TWIN_SHA256: False, OURS_SHA256: True, OTHER_SHA256: False}


def context(
    folder: Path, leaf: Leaf = SERVER, trusted: Sequence[Authority] = (OURS,), newest: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3
) -> ssl.SSLContext:
    """As a listener has it; it asks for no certificates if it trusts nobody."""
    found = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    found.maximum_version = newest
    found.load_cert_chain(written(folder / "leaf.pem", leaf.both))
    if trusted:
        found.verify_mode = ssl.CERT_REQUIRED
        found.load_verify_locations(cadata="".join(one.pem for one in trusted))
    return found


@contextmanager
def listening(serve: Callable[[socket.socket], None]) -> Iterator[Listener]:
    """A server that does this with each connection, one after the other."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def run() -> None:
            while True:
                try:
                    link, _ = server.accept()
                except OSError:
                    return
                with link:
                    try:
                        serve(link)
                    except OSError:
                        continue

        thread = threading.Thread(target=run)
        thread.start()
        try:
            yield Listener(node_id=0, name="CLIENT", host="127.0.0.1", port=server.getsockname()[1])
        finally:
            server.shutdown(socket.SHUT_RDWR)
            thread.join()


def secured(*contexts: ssl.SSLContext) -> Callable[[socket.socket], None]:
    """Answers whoever is let in; its contexts take turns, as network threads do."""
    turns = itertools.cycle(contexts)

    def serve(link: socket.socket) -> None:
        with next(turns).wrap_socket(link, server_side=True) as tls:
            if tls.recv(1024):
                tls.sendall(b"\0\0\0\4\0\0\0\0")
                tls.recv(1024)

    return serve


def see(serve: Callable[[socket.socket], None]) -> Seen:
    with listening(serve) as listener:
        (seen,) = TlsHandshakes().see([listener], PROBES)
        return seen


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_certificate_issuer_and_trust(tmp_path: Path, version: ssl.TLSVersion) -> None:
    seen = see(secured(context(tmp_path, newest=version)))
    shown, *_ = seen.chain
    assert (shown.subject, shown.issuer, shown.names) == ("CN=kafka-0", "CN=CA", ("127.0.0.1", "kafka-0.kafka"))
    assert shown == pem.certificates(SERVER.certificate.encode())[0]
    assert seen.authority == OURS_SHA256, "by its signature: another one has the same name"
    assert seen.trusts == TRUST
    assert (seen.asks_for_certificates, seen.is_settled, seen.problem) == (True, True, None)


def test_an_expired_certificate_of_an_unknown_authority_is_seen_like_any_other(tmp_path: Path) -> None:
    leaf = Authority("stranger").leaf("kafka-0", expired=True)
    seen = see(secured(context(tmp_path, leaf, [OURS, OTHER])))
    assert seen.chain == pem.certificates(leaf.certificate.encode()) and seen.authority is None
    assert seen.trusts == TRUST | {OTHER_SHA256: True} and seen.problem is None


def test_a_listener_that_lets_in_anybody_shows_nothing_of_trust(tmp_path: Path) -> None:
    seen = see(secured(context(tmp_path, trusted=())))
    assert seen.chain and not seen.asks_for_certificates and seen.trusts == {} and seen.problem is None


@pytest.mark.parametrize("differs", ["certificate", "trust"])
def test_network_threads_that_differ_are_not_settled(tmp_path: Path, differs: str) -> None:
    """Ten connections: nobody's, and three of each authority, in turn to two threads."""
    leaf = OURS.leaf("kafka-0") if differs == "certificate" else SERVER
    trusted = [OURS] if differs == "certificate" else [OURS, OTHER]
    seen = see(secured(context(tmp_path), context(tmp_path, leaf, trusted)))
    assert not seen.is_settled
    assert seen.trusts == {one: trusts for one, trusts in TRUST.items() if one != OTHER_SHA256 or differs == "certificate"}


def test_a_client_certificate_that_has_expired_says_nothing_of_trust(tmp_path: Path) -> None:
    """Kafka refuses it with the same words as one of an unknown authority."""
    with listening(secured(context(tmp_path))) as listener:
        (seen,) = TlsHandshakes().see([listener], {OURS.pem: probe_of(OURS, expired=True), OTHER.pem: None})
    assert seen.chain and seen.authority == OURS_SHA256 and seen.trusts == {}


def closed(link: socket.socket) -> None:
    link.recv(1)


def silent(link: socket.socket) -> None:
    while link.recv(1024):
        pass


def test_what_is_wrong_with_one_listener_is_told_and_concerns_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Down, silent, without TLS, unknown: the good one is seen, in its place."""
    monkeypatch.setattr(handshakes, "CONNECTION_SECONDS", 1.0)
    with ExitStack() as servers:
        good, hangs, plain = (servers.enter_context(listening(serve)) for serve in (secured(context(tmp_path)), silent, closed))
        with socket.create_server(("127.0.0.1", 0)) as gone:
            down = good.model_copy(update={"port": gone.getsockname()[1]})
        unknown = good.model_copy(update={"host": "kafka-9.invalid"})
        seen = TlsHandshakes().see([down, hangs, good, plain, unknown], PROBES)
    assert [one.listener for one in seen] == [down, hangs, good, plain, unknown]
    assert seen[2].chain and seen[2].problem is None
    problems = [one.problem or "" for one in seen]
    assert "doesn't answer: Connection refused" in problems[0]
    assert "has it no TLS?" in problems[1] and "has it no TLS?" in problems[3]
    assert "kafka-9.invalid" in problems[4] and "doesn't answer" in problems[4]
    assert not any(one.chain or one.trusts for one in seen if one is not seen[2])


def test_nothing_asked_nothing_seen() -> None:
    assert TlsHandshakes().see([], PROBES) == ()
