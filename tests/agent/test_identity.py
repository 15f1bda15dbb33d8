"""No id is ever given twice, however the pods that ask for one interleave."""

import threading
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kafka_runbooks.agent.identity import choose_id, claim_id, read_broker_id, write_identity
from kafka_runbooks.clients.errors import Conflict, Refused

PODS = [f"{stateful_set}-{ordinal}" for stateful_set in ("events", "checks") for ordinal in range(5)]
FIRST = {"events": 1001, "checks": 1004}


def first(pod: str) -> int:
    return FIRST[pod.rpartition("-")[0]]


class MemoryRegister:
    """A ConfigMap as the API server keeps it: a write based on another version is a conflict."""

    def __init__(self) -> None:
        self.ids: dict[str, int] = {}
        self.version: int | None = None
        self.lock = threading.Lock()

    def broker_ids(self, cluster: str) -> tuple[dict[str, int], str | None]:
        with self.lock:
            return dict(self.ids), None if self.version is None else str(self.version)

    def write_broker_ids(self, cluster: str, ids: Mapping[str, int], version: str | None) -> None:
        with self.lock:
            if version != (None if self.version is None else str(self.version)):
                raise Conflict("another version")
            self.ids, self.version = dict(ids), (self.version or 0) + 1


def steps_of(register: MemoryRegister, pod: str) -> Iterator[None]:
    """`claim_id` cut between its read and its write, so that a schedule can interleave pods at the worst points."""
    while True:
        ids, version = register.broker_ids("lab")
        yield
        if pod in ids:
            return
        try:
            register.write_broker_ids("lab", {**ids, pod: choose_id(ids, pod, first(pod))}, version)
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
        claim_id(register, "lab", pod, first(pod))
    assert register.ids == {
        "events-0": 1001,
        "events-1": 1002,
        "events-2": 1003,
        "checks-0": 1004,
        "checks-1": 1005,
        "checks-2": 1006,
    }
    assert claim_id(register, "lab", "events-3", 1001) == 1007


def test_many_pods_at_once_in_threads() -> None:
    register = MemoryRegister()
    threads = [threading.Thread(target=claim_id, args=(register, "lab", f"events-{n}", 1001)) for n in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(register.ids.values()) == list(range(1001, 1021))


def test_twins_in_the_register_are_refused_by_name() -> None:
    register = MemoryRegister()
    register.write_broker_ids("lab", {"events-0": 1001, "events-1": 1001}, None)
    with pytest.raises(Refused, match="1001 of events-0 is also given to events-1"):
        claim_id(register, "lab", "events-0", 1001)


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
