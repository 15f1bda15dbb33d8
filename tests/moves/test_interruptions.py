"""Every state that a small plan can get into, whatever interrupts it: the invariants hold there, and from there it still ends.

As patroni tests its quorum, the decision is made again after every single transition: one request of a decision (the worker dies
after each, and between writing the ledger and submitting), one reassignment that ends, or one fault. Faults: a broker goes
down, is given up, returns; the controller loses what is in progress; someone else reassigns a partition of the plan; partitions
are added; a replica lags. Metadata may also lag by one transition behind the controller and the ledger.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kafka_runbooks.models.cluster import TopicPartition
from kafka_runbooks.models.inputs import MoveLimits
from kafka_runbooks.models.moves import Move, MovePlan
from kafka_runbooks.moves.admission import Observation
from kafka_runbooks.moves.invariants import check_invariants
from kafka_runbooks.moves.window import WindowDecision, decide
from tests.examples import examples
from tests.moves.simulated import Simulated, in_any_order, move, name, plan_of

BYSTANDER = 6
"""A broker that the plans don't know: someone else's reassignments lead there."""
FAULTS = ("broker down", "failover", "external", "partition added")
LAG = "replica lags"
AGAIN = "topic made again"


@dataclass
class State:
    """A cluster, and what the run knows of it besides its metadata."""

    world: Simulated
    dead: frozenset[int] = frozenset()
    external: frozenset[TopicPartition] = frozenset()
    faults: frozenset[str] = frozenset()
    """Those that can still happen: each at most once on one way."""
    path: tuple[str, ...] = field(default=(), compare=False)

    def after(self, step: str, **changes: object) -> "State":
        fields = {"world": self.world.copy(), "dead": self.dead, "external": self.external, "faults": self.faults}
        return State(**{**fields, **changes}, path=(*self.path, step))  # type: ignore[arg-type]

    def key(self) -> object:
        world = self.world
        return (
            tuple(sorted(world.replicas.items())),
            tuple(sorted((one, tuple(sorted(brokers))) for one, brokers in world.in_sync.items())),
            tuple(sorted((one, moving.adding, moving.removing) for one, moving in world.moving.items())),
            tuple(sorted(world.ledger.items())),
            tuple(sorted(world.live)),
            tuple(sorted(self.dead)),
            tuple(sorted(self.external)),
            tuple(sorted(self.faults)),
            world.topic_id,
        )


def decided(plan: MovePlan, state: State, observation: Observation, limits: MoveLimits) -> WindowDecision:
    """A decision whose invariants hold, and which leaves alone what someone else has started."""
    decision = decide(plan, observation, limits)
    check_invariants(plan, observation, limits, decision)
    for moved in (*decision.submit, *decision.cancel, *decision.restore):
        assert moved.name not in state.external, (state.path, decision)
    return decision


def requests(state: State, decision: WindowDecision, lag: str = "") -> Iterator[State]:
    """The worker dies after the ledger, or after any one request."""

    def written(step: str) -> State:
        then = state.after(f"{lag}{step}")
        if decision.submit:
            then.world.write_ledger(decision.submit, decision.arrived)
        return then

    if decision.submit:
        yield written("ledger")
    for moved in decision.submit:
        then = written(f"submit {moved.name}")
        then.world.reassign(moved.name, moved.after)
        yield then
    for moved in decision.cancel:
        then = written(f"cancel {moved.name}")
        then.world.cancel(moved.name)
        yield then
    for moved in decision.restore:
        then = written(f"restore {moved.name}")
        then.world.reassign(moved.name, moved.before)
        yield then


def goes_down(state: State, broker: int) -> State:
    """It leaves every ISR but those that it is the last of, as the controller fences it."""
    then = state.after(f"{broker} down", faults=state.faults - {"broker down"})
    then.world.live.discard(broker)
    for in_sync in then.world.in_sync.values():
        if in_sync - {broker}:
            in_sync.discard(broker)
    return then


def returns(state: State, broker: int) -> State:
    then = state.after(f"{broker} returns", dead=state.dead - {broker})
    then.world.live.add(broker)
    for partition, replicas in then.world.replicas.items():
        moving = then.world.moving.get(partition)
        if broker in replicas and (moving is None or broker not in moving.adding):
            then.world.in_sync[partition].add(broker)
    return then


def lagging_replicas(world: Simulated) -> list[tuple[TopicPartition, int]]:
    """Replicas out of sync on live brokers, but for those that are being added."""
    return [
        (partition, broker)
        for partition, replicas in sorted(world.replicas.items())
        for broker in replicas
        if broker in world.live - world.in_sync[partition]
        and (partition not in world.moving or broker not in world.moving[partition].adding)
    ]


def catches_up(state: State, partition: TopicPartition, broker: int) -> State:
    then = state.after(f"{partition} on {broker} catches up")
    then.world.in_sync[partition].add(broker)
    return then


def ends(state: State, partition: TopicPartition) -> State:
    then = state.after(f"{partition} ends", external=state.external - {partition})
    then.world.end(partition)
    return then


def events(plan: MovePlan, state: State) -> Iterator[State]:
    """What happens by itself, and what goes wrong."""
    world = state.world
    for partition in sorted(world.moving):
        if world.can_end(partition):
            yield ends(state, partition)
    for broker in sorted({broker for one in plan.moves for broker in (*one.before, *one.after)}):
        if broker not in world.live:
            if broker not in state.dead:
                yield state.after(f"{broker} given up", dead=state.dead | {broker})
            yield returns(state, broker)
        elif "broker down" in state.faults:
            yield goes_down(state, broker)
    for partition, broker in lagging_replicas(world):
        yield catches_up(state, partition, broker)
    if LAG in state.faults:
        for partition, in_sync in sorted(world.in_sync.items()):
            if len(in_sync) > 1:
                then = state.after(f"{partition} lags", faults=state.faults - {LAG})
                then.world.in_sync[partition].discard(max(in_sync))
                yield then
    if "failover" in state.faults and world.moving:
        then = state.after("failover", faults=state.faults - {"failover"}, external=frozenset())
        for partition in list(then.world.moving):
            then.world.cancel(partition)
        yield then
    if "external" in state.faults:
        for one in plan.moves:
            then = state.after(f"external {one.name}", faults=state.faults - {"external"}, external=state.external | {one.name})
            then.world.reassign(one.name, (BYSTANDER, *one.before[1:]))
            yield then
    if AGAIN in state.faults:
        then = state.after(AGAIN, faults=state.faults - {AGAIN}, external=frozenset())
        then.world.make_topic_again()
        yield then
    if "partition added" in state.faults:
        then = state.after("partition added", faults=state.faults - {"partition added"})
        then.world.replicas[name(90)] = (1, 2)
        then.world.in_sync[name(90)] = {1, 2}
        yield then


def lagging(before: State, after: State) -> Observation:
    """Metadata from before a transition, the controller's list and the ledger from after it."""
    return Observation(before.world.snapshot(), dict(after.world.moving), dict(after.world.ledger), after.dead)


def assert_it_ends(plan: MovePlan, state: State, limits: MoveLimits, known: set[object] | None = None) -> None:
    """Left in peace, it is done, or asks for a new plan with nothing of its own in flight.

    Brokers that are down return. One that was given up does only where nothing else helps, and where the run says why it waits.
    `known` are states from which it has ended before.
    """
    state = state.after("left in peace")
    known = set() if known is None else known
    passed: list[object] = []
    for _ in range(6 * len(plan.moves) + 6):
        if state.key() in known:
            break
        passed.append(state.key())
        decision = decided(plan, state, state.world.observe(state.dead), limits)
        own = set(state.world.moving) - state.external
        if decision.is_done:
            wanted = {one.name: one.after for one in plan.moves if one.name not in decision.gone}
            assert {one: state.world.replicas[one] for one in wanted} == wanted and not own, state.path
            break
        if decision.must_replan:
            assert not own, state.path
            assert_due(plan, state, decision)
            break
        state.world.carry_out(decision)
        ending = [one for one in state.world.moving if state.world.can_end(one)]
        for partition in ending:
            state = ends(state, partition)
        for partition, broker in lagging_replicas(state.world):
            state = catches_up(state, partition, broker)
        down = set(range(1, BYSTANDER + 1)) - state.world.live
        is_stuck = not (decision.submit or decision.cancel or decision.restore or ending or down - state.dead)
        assert not is_stuck or decision.hold is not None or own, state.path
        assert not any(state.dead.intersection(state.world.moving[one].adding) for one in own & state.world.moving.keys()), (
            state.path
        )
        for broker in sorted(down if is_stuck else down - state.dead):
            state = returns(state, broker)
    else:
        raise AssertionError(f"it never ends after {state.path}")
    known.update(passed)


def assert_due(plan: MovePlan, state: State, decision: WindowDecision) -> None:
    """A new plan has a cause other than the run itself, and finds what was cancelled in the order that it was in before."""
    if decision.drift:
        assert "external" not in state.faults, (state.path, decision.drift)
    elif decision.added:
        assert "partition added" not in state.faults and not decision.submit, state.path
    else:
        assert state.dead.intersection(decision.lost), state.path
    for one in plan.moves:
        replicas = state.world.replicas[one.name]
        if state.dead.intersection(one.arriving) and one.name not in decision.drifted and in_any_order(replicas, one.before):
            assert replicas == one.before, state.path


def explore(plan: MovePlan, limits: MoveLimits, minimum: int = 1, faults: tuple[str, ...] = FAULTS) -> int:
    """Visit every state; returns how many there are."""
    start = State(Simulated.before(plan, minimum), faults=frozenset(faults))
    inverse = plan.inverse()
    known, queue = {start.key()}, [start]
    forth: set[object] = set()
    back: set[object] = set()
    while queue:
        state = queue.pop()
        decision = decided(plan, state, state.world.observe(state.dead), limits)
        assert_it_ends(plan, state, limits, forth)
        assert_it_ends(inverse, state, limits, back)
        for then in [*requests(state, decision), *events(plan, state)]:
            late = decided(plan, then, lagging(state, then), limits)
            for reached in [then, *requests(then, late, "late ")]:
                if reached.key() not in known:
                    known.add(reached.key())
                    queue.append(reached)
    return len(known)


SINGLE = [
    ((1,), (2,)),
    ((1,), (1, 2)),
    ((1,), (2, 1)),
    ((1,), (2, 3)),
    ((1, 2), (1,)),
    ((1, 2), (2,)),
    ((1, 2), (3,)),
    ((1, 2), (2, 1)),
    ((1, 2), (1, 3)),
    ((1, 2), (3, 1)),
    ((1, 2), (2, 3)),
    ((1, 2), (3, 2)),
    ((1, 2), (3, 4)),
]
"""Every move from one or two replicas to one or two, but for the names of brokers."""


@pytest.mark.parametrize(("before", "after"), SINGLE)
def test_every_state_of_one_move(before: tuple[int, ...], after: tuple[int, ...]) -> None:
    assert explore(plan_of(move(0, before, after)), MoveLimits(), minimum=2, faults=(*FAULTS, LAG)) > 100


@pytest.mark.parametrize(("before", "after"), SINGLE)
def test_every_state_of_one_move_whose_topic_is_made_again(before: tuple[int, ...], after: tuple[int, ...]) -> None:
    """Whenever it happens, no more is asked for the new topic, and what was asked in that moment is taken back."""
    plan = plan_of(move(0, before, after))
    assert explore(plan, MoveLimits(), faults=("failover", AGAIN)) > 5
    world = Simulated.before(plan)
    world.make_topic_again()
    assert decide(plan, world.observe(), MoveLimits()).submit == ()
    world.write_ledger(plan.moves)
    world.reassign(name(0), after)
    decision = decide(plan, world.observe(), MoveLimits())
    assert decision.cancel == (plan.moves if name(0) in world.moving else ()) and decision.gone == {name(0)}


PAIRS: dict[str, tuple[Move, ...]] = {
    "onto the same broker": (move(0, (1, 2), (3, 2)), move(1, (2, 1), (3, 1))),
    "brokers swapped": (move(0, (1,), (2,)), move(1, (2,), (1,))),
    "in two batches": (move(0, (1, 2), (2, 1)), move(1, (1, 2), (1, 3), batch=1)),
    "one replica more, one less": (move(0, (1,), (1, 2)), move(1, (1, 2), (2,))),
    "both replicas": (move(0, (1, 2), (3, 4)), move(1, (3, 4), (1, 2))),
}


@pytest.mark.parametrize("moves", PAIRS.values(), ids=PAIRS.keys())
def test_every_state_of_two_moves(moves: tuple[Move, ...]) -> None:
    limits = MoveLimits(moves_in_per_broker=1, moves_out_per_broker=1)
    assert explore(plan_of(*moves), limits) > 300


@st.composite
def plans(draw: st.DrawFn) -> MovePlan:
    moves = []
    for number in range(draw(st.integers(3, 8))):
        before = tuple(draw(st.permutations((1, 2, 3, 4, 5)))[: draw(st.integers(1, 3))])
        after = tuple(draw(st.permutations((1, 2, 3, 4, 5)))[: draw(st.integers(1, 3))])
        moves.append(move(number, before, after, draw(st.integers(0, 50)), batch=number // 3))
    return plan_of(*moves)


limits_of = st.builds(
    MoveLimits,
    moves_in_per_broker=st.integers(1, 3),
    moves_out_per_broker=st.integers(1, 3),
    moves_at_once=st.integers(1, 4),
    bytes_in_per_broker=st.none() | st.integers(1, 80),
    bytes_at_once=st.none() | st.integers(1, 120),
)


@settings(max_examples=examples(60))
@given(plans(), limits_of, st.data())
def test_a_walk_through_the_states_of_a_larger_plan(plan: MovePlan, limits: MoveLimits, data: st.DataObject) -> None:
    state = State(Simulated.before(plan, data.draw(st.integers(1, 3))), faults=frozenset((*FAULTS, LAG)))
    for _ in range(data.draw(st.integers(0, 25), label="transitions")):
        decision = decided(plan, state, state.world.observe(state.dead), limits)
        following = [*requests(state, decision), *events(plan, state)]
        if not following:
            break
        then = following[data.draw(st.integers(0, len(following) - 1))]
        late = [then, *requests(then, decided(plan, then, lagging(state, then), limits), "late ")]
        state = late[data.draw(st.integers(0, len(late) - 1))]
    assert_it_ends(plan, state, limits)
    assert_it_ends(plan.inverse(), state, limits)
