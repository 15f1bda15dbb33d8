"""Places of new replicas: within the brokers given, over racks, even, led evenly, and the same each time."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kafka_runbooks.topics.placing import Placer

RACKS = {1: "a", 2: "b", 3: "c", 4: "a", 5: "b", 6: "c"}


def spread(counts: Counter[int], brokers: list[int]) -> int:
    return max(counts[broker] for broker in brokers) - min(counts[broker] for broker in brokers)


@given(
    st.dictionaries(st.integers(1, 9), st.sampled_from("abc"), min_size=1, max_size=9),
    st.integers(1, 12),
    st.data(),
)
def test_replicas_are_apart_as_racks_allow(racks: dict[int, str], partitions: int, data: st.DataObject) -> None:
    brokers = data.draw(st.lists(st.sampled_from(sorted(racks)), min_size=1, unique=True))
    factor = data.draw(st.integers(1, len(brokers)))
    there = data.draw(st.lists(st.lists(st.sampled_from(sorted(racks)), min_size=1, unique=True), max_size=6))
    placed = Placer(racks, there).place(brokers, partitions, factor)
    assert placed == Placer(racks, there).place(brokers, partitions, factor), "deterministic"
    assert len(placed) == partitions
    for row in placed:
        assert len(set(row)) == len(row) == factor and set(row) <= set(brokers)
        here = Counter(racks[broker] for broker in row)
        room = {racks[broker] for broker in brokers if broker not in row}
        assert all(here[rack] + 1 >= max(here.values()) for rack in room), "no rack has two more than one with room"


@pytest.mark.parametrize("factor", [1, 2, 3])
@pytest.mark.parametrize("partitions", [1, 5, 6, 12, 40])
def test_a_topic_and_its_leaders_are_spread_evenly(factor: int, partitions: int) -> None:
    placed = Placer(RACKS, ()).place(list(RACKS), partitions, factor)
    brokers = list(RACKS)
    assert spread(Counter(broker for row in placed for broker in row), brokers) <= 1
    assert spread(Counter(row[0] for row in placed), brokers) <= 1


def test_many_small_topics_are_spread_by_what_is_there() -> None:
    placer = Placer(RACKS, [(1, 2, 3)] * 10)
    rows = [row for _ in range(40) for row in placer.place(list(RACKS), 1, 3)]
    replicas, leaders = Counter({1: 10, 2: 10, 3: 10}), Counter({1: 10})
    replicas.update(broker for row in rows for broker in row)
    leaders.update(row[0] for row in rows)
    assert spread(replicas, list(RACKS)) <= 1
    assert spread(leaders, list(RACKS)) <= 3


def test_added_partitions_go_where_the_topic_has_least() -> None:
    placer = Placer(RACKS, [])
    placed = placer.place(list(RACKS), 2, 3, beside=[(1, 2, 3), (2, 3, 1)])
    assert [set(row) for row in placed] == [{4, 5, 6}, {4, 5, 6}]


def test_a_broker_shares_its_partitions_with_many() -> None:
    """Whoever of them fails, what it led goes to several."""
    racks = {broker: "abc"[broker % 3] for broker in range(9)}
    placed = Placer(racks, ()).place(list(racks), 27, 3)
    others = {broker: {other for row in placed if broker in row for other in row} - {broker} for broker in racks}
    assert {len(found) for found in others.values()} == {6}


def test_brokers_without_a_rack_are_each_a_rack_of_their_own() -> None:
    (row,) = Placer({1: None, 2: None, 3: None}, ()).place([1, 2, 3], 1, 3)
    assert set(row) == {1, 2, 3}
