"""What a look of the mover asks of a cluster of 1,000 topics, of which three partitions move; and when it asks for more."""

import random
from collections import Counter
from collections.abc import Callable, Collection, Iterable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from temporalio.testing import ActivityEnvironment

from activities.catch_up import CatchUpActivities
from activities.looks import Look
from activities.mover import Mover
from activities.plan_store import save
from activities.step import Access, Steps, step
from kafka_runbooks.clients import snapshots
from kafka_runbooks.clients.clusters import ClusterClients, ClusterSettings
from kafka_runbooks.models.cluster import ClusterSnapshot, Replica, ReplicaSizes, ThrottledReplicas, TopicPartition
from kafka_runbooks.models.inputs import MoveLimits
from kafka_runbooks.models.kubernetes import BrokerPlace
from kafka_runbooks.models.messages import StepRequest, Token
from kafka_runbooks.models.moves import Move, MovePlan
from kafka_runbooks.models.plans import PlannedPartition
from kafka_runbooks.models.replacement import ReplacementPlan
from kafka_runbooks.models.throttles import FixedThrottle
from kafka_runbooks.moves.invariants import check_invariants
from kafka_runbooks.moves.window import WindowDecision, decide
from tests.fakes.kafka import FakeKafka
from tests.fakes.kubernetes import FakeKubernetes
from tests.fakes.link import FakeLink
from tests.fakes.metrics import FakeMetrics
from tests.fakes.world import World, WorldPartition
from tests.moves.simulated import Simulated
from tests.moves.test_window import problems

TOKEN = Token(cluster="main", workflow_id="w", run_id="r", permit_run_id="p")
TOPICS, MOVES, AT_ONCE = 1_000, 6, 3
SIZE_BYTES = 10**12


class Counted(FakeKafka):
    """Remembers what was asked."""

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self.asked: Counter[str] = Counter()
        self.topics: list[set[str] | None] = []
        self.replicas: list[set[Replica]] = []

    def reset(self) -> None:
        self.asked.clear()
        self.topics.clear()
        self.replicas.clear()

    def snapshot(self, topics: Collection[str] | None = None, *, minimum_in_sync_seconds: float = 0.0) -> ClusterSnapshot:
        self.topics.append(None if topics is None else set(topics))
        return super().snapshot(topics, minimum_in_sync_seconds=minimum_in_sync_seconds)

    def sizes_of(self, replicas: Iterable[Replica]) -> ReplicaSizes:
        self.replicas.append(set(replicas))
        return super().sizes_of(self.replicas[-1])

    def replica_sizes(self, broker_ids: Iterable[int]) -> ReplicaSizes:
        self.asked["replica_sizes"] += 1
        return super().replica_sizes(broker_ids)

    def reassignments(self) -> Any:
        self.asked["reassignments"] += 1
        return super().reassignments()


class Site:
    """Partitions on 1001 and 1002, of which one after the other moves to 1004, three at a time."""

    def __init__(self) -> None:
        self.world = World(advance_at_look=False)
        for number in range(TOPICS):
            self.add_topic(number)
        self.kafka, self.kubernetes = Counted(self.world), FakeKubernetes(self.world)
        settings = ClusterSettings(bootstrap_servers="none:9092", namespace="kafka")
        self.clients = ClusterClients(self.kafka, self.kubernetes, FakeMetrics(self.world), settings)
        moves = [
            Move(
                topic=f"t{n:04d}",
                partition=0,
                before=(1001, 1002),
                after=(1001, 1004),
                size_bytes=SIZE_BYTES,
                in_sync=(1001, 1002),
            )
            for n in range(MOVES)
        ]
        self.plan = MovePlan(
            cluster="main",
            kind="RunPlan",
            title="test",
            moves=tuple(moves),
            throttle=FixedThrottle(rate_bytes_per_s=1_000_000),
            limits=MoveLimits(moves_in_per_broker=AT_ONCE, moves_out_per_broker=AT_ONCE),
            topic_ids={f"t{n:04d}": self.world.topic_ids[f"t{n:04d}"] for n in range(MOVES)},
            made_at="2026-01-01T00:00:00+00:00",
        )

    def add_topic(self, number: int) -> None:
        name = TopicPartition(f"t{number:04d}", 0)
        self.world.topic_ids[name.topic], self.world.lists[name.topic] = self.world.new_uid(), ThrottledReplicas()
        self.world.minimum_in_sync[name.topic] = 1
        # As `World.add_topic`, without going through all the others each time.
        self.world.partitions[name] = WorldPartition([1001, 1002], {1001, 1002}, 1001, SIZE_BYTES)
        for broker in (1001, 1002):
            disk = self.world.disk_of(broker)
            assert disk is not None
            disk[name] = SIZE_BYTES

    def looks(self, each: Callable[[int, WindowDecision | None], bool], *, is_rollback: bool = False) -> None:
        """Looks as long as `each`, called before them with the last decision, says so."""
        link: Any = FakeLink()
        clusters: Any = None

        class Looks(Steps):
            @step
            def look(inner, request: StepRequest) -> None:
                mover, decision, number = Mover(self.clients, link, request, self.plan), None, 0
                while each(number, decision):
                    decision, _ = mover.advance()
                    number += 1

        request = StepRequest(token=TOKEN, plan=save(self.kubernetes, self.plan, TOKEN), is_rollback=is_rollback)
        ActivityEnvironment().run(Looks(Access(clusters, link)).look, request)

    def end(self, *numbers: int) -> None:
        """These moves have arrived."""
        for number in numbers:
            name = TopicPartition(f"t{number:04d}", 0)
            for broker in self.world.partitions[name].adding:
                disk = self.world.disk_of(broker)
                assert disk is not None
                disk[name] = SIZE_BYTES
        self.world.settle()

    def in_flight(self) -> set[str]:
        return {move.topic for move in FakeKafka(self.world).reassignments()}


def names(*numbers: int) -> set[str]:
    return {f"t{number:04d}" for number in numbers}


def test_a_look_asks_about_the_topics_and_replicas_that_move_and_nothing_else() -> None:
    site = Site()

    def each(number: int, decision: WindowDecision | None) -> bool:
        if number == 1:
            assert site.in_flight() == names(0, 1, 2)
            assert site.kafka.topics.count(None) == 1, "the first look learns the cluster"
        if number == 2:
            assert site.kafka.topics == [names(0, 1, 2)]
            ((replicas),) = site.kafka.replicas  # asked once: the throttle takes the same answer
            assert replicas == {Replica(topic, 0, broker) for topic in names(0, 1, 2) for broker in (1001, 1002, 1004)}
            assert site.kafka.asked["reassignments"] == 1
        site.kafka.reset()
        return number < 2

    site.looks(each)


def test_what_is_submitted_was_looked_at_before_and_the_cluster_is_not_asked_for_again() -> None:
    site = Site()

    def each(number: int, decision: WindowDecision | None) -> bool:
        if number == 1:
            site.end(0, 1)
        if number == 2:
            assert decision is not None and {move.topic for move in decision.submit} == names(3, 4)
            assert site.kafka.topics == [names(0, 1, 2), names(0, 1, 2, 3, 4)]
            assert {replica.topic for replica in site.kafka.replicas[-1]} == names(3, 4)
        site.kafka.reset()
        return number < 2

    site.looks(each)


def test_a_partition_that_somebody_moved_since_the_cluster_was_asked_for_is_not_moved_over() -> None:
    """Known for some seconds as planned; the look before the act sees where it is."""
    site = Site()

    def each(number: int, decision: WindowDecision | None) -> bool:
        if number == 1:
            site.end(0)
            site.world.partitions[TopicPartition("t0003", 0)].replicas = [1001, 1005]
            site.world.partitions[TopicPartition("t0003", 0)].in_sync = {1001, 1005}
        if number == 2:
            assert decision is not None and not decision.submit
            assert decision.drifted == {TopicPartition("t0003", 0)}
        return number < 2

    site.looks(each)
    assert site.in_flight() == names(1, 2)


def test_a_topic_made_again_since_the_cluster_was_asked_for_is_left_alone() -> None:
    site = Site()

    def each(number: int, decision: WindowDecision | None) -> bool:
        if number == 1:
            site.end(0)
            site.world.delete_topic("t0003")
            site.add_topic(3)
        if number == 2:
            assert decision is not None and {move.topic for move in decision.submit} == names(4)
            assert decision.gone == {TopicPartition("t0003", 0)}
        return number < 2

    site.looks(each)


def test_a_disk_that_is_full_now_gets_nothing_whatever_was_known() -> None:
    site = Site()

    def each(number: int, decision: WindowDecision | None) -> bool:
        if number == 1:
            site.end(0)
            site.world.capacity_bytes[1004] = 3 * SIZE_BYTES
        if number == 2:
            assert decision is not None and not decision.submit
        return number < 2

    site.looks(each)


def test_nothing_starts_on_what_is_known_of_the_cluster_for_too_long(monkeypatch: pytest.MonkeyPatch) -> None:
    """An act wants a younger picture of the others' min ISR than a look; how old, is counted on a clock of the test's."""

    class Clock:
        now = 1_000.0

        def monotonic(self) -> float:
            return self.now

    site, clock = Site(), Clock()
    monkeypatch.setattr(snapshots, "time", clock)
    monkeypatch.setattr(snapshots, "REFRESH_SECONDS", 1_000.0)  # nothing in the background

    def each(number: int, decision: WindowDecision | None) -> bool:
        if number == 1:
            clock.now += 20.0
        if number == 2:
            assert site.kafka.topics == [names(0, 1, 2)], "nothing to start: the cluster may be 20 s old"
            site.end(0)
            site.world.minimum_in_sync["t0999"] = 2
            site.world.partitions[TopicPartition("t0999", 0)].in_sync = {1001}
        if number == 3:
            assert None in site.kafka.topics, "older than an act may rest on"
            assert decision is not None and not decision.submit
            assert decision.hold is not None and "below min.insync.replicas" in decision.hold.reason
        site.kafka.reset()
        return number < 3

    site.looks(each)
    assert site.in_flight() == names(1, 2), "a partition is below its min ISR: nothing new starts"


def test_done_is_said_of_the_whole_cluster_as_it_is_now() -> None:
    site = Site()
    site.plan = site.plan.model_copy(update={"moves": site.plan.moves[:AT_ONCE]})

    def each(number: int, decision: WindowDecision | None) -> bool:
        if number == 1:
            site.end(0, 1, 2)
        if number == 2:
            assert decision is not None and decision.is_done
            assert site.kafka.topics[-1] is None
        site.kafka.reset()
        return number < 2

    site.looks(each)


def test_a_rollback_looks_at_everything_each_time_since_arrivals_count_by_looks() -> None:
    site = Site()

    def each(number: int, decision: WindowDecision | None) -> bool:
        if number:
            assert None in site.kafka.topics
        site.kafka.reset()
        return number < 3

    site.looks(each, is_rollback=True)


def test_a_silent_broker_is_asked_once_a_look() -> None:
    site = Site()
    site.world.silent[1004] = 10**6
    look = Look(site.clients, site.plan.moves[:2])
    assert look.sizes.unanswered_broker_ids == (1004,)
    assert not look.suffices(WindowDecision(submit=site.plan.moves[2:3]), site.plan.moves)
    assert {replica.broker_id for replica in site.kafka.replicas[-1]} == {1001, 1002}
    assert look.suffices(WindowDecision(submit=site.plan.moves[2:3]), site.plan.moves)
    assert look.sizes.unanswered_broker_ids == (1004,)


def test_a_catch_up_asks_about_what_lags_and_ends_on_the_whole_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    """1003 holds two of the thousand topics, and lags on one of them."""
    site = Site()
    late, there = TopicPartition("t0000", 0), TopicPartition("t0001", 0)
    for name in (late, there):
        site.world.partitions[name].replicas = [1001, 1002, 1003]
    disk = site.world.disk_of(1003)
    assert disk is not None
    disk[there] = SIZE_BYTES
    site.world.partitions[there].in_sync = {1001, 1002, 1003}
    planned = tuple(
        PlannedPartition(
            topic=name.topic, partition=0, before=(1001, 1002, 1003), after=(1001, 1002, 1003), size_bytes=SIZE_BYTES
        )
        for name in (late, there)
    )
    plan = ReplacementPlan(
        cluster="main",
        kind="ReplaceBroker",
        title="test",
        steps=(),
        made_at="",
        throttle=FixedThrottle(rate_bytes_per_s=1_000_000),
        places=(BrokerPlace(broker_id=1003, pod="events-2"),),
        partitions=planned,
    )
    polls = 0

    def pause(seconds: float) -> None:
        nonlocal polls
        polls += 1
        if polls == 2:
            disk[late] = SIZE_BYTES
            site.world.settle()

    monkeypatch.setattr("activities.step._pause", pause)
    link: Any = FakeLink()
    clusters: Any = SimpleNamespace(open=lambda name: site.clients)
    request = StepRequest(token=TOKEN, plan=save(site.kubernetes, plan, TOKEN))
    progress = ActivityEnvironment().run(CatchUpActivities(Access(clusters, link)).follow_catch_up, request)
    assert (progress.done_partitions, progress.total_partitions) == (2, 2)
    assert site.kafka.topics == [None, {"t0000"}, {"t0000"}, {"t0000"}, None]
    assert site.kafka.replicas[0] == {Replica("t0000", 0, broker) for broker in (1001, 1002, 1003)}
    assert not site.kafka.asked["replica_sizes"] - len(site.kafka.replicas), "no broker is asked about all it holds"


class SimulatedKafka:
    """`Simulated` as far as a look asks it; every broker has space."""

    def __init__(self, world: Simulated) -> None:
        self.world = world
        self.whole = 0

    def snapshot(self, topics: Collection[str] | None = None, *, minimum_in_sync_seconds: float = 0.0) -> ClusterSnapshot:
        now = self.world.snapshot()
        if topics is None:
            self.whole += 1
            return now
        return replace(
            now,
            partitions=tuple(partition for partition in now.partitions if partition.topic in topics),
            minimum_in_sync={topic: value for topic, value in now.minimum_in_sync.items() if topic in topics},
            topic_ids={topic: value for topic, value in now.topic_ids.items() if topic in topics},
        )

    def sizes_of(self, replicas: Iterable[Replica]) -> ReplicaSizes:
        return ReplicaSizes(size_bytes={})


@given(problems(), st.integers(0, 2**32))
def test_what_is_decided_is_what_a_look_at_everything_decides(problem: tuple[MovePlan, MoveLimits], seed: int) -> None:
    """However the run is interrupted, and although the whole cluster is asked for at its beginning and at its end only."""
    plan, limits = problem
    # A topic for each move, so that most topics of the plan aren't looked at.
    moves = tuple(replace(move, topic=f"t{move.partition}", partition=0) for move in plan.moves)
    plan = plan.model_copy(update={"moves": moves, "partition_counts": {}, "topic_ids": {}})
    world, dice, failovers = Simulated.before(plan), random.Random(seed), 2
    kafka = SimulatedKafka(world)
    clients: Any = SimpleNamespace(kafka=kafka, snapshots=snapshots.Snapshots(kafka))  # type: ignore[arg-type]
    for _ in range(40 * len(plan.moves) + 40):
        look = Look(clients, [move for move in plan.moves if move.name in world.moving or move.name in world.ledger])
        while True:
            observation = replace(world.observe(), snapshot=look.snapshot)
            decision = decide(plan, observation, limits)
            if look.suffices(decision, plan.moves):
                break
        check_invariants(plan, observation, limits, decision)
        assert decision == decide(plan, world.observe(), limits)
        if decision.is_done:
            break
        world.carry_out(decision, dice.choice([0, 1, 2, 10**9]))
        for name in [one for one in world.moving if dice.random() < 0.5]:
            world.end(name)
        if failovers and dice.random() < 0.1:
            failovers -= 1
            for name in list(world.moving):
                world.cancel(name)
    assert decision.is_done and kafka.whole == 2


def test_it_ends_whatever_is_decided() -> None:
    """A decision that changes each time it is made: after some rounds everything of the plan was looked at."""
    site = Site()
    look = Look(site.clients, ())
    moves = iter(site.plan.moves)
    rounds = 0
    while not look.suffices(WindowDecision(submit=(next(moves),)), site.plan.moves):
        rounds += 1
    assert rounds <= 3
