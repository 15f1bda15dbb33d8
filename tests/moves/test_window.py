"""The sliding window: each decision is judged by a checker of its own, and whatever interrupts it, the end is the same."""

import random
from dataclasses import dataclass, field, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kafka_runbooks.models.cluster import Broker, ClusterSnapshot, Partition, Reassignment, TopicPartition
from kafka_runbooks.models.inputs import MoveLimits
from kafka_runbooks.models.moves import Move, MovePlan
from kafka_runbooks.moves.admission import ChangeWindowState, Seen
from kafka_runbooks.moves.window import Decision, decide
from tests.moves.window_checker import check

BROKERS = (1, 2, 3, 4, 5, 6)


def name(number: int) -> TopicPartition:
    return TopicPartition("t", number)


def move(number: int, before: tuple[int, ...], after: tuple[int, ...], size_bytes: int = 10, batch: int = 0) -> Move:
    return Move(topic="t", partition=number, before=before, after=after, size_bytes=size_bytes, batch=batch, in_sync=before)


def plan_of(*moves: Move, leaving: tuple[int, ...] = ()) -> MovePlan:
    return MovePlan(
        cluster="c",
        kind="Rebalance",
        title="test",
        moves=moves,
        leaving=leaving,
        partition_counts={"t": len(moves)},
        made_at="2026-01-01T00:00:00+00:00",
    )


@dataclass
class Simulated:
    """A controller with a pencil: replicas in order, who is in sync, what is on the way."""

    replicas: dict[TopicPartition, tuple[int, ...]]
    minimum: int = 1
    live: set[int] = field(default_factory=lambda: set(BROKERS))
    in_sync: dict[TopicPartition, set[int]] = field(default_factory=dict)
    moving: dict[TopicPartition, Reassignment] = field(default_factory=dict)
    ours: dict[TopicPartition, tuple[int, ...]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for partition, replicas in self.replicas.items():
            self.in_sync.setdefault(partition, set(replicas))

    def seen(self, dead: frozenset[int] = frozenset()) -> Seen:
        partitions = []
        for partition, replicas in sorted(self.replicas.items()):
            in_sync = [broker for broker in replicas if broker in self.in_sync[partition] and broker in self.live]
            partitions.append(
                Partition(
                    topic=partition.topic,
                    partition=partition.partition,
                    leader=in_sync[0] if in_sync else None,
                    replicas=replicas,
                    in_sync=tuple(in_sync),
                )
            )
        snapshot = ClusterSnapshot(
            cluster_id="c",
            brokers=tuple(Broker(id=broker, host="h", port=1) for broker in sorted(self.live)),
            partitions=tuple(partitions),
            minimum_in_sync={"t": self.minimum},
        )
        return Seen(snapshot, dict(self.moving), dict(self.ours), dead)

    def submit(self, partition: TopicPartition, target: tuple[int, ...], *, is_ours: bool = True) -> None:
        """As KRaft's ReplicationControlManager does it: the union of both, the target in front; nothing to add ends at once."""
        old = self.replicas[partition]
        if is_ours:
            self.ours[partition] = target
        union = (*target, *(broker for broker in old if broker not in target))
        adding = tuple(broker for broker in target if broker not in old)
        removing = tuple(broker for broker in old if broker not in target)
        self.replicas[partition] = union
        self.moving[partition] = Reassignment(
            topic=partition.topic, partition=partition.partition, replicas=union, adding=adding, removing=removing
        )
        if not adding:
            self.end(partition)

    def end(self, partition: TopicPartition) -> None:
        moving = self.moving.pop(partition)
        self.replicas[partition] = moving.target
        self.in_sync[partition] = set(moving.target)

    def cancel(self, partition: TopicPartition) -> None:
        """The replicas that were there before, in the order of the union (KRaft's PartitionReassignmentRevert)."""
        moving = self.moving.pop(partition)
        self.replicas[partition] = tuple(broker for broker in self.replicas[partition] if broker not in moving.adding)
        self.in_sync[partition] -= set(moving.adding)

    def do(self, decision: Decision, most: int = 10**9) -> None:
        """Carry out a decision, or only so much of it before the worker dies."""
        for moved in decision.cancel[:most]:
            self.cancel(moved.name)
        for moved in decision.restore[:most]:
            self.submit(moved.name, moved.before)
        for moved in decision.submit[:most]:
            self.submit(moved.name, moved.after)


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
    """Until it says that it is done; interrupted, with requests lost, and each decision judged."""
    for _ in range(40 * len(plan.moves) + 40):
        seen = world.seen()
        decision = decide(plan, seen, limits)
        assert check(plan, seen, limits, decision) == []
        if decision.is_done:
            return
        world.do(decision, dice.choice([0, 1, 2, 10**9]))
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
    world = Simulated({one.name: one.before for one in plan.moves})
    run(plan, limits, world, dice)
    assert world.replicas == {one.name: one.after for one in plan.moves}


@given(problems(), st.integers(0, 2**32), st.integers(0, 30))
def test_a_rollback_in_the_middle_ends_at_the_start_order_included(
    problem: tuple[MovePlan, MoveLimits], seed: int, looks: int
) -> None:
    plan, limits = problem
    dice = random.Random(seed)
    world = Simulated({one.name: one.before for one in plan.moves})
    for _ in range(looks):
        world.do(decide(plan, world.seen(), limits), dice.choice([0, 1, 10**9]))
        for partition in [one for one in world.moving if dice.random() < 0.3]:
            world.end(partition)
    run(plan.inverse(), limits, world, dice)
    assert world.replicas == {one.name: one.before for one in plan.moves}


def test_the_inverse_of_the_inverse_is_the_plan() -> None:
    plan = plan_of(move(0, (1, 2), (3, 2)), move(1, (1, 2), (2, 1), batch=1))
    assert plan.inverse().inverse().moves == plan.moves


def test_each_broker_has_its_limits_in_and_out() -> None:
    plan = plan_of(*(move(number, (1, 2), (3, 2)) for number in range(6)))
    world = Simulated({one.name: one.before for one in plan.moves})
    decision = decide(plan, world.seen(), MoveLimits(moves_in_per_broker=2))
    assert len(decision.submit) == 2
    decision = decide(plan, world.seen(), MoveLimits(moves_out_per_broker=3))
    assert len(decision.submit) == 3
    decision = decide(plan, world.seen(), MoveLimits(bytes_in_per_broker=25))
    assert len(decision.submit) == 2
    world.do(decision)
    assert decide(plan, world.seen(), MoveLimits(bytes_in_per_broker=25)).submit == ()
    world.end(name(0))
    assert len(decide(plan, world.seen(), MoveLimits(bytes_in_per_broker=25)).submit) == 1


def test_one_larger_than_the_limit_goes_alone_and_is_not_starved() -> None:
    small = [move(number, (1,), (3,), 10) for number in (0, 2, 3, 4)]
    plan = plan_of(small[0], move(1, (1,), (3,), 500), *small[1:])
    limits = MoveLimits(bytes_in_per_broker=100)
    world = Simulated({one.name: one.before for one in plan.moves})
    first = decide(plan, world.seen(), limits)
    assert [one.name for one in first.submit] == [name(0)], "what comes after the large one waits behind it"
    world.do(first)
    world.end(name(0))
    second = decide(plan, world.seen(), limits)
    assert [one.name for one in second.submit] == [name(1)]


def test_the_next_batch_may_begin_and_no_later_one() -> None:
    plan = plan_of(*(move(number, (1,), (2 + number,), batch=number) for number in range(4)))
    world = Simulated({one.name: one.before for one in plan.moves})
    assert [one.batch for one in decide(plan, world.seen(), MoveLimits()).submit] == [0, 1]


@pytest.fixture
def guarded() -> tuple[MovePlan, Simulated]:
    plan = plan_of(*(move(number, (1, 2, 3), (4, 2, 3)) for number in range(8)))
    world = Simulated({one.name: one.before for one in plan.moves} | {TopicPartition("t", 99): (4, 5, 6)}, minimum=2)
    return plan.model_copy(update={"partition_counts": {}}), world


def test_below_min_isr_stops_new_moves(guarded: tuple[MovePlan, Simulated]) -> None:
    plan, world = guarded
    world.in_sync[TopicPartition("t", 99)] = {5}
    decision = decide(plan, world.seen(), MoveLimits())
    assert decision.submit == () and decision.hold is not None
    assert "t-99" in decision.hold.blocking


def test_at_min_isr_halves(guarded: tuple[MovePlan, Simulated]) -> None:
    plan, world = guarded
    assert len(decide(plan, world.seen(), MoveLimits(moves_in_per_broker=4)).submit) == 4
    world.in_sync[TopicPartition("t", 99)] = {5, 6}
    assert len(decide(plan, world.seen(), MoveLimits(moves_in_per_broker=4)).submit) == 2
    assert len(decide(plan, world.seen(), MoveLimits(moves_in_per_broker=1)).submit) == 1


def test_what_a_dead_broker_shrank_counts_for_nothing(guarded: tuple[MovePlan, Simulated]) -> None:
    plan, world = guarded
    world.live.discard(6)
    world.in_sync[TopicPartition("t", 99)] = {5}
    assert len(decide(plan, world.seen(), MoveLimits(moves_in_per_broker=4)).submit) == 4


def test_a_topic_with_fewer_replicas_than_its_minimum_stops_nothing() -> None:
    plan = plan_of(move(0, (1,), (2,)))
    world = Simulated({one.name: one.before for one in plan.moves}, minimum=2)
    assert len(decide(plan, world.seen(), MoveLimits()).submit) == 1


def test_a_destination_that_restarts_is_waited_for_and_a_dead_one_is_given_up() -> None:
    plan = plan_of(move(0, (1, 2), (3, 2)), move(1, (1, 2), (3, 2)), move(2, (1, 2), (4, 2)))
    limits = MoveLimits(moves_in_per_broker=1)
    world = Simulated({one.name: one.before for one in plan.moves})
    world.do(decide(plan, world.seen(), limits))
    assert set(world.moving) == {name(0), name(2)}
    world.live.discard(3)
    restarting = decide(plan, world.seen(), limits)
    assert restarting.cancel == () and restarting.submit == ()
    dead = frozenset({3})
    decision = decide(plan, world.seen(dead), limits)
    assert [one.name for one in decision.cancel] == [name(0)] and decision.lost == (3,)
    assert not decision.must_replan and decision.hold is not None and "broker 3 is dead" in decision.hold.reason
    world.do(decision)
    assert world.replicas[name(0)] == (2, 1), "Kafka leaves another order"
    decision = decide(plan, world.seen(dead), limits)
    assert [one.name for one in decision.restore] == [name(0)]
    world.do(decision)
    assert world.replicas[name(0)] == (1, 2)
    assert not decide(plan, world.seen(dead), limits).must_replan, "the one onto broker 4 is still on its way"
    world.end(name(2))
    assert decide(plan, world.seen(dead), limits).must_replan


def test_foreign_reassignments_are_waited_for() -> None:
    plan = plan_of(move(0, (1, 2), (3, 2)), move(1, (1, 2), (4, 2)))
    world = Simulated({one.name: one.before for one in plan.moves})
    world.submit(name(0), (5, 2), is_ours=False)
    decision = decide(plan, world.seen(), MoveLimits())
    assert [one.name for one in decision.submit] == [name(1)] and decision.cancel == ()
    world.do(decision)
    world.end(name(1))
    decision = decide(plan, world.seen(), MoveLimits())
    assert decision.hold is not None and decision.hold.blocking == ("t-0",)
    assert not decision.is_done and not decision.must_replan
    world.end(name(0))
    decision = decide(plan, world.seen(), MoveLimits())
    assert decision.must_replan and "t-0" in decision.drift[0]


def test_one_of_ours_that_somebody_redirected_is_theirs() -> None:
    plan = plan_of(move(0, (1, 2), (3, 2)))
    world = Simulated({one.name: one.before for one in plan.moves})
    world.do(decide(plan, world.seen(), MoveLimits()))
    world.submit(name(0), (6, 2), is_ours=False)
    assert decide(plan, world.seen(), MoveLimits()).cancel == ()


def test_a_deleted_topic_is_less_to_do_and_a_grown_one_is_drift() -> None:
    plan = plan_of(move(0, (1, 2), (3, 2)))
    assert decide(plan, Simulated({}).seen(), MoveLimits()).is_done
    world = Simulated({one.name: one.before for one in plan.moves} | {name(1): (1, 2)})
    decision = decide(plan, world.seen(), MoveLimits())
    assert decision.must_replan and "2 partitions, 1 when it was planned" in decision.drift[0]


def test_what_comes_onto_a_leaving_broker_meanwhile_is_drift() -> None:
    plan = plan_of(move(0, (1, 2), (3, 2)), leaving=(1,)).model_copy(update={"partition_counts": {}})
    world = Simulated({name(0): (3, 2), name(7): (1, 2)})
    decision = decide(plan, world.seen(), MoveLimits())
    assert decision.must_replan and not decision.is_done and "t-7: new on broker 1" in decision.drift


def test_no_space_is_waited_for() -> None:
    plan = plan_of(move(0, (1, 2), (3, 2), 100))
    world = Simulated({one.name: one.before for one in plan.moves})
    decision = decide(plan, replace(world.seen(), headroom_bytes={3: 50}), MoveLimits())
    assert decision.submit == () and decision.hold is not None and "space" in decision.hold.reason
    assert len(decide(plan, replace(world.seen(), headroom_bytes={3: 100}), MoveLimits()).submit) == 1


def test_a_closed_change_window_starts_nothing_and_lets_in_flight_end() -> None:
    plan = plan_of(move(0, (1, 2), (3, 2)), move(1, (1, 2), (3, 2)), move(2, (2, 1), (1, 2), batch=1))
    world = Simulated({one.name: one.before for one in plan.moves})
    closed = ChangeWindowState(False, None, "the change window is closed", "it opens at Mon 22:00 UTC")
    decision = decide(plan, replace(world.seen(), change_window=closed), MoveLimits())
    assert decision.submit == () and decision.hold is not None and "opens" in decision.hold.resumes_when
    world.submit(name(0), (3, 2))
    decision = decide(plan, replace(world.seen(), change_window=closed), MoveLimits())
    assert decision.submit == () and decision.cancel == () and [one.name for one in decision.in_flight] == [name(0)]


def test_what_cannot_end_inside_the_change_window_is_not_started() -> None:
    plan = plan_of(move(0, (1, 2), (3, 2), 100), move(1, (1, 2), (4, 2), 30), move(2, (1, 2), (5, 2), 30))
    world = Simulated({one.name: one.before for one in plan.moves})
    soon = ChangeWindowState(True, 50, "the change window is open until Mon 04:00 UTC", "it opens")
    decision = decide(plan, replace(world.seen(), change_window=soon), MoveLimits())
    assert [one.name for one in decision.submit] == [name(1)]
    sooner = replace(soon, left_bytes=20)
    decision = decide(plan, replace(world.seen(), change_window=sooner), MoveLimits())
    assert decision.submit == () and decision.hold is not None and "t-0 is 100 bytes" in decision.hold.reason


def test_a_broker_that_has_not_heard_yet_that_a_move_ended_is_no_drift() -> None:
    plan = plan_of(move(0, (1, 2), (3, 2)), leaving=(1,))
    world = Simulated({name(0): (3, 2, 1)}, ours={name(0): (3, 2)})
    decision = decide(plan, world.seen(), MoveLimits())
    assert decision.drift == () and not decision.is_done
    assert [one.name for one in decision.submit] == [name(0)], "which the controller takes for done"
    somebody_s = Simulated({name(0): (3, 2, 1)})
    assert decide(plan, somebody_s.seen(), MoveLimits()).drift
