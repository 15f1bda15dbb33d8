"""`ReplaceBroker` on the lab: real Kubernetes, Kafka and Temporal, with checked traffic running all the while."""

import json
import time
import uuid
from collections.abc import Iterator

import pytest
from kafka_runbooks_lab.lab import Lab

from tests.lab import runs
from tests.lab.runs import (
    ask,
    checked_traffic,
    eventually,
    fourth_broker,
    fresh,
    holds,
    intact,
    leftovers,
    losing,
    place_of,
    result_of,
    runbook,
)

pytestmark = pytest.mark.timeout(600)

SLOW = {"mode": "fixed", "rate_bytes_per_s": 200_000}
"""20 MB take most of a minute: time enough for what happens meanwhile."""


PAST_THE_BUDGET = ("--ignore-daemonsets", "--delete-emptydir-data", "--disable-eviction", "--timeout=60s")
"""Pods are deleted, not evicted: an eviction is refused."""


@pytest.fixture
def topic(lab: Lab) -> Iterator[str]:
    """Two topics on the events map: one with data, and one for traffic (its name and `.traffic`)."""
    lab.wait_ready()
    name = f"events.{uuid.uuid4().hex[:8]}"
    runs.make_topic(lab, name)
    runs.make_topic(lab, f"{name}.traffic", records=0)
    yield name
    runs.delete_topics(lab, name, f"{name}.traffic")


@pytest.fixture
def lost(lab: Lab, topic: str) -> Iterator[str]:
    with losing(lab) as run:
        yield run


def lost_run(**fields: object) -> str:
    return ask(broker_id=1001, node_is_gone=True, **fields)


def test_a_lost_node_s_broker_comes_back_and_no_record_is_lost(lab: Lab, topic: str) -> None:
    """Started in the second of the power cut: preflight waits until Kubernetes sees what the broker's silence says."""
    _, node, zone = place_of(lab, 1001)
    spare = lab.add_node(zone, "events")
    with checked_traffic(lab, f"{topic}.traffic") as traffic:
        lab.kill_node(node)
        done = runbook("start", "ReplaceBroker", "--input", ask(broker_id=1001), "--wait", "-o", "json")
        result = result_of(done)
        assert done.returncode == 0, result
    holds(result)
    assert place_of(lab, 1001)[1:] == (spare, zone)
    assert traffic["acknowledged"] > 1000
    intact(traffic)
    assert result["copied_bytes"] >= 0.9 * result["lower_bound_bytes"] > 10_000_000
    lab.delete_node(node)
    assert leftovers(lab) == {}


def test_a_drained_node_s_broker_is_waited_for_with_its_disk(lab: Lab, topic: str) -> None:
    """By whichever worker is there; the first one is killed (at every step: test_kills.py)."""
    pod, node, _ = place_of(lab, 1003)
    claim = lab.kubectl("-n", "kafka", "get", "pvc", f"data-{pod}", "-o", "jsonpath={.metadata.uid}")
    run = fresh()
    with checked_traffic(lab, f"{topic}.traffic") as traffic:
        lab.kubectl("drain", node, *PAST_THE_BUDGET)
        runs.start(run, ask(broker_id=1003, node_state="returns"))
        status = runs.until_status(run, lambda status: status["step"] == "wait for the pod" and status["waiting"] is not None)
        assert pod in status["waiting"]["reason"]
        runs.kill_worker(lab)
        lab.kubectl("uncordon", node)
        result = runs.outcome(run)
    holds(result)
    assert place_of(lab, 1003)[1] == node
    assert lab.kubectl("-n", "kafka", "get", "pvc", f"data-{pod}", "-o", "jsonpath={.metadata.uid}") == claim
    intact(traffic)
    assert leftovers(lab) == {}


def test_temporal_is_restarted_in_the_middle_and_the_worker_killed(lab: Lab, topic: str, lost: str) -> None:
    """One of each; the worker at every step: test_kills.py."""
    with checked_traffic(lab, f"{topic}.traffic") as traffic:
        runs.start(lost, lost_run(throttle=SLOW))
        runs.until_status(lost, lambda status: status["step"] == "follow the catch-up")
        runs.kill_worker(lab)
        lab.restart_temporal(away_seconds=15)
        result = runs.outcome(lost)
    holds(result)
    intact(traffic)
    assert leftovers(lab) == {}


@pytest.mark.soak  # tests/workflows: test_the_api_server_is_away_for_a_while
def test_the_api_server_is_away_for_a_minute(lab: Lab, topic: str, lost: str) -> None:
    with checked_traffic(lab, f"{topic}.traffic") as traffic:
        runs.start(lost, lost_run())
        runs.until_status(lost, lambda status: status["phase"] == "steps")
        lab.pause_api_server()
        try:
            time.sleep(60)
        finally:
            lab.resume_api_server()
        result = runs.outcome(lost)
    holds(result)
    intact(traffic)
    assert leftovers(lab) == {}


# Here a substitution is cancelled half way; tests/workflows: test_cancel_in_the_middle_of_catch_up_leaves_no_throttle
@pytest.mark.soak
def test_cancel_in_the_catch_up_leaves_no_throttle(lab: Lab, lost: str) -> None:
    runs.start(lost, lost_run(throttle=SLOW))
    runs.until_status(lost, lambda status: status["step"] == "follow the catch-up" and status["progress"])
    left = leftovers(lab)
    assert any("throttled" in name for name in left) and any("ledger" in name for name in left), left
    runs.temporal("workflow", "cancel", "-w", lost)
    eventually("cancelled", 60, lambda: runs.is_closed(lost))
    assert leftovers(lab) == {}


def test_terminate_leaves_what_clear_leftovers_takes(lab: Lab, topic: str) -> None:
    _, node, _ = place_of(lab, 1003)
    run = fresh()
    lab.kubectl("drain", node, *PAST_THE_BUDGET)
    try:
        runs.start(run, ask(broker_id=1003, node_state="returns"))
        runs.until_status(run, lambda status: status["step"] == "wait for the pod" and status["owned_throttles"])
        runs.temporal("workflow", "terminate", "-w", run, "--reason", "test")
        left = leftovers(lab)
        assert any("throttled" in name for name in left), left
        ledger = next(name for name in left if "ledger" in name)
        assert f"owner: {run}" in lab.kubectl("-n", "kafka", "get", ledger, "-o", "yaml")
        cleared = runbook("start", "ClearLeftovers", "--input", runs.plain(), "--wait", "-o", "json")
        assert cleared.returncode == 0, cleared.stdout + cleared.stderr
        assert leftovers(lab) == {node: "left"}
    finally:
        lab.kubectl("uncordon", node)
    lab.wait_ready()


# tests/workflows: test_a_second_broker_that_dies_stops_the_release_until_it_is_back, test_a_source_hangs_for_a_while
@pytest.mark.soak
def test_a_second_broker_dies_meanwhile(lab: Lab, topic: str) -> None:
    """It stops harming, says so, and goes on when it can."""
    # However low the rate, each source sends 10 MB in its first answer (replica.fetch.response.max.bytes), and again when Kafka's
    # eleven seconds of quota samples have forgotten that.
    runs.fill(lab, topic, 14_000)
    _, second, _ = place_of(lab, 1002)
    with losing(lab) as run:
        throttle = {"mode": "adapt", "floor_bytes_per_s": 200_000, "ceiling_bytes_per_s": 400_000}
        runs.start(run, lost_run(throttle=throttle))
        runs.until_status(run, lambda status: status["step"] == "follow the catch-up" and status["progress"])
        lab.kill_node(second)
        try:
            status = runs.until_status(
                run, lambda status: status["waiting"] and "1002 is down too" in status["waiting"]["reason"]
            )
            assert "comes back" in status["waiting"]["unblocks"]
            runs.until_status(run, lambda status: "refuse writes" in status["progress"]["note"])
            runs.update(run, "set_throttle", rate_bytes_per_s=100_000_000)
        finally:
            lab.start_node(second)
        holds(runs.outcome(run))
    lab.wait_ready()
    assert leftovers(lab) == {}


@pytest.mark.soak  # tests/workflows: test_a_sole_replica_whose_loss_was_acknowledged_is_led_again
def test_a_partition_whose_only_replica_was_on_the_broker(lab: Lab, topic: str) -> None:
    """Named and refused; with an operator's word the rest comes back."""
    alone = f"{topic}.alone"
    runs.create_topic(lab, alone, [[1001]])
    with losing(lab) as run:
        refused = runbook("start", "ReplaceBroker", "--input", lost_run(), "--wait", "-o", "json")
        assert refused.returncode == 3, refused.stdout + refused.stderr
        reasons = {reason["name"]: reason for reason in result_of(refused)["reasons"]}
        assert any(alone in name for name in reasons), reasons
        assert leftovers(lab) == {}
        runs.start(run, lost_run(acknowledged_risks=sorted(reasons)))
        holds(runs.outcome(run))
    runs.delete_topics(lab, alone)
    assert leftovers(lab) == {}


# test_moves.py: test_a_person_changes_a_throttle_...; tests/workflows: test_what_others_set_survives
@pytest.mark.soak
def test_what_others_have_set_and_started_survives(lab: Lab, topic: str) -> None:
    """A rate and entries on a source, and a reassignment that crawls under them: all are as they were at the end."""
    theirs = f"check_runs.{uuid.uuid4().hex[:8]}"
    runs.create_topic(lab, theirs, [[1004, 1005]])
    runs.fill(lab, theirs, 2_000)
    rates = {"1002": "90000000", "1004": "1000"}
    try:
        for broker, rate in rates.items():
            runs.set_config(lab, "broker", broker, "leader.replication.throttled.rate", rate)
        runs.set_config(lab, "topic", theirs, "leader.replication.throttled.replicas", "0:1004,0:1005")
        runs.set_config(lab, "topic", f"{topic}.traffic", "leader.replication.throttled.replicas", "3:1002")
        runs.move(lab, theirs, [[1004, 1006]])
        before = leftovers(lab)
        assert len(before) == 4, before
        with losing(lab) as run:
            runs.start(run, lost_run())
            result = runs.outcome(run)
        holds(result)
        assert leftovers(lab) == before
        assert theirs in runs.moving(lab)
    finally:
        for broker in rates:
            runs.set_config(lab, "broker", broker, "leader.replication.throttled.rate", "")
        runs.set_config(lab, "topic", theirs, "leader.replication.throttled.replicas", "")
        runs.set_config(lab, "topic", f"{topic}.traffic", "leader.replication.throttled.replicas", "")
        eventually("their reassignment ends", 60, lambda: not runs.moving(lab))
        runs.delete_topics(lab, theirs)
    assert leftovers(lab) == {}


# tests/workflows/test_replace_broker.py and test_interruptions.py, with replacement_broker_id
@pytest.mark.soak
def test_another_broker_takes_its_place_cancelled_half_way_and_resumed(lab: Lab, topic: str) -> None:
    """Broker 1007 joins for the time of the test; 1003's replicas go there, and come back the same way."""
    run = fresh()
    with fourth_broker(lab) as extra:
        held = runs.replicas_on(lab, 1003)
        with checked_traffic(lab, f"{topic}.traffic") as traffic:
            away = {"broker_id": 1003, "replacement_broker_id": extra, "throttle": SLOW}
            runs.start(run, ask(**away))
            runs.until_status(run, lambda status: status["progress"] and 0 < status["progress"]["done_partitions"] < len(held))
            runs.temporal("workflow", "cancel", "-w", run)
            eventually("cancelled", 60, lambda: runs.is_closed(run))
            assert leftovers(lab) == {} and not runs.moving(lab)
            moved = runs.replicas_on(lab, extra)
            assert 0 < len(moved) < len(held)
            runs.start(f"{run}-again", ask(**{**away, "throttle": {"mode": "fixed", "rate_bytes_per_s": 20_000_000}}))
            holds(runs.outcome(f"{run}-again"))
            assert runs.replicas_on(lab, extra) == held and not runs.replicas_on(lab, 1003)
            runs.start(f"{run}-back", ask(broker_id=extra, replacement_broker_id=1003))
            holds(runs.outcome(f"{run}-back"))
            assert runs.replicas_on(lab, 1003) == held
        intact(traffic)
    assert leftovers(lab) == {}


def test_one_run_a_cluster_and_a_refused_approval(lab: Lab, topic: str) -> None:
    """A second start is refused, or waits in line; rejected, the first changes nothing and lets the second in."""
    pod, node, _ = place_of(lab, 1002)
    lab.kubectl("cordon", node)
    first, second = (fresh() for _ in range(2))
    asked = {"broker_id": 1002, "node_state": "returns", "wait_for_approval": True}
    try:
        uid = lab.kubectl("-n", "kafka", "get", "pod", pod, "-o", "jsonpath={.metadata.uid}")
        runs.start(first, ask(**asked))
        runs.until_status(first, lambda status: status["phase"] == "gate" and status["waiting"])
        busy = runbook("start", "ReplaceBroker", "--input", ask(**asked), "--wait", "-o", "json")
        assert busy.returncode == 4 and first in busy.stdout + busy.stderr
        runs.start(second, ask(**asked, when_busy="wait"))
        status = runs.until_status(second, lambda status: status["waiting"])
        assert first in status["waiting"]["reason"] and status["permit_holder"] == first
        rejected = runbook("reject", first, "--reason", "not tonight", "--by", "ana")
        assert rejected.returncode == 0, rejected.stderr
        ended = runbook("status", first, "--watch", "-o", "json")
        assert ended.returncode == 1 and "rejected by ana: not tonight" in ended.stdout
        runs.until_status(second, lambda status: status["phase"] == "gate")
        assert runbook("reject", second, "--reason", "neither", "--by", "ana").returncode == 0
        eventually("over", 30, lambda: runs.is_closed(second))
        assert lab.kubectl("-n", "kafka", "get", "pod", pod, "-o", "jsonpath={.metadata.uid}") == uid
    finally:
        lab.kubectl("uncordon", node)
    assert leftovers(lab) == {}


def test_bad_input_touches_nothing(lab: Lab) -> None:
    lab.wait_ready()
    unknown = runbook("start", "ReplaceBroker", "--input", ask(broker_id=77), "--wait", "-o", "json")
    assert unknown.returncode == 2 and "broker_ids: 77" in unknown.stdout + unknown.stderr
    well = runbook("start", "ReplaceBroker", "--input", ask(broker_id=1001), "--wait", "-o", "json")
    assert well.returncode == 3 and "broker 1001 is up" in well.stdout + well.stderr
    malformed = runbook("start", "ReplaceBroker", "--input", '{"cluster": ')
    assert malformed.returncode == 2 and "JSON" in malformed.stderr + malformed.stdout
    misspelt = runbook("start", "ReplaceBroker", "--input", ask(brokr_id=1001))
    assert misspelt.returncode == 2 and "brokr_id" in misspelt.stderr + misspelt.stdout
    elsewhere = runbook(
        "start", "ReplaceBroker", "--input", json.dumps({**json.loads(ask(broker_id=1)), "cluster": "nope"}), "--wait"
    )
    assert elsewhere.returncode == 2 and "nope" in elsewhere.stdout + elsewhere.stderr
    assert leftovers(lab) == {}
