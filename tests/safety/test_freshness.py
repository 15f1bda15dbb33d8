"""Which copies count before a disk is let go, on the fakes' cluster: cut off, silent, and away are told from good."""

from datetime import timedelta

import pytest

from kafka_runbooks.models.cluster import ClusterSnapshot, TopicPartition
from kafka_runbooks.models.ensemble import BrokerSession, BrokerSessions, PartitionState
from kafka_runbooks.safety.freshness import (
    as_recorded,
    changed_sessions,
    copies_to_ask,
    relied_on,
    stale_brokers,
    unproven,
    why_unsettled,
)
from tests.fakes import FakeKafka, World

EVENTS = TopicPartition("events.a", 0)


@pytest.fixture
def world() -> World:
    world = World()
    world.add_topic("events.a", 1, (1001, 1002, 1003))
    return world


def doubts(world: World, kafka: FakeKafka, without: int) -> dict[TopicPartition, str]:
    snapshot, quorum = kafka.snapshot(), kafka.metadata_quorum()
    assert quorum is not None
    stale = stale_brokers(quorum, relied_on(snapshot, without))
    return unproven(snapshot, stale, kafka.replica_sizes(sorted(copies_to_ask(snapshot, without))), without)


def test_live_in_sync_copies_that_answer_are_enough(world: World) -> None:
    kafka = FakeKafka(world)
    assert doubts(world, kafka, 1001) == {}
    world.kill_broker(1001)
    assert copies_to_ask(kafka.snapshot(), 1001) == {1002, 1003}
    assert doubts(world, kafka, 1001) == {}


def test_a_broker_that_is_cut_off_tells_of_a_cluster_that_is_gone(world: World) -> None:
    """1002, cut off, still counts 1003, which died since, and itself: its word is not enough to let 1001's disk go."""
    kafka = FakeKafka(world)
    kafka.snapshot()
    world.cut_off.add(1002)
    world.asked_broker = 1002
    kafka.snapshot()
    world.kill_broker(1003)
    world.kill_broker(1001)
    world.advance(20)
    assert 1003 in kafka.snapshot().live_broker_ids, "the trap"
    assert "behind the controllers" in doubts(world, kafka, 1001)[EVENTS]


def test_a_copy_on_a_broker_that_is_cut_off_or_silent_does_not_count(world: World) -> None:
    kafka = FakeKafka(world)
    kafka.snapshot()
    world.asked_broker = 1004
    world.cut_off.add(1002)
    world.silent[1003] = 1000
    world.advance(20)
    why = doubts(world, kafka, 1001)[EVENTS]
    assert "broker 1002 has been behind the controllers" in why and "broker 1003" in why


def test_a_copy_on_a_failed_log_directory_does_not_count(world: World) -> None:
    world.partitions[EVENTS].in_sync = {1001, 1002}
    world.disks[world.claims["data-events-1"].volume or ""].pop(EVENTS)
    kafka = FakeKafka(world)
    world.advance_at_look = False
    assert "doesn't have it" in doubts(world, kafka, 1001)[EVENTS]


def test_nobody_else_in_sync(world: World) -> None:
    world.partitions[EVENTS].in_sync = {1001}
    world.advance_at_look = False
    assert doubts(world, FakeKafka(world), 1001) == {EVENTS: "no other replica is in sync"}


def test_a_broker_that_the_leader_does_not_know_is_stale(world: World) -> None:
    kafka = FakeKafka(world)
    kafka.snapshot()
    quorum = kafka.metadata_quorum()
    assert quorum is not None
    assert set(stale_brokers(quorum, {1001, 4711})) == {4711}


def test_of_a_broker_that_came_back_on_a_new_disk_the_newest_entry_counts(world: World) -> None:
    """The leader lists the old directory's id for some minutes more."""
    kafka = FakeKafka(world)
    kafka.snapshot()
    quorum = kafka.metadata_quorum()
    assert quorum is not None
    known = next(one for one in quorum.observers if one.id == 1002)
    old = known.model_copy(update={"last_caught_up_at": world.now - timedelta(seconds=155)})
    for observers in ((old, *quorum.observers), (*quorum.observers, old)):
        assert stale_brokers(quorum.model_copy(update={"observers": observers}), [1002]) == {}
    assert 1002 in stale_brokers(quorum.model_copy(update={"observers": (old,)}), [1002])


# In ZooKeeper mode


def sessions(epochs: dict[int, int], controller: int | None = 1001, controller_epoch: int = 1) -> BrokerSessions:
    brokers = [
        BrokerSession(broker_id=one, endpoints=(f"PLAINTEXT://b{one}:9092",), rack="zone-a", session_id=epoch, epoch=epoch)
        for one, epoch in epochs.items()
    ]
    return BrokerSessions(brokers=tuple(brokers), controller_id=controller, controller_epoch=controller_epoch)


ALL = {1001: 11, 1002: 12, 1003: 13}
RECORDED = {EVENTS: PartitionState((1001, 1002, 1003), leader=1001, leader_epoch=1, in_sync=(1001, 1002), controller_epoch=1)}


def recorded(world: World, before: dict[int, int] | None = None, after: dict[int, int] | None = None) -> ClusterSnapshot:
    return as_recorded(FakeKafka(world).snapshot(), RECORDED, sessions(before or ALL), sessions(after or ALL))


def test_the_controllers_record_counts_and_not_what_a_broker_believes(world: World) -> None:
    world.advance_at_look = False
    old = FakeKafka(world).snapshot()
    assert old.by_name[EVENTS].in_sync == (1001, 1002, 1003)
    found = recorded(world, after={1001: 11, 1002: 12})
    (partition,) = found.partitions
    assert partition.in_sync == (1001, 1002) and partition.offline == (1003,) and partition.leader == 1001
    assert found.live_broker_ids == {1001, 1002} and found.answered_by is None and found.controller_id == 1001
    assert next((one.host, one.port, one.rack, one.epoch) for one in found.brokers) == ("b1001", 9092, "zone-a", 11)
    sizes = FakeKafka(world).replica_sizes([1002])
    assert unproven(found, {}, sizes, 1001) == {}
    assert unproven(found, {}, sizes, 1002) == {EVENTS: "broker 1001 doesn't have it on a log directory that works"}, "not asked"


def test_a_leader_without_a_session_leads_nothing(world: World) -> None:
    (partition,) = recorded(world, after={1002: 12}).partitions
    assert partition.leader is None


@pytest.mark.parametrize(
    ("before", "now", "why"),
    [
        (ALL, {1001: 11, 1003: 13}, "broker 1002 has no session in ZooKeeper any more"),
        (ALL, {**ALL, 1002: 99}, "broker 1002 has just got another session in ZooKeeper"),
        ({**ALL, 1002: 8}, ALL, "broker 1002 has just got another session in ZooKeeper"),
    ],
    ids=["expired since", "another since", "another while it was looked at"],
)
def test_a_copy_counts_only_while_its_broker_keeps_its_session(
    world: World, before: dict[int, int], now: dict[int, int], why: str
) -> None:
    """What another process finds on its disk is no answer of the one that was in sync."""
    world.advance_at_look = False
    found = recorded(world, before=before)
    sizes = FakeKafka(world).replica_sizes(copies_to_ask(found, 1001))
    assert unproven(found, changed_sessions(found, sessions(now)), sizes, 1001) == {EVENTS: why}
    assert found.live_broker_ids == ALL.keys(), "whoever has a session lives"


def test_records_hold_only_while_the_same_broker_is_controller() -> None:
    assert why_unsettled(sessions(ALL), sessions(ALL)) is None
    assert why_unsettled(sessions(ALL), sessions(ALL, controller=None)) == "no controller is elected"
    for other in (sessions(ALL, 1002, 2), sessions(ALL, 1001, 2)):
        assert str(why_unsettled(sessions(ALL), other)).endswith("has just been elected")
    kraft = sessions(ALL, controller=3000)
    assert "migration to KRaft" in str(why_unsettled(kraft, kraft))
