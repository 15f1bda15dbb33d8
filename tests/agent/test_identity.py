"""No id is ever given twice, however the pods that ask for one interleave."""

import threading
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kafka_runbooks.agent.identity import choose_id, claim_id, read_broker_id, write_identity
from kafka_runbooks.clients.errors import Conflict, Refused
from kafka_runbooks.clients.kubernetes.register import broker_ids, last_starts
from kafka_runbooks.models.kubernetes import LastStart

PODS = [f"{stateful_set}-{ordinal}" for stateful_set in ("events", "checks") for ordinal in range(5)]
FIRST = {"events": 1001, "checks": 1004}


def first(pod: str) -> int:
    return FIRST[pod.rpartition("-")[0]]


START = LastStart(rack="zone-a", node="node-a", node_uid="uid-a")


class MemoryRegister:
    """A ConfigMap as the API server keeps it: a write based on another version is a conflict."""

    def __init__(self, **data: str) -> None:
        self.data = data
        self.version = 0
        self.lock = threading.Lock()

    @property
    def ids(self) -> dict[str, int]:
        return broker_ids(self.data)

    def entries(self, cluster: str) -> tuple[dict[str, str], str]:
        with self.lock:
            return dict(self.data), str(self.version)

    def add_entries(self, cluster: str, entries: Mapping[str, str], version: str) -> None:
        with self.lock:
            if version != str(self.version):
                raise Conflict("another version")
            self.data, self.version = {**self.data, **entries}, self.version + 1


def steps_of(register: MemoryRegister, pod: str) -> Iterator[None]:
    """`claim_id` cut between its read and its write, so that a schedule can interleave pods at the worst points."""
    while True:
        entries, version = register.entries("lab")
        yield
        if pod in entries:
            return
        try:
            register.add_entries("lab", {pod: str(choose_id(broker_ids(entries), pod, first(pod)))}, version)
        except Conflict:
            continue
        return


@given(st.lists(st.sampled_from(PODS), max_size=120), st.permutations(PODS))
def test_interleaved_pods_get_distinct_ids_at_or_above_their_first(schedule: list[str], rest: list[str]) -> None:
    register = MemoryRegister()
    running = {pod: steps_of(register, pod) for pod in PODS}
    for pod in schedule:
        next(running[pod], None)
    for pod in rest:
        for _ in running[pod]:
            pass
    assert set(register.ids) == set(PODS)
    assert len(set(register.ids.values())) == len(PODS)
    assert all(broker_id >= first(pod) for pod, broker_id in register.ids.items())


@given(st.dictionaries(st.sampled_from(PODS), st.integers(1000, 1012)), st.sampled_from(PODS))
def test_a_known_pod_keeps_its_id_and_a_new_one_takes_a_free_one(ids: dict[str, int], pod: str) -> None:
    chosen = choose_id(ids, pod, 1001)
    assert chosen == ids[pod] if pod in ids else chosen not in ids.values() and chosen >= 1001


def test_a_fresh_stateful_set_has_ids_by_ordinal_whatever_the_order() -> None:
    register = MemoryRegister()
    for pod in ("checks-1", "events-2", "checks-0", "events-0", "checks-2", "events-1"):
        claim_id(register, "lab", pod, first(pod), START)
    assert register.ids == {
        "events-0": 1001,
        "events-1": 1002,
        "events-2": 1003,
        "checks-0": 1004,
        "checks-1": 1005,
        "checks-2": 1006,
    }
    assert claim_id(register, "lab", "events-3", 1001, START) == 1007


def test_many_pods_at_once_in_threads() -> None:
    register = MemoryRegister()
    threads = [threading.Thread(target=claim_id, args=(register, "lab", f"events-{n}", 1001, START)) for n in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(register.ids.values()) == list(range(1001, 1021))


def test_twins_in_the_register_are_refused_by_name() -> None:
    register = MemoryRegister(**{"events-0": "1001", "events-1": "1001"})
    with pytest.raises(Refused, match="1001 of events-0 is also given to events-1"):
        claim_id(register, "lab", "events-0", 1001, START)


def test_an_entry_that_is_no_number_stops_new_ids_and_nobody_who_has_one() -> None:
    register = MemoryRegister(**{"events-0": "1001", "events-1": "ten"})
    assert claim_id(register, "lab", "events-0", 1001, START) == 1001
    with pytest.raises(Refused, match="events-1 has 'ten', which is not a broker ID"):
        claim_id(register, "lab", "events-2", 1001, START)
    assert register.data["events-1"] == "ten"


def test_where_a_broker_starts_is_recorded_and_written_only_when_it_changes() -> None:
    register = MemoryRegister()
    claim_id(register, "lab", "events-0", 1001, START)
    claim_id(register, "lab", "events-0", 1001, START)
    assert register.version == 1 and last_starts(register.data) == {"events-0": START}
    moved = LastStart(rack="zone-b", node="node-b", node_uid="uid-b")
    claim_id(register, "lab", "events-0", 1001, moved)
    assert last_starts(register.data) == {"events-0": moved} and register.ids == {"events-0": 1001}


def test_the_identity_file(tmp_path: Path) -> None:
    path = tmp_path / "broker.properties"
    with pytest.raises(Refused, match="did `identify` run"):
        read_broker_id(path)
    write_identity(path, 1001, "zone-a")
    assert path.read_text() == "node.id=1001\nbroker.rack=zone-a\n"
    assert read_broker_id(path) == 1001
    assert list(tmp_path.iterdir()) == [path]
    path.write_text("broker.rack=zone-a\n")
    with pytest.raises(Refused, match=r"no node\.id"):
        read_broker_id(path)
