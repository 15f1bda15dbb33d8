"""Plan, carry it out, plan again: nothing to do, whoever plans."""

from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, given, settings

from kafka_runbooks.placement import planners
from kafka_runbooks.placement.arrays import Cluster
from kafka_runbooks.placement.errors import PlacementError
from kafka_runbooks.placement.plan import Plan
from kafka_runbooks.placement.planners import Options
from kafka_runbooks.placement.planners.convergence import settled
from tests.examples import examples
from tests.placement.builders import after, cluster
from tests.placement.strategies import clusters

PLANNERS: dict[str, Callable[[Cluster], Plan]] = {
    "rebalance": planners.rebalance,
    "replica count": lambda observed: planners.rebalance(observed, Options(measure="replica count")),
    "rebuild": lambda observed: planners.rebuild(observed, [planners.ALL_KNOWN], force=True),
    "spread": planners.spread_topics,
    "scale": lambda observed: planners.scale_up(observed, [1, 2], resumed=True),
    "set-rf": lambda observed: planners.set_replication(observed, 2),
    "decommission": lambda observed: planners.decommission(observed, [1]),
    "leaders": planners.balance_leaders,
    "by share": lambda observed: planners.balance_leaders(observed, by_share=True),
    "evacuate": lambda observed: planners.evacuate_leaders(observed, [1]),
}


@pytest.mark.parametrize("name", PLANNERS)
@settings(max_examples=examples(20), deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(observed=clusters(offline=False))
def test_a_second_run_has_nothing_to_do(name: str, observed: Cluster) -> None:
    try:
        plan = PLANNERS[name](observed)
    except PlacementError:
        return
    again = PLANNERS[name](settled(plan.cluster, plan.after))
    assert after(again) == after(plan)
    assert plan.lower_bound_bytes <= plan.moved_bytes and plan.best_possible_spread <= plan.spread_after + 1e-9


THREE: dict[int, tuple[str | None, int]] = {1: ("a", 90_000), 2: ("b", 90_000), 3: ("c", 90_000)}


def test_a_leader_or_two_are_not_worth_a_plan() -> None:
    sets = {("t", p): [[1, 2, 3], [2, 3, 1], [3, 1, 2]][p % 3] for p in range(9)} | {("t", 8): [1, 2, 3]}
    observed = cluster(sets, THREE, dict.fromkeys(range(9), 100))
    assert len(planners.rebalance(observed).changed) == 0
    assert len(planners.balance_leaders(observed).changed) == 1, "where leaders are asked for, they are exact"
    all_on_one = cluster({name: [1, 2, 3] for name in sets}, THREE, dict.fromkeys(range(9), 100))
    assert len(planners.rebalance(all_on_one).changed) == 6


def test_a_leader_that_is_dead_is_replaced_even_if_it_is_only_one() -> None:
    observed = cluster({("t", p): [1 + p % 3, 1 + (p + 1) % 3] for p in range(6)}, THREE, dict.fromkeys(range(6), 10), dead=[3])
    assert all(3 not in row for row in after(planners.rebalance(observed)).values())


def test_a_set_that_was_not_complete_keeps_its_in_sync_replicas_in_every_round() -> None:
    brokers: dict[int, tuple[str | None, int]] = {b: ("abc"[(b - 1) % 3], 98_000 if b < 4 else 100_000) for b in range(1, 7)}
    observed = cluster({("t", 0): [2, 3, 1]}, brokers, {0: 1_000}, dead=[3], in_sync=[[2, 1]])
    assert sorted(after(planners.rebalance(observed))["t", 0])[:2] == [1, 2]
