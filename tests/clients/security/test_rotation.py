"""Files that change under running clients, against a real Kafka: new connections use them, and nothing that works is lost."""

import logging
import os
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from kafka_runbooks.clients.errors import ClientError, Refused, Unreachable
from kafka_runbooks.clients.kafka import KafkaAdmin
from kafka_runbooks.clients.own_replicas import OwnReplicasClient
from kafka_runbooks.clients.security import connection as connections
from kafka_runbooks.clients.security.connection import Connection, Renewed
from kafka_runbooks.clients.security.settings import Security
from kafka_runbooks.models.cluster import TopicPartition
from tests.clients.security.certificates import Authority, Leaf, written
from tests.clients.security.secure_kafka import BROKER_ID, PLAIN_PASSWORD, PLAIN_USER, SecureKafka

# kafka-python leaves sockets to brokers that went away for the garbage collector.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")

USER = "rotated"
TOPIC = TopicPartition("events", 0)


@pytest.fixture(scope="module", autouse=True)
def rights(kafka: SecureKafka) -> None:
    principals = f"User:{USER}", "User:CN=rotated", f"User:{PLAIN_USER}", f"User:{kafka.endpoint.client_id}"
    kafka.allow_everything(*principals)


OPENED: list[KafkaAdmin] = []


@pytest.fixture(autouse=True)
def closed() -> Iterator[None]:
    """A client that stays open would go on trying, and log, when the cluster is gone."""
    yield
    while OPENED:
        OPENED.pop().close()


class Clients:
    """Those of the worker, and the agent's."""

    def __init__(self, servers: str, settings: dict[str, Any]) -> None:
        security = Security.model_validate(settings)
        self.admin = KafkaAdmin(servers, security)
        OPENED.append(self.admin)
        self.agent = OwnReplicasClient(servers, BROKER_ID, security)

    def ask(self) -> None:
        assert TOPIC in {partition.name for partition in self.admin.snapshot().partitions}
        assert self.admin.elect_preferred_leaders([TOPIC]) == {}
        assert self.agent.poll(10).assigned >= 1

    def open_clients(self) -> tuple[object, ...]:
        return self.admin._kafka_python._client.get(), self.admin._confluent._client.get()

    def refused(self, words: str) -> None:
        for ask in (self.admin.snapshot, lambda: self.admin.elect_preferred_leaders([TOPIC]), lambda: self.agent.poll(10)):
            with pytest.raises(Refused, match=words):
                ask()


def with_certificate(kafka: SecureKafka, folder: Path, leaf: Leaf) -> dict[str, Any]:
    certificate, key = written(folder / "tls.crt", leaf.certificate), written(folder / "tls.key", leaf.key)
    return {"protocol": "SSL", "ca_file": kafka.ca_file, "certificate_file": certificate, "key_file": key}


def with_password(kafka: SecureKafka, file: Path) -> dict[str, Any]:
    sasl = {"mechanism": "SCRAM-SHA-256", "username": USER, "password_file": file}
    return {"protocol": "SASL_SSL", "ca_file": kafka.ca_file, "sasl": sasl}


def test_a_new_certificate_is_used_without_a_restart(kafka: SecureKafka, tmp_path: Path) -> None:
    """Its name is the principal, and only the new one may ask."""
    clients = Clients(kafka.bootstrap_of("TLS"), with_certificate(kafka, tmp_path, kafka.authority.leaf("nobody")))
    clients.refused("needs the ACL")
    with_certificate(kafka, tmp_path, kafka.authority.leaf("rotated"))
    clients.ask()


def test_between_the_writes_of_certificate_and_key_the_open_connections_go_on(
    kafka: SecureKafka, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    clients = Clients(kafka.bootstrap_of("TLS"), with_certificate(kafka, tmp_path, kafka.authority.leaf("rotated")))
    clients.ask()
    opened = clients.open_clients()
    leaf = kafka.authority.leaf("rotated")
    written(tmp_path / "tls.key", leaf.key)
    clients.ask()
    assert clients.open_clients() == opened and "can't be used yet: key_file" in caplog.text
    written(tmp_path / "tls.crt", leaf.certificate)
    clients.ask()
    assert all(new is not old for new, old in zip(clients.open_clients(), opened, strict=True))


def test_six_rotations_among_the_requests_of_three_threads_disturb_nobody(kafka: SecureKafka, tmp_path: Path) -> None:
    clients = Clients(kafka.bootstrap_of("TLS"), with_certificate(kafka, tmp_path, kafka.authority.leaf("rotated")))
    clients.ask()
    done = threading.Event()

    def ask() -> int:
        count = 0
        while not done.is_set():
            clients.admin.snapshot()
            assert clients.admin.elect_preferred_leaders([TOPIC]) == {}
            count += 1
        return count

    opened = set()
    with ThreadPoolExecutor(3) as threads:
        asking = [threads.submit(ask) for _ in range(3)]
        for _ in range(6):
            time.sleep(0.2)
            with_certificate(kafka, tmp_path, kafka.authority.leaf("rotated"))
            opened.add(clients.open_clients())
        done.set()
        assert all(one.result() > 1 for one in asking) and len(opened) == 6


def test_another_ca_is_trusted_once_it_is_in_the_file(kafka: SecureKafka, tmp_path: Path) -> None:
    file = written(tmp_path / "ca.pem", Authority("another").pem)
    settings = with_certificate(kafka, tmp_path, kafka.authority.leaf("rotated")) | {"ca_file": file}
    clients = Clients(kafka.bootstrap_of("TLS"), settings)
    clients.refused("isn't of a CA in ca_file")
    written(file, Authority("another").pem + kafka.authority.pem)
    clients.ask()


def test_a_secrets_volume_changes_the_link_to_a_folder(kafka: SecureKafka, tmp_path: Path) -> None:
    """As the kubelet does it: what is read changes, the path's own link doesn't."""
    for number, password in enumerate(("wrong", "right")):
        (tmp_path / str(number)).mkdir()
        (tmp_path / str(number) / "password").write_text(password)
    (tmp_path / "data").symlink_to("0")
    (tmp_path / "password").symlink_to("data/password")
    kafka.set_password(USER, "right")
    clients = Clients(kafka.bootstrap_of("SASLTLS"), with_password(kafka, tmp_path / "password"))
    clients.refused("check user and password")
    (tmp_path / "new").symlink_to("1")
    os.replace(tmp_path / "new", tmp_path / "data")
    clients.ask()


def test_a_password_that_brokers_know_first_is_waited_for_and_refused_only_in_the_end(
    kafka: SecureKafka, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = written(tmp_path / "password", "first")
    kafka.set_password(USER, "first")
    clients = Clients(kafka.bootstrap_of("SASLTLS"), with_password(kafka, file))
    clients.ask()
    kafka.set_password(USER, "second")
    clients.ask()  # over connections that are open
    clients.admin.close()
    with pytest.raises(Unreachable, match=r"check user and password.*\(taken before: waits 180 s for the end of a rotation\)"):
        clients.admin.snapshot()
    monkeypatch.setattr(connections, "ROTATION_SECONDS", 0.0)
    with pytest.raises(Refused, match="check user and password"):
        clients.admin.snapshot()
    written(file, "second")
    clients.ask()


def eventually(ask: Callable[[], None], seconds: float) -> None:
    """As a step does: what is unreachable for a moment is asked again."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            return ask()
        except Unreachable:
            assert time.monotonic() < deadline
            time.sleep(0.2)


def test_tokens_are_renewed_with_the_secret_of_the_day(
    kafka: SecureKafka, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The listener ends a connection with its token."""
    monkeypatch.setattr(kafka.endpoint, "lifetime_seconds", 4)
    secret = written(tmp_path / "secret", kafka.endpoint.secret)
    sasl = {
        "mechanism": "OAUTHBEARER",
        "token_endpoint_url": kafka.endpoint.url,
        "client_id": kafka.endpoint.client_id,
        "client_secret_file": secret,
    }
    clients = Clients(kafka.bootstrap_of("SASLTLS"), {"protocol": "SASL_SSL", "ca_file": kafka.ca_file, "sasl": sasl})
    clients.ask()
    monkeypatch.setattr(kafka.endpoint, "secret", "second-secret")
    written(secret, "second-secret")
    time.sleep(5)
    eventually(clients.ask, 20)


def test_no_log_shows_a_secret(kafka: SecureKafka, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Not at level DEBUG either, where kafka-python logs its configuration and what it sends."""
    caplog.set_level(logging.DEBUG)
    password = written(tmp_path / "password", PLAIN_PASSWORD)
    sasl = {"mechanism": "PLAIN", "username": PLAIN_USER, "password_file": password}
    clients = Clients(kafka.bootstrap_of("SASLTLS"), {"protocol": "SASL_SSL", "ca_file": kafka.ca_file, "sasl": sasl})
    clients.ask()
    clients.admin.close()
    assert "Starting KafkaAdminClient with configuration" in caplog.text and PLAIN_PASSWORD not in caplog.text


def test_a_replaced_client_stays_open_for_what_is_under_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = written(tmp_path / "password", "first")
    sasl = {"mechanism": "PLAIN", "username": "a", "password_file": file}
    connection = Connection("127.0.0.1:1", Security.model_validate({"protocol": "SASL_SSL", "sasl": sasl}))
    closed: list[str] = []

    def make() -> str:
        if file.read_text() == "bad":
            raise ClientError("bad")
        return file.read_text()

    client = Renewed(connection, make, closed.append)
    assert client.get() == "first"
    for text, expected in (("bad", "first"), ("second", "second")):
        written(file, text)
        assert client.get() == expected and closed == []
    monkeypatch.setattr(connections, "RETIRED_SECONDS", 0.0)
    assert client.get() == "second" and closed == ["first"]
    client.close()
    assert closed == ["first", "second"]
    assert client.get() == "second", "the next use opens another"
