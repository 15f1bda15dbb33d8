"""The demo, short: its verdict on traffic, and once as it is, with less data."""

import json
import subprocess
import sys
from typing import Any

import pytest
from kafka_runbooks_lab import paths, report
from kafka_runbooks_lab.lab import Lab
from kafka_runbooks_lab.traffic import Ledger

from kafka_runbooks.models.results import Check, Outcome, RunbookResult
from tests.lab import runs

HERE = ("events.payments", 0)


def told(ledger: Ledger) -> dict[str, Any]:
    return ledger.report({"all": (0.0, 1e12), "never": (0.0, 1.0)})


def ledger_of(acknowledged: list[int], read: list[int]) -> Ledger:
    ledger = Ledger()
    for number in acknowledged:
        ledger.note_acknowledged(HERE, number, 0.0)
    for number in read:
        ledger.note_read(HERE, number)
    return ledger


@pytest.mark.parametrize(
    ("read", "lost", "duplicated", "out_of_order"),
    [
        ([0, 1, 2], 0, 0, 0),
        ([0, 2], 1, 0, 0),
        ([0, 1, 1, 2], 0, 1, 0),
        ([0, 2, 1], 0, 0, 1),
        ([], 3, 0, 0),
        ([0, 1, 2, 3], 0, 0, 0),
    ],
)
def test_each_acknowledged_record_is_looked_for(read: list[int], lost: int, duplicated: int, out_of_order: int) -> None:
    found = told(ledger_of([0, 1, 2], read))
    assert (found["lost"], found["duplicated"], found["out_of_order"]) == (lost, duplicated, out_of_order)
    assert found["acknowledged"] == 3
    assert found["p99_ms"]["all"] is not None and found["p99_ms"]["never"] is None


def test_well_is_only_what_was_checked() -> None:
    done = RunbookResult(outcome=Outcome.DONE, summary="", checks=(Check(name="one", passed=True, detail=""),))
    good = told(ledger_of([0], [0]))
    assert report.is_well(done, good, [])
    assert not report.is_well(done, good, ["node events-a is cordoned"])
    assert not report.is_well(done, told(ledger_of([0], [])), [])
    assert not report.is_well(done, told(ledger_of([], [])), [])
    assert not report.is_well(done.model_copy(update={"checks": ()}), good, [])
    assert not report.is_well(done.model_copy(update={"outcome": Outcome.FAILED}), good, [])
    assert not report.is_well(done.model_copy(update={"left_behind": ("broker 1002: a rate",)}), good, [])


@pytest.mark.timeout(480)
# test_replace_broker.py: test_a_lost_node_s_broker_comes_back_and_no_record_is_lost
@pytest.mark.soak
def test_the_demo(lab: Lab) -> None:
    lab.wait_ready()
    argv = [sys.executable, "-m", "kafka_runbooks_lab.demo", "--size-bytes", "30000000"]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=450, stdin=subprocess.DEVNULL)
    assert done.returncode == 0, (done.stdout + done.stderr)[-6000:]
    assert "temporal workflow start --type ReplaceBroker" in done.stdout
    found = json.loads((paths.CHECKOUT / "build/demo/report.json").read_text())
    assert found["ok"] and found["left_behind"] == []
    assert found["traffic"]["acknowledged"] > 1_000 and found["traffic"]["lost"] == 0
    assert set(found["traffic"]["p99_ms"]) == {"before", "during", "catch-up", "after"}
    assert found["copied_bytes"] >= 0.9 * found["lower_bound_bytes"] > 0
    assert lab.is_up(), "a lab that was up stays up"
    runs.purge(lab)
