"""No server ID is ever given twice, and only a new ensemble's members begin with empty disks."""

import threading
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kafka_runbooks.agent.ensemble import claim_server_ids, pods_of, prepare_disk, write_servers
from kafka_runbooks.clients.errors import Conflict, Refused, Unreachable
from kafka_runbooks.clients.kubernetes.server_ids import ServerIds

THREE = ("zookeeper-0", "zookeeper-1", "zookeeper-2")
FIVE = (*THREE, "zookeeper-3", "zookeeper-4")


class MemoryRegister:
    """As the API server keeps it: a change based on another version is a conflict. `before` runs between a read and its write."""

    def __init__(self, **ids: int) -> None:
        self.ids: dict[str, int] = {name.replace("_", "-"): server_id for name, server_id in ids.items()}
        self.may_be_empty: set[str] = set()
        self.version = 0
        self.writes: list[set[str]] = []
        self.lock = threading.Lock()
        self.fails = False

    def read(self) -> ServerIds:
        with self.lock:
            return ServerIds(dict(self.ids), frozenset(self.may_be_empty), str(self.version))

    def add(self, ids: Mapping[str, int], may_be_empty: Iterable[str], version: str) -> None:
        with self.lock:
            if version != str(self.version):
                raise Conflict("another version")
            self.ids |= ids
            self.may_be_empty |= set(may_be_empty)
            self.version += 1
            self.writes.append(set(ids))

    def begun(self, pod: str) -> None:
        if self.fails:
            raise Unreachable("no answer")
        with self.lock:
            self.may_be_empty.discard(pod)
            self.version += 1


def test_ids_follow_ordinals_and_are_given_once_whichever_pod_comes_first() -> None:
    register = MemoryRegister()
    for pod in ("zookeeper-2", "zookeeper-0", "zookeeper-1"):
        assert claim_server_ids(register, pods_of(pod, 3)) == {"zookeeper-0": 1, "zookeeper-1": 2, "zookeeper-2": 3}
    assert register.writes == [set(THREE)]


def test_many_pods_at_once() -> None:
    register, found = MemoryRegister(), []
    threads = [threading.Thread(target=lambda: found.append(claim_server_ids(register, FIVE))) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [dict(zip(FIVE, range(1, 6), strict=True))] * 12 and register.writes == [set(FIVE)]


class OvertakenRegister(MemoryRegister):
    """Another pod writes between this one's read and its write, as long as there is one in `others`."""

    def __init__(self, others: Iterator[str]) -> None:
        super().__init__()
        self.others = others

    def add(self, ids: Mapping[str, int], may_be_empty: Iterable[str], version: str) -> None:
        if (pod := next(self.others, None)) is not None:
            super().add({pod: max(self.ids.values(), default=0) + 1}, (), str(self.version))
        super().add(ids, may_be_empty, version)


@given(st.permutations(THREE), st.integers(0, 3))
def test_a_pod_that_is_overtaken_takes_what_was_given_meanwhile(order: list[str], times: int) -> None:
    register = OvertakenRegister(iter(order[:times]))
    ids = claim_server_ids(register, THREE)
    assert ids == register.ids and sorted(set(ids.values())) == [1, 2, 3]


def test_who_always_loses_gives_up() -> None:
    register = OvertakenRegister(f"other-{number}" for number in range(1000))
    with pytest.raises(Unreachable, match="lost 100 races"):
        claim_server_ids(register, THREE)


def test_only_a_new_ensemble_s_members_may_begin_empty() -> None:
    register = MemoryRegister()
    claim_server_ids(register, THREE)
    assert register.may_be_empty == set(THREE)
    claim_server_ids(register, FIVE)
    assert register.may_be_empty == set(THREE) and register.ids["zookeeper-4"] == 5


def test_an_id_of_a_pod_that_left_is_not_given_again() -> None:
    register = MemoryRegister(elsewhere_0=2)
    assert claim_server_ids(register, THREE) == {"zookeeper-0": 1, "zookeeper-1": 3, "zookeeper-2": 4}


def test_twins_in_the_register_are_refused_by_name() -> None:
    with pytest.raises(Refused, match="server ID 1 of zookeeper-0 is also given to zookeeper-1"):
        claim_server_ids(MemoryRegister(zookeeper_0=1, zookeeper_1=1), THREE)


def test_a_pod_beyond_the_size_is_refused() -> None:
    with pytest.raises(Refused, match="ENSEMBLE_SIZE: zookeeper-3 is not one of 3 members"):
        pods_of("zookeeper-3", 3)


def prepared(register: MemoryRegister, folder: Path) -> tuple[bool, bool]:
    """Whether the disk may be empty, and whether ZooKeeper is told so."""
    may_be_empty = prepare_disk(register, "zookeeper-0", 1, folder)
    return may_be_empty, (folder / "initialize").exists()


def test_a_member_begins_empty_once_and_a_lost_disk_has_no_vote(tmp_path: Path) -> None:
    register = MemoryRegister()
    claim_server_ids(register, THREE)
    first, again = tmp_path / "first", tmp_path / "again"
    assert prepared(register, first) == (True, True)
    assert (first / "myid").read_text() == "1\n"
    (first / "initialize").unlink()  # as ZooKeeper does when it starts
    assert prepared(register, first) == (False, False)
    assert prepared(register, again) == (False, False) and (again / "myid").read_text() == "1\n"


def test_the_permission_is_withdrawn_only_once_it_is_on_the_disk(tmp_path: Path) -> None:
    register = MemoryRegister()
    claim_server_ids(register, THREE)
    register.fails = True
    with pytest.raises(Unreachable):
        prepare_disk(register, "zookeeper-0", 1, tmp_path)
    assert (tmp_path / "initialize").exists() and "zookeeper-0" in register.may_be_empty


def test_another_server_s_disk_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "myid").write_text("2\n")
    with pytest.raises(Refused, match="the disk is of server 2, and zookeeper-0 is server 1"):
        prepare_disk(MemoryRegister(), "zookeeper-0", 1, tmp_path)
    assert [(file.name, file.read_text()) for file in tmp_path.iterdir()] == [("myid", "2\n")]


def test_the_list_of_members(tmp_path: Path) -> None:
    write_servers(tmp_path / "servers.cfg", {"zookeeper-0": 1, "zookeeper-1": 7}, "kafka")
    assert (tmp_path / "servers.cfg").read_text() == (
        "server.1=zookeeper-0.zookeeper.kafka.svc.cluster.local:2888:3888\n"
        "server.7=zookeeper-1.zookeeper.kafka.svc.cluster.local:2888:3888\n"
    )
