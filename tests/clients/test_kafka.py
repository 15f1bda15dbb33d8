"""The Kafka client against a real Kafka of three brokers, one of which goes down and returns."""

import gc
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from confluent_kafka import KafkaError, KafkaException, Producer
from confluent_kafka.admin import AdminClient, NewTopic

from kafka_runbooks.clients.errors import Unreachable
from kafka_runbooks.clients.kafka import KafkaAdmin
from kafka_runbooks.models.cluster import Replica, ThrottledReplicas, ThrottleRates, TopicPartition
from tests.clients.local_kafka import RACKS, LocalKafka

# kafka-python leaves sockets to brokers that went away for the garbage collector.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
MEGABYTE = 1_000_000
FIRST = TopicPartition("events.a", 0)


def until(condition: Callable[[], bool], timeout_s: float = 60) -> None:
    """As an activity does: what is unreachable for a moment is asked again."""
    deadline = time.monotonic() + timeout_s
    while True:
        try:
            if condition():
                return
        except Unreachable:
            pass
        assert time.monotonic() < deadline, "not in time"
        time.sleep(0.3)


@pytest.fixture(scope="module")
def admin(kafka: LocalKafka) -> Iterator[KafkaAdmin]:
    topics = [
        NewTopic(
            "events.a", num_partitions=2, replica_assignment=[[1001, 1002], [1002, 1003]], config={"min.insync.replicas": "1"}
        ),
        NewTopic("events.b", num_partitions=3, replication_factor=3, config={"min.insync.replicas": "2"}),
    ]
    confluent = AdminClient({"bootstrap.servers": kafka.bootstrap_servers})
    for future in confluent.create_topics(topics).values():
        future.result()
    producer = Producer({"bootstrap.servers": kafka.bootstrap_servers, "acks": "all"})
    for _ in range(200):
        producer.produce("events.a", b"x" * 100_000, partition=0)
        producer.poll(0)
    assert producer.flush(30) == 0
    admin = KafkaAdmin(kafka.bootstrap_servers)
    yield admin
    admin.close()


def replicas(admin: KafkaAdmin, name: TopicPartition) -> tuple[int, ...]:
    return next(partition.replicas for partition in admin.snapshot().partitions if partition.name == name)


def test_a_snapshot_has_racks_partitions_and_minimum_in_sync(admin: KafkaAdmin) -> None:
    snapshot = admin.snapshot()
    assert {broker.id: broker.rack for broker in snapshot.brokers} == RACKS
    assert [str(partition.name) for partition in snapshot.partitions] == [
        "events.a-0",
        "events.a-1",
        "events.b-0",
        "events.b-1",
        "events.b-2",
    ]
    assert snapshot.partitions[0].replicas == (1001, 1002) and snapshot.partitions[0].leader == 1001
    assert snapshot.minimum_in_sync == {"events.a": 1, "events.b": 2}


def test_sizes_of_those_that_answer(admin: KafkaAdmin, kafka: LocalKafka) -> None:
    sizes = admin.replica_sizes([1001, 1003, 4711])
    assert 20 * MEGABYTE <= sizes.size_bytes[Replica("events.a", 0, 1001)] < 21 * MEGABYTE
    assert Replica("events.a", 0, 1003) not in sizes.size_bytes and Replica("events.a", 1, 1003) in sizes.size_bytes
    assert sizes.unanswered_broker_ids == (4711,)
    # The brokers' log directories are on one volume of this machine.
    disk = shutil.disk_usage(kafka.folder)
    assert sizes.total_bytes == {1001: disk.total, 1003: disk.total}
    assert all(0 < usable <= disk.total for usable in sizes.usable_bytes.values()) and set(sizes.usable_bytes) == {1001, 1003}


def test_some_topics_and_some_replicas_are_asked_for_alone(admin: KafkaAdmin) -> None:
    whole, some = admin.snapshot(), admin.snapshot(["events.b", "gone"], minimum_in_sync_seconds=60.0)
    assert some.by_topic == {"events.b": whole.by_topic["events.b"]}
    assert some.minimum_in_sync == {"events.b": 2} and some.topic_ids == {"events.b": whole.topic_ids["events.b"]}
    assert some.live_broker_ids == whole.live_broker_ids
    asked = [Replica("events.a", 0, 1001), Replica("events.a", 1, 1002), Replica("events.a", 0, 4711), Replica("gone", 0, 1003)]
    sizes = admin.sizes_of(asked)
    assert sizes.size_bytes == {asked[0]: admin.replica_sizes([1001]).size_bytes[asked[0]], asked[1]: 0}
    assert sizes.unanswered_broker_ids == (4711,)
    assert sizes.usable_bytes.keys() == {1001, 1002, 1003} and all(len(sizes.directories[one]) == 1 for one in (1001, 1002, 1003))


def test_own_throttle_rates_are_set_and_given_back(admin: KafkaAdmin) -> None:
    assert admin.throttle_rates([1001, 1002]) == {1001: ThrottleRates(), 1002: ThrottleRates()}
    rates = ThrottleRates(leader_bytes_per_s=5 * MEGABYTE)
    admin.set_throttle_rates(1001, rates)
    admin.set_throttle_rates(1001, rates)
    assert admin.throttle_rates([1001, 1002]) == {1001: rates, 1002: ThrottleRates()}
    admin.set_throttle_rates(1001, ThrottleRates())
    assert admin.throttle_rates([1001]) == {1001: ThrottleRates()}


def test_throttled_replica_lists_skip_topics_that_are_gone(admin: KafkaAdmin) -> None:
    lists = ThrottledReplicas(leader="0:1001,1:1002", follower="0:1002")
    admin.set_throttled_replicas({"events.a": lists, "gone": lists})
    until(
        lambda: admin.throttled_replicas(["events.a", "events.b", "gone"]) == {"events.a": lists, "events.b": ThrottledReplicas()}
    )
    admin.set_throttled_replicas({"events.a": ThrottledReplicas()})
    until(lambda: admin.throttled_replicas(["events.a"]) == {"events.a": ThrottledReplicas()})


def test_a_reassignment_under_a_throttle_is_listed_cancelled_and_finished(admin: KafkaAdmin) -> None:
    admin.set_throttle_rates(1001, ThrottleRates(leader_bytes_per_s=MEGABYTE))
    admin.set_throttled_replicas({"events.a": ThrottledReplicas(leader="0:1001", follower="0:1003")})
    until(lambda: admin.throttled_replicas(["events.a"])["events.a"].leader == "0:1001")
    ((gone, why),) = admin.alter_reassignments({FIRST: [1003, 1002], TopicPartition("gone", 0): [1001]}).items()
    assert gone == TopicPartition("gone", 0) and why.startswith("UnknownTopicOrPartitionError")
    (one,) = admin.reassignments()
    assert (one.name, one.adding, one.removing, one.target) == (FIRST, (1003,), (1001,), (1003, 1002))
    # How far it is: a replica that still arrives shows its bytes so far.
    until(lambda: 0 < admin.replica_sizes([1003]).size_bytes.get(Replica("events.a", 0, 1003), 0) < 20 * MEGABYTE)
    assert admin.alter_reassignments({FIRST: None}) == {}
    until(lambda: admin.reassignments() == ())
    assert admin.alter_reassignments({FIRST: None}) == {}
    # Cancelling keeps the order of the union: the preferred leader isn't what it was before.
    assert replicas(admin, FIRST) == (1002, 1001)
    admin.set_throttle_rates(1001, ThrottleRates())
    admin.set_throttled_replicas({"events.a": ThrottledReplicas()})
    assert admin.alter_reassignments({FIRST: [1001, 1002]}) == {}
    until(lambda: admin.reassignments() == () and replicas(admin, FIRST) == (1001, 1002))


def test_a_broker_that_hangs_is_named_in_time_and_others_go_on(admin: KafkaAdmin, kafka: LocalKafka) -> None:
    others_go_on(admin, kafka, hung=1003)


def others_go_on(admin: KafkaAdmin, kafka: LocalKafka, *, hung: int) -> None:
    one, other = sorted({1001, 1002, 1003} - {hung})
    with hanging(admin, kafka, hung):
        started = time.monotonic()
        admin.snapshot()
        admin.reassignments()
        assert time.monotonic() - started < 8, "one look"
        started = time.monotonic()
        found = []
        asking = threading.Thread(target=lambda: found.append(admin.replica_sizes([1001, 1002, 1003])))
        asking.start()
        admin.throttle_rates([one])
        assert time.monotonic() - started < 5
        asking.join()
        assert found[0].unanswered_broker_ids == (hung,)
        assert time.monotonic() - started < 6
        with pytest.raises(Unreachable):
            admin.throttle_rates([hung])
        hung_first = KafkaAdmin(",".join(f"127.0.0.1:{kafka.ports[broker]}" for broker in (hung, other)))
        assert hung_first.replica_sizes([one]).unanswered_broker_ids == ()
        hung_first.close()


@contextmanager
def hanging(admin: KafkaAdmin, kafka: LocalKafka, broker_id: int) -> Iterator[None]:
    kafka.processes[broker_id].send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        kafka.processes[broker_id].send_signal(signal.SIGCONT)
        until(lambda: all(len(one.in_sync) == len(one.replicas) for one in admin.snapshot().partitions))


def test_a_dead_broker_and_preferred_leaders_after_it(admin: KafkaAdmin, kafka: LocalKafka) -> None:
    kafka.kill(1001)
    until(lambda: 1001 not in admin.snapshot().live_broker_ids)
    assert {broker.id: broker.rack for broker in admin.snapshot().fenced_brokers} == {1001: "zone-a"}
    assert admin.snapshot().partitions[0].offline == (1001,)
    partition = admin.snapshot().partitions[0]
    assert (partition.leader, partition.in_sync) == (1002, (1002,))
    assert admin.elect_preferred_leaders([FIRST]).keys() == {FIRST}
    assert admin.replica_sizes([1001, 1002]).unanswered_broker_ids == (1001,)
    with pytest.raises(Unreachable):
        admin.throttle_rates([1001])
    # Whoever was asked as controller before, reassignments can be asked for with any broker down.
    until(lambda: admin.reassignments() == ())
    kafka.start_broker(1001)
    until(lambda: admin.snapshot().partitions[0].in_sync == (1001, 1002), 60)
    assert admin.elect_preferred_leaders([FIRST, TopicPartition("events.b", 0)]) == {}
    until(lambda: admin.snapshot().partitions[0].leader == 1001)
    assert admin.elect_preferred_leaders([]) == {}


def test_each_broker_may_go_and_reassignments_are_still_listed(admin: KafkaAdmin, kafka: LocalKafka) -> None:
    for broker_id in (1002, 1003):
        kafka.kill(broker_id)
        until(lambda: admin.reassignments() == (), 30)
        kafka.start_broker(broker_id)
        until(lambda: len(admin.snapshot().live_broker_ids) == 3)


def test_a_broker_that_comes_back_after_it_was_forgotten_tells_its_sizes(admin: KafkaAdmin, kafka: LocalKafka) -> None:
    kafka.kill(1003)
    until(lambda: 1003 not in admin.snapshot().live_broker_ids)

    kafka_python = admin._kafka_python
    assert 1003 not in kafka_python.known_broker_ids(), "each snapshot renews what the client knows"
    client = kafka_python._client.get()
    kafka.start_broker(1003)
    until(lambda: len(admin.snapshot().live_broker_ids) == 3)
    assert admin.replica_sizes([1003]).unanswered_broker_ids == ()
    assert kafka_python._client.get() is client, "no new connection was necessary"


def test_the_quorum_says_who_has_the_newest_metadata(admin: KafkaAdmin) -> None:
    quorum = admin.metadata_quorum()
    assert quorum is not None
    assert (quorum.leader_id, [voter.id for voter in quorum.voters]) == (1, [1])
    assert {observer.id for observer in quorum.observers} == set(RACKS)
    (leader,) = quorum.voters
    assert leader.last_caught_up_at is not None
    for observer in quorum.observers:
        assert observer.last_caught_up_at is not None
        assert abs((leader.last_caught_up_at - observer.last_caught_up_at).total_seconds()) < 5


def test_a_topic_made_again_under_its_name_has_another_id(admin: KafkaAdmin, kafka: LocalKafka) -> None:
    confluent = AdminClient({"bootstrap.servers": kafka.bootstrap_servers})

    def is_made() -> bool:
        (future,) = confluent.create_topics([NewTopic("again", num_partitions=1, replication_factor=1)]).values()
        try:
            future.result()
        except KafkaException as error:  # In ZooKeeper mode it is deleted a moment after brokers have forgotten it.
            assert error.args[0].code() == KafkaError.TOPIC_ALREADY_EXISTS
            return False
        return True

    def make() -> str:
        until(is_made)
        until(lambda: "again" in admin.snapshot().topic_ids)
        return admin.snapshot().topic_ids["again"]

    first = make()
    for future in confluent.delete_topics(["again"]).values():
        future.result()
    until(lambda: "again" not in admin.snapshot().topic_ids)
    second = make()
    assert first != second and len(first) == len(second) == 22
    for future in confluent.delete_topics(["again"]).values():
        future.result()


def test_log_directories_are_cordoned_and_the_cordon_is_lifted(admin: KafkaAdmin) -> None:
    assert admin.log_directory_cordons([1001, 1002]) == {1001: "", 1002: ""}
    admin.cordon_log_directories(1001, "*")
    until(lambda: admin.log_directory_cordons([1001, 1002]) == {1001: "*", 1002: ""})
    admin.cordon_log_directories(1001, "")
    until(lambda: admin.log_directory_cordons([1001]) == {1001: ""})


def test_unregistering_a_broker_that_is_not_registered_is_fine(admin: KafkaAdmin) -> None:
    admin.unregister_broker(4711)
    assert len(admin.snapshot().live_broker_ids) == 3


@pytest.mark.server  # it waits for its time to be up
def test_nobody_there_is_unreachable_in_time() -> None:
    admin = KafkaAdmin("127.0.0.1:1")
    started = time.monotonic()
    with pytest.raises(Unreachable):
        admin.reassignments()
    with pytest.raises(Unreachable):
        admin.snapshot()
    assert time.monotonic() - started < 45
    admin.close()
    gc.collect()
