"""Urgent copies are left out of the lists of an in-memory cluster, in which a rate holds only what is listed."""

import pytest
from temporalio.exceptions import CancelledError
from temporalio.testing import ActivityEnvironment

from activities import ledgers, mover, overrides, removal, throttle
from activities.catch_up import CatchUpActivities
from activities.overrides import OverrideActivities
from activities.plan_store import save
from activities.step import Access, Reporter, Steps, step
from activities.throttle import Throttling
from kafka_runbooks.models.cluster import ThrottledReplicas, ThrottleRates, TopicPartition
from kafka_runbooks.models.inputs import MoveLimits
from kafka_runbooks.models.messages import OverrideRequest, RecoveryRequest, StepRequest, Token
from kafka_runbooks.models.moves import Move, MovePlan
from kafka_runbooks.models.operator import Override
from kafka_runbooks.models.status import Progress
from kafka_runbooks.models.throttles import AdaptiveThrottle, FixedThrottle
from kafka_runbooks.models.urgency import Urgency
from kafka_runbooks.safety.urgency import urgent_among
from kafka_runbooks.throttle import leases
from tests.fakes.fence import FakeFence
from tests.fakes.link import FakeLink
from tests.temporal_env import WorldClusters
from tests.throttle.test_throttling import ADAPTIVE, FLOOR, MEGABYTE, Clock, Site

TOKEN = Token(cluster="main", workflow_id="w", run_id="r", permit_run_id="p")
URGENT, REST = "events.urgent", "events.rest"


class TwoLost(Site):
    """1002 is down and 1003 is back with an empty disk: `URGENT` hangs by 1001 and refuses writes, `REST` has 1004 too."""

    def __init__(self, clock: Clock) -> None:
        super().__init__(clock)
        self.world.delete_topic("events.a")
        self.world.add_topic(REST, 3, (1001, 1004, 1003), size_bytes=2_000 * MEGABYTE)
        self.world.add_topic(URGENT, 3, (1001, 1002, 1003), size_bytes=20 * MEGABYTE)
        self.world.kill_broker(1002)
        disk = self.world.disk_of(1003)
        assert disk is not None
        disk.clear()
        self.world.settle()
        self.world.lists[URGENT] = ThrottledReplicas(leader="7:1001", follower="7:1004")
        self.fence = FakeFence()
        self.notes: list[str] = []

    def poll(self, throttling: Throttling, *, knows: bool = True) -> None:
        """A look, then six seconds of copying."""
        snapshot = self.kafka.snapshot()
        copies = leases.catching_up(snapshot.partitions, {1003})
        urgency = urgent_among((copy.partition for copy in copies), snapshot) if knows else None
        throttling.adapt(copies, snapshot.live_broker_ids, followers=snapshot.followers, urgency=urgency)
        self.notes.append(throttling.reason)
        self.clock.now += 6.0
        self.world.advance()

    def polls(self, throttling: Throttling, count: int) -> None:
        for _ in range(count):
            self.poll(throttling)

    def grow(self, size_bytes: int) -> None:
        """Each urgent partition has so much on its leader."""
        disk = self.world.disk_of(1001)
        assert disk is not None
        for number in range(3):
            name = TopicPartition(URGENT, number)
            self.world.partitions[name].size_bytes = disk[name] = size_bytes

    @property
    def refusing(self) -> int:
        snapshot = self.kafka.snapshot()
        return list(urgent_among(snapshot.partitions, snapshot).values()).count(Urgency.REFUSES_WRITES)

    def listed(self, topic: str = URGENT) -> set[str]:
        """Entries of the run: the one of someone else left out."""
        lists = self.world.lists[topic]
        return {entry for entry in f"{lists.leader},{lists.follower}".split(",") if entry and not entry.startswith("7:")}

    def release(self) -> None:
        ledger = ledgers.read(self.kubernetes, TOKEN)
        live = self.kafka.snapshot().live_broker_ids
        assert removal.release(self.kafka, self.kubernetes, FakeFence(), ledger, live).left_behind == ()
        assert self.world.lists[URGENT] == ThrottledReplicas(leader="7:1001", follower="7:1004")
        assert self.world.lists[REST] == ThrottledReplicas()
        assert self.rates() == (None, None, None)


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> TwoLost:
    clock = Clock()
    found = TwoLost(clock)
    monkeypatch.setattr(throttle, "time", clock)
    monkeypatch.setattr(throttle, "Fence", lambda link, token: found.fence)
    return found


def test_they_come_first_and_then_the_rest(site: TwoLost) -> None:
    throttling = site.throttling()
    site.poll(throttling)
    assert site.refusing == 3 and {"0:1001", "0:1003"} <= site.listed(), "nothing is known yet of what the brokers bear"
    site.poll(throttling)
    assert site.notes[-1].startswith("3 partitions refuse writes: copied first, not throttled; ")
    assert site.refusing == 0 and site.listed() == set()
    rest = site.world.disk_of(1003)
    assert rest is not None and sum(size for name, size in rest.items() if name.topic == REST) <= 2 * 6 * 3 * FLOOR
    site.poll(throttling)
    assert "refuse" not in site.notes[-1]
    before = site.rates()[2] or 0
    site.polls(throttling, 3)
    assert (site.rates()[2] or 0) > before, "then the rest, as fast as is safe"
    site.release()


def test_the_rest_gives_way_while_they_are_copied(site: TwoLost) -> None:
    site.grow(5_000 * MEGABYTE)
    site.world.revive_broker(1002)
    site.world.frozen.add(1002)
    site.world.disk_of(1002).clear()  # type: ignore[union-attr]
    throttling = site.throttling()
    for _ in range(6):
        site.poll(throttling, knows=False)
    assert (site.rates()[2] or 0) > FLOOR
    site.polls(throttling, 2)
    assert site.rates()[0] == site.rates()[2] == FLOOR, site.notes[-1]
    assert "partitions that can't wait are copied first" in site.notes[-1]


def test_only_those_that_share_partitions_with_the_broker_that_is_down_are_held(site: TwoLost) -> None:
    """One held everybody at the floor, in recovery and in moves."""
    site.grow(2_000 * MEGABYTE)
    throttling = site.throttling()
    for _ in range(6):
        site.poll(throttling, knows=False)
    assert site.world.rates[1001].leader_bytes_per_s == FLOOR, "1002 has replicas of what it sends"
    assert (site.world.rates[1004].leader_bytes_per_s or 0) > FLOOR, site.notes[-1]


def test_once_clients_suffer_they_are_throttled_and_rates_fall_as_usual(site: TwoLost) -> None:
    site.grow(3_000 * MEGABYTE)
    throttling = site.throttling()
    site.polls(throttling, 3)
    assert "copied first, 1 of them not throttled now" in site.notes[-1], "as much as the budget covers, and at least one"
    out = {"0:1001", "0:1003", "1:1001", "1:1003", "2:1001", "2:1003"} - site.listed()
    assert len(out) == 2
    site.world.produce_p99_ms[1001] = 4_000.0
    site.poll(throttling)
    assert not out - site.listed(), "they are held again at once"
    assert "throttled like the rest (request times or load of broker 1001)" in site.notes[-1]
    site.world.produce_p99_ms.clear()
    site.poll(throttling)
    assert not out - site.listed(), "not before a minute has passed"
    site.release()


def test_a_destination_that_others_wait_for_is_not_filled_either(site: TwoLost) -> None:
    """A producer of a partition for which 1003 is in sync already waits for 1003's fetches."""
    name = TopicPartition(REST, 0)
    site.world.disk_of(1003)[name] = 2_000 * MEGABYTE  # type: ignore[index]
    site.world.partitions[name].leader = 1004
    site.world.settle()
    throttling = site.throttling()
    site.world.produce_p99_ms[1004] = 4_000.0
    site.polls(throttling, 3)
    assert {"0:1003", "1:1003", "2:1003"} <= site.listed()


@pytest.mark.parametrize("how", ["fixed", "override", "their rate", "whole cluster"])
def test_a_rate_that_a_person_has_set_holds_them_too(site: TwoLost, how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    mode: AdaptiveThrottle | FixedThrottle = ADAPTIVE
    if how == "fixed":
        mode = FixedThrottle(rate_bytes_per_s=FLOOR)
    elif how == "override":
        monkeypatch.setattr(overrides, "ensure_held", lambda link, token: None)
        acts = OverrideActivities(Access(WorldClusters(site.world, "main"), None))  # type: ignore[arg-type]
        by_hand = Override.model_validate({"rate_bytes_per_s": 200_000, "broker_id": 1001, "by": "ana", "reason": "INC-7"})
        ActivityEnvironment().run(acts.set_throttle, OverrideRequest(token=TOKEN, override=by_hand))
    elif how == "their rate":
        site.world.rates[1001] = ThrottleRates(leader_bytes_per_s=500_000)
    else:
        site.world.default_rates = ThrottleRates(follower_bytes_per_s=500_000)
    throttling = site.throttling(mode)
    site.polls(throttling, 4)
    assert {"0:1001", "1:1001", "2:1001", "0:1003", "1:1003", "2:1003"} <= site.listed(), site.notes[-1]
    assert "throttled like the rest (" in site.notes[-1]


def test_without_metrics_nothing_is_left_out(site: TwoLost) -> None:
    throttling = site.throttling()
    site.metrics.is_away = True
    site.polls(throttling, 4)
    assert {"0:1003", "1:1003", "2:1003"} <= site.listed()


def test_entries_of_others_stay_and_hold(site: TwoLost) -> None:
    site.world.lists[URGENT] = ThrottledReplicas(leader="*", follower="*")
    throttling = site.throttling()
    site.polls(throttling, 4)
    assert site.world.lists[URGENT] == ThrottledReplicas(leader="*", follower="*")
    assert "throttled like the rest" in site.notes[-1]


# Crashes and outages


def test_the_next_attempt_puts_them_back_until_it_knows_what_the_brokers_bear(site: TwoLost) -> None:
    site.grow(500 * MEGABYTE)
    site.polls(site.throttling(), 2)
    everything = {f"{number}:{broker}" for number in range(3) for broker in (1001, 1003)}
    assert everything - site.listed()
    again = site.throttling()
    site.poll(again)
    assert everything <= site.listed()
    site.poll(again)
    assert everything - site.listed()


@pytest.mark.parametrize("crash_at", range(1, 13))
def test_wherever_it_crashes_all_is_as_before_in_the_end(site: TwoLost, crash_at: int) -> None:
    left = crash_at

    def crash(act: str) -> None:
        nonlocal left
        left -= 1
        if left == 0:
            raise RuntimeError("killed")

    site.world.after_act = crash
    throttling = site.throttling()
    for _ in range(4):
        try:
            site.poll(throttling)
        except RuntimeError:
            throttling = site.throttling()
    site.world.after_act = lambda act: None
    listed = site.listed() | site.listed(REST)
    ledger = ledgers.read(site.kubernetes, TOKEN)
    recorded = {entry for lease in ledger.entries.values() for entry in (*lease.leader, *lease.follower)}
    assert listed <= recorded, "what is set was recorded first"
    site.release()


def test_in_an_outage_of_the_kubernetes_api_they_go_back_without_a_record_and_none_goes_out(site: TwoLost) -> None:
    site.grow(3_000 * MEGABYTE)
    throttling = site.throttling()
    site.polls(throttling, 2)
    everything = {f"{number}:{broker}" for number in range(3) for broker in (1001, 1003)}
    out = everything - site.listed()
    assert out
    site.world.is_kubernetes_away = True
    site.world.produce_p99_ms[1001] = 4_000.0
    site.poll(throttling)
    assert everything <= site.listed()
    site.world.is_kubernetes_away = False
    site.world.produce_p99_ms.clear()
    site.release()


def test_while_temporal_is_away_none_goes_out(site: TwoLost) -> None:
    throttling = site.throttling()
    site.poll(throttling)
    site.fence.is_away = True
    site.polls(throttling, 2)
    assert {f"{number}:{broker}" for number in range(3) for broker in (1001, 1003)} <= site.listed()
    site.fence.is_away = False
    site.poll(throttling)
    assert site.listed() == set()


def test_a_list_that_kafka_refuses_to_change_is_said_to_stay(site: TwoLost) -> None:
    throttling = site.throttling()
    site.poll(throttling)
    site.world.refused_lists[URGENT] = "PolicyViolation"
    site.poll(throttling)
    assert f"topic {URGENT} stays throttled: PolicyViolation" in site.notes[-1]
    assert "not throttled" not in site.notes[-1]


# Whoever copies gets it


def test_a_recovery_that_a_runbook_only_throttles_has_it_too(site: TwoLost, monkeypatch: pytest.MonkeyPatch) -> None:
    environment = ActivityEnvironment()
    acts = CatchUpActivities(Access(WorldClusters(site.world, "main"), FakeLink()))  # type: ignore[arg-type]
    reported: list[Progress] = []
    left = 5

    def pause(seconds: float) -> None:
        nonlocal left
        left -= 1
        site.clock.now += 6.0
        site.world.advance()
        if left == 0:
            environment.cancel()
            raise CancelledError("cancelled")

    def note(self: Reporter, progress: Progress) -> None:
        reported.append(progress)

    monkeypatch.setattr("activities.step._pause", pause)
    monkeypatch.setattr(Reporter, "report", note)
    request = RecoveryRequest(token=TOKEN, brokers=(1003,), throttle=ADAPTIVE)
    with pytest.raises(CancelledError):
        environment.run(acts.follow_recovery, request)
    assert any("3 partitions refuse writes: copied first, 2 of them not throttled now" in found.note for found in reported)
    assert site.refusing == 0


def test_moves_have_it_too_and_those_that_refuse_writes_are_submitted_first(
    site: TwoLost, monkeypatch: pytest.MonkeyPatch
) -> None:
    """1005 takes the place of 1002, which is gone. Four at a time, as limits are halved while `REST` lags at its minimum."""
    monkeypatch.setattr(mover, "Fence", FakeFence)
    site.world.revive_broker(1002)
    site.world.lose_node("node-events-b")
    moved = [(REST, 0, 0), (REST, 1, 0), *((URGENT, number, 5) for number in range(3))]
    moves = []
    for topic, number, batch in moved:
        before = tuple(site.world.partitions[TopicPartition(topic, number)].replicas)
        gone = 1002 if topic == URGENT else 1003
        after = tuple(1005 if broker == gone else broker for broker in before)
        moves.append(Move(topic=topic, partition=number, before=before, after=after, size_bytes=20 * MEGABYTE, batch=batch))
    plan = MovePlan(
        cluster="main",
        kind="RunPlan",
        title="",
        moves=tuple(moves),
        throttle=ADAPTIVE,
        limits=MoveLimits(moves_in_per_broker=8, moves_out_per_broker=8, moves_at_once=8),
        made_at="2026-01-01T00:00:00+00:00",
    )
    site.world.frozen.add(1003)
    notes: list[str] = []

    class Moves(Steps):
        @step
        def carry_out(self, request: StepRequest) -> None:
            one = mover.Mover(site.clients, self._link, request, plan)
            decision, _ = one.advance()
            assert [found.topic for found in decision.submit] == [URGENT] * 3 + [REST]
            for _ in range(4):
                site.clock.now += 6.0
                notes.append(one.advance()[1].note)
                site.world.advance()

    acts = Moves(Access(WorldClusters(site.world, "main"), FakeLink()))  # type: ignore[arg-type]
    ActivityEnvironment().run(acts.carry_out, StepRequest(token=TOKEN, plan=save(site.kubernetes, plan, TOKEN)))
    assert any("partitions refuse writes: copied first" in note for note in notes), notes
    assert site.refusing == 0
