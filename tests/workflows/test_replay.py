"""Histories of every outcome, recorded by `RECORD_HISTORIES=1 pytest tests/workflows`, replayed against today's workflow code.

One that no longer replays means that runs in flight would hang after a deployment: patch the workflow (`workflow.patched`), or
record them again where nobody runs the old code.
"""

import gzip
import json
from collections import defaultdict
from pathlib import Path

import pytest
from temporalio.client import WorkflowHistory
from temporalio.worker import Replayer

from kafka_runbooks.catalogue import RUNBOOKS, command_name
from worker.wiring import plugin
from workflows.registry import WORKFLOWS

FOLDER = Path(__file__).with_name("histories")
BY_COMMAND = {command_name(workflow.__name__): workflow for workflow in WORKFLOWS}
HISTORIES = sorted(FOLDER.glob("*/*.json.gz"))


def read(path: Path) -> str:
    return gzip.decompress(path.read_bytes()).decode()


def ending(history: str) -> str:
    """How a run ended: the type of its closing event, with the outcome where it failed."""
    last = json.loads(history)["events"][-1]
    kind = last["eventType"].removeprefix("EVENT_TYPE_WORKFLOW_EXECUTION_").lower()
    failed = last.get("workflowExecutionFailedEventAttributes", {})
    outcome = failed.get("failure", {}).get("applicationFailureInfo", {}).get("type")
    return f"{kind}:{outcome}" if outcome else kind


def test_there_are_histories_of_every_outcome() -> None:
    endings: dict[str, set[str]] = defaultdict(set)
    for path in HISTORIES:
        endings[path.parent.name].add(ending(read(path)))
    assert set(endings) == {command_name(name) for name in RUNBOOKS}
    of_all = set().union(*endings.values())
    assert of_all >= {"completed", "canceled", "terminated"}
    assert of_all >= {f"failed:{outcome}" for outcome in ("FAILED", "REFUSED", "BUSY", "REJECTED", "ABORTED")}
    assert endings["replace-broker"] >= {"completed", "canceled", "terminated", "failed:REFUSED", "failed:ABORTED"}


def test_no_history_names_a_path_of_the_machine_that_recorded_it() -> None:
    for path in HISTORIES:
        text = read(path)
        assert "site-packages" not in text and "activities/" not in text, path.name


@pytest.mark.parametrize("path", HISTORIES, ids=lambda path: f"{path.parent.name}/{path.name}")
async def test_it_replays(path: Path) -> None:
    history = WorkflowHistory.from_json(path.name, read(path))
    replayer = Replayer(workflows=[BY_COMMAND[path.parent.name]], plugins=[plugin(has_workflows=False)])
    await replayer.replay_workflow(history)
