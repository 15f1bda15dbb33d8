"""Topics made, grown, configured and deleted on a real Kafka of three brokers."""

import time
from collections.abc import Iterator

import pytest
from confluent_kafka import Producer

from kafka_runbooks.clients.kafka import KafkaAdmin
from kafka_runbooks.clients.kafka import topics as module
from kafka_runbooks.models.topic_changes import NewPartitions, NewTopic
from tests.clients.local_kafka import LocalKafka
from tests.clients.test_kafka import until

pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


@pytest.fixture(scope="module")
def admin(kafka: LocalKafka) -> Iterator[KafkaAdmin]:
    admin = KafkaAdmin(kafka.bootstrap_servers)
    yield admin
    admin.close()


def placed(admin: KafkaAdmin, topic: str) -> list[tuple[int, ...]]:
    return [partition.replicas for partition in admin.snapshot([topic]).partitions]


def test_topics_are_made_where_they_are_wanted_and_each_one_s_refusal_is_told(admin: KafkaAdmin) -> None:
    wanted = [
        NewTopic(name="made.a", replicas=((1001, 1002), (1003, 1001)), configs={"min.insync.replicas": "2"}),
        NewTopic(name="made.b", replicas=((4711, 1002),)),
        NewTopic(name="made.c", replicas=((1002,),), configs={"no.such.key": "1"}),
        NewTopic(name="made_d", replicas=((1002,),)),
    ]
    assert set(admin.create_topics(wanted, validate_only=True)) == {"made.b", "made.c"}
    assert placed(admin, "made.a") == []
    refused = admin.create_topics(wanted)
    assert "4711" in refused.pop("made.b") and "no.such.key" in refused.pop("made.c") and refused == {}
    until(lambda: placed(admin, "made.a") == [(1001, 1002), (1003, 1001)])
    assert admin.snapshot(["made.a"]).minimum_in_sync == {"made.a": 2}
    again = admin.create_topics([*wanted[:1], NewTopic(name="made.d", replicas=((1002,),))])
    assert "TopicAlreadyExists" in again["made.a"] and "collides" in again["made.d"]


def test_partitions_are_added_where_they_are_wanted(admin: KafkaAdmin) -> None:
    assert admin.create_topics([NewTopic(name="grown", replicas=((1001, 1002),))]) == {}
    until(lambda: len(placed(admin, "grown")) == 1)
    more = NewPartitions(topic="grown", topic_id=None, partitions_before=1, replicas=((1002, 1003), (1003, 1001)))
    assert more.count == 3
    none = more.model_copy(update={"topic": "gone"})
    assert set(admin.add_partitions([more, none], validate_only=True)) == {"gone"}
    assert set(admin.add_partitions([more, none])) == {"gone"}
    until(lambda: placed(admin, "grown") == [(1001, 1002), (1002, 1003), (1003, 1001)])
    assert "has 3 partition" in admin.add_partitions([more])["grown"]


def test_configs_are_set_and_given_up(admin: KafkaAdmin, kafka: LocalKafka) -> None:
    admin.create_topics([NewTopic(name="set", replicas=((1001, 1002),))])
    kafka.wait_for_topics("set")  # In ZooKeeper mode any broker answers, and one that doesn't know it yet counts it as gone.
    until(lambda: admin.set_topic_configs({"set": {"min.insync.replicas": "2"}}) == {})
    until(lambda: admin.snapshot(["set"]).minimum_in_sync == {"set": 2})
    assert admin.set_topic_configs({"set": {"min.insync.replicas": None}, "gone": {"retention.ms": "1"}}) == {}
    until(lambda: admin.snapshot(["set"]).minimum_in_sync == {"set": 1})
    assert "retention.ms" in admin.set_topic_configs({"set": {"retention.ms": "soon"}})["set"]


def test_only_the_topic_that_was_meant_is_deleted(admin: KafkaAdmin) -> None:
    """One that was made again under its name meanwhile stays."""
    admin.create_topics([NewTopic(name="deleted", replicas=((1001,),))])
    until(lambda: "deleted" in admin.snapshot().topic_ids)
    former = admin.snapshot().topic_ids["deleted"]
    assert admin.delete_topics({"deleted": former}) == {}
    until(lambda: "deleted" not in admin.snapshot().topic_ids)
    assert admin.delete_topics({"deleted": former}) == {}
    until(lambda: admin.create_topics([NewTopic(name="deleted", replicas=((1001,),))]) == {})
    until(lambda: "deleted" in admin.snapshot().topic_ids)
    assert admin.delete_topics({"deleted": former}) == {}
    time.sleep(0.5)
    assert "deleted" in admin.snapshot().topic_ids


def test_many_are_made_in_few_requests(admin: KafkaAdmin, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PARTITIONS_PER_REQUEST", 50)
    many = [NewTopic(name=f"many.{number}", replicas=((1001,), (1002,), (1003,))) for number in range(120)]
    assert admin.create_topics(many) == {}
    until(lambda: sum(len(placed(admin, topic.name)) for topic in many[::40]) == 9)


def test_where_partitions_end(admin: KafkaAdmin, kafka: LocalKafka) -> None:
    admin.create_topics([NewTopic(name="ends", replicas=((1001, 1002), (1002, 1003)))])
    until(lambda: admin.end_offsets(["ends"]) == {"ends": (0, 0)})
    producer = Producer({"bootstrap.servers": kafka.bootstrap_servers, "acks": "all"})
    for _ in range(3):
        producer.produce("ends", b"x", partition=1)
    assert producer.flush(30) == 0
    assert admin.end_offsets(["ends", "gone"]) == {"ends": (0, 3)}


def test_without_an_authorizer_no_right_to_make_topics_is_missing(admin: KafkaAdmin) -> None:
    assert admin.missing_acls(makes_topics=True) == ()
