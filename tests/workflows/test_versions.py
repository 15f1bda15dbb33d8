"""Versioned workers, as docs/quickstart.md has it: a run ends on the version it began with, new ones begin on the current."""

import asyncio
import uuid
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

from temporalio.client import WorkflowHandle
from temporalio.testing import WorkflowEnvironment

from activities.pools import Pool
from kafka_runbooks.models.inputs import EvacuateLeadersInput
from kafka_runbooks.models.operator import Approval
from kafka_runbooks.models.results import Outcome, RunbookResult
from tests.temporal_env import BUGS, WorldClusters, make_world
from tests.workflows.test_replace_broker import until
from worker.wiring import DEPLOYMENT, working
from workflows.evacuate_leaders import EvacuateLeaders

PAGE = Path(__file__).parents[2] / "docs" / "quickstart.md"
COMMAND = "temporal worker deployment set-current-version --deployment-name kafka-runbooks --build-id 0.2.0"


async def make_current(environment: WorkflowEnvironment, build_id: str) -> None:
    assert COMMAND in PAGE.read_text()
    address = environment.client.service_client.config.target_host
    command = [*COMMAND.replace("0.2.0", build_id).split(), "--address", address, "--yes"]
    for _ in range(50):  # The server learns of a version when its workers poll.
        done = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT)
        said, _ = await done.communicate()
        if done.returncode == 0:
            return
        await asyncio.sleep(0.2)
    raise AssertionError(said.decode())


async def test_a_run_ends_on_the_version_that_it_began_with(server: WorkflowEnvironment) -> None:
    queue = f"versions-{uuid.uuid4()}"
    clusters = WorldClusters(make_world(), queue)

    def version(build_id: str) -> AbstractAsyncContextManager[None]:
        slots = dict.fromkeys(Pool, 4)
        return working(server.client, clusters, queue, slots=slots, cached_workflows=10, build_id=build_id, failures=BUGS)

    async def started(broker_id: int) -> WorkflowHandle[Any, RunbookResult]:
        request = EvacuateLeadersInput(cluster=queue, requester="test", brokers=(broker_id,), when_busy="wait")
        return await server.client.start_workflow(EvacuateLeaders.run, request, id=f"{queue}/{broker_id}", task_queue=queue)

    async def version_of(handle: WorkflowHandle[Any, RunbookResult]) -> str:
        described = await handle.describe()
        return str(described.raw_description.workflow_execution_info.versioning_info.deployment_version.build_id)

    assert DEPLOYMENT in COMMAND
    async with version("0.1.0"):
        await make_current(server, "0.1.0")
        old = await started(1001)
        await until(old, lambda status: status.phase == "gate", 60)
        async with version("0.2.0"):
            await make_current(server, "0.2.0")
            await old.execute_update(EvacuateLeaders.approve, Approval(by="bob", reason="CHG-1"))
            assert (await old.result()).outcome is Outcome.DONE
            new = await started(1002)
            await until(new, lambda status: status.phase == "gate", 60)
            assert [await version_of(old), await version_of(new)] == ["0.1.0", "0.2.0"]
            await new.execute_update(EvacuateLeaders.approve, Approval(by="bob", reason="CHG-1"))
            assert (await new.result()).outcome is Outcome.DONE
