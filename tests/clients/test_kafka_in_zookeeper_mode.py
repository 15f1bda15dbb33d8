"""The Kafka client on Kafka 3.9 in ZooKeeper mode: what works as in KRaft mode by the same tests, and what can't by its own.

In this mode a broker doesn't pass on what only the controller can do, there is no quorum, and nobody is registered that is down.
"""

import json
import time
from collections.abc import Iterator

import pytest
from kazoo.exceptions import NoNodeError

from kafka_runbooks.clients.errors import Refused, Unreachable
from kafka_runbooks.clients.kafka import KafkaAdmin
from kafka_runbooks.models.cluster import ControllerEndpoint, TopicPartition
from kafka_runbooks.models.features import METADATA_VERSION, to_finalise
from kafka_runbooks.models.topic_changes import NewPartitions, NewTopic
from tests.clients.local_kafka import CLUSTER_ID, RACKS
from tests.clients.local_zookeeper_kafka import LocalZookeeperKafka, kafka
from tests.clients.test_kafka import (
    FIRST,
    admin,
    hanging,
    others_go_on,
    test_a_reassignment_under_a_throttle_is_listed_cancelled_and_finished,
    test_a_snapshot_has_racks_partitions_and_minimum_in_sync,
    test_a_topic_made_again_under_its_name_has_another_id,
    test_own_throttle_rates_are_set_and_given_back,
    test_sizes_of_those_that_answer,
    test_some_topics_and_some_replicas_are_asked_for_alone,
    test_throttled_replica_lists_skip_topics_that_are_gone,
    until,
)
from tests.clients.test_kafka_restarts import test_the_agent_is_told_what_its_broker_can_apply
from tests.clients.test_kafka_topics import (
    test_configs_are_set_and_given_up,
    test_only_the_topic_that_was_meant_is_deleted,
    test_partitions_are_added_where_they_are_wanted,
    test_where_partitions_end,
    test_without_an_authorizer_no_right_to_make_topics_is_missing,
)

__all__ = [
    "admin",
    "kafka",
    "test_a_reassignment_under_a_throttle_is_listed_cancelled_and_finished",
    "test_a_snapshot_has_racks_partitions_and_minimum_in_sync",
    "test_a_topic_made_again_under_its_name_has_another_id",
    "test_configs_are_set_and_given_up",
    "test_only_the_topic_that_was_meant_is_deleted",
    "test_own_throttle_rates_are_set_and_given_back",
    "test_partitions_are_added_where_they_are_wanted",
    "test_sizes_of_those_that_answer",
    "test_some_topics_and_some_replicas_are_asked_for_alone",
    "test_the_agent_is_told_what_its_broker_can_apply",
    "test_throttled_replica_lists_skip_topics_that_are_gone",
    "test_where_partitions_end",
    "test_without_an_authorizer_no_right_to_make_topics_is_missing",
]

# kafka-python leaves sockets to brokers that went away for the garbage collector.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


@pytest.fixture(params=RACKS)
def asked(request: pytest.FixtureRequest, kafka: LocalZookeeperKafka) -> Iterator[KafkaAdmin]:
    """A client that begins with each broker in turn: one of them is the controller, and the others don't pass anything on."""
    found = KafkaAdmin(f"127.0.0.1:{kafka.ports[request.param]}")
    yield found
    found.close()


def test_whoever_is_asked_the_controller_does_it(asked: KafkaAdmin, request: pytest.FixtureRequest) -> None:
    topic = f"made-by-{request.node.callspec.params['asked']}"
    for _ in range(4):  # Brokers are asked in random order.
        assert asked.create_topics([NewTopic(name=topic, replicas=((1001, 1002),))], validate_only=True) == {}
        assert asked.validate_topic_configs([{"retention.ms": "-5"}]).reasons[0] is not None
        assert asked.reassignments() == ()
    assert asked.create_topics([NewTopic(name=topic, replicas=((1001, 1002),))]) == {}
    until(lambda: topic in asked.snapshot().topic_ids)
    more = NewPartitions(topic=topic, topic_id=None, partitions_before=1, replicas=((1002, 1003),))
    assert asked.add_partitions([more]) == {}
    until(lambda: len(asked.snapshot([topic]).partitions) == 2)
    assert asked.elect_preferred_leaders([partition.name for partition in asked.snapshot([topic]).partitions]) == {}
    assert asked.delete_topics({topic: asked.snapshot().topic_ids[topic]}) == {}
    until(lambda: topic not in asked.snapshot().topic_ids)


def test_a_broker_that_hangs_is_named_in_time_and_others_go_on(admin: KafkaAdmin, kafka: LocalZookeeperKafka) -> None:
    others_go_on(admin, kafka, hung=next(broker_id for broker_id in RACKS if broker_id != controller(kafka)))


def test_a_controller_that_hangs_is_named_or_its_successor_answers(admin: KafkaAdmin, kafka: LocalZookeeperKafka) -> None:
    """Nobody else knows what it does, until its session has ended."""
    hung = controller(kafka)
    assert hung is not None
    with hanging(admin, kafka, hung):
        assert hung in admin.snapshot().live_broker_ids
        try:
            assert admin.reassignments() == ()
        except Unreachable as error:
            assert "list reassignments" in str(error)
        until(lambda: controller(kafka) not in (hung, None))
        started = time.monotonic()
        assert admin.reassignments() == ()
        assert time.monotonic() - started < 8, "one look"
    until(lambda: hung in admin.snapshot().live_broker_ids)


def controller(kafka: LocalZookeeperKafka) -> int | None:
    try:
        data, _ = kafka.znodes.get("/controller")
    except NoNodeError:
        return None
    return int(json.loads(data)["brokerid"])


def test_there_is_no_quorum_and_nobody_changes_voters(admin: KafkaAdmin) -> None:
    assert admin.metadata_quorum() is None
    said = "only Kafka 3.9 and later in KRaft mode has voters that can be changed"
    with pytest.raises(Refused, match=f"remove voter 1: {said}"):
        admin.remove_voter(1, CLUSTER_ID)
    with pytest.raises(Refused, match=f"add voter 1001: {said}"):
        admin.add_voter(1001, CLUSTER_ID, [ControllerEndpoint("CONTROLLER", "127.0.0.1", 9093)])


def test_nothing_is_unregistered(admin: KafkaAdmin) -> None:
    with pytest.raises(Refused, match="unregister broker 4711: the cluster is in ZooKeeper mode, where a registration ends"):
        admin.unregister_broker(4711)


def test_log_directories_have_no_cordon(admin: KafkaAdmin) -> None:
    """Kafka would keep a setting of this name that it doesn't know."""
    assert admin.log_directory_cordons([1001, 1002]) == {1001: None, 1002: None}
    with pytest.raises(Refused, match=r"broker 1001 knows no cordoned\.log\.dirs"):
        admin.cordon_log_directories(1001, "*")


def test_there_are_no_features_and_a_default_tells_the_release(admin: KafkaAdmin) -> None:
    found = admin.features([*RACKS, 4711])
    assert found.keys() == set(RACKS) and not any(one.finalised for one in found.values())
    assert to_finalise(found) == ()
    refused = admin.update_features({METADATA_VERSION: 21}, validate_only=True)
    assert refused.keys() == {METADATA_VERSION}
    name = "inter.broker.protocol.version"
    assert {configs[name].default for configs in admin.broker_configs(RACKS, [name]).values()} == {"3.9-IV0"}


def test_kafka_makes_topics_on_brokers_that_it_does_not_know(admin: KafkaAdmin) -> None:
    """In KRaft mode it refuses them."""
    unknown = NewTopic(name="elsewhere", replicas=((1001, 4711),))
    assert admin.create_topics([unknown]) == {}
    until(lambda: [one.offline for one in admin.snapshot(["elsewhere"]).partitions] == [(4711,)])
    more = NewPartitions(topic="elsewhere", topic_id=None, partitions_before=1, replicas=((1002, 4711),))
    assert "4711" in admin.add_partitions([more])["elsewhere"]
    assert "4711" in str(admin.alter_reassignments({FIRST: [1001, 4711]}))
    assert admin.alter_reassignments({TopicPartition("elsewhere", 0): [1001]}) == {}
    until(lambda: admin.reassignments() == ())


def test_a_broker_s_values_are_set_and_given_back(admin: KafkaAdmin) -> None:
    assert admin.set_broker_configs(1001, {"num.io.threads": "4"}) == {}
    assert admin.set_broker_configs(None, {"num.io.threads": "5"}) == {}
    found = {broker: configs["num.io.threads"] for broker, configs in admin.broker_configs(RACKS, ["num.io.threads"]).items()}
    assert found[1001][:3] == ("4", "4", "5") and found[1002][:3] == ("5", None, "5")
    assert admin.set_broker_configs(1001, {"num.io.threads": None}) == {}
    assert admin.set_broker_configs(None, {"num.io.threads": None}) == {}
    assert admin.set_broker_configs(1001, {"log.dirs": "/elsewhere"}).keys() == {"log.dirs"}
    with pytest.raises(Unreachable):
        admin.set_broker_configs(4711, {"num.io.threads": "4"})


def test_nodes_without_tls_have_no_stores_and_nobody_looks_for_controllers(admin: KafkaAdmin) -> None:
    assert admin.tls_stores([*RACKS, 4711]) == dict.fromkeys(RACKS, ())


def test_who_is_dead_is_not_registered_and_comes_back(admin: KafkaAdmin, kafka: LocalZookeeperKafka) -> None:
    """Also the controller, which is another broker then."""
    controller = admin.snapshot().controller_id
    assert controller in RACKS
    kafka.kill(controller)
    until(lambda: controller not in admin.snapshot().live_broker_ids)
    until(lambda: admin.snapshot().controller_id not in (None, controller))
    snapshot = admin.snapshot()
    assert snapshot.fenced_brokers == () and snapshot.registered_broker_ids == set(RACKS) - {controller}
    assert {one.offline for one in snapshot.partitions if controller in one.replicas} == {(controller,)}
    assert admin.alter_reassignments({FIRST: None}) == {} and admin.reassignments() == ()
    assert admin.replica_sizes(RACKS).unanswered_broker_ids == (controller,)
    kafka.start_broker(controller)
    until(lambda: all(len(one.in_sync) == len(one.replicas) for one in admin.snapshot().partitions))
    led = [one.name for one in admin.snapshot().partitions if one.replicas[0] == controller]
    assert led and admin.elect_preferred_leaders(led) == {}
    until(lambda: {admin.snapshot().by_name[name].leader for name in led} == {controller})
