import gzip
import json
import os
import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from temporalio.testing import WorkflowEnvironment

from activities import brokers, mover, step, throttle
from kafka_runbooks.catalogue import command_name
from tests.fakes.world import World
from tests.temporal_env import Bench, bench, make_world, start_server, start_time_skipping_server


@pytest_asyncio.fixture(scope="session")
async def server() -> AsyncIterator[WorkflowEnvironment]:
    async with await start_server(with_search_attributes=True) as environment:
        yield environment


@pytest_asyncio.fixture(scope="session")
async def skipping_server() -> AsyncIterator[WorkflowEnvironment]:
    async with await start_time_skipping_server() as environment:
        yield environment


@pytest.fixture(autouse=True)
def in_a_hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    """The world in memory moves at each look: looks may follow each other at once."""
    monkeypatch.setattr(step, "POLL_SECONDS", 0.05)
    monkeypatch.setattr(step, "SHORT_POLL_SECONDS", 0.05)
    monkeypatch.setattr(step, "SIGNAL_SECONDS", 0.1)
    monkeypatch.setattr(step, "FAILURE_SECONDS", 0.5)
    monkeypatch.setattr(step, "HEARTBEAT_SECONDS", 0.2)
    monkeypatch.setattr(throttle, "ADAPT_SECONDS", 0.1)
    monkeypatch.setattr(mover, "DEAD_SECONDS", 1.0)
    monkeypatch.setattr(mover, "RESTART_SECONDS", 1.5)
    monkeypatch.setattr(brokers, "SECONDS_BETWEEN_OBSERVATIONS", 0.5)


@pytest.fixture
def world() -> World:
    return make_world()


HISTORIES = Path(__file__).with_name("histories")


@pytest_asyncio.fixture
async def runbooks(server: WorkflowEnvironment, world: World, request: pytest.FixtureRequest) -> AsyncIterator[Bench]:
    """With `RECORD_HISTORIES=1` the histories of what a test started are written for `test_replay.py`."""
    async with bench(server, world) as ready:
        yield ready
        await record(ready, request.node.name)


async def record(ready: Bench, test: str) -> None:
    """With `RECORD_HISTORIES=1`, write what a test has started."""
    if os.environ.get("RECORD_HISTORIES") != "1":
        return
    name = re.sub(r"[^a-z0-9_]+", "-", test.lower()).strip("-")
    for number, handle in enumerate(ready.started):
        history = await handle.fetch_history()
        runbook = history.events[0].workflow_execution_started_event_attributes.workflow_type.name
        folder = HISTORIES / command_name(runbook)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{name}.{number}.json.gz").write_bytes(gzip.compress(portable(history.to_json()).encode(), mtime=0))


def portable(history: str) -> str:
    """The history without the stack traces of failures: replay doesn't compare them, and they carry paths of this machine."""

    def blank(value: object) -> object:
        if isinstance(value, dict):
            return {key: "" if key == "stackTrace" else blank(one) for key, one in value.items()}
        return [blank(one) for one in value] if isinstance(value, list) else value

    return json.dumps(blank(json.loads(history)))
