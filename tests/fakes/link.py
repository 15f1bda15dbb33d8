"""`activities.step.Link` without a server: a permit, and the runs that Temporal knows."""

import asyncio
from collections.abc import Coroutine
from datetime import timedelta
from typing import Any, NamedTuple

from temporalio.client import WorkflowExecutionStatus
from temporalio.service import RPCError, RPCStatusCode

PERMIT_RUN_ID = "p"


class Described(NamedTuple):
    run_id: str
    status: WorkflowExecutionStatus


class Handle:
    def __init__(self, link: "FakeLink", workflow_id: str, run_id: str | None) -> None:
        self._link = link
        self._workflow_id = workflow_id
        self._run_id = run_id

    async def describe(self, rpc_timeout: timedelta | None = None) -> Described:
        if self._link.is_away:
            raise RPCError("no route", RPCStatusCode.UNAVAILABLE, b"")
        if self._workflow_id.startswith("kafka-permit/"):
            held = WorkflowExecutionStatus.RUNNING if self._link.holds_permit else WorkflowExecutionStatus.CANCELED
            return Described(PERMIT_RUN_ID, held)
        status = self._link.runs.get(self._run_id or "")
        if status is None:
            raise RPCError("not found", RPCStatusCode.NOT_FOUND, b"")
        return Described(self._run_id or "", status)


class FakeLink:
    """`runs`: by run id; others aren't known."""

    def __init__(self, namespace: str = "default") -> None:
        self.namespace = namespace
        self.runs: dict[str, WorkflowExecutionStatus] = {}
        self.holds_permit = True
        self.is_away = False
        self.signals: list[object] = []
        self.client = self

    def call(self, coroutine: Coroutine[Any, Any, Any], timeout_seconds: float = 20.0) -> Any:
        return asyncio.run(coroutine)

    def get_workflow_handle(self, workflow_id: str, run_id: str | None = None) -> Handle:
        return Handle(self, workflow_id, run_id)

    def signal(self, workflow_id: str, run_id: str, progress: object) -> None:
        self.signals.append(progress)
