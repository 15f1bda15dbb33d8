"""The guard over a run's own rates never sleeps: in an outage of Temporal or of the Kubernetes API, and while no step copies."""

import pytest
from temporalio.exceptions import CancelledError
from temporalio.testing import ActivityEnvironment

from activities import ledgers, removal, throttle
from activities.catch_up import CatchUpActivities
from activities.errors import PermitLost
from activities.plan_store import save
from activities.step import Access
from activities.throttle import Throttling
from activities.throttle_guard import ThrottleActivities
from kafka_runbooks.clients.errors import Conflict
from kafka_runbooks.models.cluster import ThrottledReplicas, ThrottleRates, TopicPartition
from kafka_runbooks.models.kubernetes import BrokerPlace
from kafka_runbooks.models.ledger import OwnedReassignment
from kafka_runbooks.models.messages import StepRequest, Token
from kafka_runbooks.models.moves import Copy, Move, MovePlan
from kafka_runbooks.models.plans import PlannedPartition
from kafka_runbooks.models.replacement import ReplacementPlan
from tests.fakes.fence import FakeFence
from tests.fakes.link import FakeLink
from tests.temporal_env import WorldClusters
from tests.throttle.test_throttling import ADAPTIVE, CEILING, FLOOR, MEGABYTE, STEP, Clock, Site

TOKEN = Token(cluster="main", workflow_id="w", run_id="r", permit_run_id="p")


class Guarded(Site):
    """A copy whose fence the test holds in its hand."""

    def __init__(self, clock: Clock) -> None:
        super().__init__(clock)
        self.fence = FakeFence()

    def throttling(self, *_: object) -> Throttling:
        return super().throttling(ADAPTIVE)

    def risen(self, polls: int = 8) -> Throttling:
        throttling = self.throttling()
        for _ in range(polls):
            self.poll(throttling)
        assert all(rate and rate > FLOOR for rate in self.rates())
        return throttling

    def moves(self) -> list[Copy]:
        return [copy for copy in super().moves() if 1003 in copy.partition.replicas]

    def stall(self) -> None:
        self.world.produce_p99_ms |= dict.fromkeys((1001, 1002, 1003), 4_000.0)


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> Guarded:
    clock = Clock()
    found = Guarded(clock)
    monkeypatch.setattr(throttle, "time", clock)
    monkeypatch.setattr(throttle, "Fence", lambda link, token: found.fence)
    return found


def test_while_temporal_is_away_rates_fall_and_do_not_rise(site: Guarded) -> None:
    """The permit's question failed, and with it the poll: rates stayed as they were."""
    throttling = site.risen()
    before = site.rates()
    site.fence.is_away = True
    site.poll(throttling)
    assert site.rates() == before, "nobody knows whether it may still raise them"
    site.stall()
    site.poll(throttling)
    assert site.rates() == tuple((rate or 0) // 2 for rate in before)
    assert ledgers.read(site.kubernetes, TOKEN).rates[1003].ours.follower_bytes_per_s == (before[2] or 0) // 2
    site.fence.is_away = False
    site.world.produce_p99_ms.clear()
    site.poll(throttling)
    site.poll(throttling)
    assert (before[2] or 0) // 2 < (site.rates()[2] or 0) < (before[2] or 0)


def test_while_the_kubernetes_api_is_away_rates_fall_to_the_floor_and_are_known_as_the_run_s_afterwards(site: Guarded) -> None:
    throttling = site.risen()
    before = site.rates()
    site.world.is_kubernetes_away = True
    site.poll(throttling)
    assert site.rates() == before
    site.stall()
    site.poll(throttling)
    assert site.rates() == (FLOOR, FLOOR, FLOOR)
    assert "Kubernetes API" in throttling.reason
    site.world.is_kubernetes_away = False
    ledger = ledgers.read(site.kubernetes, TOKEN)
    assert ledger.rates[1003].ours.follower_bytes_per_s == before[2], "it could not be written"
    live = site.kafka.snapshot().live_broker_ids
    assert removal.release(site.kafka, site.kubernetes, FakeFence(), ledger, live).left_behind == ()
    assert site.rates() == (None, None, None)


def test_when_the_api_is_back_the_rates_go_on_from_there(site: Guarded) -> None:
    throttling = site.risen()
    site.world.is_kubernetes_away = True
    site.stall()
    site.poll(throttling)
    site.world.is_kubernetes_away = False
    site.world.produce_p99_ms.clear()
    for _ in range(3):
        site.poll(throttling)
    assert FLOOR < (site.rates()[2] or 0) <= FLOOR + 3 * STEP


def test_a_person_s_rate_of_the_same_moment_stays(site: Guarded) -> None:
    throttling = site.risen()
    site.world.rates[1001] = ThrottleRates(leader_bytes_per_s=3_000_000)
    site.world.is_kubernetes_away = True
    site.stall()
    site.poll(throttling)
    assert site.rates() == (3_000_000, FLOOR, FLOOR)


# Brokers that are down


def test_a_broker_that_is_down_elsewhere_holds_nobody_back(site: Guarded) -> None:
    """At 300 brokers one always is: every runbook stood at its floor."""
    site.world.add_topic("checks", 3, (1004, 1005, 1006))
    site.world.kill_broker(1005)
    site.risen()


def test_one_that_shares_partitions_holds_at_what_keeps_up_and_the_floor_beyond_it(site: Guarded) -> None:
    """At 10 MB/s where 40 are needed only to keep up, recovery never ended."""
    for partition in site.world.partitions.values():
        partition.replicas.append(1004)
    site.world.kill_broker(1004)
    throttling = site.throttling()
    produced = 5 * MEGABYTE
    for _ in range(12):
        for name, partition in site.world.partitions.items():
            partition.size_bytes += 6 * produced
            for broker in partition.in_sync:
                disk = site.world.disk_of(broker)
                assert disk is not None
                disk[name] = partition.size_bytes
        site.poll(throttling)
    out, _, into = site.rates()
    assert "broker 1004 is down" in throttling.reason
    assert into is not None and 2 * produced + FLOOR < into < 3 * produced + FLOOR
    assert out is not None and 2 * produced + FLOOR < out < 3 * produced + FLOOR, "its in-sync follower fetches too"
    site.world.produce_p99_ms[1003] = 4_000.0
    before = into
    site.poll(throttling)
    assert site.rates()[2] == before // 2, "request times come first"


# Rates that others have set for the whole cluster


@pytest.mark.parametrize("level", ["default_rates", "static_rates"])
def test_a_rate_for_the_whole_cluster_is_obeyed_named_and_left_alone(site: Guarded, level: str) -> None:
    """A rate of the run's own, on the broker, took precedence over it: 100 MB/s where 2 were meant."""
    whole = ThrottleRates(leader_bytes_per_s=2 * MEGABYTE)
    setattr(site.world, level, whole)
    throttling = site.throttling()
    for _ in range(6):
        site.poll(throttling)
    assert site.rates()[:2] == (None, None) and (site.rates()[2] or 0) > FLOOR
    assert "broker 1001: leader 2 MB/s set for the whole cluster" in throttling.reason
    live = site.kafka.snapshot().live_broker_ids
    removal.release(site.kafka, site.kubernetes, FakeFence(), ledgers.read(site.kubernetes, TOKEN), live)
    assert getattr(site.world, level) == whole and site.rates() == (None, None, None)


def test_one_that_comes_in_the_middle_bounds_the_run_s_own(site: Guarded) -> None:
    throttling = site.risen(20)
    assert (site.rates()[0] or 0) > 2 * MEGABYTE
    site.world.default_rates = ThrottleRates(leader_bytes_per_s=2 * MEGABYTE, follower_bytes_per_s=3 * MEGABYTE)
    site.poll(throttling)
    assert site.rates() == (2 * MEGABYTE, 2 * MEGABYTE, 3 * MEGABYTE)


# Another broker that is served by the same entries


def test_a_second_broker_that_restarts_meanwhile_catches_up_too(site: Guarded) -> None:
    """The sources' entries throttle every replica that isn't in sync, and in-sync followers had used up a tenth of the floor."""
    disk = site.world.disk_of(1002)
    assert disk is not None
    for name, partition in site.world.partitions.items():
        partition.in_sync.discard(1002)
        partition.leader = 1001
        disk[name] = 0
    site.world.frozen.add(1003)
    throttling = site.throttling()
    for _ in range(10):
        site.poll(throttling)
    assert (site.rates()[0] or 0) > 2 * FLOOR, "it rises with what the other one takes"
    assert "1002" not in site.world.lists["events.a"].follower, "only what is the run's own is listed as a destination"


# In a pause, at a gate, in a wait


def looking(site: Guarded, monkeypatch: pytest.MonkeyPatch, plan: MovePlan | ReplacementPlan, polls: int) -> None:
    """Some polls of `keep_throttles`, then its cancellation."""
    environment = ActivityEnvironment()
    link = FakeLink()
    acts = ThrottleActivities(Access(WorldClusters(site.world, "main"), link))  # type: ignore[arg-type]
    clients = acts._open("main")
    clients.metrics.changed = site.metrics.changed  # type: ignore[attr-defined]
    request = StepRequest(token=TOKEN, plan=save(site.kubernetes, plan, TOKEN))
    left = polls

    def pause(seconds: float) -> None:
        nonlocal left
        left -= 1
        site.clock.now += 6.0
        site.world.advance()
        if left == 0:
            environment.cancel()
            raise CancelledError("cancelled")

    monkeypatch.setattr("activities.step._pause", pause)
    try:
        environment.run(acts.keep_throttles, request)
    except CancelledError:
        assert left == 0


def replacement(site: Guarded) -> ReplacementPlan:
    planned = tuple(
        PlannedPartition(
            topic=name.topic, partition=name.partition, before=(1001, 1002, 1003), after=(1001, 1002, 1003), size_bytes=1
        )
        for name in site.world.partitions
    )
    place = BrokerPlace(broker_id=1003, pod="events-2")
    made = {"cluster": "main", "kind": "ReplaceBroker", "title": "", "steps": (), "made_at": "", "throttle": ADAPTIVE}
    return ReplacementPlan.model_validate({**made, "places": (place,), "partitions": planned})


def test_in_a_wait_rates_are_halved_when_request_times_are_out_of_bounds(site: Guarded, monkeypatch: pytest.MonkeyPatch) -> None:
    """`throttle set` and a p99 of 5 s changed nothing in a pause."""
    site.risen()
    before = site.rates()
    site.stall()
    looking(site, monkeypatch, replacement(site), 2)
    assert all((now or 0) < (was or 0) for now, was in zip(site.rates(), before, strict=True))


def test_it_rises_too_and_drops_the_entries_of_what_has_arrived(site: Guarded, monkeypatch: pytest.MonkeyPatch) -> None:
    site.risen(2)
    disk = site.world.disk_of(1003)
    assert disk is not None
    disk[TopicPartition("events.a", 0)] = site.world.partitions[TopicPartition("events.a", 0)].size_bytes
    before = site.rates()[2] or 0
    looking(site, monkeypatch, replacement(site), 5)
    assert (site.rates()[2] or 0) > before
    assert site.world.lists["events.a"].follower == "1:1003"


def test_reassignments_in_flight_are_looked_after(site: Guarded, monkeypatch: pytest.MonkeyPatch) -> None:
    name = TopicPartition("events.a", 0)
    for partition in site.world.partitions.values():
        partition.in_sync.add(1003)
    own = OwnedReassignment(topic=name.topic, partition=0, before=(1001, 1002, 1003), after=(1001, 1002, 1004))
    ledger = ledgers.read(site.kubernetes, TOKEN)
    ledger = ledgers.write(site.kubernetes, ledger.model_copy(update={"reassignments": (own,)}))
    site.kafka.alter_reassignments({name: own.after})
    found = {partition.name: partition for partition in site.kafka.snapshot().partitions}
    live = site.kafka.snapshot().live_broker_ids
    rates = {1001: ThrottleRates(leader_bytes_per_s=40 * MEGABYTE)}
    ledgers.throttle(site.kafka, site.kubernetes, site.fence, ledger, [Copy(found[name], (1004,))], live, rates)
    site.stall()
    moves = (Move(topic=name.topic, partition=0, before=own.before, after=own.after, size_bytes=1),)
    plan = MovePlan(cluster="main", kind="Rebalance", title="", moves=moves, throttle=ADAPTIVE, made_at="")
    looking(site, monkeypatch, plan, 2)
    assert (site.rates()[0] or 0) <= 20 * MEGABYTE and site.world.lists["events.a"].follower == "0:1004"


def test_before_data_flows_the_rates_stay_as_they_are(site: Guarded, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sources wait for their destination at a tenth of the floor: nothing is copied that a rate could be adapted to."""
    site.world.kill_broker(1003)
    found = [Copy(partition, (1003,)) for partition in site.kafka.snapshot().partitions]
    live = site.kafka.snapshot().live_broker_ids
    ledgers.throttle(site.kafka, site.kubernetes, site.fence, ledgers.read(site.kubernetes, TOKEN), found, live, FLOOR // 10)
    lists = dict(site.world.lists)
    looking(site, monkeypatch, replacement(site), 3)
    assert site.rates() == (FLOOR // 10, FLOOR // 10, None) and site.world.lists == lists


def test_but_they_rise_for_another_broker_that_restarts_meanwhile(site: Guarded, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is throttled by the same entries, and in-sync followers' fetches had used up a tenth of the floor for hours."""
    site.world.kill_broker(1003)
    found = [Copy(partition, (1003,)) for partition in site.kafka.snapshot().partitions]
    live = site.kafka.snapshot().live_broker_ids
    ledgers.throttle(site.kafka, site.kubernetes, site.fence, ledgers.read(site.kubernetes, TOKEN), found, live, FLOOR // 10)
    lists = dict(site.world.lists)
    disk = site.world.disk_of(1002)
    assert disk is not None
    for name, partition in site.world.partitions.items():
        partition.in_sync, partition.leader = {1001}, 1001
        disk[name] = 0
    looking(site, monkeypatch, replacement(site), 6)
    assert (site.rates()[0] or 0) > FLOOR and site.world.lists == lists


def test_it_returns_at_once_where_the_ledger_holds_no_rates(site: Guarded, monkeypatch: pytest.MonkeyPatch) -> None:
    looking(site, monkeypatch, replacement(site), 99)
    assert site.rates() == (None, None, None)


# Fencing


def test_what_is_set_when_the_permit_is_lost_in_the_middle_is_taken_back(site: Guarded) -> None:
    """The other brokers' rates were set, and the next run took them for someone else's, and obeyed."""
    kubernetes, kafka = site.kubernetes, site.kafka
    lost_at = 2

    def lose(act: str) -> None:
        nonlocal lost_at
        lost_at -= act == "set_throttle_rates"
        site.fence.is_lost |= lost_at == 0

    site.world.after_act = lose
    wanted = {broker: ThrottleRates(leader_bytes_per_s=CEILING) for broker in (1001, 1002, 1003)}
    with pytest.raises(PermitLost):
        ledgers.set_rates(kafka, kubernetes, site.fence, ledgers.read(kubernetes, TOKEN), wanted)
    assert {broker for broker, rates in site.world.rates.items() if rates != ThrottleRates()} == set()


def test_list_entries_are_taken_back_too(site: Guarded) -> None:
    before = dict(site.world.lists)
    site.world.after_act = lambda act: setattr(site.fence, "is_lost", act == "set_throttled_replicas")
    moves, live = site.moves(), site.kafka.snapshot().live_broker_ids
    ledger = ledgers.read(site.kubernetes, TOKEN)
    with pytest.raises(PermitLost):
        ledgers.throttle(site.kafka, site.kubernetes, site.fence, ledger, moves, live, FLOOR)
    assert site.world.lists == before


def test_a_late_attempt_does_not_bring_back_a_ledger_that_another_run_has_cleared(site: Guarded) -> None:
    site.risen()
    late = ledgers.read(site.kubernetes, TOKEN)
    live = site.kafka.snapshot().live_broker_ids
    removal.release(site.kafka, site.kubernetes, FakeFence(), late, live)
    with pytest.raises(Conflict):
        ledgers.set_rates(site.kafka, site.kubernetes, site.fence, late, {1001: ThrottleRates(leader_bytes_per_s=CEILING)})
    assert site.kubernetes.records("ledger") == {} and site.rates() == (None, None, None)


def test_a_source_that_sends_already_keeps_its_rate_when_another_broker_takes_its_leases(
    site: Guarded, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Back to a tenth of the floor, and up again step by step, each time that a broker of a zone found its node."""
    site.risen()
    before = site.rates()
    monkeypatch.setattr("activities.catch_up.Fence", lambda link, token: site.fence)
    reference = save(site.kubernetes, replacement(site), TOKEN)
    acts = CatchUpActivities(Access(WorldClusters(site.world, "main"), FakeLink()))  # type: ignore[arg-type]
    ActivityEnvironment().run(acts.take_throttle_leases, StepRequest(token=TOKEN, plan=reference, broker_ids=(1003,)))
    assert site.rates()[:2] == before[:2]


def test_what_somebody_sets_between_a_look_and_its_act_stays(site: Guarded) -> None:
    """A rate of 77 MB/s was overwritten while the ledger was written, and with it the other direction's; seen on the lab."""
    throttling = site.risen()
    theirs = ThrottleRates(leader_bytes_per_s=77 * MEGABYTE)
    written: list[str] = []

    def meanwhile(act: str) -> None:
        if act == "write_record" and not written:
            written.append(act)
            site.world.rates[1001] = theirs
            site.world.lists["events.a"] = ThrottledReplicas(leader="9:1001", follower="9:1002")

    site.world.after_act = meanwhile
    site.stall()
    site.poll(throttling)
    assert written and site.world.rates[1001] == theirs
    for _ in range(3):
        site.poll(throttling)
    assert site.world.rates[1001] == theirs


def test_entries_that_somebody_adds_while_the_ledger_is_written_stay(site: Guarded) -> None:
    def meanwhile(act: str) -> None:
        if act == "write_record" and "9:1001" not in site.world.lists["events.a"].leader:
            site.world.lists["events.a"] = ThrottledReplicas(leader="9:1001", follower="9:1002")

    site.world.after_act = meanwhile
    throttling = site.throttling()
    throttling.take(site.moves(), site.kafka.snapshot().live_broker_ids)
    lists = site.world.lists["events.a"]
    assert "9:1001" in lists.leader.split(",") and "9:1002" in lists.follower.split(",") and len(lists.leader.split(",")) > 1
