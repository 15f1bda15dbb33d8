"""The independent rules: a valid plan passes, and each rule refuses a plan or a batch that breaks it."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from kafka_runbooks.placement import batches, planners, verify
from kafka_runbooks.placement.arrays import Cluster, Indices
from kafka_runbooks.placement.batches import Batch
from kafka_runbooks.placement.errors import PlannerDefect
from kafka_runbooks.placement.plan import Plan
from kafka_runbooks.placement.verify import rules
from tests.placement.builders import cluster

BROKERS: dict[int, tuple[str | None, int]] = {1: ("a", 40), 2: ("b", 60), 3: ("c", 90), 4: ("a", 100)}


def small() -> tuple[Cluster, Plan]:
    """t-0 moves from broker 1 to 4, its rack fellow; t-1 stays."""
    observed = cluster({("t", 0): [1, 2], ("t", 1): [2, 3]}, BROKERS, {0: 50, 1: 10}, capacity=100)
    return observed, planners.decommission(observed, [1])


def sets(plan: Plan, first: Sequence[int]) -> Indices:
    """The plan's assignment with another set for t-0, by broker id."""
    after = plan.after.copy()
    after[0] = [broker - 1 for broker in first]
    return after


def test_a_valid_plan_and_its_batches_pass() -> None:
    observed, plan = small()
    assert plan.moved_bytes == 50
    verify.check(plan)
    verify.check(plan, batches.cut(observed, plan.before, plan.after))
    phases = batches.phases(observed, plan.before, plan.after)
    verify.check(plan, phases, leader_first=True)


@pytest.mark.parametrize(
    ("first", "finding"),
    [
        ([4, 4], "a broker twice in [4, 4]"),
        ([1, 2], "on brokers [1], outside the map, leaving or dead"),
        ([4, 0], "1 replicas, 2 wanted"),
    ],
    ids=["broker twice", "leaving broker", "replica lost"],
)
def test_a_broken_assignment_is_a_planner_defect(first: list[int], finding: str) -> None:
    _, plan = small()
    with pytest.raises(PlannerDefect) as refused:
        verify.check(replace(plan, after=sets(plan, first)))
    assert any(finding in found for found in refused.value.findings), refused.value.findings


def test_fewer_racks_than_possible() -> None:
    observed = cluster({("t", 0): [1, 2]}, BROKERS, {0: 5})
    plan = planners.rebalance(observed)
    with pytest.raises(PlannerDefect, match="spans 1 racks, 2 are possible"):
        verify.check(replace(plan, after=sets(plan, [1, 4])))


def test_a_disk_over_capacity() -> None:
    known = rules.facts(cluster({("t", 0): [1], ("t", 1): [3]}, BROKERS, {0: 50, 1: 10}, capacity=100))
    full = {**known.unexplained_bytes, 3: 45}
    found = rules.check_assignment(replace(known, unexplained_bytes=full), {("t", 0): [3]}, brokers=[1, 2, 3])
    assert found == ["broker 3: 105 of 100 bytes in the end"]


def test_a_partition_out_of_scope_must_not_change() -> None:
    _, plan = small()
    scope, brokers = plan.areas[0]
    with pytest.raises(PlannerDefect, match="changed, but in no map"):
        verify.check(replace(plan, areas=((scope & (plan.cluster.partition == 1), brokers),)))


def test_a_plan_of_orders_must_not_change_sets() -> None:
    observed, _ = small()
    plan = planners.balance_leaders(observed)
    verify.check(plan)
    with pytest.raises(PlannerDefect, match="is not a new order of"):
        verify.check(replace(plan, after=sets(plan, [4, 2])))


def test_batches_must_end_in_the_plan() -> None:
    observed, plan = small()
    elsewhere = batches.cut(observed, plan.before, sets(plan, [3, 2]))
    no_change = Batch(observed, np.array([1]), plan.before[[1]], plan.before[[1]])
    for made in (elsewhere, [no_change]):
        with pytest.raises(PlannerDefect, match="do not end in the plan's assignment"):
            verify.check(plan, made)


@pytest.mark.parametrize(
    ("batch", "finding"),
    [
        ([2, 2], "not a replica list: [2, 2]"),
        ([2], "2 replicas before, 1 after the batch"),
        ([2, 9], "to dead or unknown brokers [9]"),
        ([1, 4], "spans 1 racks, [1, 2] spanned 2"),
        ([2, 5], "broker 5: 110 of 100 bytes while both copies exist"),
    ],
    ids=["broker twice", "replica lost", "dead broker", "rack lost", "disk full while copying"],
)
def test_each_rule_of_a_batch(batch: list[int], finding: str) -> None:
    known = rules.facts(cluster({("t", 0): [1, 2]}, {**BROKERS, 5: ("c", 40), 9: ("c", 90)}, {0: 50}, capacity=100, dead=[9]))
    assert [found for found in rules.check_batch(known, known.replicas, {("t", 0): batch}) if finding in found]
    assert rules.check_batch(known, known.replicas, {("t", 0): [2, 3]}) == []
