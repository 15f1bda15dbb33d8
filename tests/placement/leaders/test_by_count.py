"""Leader balance compared with every possible choice of leaders, on clusters small enough to enumerate them."""

from collections.abc import Sequence
from itertools import product

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from kafka_runbooks.placement import planners
from kafka_runbooks.placement.leaders import by_count
from kafka_runbooks.placement.planners import Options
from tests.examples import examples
from tests.placement.builders import after, cluster


@settings(max_examples=examples(150), deadline=None)
@given(
    sets=st.lists(
        st.permutations(range(4)).flatmap(lambda p: st.integers(1, 3).map(lambda n: list(p[:n]))), min_size=1, max_size=6
    )
)
def test_no_choice_of_leaders_is_more_even(sets: list[list[int]]) -> None:
    width = max(map(len, sets))
    matrix = np.array([row + [-1] * (width - len(row)) for row in sets], dtype=np.int32)
    chosen = by_count.balance(matrix, np.arange(len(sets)), matrix >= 0, 4)
    counts = sorted(np.bincount(chosen, minlength=4).tolist(), reverse=True)
    best = min(sorted(np.bincount(choice, minlength=4).tolist(), reverse=True) for choice in product(*sets))
    assert counts == best, "the lexicographically smallest vector of counts, largest first"


@settings(max_examples=examples(150), deadline=None)
@given(
    sets=st.lists(
        st.permutations(range(4)).flatmap(lambda p: st.integers(1, 3).map(lambda n: list(p[:n]))), min_size=1, max_size=6
    ),
    before=st.lists(st.integers(0, 3), min_size=6, max_size=6),
)
def test_as_even_a_choice_with_fewer_changes_does_not_exist(sets: list[list[int]], before: list[int]) -> None:
    """`before` is the leader until now: where it isn't the first of its set any more, any choice is a change."""
    width, old = max(map(len, sets)), np.array(before[: len(sets)], dtype=np.int32)
    matrix = np.array([row + [-1] * (width - len(row)) for row in sets], dtype=np.int32)
    chosen = by_count.balance(matrix, np.arange(len(sets)), matrix >= 0, 4, before=old)

    def cost(choice: Sequence[int]) -> tuple[list[int], int]:
        changes = sum(not leader == row[0] == now for leader, row, now in zip(choice, sets, before, strict=False))
        return sorted((list(choice).count(broker) for broker in range(4)), reverse=True), changes

    assert cost(chosen.tolist()) == min(cost(choice) for choice in product(*sets))


def test_few_leaders_change() -> None:
    sets = {("t", p): [1 + p % 3, 1 + (p + 1) % 3] for p in range(9)} | {("t", 9): [1, 3]}
    observed = cluster(sets, {1: ("a", 0), 2: ("b", 0), 3: ("c", 0)})
    assert len(planners.balance_leaders(observed).changed) == 0, "4, 3, 3 is balanced"


def test_out_of_sync_replicas_and_brokers_outside_do_not_lead() -> None:
    sets = {("t", p): [1, 2, 3] for p in range(6)}
    observed = cluster(sets, {1: ("a", 0), 2: ("b", 0), 3: ("c", 0)}, in_sync=[[1, 3]] * 6)
    figures = planners.balance_leaders(observed).summary()
    assert {b.id: b.leaders_after for b in figures.brokers} == {1: 3, 2: 0, 3: 3}


def test_evacuated_leaderships_spread() -> None:
    sets = {("t", p): [1, 2 + p % 2, 4] for p in range(8)}
    plan = planners.evacuate_leaders(cluster(sets, {b: ("abcd"[b - 1], 0) for b in (1, 2, 3, 4)}), [1])
    led = np.bincount([row[0] for row in after(plan).values()], minlength=5)
    assert led.tolist() == [0, 0, 3, 2, 3] or max(led) - min(led[2:]) <= 1


def test_a_new_broker_is_not_preferred_leader_by_replacement() -> None:
    sets = {("t", p): [1, 2] for p in range(4)}
    observed = cluster(sets, {1: ("a", 100), 2: ("b", 100), 3: ("a", 100)}, dict.fromkeys(range(4), 5))
    plan = planners.replace_brokers(observed, [1], [3], Options(leaders="keep", min_racks=1))
    assert all(set(row) == {2, 3} for row in after(plan).values())
