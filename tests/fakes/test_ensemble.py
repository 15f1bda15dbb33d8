"""The ensemble in memory is as slow to come back as the real one (`tests/clients/test_zookeeper.py`)."""

import pytest

from kafka_runbooks.clients.errors import Unreachable
from kafka_runbooks.models.ensemble import Ensemble, Mode
from tests.fakes import FakeKubernetes, FakeZooKeeper, World, WorldEnsemble


@pytest.fixture
def world() -> World:
    world = World(advance_at_look=False)
    world.ensemble = WorldEnsemble(world, observers=1)
    return world


def seen(world: World) -> Ensemble:
    return FakeZooKeeper(world).ensemble()


def in_sync(found: Ensemble) -> set[int | None]:
    return {member.server_id for member in found.members if found.is_synced(member)}


def of(world: World) -> WorldEnsemble:
    assert world.ensemble is not None
    return world.ensemble


def test_a_whole_one(world: World) -> None:
    found = seen(world)
    assert in_sync(found) == {1, 2, 3, 4} and found.voter_ids == {1, 2, 3} and found.synced_followers == 2
    assert found.leader is not None and found.leader.server_id == 3
    of(world).lagging.add(1)
    assert in_sync(seen(world)) == {2, 3, 4} and in_sync(seen(world)) == {2, 3, 4}


def test_a_deleted_pod_serves_until_it_has_stopped_and_comes_back_in_steps(world: World) -> None:
    kubernetes = FakeKubernetes(world)
    before = kubernetes.ensemble_pods()[0]
    kubernetes.delete_pod(before.name, before.uid, force=False)
    assert kubernetes.ensemble_pods()[0].is_terminating and in_sync(seen(world)) == {1, 2, 3, 4}
    world.advance()
    after = kubernetes.ensemble_pods()[0]
    assert after.uid != before.uid and not after.is_ready and in_sync(seen(world)) == {2, 3, 4}
    states = []
    while 1 not in in_sync(seen(world)):
        world.advance()
        states.append(seen(world).members[0].mode)
    assert states[0] is None and Mode.NOT_SERVING in states, "it answers before it serves"
    assert not kubernetes.ensemble_pods()[0].is_ready
    world.advance()
    assert kubernetes.ensemble_pods()[0].is_ready


def test_without_its_leader_nobody_serves_until_another_one_leads(world: World) -> None:
    of(world).kill(3)
    found = seen(world)
    assert in_sync(found) == set() and found.committed_zxid is None and found.servers == ()
    world.advance(4)
    found = seen(world)
    assert in_sync(found) == {1, 2, 4} and found.leader is not None and found.leader.server_id == 2


def test_two_of_three_down_and_nothing_commits_whoever_listens(world: World) -> None:
    of(world).kill(1)
    of(world).kill(2)
    world.advance(10)
    found = seen(world)
    assert found.members[2].mode is Mode.NOT_SERVING and found.members[2].server_id is None
    assert found.committed_zxid is None and found.fault
    with pytest.raises(Unreachable):
        FakeZooKeeper(world).sessions()
    of(world).revive(1)
    world.advance(10)
    assert in_sync(seen(world)) == {1, 3, 4}


def test_a_member_whose_disk_was_lost_has_no_vote_before_it_has_copied(world: World) -> None:
    of(world).kill(1)
    world.advance()
    of(world).wipe(2)
    world.advance(15)
    assert seen(world).committed_zxid is None, "3 alone has the data, and an empty disk elects nobody"
    of(world).revive(1)
    world.advance(15)
    assert in_sync(seen(world)) == {1, 2, 3, 4}
