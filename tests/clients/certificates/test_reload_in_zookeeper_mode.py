"""Certificates that change under a real Kafka 3.9 in ZooKeeper mode: as in KRaft mode, with no controller to ask."""

from collections.abc import Iterator

import pytest

from kafka_runbooks.clients.kafka import KafkaAdmin
from tests.clients.certificates.test_reload_on_kafka import (
    FIRST,
    OLD,
    admin,
    answer,
    files_as_before,
    reloaded,
    serves,
    stores_of,
    test_what_a_broker_would_refuse_is_told_before,
    test_what_somebody_else_has_set_dynamically_stays,
)
from tests.clients.certificates.tls_kafka import CLIENT, INTERNAL, TlsKafka
from tests.clients.local_kafka import running
from tests.clients.local_zookeeper_kafka import LocalZookeeperKafka

__all__ = [
    "admin",
    "files_as_before",
    "test_what_a_broker_would_refuse_is_told_before",
    "test_what_somebody_else_has_set_dynamically_stays",
]

# kafka-python leaves sockets to brokers that went away for the garbage collector.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


class TlsZookeeperKafka(TlsKafka, LocalZookeeperKafka):
    """Its line to ZooKeeper is plain."""


@pytest.fixture(scope="module")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TlsKafka]:
    with running(TlsZookeeperKafka(tmp_path_factory.mktemp("tls"), OLD, brokers=2)) as cluster:
        yield cluster


def test_brokers_say_where_their_files_are_and_load_new_ones(kafka: TlsKafka, admin: KafkaAdmin) -> None:
    assert answer(lambda: admin.tls_stores([FIRST, 4711])) == {
        FIRST: (stores_of(kafka, FIRST, INTERNAL), stores_of(kafka, FIRST, CLIENT))
    }
    leaf = kafka.leaf(FIRST)
    kafka.give(FIRST, leaf)
    assert reloaded(admin, stores_of(kafka, FIRST, CLIENT), serves(leaf))
