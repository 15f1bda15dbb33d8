"""Moves of partitions that refuse writes or hang by one copy: first in the plan, first to start, past the guard."""

import random
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from kafka_runbooks.models.inputs import MoveLimits, SetReplicationFactorInput
from kafka_runbooks.models.moves import MovePlan
from kafka_runbooks.moves import planning
from kafka_runbooks.moves.freeze import freeze
from kafka_runbooks.moves.invariants import MoveInvariantBroken, check_invariants
from kafka_runbooks.moves.window import WindowDecision, decide
from kafka_runbooks.placement import snapshots
from tests.moves.simulated import BROKERS, Simulated, move, name, plan_of
from tests.moves.test_freeze import COMMON, NOW, observed
from tests.moves.test_window import problems

FAR = plan_of(*(move(number, (1, 2, 5), (3, 2, 5), batch=number) for number in range(6)))
"""A batch each; the last of them becomes urgent."""


def world(plan: MovePlan, minimum: int = 2, **in_sync: set[int]) -> Simulated:
    """With the in-sync replicas of some partitions, by number (`p5={2}`)."""
    found = Simulated.before(plan, minimum)
    for key, brokers in in_sync.items():
        found.in_sync[name(int(key[1:]))] = brokers
    return found


def started(plan: MovePlan, at: Simulated, limits: MoveLimits | None = None, **more: object) -> list[int]:
    """The partitions that start, in order; each decision is checked."""
    limits = limits or MoveLimits(moves_out_per_broker=9, moves_in_per_broker=9, moves_at_once=9)
    observation = replace(at.observe(), **more)  # type: ignore[arg-type]
    decision = decide(plan, observation, limits)
    check_invariants(plan, observation, limits, decision)
    return [one.partition for one in decision.submit]


def test_one_that_refuses_writes_starts_first_whatever_its_batch() -> None:
    at = world(FAR, p5={2})
    at.live.discard(1)
    assert started(FAR, at) == [5, 0, 1]
    assert started(FAR, at, MoveLimits(moves_at_once=1)) == [5]
    hanging = world(FAR, minimum=1, p4={2}, p5={2, 5})
    hanging.live.discard(1)
    assert started(FAR, hanging) == [4, 0, 1]


def test_refusing_writes_comes_before_hanging_by_one_copy() -> None:
    plan = plan_of(move(0, (2, 4, 5), (6, 4, 5)), move(1, (2,), (2, 3)), move(2, (1, 2), (3, 2)))
    at = Simulated.before(plan, 2)
    at.live.discard(1)
    assert started(plan, at) == [2, 1, 0], "a sole replica that gets a second one comes before the rest too"


def test_what_can_wait_leaves_its_brokers_to_what_can_not() -> None:
    """Small moves kept slipping in before a large one that refuses writes."""
    plan = plan_of(
        move(0, (1, 2, 5), (3, 2, 5), 10),
        move(1, (1, 2, 5), (3, 2, 5), 10),
        move(2, (4, 5, 2), (6, 5, 2), 10),
        move(3, (1, 2, 5), (3, 2, 5), 95, batch=1),
    )
    limits = MoveLimits(bytes_in_per_broker=100, moves_at_once=9)
    at = world(plan)
    at.live.discard(1)
    at.carry_out(WindowDecision(submit=plan.moves[:1]))
    at.in_sync[name(3)] = {2}
    assert started(plan, at, limits) == [2], "3 waits for its brokers, and 1 may not take them"
    at.end(name(0))
    assert started(plan, at, limits)[0] == 3


def test_of_a_later_batch_only_what_leaves_the_rest_its_space() -> None:
    at = world(FAR, p5={2})
    at.live.discard(1)
    assert started(FAR, at, headroom_bytes={3: 59}) == [0, 1], "60 bytes are to arrive there, and earlier ones need them"
    assert started(FAR, at, headroom_bytes={3: 60}) == [5, 0, 1]


def test_the_guard_lets_through_what_repairs_at_half_the_limits() -> None:
    """t-0 only lags and is waited for; t-1 lost broker 1 for good, and no time brings it back."""
    plan = plan_of(
        move(0, (2, 4, 5), (3, 4, 5)),
        move(1, (1, 2, 5), (3, 2, 5), batch=1),
        move(2, (1, 2, 5), (3, 2, 5), batch=1),
        move(3, (4, 5, 6), (3, 5, 6)),
    )
    at = world(plan, p0={4}, p1={2}, p2={2})
    at.live.discard(1)
    assert started(plan, at) == [1, 2]
    assert started(plan, at, MoveLimits(moves_at_once=2)) == [1]
    observation = at.observe()
    decision = decide(plan, observation, MoveLimits())
    assert decision.hold is not None and "only moves start that repair" in decision.hold.reason
    for wrong in (plan.moves[0], plan.moves[3]):
        try:
            check_invariants(plan, observation, MoveLimits(), replace(decision, submit=(wrong,)))
        except MoveInvariantBroken as error:
            assert any(one.startswith("5") for one in error.broken)
        else:
            raise AssertionError(f"{wrong.name} only lags, or could wait")


def test_one_that_only_lags_is_waited_for() -> None:
    at = world(FAR, p0={2})
    assert started(FAR, at) == []


@given(problems(), st.integers(0, 2**32))
def test_whatever_is_lost_each_decision_is_sound_and_the_urgent_are_not_passed_over(
    problem: tuple[MovePlan, MoveLimits], seed: int
) -> None:
    plan, limits = problem
    dice = random.Random(seed)
    at = Simulated.before(plan, dice.choice([1, 2]))
    at.live -= set(dice.sample(BROKERS, dice.choice([0, 1, 2])))
    for replicas in at.in_sync.values():
        replicas -= {broker for broker in set(replicas) if dice.random() < 0.3}
    free = {broker: dice.choice([0, 50, 500]) for broker in BROKERS if dice.random() < 0.5}
    observation = replace(at.observe(), headroom_bytes=free)
    decision = decide(plan, observation, limits)
    check_invariants(plan, observation, limits, decision)
    urgent = [one for one in plan.moves if _refuses(at, one.partition) and one.arriving]
    order = [one.name for one in decision.submit]
    first = [order.index(one.name) for one in urgent if one.name in order]
    rest = [number for number, found in enumerate(order) if found not in {one.name for one in urgent} and _copies_all(at, found)]
    assert not first or not rest or max(first) < min(rest)


def _refuses(at: Simulated, number: int) -> bool:
    good = at.in_sync[name(number)] & at.live
    return len(good) < min(at.minimum, len(at.replicas[name(number)]))


def _copies_all(at: Simulated, partition: object) -> bool:
    """It isn't urgent for another reason."""
    good = at.in_sync[partition] & at.live  # type: ignore[index]
    return len(good) > 1


@given(problems(), st.integers(0, 2**32))
def test_and_the_plan_ends_the_same(problem: tuple[MovePlan, MoveLimits], seed: int) -> None:
    """Replicas fall behind and catch up while it is carried out."""
    plan, limits = problem
    dice = random.Random(seed)
    at = Simulated.before(plan, 2)
    for look in range(40 * len(plan.moves) + 40):
        for partition, replicas in at.in_sync.items():
            standing = set(at.replicas[partition]) - set(at.moving[partition].adding if partition in at.moving else ())
            if look < 20 and dice.random() < 0.2 and len(replicas) > 1:
                replicas.discard(dice.choice(sorted(replicas)))
            elif dice.random() < 0.5:
                replicas |= standing
        observation = at.observe()
        decision = decide(plan, observation, limits)
        check_invariants(plan, observation, limits, decision)
        if decision.is_done:
            break
        at.carry_out(decision, dice.choice([0, 1, 10**9]))
        for partition in [one for one in at.moving if dice.random() < 0.5 and at.can_end(one)]:
            at.end(partition)
    assert at.replicas == {one.name: one.after for one in plan.moves}


def test_a_plan_begins_with_them() -> None:
    """Whichever runbook it is of: all are frozen in one place."""
    whole, urgent = observed(count=90), {31, 77}
    partitions = tuple(
        one._replace(in_sync=one.in_sync[:1], leader=one.in_sync[0]) if one.partition in urgent else one
        for one in whole.snapshot.partitions
    )
    snapshot = replace(whole.snapshot, partitions=partitions, minimum_in_sync={"t": 2})
    cluster = snapshots.from_snapshot(snapshots.observed(snapshot, whole.sizes, ()))
    at = replace(whole, snapshot=snapshot, cluster=cluster)
    limits = MoveLimits(moves_in_per_broker=1, moves_out_per_broker=1)
    request = SetReplicationFactorInput(**COMMON, topics=("t",), replication_factor=3, limits=limits)
    plan = freeze(at, request, "SetReplicationFactor", planning.replication_factor(at, request), NOW)
    assert len(plan.moves) == 90 and len({one.batch for one in plan.moves}) > 1
    assert {one.partition for one in plan.moves[:2]} == urgent
