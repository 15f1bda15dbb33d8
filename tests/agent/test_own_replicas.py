"""The agent's look at a real Kafka: a broker that is killed, comes back and catches up; and who may answer for whom."""

import time
from collections.abc import Callable

import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewTopic

from kafka_runbooks.agent.watching import ReadinessWatch
from kafka_runbooks.clients.errors import Unreachable
from kafka_runbooks.clients.own_replicas import OwnReplicasClient
from tests.clients.local_kafka import LocalKafka


def until(condition: Callable[[], bool], timeout_s: float = 40) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "not in time"
        time.sleep(0.3)


def answers_of(client: OwnReplicasClient) -> bool:
    """A broker that has just started may know of nobody else yet: no answer."""
    try:
        return client.poll(10).live_broker_ids == {1001, 1002, 1003}
    except Unreachable:
        return False


def test_a_peer_answers_never_the_broker_itself(kafka: LocalKafka) -> None:
    client = OwnReplicasClient(f"localhost:{kafka.ports[1001]}", 1001)
    until(lambda: answers_of(client))
    answers = [client.poll(10) for _ in range(5)]
    assert {answer.answered_by for answer in answers} <= {1002, 1003, -1}
    assert answers[-1].live_broker_ids == {1001, 1002, 1003}


def test_without_a_peer_that_answers_there_is_no_answer(kafka: LocalKafka, monkeypatch: pytest.MonkeyPatch) -> None:
    client = OwnReplicasClient(f"localhost:{kafka.ports[1001]}", 1001)
    # As after a fail-over to itself, when every peer is out of reach: librdkafka falls back to any broker that it knows.
    first = AdminClient({"bootstrap.servers": f"localhost:{kafka.ports[1001]}", "log_level": 0})
    monkeypatch.setattr(client, "_choose", lambda timeout_s: (first, False))
    with pytest.raises(Unreachable, match="stale"):
        client.poll(10)


def test_killed_restarted_and_caught_up(kafka: LocalKafka) -> None:
    admin = AdminClient({"bootstrap.servers": kafka.bootstrap_servers, "log_level": 0})
    topics = [NewTopic("agent.a", num_partitions=12, replication_factor=3, config={"min.insync.replicas": "2"})]
    for future in admin.create_topics(topics).values():
        future.result()
    watch = ReadinessWatch(f"localhost:{kafka.ports[1001]}", 1001)
    until(lambda: watch.poll().is_ready)
    assert watch.poll().assigned >= 12
    kafka.kill(1001)
    assert watch.poll().reason.startswith("Kafka's port is closed")
    # What a peer says of it meanwhile: first in sync as ever, then fenced.
    client = OwnReplicasClient(kafka.bootstrap_servers, 1001)
    until(lambda: 1001 not in client.poll(10).live_broker_ids)
    producer = Producer({"bootstrap.servers": kafka.bootstrap_servers, "acks": "all", "log_level": 0})
    for number in range(2000):
        producer.produce("agent.a", value=b"x" * 1000, partition=number % 12)
        producer.poll(0)
    assert producer.flush(30) == 0
    assert len(client.poll(10).out_of_sync) >= 12
    kafka.start_broker(1001)
    seen = []

    def is_ready() -> bool:
        verdict = watch.poll()
        seen.append(verdict)
        if verdict.is_ready:
            # Judged by someone else at the same moment: nothing that is behind was called ready.
            assert client.poll(10).out_of_sync == ()
        return verdict.is_ready

    until(is_ready)
    assert not seen[0].is_ready
