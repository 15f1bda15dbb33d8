"""The page of `temporal` commands is what the code says, and its commands are taken by the real CLI and a real server."""

import asyncio
import json
import shlex
import shutil
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from kafka_runbooks.catalogue import RUNBOOKS
from kafka_runbooks.cli import equivalents, temporal_commands
from kafka_runbooks.cli.temporal_commands import EXAMPLES, MORE_UPDATES, UPDATES, WHO, page
from kafka_runbooks.models import operator
from kafka_runbooks.models.operator import OperatorAction
from tests.temporal_env import Bench
from tests.workflows.test_replace_broker import lose

PAGE = Path(__file__).parents[2] / "docs" / "runbooks" / "temporal-commands.md"


def test_the_page_is_as_the_code_has_it() -> None:
    remake = "python -m kafka_runbooks.cli.temporal_commands > docs/runbooks/temporal-commands.md"
    assert PAGE.read_text() == page(), f"make it again: {remake}"


@pytest.mark.parametrize("name", RUNBOOKS)
def test_each_example_is_right(name: str) -> None:
    RUNBOOKS[name].input.model_validate({**WHO, **EXAMPLES[name]})


def test_each_update_s_example_is_right() -> None:
    models: dict[str, type[BaseModel]] = {
        "abort": operator.Abort,
        "approve": operator.Approval,
        "add_brokers": operator.AddBrokers,
        "uncordon": operator.Uncordon,
    }
    for updates in (UPDATES, *MORE_UPDATES.values()):
        for name, data in updates.items():
            model = models.get(name, OperatorAction)
            model.model_validate(data)


@pytest.mark.server
async def test_the_commands_run(runbooks: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Start, query, pause, resume, approve, and an `execute` that waits for its result; a second start is refused."""
    monkeypatch.setattr(temporal_commands, "WHO", {"cluster": runbooks.cluster, "requester": "alice"})
    monkeypatch.setattr(temporal_commands, "TASK_QUEUE", runbooks.task_queue)
    lose(runbooks.world)
    runbooks.world.add_node("spare", "zone-a", "events")
    monkeypatch.setattr(temporal_commands, "EXAMPLES", {**EXAMPLES, "ReplaceBroker": {"broker_id": 1001, "node_is_gone": True}})
    run = temporal_commands.workflow_id("ReplaceBroker")

    async def temporal(line: str, *more: str) -> tuple[int, str]:
        program, *words = shlex.split(line)
        path = shutil.which(program)
        assert path is not None
        address = runbooks.client.service_client.config.target_host
        pipe = asyncio.subprocess.PIPE
        process = await asyncio.create_subprocess_exec(path, *words, *more, "--address", address, stdout=pipe, stderr=pipe)
        out, err = await process.communicate()
        assert process.returncode is not None
        return process.returncode, (out + err).decode()

    async def status() -> dict[str, Any]:
        code, text = await temporal(equivalents.status(run), "-o", "json")
        assert code == 0, text
        found: dict[str, Any] = json.loads(text)["queryResult"][0]
        return found

    code, text = await temporal(temporal_commands.start("ReplaceBroker"))
    assert code == 0, text
    described = await runbooks.client.get_workflow_handle(run).describe()
    assert await described.static_summary() == f"ReplaceBroker {runbooks.cluster}, for alice"
    assert (await temporal(temporal_commands.start("ReplaceBroker")))[0] == 1
    async with asyncio.timeout(30):
        while (await status())["phase"] != "gate":
            await asyncio.sleep(0.2)
    for name in ("pause", "resume", "approve"):
        code, text = await temporal(equivalents.update(name, run, UPDATES[name]))
        assert code == 0, text
    async with asyncio.timeout(60):
        assert (await runbooks.client.get_workflow_handle(run).result())["outcome"] == "done"
    code, text = await temporal(temporal_commands.start("ClearLeftovers", waits=True), "-o", "json")
    assert code == 0 and '"outcome"' in text, text
