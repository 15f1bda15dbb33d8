"""The runbooks that move data, on the lab: real Kafka and Kubernetes, with checked traffic running all the while."""

import json
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from kafka_runbooks_lab.lab import Lab

from tests.lab import runs
from tests.lab.runs import (
    ANY_DISK,
    ask,
    checked_traffic,
    counts,
    eventually,
    fourth_broker,
    fresh,
    holds,
    intact,
    leftovers,
    place_of,
)

pytestmark = pytest.mark.timeout(600)

FAST = {"throttle": {"mode": "fixed", "rate_bytes_per_s": 50_000_000}}
SLOW = {"throttle": {"mode": "fixed", "rate_bytes_per_s": 300_000}, "limits": {"moves_in_per_broker": 2}}
LEVEL = {"level": "replica count", "target_spread": 1, **ANY_DISK}
"""By count: the brokers of the lab share one disk, whose use is the same for all of them."""
EVENTS = (1001, 1002, 1003)


@pytest.fixture
def topic(lab: Lab) -> Iterator[str]:
    """An uneven map: twelve partitions of 5 MB on two of its three brokers, in two copies; and a topic for traffic."""
    lab.wait_ready()
    name = runs.uneven_topic(lab)
    runs.create_topic(lab, f"{name}.traffic", [[1001, 1002], [1002, 1003], [1003, 1001]])
    yield name
    runs.delete_topics(lab, name, f"{name}.traffic")


@pytest.fixture
def fourth(lab: Lab) -> Iterator[int]:
    with fourth_broker(lab) as broker:
        yield broker


def under_way(run: str, at_least: int = 1) -> dict[str, Any]:
    """Some partitions are there, others are not."""
    return runs.until_status(
        run,
        lambda status: (
            status["step"] == "reassign partitions" and (status["progress"] or {}).get("done_partitions", 0) >= at_least
        ),
    )


def rebalance(run: str, **fields: Any) -> None:
    runs.start(run, ask(**{"map": "events", **LEVEL, **FAST, **fields}), "Rebalance")


def test_an_uneven_map_is_levelled_though_the_worker_is_killed(lab: Lab, topic: str) -> None:
    """Once, as data moves; at every step: test_kills.py."""
    run = fresh()
    with checked_traffic(lab, f"{topic}.traffic") as traffic:
        rebalance(run, throttle={"mode": "fixed", "rate_bytes_per_s": 1_000_000})
        under_way(run)
        runs.kill_worker(lab)
        result = runs.outcome(run)
    holds(result)
    intact(traffic)
    assert result["copied_bytes"] >= result["lower_bound_bytes"] * 0.9 > 10_000_000
    assert set(counts(lab, topic)) == set(EVENTS) and min(counts(lab, topic).values()) >= 6
    assert leftovers(lab) == {}


def test_an_abort_half_way_rolls_back_to_the_byte_exact_start(lab: Lab, topic: str) -> None:
    runs.ensure_offsets_topic(lab)  # Or it may come with the traffic's consumer.
    before = runs.assignment(lab)
    run = fresh()
    with checked_traffic(lab, f"{topic}.traffic") as traffic:
        rebalance(run, **SLOW)
        under_way(run)
        assert runs.assignment(lab) != before
        runs.update(run, "abort", rollback=True)
        result = runs.outcome(run)
    assert result["outcome"] == "aborted" and "rolled back" in result["summary"], result
    assert runs.assignment(lab) == before
    intact(traffic)
    assert leftovers(lab) == {} and not runs.moving(lab)


# tests/workflows/test_moves_on_kafka.py: test_replication_factor_three_and_two_again
@pytest.mark.soak
def test_the_replication_factor_goes_up_and_down(lab: Lab, topic: str) -> None:
    with checked_traffic(lab, f"{topic}.traffic") as traffic:
        for factor in (3, 2):
            run = fresh()
            runs.start(run, ask(topics=[topic], replication_factor=factor, **FAST, **ANY_DISK), "SetReplicationFactor")
            holds(runs.outcome(run))
            assert sum(counts(lab, topic).values()) == 12 * factor
    intact(traffic)
    assert leftovers(lab) == {}


# tests/workflows/test_slow_cluster.py; tests/activities/test_proof_on_kafka.py
@pytest.mark.soak
def test_the_controller_fails_over_while_data_moves(lab: Lab, topic: str) -> None:
    run = fresh()
    with checked_traffic(lab, f"{topic}.traffic") as traffic:
        rebalance(run, throttle={"mode": "fixed", "rate_bytes_per_s": 500_000})
        under_way(run)
        active = runs.active_controller(lab)
        lab.kubectl("-n", "kafka", "delete", "pod", str(active), "--force", "--grace-period=0")
        eventually("another controller", 60, lambda: runs.active_controller(lab) not in (None, active))
        holds(runs.outcome(run))
    intact(traffic)
    lab.wait_ready()
    assert leftovers(lab) == {}


def test_a_person_changes_a_throttle_and_another_tool_starts_a_reassignment(lab: Lab, topic: str) -> None:
    """Theirs stay and are waited for; what was ours and isn't any more is not taken back."""
    theirs = f"check_runs.{uuid.uuid4().hex[:8]}"
    runs.create_topic(lab, theirs, [[1004, 1005]])
    runs.fill(lab, theirs, 1_000)
    run = fresh()
    key = "leader.replication.throttled.rate"
    try:
        runs.set_config(lab, "broker", "1004", key, "1000")
        runs.set_config(lab, "topic", theirs, "leader.replication.throttled.replicas", "0:1004,0:1005")
        rebalance(run, throttle={"mode": "fixed", "rate_bytes_per_s": 500_000})
        under_way(run)
        runs.set_config(lab, "broker", "1001", key, "77000000")
        runs.move(lab, theirs, [[1004, 1006]])
        holds(runs.outcome(run))
        assert theirs in runs.moving(lab)
        left = leftovers(lab)
        assert left.pop(f"1001 {key}") == "77000000"
        assert set(left) == {f"1004 {key}", f"{theirs} leader.replication.throttled.replicas"}
    finally:
        for broker in ("1001", "1004"):
            runs.set_config(lab, "broker", broker, key, "")
        runs.set_config(lab, "topic", theirs, "leader.replication.throttled.replicas", "")
        eventually("their reassignment ends", 90, lambda: not runs.moving(lab))
        runs.delete_topics(lab, theirs)
    assert leftovers(lab) == {}


# tests/workflows: test_partitions_that_are_added_ask_for_a_new_approval, test_a_topic_that_is_deleted_is_less_to_do
@pytest.mark.soak
def test_partitions_that_are_added_and_a_topic_that_goes_ask_for_a_new_approval(lab: Lab, topic: str) -> None:
    """The rest is planned anew, and waits at the gate again."""
    run = fresh()
    rebalance(run, **SLOW, wait_for_approval=True)
    runs.until_status(run, lambda status: status["phase"] == "gate")
    runs.update(run, "approve")
    first = under_way(run)["plan"]["reference"]
    eventually("partitions added", 60, lambda: runs.add_partitions(lab, topic, [[1001, 1002]] * 4))
    status = runs.until_status(run, lambda status: status["phase"] == "gate")
    assert status["plan"]["reference"] != first
    runs.update(run, "approve")
    gone = f"{topic}.traffic"
    runs.delete_topics(lab, gone)
    runs.create_topic(lab, gone, [[1001, 1002]])
    runs.update(run, "abort", rollback=True)
    result = runs.outcome(run)
    assert result["outcome"] == "aborted", result
    assert leftovers(lab) == {} and not runs.moving(lab)


# tests/workflows: test_two_thousand_partitions_leave_no_large_payload_in_the_history
@pytest.mark.soak
def test_two_thousand_partitions_in_one_plan(lab: Lab) -> None:
    """No payload of the history is over 100 kB."""
    lab.wait_ready()
    name = f"events.{uuid.uuid4().hex[:8]}"
    runs.create_topic(lab, name, [[1001 + n % 2] for n in range(2_000)])
    plan = {"version": 1, "partitions": [{"topic": name, "partition": n, "replicas": [1003]} for n in range(2_000)]}
    lab.kubectl("-n", "kafka", "create", "-f", "-", input=runs.config_map("large-plan", json.dumps(plan)))
    run = fresh()
    try:
        limits = {"moves_in_per_broker": 400, "moves_out_per_broker": 400, "moves_at_once": 400}
        risks = [f"below-minimum:{name}"]
        runs.start(run, ask(config_map="large-plan", limits=limits, acknowledged_risks=risks, **FAST), "RunPlan")
        holds(runs.outcome(run, 400))
        assert counts(lab, name) == {1003: 2_000}
        assert runs.largest_payload_bytes(run) < 100_000
    finally:
        lab.kubectl("-n", "kafka", "delete", "configmap", "large-plan")
        runs.delete_topics(lab, name)
    assert leftovers(lab) == {}


# test_three_brokers_become_four_and_three_again; tests/workflows: test_a_rack_is_emptied_at_once
@pytest.mark.soak
def test_two_of_six_are_decommissioned_at_once(lab: Lab, topic: str) -> None:
    """One of each map; they stay, empty and cordoned, until their log directories are given back."""
    zones = {broker: place_of(lab, broker)[2] for broker in (*EVENTS, 1004, 1005, 1006)}
    other = next(broker for broker in (1004, 1005, 1006) if zones[broker] != zones[1003])
    # Three copies on three brokers can't lose one: the consumers' offsets take the whole cluster first.
    there = [1003, *(broker for broker in EVENTS if zones[broker] not in (zones[1003], zones[other])), other]
    offsets = [int(name.rsplit("-", 1)[1]) for name in runs.assignment(lab) if name.startswith("__consumer_offsets-")]
    spread = [{"topic": "__consumer_offsets", "partition": number, "replicas": there} for number in offsets]
    first, run = fresh(), fresh()
    runs.start(first, ask(plan={"version": 1, "partitions": spread}, **FAST), "RunPlan")
    holds(runs.outcome(first))
    with checked_traffic(lab, f"{topic}.traffic") as traffic:
        runs.start(run, ask(brokers=[1003, other], **FAST, **ANY_DISK), "Decommission")
        result = runs.outcome(run)
        holds(result)
        assert not runs.replicas_on(lab, 1003) and not runs.replicas_on(lab, other)
        for broker in ("1003", str(other)):
            runs.set_config(lab, "broker", broker, "cordoned.log.dirs", "")
        back = fresh()
        runs.start(back, ask(**LEVEL, **FAST), "Rebalance")
        holds(runs.outcome(back))
    intact(traffic)
    assert leftovers(lab) == {}


# tests/workflows: test_a_destination_that_dies_is_planned_around_and_asked_about
@pytest.mark.soak
def test_a_destination_s_node_dies(lab: Lab, topic: str, fourth: int) -> None:
    """Its moves are cancelled, and the rest waits for a new approval."""
    run, before = fresh(), runs.assignment(lab)
    _, node, _ = place_of(lab, fourth)
    with checked_traffic(lab, f"{topic}.traffic") as traffic:
        rebalance(run, **SLOW, wait_for_approval=True)
        runs.until_status(run, lambda status: status["phase"] == "gate")
        runs.update(run, "approve")
        under_way(run)
        lab.kill_node(node)
        status = runs.until_status(run, lambda status: status["phase"] == "gate", 150)
        held = runs.replicas_on(lab, fourth)
        assert not held or any(str(fourth) in reason["message"] for reason in status["reasons"]), (held, status)
        assert not status["plan"]["foreign_throttles"], "what this run has set is nobody else's"
        assert not runs.moving(lab)
        lab.start_node(node)
        runs.update(run, "abort", rollback=True)
        result = runs.outcome(run)
    assert result["outcome"] == "aborted", result
    intact(traffic)
    lab.wait_ready()
    assert runs.assignment(lab) == before
    assert leftovers(lab) == {}


def test_three_brokers_become_four_and_three_again(lab: Lab, topic: str, fourth: int) -> None:
    up, down = fresh(), fresh()
    with checked_traffic(lab, f"{topic}.traffic") as traffic:
        runs.start(up, ask(brokers=[fourth], **LEVEL, **FAST), "ScaleUp")
        holds(runs.outcome(up))
        assert counts(lab, topic)[fourth] > 0
        runs.start(down, ask(brokers=[fourth], remove_pods=True, **FAST, **ANY_DISK), "Decommission")
        holds(runs.outcome(down))
        assert lab.kubectl("-n", "kafka", "get", "statefulset", "kafka-events", "-o", "jsonpath={.spec.replicas}") == "3"
        assert fourth not in runs.brokers(lab)
        assert not lab.kubectl("-n", "kafka", "get", "pvc", "data-kafka-events-3", "--ignore-not-found").strip()
    intact(traffic)
    assert leftovers(lab) == {}


@contextmanager
def without_metrics(lab: Lab) -> Iterator[None]:
    """Nobody reaches the brokers' exporters."""
    rule = ["FORWARD", "-p", "tcp", "--dport", "9404", "-j", "REJECT"]
    done = lab.exec(["iptables", "-I", *rule])
    assert done.returncode == 0, done.stderr
    try:
        yield
    finally:
        assert lab.exec(["iptables", "-D", *rule]).returncode == 0


# tests/throttle: test_a_backend_that_is_away_leaves_rates_and_then_takes_them_to_the_floor
@pytest.mark.soak
def test_the_metrics_go_away_while_data_moves(lab: Lab, topic: str) -> None:
    """Unknown is no headroom: the rate goes down to the floor and says why; the data still arrives."""
    run = fresh()
    floor = 200_000
    throttle = {"mode": "adapt", "floor_bytes_per_s": floor, "ceiling_bytes_per_s": 600_000, "fetch_p99_limit_ms": None}
    with checked_traffic(lab, f"{topic}.traffic") as traffic:
        rebalance(run, throttle=throttle)
        runs.until_status(run, lambda status: (status["progress"] or {}).get("done_bytes", 0) > 2_000_000)
        with without_metrics(lab):
            status = runs.until_status(run, lambda status: "floor" in ((status["progress"] or {}).get("note") or ""), 90)
            assert status["progress"]["throttle_bytes_per_s"] == floor, status["progress"]
        holds(runs.outcome(run))
    intact(traffic)
    assert leftovers(lab) == {}
