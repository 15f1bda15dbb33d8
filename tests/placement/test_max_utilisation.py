"""No plan makes a disk fuller than `max_utilisation`, what is fuller gets nothing, and a plan that can't be made says why."""

from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kafka_runbooks.models.placement import Snapshot
from kafka_runbooks.placement import planners, snapshots
from kafka_runbooks.placement.arrays import Cluster
from kafka_runbooks.placement.batches import cut, phases
from kafka_runbooks.placement.errors import InvalidRequest, NoAssignment, PlannerDefect
from kafka_runbooks.placement.plan import Plan
from kafka_runbooks.placement.planners import Options
from kafka_runbooks.placement.solver.state import State
from kafka_runbooks.placement.verify import check
from tests.examples import examples
from tests.placement.builders import after, cluster
from tests.placement.strategies import clusters

PLANNERS: dict[str, Callable[[Cluster, Options], Plan]] = {
    "rebalance": planners.rebalance,
    "spread": planners.spread_topics,
    "set-rf": lambda observed, options: planners.set_replication(observed, 2, options),
    "decommission": lambda observed, options: planners.decommission(observed, [1], options),
}


def used(observed: Cluster, sets: dict[tuple[str, int], list[int]]) -> dict[int, int]:
    """Used bytes by broker, counted by hand."""
    found = dict(zip(observed.broker_ids.tolist(), observed.unexplained_bytes.tolist(), strict=True))
    for row, size in enumerate(observed.size_bytes.tolist()):
        for broker in sets[observed.name(row)]:
            if broker >= 0:
                found[broker] += size
    return found


@pytest.mark.parametrize("name", PLANNERS)
@settings(max_examples=examples(60), deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(observed=clusters(roomy=False), share=st.sampled_from([0.5, 0.7, 0.85]))
def test_a_broker_gets_nothing_that_it_does_not_hold_below_the_limit(name: str, observed: Cluster, share: float) -> None:
    try:
        plan = PLANNERS[name](observed, Options(max_utilisation=share))
        batches = cut(plan.cluster, plan.before, plan.after)
    except NoAssignment as refused:
        assert refused.reasons
        return
    check(plan, batches)
    most = {int(b): int(c * share) for b, c in zip(observed.broker_ids, observed.capacity_bytes.tolist(), strict=True)}
    sets = {observed.name(row): observed.ids(members) for row, members in enumerate(plan.before)}
    start = used(observed, sets)
    for batch in batches:
        change = {(p.topic, p.partition): list(p.replicas) for p in batch.reassignment().partitions}
        arriving = {broker for named, new in change.items() for broker in set(new) - set(sets[named])}
        peak = used(observed, {**sets, **{named: list({*sets[named], *new}) for named, new in change.items()}})
        assert all(peak[broker] <= most[broker] for broker in arriving), "while both copies exist"
        sets |= change
    end = used(observed, sets)
    assert all(end[broker] <= max(most[broker], start[broker]) for broker in end)


def full(free: int) -> Cluster:
    """Broker 1 holds a replica of 100 bytes; 2 and 3, in the other racks, have this much of 1,000 bytes free."""
    return cluster({("t", 0): [1]}, {1: ("a", 500), 2: ("b", free), 3: ("c", free + 1)}, {0: 100}, capacity=1000)


def test_what_does_not_fit_is_said_with_the_broker_by_how_much_and_what_helps() -> None:
    with pytest.raises(NoAssignment) as refused:
        planners.set_replication(full(200), 2, Options(max_utilisation=0.85))
    (reason,) = refused.value.reasons
    assert reason.where == "broker 3"
    assert "needs 100 bytes, 51 are free there below max_utilisation 0.85" in reason.problem
    assert reason.remedy.startswith("free 49 bytes on it, add a broker") and "raise max_utilisation to 0.899" in reason.remedy
    helped = planners.set_replication(full(200), 2, Options(max_utilisation=0.899))
    assert after(helped)["t", 0] == [1, 3]


def test_a_limit_that_would_not_help_is_not_proposed() -> None:
    with pytest.raises(NoAssignment, match="free 50 bytes") as refused:
        planners.set_replication(full(49), 2, Options(max_utilisation=1.0))
    assert "max_utilisation" not in str(refused.value)


def test_brokers_that_are_too_full_already_are_named_and_get_nothing() -> None:
    sets = {("t", p): [1 + p % 2] for p in range(8)}
    observed = cluster(sets, {1: (None, 100), 2: (None, 200), 3: (None, 1000)}, dict.fromkeys(range(8), 200), capacity=1000)
    plan = planners.rebalance(observed, Options(max_utilisation=0.85, target_spread=0.3))
    (notice,) = [one for one in plan.notices if "max_utilisation" in one]
    assert notice.startswith("fuller than max_utilisation 0.85: brokers 1 by 5.0%; they get nothing")
    assert not [row for name, row in after(plan).items() if 1 in row and 1 not in sets[name]]


def test_each_log_directory_keeps_the_limit() -> None:
    directories = [{"path": "/1", "capacity": 1000, "free": 250}, {"path": "/2", "capacity": 1000, "free": 300}]
    found = {
        "brokers": [{"id": 1, "rack": "a", "capacity": 1000, "free": 800}, {"id": 2, "rack": "b", "log_dirs": directories}],
        "partitions": [{"topic": "t", "partition": 0, "replicas": [1], "size": 200}],
    }
    observed = snapshots.from_snapshot(Snapshot.model_validate(found))
    assert after(planners.set_replication(observed, 2, Options(max_utilisation=0.9)))["t", 0] == [1, 2]
    with pytest.raises(NoAssignment, match=r"emptiest has 150 free below max_utilisation 0.85.*or raise max_utilisation"):
        planners.set_replication(observed, 2, Options(max_utilisation=0.85))


def test_phases_copy_everything_at_once_and_say_where_that_does_not_fit() -> None:
    sets = {("t", p): [1 + p % 2] for p in range(2)}
    observed = cluster(sets, {1: (None, 400), 2: (None, 400)}, {0: 300, 1: 300}, capacity=1000)
    plan = planners.given(observed, snapshots.to_map(observed, observed.replicas[::-1], range(2)))
    assert len(phases(plan.cluster, plan.before, plan.after)) == 2
    tight = planners.rebalance(observed, Options(max_utilisation=0.85)).cluster
    with pytest.raises(
        NoAssignment, match=r"broker 1: 300 bytes are copied to it at once, 50 more than fit below max_util.*0\.9"
    ):
        phases(tight, plan.before, plan.after)


def test_the_independent_rules_know_the_limit() -> None:
    observed = cluster({("t", 0): [1]}, {1: (None, 500), 2: (None, 150)}, {0: 100}, capacity=1000)
    plan = planners.decommission(observed, [1], Options(max_utilisation=0.95))
    check(plan)
    strict = Plan(**{**plan.__dict__, "cluster": planners.rebalance(observed, Options(max_utilisation=0.9)).cluster})
    with pytest.raises(PlannerDefect, match=r"broker 2: 950 of 900 bytes \(max_utilisation 0.9\)"):
        check(strict)


@pytest.mark.parametrize("share", [0.0, 1.01, 85.0])
def test_a_share_that_is_none_is_bad_input(share: float) -> None:
    with pytest.raises(InvalidRequest, match=r"max_utilisation: .* is no share of a disk; give more than 0, at most 1"):
        planners.rebalance(full(200), Options(max_utilisation=share))


def test_full_brokers_are_not_tried_for_each_replica_of_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a cluster has no room for is refused after some questions, not after replicas x brokers of them for each partition."""
    partitions, brokers, room = 60, {broker: (None, 300 if broker < 3 else 0) for broker in range(30)}, State.has_room
    observed = cluster(
        {("t", number): [number % 30] for number in range(partitions)}, brokers, dict.fromkeys(range(partitions), 100)
    )
    asked = 0

    def counted(state: State, partition: int, broker: int) -> bool:
        nonlocal asked
        asked += 1
        return room(state, partition, broker)

    monkeypatch.setattr(State, "has_room", counted)
    with pytest.raises(NoAssignment):
        planners.set_replication(observed, 2, Options(max_utilisation=1.0))
    assert asked < 3 * partitions * len(brokers)
