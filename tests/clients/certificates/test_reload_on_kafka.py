"""Certificates that change under a real Kafka: what `docs/security.md` says of it, seen by handshakes.

Three processes for all of these tests, and each test leaves the files as it found them.
"""

import dataclasses
import re
from collections.abc import Callable, Iterator
from typing import TypeVar

import pytest
from tenacity import Retrying, retry_if_exception_type, stop_after_delay, wait_fixed

from kafka_runbooks.clients.certificates import pem, protocols
from kafka_runbooks.clients.certificates.handshakes import TlsHandshakes
from kafka_runbooks.clients.errors import Unreachable
from kafka_runbooks.clients.kafka import KafkaAdmin
from kafka_runbooks.clients.kafka.configs import until
from kafka_runbooks.clients.security.settings import Security
from kafka_runbooks.models.certificates import Listener, Seen, Stores
from kafka_runbooks.models.cluster import BrokerConfig
from tests.clients.certificates.tls_kafka import CLIENT, CONTROLLER, CONTROLLER_ID, INTERNAL, TlsKafka
from tests.clients.local_kafka import running
from tests.clients.security.certificates import Authority, Leaf, written

# kafka-python leaves sockets to brokers that went away for the garbage collector.
pytestmark = [pytest.mark.server, pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")]

FIRST, SECOND = 1001, 1002
THROTTLE = "leader.replication.throttled.rate"
RELOAD_SECONDS = 60.0
OLD, NEW, NOBODY = Authority("CA"), Authority("CA"), Authority("nobody's CA")
"""Two of the same name: by that they can't be told apart."""
HANDSHAKES = TlsHandshakes()

T = TypeVar("T")


@pytest.fixture(scope="module")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TlsKafka]:
    with running(TlsKafka(tmp_path_factory.mktemp("tls"), OLD, brokers=2)) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def admin(kafka: TlsKafka) -> Iterator[KafkaAdmin]:
    """A client with a certificate, as the worker has one."""
    leaf = OLD.leaf("worker")
    folder = kafka.folder
    security = Security.model_validate(
        {
            "protocol": "SSL",
            "ca_file": written(folder / "worker-ca.pem", OLD.pem),
            "certificate_file": written(folder / "worker.pem", leaf.certificate),
            "key_file": written(folder / "worker-key.pem", leaf.key),
        }
    )
    found = KafkaAdmin(kafka.bootstrap_of(CLIENT), security)
    yield found
    found.close()


@pytest.fixture(autouse=True)
def files_as_before(kafka: TlsKafka) -> Iterator[None]:
    paths = [path for node_id in (CONTROLLER_ID, FIRST, SECOND) for path in (kafka.keystore(node_id), kafka.truststore(node_id))]
    before = {path: path.read_text() for path in paths}
    yield
    for path, text in before.items():
        written(path, text)


def client_of(authority: Authority) -> protocols.Leaf:
    leaf = authority.leaf("probe")
    return protocols.Leaf(leaf.certificate, leaf.key)


PROBES = {authority.pem: client_of(authority) for authority in (OLD, NEW)}
OLD_SHA256, NEW_SHA256 = map(pem.fingerprint, PROBES)


def see(stores: Stores) -> Seen:
    (seen,) = HANDSHAKES.see([stores.listener], PROBES)
    return seen


def answer(ask: Callable[[], T]) -> T:
    """Of a node that is slow while it reloads."""
    patient = Retrying(
        retry=retry_if_exception_type(Unreachable), stop=stop_after_delay(RELOAD_SECONDS), wait=wait_fixed(0.5), reraise=True
    )
    return patient(ask)


def stores_of(kafka: TlsKafka, node_id: int, listener: str) -> Stores:
    port, is_controller = kafka.port(node_id, listener), listener == CONTROLLER
    at = Listener(node_id=node_id, name=listener, host="127.0.0.1", port=port, is_controller=is_controller)
    return Stores(listener=at, keystore=str(kafka.keystore(node_id)), truststore=str(kafka.truststore(node_id)))


def reloaded(admin: KafkaAdmin, stores: Stores, holds: Callable[[Seen], bool]) -> bool:
    answer(lambda: admin.reload_stores(stores.listener.node_id, [stores.listener.name]))

    def is_so() -> bool:
        seen = see(stores)
        return seen.is_settled and seen.problem is None and holds(seen)

    return until(is_so, RELOAD_SECONDS, 0.1)


def serves(leaf: Leaf) -> Callable[[Seen], bool]:
    (wanted,) = pem.certificates(leaf.certificate.encode())
    return lambda seen: bool(seen.chain) and seen.chain[0] == wanted


def own_configs(admin: KafkaAdmin, node_id: int) -> dict[str, str]:
    """What is set dynamically on a broker itself."""

    def found() -> dict[str, BrokerConfig]:
        try:
            return admin.broker_configs([node_id])[node_id]
        except KeyError:
            raise Unreachable("it is slow") from None

    return {name: one.own for name, one in answer(found).items() if one.own is not None}


def test_every_node_says_where_its_files_are(kafka: TlsKafka, admin: KafkaAdmin) -> None:
    """A controller tells it itself; a node that isn't there is left out."""
    assert answer(lambda: admin.tls_stores([CONTROLLER_ID, FIRST, 4711])) == {
        CONTROLLER_ID: (stores_of(kafka, CONTROLLER_ID, CONTROLLER),),
        FIRST: (stores_of(kafka, FIRST, INTERNAL), stores_of(kafka, FIRST, CLIENT)),
    }


def test_what_a_node_presents_and_whom_it_trusts(kafka: TlsKafka) -> None:
    for node_id, listener in ((FIRST, INTERNAL), (CONTROLLER_ID, CONTROLLER)):
        seen = see(stores_of(kafka, node_id, listener))
        assert [one.subject for one in seen.chain] == [f"CN=node-{node_id}"]
        assert seen.authority == OLD_SHA256 and seen.trusts == {OLD_SHA256: True, NEW_SHA256: False}
        assert seen.asks_for_certificates and seen.is_settled and seen.problem is None


def test_a_listener_without_tls_is_told_from_one_that_is_down(kafka: TlsKafka) -> None:
    plain = Listener(node_id=FIRST, name="PLAINTEXT", host="127.0.0.1", port=kafka.ports[FIRST])
    (seen,) = HANDSHAKES.see([plain], PROBES)
    assert seen.chain == () and seen.problem is not None and "has it no TLS?" in seen.problem


@pytest.mark.parametrize("node_id, listener", [(FIRST, CLIENT), (CONTROLLER_ID, CONTROLLER)])
def test_a_reload_shows_on_all_listeners_and_leaves_nothing_behind(
    kafka: TlsKafka, admin: KafkaAdmin, node_id: int, listener: str
) -> None:
    """What somebody else has set on the node stays."""
    leaf = kafka.leaf(node_id)
    kafka.give(node_id, leaf)
    assert reloaded(admin, stores_of(kafka, node_id, listener), serves(leaf))
    if node_id == FIRST:
        assert serves(leaf)(see(stores_of(kafka, FIRST, INTERNAL)))
        assert own_configs(admin, FIRST) == {}


def test_what_somebody_else_has_set_dynamically_stays(kafka: TlsKafka, admin: KafkaAdmin) -> None:
    key = f"listener.name.{CLIENT.lower()}.ssl.keystore.location"
    theirs = {THROTTLE: "1000000", key: str(kafka.keystore(FIRST))}
    assert answer(lambda: admin.set_broker_configs(FIRST, theirs)) == {}
    leaf = kafka.leaf(FIRST)
    kafka.give(FIRST, leaf)
    assert reloaded(admin, stores_of(kafka, FIRST, CLIENT), serves(leaf))
    assert own_configs(admin, FIRST) == theirs
    assert answer(lambda: admin.set_broker_configs(FIRST, dict.fromkeys(theirs))) == {}


def test_a_change_by_somebody_else_reloads_too_on_that_broker_only(kafka: TlsKafka, admin: KafkaAdmin) -> None:
    """So a file is in use from the moment in which it is there."""
    leaves = {node_id: kafka.leaf(node_id) for node_id in (FIRST, SECOND)}
    for node_id, leaf in leaves.items():
        kafka.give(node_id, leaf)
    for change in ({THROTTLE: "1000000"}, {THROTTLE: None}):
        assert answer(lambda change=change: admin.set_broker_configs(FIRST, change)) == {}  # type: ignore[misc]
    first, second = (stores_of(kafka, node_id, CLIENT) for node_id in (FIRST, SECOND))
    assert until(lambda: serves(leaves[FIRST])(see(first)), RELOAD_SECONDS, 0.1)
    assert not serves(leaves[SECOND])(see(second))


def test_an_authority_is_trusted_and_dropped_by_a_reload(kafka: TlsKafka, admin: KafkaAdmin) -> None:
    for node_id, listener in ((SECOND, CLIENT), (CONTROLLER_ID, CONTROLLER)):
        stores = stores_of(kafka, node_id, listener)
        kafka.give(node_id, trusted=[OLD.pem, NEW.pem])
        assert reloaded(admin, stores, lambda seen: seen.trusts == {OLD_SHA256: True, NEW_SHA256: True})
        kafka.give(node_id, trusted=[OLD.pem])
        assert reloaded(admin, stores, lambda seen: seen.trusts == {OLD_SHA256: True, NEW_SHA256: False})


def leaves(kafka: TlsKafka) -> dict[str, tuple[Leaf, str]]:
    """Leaves that the second broker refuses, and why."""
    good, name = kafka.leaf(SECOND), f"node-{SECOND}"
    return {
        "another subject": (OLD.leaf("node-1003", "127.0.0.1", hosts=("localhost",)), "DistinguishedName does not match"),
        "a name less": (OLD.leaf(name, "127.0.0.1"), "SubjectAltNames do not match"),
        "another's key": (dataclasses.replace(good, key=kafka.leaf(SECOND).key), "CertificateVerify"),
        "an unknown authority": (kafka.leaf(SECOND, NEW), "signature check|path building"),
        "expired": (OLD.leaf(name, "127.0.0.1", hosts=("localhost",), expired=True), "validity check|expired"),
        "not PEM": (dataclasses.replace(good, key=good.key[:60]), "Failed to load PEM"),
    }


def test_what_a_broker_would_refuse_is_told_before(kafka: TlsKafka, admin: KafkaAdmin) -> None:
    """A reload of the same is accepted, and changes nothing."""
    stores = stores_of(kafka, SECOND, INTERNAL)
    before = see(stores).chain
    assert answer(lambda: admin.refused_stores(SECOND, [INTERNAL])) is None
    for what, (leaf, words) in leaves(kafka).items():
        kafka.give(SECOND, leaf)
        why = answer(lambda: admin.refused_stores(SECOND, [INTERNAL]))
        assert why is not None and re.search(words, why), what
    answer(lambda: admin.reload_stores(SECOND, [INTERNAL]))
    fresh = kafka.leaf(SECOND)
    kafka.give(SECOND, fresh)
    assert see(stores).chain == before
    assert reloaded(admin, stores, serves(fresh)) and own_configs(admin, SECOND) == {}


def test_a_controller_tells_nothing_before(kafka: TlsKafka, admin: KafkaAdmin) -> None:
    """It doesn't validate what it is asked to: only a handshake shows what became of a reload."""
    stores = stores_of(kafka, CONTROLLER_ID, CONTROLLER)
    before = see(stores).chain
    leaf = kafka.leaf(CONTROLLER_ID)
    kafka.give(CONTROLLER_ID, dataclasses.replace(leaf, key=leaf.key[:60]))
    assert answer(lambda: admin.refused_stores(CONTROLLER_ID, [CONTROLLER])) is None
    answer(lambda: admin.reload_stores(CONTROLLER_ID, [CONTROLLER]))
    assert see(stores).chain == before
    kafka.give(CONTROLLER_ID, leaf)
    assert reloaded(admin, stores, serves(leaf))


# Two reloads and a controller's restart; tests/workflows/test_rotate_certificates.py has fakes that keep to it.
@pytest.mark.soak
def test_the_metadata_connection_uses_what_the_process_was_started_with(kafka: TlsKafka) -> None:
    """A broker looks healthy, and hears of nothing any more: the last test here, for it leaves other certificates in use."""
    plain = KafkaAdmin(kafka.bootstrap_servers)
    for node_id in (FIRST, SECOND):
        stores, leaf = stores_of(kafka, node_id, INTERNAL), kafka.leaf(node_id, NEW)
        kafka.give(node_id, trusted=[OLD.pem, NEW.pem])
        assert reloaded(plain, stores, lambda seen: seen.trusts.get(NEW_SHA256) is True)
        kafka.give(node_id, leaf)
        assert reloaded(plain, stores, serves(leaf))
    kafka.kill(CONTROLLER_ID)
    kafka.give(CONTROLLER_ID, trusted=[NEW.pem])
    kafka._start_node(CONTROLLER_ID, "controller", kafka.controller_port, "")

    quorum = answer(plain.metadata_quorum)
    assert quorum is not None and quorum.leader_id == CONTROLLER_ID, "brokers reach it to pass requests on"
    assert quorum.observers == (), "and none fetches from it"
    plain.close()
