"""The sliding window: what it starts, cancels and waits for; and however it is interrupted, the plan ends the same."""

import random
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kafka_runbooks.models.cluster import TopicPartition
from kafka_runbooks.models.inputs import MoveLimits
from kafka_runbooks.models.moves import MovePlan
from kafka_runbooks.moves.admission import ChangeWindowState
from kafka_runbooks.moves.invariants import check_invariants
from kafka_runbooks.moves.window import decide, guard
from tests.moves.simulated import BROKERS, Simulated, move, name, plan_of


@st.composite
def problems(draw: st.DrawFn) -> tuple[MovePlan, MoveLimits]:
    count = draw(st.integers(1, 10))
    moves = []
    for number in range(count):
        before = tuple(draw(st.permutations(BROKERS))[: draw(st.integers(1, 3))])
        after = tuple(draw(st.permutations(BROKERS))[: draw(st.integers(1, 3))])
        moves.append(move(number, before, after, draw(st.integers(0, 100)), batch=number // draw(st.integers(2, 4))))
    moves.sort(key=lambda one: one.batch)
    limits = MoveLimits(
        moves_in_per_broker=draw(st.integers(1, 3)),
        moves_out_per_broker=draw(st.integers(1, 3)),
        moves_at_once=draw(st.integers(1, 5)),
        bytes_in_per_broker=draw(st.none() | st.integers(1, 150)),
        bytes_out_per_broker=draw(st.none() | st.integers(1, 150)),
        bytes_at_once=draw(st.none() | st.integers(1, 300)),
    )
    return plan_of(*moves), limits


def run(plan: MovePlan, limits: MoveLimits, world: Simulated, dice: random.Random, *, failovers: int = 2) -> None:
    """Until it is done; interrupted, with requests lost, and each decision checked."""
    for _ in range(40 * len(plan.moves) + 40):
        observation = world.observe()
        decision = decide(plan, observation, limits)
        check_invariants(plan, observation, limits, decision)
        if decision.is_done:
            return
        world.carry_out(decision, dice.choice([0, 1, 2, 10**9]))
        for partition in [one for one in world.moving if dice.random() < 0.5]:
            world.end(partition)
        if failovers and dice.random() < 0.1:
            failovers -= 1
            for partition in list(world.moving):
                world.cancel(partition)
    raise AssertionError("it never ends")


@given(problems(), st.integers(0, 2**32))
def test_whatever_interrupts_it_the_end_is_the_plan(problem: tuple[MovePlan, MoveLimits], seed: int) -> None:
    plan, limits = problem
    dice = random.Random(seed)
    world = Simulated.before(plan)
    run(plan, limits, world, dice)
    assert world.replicas == {one.name: one.after for one in plan.moves}


@given(problems(), st.integers(0, 2**32), st.integers(0, 30))
def test_a_rollback_in_the_middle_ends_at_the_start_order_included(
    problem: tuple[MovePlan, MoveLimits], seed: int, polls: int
) -> None:
    plan, limits = problem
    dice = random.Random(seed)
    world = Simulated.before(plan)
    for _ in range(polls):
        world.carry_out(decide(plan, world.observe(), limits), dice.choice([0, 1, 10**9]))
        for partition in [one for one in world.moving if dice.random() < 0.3]:
            world.end(partition)
    run(plan.inverse(), limits, world, dice)
    assert world.replicas == {one.name: one.before for one in plan.moves}


def test_the_inverse_of_the_inverse_is_the_plan() -> None:
    plan = plan_of(move(0, (1, 2), (3, 2)), move(1, (1, 2), (2, 1), batch=1))
    assert plan.inverse().inverse().moves == plan.moves


def test_each_broker_has_its_limits_in_and_out() -> None:
    plan = plan_of(*(move(number, (1, 2), (3, 2)) for number in range(6)))
    world = Simulated.before(plan)
    decision = decide(plan, world.observe(), MoveLimits(moves_in_per_broker=2))
    assert len(decision.submit) == 2
    decision = decide(plan, world.observe(), MoveLimits(moves_out_per_broker=3))
    assert len(decision.submit) == 3
    decision = decide(plan, world.observe(), MoveLimits(bytes_in_per_broker=25))
    assert len(decision.submit) == 2
    world.carry_out(decision)
    assert decide(plan, world.observe(), MoveLimits(bytes_in_per_broker=25)).submit == ()
    world.end(name(0))
    assert len(decide(plan, world.observe(), MoveLimits(bytes_in_per_broker=25)).submit) == 1


def test_one_larger_than_the_limit_goes_alone_and_is_not_starved() -> None:
    small = [move(number, (1,), (3,), 10) for number in (0, 2, 3, 4)]
    plan = plan_of(small[0], move(1, (1,), (3,), 500), *small[1:])
    limits = MoveLimits(bytes_in_per_broker=100)
    world = Simulated.before(plan)
    first = decide(plan, world.observe(), limits)
    assert [one.name for one in first.submit] == [name(0)], "what comes after the large one waits behind it"
    world.carry_out(first)
    world.end(name(0))
    second = decide(plan, world.observe(), limits)
    assert [one.name for one in second.submit] == [name(1)]


def test_the_next_batch_may_begin_and_no_later_one() -> None:
    plan = plan_of(*(move(number, (1,), (2 + number,), batch=number) for number in range(4)))
    world = Simulated.before(plan)
    assert [one.batch for one in decide(plan, world.observe(), MoveLimits()).submit] == [0, 1]


@pytest.fixture
def guarded() -> tuple[MovePlan, Simulated]:
    plan = plan_of(*(move(number, (1, 2, 3), (4, 2, 3)) for number in range(8)))
    world = Simulated({one.name: one.before for one in plan.moves} | {TopicPartition("t", 99): (4, 5, 6)}, minimum=2)
    return plan.model_copy(update={"partition_counts": {}}), world


def test_below_min_isr_stops_new_moves(guarded: tuple[MovePlan, Simulated]) -> None:
    plan, world = guarded
    world.in_sync[TopicPartition("t", 99)] = {5}
    decision = decide(plan, world.observe(), MoveLimits())
    assert decision.submit == () and decision.hold is not None
    assert "t-99" in decision.hold.blocking


def test_at_min_isr_halves(guarded: tuple[MovePlan, Simulated]) -> None:
    plan, world = guarded
    assert len(decide(plan, world.observe(), MoveLimits(moves_in_per_broker=4)).submit) == 4
    world.in_sync[TopicPartition("t", 99)] = {5, 6}
    assert len(decide(plan, world.observe(), MoveLimits(moves_in_per_broker=4)).submit) == 2
    assert len(decide(plan, world.observe(), MoveLimits(moves_in_per_broker=1)).submit) == 1


def test_an_isr_that_a_dead_broker_shrank_does_not_count(guarded: tuple[MovePlan, Simulated]) -> None:
    plan, world = guarded
    world.live.discard(6)
    world.in_sync[TopicPartition("t", 99)] = {5}
    assert len(decide(plan, world.observe(), MoveLimits(moves_in_per_broker=4)).submit) == 4


def test_a_topic_with_fewer_replicas_than_its_minimum_stops_nothing() -> None:
    plan = plan_of(move(0, (1,), (2,)))
    world = Simulated.before(plan, minimum=2)
    assert len(decide(plan, world.observe(), MoveLimits()).submit) == 1


def test_a_destination_that_restarts_is_waited_for_and_a_dead_one_is_given_up() -> None:
    plan = plan_of(move(0, (1, 2), (3, 2)), move(1, (1, 2), (3, 2)), move(2, (1, 2), (4, 2)))
    limits = MoveLimits(moves_in_per_broker=1)
    world = Simulated.before(plan)
    world.carry_out(decide(plan, world.observe(), limits))
    assert set(world.moving) == {name(0), name(2)}
    world.live.discard(3)
    restarting = decide(plan, world.observe(), limits)
    assert restarting.cancel == () and restarting.submit == ()
    dead = frozenset({3})
    decision = decide(plan, world.observe(dead), limits)
    assert [one.name for one in decision.cancel] == [name(0)] and decision.lost == (3,)
    assert not decision.must_replan and decision.hold is not None and "broker 3 is dead" in decision.hold.reason
    world.carry_out(decision)
    assert world.replicas[name(0)] == (2, 1), "Kafka leaves another order"
    decision = decide(plan, world.observe(dead), limits)
    assert [one.name for one in decision.restore] == [name(0)]
    world.carry_out(decision)
    assert world.replicas[name(0)] == (1, 2)
    assert not decide(plan, world.observe(dead), limits).must_replan, "the one onto broker 4 is still on its way"
    world.end(name(2))
    assert decide(plan, world.observe(dead), limits).must_replan


def test_reassignments_started_by_someone_else_are_waited_for() -> None:
    plan = plan_of(move(0, (1, 2), (3, 2)), move(1, (1, 2), (4, 2)))
    world = Simulated.before(plan)
    world.reassign(name(0), (5, 2))
    decision = decide(plan, world.observe(), MoveLimits())
    assert [one.name for one in decision.submit] == [name(1)] and decision.cancel == ()
    world.carry_out(decision)
    world.end(name(1))
    decision = decide(plan, world.observe(), MoveLimits())
    assert decision.hold is not None and decision.hold.blocking == ("t-0",)
    assert not decision.is_done and not decision.must_replan
    world.end(name(0))
    decision = decide(plan, world.observe(), MoveLimits())
    assert decision.must_replan and "t-0" in decision.drift[0]


def test_an_own_reassignment_that_someone_redirected_is_no_longer_own() -> None:
    plan = plan_of(move(0, (1, 2), (3, 2)))
    world = Simulated.before(plan)
    world.carry_out(decide(plan, world.observe(), MoveLimits()))
    world.reassign(name(0), (6, 2))
    assert decide(plan, world.observe(), MoveLimits()).cancel == ()


def test_a_deleted_topic_is_less_to_do_and_a_grown_one_is_planned_for_afterwards() -> None:
    plan = plan_of(move(0, (1, 2), (3, 2)))
    assert decide(plan, Simulated({}).observe(), MoveLimits()).is_done
    world = Simulated({one.name: one.before for one in plan.moves} | {name(1): (1, 2)})
    decision = decide(plan, world.observe(), MoveLimits())
    assert decision.submit == plan.moves and not decision.must_replan
    world.replicas[name(0)] = (3, 2)
    decision = decide(plan, world.observe(), MoveLimits())
    assert decision.must_replan and not decision.is_done and "2 partitions, 1 when it was planned" in decision.added[0]


def test_a_partition_that_arrives_on_a_leaving_broker_stops_nothing_and_is_planned_for_at_the_end() -> None:
    """On Kafka < 4.3 any new topic may land there, again and again: it must not stop what was approved."""
    plan = plan_of(move(0, (1, 2), (3, 2)), move(1, (1, 2), (3, 2)), leaving=(1,))
    world = Simulated({name(0): (3, 2), name(1): (1, 2), name(7): (1, 2), name(8): (3, 2)})
    decision = decide(plan, world.observe(), MoveLimits())
    assert [one.name for one in decision.submit] == [name(1)] and not decision.must_replan
    world.carry_out(decision)
    assert not decide(plan, world.observe(), MoveLimits()).must_replan, "in flight"
    world.end(name(1))
    decision = decide(plan, world.observe(), MoveLimits())
    assert decision.must_replan and not decision.is_done and decision.added == ("t-7: new on broker 1",)
    assert decision.hold is not None and "t-7" in decision.hold.reason


def test_what_only_empties_an_approved_broker_is_within_what_was_approved() -> None:
    approved = plan_of(move(0, (1, 2), (3, 2)), leaving=(1,))
    assert plan_of(move(7, (1, 2), (4, 2)), leaving=(1,)).is_within(approved)
    for other in (
        move(7, (1, 2), (4, 3)),  # takes it off 2 as well
        move(7, (3, 2), (4, 2)),  # has nothing to do with 1
        move(7, (1, 2), (2,)),  # fewer replicas
        move(7, (3, 1), (1, 3)),  # still on it
    ):
        assert not plan_of(other, leaving=(1,)).is_within(approved), other
    assert not plan_of(move(7, (1, 2), (4, 2))).is_within(plan_of(move(0, (1, 2), (3, 2)))), "nobody leaves"


def test_a_refused_move_is_held_back_with_its_reason_and_the_others_go_on() -> None:
    plan = plan_of(move(0, (1, 2), (3, 2)), move(1, (1, 2), (4, 2)))
    world = Simulated.before(plan)
    refused = {name(0): "PolicyViolationError: not this one"}
    decision = decide(plan, replace(world.observe(), refused=refused), MoveLimits())
    assert [one.name for one in decision.submit] == [name(1)]
    world.carry_out(decision)
    world.end(name(1))
    decision = decide(plan, replace(world.observe(), refused=refused), MoveLimits())
    assert not decision.is_done and decision.hold is not None
    assert "not this one" in decision.hold.reason and decision.hold.blocking == ("t-0",)


def test_nothing_takes_the_last_good_replica() -> None:
    """Approved while all were in sync; by now the only good copy is the one that would go."""
    plan = plan_of(move(0, (1, 2, 3), (2, 3)))
    world = Simulated.before(plan)
    world.in_sync[name(0)] = {1}
    decision = decide(plan, world.observe(), MoveLimits())
    assert decision.submit == () and decision.hold is not None and "no live in-sync replica" in decision.hold.reason
    world.live.discard(1)
    assert decide(plan, world.observe(), MoveLimits()).submit == ()
    world.live.add(1)
    world.in_sync[name(0)] = {1, 3}
    assert decide(plan, world.observe(), MoveLimits()).submit == plan.moves


def test_a_replica_on_a_failed_log_directory_of_a_live_broker_does_not_lag() -> None:
    """It is broken as a dead broker's is: the guard must not stop the moves that repair it."""
    plan = plan_of(move(0, (1, 2, 5), (3, 2, 5)))
    world = Simulated.before(plan, minimum=3)
    world.in_sync[name(0)] = {2, 5}
    observation = world.observe()
    assert guard(observation.snapshot, ())[0], "a replica that only lags is waited for"
    (partition,) = observation.snapshot.partitions
    broken = replace(observation.snapshot, partitions=(partition._replace(offline=(1,)),))
    assert guard(broken, ()) == ([], [])
    assert decide(plan, replace(observation, snapshot=broken), MoveLimits()).submit == plan.moves


def test_no_space_is_waited_for() -> None:
    plan = plan_of(move(0, (1, 2), (3, 2), 100))
    world = Simulated.before(plan)
    decision = decide(plan, replace(world.observe(), headroom_bytes={3: 50}), MoveLimits())
    assert decision.submit == () and decision.hold is not None and "space" in decision.hold.reason
    assert len(decide(plan, replace(world.observe(), headroom_bytes={3: 100}), MoveLimits()).submit) == 1


def test_a_closed_change_window_starts_nothing_and_lets_in_flight_end() -> None:
    plan = plan_of(move(0, (1, 2), (3, 2)), move(1, (1, 2), (3, 2)), move(2, (2, 1), (1, 2), batch=1))
    world = Simulated.before(plan)
    closed = ChangeWindowState(False, None, "the change window is closed", "it opens at Mon 22:00 UTC")
    decision = decide(plan, replace(world.observe(), change_window=closed), MoveLimits())
    assert decision.submit == () and decision.hold is not None and "opens" in decision.hold.resumes_when
    world.carry_out(replace(decision, submit=plan.moves[:1]))
    decision = decide(plan, replace(world.observe(), change_window=closed), MoveLimits())
    assert decision.submit == () and decision.cancel == () and [one.name for one in decision.in_flight] == [name(0)]


def test_what_cannot_end_inside_the_change_window_is_not_started() -> None:
    plan = plan_of(move(0, (1, 2), (3, 2), 100), move(1, (1, 2), (4, 2), 30), move(2, (1, 2), (5, 2), 30))
    world = Simulated.before(plan)
    soon = ChangeWindowState(True, 50, "the change window is open until Mon 04:00 UTC", "it opens")
    decision = decide(plan, replace(world.observe(), change_window=soon), MoveLimits())
    assert [one.name for one in decision.submit] == [name(1)]
    sooner = replace(soon, left_bytes=20)
    decision = decide(plan, replace(world.observe(), change_window=sooner), MoveLimits())
    assert decision.submit == () and decision.hold is not None and "t-0 is 100 bytes" in decision.hold.reason


def test_a_broker_that_has_not_heard_yet_that_a_move_ended_is_no_drift() -> None:
    plan = plan_of(move(0, (1, 2), (3, 2)), leaving=(1,))
    world = Simulated({name(0): (3, 2, 1)}, ledger={name(0): (3, 2)})
    decision = decide(plan, world.observe(), MoveLimits())
    assert decision.drift == () and not decision.is_done
    assert [one.name for one in decision.submit] == [name(0)], "which the controller takes for done"
    external = Simulated({name(0): (3, 2, 1)})
    assert decide(plan, external.observe(), MoveLimits()).drift
