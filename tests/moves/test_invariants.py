"""Each invariant of the window can be broken, and is then named: a checker that lets everything pass proves nothing."""

from dataclasses import replace

import pytest

from kafka_runbooks.models.cluster import TopicPartition
from kafka_runbooks.models.inputs import MoveLimits
from kafka_runbooks.models.moves import Move, MovePlan
from kafka_runbooks.moves.admission import ChangeWindowState, Observation
from kafka_runbooks.moves.invariants import MoveInvariantBroken, check_invariants
from kafka_runbooks.moves.window import Hold, WindowDecision, decide
from tests.moves.simulated import Simulated, move, name, plan_of

PLAN = plan_of(
    move(0, (1, 2), (3, 2)), move(1, (1, 2), (4, 2)), move(2, (1, 2), (2, 1), batch=1), move(3, (1, 2), (5, 2), batch=2)
)
LIMITS = MoveLimits()
FIRST, SECOND, ORDER, LAST = PLAN.moves


def world() -> Simulated:
    return Simulated.before(PLAN)


def submit(*moves: Move, **more: object) -> WindowDecision:
    return WindowDecision(submit=moves, **more)  # type: ignore[arg-type]


def broken(observation: Observation, decision: WindowDecision, limits: MoveLimits = LIMITS, plan: MovePlan = PLAN) -> list[str]:
    """The numbers of the invariants that a decision breaks."""
    try:
        check_invariants(plan, observation, limits, decision)
    except MoveInvariantBroken as error:
        assert str(error)
        return sorted({one.partition(":")[0] for one in error.broken})
    return []


def test_what_the_window_decides_is_sound() -> None:
    one = world()
    assert broken(one.observe(), decide(PLAN, one.observe(), LIMITS)) == []
    assert broken(one.observe(), submit(FIRST)) == [], "less than it could is fine"


def moving(partition: TopicPartition, target: tuple[int, ...], ledger: tuple[int, ...] | None) -> Simulated:
    one = world()
    one.reassign(partition, target)
    if ledger is not None:
        one.ledger[partition] = ledger
    return one


@pytest.mark.parametrize(
    ("one", "dead", "decision", "number"),
    [
        (moving(name(0), (6, 2), None), (), submit(FIRST), "1"),
        (moving(name(0), (6, 2), None), (), WindowDecision(cancel=(FIRST,)), "1"),
        (moving(name(0), (6, 2), (3, 2)), (), WindowDecision(cancel=(FIRST,)), "1"),
        (moving(name(0), (3, 2), (3, 2)), (), WindowDecision(cancel=(FIRST,)), "1"),
        (moving(name(0), (3, 2), (3, 2)), (3,), WindowDecision(restore=(FIRST,), hold=Hold("", "")), "1"),
        (world(), (), WindowDecision(cancel=(FIRST,)), "1"),
    ],
    ids=["over another", "of someone else", "redirected", "on its way", "restored in flight", "not in progress"],
)
def test_ownership(one: Simulated, dead: tuple[int, ...], decision: WindowDecision, number: str) -> None:
    assert number in broken(one.observe(dead), decision)


def test_its_own_reassignment_may_be_cancelled_where_the_destination_is_dead_or_the_target_another() -> None:
    assert broken(moving(name(0), (3, 2), (3, 2)).observe([3]), WindowDecision(cancel=(FIRST,))) == []
    assert broken(moving(name(0), (6, 2), (6, 2)).observe(), WindowDecision(cancel=(FIRST,))) == []


def test_soundness() -> None:
    one = world()
    assert broken(one.observe(), submit(FIRST, FIRST)) == ["2"]
    assert broken(one.observe(), submit(move(0, (1, 2), (6, 2)))) == ["2"], "not the plan's"
    assert broken(one.observe(), submit(move(7, (1, 2), (3, 2)))) == ["2"], "no such partition"
    assert "2" in broken(one.observe(), WindowDecision(restore=(move(0, (1, 5), (3, 2)),)))
    one.live.discard(3)
    assert broken(one.observe(), submit(FIRST)) == ["2"], "its destination is down"
    one = world()
    one.live -= {1, 2}
    assert broken(one.observe(), submit(FIRST)) == ["2"], "no leader"
    one = world()
    one.replicas[name(0)] = (3, 2)
    assert broken(one.observe(), submit(FIRST)) == ["2"], "it is there already"
    one.replicas[name(0)] = (6, 2)
    assert broken(one.observe(), submit(FIRST)) == ["2"], "someone moved it"
    one.replicas[name(0)] = (3, 2, 1)
    assert broken(one.observe(), submit(FIRST)) == ["2"]
    one.ledger[name(0)] = (3, 2)
    assert broken(one.observe(), submit(FIRST)) == [], "its own, which a broker still shows with both sets"


@pytest.mark.parametrize(
    "limits",
    [
        MoveLimits(moves_out_per_broker=1),
        MoveLimits(moves_at_once=1),
        MoveLimits(bytes_out_per_broker=19),
        MoveLimits(bytes_at_once=19),
    ],
)
def test_limits_of_sources_and_of_the_cluster(limits: MoveLimits) -> None:
    assert broken(world().observe(), submit(FIRST, SECOND), limits) == ["3"]
    assert broken(world().observe(), submit(FIRST), limits) == [], "one alone may have any size"


@pytest.mark.parametrize("limits", [MoveLimits(moves_in_per_broker=1), MoveLimits(bytes_in_per_broker=19)])
def test_limits_of_destinations_count_what_is_in_flight(limits: MoveLimits) -> None:
    plan = plan_of(move(0, (1, 2), (3, 2)), move(1, (2, 1), (3, 1)))
    one = Simulated.before(plan)
    one.carry_out(submit(plan.moves[0]))
    assert broken(one.observe(), submit(plan.moves[1], in_flight=plan.moves[:1]), limits, plan) == ["3"]
    one.in_sync[name(0)].add(3)
    assert broken(one.observe(), submit(plan.moves[1], in_flight=plan.moves[:1]), limits, plan) == [], "it has been copied"


def test_limits_are_halved_where_a_partition_lags_at_its_minimum() -> None:
    one = Simulated({**world().replicas, name(9): (4, 5, 6)}, minimum=2)
    one.in_sync[name(9)] = {5, 6}
    plan = PLAN.model_copy(update={"partition_counts": {}})
    limits = MoveLimits(moves_out_per_broker=2)
    assert broken(one.observe(), submit(FIRST, SECOND), limits, plan) == ["3"]
    assert broken(one.observe(), submit(FIRST), limits, plan) == []
    one.in_sync[name(9)] = {4, 5, 6}
    assert broken(one.observe(), submit(FIRST, SECOND), limits, plan) == []


def test_disks() -> None:
    observation = replace(world().observe(), headroom_bytes={3: 9})
    assert broken(observation, submit(FIRST)) == ["4"]
    assert broken(replace(observation, headroom_bytes={3: 10}), submit(FIRST)) == []


def test_min_isr() -> None:
    one = Simulated({**world().replicas, name(9): (4, 5, 6)}, minimum=2)
    plan = PLAN.model_copy(update={"partition_counts": {}})
    one.in_sync[name(9)] = {5}
    assert broken(one.observe(), submit(FIRST), plan=plan) == ["5"]
    one.live.discard(6)
    assert broken(one.observe(), submit(FIRST), plan=plan) == [], "a broker is down"


def test_batches() -> None:
    assert broken(world().observe(), submit(FIRST, LAST)) == ["6"]
    assert broken(world().observe(), submit(FIRST, ORDER)) == []


def test_change_windows() -> None:
    closed = ChangeWindowState(False, None, "closed", "opens")
    assert broken(replace(world().observe(), change_window=closed), submit(FIRST)) == ["7"]
    soon = ChangeWindowState(True, 19, "closes", "opens")
    assert broken(replace(world().observe(), change_window=soon), submit(FIRST, SECOND)) == ["7"]
    assert broken(replace(world().observe(), change_window=soon), submit(FIRST)) == []


def test_approval() -> None:
    assert broken(world().observe(), submit(FIRST, drift=("t-1 moved",))) == ["8"]
    assert broken(world().observe(), submit(FIRST, lost=(4,))) == ["8"]
    one = moving(name(0), (3, 2), (3, 2))
    hold = Hold("", "")
    drifted = WindowDecision(in_flight=(FIRST,), drift=("t-1 moved",), must_replan=True, hold=hold)
    assert broken(one.observe(), drifted) == ["8"]
    assert broken(one.observe(), replace(drifted, must_replan=False)) == []
    assert broken(world().observe(), WindowDecision(must_replan=True, hold=hold)) == ["8"]


def test_honesty() -> None:
    assert broken(world().observe(), WindowDecision(is_done=True)) == ["9"]
    assert broken(world().observe(), WindowDecision()) == ["9"]
    assert broken(world().observe(), WindowDecision(hold=Hold("", ""))) == []
    there = Simulated({one.name: one.after for one in PLAN.moves})
    assert broken(there.observe(), WindowDecision(is_done=True)) == []
    there.reassign(name(0), (6, 2))
    assert broken(there.observe(), WindowDecision(is_done=True)) == ["9"], "someone is moving it away"
    assert "9" in broken(there.observe(), WindowDecision(is_done=True, must_replan=True, drift=("x",)))
