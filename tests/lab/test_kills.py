"""The tables of kills: each runbook, with its worker killed after every step's end, under checked traffic.

The next worker must go on from what the cluster looks like, to the same end. `make test` has one kill in a lost broker, a
drained one and a rebalance (test_replace_broker.py, test_moves.py); each change cut off once, for every runbook, is in
tests/workflows (test_each_change_is_cut_off_once).
"""

from collections.abc import Iterator
from typing import Any

import pytest
from kafka_runbooks_lab.lab import Lab

from tests.lab import runs
from tests.lab.runs import ANY_DISK, ask, checked_traffic, fourth_broker, fresh, holds, intact, leftovers, losing, place_of

pytestmark = [pytest.mark.soak, pytest.mark.timeout(900)]

RATE = {"throttle": {"mode": "fixed", "rate_bytes_per_s": 1_000_000}}
LEVEL = {"level": "replica count", "target_spread": 1, **ANY_DISK}
FEWEST_STEPS = 5
"""A survey, a plan, the work, the release, the proof: no runbook has fewer."""


@pytest.fixture
def topic(lab: Lab) -> Iterator[str]:
    """An uneven map, in two copies on two of its three brokers, and a topic for traffic in three copies."""
    lab.wait_ready()
    name = runs.uneven_topic(lab)
    runs.make_topic(lab, f"{name}.traffic", records=0)
    yield name
    runs.delete_topics(lab, name, f"{name}.traffic")


def killed_at_every_step(lab: Lab, topic: str, runbook: str, **fields: Any) -> dict[str, Any]:
    run = fresh()
    with checked_traffic(lab, f"{topic}.traffic") as traffic:
        runs.start(run, ask(**fields), runbook)
        boundaries = runs.kill_after_every_step(lab, run)
        result = runs.outcome(run)
    holds(result)
    intact(traffic)
    assert len(boundaries) >= FEWEST_STEPS, boundaries
    assert leftovers(lab) == {} and not runs.moving(lab)
    return result


def test_replace_broker_lost(lab: Lab, topic: str) -> None:
    with losing(lab):
        killed_at_every_step(lab, topic, "ReplaceBroker", broker_id=1001, node_is_gone=True, **RATE)


def test_replace_broker_restarted(lab: Lab, topic: str) -> None:
    pod, _, _ = place_of(lab, 1002)
    lab.kubectl("-n", "kafka", "delete", "pod", pod, "--wait=false")
    killed_at_every_step(lab, topic, "ReplaceBroker", broker_id=1002, node_state="returns")


def test_replace_broker_by_another(lab: Lab, topic: str) -> None:
    with fourth_broker(lab) as extra:
        for broker, other in ((1003, extra), (extra, 1003)):
            killed_at_every_step(lab, topic, "ReplaceBroker", broker_id=broker, replacement_broker_id=other, **RATE)


def test_rebalance(lab: Lab, topic: str) -> None:
    killed_at_every_step(lab, topic, "Rebalance", map="events", **LEVEL, **RATE)
    counts = runs.counts(lab, topic)
    assert min(counts[broker] for broker in (1001, 1002, 1003)) >= 6, counts


def test_scale_up_and_decommission(lab: Lab, topic: str) -> None:
    with fourth_broker(lab) as fourth:
        killed_at_every_step(lab, topic, "ScaleUp", brokers=[fourth], **LEVEL, **RATE)
        assert runs.counts(lab, topic)[fourth] > 0
        killed_at_every_step(lab, topic, "Decommission", brokers=[fourth], remove_pods=True, **RATE, **ANY_DISK)
        assert fourth not in runs.brokers(lab)


def test_set_replication_factor(lab: Lab, topic: str) -> None:
    for factor in (3, 2):
        killed_at_every_step(lab, topic, "SetReplicationFactor", topics=[topic], replication_factor=factor, **RATE, **ANY_DISK)
        assert sum(runs.counts(lab, topic).values()) == 12 * factor


def test_evacuate_leaders(lab: Lab, topic: str) -> None:
    before = runs.assignment(lab)
    for back in (False, True):
        killed_at_every_step(lab, topic, "EvacuateLeaders", brokers=[1001], back=back)
    assert runs.assignment(lab) == before


def test_run_plan(lab: Lab, topic: str) -> None:
    partitions = [{"topic": topic, "partition": number, "replicas": [1003, 1001 + number % 2]} for number in range(12)]
    killed_at_every_step(lab, topic, "RunPlan", plan={"version": 1, "partitions": partitions}, **RATE)
    assert runs.counts(lab, topic)[1003] == 12
