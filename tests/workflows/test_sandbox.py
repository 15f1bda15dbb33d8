"""What the sandbox promises: a workflow that would not replay is refused, the project's own as much as any other."""

import asyncio
import os
import shutil
import subprocess
import sys
import time
import uuid
from datetime import timedelta
from pathlib import Path

import pytest
from temporalio import workflow
from temporalio.client import WorkflowFailureError
from temporalio.exceptions import ApplicationError
from temporalio.testing import WorkflowEnvironment
from temporalio.worker import Worker
from temporalio.worker.workflow_sandbox import RestrictedWorkflowAccessError

import workflows
from kafka_runbooks.models.inputs import ClearLeftoversInput
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


CARELESS_WORKER = """
import asyncio, sys
from temporalio.client import Client
from temporalio.worker import Worker
from temporalio.worker.workflow_sandbox import RestrictedWorkflowAccessError
from worker.wiring import plugin
import workflows
assert workflows.__file__.startswith(sys.argv[1]), workflows.__file__

async def work():
    client = await Client.connect(sys.argv[2], namespace=sys.argv[3], plugins=[plugin(failures=[RestrictedWorkflowAccessError])])
    async with Worker(client, task_queue=sys.argv[4]):
        print("polls", flush=True)
        await asyncio.sleep(60)

asyncio.run(work())
"""


@pytest.mark.parametrize(
    ("module", "before", "careless"),
    [
        ("clear_leftovers.py", "return await self.conduct(self._clear)", "__import__('time').time()"),
        ("runbook.py", "await self._tag()", "__import__('time').time()"),
        ("runbook.py", "await self._tag()", "open('/etc/hostname').read()"),
    ],
    ids=["a runbook", "what all runbooks share", "a file"],
)
async def test_our_own_workflows_are_restricted_too(
    server: WorkflowEnvironment, tmp_path: Path, module: str, before: str, careless: str
) -> None:
    """The real package `workflows`, copied, with a line in it that would not replay."""
    copied = tmp_path / "workflows"
    shutil.copytree(Path(workflows.__file__).parent, copied, ignore=shutil.ignore_patterns("__pycache__"))
    text = (copied / module).read_text()
    assert text.count(before) == 1
    (copied / module).write_text(text.replace(before, f"{careless}\n        {before}"))
    queue, config = f"test-{uuid.uuid4()}", server.client.service_client.config
    argv = [sys.executable, "-c", CARELESS_WORKER, str(tmp_path), config.target_host, server.client.namespace, queue]
    path = os.pathsep.join([str(tmp_path), str(Path(workflows.__file__).parents[1])])
    with subprocess.Popen(argv, env={**os.environ, "PYTHONPATH": path}, cwd=tmp_path, stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None and await asyncio.to_thread(process.stdout.readline) == b"polls\n"
            request = ClearLeftoversInput(cluster="none", requester="test")
            with pytest.raises(WorkflowFailureError) as raised:
                await server.client.execute_workflow(
                    "ClearLeftovers", request, id=queue, task_queue=queue, execution_timeout=timedelta(seconds=30)
                )
        finally:
            process.kill()
    cause = raised.value.cause
    assert isinstance(cause, ApplicationError) and cause.type == "RestrictedWorkflowAccessError", cause
