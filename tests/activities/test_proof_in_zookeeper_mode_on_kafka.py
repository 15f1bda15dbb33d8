"""On a real Kafka in ZooKeeper mode: brokers that are cut off, hang or come back are told from those that hold a copy."""

import time
from collections.abc import Callable, Collection, Iterator
from typing import TypeVar

import pytest
from confluent_kafka.admin import AdminClient, NewTopic
from kafka.protocol.metadata import MetadataRequest

from activities import proof
from activities.errors import NotProven
from kafka_runbooks.clients.errors import Unreachable
from kafka_runbooks.clients.kafka import KafkaAdmin, answers
from kafka_runbooks.clients.zookeeper.client import ZooKeeperClient
from kafka_runbooks.clients.zookeeper.settings import ZookeeperSettings
from kafka_runbooks.models.cluster import ClusterSnapshot, TopicPartition
from kafka_runbooks.safety.availability import risks_of_losing
from tests.clients.local_zookeeper_kafka import LocalZookeeperKafka, kafka

__all__ = ["kafka"]

# kafka-python leaves sockets to brokers that went away for the garbage collector.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
T = TypeVar("T")
PROOF = TopicPartition("proof", 0)


@pytest.fixture(scope="module")
def zookeeper(kafka: LocalZookeeperKafka) -> ZooKeeperClient:
    return ZooKeeperClient(ZookeeperSettings(hosts=kafka.hosts))


@pytest.fixture(scope="module")
def admin(kafka: LocalZookeeperKafka) -> Iterator[KafkaAdmin]:
    topic = NewTopic("proof", num_partitions=1, replica_assignment=[[1001, 1003]])
    maker = AdminClient({"bootstrap.servers": kafka.bootstrap_servers})
    for future in maker.create_topics([topic]).values():
        future.result(30)
    found = KafkaAdmin(kafka.bootstrap_servers)
    yield found
    found.close()


@pytest.fixture(autouse=True)
def in_order_again(kafka: LocalZookeeperKafka, admin: KafkaAdmin, zookeeper: ZooKeeperClient) -> Iterator[None]:
    yield
    for broker_id in kafka.racks:
        kafka.mend(broker_id)
        kafka.wake(broker_id)
        kafka.until_registered(broker_id, True)
    proven(admin, zookeeper, lambda found: set(found.by_name[PROOF].in_sync) == {1001, 1003})


def proven(admin: KafkaAdmin, zookeeper: ZooKeeperClient, holds: Callable[[ClusterSnapshot], bool]) -> ClusterSnapshot:
    """A fresh snapshot in which something holds, as an activity waits for it."""
    deadline = time.monotonic() + 60
    while True:
        try:
            if holds(snapshot := proof.fresh_snapshot(admin, zookeeper)):
                return snapshot
        except (NotProven, Unreachable):
            pass
        assert time.monotonic() < deadline
        time.sleep(0.3)


class Believing(KafkaAdmin):
    """Has the metadata of one broker, which any client may happen to ask."""

    def __init__(self, admin: KafkaAdmin, broker_id: int) -> None:
        vars(self).update(vars(admin))
        self._broker_id = broker_id

    def snapshot(self, topics: Collection[str] | None = None, *, minimum_in_sync_seconds: float = 0.0) -> ClusterSnapshot:
        request = MetadataRequest(topics=None, allow_auto_topic_creation=False)
        found = answers.metadata(self._kafka_python.ask("metadata", request, self._broker_id, 5.0), self._broker_id)
        return ClusterSnapshot(
            cluster_id=found.cluster_id, brokers=found.brokers, partitions=found.partitions, minimum_in_sync={}, answered_by=1002
        )


def test_a_copy_that_is_in_sync_on_a_broker_with_a_session_is_proven(
    kafka: LocalZookeeperKafka, admin: KafkaAdmin, zookeeper: ZooKeeperClient
) -> None:
    snapshot = proven(admin, zookeeper, lambda found: PROOF in found.by_name)
    assert snapshot.live_broker_ids == set(kafka.racks) and snapshot.racks == kafka.racks
    ports = {broker.id: broker.port for broker in snapshot.brokers}
    assert ports == kafka.ports and None not in [broker.epoch for broker in snapshot.brokers]
    # A topic's replicas are in sync from the start, before their brokers have heard of it.
    proven(admin, zookeeper, lambda found: proof.copies_without_proof(admin, zookeeper, found, 1001) == {})
    assert risks_of_losing(snapshot, [1001]) == []


def test_without_the_ensemble_s_address_nothing_is_proven(admin: KafkaAdmin) -> None:
    with pytest.raises(NotProven, match=r"in ZooKeeper mode, and clusters\.yaml names no zookeeper"):
        proof.fresh_snapshot(admin, None)


def test_a_broker_that_is_cut_off_serves_old_metadata_and_is_believed_in_nothing(
    kafka: LocalZookeeperKafka, admin: KafkaAdmin, zookeeper: ZooKeeperClient
) -> None:
    """1002 has lost ZooKeeper before 1003 dies with the second copy: by its metadata 1001's disk might go."""
    proven(admin, zookeeper, lambda found: set(found.by_name[PROOF].in_sync) == {1001, 1003})
    kafka.cut(1002)
    kafka.until_registered(1002, False)
    kafka.kill(1003)
    try:
        kafka.until_registered(1003, False)
        proven(admin, zookeeper, lambda found: found.by_name[PROOF].in_sync == (1001,))
        stale = Believing(admin, 1002)
        old = stale.snapshot()
        assert {1002, 1003} <= old.live_broker_ids and risks_of_losing(old, [1001]) == [], "the trap: it goes on to answer"
        snapshot = proof.fresh_snapshot(stale, zookeeper)
        assert snapshot.live_broker_ids == {1001}
        assert [risk.name for risk in risks_of_losing(snapshot, [1001])] == ["data-loss:proof"]
        assert proof.copies_without_proof(stale, zookeeper, snapshot, 1001) == {PROOF: "no other replica is in sync"}
    finally:
        kafka.start_broker(1003)


def test_a_broker_that_hangs_has_no_copy_that_is_proven(
    kafka: LocalZookeeperKafka, admin: KafkaAdmin, zookeeper: ZooKeeperClient
) -> None:
    """Its session lasts for a while."""
    snapshot = proven(admin, zookeeper, lambda found: set(found.by_name[PROOF].in_sync) == {1001, 1003})
    kafka.hang(1003)
    assert proof.copies_without_proof(admin, zookeeper, snapshot, 1001) == {PROOF: "broker 1003 doesn't answer"}


def test_a_live_broker_whose_session_expires_proves_nothing_by_its_former_word(
    kafka: LocalZookeeperKafka, admin: KafkaAdmin, zookeeper: ZooKeeperClient
) -> None:
    """It goes on as another one: out of the in-sync replicas first, and with another epoch."""
    before = proven(admin, zookeeper, lambda found: set(found.by_name[PROOF].in_sync) == {1001, 1003})
    kafka.cut(1003)
    kafka.until_registered(1003, False)
    why = {PROOF: "broker 1003 has no session in ZooKeeper any more"}
    assert proof.copies_without_proof(admin, zookeeper, before, 1001) == why
    kafka.mend(1003)
    kafka.until_registered(1003, True)
    why = {PROOF: "broker 1003 has just got another session in ZooKeeper"}
    assert proof.copies_without_proof(admin, zookeeper, before, 1001) == why
    after = proven(admin, zookeeper, lambda found: set(found.by_name[PROOF].in_sync) == {1001, 1003})
    assert epoch(after, 1003) > epoch(before, 1003)
    assert proof.copies_without_proof(admin, zookeeper, after, 1001) == {}


def epoch(snapshot: ClusterSnapshot, broker_id: int) -> int:
    return next(broker.epoch or 0 for broker in snapshot.brokers if broker.id == broker_id)


def test_after_a_failover_the_new_controller_s_records_count(
    kafka: LocalZookeeperKafka, admin: KafkaAdmin, zookeeper: ZooKeeperClient
) -> None:
    former = zookeeper.sessions()
    assert former.controller_id is not None and former.controller_epoch is not None
    kafka.cut(former.controller_id)  # It believes that it is the controller still.
    snapshot = proven(admin, zookeeper, lambda found: found.controller_id != former.controller_id)
    now = zookeeper.sessions()
    assert now.controller_id == snapshot.controller_id and (now.controller_epoch or 0) > former.controller_epoch
    assert former.controller_id not in snapshot.live_broker_ids


def test_while_zookeeper_hangs_nothing_is_proven_and_brokers_go_on_to_answer(
    kafka: LocalZookeeperKafka, admin: KafkaAdmin, zookeeper: ZooKeeperClient
) -> None:
    kafka.zookeeper.pause()
    try:
        assert Believing(admin, 1002).snapshot().live_broker_ids == set(kafka.racks)
        with pytest.raises(NotProven, match="the metadata may be old: ZooKeeper"):
            proof.fresh_snapshot(admin, zookeeper)
    finally:
        kafka.zookeeper.resume()


def test_a_topic_that_is_being_deleted_holds_nobody_up(
    kafka: LocalZookeeperKafka, admin: KafkaAdmin, zookeeper: ZooKeeperClient
) -> None:
    """Kafka deletes none while a broker with a replica of it is down."""
    maker = AdminClient({"bootstrap.servers": kafka.bootstrap_servers})
    maker.create_topics([NewTopic("going", num_partitions=1, replica_assignment=[[1002]])])["going"].result(30)
    proven(admin, zookeeper, lambda found: TopicPartition("going", 0) in found.by_name)
    kafka.kill(1002)
    kafka.until_registered(1002, False)
    try:
        snapshot = proven(admin, zookeeper, lambda found: 1002 not in found.live_broker_ids)
        assert [risk.name for risk in risks_of_losing(snapshot, [1002])] == ["data-loss:going"]
        assert admin.delete_topics({"going": snapshot.topic_ids["going"]}) == {}
        snapshot = proven(admin, zookeeper, lambda found: TopicPartition("going", 0) not in found.by_name)
        assert kafka.znodes.exists("/brokers/topics/going"), "it is still there"
    finally:
        kafka.start_broker(1002)
