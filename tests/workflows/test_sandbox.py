"""What the sandbox promises: a workflow that would not replay is refused, and ours need nothing of it."""

import time
import uuid
from datetime import timedelta

import pytest
from temporalio import workflow
from temporalio.client import WorkflowFailureError
from temporalio.exceptions import ApplicationError
from temporalio.testing import WorkflowEnvironment
from temporalio.worker import Worker
from temporalio.worker.workflow_sandbox import RestrictedWorkflowAccessError

from worker.wiring import sandbox


@workflow.defn
class LooksAtTheClock:
    @workflow.run
    async def run(self) -> float:
        return time.time()


@workflow.defn
class ReadsAFile:
    @workflow.run
    async def run(self) -> str:
        with open(__file__) as file:
            return file.read()


@pytest.mark.parametrize("careless", [LooksAtTheClock, ReadsAFile])
async def test_what_would_not_replay_is_refused(server: WorkflowEnvironment, careless: type) -> None:
    queue = f"test-{uuid.uuid4()}"
    worker = Worker(
        server.client,
        task_queue=queue,
        workflows=[careless],
        workflow_runner=sandbox(),
        workflow_failure_exception_types=[RestrictedWorkflowAccessError],
    )
    async with worker:
        with pytest.raises(WorkflowFailureError) as raised:
            await server.client.execute_workflow(
                careless.__name__, id=queue, task_queue=queue, execution_timeout=timedelta(seconds=30)
            )
    cause = raised.value.cause
    assert isinstance(cause, ApplicationError) and cause.type == "RestrictedWorkflowAccessError"
