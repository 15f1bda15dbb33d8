"""Preferred leaders: what the controller refuses for good holds up nothing else, and is left to the exit contract to name."""

from collections import Counter
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from itertools import cycle

import pytest
from temporalio.testing import ActivityEnvironment

from activities import leaders, plan_store, step
from activities.leaders import LeaderActivities
from activities.permits import Fence
from activities.step import Access
from kafka_runbooks.models.cluster import TopicPartition
from kafka_runbooks.models.messages import StepRequest, Token
from kafka_runbooks.models.moves import MovePlan
from kafka_runbooks.models.plans import PlannedPartition, PlanReference
from tests.fakes.kafka import FakeKafka
from tests.fakes.world import World
from tests.temporal_env import WorldClusters

TOKEN = Token(cluster="main", workflow_id="w", run_id="r", permit_run_id="p")


class Site:
    """Thirty partitions whose preferred leader, 1001, leads none of them."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 0.0
        self.world = World(step_s=1.0)
        self.world.add_topic("events.a", 30, (1001, 1002, 1003))
        for partition in self.world.partitions.values():
            partition.replicas, partition.leader = [1001, 1002, 1003], 1002
        self.clusters = WorldClusters(self.world, "main")
        monkeypatch.setattr(step, "SHORT_POLL_SECONDS", 0.0)
        monkeypatch.setattr(step, "LONGEST_PAUSE_SECONDS", 0.0)
        monkeypatch.setattr(leaders, "time", self)
        monkeypatch.setattr(Fence, "check", lambda fence: None)
        monkeypatch.setattr(step.Reporter, "_signal", lambda reporter, progress: None)
        plan = MovePlan(cluster="main", kind="RunPlan", title="t", steps=(), made_at="now", moves=())
        planned = [
            PlannedPartition(topic=name.topic, partition=name.partition, before=(), after=(), size_bytes=0)
            for name in self.world.partitions
        ]
        monkeypatch.setattr(MovePlan, "planned", planned)
        monkeypatch.setattr(plan_store, "load_for", lambda kubernetes, request: plan)

    def monotonic(self) -> float:
        self.now += 10.0
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds

    def elect(self) -> int:
        request = StepRequest(token=TOKEN, plan=PlanReference(plan_id="p", sha256="s", kind="RunPlan"))
        steps = LeaderActivities(Access(clusters=self.clusters, link=None))  # type: ignore[arg-type]
        elected: int = ActivityEnvironment().run(steps.elect_leaders, request)
        return elected

    @property
    def led(self) -> int:
        return sum(1 for partition in self.world.partitions.values() if partition.leader == 1001)


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> Site:
    return Site(monkeypatch)


def refuse(site: Site, which: Callable[[TopicPartition], bool]) -> None:
    site.world.refusals = {name: ["NotControllerError"] * 10_000 for name in site.world.partitions if which(name)}


def test_refusals_of_some_hold_up_no_other(site: Site) -> None:
    """More of them than a batch has, and the first by name."""
    refuse(site, lambda name: name.partition < 20)
    assert site.elect() == 10 == site.led


def test_a_few_first_and_no_pause_after_the_last(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """A broker that is just back gets four partitions, and then the rest; between the two there is one pause."""
    batches, pauses = list[int](), list[float]()
    elect = FakeKafka.elect_preferred_leaders

    def elected(kafka: FakeKafka, partitions: Iterable[TopicPartition]) -> dict[TopicPartition, str]:
        batches.append(len(wanted := list(partitions)))
        return elect(kafka, wanted)

    monkeypatch.setattr(FakeKafka, "elect_preferred_leaders", elected)
    monkeypatch.setattr(step, "_pause", pauses.append)
    assert site.elect() == 30 == site.led
    assert batches == [4, 26] and len(pauses) == 1


def test_each_of_several_brokers_gets_a_few_first(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """As many as it would alone: a round of many brokers takes no longer than one of few."""
    for partition, broker in zip(site.world.partitions.values(), cycle((1001, 1003)), strict=False):
        partition.replicas, partition.leader = [broker, 1002, 1001 if broker == 1003 else 1003], 1002
    batches, elect = list[Counter[int]](), FakeKafka.elect_preferred_leaders

    def elected(kafka: FakeKafka, partitions: Iterable[TopicPartition]) -> dict[TopicPartition, str]:
        wanted = list(partitions)
        batches.append(Counter(site.world.partitions[name].replicas[0] for name in wanted))
        return elect(kafka, wanted)

    monkeypatch.setattr(FakeKafka, "elect_preferred_leaders", elected)
    assert site.elect() == 30
    assert batches == [{1001: 4, 1003: 4}, {1001: 11, 1003: 11}]


def test_patience_counts_from_the_last_election_and_not_from_the_start(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """One partition is elected at each look, which takes ten seconds: three hundred in all, with a patience of a hundred."""
    monkeypatch.setattr(leaders, "ELECTION_PATIENCE_SECONDS", 100.0)
    monkeypatch.setattr(leaders, "MOST_ELECTED", 1)
    assert site.elect() == 30 == site.led
    assert site.now > 300


def test_all_refused_for_a_while_are_elected_in_the_end(site: Site) -> None:
    site.world.refusals = {name: ["NotControllerError"] * 2 for name in site.world.partitions}
    assert site.elect() == 30 == site.led


def test_what_is_refused_for_good_is_left_after_a_bounded_time(site: Site) -> None:
    refuse(site, lambda name: True)
    assert site.elect() == 0 == site.led
    assert site.now < 10 * leaders.ELECTION_PATIENCE_SECONDS
    assert FakeKafka(site.world).snapshot().live_broker_ids >= {1001}


def test_a_broker_leads_once_its_followers_find_it_and_holds_up_no_other(site: Site) -> None:
    """Its pod is new: they may know its former address only. Waiting for that takes nothing from the patience."""
    for partition in list(site.world.partitions.values())[::2]:
        partition.replicas, partition.leader = [1003, 1001, 1002], 1002
    site.clusters.keep_addresses(2)
    pod = next(pod for pod in site.world.pods.values() if pod.broker_id == 1001)
    pod.started_at = began = datetime.now(UTC)
    led, before = list[tuple[datetime, set[int]]](), site.world.after_act

    def note(act: str) -> None:
        leaders_now = {partition.leader for partition in site.world.partitions.values()}
        led.append((datetime.now(UTC), {broker for broker in leaders_now if broker is not None}))
        if before is not None:
            before(act)

    site.world.after_act = note
    assert site.elect() == 30
    (first,) = [at for at, brokers in led if 1001 in brokers][:1]
    assert timedelta(seconds=2) <= first - began < timedelta(seconds=20)
    assert 1003 in led[0][1] and led[0][0] - began < timedelta(seconds=2)
    assert site.now > leaders.ELECTION_PATIENCE_SECONDS
