"""Which copies count before a disk is let go, on the fakes' cluster: cut off, silent, and away are told from good."""

from datetime import timedelta

import pytest

from kafka_runbooks.models.cluster import TopicPartition
from kafka_runbooks.safety.freshness import copies_to_ask, stale_brokers, unproven
from tests.fakes import FakeKafka, World

EVENTS = TopicPartition("events.a", 0)


@pytest.fixture
def world() -> World:
    world = World()
    world.add_topic("events.a", 1, (1001, 1002, 1003))
    return world


def doubts(world: World, kafka: FakeKafka, without: int) -> dict[TopicPartition, str]:
    snapshot = kafka.snapshot()
    return unproven(snapshot, kafka.metadata_quorum(), kafka.replica_sizes(sorted(copies_to_ask(snapshot, without))), without)


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


def test_without_a_quorum_the_brokers_own_answers_count(world: World) -> None:
    kafka = FakeKafka(world)
    snapshot = kafka.snapshot()
    assert unproven(snapshot, None, kafka.replica_sizes([1002, 1003]), 1001) == {}
    world.silent.update({1002: 1000, 1003: 1000})
    assert EVENTS in unproven(snapshot, None, kafka.replica_sizes([1002, 1003]), 1001)


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
