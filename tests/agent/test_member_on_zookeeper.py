"""Readiness and an empty disk's vote, on a real ensemble whose members are prepared and started as the deployed ones are."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from kafka_runbooks.agent.ensemble import claim_server_ids, prepare_disk
from kafka_runbooks.agent.member_readiness import MemberReadiness
from kafka_runbooks.agent.readiness import Verdict
from tests.agent.test_ensemble import THREE, MemoryRegister
from tests.clients.local_zookeeper import LocalEnsemble


class Deployed(LocalEnsemble):
    """With a register of its members' IDs, whose disks the agent prepares."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, java_options=["-Dzookeeper.db.autocreate=false"])
        self.folder = folder
        self.register = MemoryRegister()
        self.server_ids = claim_server_ids(self.register, THREE)

    def start_member(self, server_id: int) -> None:
        (pod,) = (pod for pod, one in self.server_ids.items() if one == server_id)
        prepare_disk(self.register, pod, server_id, self.folder / str(server_id) / "data")
        self.members[server_id].start()

    def start(self) -> None:
        for server_id in self.ids:
            self.start_member(server_id)
        self.healed()

    def verdict(self, server_id: int) -> Verdict:
        return MemberReadiness(self.address(server_id)).verdict()

    def wait(self, server_id: int, *, is_ready: bool, says: str = "", seconds: float = 40) -> str:
        """The reason, once it is Ready, or isn't and says so."""
        deadline = time.monotonic() + seconds
        while (verdict := self.verdict(server_id)).is_ready is not is_ready or says not in verdict.reason:
            assert time.monotonic() < deadline, verdict
            time.sleep(0.1)
        return verdict.reason


@pytest.fixture(scope="module")
def zookeeper(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployed]:
    ensemble = Deployed(tmp_path_factory.mktemp("ensemble"))
    try:
        ensemble.start()
        yield ensemble
    finally:
        ensemble.stop()


def test_all_are_ready_and_a_member_alone_is_not(zookeeper: Deployed) -> None:
    leader = zookeeper.leader()
    followers = [server_id for server_id in zookeeper.ids if server_id != leader]
    assert zookeeper.wait(leader, is_ready=True) == "it leads, and 2 of 2 followers are in sync"
    for server_id in followers:
        assert zookeeper.wait(server_id, is_ready=True) == "it is follower"
        zookeeper.members[server_id].stop()
    zookeeper.wait(leader, is_ready=False)
    zookeeper.wait(leader, is_ready=False, says="doesn't serve")
    zookeeper.wait(followers[0], is_ready=False, says="Connection refused")
    for server_id in followers:
        zookeeper.start_member(server_id)
    for server_id in zookeeper.ids:
        zookeeper.wait(server_id, is_ready=True)


def test_a_lost_disk_elects_nobody_and_its_member_is_ready_once_it_has_copied(zookeeper: Deployed) -> None:
    first, second, third = zookeeper.ids
    for server_id in (first, third):
        zookeeper.members[server_id].stop()
    zookeeper.wipe(first)
    zookeeper.start_member(first)
    ends = time.monotonic() + 10
    while time.monotonic() < ends:
        assert not zookeeper.verdict(first).is_ready and not zookeeper.verdict(second).is_ready
        time.sleep(0.5)
    zookeeper.start_member(third)
    zookeeper.wait(first, is_ready=True)
    assert zookeeper.leader() != first
