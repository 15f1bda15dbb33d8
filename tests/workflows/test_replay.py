"""Histories of every outcome, recorded by `RECORD_HISTORIES=1 pytest tests/workflows`, replayed against today's workflow code.

One that no longer replays means that runs in flight would hang after a deployment: patch the workflow (`workflow.patched`), or
record anew where nobody runs the old code.
"""

import gzip
from pathlib import Path

import pytest
from temporalio.client import WorkflowHistory
from temporalio.worker import Replayer

from worker.wiring import plugin

HISTORIES = sorted(Path(__file__).with_name("histories").glob("*.json.gz"))


def test_there_are_histories_of_every_outcome() -> None:
    names = " ".join(path.name for path in HISTORIES)
    for outcome in (
        "comes_back",
        "refused",
        "only_one_at_a_time",
        "abort",
        "cancel",
        "leftovers",
        "substitution",
        "drained",
        "rollback",
    ):
        assert outcome in names


@pytest.mark.parametrize("path", HISTORIES, ids=lambda path: path.name)
async def test_it_replays(path: Path) -> None:
    history = WorkflowHistory.from_json(path.name, gzip.decompress(path.read_bytes()).decode())
    replayer = Replayer(workflows=[], plugins=[plugin()])
    await replayer.replay_workflow(history)
