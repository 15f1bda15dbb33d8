"""Features of a real Kafka that was formatted as an older release: what brokers support, and what can be finalised."""

import time
from collections.abc import Iterator

import pytest

from kafka_runbooks.clients.errors import Refused
from kafka_runbooks.clients.kafka import KafkaAdmin
from kafka_runbooks.models.cluster import ControllerEndpoint
from kafka_runbooks.models.features import METADATA_VERSION, finalised, highest_common, releases, to_finalise
from tests.clients.local_kafka import CLUSTER_ID, LocalKafka, running

# kafka-python leaves sockets to brokers that went away for the garbage collector.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
BROKERS = (1001, 1002)
OLD_LEVEL = 25
"""`metadata.version` of Kafka 4.0 (4.0-IV3)."""


@pytest.fixture(scope="module")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalKafka]:
    with running(LocalKafka(tmp_path_factory.mktemp("kafka"), {1001: "zone-a", 1002: "zone-b"}, release="4.0")) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def admin(kafka: LocalKafka) -> Iterator[KafkaAdmin]:
    admin = KafkaAdmin(kafka.bootstrap_servers)
    admin.snapshot()
    yield admin
    admin.close()


def level(admin: KafkaAdmin) -> int:
    return finalised(admin.features(BROKERS).values())[METADATA_VERSION]


def test_each_broker_tells_what_it_supports_and_what_is_finalised(admin: KafkaAdmin) -> None:
    found = admin.features([*BROKERS, 4711])
    assert found.keys() == set(BROKERS), "one that isn't there is left out"
    assert len(releases(found)) == 1 and found[1001] == found[1002]
    assert found[1001].finalised[METADATA_VERSION] == OLD_LEVEL < found[1001].supported[METADATA_VERSION][1]
    assert {"group.version", "transaction.version", "kraft.version"} <= found[1001].supported.keys(), "those that may be off, too"


def test_what_is_refused_is_named_and_nothing_is_changed(admin: KafkaAdmin) -> None:
    before = admin.features(BROKERS)
    newest = highest_common(before.values())[METADATA_VERSION]
    for levels in ({METADATA_VERSION: newest + 1}, {METADATA_VERSION: OLD_LEVEL - 1}, {"no.such.feature": 1}):
        for validate_only in (True, False):
            refused = admin.update_features(levels, validate_only=validate_only)
            assert refused.keys() == levels.keys()
            assert all(name in why for name, why in refused.items()), refused
    together = admin.update_features({METADATA_VERSION: newest, "no.such.feature": 1})
    assert together.keys() == {METADATA_VERSION, "no.such.feature"}, "all or none"
    assert admin.features(BROKERS) == before


def test_a_static_quorum_is_told_by_its_voters_and_by_every_refusal(admin: KafkaAdmin) -> None:
    quorum = admin.metadata_quorum()
    assert quorum is not None and quorum.is_static and quorum.voter_ids == {1}
    assert {one.id for one in quorum.observers if one.directory_id is not None} == set(BROKERS), "observers have directories"
    with pytest.raises(Refused, match=r"remove voter 1: .*UnsupportedVersionError: .*kraft.version feature is 0"):
        admin.remove_voter(1, CLUSTER_ID)
    with pytest.raises(Refused, match=r"add voter 1001: .*UnsupportedVersionError: .*kraft.version feature is 0"):
        admin.add_voter(1001, CLUSTER_ID, [ControllerEndpoint("CONTROLLER", "127.0.0.1", 9093)])


def test_a_level_is_validated_finalised_and_finalised_again(admin: KafkaAdmin) -> None:
    wanted = {one.name: one.after for one in to_finalise(admin.features(BROKERS))}
    assert wanted[METADATA_VERSION] > OLD_LEVEL and "kraft.version" not in wanted
    assert admin.update_features(wanted, validate_only=True) == {}
    assert level(admin) == OLD_LEVEL
    assert admin.update_features(wanted) == {}
    deadline = time.monotonic() + 10
    while to_finalise(admin.features(BROKERS)):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert admin.update_features(wanted) == {}, "what is finalised already is fine"
    assert admin.update_features({METADATA_VERSION: OLD_LEVEL}) != {}, "there is no way back"
    assert {name: finalised(admin.features(BROKERS).values())[name] for name in wanted} == wanted
