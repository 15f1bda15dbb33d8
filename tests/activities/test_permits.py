"""The fence before each act: what is known here first, then what Temporal says, and what holds while Temporal is away."""

import asyncio
from collections.abc import Coroutine
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest
from temporalio.client import WorkflowExecutionStatus
from temporalio.exceptions import CancelledError
from temporalio.service import RPCError, RPCStatusCode
from temporalio.testing import ActivityEnvironment

from activities import permits
from activities.errors import PermitLost, TemporalUnreachable, WorkerShutdown
from activities.permits import Fence
from kafka_runbooks.models.messages import Token

TOKEN = Token(cluster="main", workflow_id="w", run_id="r", permit_run_id="p")


@dataclass
class Described:
    run_id: str
    status: WorkflowExecutionStatus


class Server:
    """Temporal as a link sees it: one permit."""

    def __init__(self) -> None:
        self.permit: Described | None = Described("p", WorkflowExecutionStatus.RUNNING)
        self.is_away = False
        self.hangs = False
        self.asked = 0
        self.client = self

    def call(self, coroutine: Coroutine[Any, Any, Any], timeout_seconds: float = 20.0) -> Any:
        if self.hangs:
            coroutine.close()
            raise TimeoutError
        return asyncio.run(coroutine)

    def get_workflow_handle(self, workflow_id: str) -> "Server":
        assert workflow_id == "kafka-permit/main"
        return self

    async def describe(self, rpc_timeout: timedelta) -> Described:
        self.asked += 1
        if self.is_away:
            raise RPCError("no route", RPCStatusCode.UNAVAILABLE, b"")
        if self.permit is None:
            raise RPCError("not found", RPCStatusCode.NOT_FOUND, b"")
        return self.permit


@pytest.fixture
def server() -> Server:
    return Server()


@pytest.fixture
def fence(server: Server) -> Fence:
    return Fence(server, TOKEN)  # type: ignore[arg-type]


def test_a_loop_asks_temporal_every_few_seconds_only(server: Server, fence: Fence, monkeypatch: pytest.MonkeyPatch) -> None:
    def loop() -> None:
        for _ in range(300):
            fence.check()

    ActivityEnvironment().run(loop)
    assert server.asked == 1
    monkeypatch.setattr(permits, "FENCE_SECONDS", -1.0)
    ActivityEnvironment().run(loop)
    assert server.asked == 301


@pytest.mark.parametrize(
    "permit", [None, Described("another", WorkflowExecutionStatus.RUNNING), Described("p", WorkflowExecutionStatus.CANCELED)]
)
def test_a_lost_permit_stays_lost(server: Server, fence: Fence, permit: Described | None) -> None:
    server.permit = permit
    with pytest.raises(PermitLost):
        ActivityEnvironment().run(fence.check)
    server.permit = Described("p", WorkflowExecutionStatus.RUNNING)
    for check in (fence.check, fence.ask, fence.check_for_less):
        with pytest.raises(PermitLost):
            ActivityEnvironment().run(check)
    assert server.asked == 1


def test_an_attempt_that_was_cancelled_acts_no_more_although_the_permit_is_held(server: Server, fence: Fence) -> None:
    environment = ActivityEnvironment()
    environment.run(fence.check)
    environment.cancel()
    for check in (fence.check, fence.check_for_less):
        with pytest.raises(CancelledError):
            environment.run(check)
    assert server.asked == 1


def test_nor_does_one_whose_worker_shuts_down(fence: Fence) -> None:
    environment = ActivityEnvironment()
    environment.worker_shutdown()
    with pytest.raises(WorkerShutdown):
        environment.run(fence.check)


@pytest.mark.parametrize("way", ["is_away", "hangs"])
def test_while_temporal_is_away_only_less_may_be_taken(server: Server, fence: Fence, way: str) -> None:
    setattr(server, way, True)
    with pytest.raises(TemporalUnreachable):
        ActivityEnvironment().run(fence.check)
    ActivityEnvironment().run(fence.check_for_less)
    setattr(server, way, False)
    ActivityEnvironment().run(fence.check)


def test_after_an_act_temporal_is_asked_whether_it_has_to_be_undone(server: Server, fence: Fence) -> None:
    ActivityEnvironment().run(fence.check)
    server.permit = None
    ActivityEnvironment().run(fence.check)
    with pytest.raises(PermitLost):
        ActivityEnvironment().run(fence.ask)
    assert server.asked == 2
