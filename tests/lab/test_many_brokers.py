"""Several brokers lost together, on the lab: a zone, with brokers of two maps or two of one, under checked traffic."""

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import pytest
from kafka_runbooks_lab.lab import Lab

from tests.lab import runs
from tests.lab.runs import ask, checked_traffic, eventually, fresh, holds, intact, leftovers, place_of

pytestmark = pytest.mark.timeout(900)

RATE: dict[str, Any] = {"throttle": {"mode": "fixed", "rate_bytes_per_s": 2_000_000}}


@pytest.fixture
def topics(lab: Lab) -> Iterator[str]:
    """Data and traffic on the events map, and data on the other one."""
    lab.wait_ready()
    name = f"events.{uuid.uuid4().hex[:8]}"
    other = name.replace("events.", "check_runs.")
    runs.make_topic(lab, name)
    runs.make_topic(lab, f"{name}.traffic", records=0)
    runs.create_topic(lab, other, [[1004, 1005, 1006]] * 3, 2)
    runs.fill(lab, other, 300)
    yield name
    runs.delete_topics(lab, name, f"{name}.traffic", other)


@contextmanager
def without_power(lab: Lab, *broker_ids: int, spares: bool = True) -> Iterator[dict[int, str]]:
    """The nodes of these brokers have lost their power for good; each has a spare in its zone. Broker -> the lost node's zone."""
    places = {broker_id: place_of(lab, broker_id) for broker_id in broker_ids}
    maps = {broker_id: "events" if "events" in pod else "checks" for broker_id, (pod, _, _) in places.items()}
    for _, node, _ in places.values():
        lab.kill_node(node)
    if spares:
        for broker_id, (_, _, zone) in places.items():
            lab.add_node(zone, maps[broker_id])
    try:
        yield {broker_id: zone for broker_id, (_, _, zone) in places.items()}
    finally:
        for _, node, _ in places.values():
            lab.delete_node(node)


def same_zone(lab: Lab) -> tuple[int, int]:
    """A broker of each map, in one zone."""
    zone = place_of(lab, 1001)[2]
    return 1001, next(broker_id for broker_id in (1004, 1005, 1006) if place_of(lab, broker_id)[2] == zone)


def test_a_zone_is_lost_with_brokers_of_two_maps(lab: Lab, topics: str) -> None:
    pair = same_zone(lab)
    run = fresh()
    with checked_traffic(lab, f"{topics}.traffic") as traffic, without_power(lab, *pair) as zones:
        runs.start(run, ask(zone=zones[1001], **RATE))
        runs.until_status(run, lambda status: len(status["brokers"]) == 2)
        result = runs.outcome(run)
        holds(result)
        assert {broker_id: place_of(lab, broker_id)[2] for broker_id in pair} == zones
    intact(traffic)
    assert f"brokers {pair[0]}, {pair[1]} are back on new disks" in result["summary"]
    assert leftovers(lab) == {}


@pytest.mark.soak
def test_a_worker_is_killed_at_each_boundary_of_a_zone_s_recovery(lab: Lab, topics: str) -> None:
    pair = same_zone(lab)
    run = fresh()
    with checked_traffic(lab, f"{topics}.traffic") as traffic, without_power(lab, *pair) as zones:
        runs.start(run, ask(zone=zones[1001], **RATE))
        boundaries = runs.kill_after_every_step(lab, run, seconds=800)
        holds(runs.outcome(run))
    intact(traffic)
    assert len(boundaries) >= 15, boundaries
    assert leftovers(lab) == {}


@pytest.mark.soak
def test_a_second_broker_is_lost_during_the_recovery_of_the_first_and_joins_it(lab: Lab, topics: str) -> None:
    pair = same_zone(lab)
    first, second = fresh(), fresh()
    slow = {"throttle": {"mode": "fixed", "rate_bytes_per_s": 200_000}}
    with checked_traffic(lab, f"{topics}.traffic") as traffic, without_power(lab, pair[0]):
        runs.start(first, ask(broker_id=pair[0], node_is_gone=True, **slow))
        runs.until_status(first, lambda status: status["step"] == "follow the catch-up")
        with without_power(lab, pair[1]):
            runs.start(second, ask(broker_id=pair[1], **RATE))
            assert runs.outcome(second)["outcome"] == "joined another run"
            runs.until_status(first, lambda status: len(status["brokers"]) == 2, 180)
            runs.update(first, "set_throttle", rate_bytes_per_s=20_000_000)
            holds(runs.outcome(first))
    intact(traffic)
    assert leftovers(lab) == {}


@pytest.mark.soak
@pytest.mark.timeout(1500)
def test_one_of_two_has_no_node_for_ten_minutes(lab: Lab, topics: str) -> None:
    pair = same_zone(lab)
    run = fresh()
    with checked_traffic(lab, f"{topics}.traffic") as traffic, without_power(lab, *pair, spares=False) as zones:
        lab.add_node(zones[pair[0]], "events")
        runs.start(run, ask(broker_ids=pair, node_is_gone=True, **RATE))
        eventually("the other broker's recovery", 240, lambda: _is_back(run, pair[0]))
        waiting = next(one for one in runs.status(run)["brokers"] if one["broker_id"] == pair[1])
        assert waiting["step"] == "choose a node" and "no free node of map checks" in waiting["waiting"]["reason"]
        since = waiting["waiting"]["since"]
        eventually("ten minutes", 700, lambda: _waited_seconds(run, pair[1]) > 600)
        assert next(one for one in runs.status(run)["brokers"] if one["broker_id"] == pair[1])["waiting"]["since"] == since
        lab.add_node(zones[pair[1]], "checks")
        holds(runs.outcome(run))
    intact(traffic)
    assert leftovers(lab) == {}


@pytest.mark.soak
def test_a_zone_with_two_brokers_of_one_map_on_six_nodes(lab: Lab) -> None:
    with six_of_events(lab) as by_zone:
        zone = place_of(lab, 1001)[2]
        together = by_zone[zone]
        assert len(together) == 2
        name = f"events.{uuid.uuid4().hex[:8]}"
        rows = [[by_zone[one][number % 2] for one in sorted(by_zone)] for number in range(6)]
        runs.create_topic(lab, name, rows, 2)
        runs.create_topic(lab, f"{name}.traffic", rows, 2)
        runs.fill(lab, name, 900)
        run = fresh()
        with checked_traffic(lab, f"{name}.traffic") as traffic, without_power(lab, *together):
            runs.start(run, ask(zone=zone, **RATE))
            holds(runs.outcome(run, seconds=500))
            assert {place_of(lab, broker_id)[2] for broker_id in together} == {zone}
        intact(traffic)
        assert leftovers(lab) == {}
        runs.delete_topics(lab, name, f"{name}.traffic")


@contextmanager
def six_of_events(lab: Lab) -> Iterator[dict[str, list[int]]]:
    """The events map with two brokers in each zone, for the time of the block: zone -> brokers."""
    lab.wait_ready()
    runs.ensure_offsets_topic(lab)
    zones = [place_of(lab, broker_id)[2] for broker_id in (1001, 1002, 1003)]
    for zone in zones:
        lab.add_node(zone, "events")
    lab.kubectl("-n", "kafka", "scale", "statefulset", "kafka-events", "--replicas=6")
    more: list[int] = []
    try:
        eventually("three more brokers", 180, lambda: len(runs.brokers(lab)) == 9)
        more = [one for one in runs.brokers(lab) if one > 1006]
        by_zone: dict[str, list[int]] = {zone: [] for zone in zones}
        for broker_id in (1001, 1002, 1003, *more):
            by_zone[place_of(lab, broker_id)[2]].append(broker_id)
        yield by_zone
    finally:
        nodes = [place_of(lab, broker_id)[1] for broker_id in more]
        lab.kubectl("-n", "kafka", "scale", "statefulset", "kafka-events", "--replicas=3")
        for number in (3, 4, 5):
            lab.kubectl("-n", "kafka", "wait", "--for=delete", f"pod/kafka-events-{number}", "--timeout=120s")
            lab.kubectl("-n", "kafka", "delete", "pvc", f"data-kafka-events-{number}", "--ignore-not-found", "--wait=false")
        for node in nodes:
            lab.kill_node(node)
            lab.delete_node(node)
        eventually("six brokers", 60, lambda: len(runs.brokers(lab)) == 6)


def _is_back(run: str, broker_id: int) -> bool:
    found = runs.status(run).get("brokers") or ()
    copied = next((one["progress"] for one in found if one["broker_id"] == broker_id), None)
    return copied is not None and copied["in_sync_partitions"] == copied["partitions"] > 0


def _waited_seconds(run: str, broker_id: int) -> float:
    one = next(one for one in runs.status(run)["brokers"] if one["broker_id"] == broker_id)
    return (datetime.now(UTC) - datetime.fromisoformat(one["waiting"]["since"])).total_seconds()
