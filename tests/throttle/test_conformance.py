"""Conformance with kafka-kit's autothrottle: cases 32 to 40 of its own tests, each by its number.

Intended differences are stated and shown.
"""

from datetime import timedelta

import pytest
from pydantic import ValidationError

from kafka_runbooks.clients.metrics.report import Sample
from kafka_runbooks.clients.metrics.report import report as traffic_report
from kafka_runbooks.models.cluster import Direction, Partition, Reassignment, ThrottledReplicas, ThrottleRates
from kafka_runbooks.models.ledger import EntryLease
from kafka_runbooks.models.moves import Copy
from kafka_runbooks.models.operator import Override
from kafka_runbooks.models.throttles import AdaptiveThrottle, Rate, Rates
from kafka_runbooks.models.traffic import Figure
from kafka_runbooks.throttle import leases, measurements
from kafka_runbooks.throttle.controller import Observation, Participants, adapt, with_participants
from kafka_runbooks.throttle.headroom import Capacity, headroom
from tests.throttle.observations import INTERVAL, MEGABYTE, START, all_used, report, traffic

MOVES = [
    Copy(Partition(topic="t", partition=0, leader=1000, replicas=(1003, 1000, 1002), in_sync=(1000, 1002)), (1003,)),
    Copy(Partition(topic="t", partition=1, leader=1002, replicas=(1005, 1010, 1002, 1003), in_sync=(1002, 1003)), (1005, 1010)),
]
LIVE = frozenset({1000, 1002, 1003, 1005, 1010})


def test_32_who_sends_who_receives_and_which_entries_go_into_the_lists() -> None:
    sending = {partition.leader for partition, _ in MOVES}
    assert sending == {1000, 1002}
    entries = leases.entries_for(MOVES, LIVE)["t"]
    assert entries.follower == ("0:1003", "1:1005", "1:1010")
    assert leases.destinations_of(MOVES, LIVE) == (1003, 1005, 1010)
    # autothrottle lists the leaders alone, 0:1000 and 1:1002. Leadership moves during a copy, and what another leader then
    # sends would not be throttled: here every source is in the lists from the start.
    assert entries.leader == ("0:1000", "0:1002", "1:1002", "1:1003")
    assert leases.sources_of(MOVES, LIVE) == (1000, 1002, 1003)


CASE_33 = {
    # (direction, broker): (all traffic, the run's part of it, what autothrottle sets), MB/s
    (Direction.LEADER, 1000): (80, 20, 126),
    (Direction.LEADER, 1002): (80, 0, 108),
    (Direction.FOLLOWER, 1003): (80, 0, 96),
    (Direction.FOLLOWER, 1005): (180, 0, 20),
    (Direction.FOLLOWER, 1010): (120, 0, 64),
}


def test_33_rates_from_capacity_200_floor_20_shares_90_and_80() -> None:
    share = {Direction.LEADER: 0.9, Direction.FOLLOWER: 0.8}
    for (direction, broker), (carried, own, expected) in CASE_33.items():
        assert max(20.0, headroom(200, carried, own, share[direction])) == pytest.approx(expected), broker


def test_33_rates_settle_there_when_the_added_traffic_is_measured_too() -> None:
    throttle = AdaptiveThrottle(
        floor_bytes_per_s=20 * MEGABYTE, source_share=0.9, destination_share=0.8, change_threshold=0, produce_p99_limit_ms=250
    )
    participants = Participants(frozenset({1000, 1002}), frozenset({1003, 1005, 1010}))
    others = {broker: (carried - own) * MEGABYTE for (_, broker), (carried, own, _) in CASE_33.items()}
    now = with_participants(throttle, Rates(), participants)
    for number in range(40):
        at = START + number * INTERVAL
        used = all_used(now)
        found = report(
            *(
                traffic(
                    broker,
                    at,
                    out_bytes_per_s=others[broker],
                    in_bytes_per_s=others[broker],
                    replication_out_bytes_per_s=used.leader.get(broker, 0.0),
                    replication_in_bytes_per_s=used.follower.get(broker, 0.0),
                )
                for broker in others
            )
        )
        capacities = dict.fromkeys(others, Capacity(200 * MEGABYTE, 200 * MEGABYTE))
        now = adapt(throttle, now, participants, Observation(at=at, traffic=found, moved=used, capacities=capacities))
    for (direction, broker), (_, _, expected) in CASE_33.items():
        assert now.of(direction)[broker].bytes_per_s == pytest.approx(expected * MEGABYTE, abs=2), broker


@pytest.mark.parametrize(
    ("carried", "own", "leader", "follower"), [(70, 0, 24, 18), (80, 70, 72, 54), (110, 70, 40, 30), (200, 70, 10, 10)]
)
def test_34_headroom_of_capacity_100_floor_10_shares_80_and_60(carried: int, own: int, leader: int, follower: int) -> None:
    assert max(10.0, headroom(100, carried, own, 0.8)) == pytest.approx(leader)
    assert max(10.0, headroom(100, carried, own, 0.6)) == pytest.approx(follower)


def test_35_limits_that_make_no_sense_are_refused_by_name() -> None:
    with pytest.raises(ValidationError) as refused:
        AdaptiveThrottle(floor_bytes_per_s=-1, source_share=1.2, destination_share=1.2)
    assert {error["loc"][0] for error in refused.value.errors()} == {"floor_bytes_per_s", "source_share", "destination_share"}


def by_hand(broker_id: int | None, bytes_per_s: int = 50 * MEGABYTE) -> Override:
    return Override(rate_bytes_per_s=bytes_per_s, broker_id=broker_id, by="ana", reason="a test")


def test_36_a_broker_that_catches_up_outside_any_reassignment_lists_what_it_follows() -> None:
    """`ThrottleRecovery` of 1001 alone. It lists sources too, and only replicas that are not in sync."""
    topics = [
        Partition(topic=topic, partition=0, leader=1000, replicas=replicas, in_sync=in_sync)
        for topic, replicas, in_sync in (
            ("a", (1000, 1001), (1000,)),
            ("b", (1000, 1002), (1000,)),
            ("c", (1000, 1001, 1002), (1000,)),
            ("d", (1000, 1001), (1000, 1001)),
        )
    ]
    entries = leases.entries_for(leases.catching_up(topics, {1001}), frozenset({1000, 1001, 1002}))
    assert {topic: lease.follower for topic, lease in entries.items()} == {"a": ("0:1001",), "c": ("0:1001",)}
    assert entries["a"].leader == ("0:1000",)


@pytest.mark.parametrize("rate", ["", "0", "text", None])
def test_37_a_rate_that_is_none_is_refused_by_name(rate: str | None) -> None:
    with pytest.raises(ValidationError) as refused:
        Override.model_validate({"rate_bytes_per_s": rate, "by": "ana", "reason": "a test"})
    assert [error["loc"] for error in refused.value.errors()] == [("rate_bytes_per_s",)]


@pytest.mark.parametrize(
    ("replicas", "adding", "removing", "target"),
    [
        ((0, 1, 2), (0,), (2,), (0, 1)),
        ((0, 1), (0,), (), (0, 1)),
        ((0, 1, 2), (), (2,), (0, 1)),
        ((0, 1, 2, 5), (0,), (5,), (0, 1, 2)),
        ((2, 3, 4, 5), (), (4,), (2, 3, 5)),
    ],
)
def test_38_where_a_reassignment_leads(
    replicas: tuple[int, ...], adding: tuple[int, ...], removing: tuple[int, ...], target: tuple[int, ...]
) -> None:
    moving = Reassignment(topic="t", partition=0, replicas=replicas, adding=adding, removing=removing)
    assert moving.target == target


def test_39_existing_settings_are_kept_and_only_the_run_s_own_are_removed() -> None:
    # Other dynamic configs are never sent at all (IncrementalAlterConfigs of these two keys, see clients/kafka/admin.py).
    before = ThrottledReplicas(leader="7:1001", follower="*")
    during, own = leases.add_entries(before, EntryLease(leader=("0:1001", "7:1001"), follower=("0:1002",)))
    assert during == ThrottledReplicas(leader="7:1001,0:1001", follower="*"), "`*` includes every entry already"
    assert own == EntryLease(leader=("0:1001",))
    assert leases.remove_entries(during, own) == before

    observed = {1001: ThrottleRates(), 1002: ThrottleRates(leader_bytes_per_s=9), 1003: ThrottleRates()}
    wanted = {1001: ThrottleRates(leader_bytes_per_s=2000, follower_bytes_per_s=4000), 1002: ThrottleRates(leader_bytes_per_s=1)}
    taken = leases.rates_to_take(observed, {}, wanted)
    assert set(taken) == {1001}, "1002 has an external rate, and none is wanted on 1003"
    after = leases.rates_to_set(observed[1001], taken[1001])
    assert (after.follower_bytes_per_s, after.leader_bytes_per_s) == (4000, 2000)
    assert leases.rates_to_restore({**observed, 1001: after}, taken) == {1001: ThrottleRates()}


def test_40_a_broker_lacking_one_direction_has_no_figures_and_keeps_its_rate() -> None:
    names: dict[Figure, str] = {
        "out_bytes_per_s": "tx",
        "in_bytes_per_s": "rx",
        "replication_out_bytes_per_s": "rtx",
        "replication_in_bytes_per_s": "rrx",
        "produce_p99_ms": "produce",
        "fetch_p99_ms": "fetch",
    }
    samples: dict[tuple[int, Figure], Sample | str] = {
        (broker, figure): Sample(1.0, START) for broker in (1, 2) for figure in names
    }
    samples[2, "in_bytes_per_s"] = "no point in the last 120 s"
    found = traffic_report([1, 2, 3], names, samples, START, 60)
    assert set(found.by_broker) == {1}
    assert found.by_broker[1].out_bytes_per_s == found.by_broker[1].in_bytes_per_s == 1.0
    assert "in_bytes_per_s (rx): no point in the last 120 s" in found.problems[2]
    assert "missing" in found.problems[3], "a host without the tag belongs to no broker"
    assert traffic_report([1], names, {}, START, 60).by_broker == {}

    now = Rates(leader={broker: Rate(bytes_per_s=20 * MEGABYTE) for broker in (1, 2, 3)})
    after = adapt(AdaptiveThrottle(), now, Participants(frozenset({1, 2, 3})), Observation(START, found, moved=all_used(now)))
    assert after.leader[1].bytes_per_s > 20 * MEGABYTE
    assert after.leader[2].bytes_per_s == after.leader[3].bytes_per_s == 20 * MEGABYTE
    assert "no point" in after.leader[2].why
    assert measurements.trouble(found.by_broker[1], START + timedelta(hours=1)) is not None
