"""On a real Kafka: while the controllers hang, brokers go on to answer from what they knew, and no disk goes."""

import signal
import time

import pytest
from confluent_kafka.admin import AdminClient, NewTopic

from activities import proof
from activities.errors import NotProven
from kafka_runbooks.clients.kafka import KafkaAdmin
from kafka_runbooks.models.cluster import TopicPartition
from kafka_runbooks.safety.availability import risks_of_losing
from tests.clients.local_kafka import LocalKafka, kafka

__all__ = ["kafka"]

CONTROLLER = 1
SESSION_SECONDS = 6
"""`broker.session.timeout.ms`: by then controllers that live would have fenced a broker that is killed."""


def test_while_the_controllers_hang_nothing_proves_a_copy_and_the_metadata_promise_one(kafka: LocalKafka) -> None:
    topic = NewTopic("proof", num_partitions=1, replica_assignment=[[1001, 1003]])
    maker = AdminClient({"bootstrap.servers": kafka.bootstrap_servers})
    for future in maker.create_topics([topic]).values():
        future.result(30)
    admin = KafkaAdmin(kafka.bootstrap_servers)
    deadline = time.monotonic() + 60
    while True:
        try:
            snapshot = proof.fresh_snapshot(admin, None)
            if list(snapshot.on_broker(1001)) and proof.copies_without_proof(admin, None, snapshot, 1001) == {}:
                break
        except NotProven:
            pass
        assert time.monotonic() < deadline
        time.sleep(0.5)
    kafka.processes[CONTROLLER].send_signal(signal.SIGSTOP)
    try:
        kafka.kill(1003)
        time.sleep(SESSION_SECONDS + 3)
        old = admin.snapshot()
        assert 1003 in old.live_broker_ids and risks_of_losing(old, [1001]) == [], "the metadata are old"
        with pytest.raises(NotProven, match="no controller answers"):
            proof.fresh_snapshot(admin, None)
        unanswered = admin.replica_sizes([1003]).unanswered_broker_ids
        assert unanswered == (1003,), "and the broker with the copy doesn't answer"
    finally:
        kafka.processes[CONTROLLER].send_signal(signal.SIGCONT)
    deadline = time.monotonic() + 60
    while True:
        try:
            snapshot = proof.fresh_snapshot(admin, None)
            if 1003 not in snapshot.live_broker_ids:
                break
        except NotProven:
            pass
        assert time.monotonic() < deadline
        time.sleep(0.5)
    assert list(proof.copies_without_proof(admin, None, snapshot, 1001)) == [TopicPartition("proof", 0)]
    assert [risk.name for risk in risks_of_losing(snapshot, [1001])] == ["data-loss:proof"]
    admin.close()
