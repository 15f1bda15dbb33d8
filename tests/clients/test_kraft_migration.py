"""What clients see of a real Kafka 3.9 at each leg of its way to KRaft and back, and what they change of it."""

import time
from collections.abc import Callable, Iterator

import pytest
from confluent_kafka.admin import AdminClient, NewTopic

from activities import proof
from activities.errors import NotProven
from kafka_runbooks.clients.kafka import KafkaAdmin
from kafka_runbooks.clients.metrics.controllers import ExporterControllers
from kafka_runbooks.clients.zookeeper.client import ZooKeeperClient
from kafka_runbooks.clients.zookeeper.settings import ZookeeperSettings
from kafka_runbooks.models.kraft_migration import BrokerMode, ControllerState, ZkMigrationState
from kafka_runbooks.models.kubernetes import ControllerPod
from tests.clients.local_kafka import running
from tests.clients.local_migration import LocalMigration

pytestmark = [pytest.mark.timeout(400), pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")]

BROKERS = (1001, 1002, 1003)
HIGH_EPOCH = 50


@pytest.fixture(scope="module")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalMigration]:
    with running(LocalMigration(tmp_path_factory.mktemp("kafka"), controllers=(3001, 3002), exporter=True)) as cluster:
        topic = NewTopic("a", num_partitions=3, replica_assignment=[[*BROKERS[n:], *BROKERS[:n]] for n in range(3)])
        admin = AdminClient({"bootstrap.servers": cluster.bootstrap_servers})
        admin.create_topics([topic])["a"].result(30)
        yield cluster


@pytest.fixture
def admin(kafka: LocalMigration) -> Iterator[KafkaAdmin]:
    admin = KafkaAdmin(kafka.bootstrap_servers)
    yield admin
    admin.close()


def states(kafka: LocalMigration) -> dict[int, ControllerState]:
    """Of the controllers that answer."""
    pods = [
        ControllerPod(name=str(node_id), uid="", stateful_set="controller", node_id=node_id, pod_ip=kafka.metrics_hosts[node_id])
        for node_id in kafka.controller_ports
    ]
    found = ExporterControllers(kafka.metrics_port).states(pods)
    return {int(name): state for name, state in found.items() if isinstance(state, ControllerState)}


def active(kafka: LocalMigration) -> ControllerState | None:
    return next((state for state in states(kafka).values() if state.is_active), None)


def eventually(what: str, holds: Callable[[], object], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        time.sleep(0.3)


def roll(kafka: LocalMigration, mode: BrokerMode, *brokers: int) -> None:
    for broker in brokers or BROKERS:
        kafka.restart(broker, mode)


def test_the_way_and_back(kafka: LocalMigration, admin: KafkaAdmin) -> None:
    zookeeper = ZooKeeperClient(ZookeeperSettings(hosts=kafka.hosts))
    plain = zookeeper.migration()
    assert plain.controller_id in BROKERS and not plain.kraft_controls and not plain.is_begun and plain.copied_offset is None
    assert admin.metadata_quorum() is None and states(kafka) == {}

    kafka.start_controllers()
    eventually("a quorum", lambda: len({state.leader_id for state in states(kafka).values()} - {None}) == 1)
    eventually(
        "all have caught up", lambda: len(found := states(kafka)) == 2 and max(one.lag_seconds for one in found.values()) < 5
    )
    leader = active(kafka)
    assert leader is not None and leader.state is ZkMigrationState.PRE_MIGRATION and leader.waiting_brokers == 0
    assert zookeeper.migration().controller_id == plain.controller_id and admin.metadata_quorum() is None

    roll(kafka, BrokerMode.MIGRATING, 1001)
    eventually("it has registered", lambda: (one := active(kafka)) is not None and one.waiting_brokers == 1)
    assert not zookeeper.migration().kraft_controls, "the controllers wait for the last one"
    roll(kafka, BrokerMode.MIGRATING, 1002, 1003)
    eventually("copied", lambda: zookeeper.migration().copied_offset is not None)
    found = zookeeper.migration()
    assert found.kraft_controls and found.controller_id in kafka.controller_ports
    eventually("the state", lambda: (one := active(kafka)) is not None and one.state is ZkMigrationState.MIGRATION)
    eventually("written twice", lambda: (zookeeper.migration().copied_offset or 0) > (found.copied_offset or 0))
    quorum, snapshot = proof.newest(admin, zookeeper)
    assert quorum is None and snapshot.controller_id is None and snapshot.live_broker_ids == set(BROKERS)

    roll(kafka, BrokerMode.KRAFT, 1001)
    assert admin.metadata_quorum([1002]) is None
    asked = admin.metadata_quorum([1001])
    assert asked is not None and asked.leader_id in kafka.controller_ports
    for _ in range(6):  # Whichever broker is asked first.
        quorum, snapshot = proof.newest(admin, zookeeper)
        assert quorum is not None and snapshot.live_broker_ids == set(BROKERS)
        with pytest.raises(NotProven, match="a migration to KRaft is under way"):
            proof.fresh_snapshot(admin, zookeeper)
    assert zookeeper.sessions().by_id.keys() == {1002, 1003}

    roll(kafka, BrokerMode.MIGRATING, 1001)
    kafka.stop_controllers()
    states_before = zookeeper.partition_states()
    zookeeper.give_back_control(HIGH_EPOCH)
    eventually("a broker controls", lambda: zookeeper.migration().controller_id in BROKERS)
    found = zookeeper.migration()
    assert not found.kraft_controls and not found.is_begun and (found.controller_epoch or 0) > HIGH_EPOCH
    assert zookeeper.partition_states().keys() == states_before.keys()
    zookeeper.give_back_control(2 * HIGH_EPOCH)
    assert zookeeper.migration() == found, "nothing is left to give back"
    roll(kafka, BrokerMode.ZOOKEEPER)
    eventually("a broker controls", lambda: zookeeper.migration().controller_id in BROKERS)
    eventually("all lead again", lambda: all(one.in_sync and one.leader for one in proof.newest(admin, zookeeper)[1].partitions))
