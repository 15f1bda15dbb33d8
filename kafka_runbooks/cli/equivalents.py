"""The `temporal` command that does what a `kafka-runbooks` command does, for machines that have only the former."""

import json
import shlex
from collections.abc import Sequence
from typing import Any

from kafka_runbooks.catalogue import RUNBOOKS, summary


def compact(data: Any) -> str:
    """JSON as an argument: one line, without spaces."""
    return json.dumps(data, separators=(",", ":"), ensure_ascii=False)


def _line(*arguments: str) -> str:
    return shlex.join(["temporal", "workflow", *arguments])


def start(workflow_type: str, data: Any, workflow_id: str, task_queue: str, *, waits: bool = False) -> str:
    """`temporal workflow start` (or `execute`, which waits); fails if a run with this ID is in progress."""
    how = ["--type", workflow_type, "--task-queue", task_queue, "--workflow-id", workflow_id, "--input", compact(data)]
    if workflow_type in RUNBOOKS:
        how += ["--static-summary", summary(workflow_type, data["cluster"], data["requester"])]
    return _line("execute" if waits else "start", *how, "--fail-existing")


def update(name: str, workflow_id: str, data: Any) -> str:
    """An operator's decision."""
    return _line("update", "execute", "--workflow-id", workflow_id, "--name", name, "--input", compact(data))


def status(workflow_id: str) -> str:
    return _line("query", "--workflow-id", workflow_id, "--name", "status")


def listing(query: str) -> str:
    return _line("list", "--query", query)


def describe_schedule(schedule_id: str) -> str:
    return shlex.join(["temporal", "schedule", "describe", "--schedule-id", schedule_id])


def create_search_attributes(names: Sequence[str]) -> str:
    flags = [word for name in names for word in ("--name", name, "--type", "Keyword")]
    return shlex.join(["temporal", "operator", "search-attribute", "create", *flags])
