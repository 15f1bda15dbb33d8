"""Known defects of autothrottle, from its code and its users' issues, as regression tests."""

import contextlib
from collections.abc import Iterator

import pytest
from pydantic import ValidationError

from activities import ledgers, removal
from kafka_runbooks.clients.errors import ClientError, Unreachable
from kafka_runbooks.models.cluster import ThrottledReplicas, ThrottleRates
from kafka_runbooks.models.ledger import Ledger
from kafka_runbooks.models.messages import Token
from kafka_runbooks.models.moves import Copy
from kafka_runbooks.models.operator import Override
from kafka_runbooks.models.throttles import AdaptiveThrottle, Rate, Rates
from kafka_runbooks.models.traffic import TrafficReport
from kafka_runbooks.throttle import overrides
from kafka_runbooks.throttle.controller import Observation, Participants, adapt
from kafka_runbooks.throttle.headroom import Capacity, capacity_of, headroom
from kafka_runbooks.throttle.measurements import PerBroker
from tests.fakes.fence import FakeFence
from tests.fakes.kafka import FakeKafka
from tests.fakes.kubernetes import FakeKubernetes
from tests.fakes.world import World
from tests.throttle.observations import INTERVAL, MEGABYTE, START, good_observation, report, traffic

THROTTLE = AdaptiveThrottle(floor_bytes_per_s=10 * MEGABYTE, ceiling_bytes_per_s=100 * MEGABYTE)
ONE = Participants(frozenset({1001}))
TOKEN = Token(cluster="main", workflow_id="w", run_id="r", permit_run_id="p")
BROKERS = (1001, 1002, 1003)


@pytest.fixture
def world() -> World:
    world = World(advance_at_look=False)
    world.add_topic("events.a", 3, BROKERS)
    world.advance()
    return world


def moves(world: World, *partitions: int) -> list[Copy]:
    """1003 gets a copy of these partitions."""
    found = {partition.partition: partition for partition in FakeKafka(world).snapshot().partitions}
    return [Copy(found[number], (1003,)) for number in partitions]


def take(world: World, *partitions: int, rates: int = 5 * MEGABYTE) -> Ledger:
    kubernetes = FakeKubernetes(world)
    ledger = ledgers.read(kubernetes, TOKEN)
    copies = moves(world, *partitions)
    return ledgers.throttle(FakeKafka(world), kubernetes, FakeFence(), ledger, copies, frozenset(BROKERS), rates)


def test_what_cannot_be_read_is_not_nothing_and_clears_no_throttle(world: World) -> None:
    """A read error in ZooKeeper was "no reassignment", and all throttles were removed in the middle of a move."""
    take(world, 0, 1)
    rates, lists = dict(world.rates), dict(world.lists)
    copied = moves(world, 0, 1)
    world.is_kafka_away = True
    with pytest.raises(ClientError):
        FakeKafka(world).reassignments()
    with pytest.raises(ClientError):
        kubernetes = FakeKubernetes(world)
        ledger = ledgers.read(kubernetes, TOKEN)
        ledgers.throttle(FakeKafka(world), kubernetes, FakeFence(), ledger, copied, frozenset(BROKERS), 1)
    assert (world.rates, world.lists) == (rates, lists)


def test_without_any_metrics_for_hours_there_still_is_a_rate() -> None:
    now = Rates(leader={1001: Rate(bytes_per_s=90 * MEGABYTE)})
    for number in range(500):
        now = adapt(THROTTLE, now, ONE, Observation(at=START + number * INTERVAL, traffic=TrafficReport()))
        assert now.wanted()[1001].leader_bytes_per_s is not None
    assert now.leader[1001].bytes_per_s == 10 * MEGABYTE


def test_a_null_in_the_metrics_is_an_unknown_figure() -> None:
    """A nil value crashed it."""
    now = Rates(leader={1001: Rate(bytes_per_s=20 * MEGABYTE)})
    observation = Observation(
        START,
        report(traffic(1001, out_bytes_per_s=None)),
        moved=PerBroker({1001: 2e7}, {}),
        capacities={1001: Capacity(1e8, 1e8)},
    )
    after = adapt(THROTTLE, now, ONE, observation)
    assert after.leader[1001].bytes_per_s == 20 * MEGABYTE
    assert after.leader[1001].why == "unchanged: its traffic is not known"


@pytest.mark.parametrize("text", ["-5", "0", "1e1", "٣x"])
def test_a_rate_that_is_not_positive_is_refused(text: str) -> None:
    """Only the string "0" was rejected."""
    with pytest.raises(ValidationError, match="rate_bytes_per_s"):
        Override.model_validate({"rate_bytes_per_s": text, "by": "ana", "reason": "a test"})


def test_all_is_all_brokers_and_never_a_broker_of_its_own() -> None:
    """`POST /throttle/all` made a child znode `all`, which was then read as broker 0."""
    everywhere = Override(rate_bytes_per_s=5_000, by="ana", reason="a test")
    assert overrides.for_broker((everywhere,), 0) == overrides.for_broker((everywhere,), 7) == everywhere
    with pytest.raises(ValidationError, match="broker_id"):
        Override.model_validate({"rate_bytes_per_s": 5_000, "broker_id": "all", "by": "ana", "reason": "a test"})


def test_megabytes_are_megabytes_on_both_sides() -> None:
    """Metrics were MiB, rates were MB: 4.9 % too much. Here everything is bytes."""
    now = Rates(leader={1001: Rate(bytes_per_s=40 * MEGABYTE)})
    throttle = THROTTLE.model_copy(update={"source_share": 0.5, "change_threshold": 0.0})
    found = report(traffic(1001, out_bytes_per_s=20e6, replication_out_bytes_per_s=40e6))
    observation = Observation(START, found, moved=PerBroker({1001: 40e6}, {}), capacities={1001: Capacity(100e6, 100e6)})
    assert adapt(throttle, now, ONE, observation).leader[1001].bytes_per_s == (100_000_000 - 20_000_000) // 2


def test_an_instance_type_that_nobody_listed_blocks_only_itself() -> None:
    """It returned an error and updated no broker."""
    capacities = {
        broker: capacity_of(kind, {"m5.large": 100e6}) for broker, kind in ((1001, "m5.large"), (1002, "new"), (1003, None))
    }
    assert capacities[1002] == capacities[1003] == Capacity()
    now = Rates(leader={broker: Rate(bytes_per_s=20 * MEGABYTE) for broker in BROKERS})
    after = adapt(THROTTLE, now, Participants(frozenset(BROKERS)), good_observation(now)._replace(capacities=capacities))
    assert all(after.leader[broker].bytes_per_s > 20 * MEGABYTE for broker in BROKERS)


def test_the_rate_set_last_is_not_what_replicates() -> None:
    """It took the throttle it had set for the replication traffic. Here 50 are set, 2 move, others use 88 of 100."""
    assert headroom(100, 90, 50, 0.8) == pytest.approx(48), "the rate autothrottle would have kept"
    now = Rates(leader={1001: Rate(bytes_per_s=50 * MEGABYTE)})
    found = report(traffic(1001, out_bytes_per_s=88e6, replication_out_bytes_per_s=2e6))
    observation = Observation(START, found, moved=PerBroker({1001: 2e6}, {}), capacities={1001: Capacity(100e6, 100e6)})
    rates = []
    for _ in range(4):
        now = adapt(THROTTLE, now, ONE, observation)
        rates.append(now.leader[1001].bytes_per_s)
    assert rates[-1] == 10 * MEGABYTE
    assert "less headroom" in adapt(THROTTLE, Rates(leader={1001: Rate(bytes_per_s=50 * MEGABYTE)}), ONE, observation).reason()


def test_the_run_s_share_is_at_most_the_replication_traffic() -> None:
    """The measured rate is current, the broker's are averages: what they don't show as replication counts as clients' traffic."""
    now = Rates(leader={1001: Rate(bytes_per_s=50 * MEGABYTE)})
    found = report(traffic(1001, out_bytes_per_s=80e6, replication_out_bytes_per_s=1e6))
    observation = Observation(START, found, moved=PerBroker({1001: 50e6}, {}), capacities={1001: Capacity(100e6, 100e6)})
    assert adapt(THROTTLE, now, ONE, observation).leader[1001].bytes_per_s == 25 * MEGABYTE


def test_a_step_is_never_a_jump() -> None:
    """It was proportional, in one step: from the floor to 90 % at once, and back."""
    now = Rates(leader={1001: Rate(bytes_per_s=10 * MEGABYTE)})
    after = adapt(THROTTLE, now, ONE, good_observation(now, capacity=1e9))
    assert after.leader[1001].bytes_per_s <= 18 * MEGABYTE


def test_partitions_that_join_a_topic_that_is_moving_already_are_listed(world: World) -> None:
    """It compared topic names: further partitions of a topic that was moving already were not added."""
    take(world, 0)
    assert "1:1003" not in world.lists["events.a"].follower
    take(world, 0, 1)
    assert world.lists["events.a"].follower.split(",") == ["0:1003", "1:1003"]


def test_no_list_is_a_wildcard(world: World) -> None:
    """`*` counts every replica of the topic, also those in sync."""
    take(world, 0, 1, 2)
    assert "*" not in world.lists["events.a"].leader + world.lists["events.a"].follower


def test_an_external_rate_is_left_alone_and_the_run_s_own_rates_still_change(world: World) -> None:
    """It remembered 25 MB/s of its own while an operator had set another rate, and got stuck."""
    world.rates[1001] = ThrottleRates(leader_bytes_per_s=25)
    take(world, 0, 1)
    assert world.rates[1001] == ThrottleRates(leader_bytes_per_s=25)
    assert world.rates[1002].leader_bytes_per_s == 5 * MEGABYTE
    ledger = take(world, 0, 1, rates=6 * MEGABYTE)
    world.rates[1002] = ThrottleRates(leader_bytes_per_s=77)
    ledger = take(world, 0, 1, rates=7 * MEGABYTE)
    removal.release(FakeKafka(world), FakeKubernetes(world), FakeFence(), ledger, frozenset(BROKERS))
    assert (world.rates[1001].leader_bytes_per_s, world.rates[1002].leader_bytes_per_s) == (25, 77)


def test_lists_are_left_behind_on_no_topic(world: World) -> None:
    world.lists["events.a"] = ThrottledReplicas(leader="2:1001")
    ledger = take(world, 0, 1)
    removal.release(FakeKafka(world), FakeKubernetes(world), FakeFence(), ledger, frozenset(BROKERS))
    assert world.lists["events.a"] == ThrottledReplicas(leader="2:1001")
    assert not world.records


def test_an_error_of_kafka_s_is_not_swallowed(world: World) -> None:
    """Applying topic throttles always reported success."""

    def refuse(name: str) -> None:
        if name == "set_throttled_replicas":
            raise Unreachable("the controller is away")

    world.before_act = refuse
    with pytest.raises(Unreachable):
        take(world, 0)
    world.before_act = lambda name: None
    ledger = ledgers.read(FakeKubernetes(world), TOKEN)
    assert ledger.entries, "written ahead, so that the next attempt knows what may be set"


def test_a_broker_that_dies_is_skipped_and_settled_when_it_is_back(world: World) -> None:
    """Throttles of a dead broker time out (KAFKA-13392): nothing else may wait for it."""
    take(world, 0, 1)
    world.kill_broker(1002)
    live = frozenset({1001, 1003})
    kafka, kubernetes = FakeKafka(world), FakeKubernetes(world)
    wanted = dict.fromkeys((1002, 1001), ThrottleRates(leader_bytes_per_s=9_000))
    ledger = ledgers.set_rates(kafka, kubernetes, FakeFence(), ledgers.read(kubernetes, TOKEN), wanted)
    assert world.rates[1001].leader_bytes_per_s == 9_000
    released = removal.release(kafka, kubernetes, FakeFence(), ledger, live)
    assert released.left_behind == ("broker 1002: leader replication throttle 5000000 B/s: it is down",)
    world.revive_broker(1002)
    released = removal.release(kafka, kubernetes, FakeFence(), ledgers.read(kubernetes, TOKEN), frozenset(BROKERS))
    assert released.left_behind == () and world.rates[1002] == ThrottleRates()


def test_both_directions_come_back_however_far_it_got(world: World) -> None:
    """Interrupted before and after each call in turn; the release that follows restores everything."""
    wanted = {
        1001: ThrottleRates(leader_bytes_per_s=5_000),
        1002: ThrottleRates(leader_bytes_per_s=6_000),
        1003: ThrottleRates(follower_bytes_per_s=7_000),
    }
    world.rates[1003] = ThrottleRates(leader_bytes_per_s=1)
    before_rates, before_lists = dict(world.rates), dict(world.lists)

    def interrupted_at(number: int, *, before: bool) -> Iterator[None]:
        acts = 0

        def count(name: str) -> None:
            nonlocal acts
            acts += 1
            if acts == number:
                raise Unreachable("cut off")

        world.before_act, world.after_act = (count, lambda name: None) if before else (lambda name: None, count)
        yield
        world.before_act = world.after_act = lambda name: None

    for number in range(1, 10):
        for before in (True, False):
            kafka, kubernetes = FakeKafka(world), FakeKubernetes(world)
            for _ in interrupted_at(number, before=before):
                with contextlib.suppress(Unreachable):
                    ledger = ledgers.read(kubernetes, TOKEN)
                    copies = moves(world, 0, 1)
                    ledgers.throttle(kafka, kubernetes, FakeFence(), ledger, copies, frozenset(BROKERS), wanted)
            removal.release(kafka, kubernetes, FakeFence(), ledgers.read(kubernetes, TOKEN), frozenset(BROKERS))
            left = {broker: rates for broker, rates in world.rates.items() if rates != ThrottleRates()}
            assert (left, world.lists, world.records) == (before_rates, before_lists, {}), (number, before)
