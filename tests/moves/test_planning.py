"""Which brokers a request means, on the fakes' cluster."""

from dataclasses import replace

import pytest

from kafka_runbooks.models.cluster import ClusterSnapshot, ReplicaSizes
from kafka_runbooks.models.inputs import DecommissionInput
from kafka_runbooks.moves.planning import ClusterObservation, leaving_brokers
from kafka_runbooks.placement import snapshots
from kafka_runbooks.placement.errors import InvalidRequest
from tests.fakes import FakeKafka, World


@pytest.fixture
def world() -> World:
    world = World()
    world.add_topic("events.a", 2, (1001, 1002, 1003))
    return world


def leaving(snapshot: ClusterSnapshot, rack: str = "zone-c") -> tuple[int, ...]:
    sizes = ReplicaSizes(size_bytes={})
    cluster = snapshots.from_snapshot(snapshots.observed(snapshot, sizes, ()))
    request = DecommissionInput(cluster="c", rack=rack, requester="alice")
    return leaving_brokers(ClusterObservation(snapshot, sizes, (), {}, cluster), request, (), snapshot.racks)


def test_a_racks_dead_broker_is_of_that_rack(world: World) -> None:
    """It was left out, and the run was done with replicas left on it."""
    world.kill_broker(1003)
    assert leaving(FakeKafka(world).snapshot()) == (1003, 1006)


def test_a_rack_without_any_live_broker_is_known_too(world: World) -> None:
    world.kill_broker(1003)
    world.kill_broker(1006)
    assert leaving(FakeKafka(world).snapshot()) == (1003, 1006)


def test_a_dead_broker_whose_rack_is_not_known_is_named(world: World) -> None:
    """An older cluster doesn't tell of brokers that are down."""
    world.kill_broker(1003)
    snapshot = replace(FakeKafka(world).snapshot(), fenced_brokers=())
    with pytest.raises(InvalidRequest, match=r"brokers \[1003\] hold replicas, are down, and their rack isn't known"):
        leaving(snapshot)


def test_an_unknown_rack(world: World) -> None:
    with pytest.raises(InvalidRequest, match="zone-x"):
        leaving(FakeKafka(world).snapshot(), "zone-x")
