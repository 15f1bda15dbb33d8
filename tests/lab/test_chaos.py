"""Hours of chaos: random runbooks under random faults, with checked traffic, until `SOAK_SECONDS` are over.

Each round makes topics, starts one runbook and, while it runs, kills and stops what may fail at any time. Whatever happened, the
round must end with the runbook's exit contract held, no record lost, no reassignment in flight and nothing left behind. Each
choice is written to `build/soak.log` as it is made, with the seed: `SOAK_SEED` repeats the choices, though not their timing.
"""

import os
import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from kafka_runbooks_lab import paths
from kafka_runbooks_lab.lab import Lab

from tests.lab import runs
from tests.lab.runs import ask, checked_traffic, eventually, fourth_broker, fresh, holds, intact, leftovers, losing, place_of

SOAK_SECONDS = float(os.environ.get("SOAK_SECONDS", "3600"))
SEED = int(os.environ.get("SOAK_SEED", str(random.SystemRandom().randrange(1_000_000))))
LOG = paths.CHECKOUT / "build/soak.log"
ROUND_SECONDS = 600.0
"""A round that takes longer hangs."""
BETWEEN_FAULTS_SECONDS = (2.0, 12.0)

RATE = {"throttle": {"mode": "fixed", "rate_bytes_per_s": 1_000_000}}
LEVEL = {"level": "replica count", "target_spread": 1}

# Tables of kills and the single faults: test_kills.py, test_replace_broker.py, test_moves.py. Here they meet.
pytestmark = [pytest.mark.soak, pytest.mark.timeout(SOAK_SECONDS + 3 * ROUND_SECONDS)]

Start = tuple[str, dict[str, Any]]
"""A runbook's name and the fields of its input."""


def say(text: str) -> None:
    """Into the log, and for pytest to show where the test fails."""
    line = f"{time.strftime('%H:%M:%S')} {text}"
    print(line)
    LOG.parent.mkdir(exist_ok=True)
    with LOG.open("a") as file:
        file.write(line + "\n")


# runbooks: each readies the cluster, yields what to start, and puts the cluster back


@contextmanager
def lost(lab: Lab, topic: str) -> Iterator[list[Start]]:
    with losing(lab):
        yield [("ReplaceBroker", {"broker_id": 1001, "node_is_gone": True, **RATE})]


@contextmanager
def restarted(lab: Lab, topic: str) -> Iterator[list[Start]]:
    lab.kubectl("-n", "kafka", "delete", "pod", place_of(lab, 1002)[0], "--wait=false")
    yield [("ReplaceBroker", {"broker_id": 1002, "node_state": "returns"})]


@contextmanager
def substituted(lab: Lab, topic: str) -> Iterator[list[Start]]:
    with fourth_broker(lab) as extra:
        pairs = ((1003, extra), (extra, 1003))
        yield [("ReplaceBroker", {"broker_id": one, "replacement_broker_id": other, **RATE}) for one, other in pairs]


@contextmanager
def rebalanced(lab: Lab, topic: str) -> Iterator[list[Start]]:
    yield [("Rebalance", {"map": "events", **LEVEL, **RATE})]


@contextmanager
def scaled(lab: Lab, topic: str) -> Iterator[list[Start]]:
    with fourth_broker(lab) as fourth:
        out = {"brokers": [fourth], "remove_pods": True}
        yield [("ScaleUp", {"brokers": [fourth], **LEVEL, **RATE}), ("Decommission", {**out, **RATE})]


@contextmanager
def refactored(lab: Lab, topic: str) -> Iterator[list[Start]]:
    yield [("SetReplicationFactor", {"topics": [topic], "replication_factor": factor, **RATE}) for factor in (3, 2)]


@contextmanager
def evacuated(lab: Lab, topic: str) -> Iterator[list[Start]]:
    yield [("EvacuateLeaders", {"brokers": [1001], "back": back}) for back in (False, True)]


RUNBOOKS: tuple[Callable[[Lab, str], Any], ...] = (lost, restarted, substituted, rebalanced, scaled, refactored, evacuated)


# faults: each is over when it returns, or passes by itself


def worker_dies(lab: Lab, chance: random.Random) -> None:
    runs.kill_worker(lab)


def temporal_restarts(lab: Lab, chance: random.Random) -> None:
    lab.restart_temporal(away_seconds=chance.uniform(0, 20))


def api_server_hangs(lab: Lab, chance: random.Random) -> None:
    lab.pause_api_server()
    try:
        time.sleep(chance.uniform(1, 30))
    finally:
        lab.resume_api_server()


def controller_dies(lab: Lab, chance: random.Random) -> None:
    active = runs.active_controller(lab)
    if active is not None:
        lab.kubectl("-n", "kafka", "delete", "pod", active, "--force", "--grace-period=0")
        eventually("another controller", 60, lambda: runs.active_controller(lab) not in (None, active))


def another_broker_restarts(lab: Lab, chance: random.Random) -> None:
    """One of the checks map, which no runbook here works on: of those that it does, one at a time may be down."""
    pod = place_of(lab, chance.choice((1004, 1005, 1006)))[0]
    lab.kubectl("-n", "kafka", "delete", "pod", pod, "--wait=false")


def is_paused_for_a_while(lab: Lab, chance: random.Random) -> None:
    open_runs = runs.open_runs()
    for run in open_runs:
        runs.try_update(run, "pause")
    time.sleep(chance.uniform(1, 10))
    for run in open_runs:
        runs.try_update(run, "resume")


FAULTS = (worker_dies, temporal_restarts, api_server_hangs, controller_dies, another_broker_restarts, is_paused_for_a_while)


def carry_out(lab: Lab, chance: random.Random, start: Start) -> dict[str, Any]:
    """One run, with faults from its first step to its end."""
    runbook, fields = start
    run = fresh()
    say(f"{runbook} {fields} as {run}")
    runs.start(run, ask(**fields), runbook)
    eventually("steps", 120, lambda: runs.status(run).get("phase") in ("steps", "done") or runs.is_closed(run))
    ends = time.monotonic() + ROUND_SECONDS
    while not runs.is_closed(run):
        assert time.monotonic() < ends, f"{run} is not over in {ROUND_SECONDS:.0f} s: {runs.status(run)}"
        fault = chance.choice(FAULTS)
        say(f"  {fault.__name__}")
        fault(lab, chance)
        time.sleep(chance.uniform(*BETWEEN_FAULTS_SECONDS))
    return runs.outcome(run)


def test_random_runbooks_under_random_faults(lab: Lab) -> None:
    chance, ends, rounds = random.Random(SEED), time.monotonic() + SOAK_SECONDS, 0
    say(f"SOAK_SEED={SEED}")
    while time.monotonic() < ends:
        rounds += 1
        lab.wait_ready()
        topic = runs.uneven_topic(lab)
        runs.make_topic(lab, f"{topic}.traffic", records=0)
        with chance.choice(RUNBOOKS)(lab, topic) as starts, checked_traffic(lab, f"{topic}.traffic") as traffic:
            for start in starts:
                holds(carry_out(lab, chance, start))
        intact(traffic)
        lab.wait_ready()
        eventually("nothing is left", 60, lambda: leftovers(lab) == {} and not runs.moving(lab))
        runs.delete_topics(lab, topic, f"{topic}.traffic")
        say(f"round {rounds}: {traffic}")
    assert rounds
