"""What docs/operations.md says to do when Temporal is down, done: a server of one's own, whose runs outlive its process."""

import asyncio
import re
import shlex
import signal
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import timedelta
from pathlib import Path

import pytest
from temporalio.client import Client
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.service import RPCError
from typer.testing import CliRunner

from activities.pools import Pool
from kafka_runbooks.cli.app import app
from tests.clients.local_kafka import free_ports
from tests.temporal_env import BUGS, WorldClusters, make_world
from worker.wiring import working

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "operations.md").read_text()


def documented(beginning: str) -> str:
    """The one command of the page that begins so."""
    (found,) = {line for line in PAGE.splitlines() if line.startswith(beginning)}
    return found


@asynccontextmanager
async def server_of_ones_own(folder: Path, port: int) -> AsyncIterator[Client]:
    """By the page's command; ended as by a machine that is switched off."""
    command = documented("temporal server start-dev").replace("0.0.0.0", "127.0.0.1").replace("7233", str(port))
    process = await asyncio.create_subprocess_exec(*shlex.split(command), cwd=folder, stdout=asyncio.subprocess.DEVNULL)
    try:
        for _ in range(100):
            try:
                client = await Client.connect(f"127.0.0.1:{port}", data_converter=pydantic_data_converter)
                break
            except (RuntimeError, RPCError):
                await asyncio.sleep(0.2)
        yield client
    finally:
        process.send_signal(signal.SIGKILL)
        await process.wait()


async def said(port: int, queue: str, command: str) -> str:
    """What one of the page's commands prints."""
    environment = {"TEMPORAL_ADDRESS": f"127.0.0.1:{port}", "KAFKA_RUNBOOKS_TASK_QUEUE": queue}
    argv = shlex.split(command.replace("prod", queue))[1:]
    done = await asyncio.to_thread(CliRunner().invoke, app, argv, env=environment)
    return done.output


@pytest.mark.server
async def test_a_run_goes_on_in_a_server_that_was_killed_and_started_again(tmp_path: Path) -> None:
    (port,) = free_ports(1)
    world, queue = make_world(), "break-glass"
    pod = world.pod_of(1002)
    assert pod is not None and pod.node is not None
    world.lose_node(pod.node)
    world.add_node("spare", "zone-b", "events")

    def at_work(client: Client) -> AbstractAsyncContextManager[None]:
        often, clusters, slots = timedelta(milliseconds=200), WorldClusters(world, queue), dict.fromkeys(Pool, 8)
        return working(
            client, clusters, queue, slots=slots, cached_workflows=10, failures=BUGS, heartbeat_interval=often, grace=often
        )

    async with server_of_ones_own(tmp_path, port) as client, at_work(client):
        assert "registered" in await said(port, queue, documented("kafka-runbooks setup"))
        assert "fault" in await said(port, queue, documented("kafka-runbooks doctor prod"))
        started = await said(port, queue, documented("kafka-runbooks start replace-broker") + " --node-is-gone")
        found = re.search(r"started (\S+)", started)
        assert found is not None, started
        assert found[1] in await said(port, queue, documented("kafka-runbooks list --state running"))
    async with server_of_ones_own(tmp_path, port) as client, at_work(client):
        for _ in range(20):
            status = await said(port, queue, f"kafka-runbooks status {found[1]}")
            if "gate" in status:
                break
            await asyncio.sleep(0.5)
        assert "gate" in status, status
        ended = await said(port, queue, documented("kafka-runbooks abort ID").replace("ID", found[1], 1))
        assert "can't" not in ended and "error" not in ended, ended
