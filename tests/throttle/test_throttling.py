"""The rates that activities set on the brokers of an in-memory world, poll by poll."""

import pytest
from temporalio.exceptions import ApplicationError
from temporalio.testing import ActivityEnvironment

from activities import ledgers, overrides, removal, throttle
from activities.overrides import OverrideActivities
from activities.step import Access
from activities.throttle import Throttling
from kafka_runbooks.clients.clusters import ClusterClients, ClusterSettings
from kafka_runbooks.models.cluster import ThrottledReplicas, ThrottleRates, TopicPartition
from kafka_runbooks.models.messages import ClearOverrideRequest, OverrideRequest, Token
from kafka_runbooks.models.moves import Copy
from kafka_runbooks.models.operator import Override
from kafka_runbooks.models.throttles import AdaptiveThrottle, FixedThrottle
from kafka_runbooks.throttle.controller import STEPS_FROM_FLOOR_TO_CEILING
from tests.fakes.fence import FakeFence
from tests.fakes.kafka import FakeKafka
from tests.fakes.kubernetes import FakeKubernetes
from tests.fakes.metrics import FakeMetrics
from tests.fakes.world import World
from tests.temporal_env import WorldClusters

MEGABYTE = 1_000_000
TOKEN = Token(cluster="main", workflow_id="w", run_id="r", permit_run_id="p")
FLOOR = MEGABYTE
STEP = MEGABYTE
CEILING = FLOOR + STEPS_FROM_FLOOR_TO_CEILING * STEP
ADAPTIVE = AdaptiveThrottle(floor_bytes_per_s=FLOOR, ceiling_bytes_per_s=CEILING)


class Clock:
    now = 1_000.0

    def monotonic(self) -> float:
        return self.now


class Site:
    """1003 has lost its replicas of two partitions that 1001 and 1002 lead, and recovers them."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.world = World(advance_at_look=False, step_s=6.0, link_bytes_per_s=50 * MEGABYTE)
        self.world.add_topic("events.a", 2, (1001, 1002, 1003), size_bytes=2_000 * MEGABYTE)
        disk = self.world.disk_of(1003)
        assert disk is not None
        disk.clear()
        for partition in self.world.partitions.values():
            partition.in_sync.discard(1003)
        self.metrics = FakeMetrics(self.world)
        settings = ClusterSettings(bootstrap_servers="none:9092", namespace="kafka")
        self.kafka, self.kubernetes = FakeKafka(self.world), FakeKubernetes(self.world)
        self.clients = ClusterClients(self.kafka, self.kubernetes, self.metrics, settings)

    def throttling(self, throttle: AdaptiveThrottle | FixedThrottle = ADAPTIVE) -> Throttling:
        return Throttling(self.clients, None, TOKEN, throttle)  # type: ignore[arg-type]

    def moves(self) -> list[Copy]:
        return [Copy(partition, (1003,)) for partition in self.kafka.snapshot().partitions if 1003 not in partition.in_sync]

    def poll(self, throttling: Throttling) -> None:
        """Six seconds of copying, then a poll."""
        self.clock.now += 6.0
        self.world.advance()
        snapshot = self.kafka.snapshot()
        throttling.adapt(self.moves(), snapshot.live_broker_ids, followers=snapshot.followers)

    def rates(self) -> tuple[int | None, int | None, int | None]:
        """Out of 1001, out of 1002, into 1003."""
        now = {broker: self.world.rates.get(broker, ThrottleRates()) for broker in (1001, 1002, 1003)}
        return now[1001].leader_bytes_per_s, now[1002].leader_bytes_per_s, now[1003].follower_bytes_per_s


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> Site:
    clock = Clock()
    monkeypatch.setattr(throttle, "time", clock)
    monkeypatch.setattr(throttle, "Fence", FakeFence)
    return Site(clock)


def test_sources_and_the_destination_begin_at_the_floor_and_rise_by_steps(site: Site) -> None:
    throttling = site.throttling()
    site.poll(throttling)
    assert site.rates() == (FLOOR, FLOOR, FLOOR)
    for _ in range(3):
        site.poll(throttling)
    assert site.rates()[2] == FLOOR + 3 * STEP
    assert "up: request times are in bounds" in throttling.reason
    assert throttling.highest_bytes_per_s == throttling.rate_bytes_per_s > FLOOR


def test_the_next_attempt_resumes_from_the_rates_in_force(site: Site) -> None:
    first = site.throttling()
    for _ in range(5):
        site.poll(first)
    before = site.rates()
    site.poll(site.throttling())
    assert site.rates() == before, "its first observation has nothing to compare with yet"
    assert before[2] == FLOOR + 4 * STEP


def test_a_backend_that_is_away_leaves_rates_and_then_takes_them_to_the_floor(site: Site) -> None:
    throttling = site.throttling()
    for _ in range(6):
        site.poll(throttling)
    before = site.rates()
    site.metrics.is_away = True
    site.poll(throttling)
    assert site.rates() == before
    assert "the metrics backend is away" in throttling.reason
    for _ in range(6):
        site.poll(throttling)
    assert site.rates() == (FLOOR, FLOOR, FLOOR)


def test_a_slow_destination_is_slowed_down(site: Site) -> None:
    throttling = site.throttling()
    for _ in range(8):
        site.poll(throttling)
    before = site.rates()[2]
    site.world.produce_p99_ms[1003] = 4_000.0
    site.poll(throttling)
    assert before is not None and site.rates()[2] == before // 2


def test_a_stall_halves_the_rate_at_the_next_poll_and_is_over_at_the_one_after(site: Site) -> None:
    """The percentile stays at 8 s; what completed between two observations shows when the stall is over."""
    throttling = site.throttling()
    requests, spent_ms, rates = 0, 0.0, []
    for number in range(10):
        took_ms = 6_000.0 if number == 6 else 4.0
        requests, spent_ms = requests + 100, spent_ms + 100 * took_ms
        site.metrics.changed[1003] = {
            "produce_requests": requests,
            "produce_mean_ms": spent_ms / requests,
            "produce_p99_ms": 8_000.0 if number >= 6 else 5.0,
            "replication_in_bytes_per_s": float(site.rates()[2] or 0),
        }
        site.poll(throttling)
        rates.append(site.rates()[2] or 0)
    assert rates[6] == rates[5] // 2
    assert rates[7:] == [4 * STEP, 5 * STEP, 5.25 * STEP], (
        "by full steps up to the traffic known to be safe, and by small ones beyond"
    )


def test_an_external_follower_rate_is_obeyed_and_reported_as_too_slow(site: Site) -> None:
    site.world.rates[1003] = ThrottleRates(follower_bytes_per_s=100_000)
    throttling = site.throttling()
    for _ in range(3):
        site.poll(throttling)
        for name, partition in site.world.partitions.items():
            partition.size_bytes += 6 * 100_000
            leader = site.world.disk_of(partition.leader or 0)
            assert leader is not None
            leader[name] = partition.size_bytes
    site.poll(throttling)
    assert site.rates()[2] == 100_000
    expected = "broker 1003: follower replication throttle 0.10 MB/s never catches up: 0.20 MB/s are needed only to keep up"
    assert expected in throttling.reason


def test_an_override_holds_from_the_next_poll_on_until_it_is_cleared(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(overrides, "ensure_held", lambda link, token: None)
    acts = OverrideActivities(Access(WorldClusters(site.world, "main"), None))  # type: ignore[arg-type]
    environment = ActivityEnvironment()

    def by_hand(rate_bytes_per_s: int, broker_id: int | None = None, **more: object) -> OverrideRequest:
        values = {"rate_bytes_per_s": rate_bytes_per_s, "broker_id": broker_id, "by": "ana", "reason": "INC-7", **more}
        return OverrideRequest(token=TOKEN, override=Override.model_validate(values))

    throttling = site.throttling()
    site.poll(throttling)
    environment.run(acts.set_throttle, by_hand(90 * MEGABYTE))
    environment.run(acts.set_throttle, by_hand(200_000, 1003))
    site.poll(throttling)
    assert site.rates() == (90 * MEGABYTE, 90 * MEGABYTE, 200_000)
    assert "override for broker 1003: 0.2 MB/s set by ana: INC-7" in throttling.reason
    site.poll(site.throttling())
    assert site.rates() == (90 * MEGABYTE, 90 * MEGABYTE, 200_000), "the next attempt reads it too"
    another_run = TOKEN.model_copy(update={"run_id": "another"})
    assert overrides.in_force(site.kubernetes, another_run) == (), "both ended with their run"

    environment.run(acts.clear_throttle, ClearOverrideRequest(token=TOKEN, broker_id=7))
    site.poll(throttling)
    assert site.rates() == (90 * MEGABYTE, 90 * MEGABYTE, 200_000), "there was none for broker 7"
    environment.run(acts.clear_throttle, ClearOverrideRequest(token=TOKEN, everything=True))
    site.poll(throttling)
    assert site.rates() == (CEILING, CEILING, FLOOR + STEP), "back within floor and ceiling"
    assert overrides.name_of(TOKEN.run_id) not in site.world.records
    with pytest.raises(ApplicationError, match="expires_at is 2020-01-01 00:00:00 UTC, which is over"):
        environment.run(acts.set_throttle, by_hand(5_000, expires_at="2020-01-01T00:00:00Z"))


def test_a_fixed_rate_is_each_source_s_and_leaves_the_destination_alone(site: Site) -> None:
    throttling = site.throttling(FixedThrottle(rate_bytes_per_s=4 * MEGABYTE))
    for _ in range(3):
        site.poll(throttling)
    assert site.rates() == (4 * MEGABYTE, 4 * MEGABYTE, None)


def test_what_is_in_sync_leaves_the_lists_and_in_the_end_all_is_as_before(site: Site) -> None:
    site.world.lists["events.a"] = ThrottledReplicas(leader="0:1001")
    throttling = site.throttling()
    for _ in range(2):
        site.poll(throttling)
    assert site.world.lists["events.a"].follower == "0:1003,1:1003"
    disk = site.world.disk_of(1003)
    assert disk is not None
    disk[TopicPartition("events.a", 0)] = site.world.partitions[TopicPartition("events.a", 0)].size_bytes
    site.poll(throttling)
    assert site.world.lists["events.a"].follower == "1:1003"
    assert site.world.lists["events.a"].leader.split(",") == ["0:1001", "1:1001", "1:1002"]
    ledger = ledgers.read(site.kubernetes, TOKEN)
    released = removal.release(site.kafka, site.kubernetes, FakeFence(), ledger, site.kafka.snapshot().live_broker_ids)
    assert site.rates() == (None, None, None)
    assert site.world.lists["events.a"] == ThrottledReplicas(leader="0:1001")
    assert released.left_behind == ()
    assert released.rates[1003].leader_bytes_per_s is None
