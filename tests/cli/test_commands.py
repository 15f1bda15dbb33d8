"""Commands against a real Temporal server, with a worker whose cluster is a world in memory."""

import asyncio
import json
import shlex
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from kafka_runbooks.cli.app import app
from tests.fakes.world import World
from tests.temporal_env import Bench


def environment(bench: Bench) -> dict[str, str]:
    return {
        "TEMPORAL_ADDRESS": bench.client.service_client.config.target_host,
        "TEMPORAL_NAMESPACE": bench.client.namespace,
        "KAFKA_RUNBOOKS_TASK_QUEUE": bench.task_queue,
    }


async def run(bench: Bench, *argv: str) -> Result:
    """A command, in a thread of its own: it brings its own event loop."""
    done: Result = await asyncio.to_thread(CliRunner().invoke, app, list(argv), env=environment(bench))
    return done


def ask(bench: Bench, **fields: Any) -> str:
    data = {"cluster": bench.cluster, "requester": "test", "broker_id": 1001, "node_is_gone": True, "wait_for_approval": False}
    return json.dumps({**data, **fields})


def lose(world: World) -> None:
    pod = world.pod_of(1001)
    assert pod is not None and pod.node is not None
    world.lose_node(pod.node)
    world.add_node("spare", "zone-a", "events")


async def started(bench: Bench, **fields: Any) -> str:
    done = await run(bench, "start", "ReplaceBroker", "--input", ask(bench, **fields), "-o", "json")
    assert done.exit_code == 0, done.output
    return str(json.loads(done.stdout)["workflow_id"])


async def status_when(bench: Bench, workflow_id: str, phase: str) -> dict[str, Any]:
    for _ in range(60):
        done = await run(bench, "status", workflow_id, "-o", "json")
        assert done.exit_code == 0, done.output
        seen: dict[str, Any] = json.loads(done.stdout)
        if seen["status"] and seen["status"]["phase"] == phase:
            return seen
        await asyncio.sleep(0.1)
    raise AssertionError(f"never in phase {phase}: {seen}")


async def test_start_and_wait_until_done(runbooks: Bench) -> None:
    lose(runbooks.world)
    done = await run(runbooks, "start", "ReplaceBroker", "--input", ask(runbooks), "--wait", "-o", "json")
    assert done.exit_code == 0, done.output
    result = json.loads(done.stdout)
    assert result["outcome"] == "done"
    assert "temporal workflow start --type ReplaceBroker" in done.stderr
    assert "/namespaces/default/workflows/" in done.stderr
    listed = await run(runbooks, "list", "-o", "json")
    assert any(runbooks.cluster in found["workflow_id"] for found in json.loads(listed.stdout))


async def test_start_by_options(runbooks: Bench) -> None:
    lose(runbooks.world)
    argv = (
        "replace-broker",
        "--cluster",
        runbooks.cluster,
        "--broker-id",
        "1001",
        "--node-is-gone",
        "--throttle.rate",
        "50000000",
    )
    planned = await run(runbooks, "plan", *argv, "-o", "json")
    assert planned.exit_code == 0, planned.output
    assert json.loads(planned.stdout)["plan"]["throttle_bytes_per_s"] == 50_000_000
    done = await run(runbooks, "start", *argv, "--no-wait-for-approval", "--wait", "-o", "json")
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["outcome"] == "done"


async def test_the_printed_temporal_command_starts_the_same(runbooks: Bench) -> None:
    lose(runbooks.world)
    done = await run(runbooks, "start", "ReplaceBroker", "--input", ask(runbooks, wait_for_approval=True), "--id", "first/one")
    await status_when(runbooks, "first/one", "gate")
    line = next(line for line in done.output.splitlines() if line.startswith("$ temporal"))
    argv = shlex.split(line[2:])
    argv[0] = str(Path(sys.executable).parent / argv[0])
    argv[argv.index("--workflow-id") + 1] = "second/one"
    process = await asyncio.create_subprocess_exec(*argv, env=environment(runbooks), stdout=-1, stderr=-1)
    out, err = await process.communicate()
    assert process.returncode == 0, (out, err)
    done = await run(runbooks, "status", "second/one", "--watch")
    assert done.exit_code == 4, "the first one holds the cluster"
    assert "busy" in done.output
    argv[argv.index("--workflow-id") + 1] = "first/one"
    process = await asyncio.create_subprocess_exec(*argv, env=environment(runbooks), stdout=-1, stderr=-1)
    await process.communicate()
    assert process.returncode != 0, "--fail-existing refuses an id that is open"
    again = await run(runbooks, "start", "ReplaceBroker", "--input", ask(runbooks), "--id", "first/one")
    assert again.exit_code == 4
    await run(runbooks, "reject", "first/one", "--reason", "over")


async def test_the_gate_by_command(runbooks: Bench) -> None:
    lose(runbooks.world)
    id = await started(runbooks, wait_for_approval=True)
    seen = await status_when(runbooks, id, "gate")
    assert "the plan waits" in seen["status"]["waiting"]["reason"]
    wrong = await run(runbooks, "approve", id, "--reason", "yes", "--plan-sha256", "0" * 64)
    assert wrong.exit_code == 2
    assert "plan_sha256" in wrong.stderr
    right = seen["status"]["plan"]["reference"]["sha256"]
    done = await run(runbooks, "approve", id, "--reason", "INC-1", "--by", "alice", "--plan-sha256", right)
    assert done.exit_code == 0, done.output
    done = await run(runbooks, "status", id, "--watch", "-o", "json")
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["decisions"][0]["by"] == "alice"
    late = await run(runbooks, "pause", id, "--reason", "late")
    assert late.exit_code == 2
    assert "is over" in late.stderr


async def test_reject_pause_resume_abort(runbooks: Bench) -> None:
    lose(runbooks.world)
    id = await started(runbooks, wait_for_approval=True)
    await status_when(runbooks, id, "gate")
    assert (await run(runbooks, "resume", id, "--reason", "x")).exit_code == 2
    assert (await run(runbooks, "pause", id, "--reason", "x")).exit_code == 0
    assert (await run(runbooks, "pause", id, "--reason", "x")).exit_code == 2
    assert (await run(runbooks, "resume", id, "--reason", "x")).exit_code == 0
    assert (await run(runbooks, "abort", id, "--reason", "enough", "--by", "bob")).exit_code == 0
    done = await run(runbooks, "status", id, "--watch")
    assert done.exit_code == 1
    assert "aborted" in done.output and "bob" in done.output


async def test_a_node_is_drained_and_handed_back_by_command(runbooks: Bench) -> None:
    given = ("--cluster", runbooks.cluster, "--node", "node-events-a", "--reason", "new kernel", "--no-wait-for-approval")
    done = await run(runbooks, "start", "drain", *given, "-o", "json")
    assert done.exit_code == 0, done.output
    id = str(json.loads(done.stdout)["workflow_id"])
    assert "node-events-a" in id
    early = await run(runbooks, "uncordon", id, "--reason", "x", "--node", "node-events-b")
    assert early.exit_code == 2 and "held" in early.stderr
    for _ in range(200):
        back = await run(runbooks, "uncordon", id, "--reason", "kernel is new", "--by", "alice", "--node", "node-events-a")
        if back.exit_code == 0:
            break
        await asyncio.sleep(0.1)
    assert back.exit_code == 0 and "temporal workflow update execute" in back.output, back.output
    done = await run(runbooks, "status", id, "--watch", "-o", "json")
    assert done.exit_code == 0, done.output
    assert [decision["action"] for decision in json.loads(done.stdout)["decisions"]] == ["uncordon"]


async def test_preflight_s_reasons_end_with_3_and_what_is_not_there_with_2(runbooks: Bench) -> None:
    done = await run(runbooks, "start", "ReplaceBroker", "--input", ask(runbooks), "--wait")
    assert done.exit_code == 3
    assert "broker-is-up" in done.output and "remedy" in done.output
    done = await run(runbooks, "start", "ReplaceBroker", "--input", ask(runbooks, broker_id=7), "--wait")
    assert done.exit_code == 2
    assert "broker_ids: 7 has no pod" in done.output
    done = await run(runbooks, "start", "ReplaceBroker", "--input", ask(runbooks, cluster="nowhere"), "--wait")
    assert done.exit_code == 2
    assert "cluster: " in done.output


async def test_a_plan_changes_nothing(runbooks: Bench) -> None:
    lose(runbooks.world)
    acts: list[str] = []
    runbooks.world.before_act = acts.append
    done = await run(runbooks, "plan", "ReplaceBroker", "--input", ask(runbooks), "-o", "json")
    assert done.exit_code == 0, done.output
    preview = json.loads(done.stdout)
    assert [one["broker_id"] for one in preview["plan"]["returning"]] == [1001]
    assert preview["plan"]["bytes_to_copy"] == 24 * 30_000_000
    assert acts == []
    assert runbooks.world.records == {}
    done = await run(runbooks, "plan", "ReplaceBroker", "--input", ask(runbooks))
    assert "nothing was changed" in done.output
    done = await run(runbooks, "plan", "ReplaceBroker", "--input", ask(runbooks, broker_id=7))
    assert done.exit_code == 2
    done = await run(runbooks, "plan", "ReplaceBroker", "--input", ask(runbooks, cluster="nowhere"))
    assert done.exit_code == 2
    assert "not configured" in done.stderr
    done = await run(runbooks, "plan", "ClearLeftovers", "--input", json.dumps({"cluster": "x", "requester": "y"}))
    assert done.exit_code == 2


@pytest.mark.parametrize("command", [["status"], ["approve", "--reason", "x"], ["abort", "--reason", "x"]])
async def test_an_unknown_run_is_bad_input(runbooks: Bench, command: list[str]) -> None:
    done = await run(runbooks, command[0], "no/such/run", *command[1:])
    assert done.exit_code == 2
    assert "no/such/run" in done.stderr


async def test_a_status_without_a_worker_says_so(runbooks: Bench) -> None:
    handle = await runbooks.client.start_workflow("ReplaceBroker", {}, id="nobody/works", task_queue="no-worker-here")
    done = await run(runbooks, "status", "nobody/works")
    assert done.exit_code == 0
    assert "no worker answers" in done.output
    await handle.terminate()
    done = await run(runbooks, "status", "nobody/works", "--watch")
    assert done.exit_code == 1
    assert "clear-leftovers" in done.output


async def test_a_step_that_is_retried_says_why(runbooks: Bench) -> None:
    lose(runbooks.world)

    def fail(name: str) -> None:
        raise ConnectionError("the API server is away")

    runbooks.world.before_act = fail
    id = await started(runbooks)
    for _ in range(100):
        done = await run(runbooks, "status", id)
        if "the API server is away" in done.output:
            break
        await asyncio.sleep(0.1)
    assert "retried (attempt" in done.output
    runbooks.world.before_act = lambda name: None
    done = await run(runbooks, "status", id, "--watch")
    assert done.exit_code == 0, done.output


async def test_the_installed_command_ends_with_its_code(runbooks: Bench) -> None:
    executable = str(Path(sys.executable).parent / "kafka-runbooks")
    process = await asyncio.create_subprocess_exec(
        executable, "status", "no/such/run", env=environment(runbooks), stdout=-1, stderr=-1
    )
    _, err = await process.communicate()
    assert process.returncode == 2
    assert b"no/such/run" in err


async def test_a_plan_of_moves_is_shown_and_an_abort_may_roll_back(runbooks: Bench) -> None:
    world = runbooks.world
    world.add_broker("events", "zone-a")
    before = {name: list(partition.replicas) for name, partition in world.partitions.items()}
    fields = {"cluster": runbooks.cluster, "requester": "test", "brokers": [1007]}
    shown = await run(runbooks, "plan", "ScaleUp", "--input", json.dumps(fields))
    assert shown.exit_code == 0, shown.output
    assert "scale up with brokers 1007" in shown.output and "abort with rollback" in shown.output
    assert not [name for name, (kind, _) in world.records.items() if kind == "plan"]
    refused = await run(runbooks, "plan", "ScaleUp", "--input", json.dumps({**fields, "brokers": [77]}))
    assert refused.exit_code == 2 and "77" in refused.output
    slow = {**fields, "wait_for_approval": False, "throttle": {"mode": "fixed", "rate_bytes_per_s": 1_000_000}}
    done = await run(runbooks, "start", "scale-up", "--input", json.dumps(slow), "-o", "json")
    assert done.exit_code == 0, done.output
    workflow_id = json.loads(done.stdout)["workflow_id"]
    await status_when(runbooks, workflow_id, "steps")
    aborted = await run(runbooks, "abort", workflow_id, "--reason", "wrong night", "--by", "alice", "--rollback")
    assert aborted.exit_code == 0 and '"rollback":true' in aborted.output.replace(" ", ""), aborted.output
    ended = await run(runbooks, "status", workflow_id, "--watch")
    assert ended.exit_code == 1 and "rolled back" in ended.output
    assert {name: list(partition.replicas) for name, partition in world.partitions.items()} == before


async def test_an_abort_of_a_runbook_without_rollback_says_so(runbooks: Bench) -> None:
    lose(runbooks.world)
    workflow_id = await started(runbooks, wait_for_approval=True)
    await status_when(runbooks, workflow_id, "gate")
    refused = await run(runbooks, "abort", workflow_id, "--reason", "r", "--by", "alice", "--rollback")
    assert refused.exit_code == 2 and "rollback" in refused.output
    aborted = await run(runbooks, "abort", workflow_id, "--reason", "r", "--by", "alice")
    assert aborted.exit_code == 0


async def test_more_brokers_by_command(runbooks: Bench) -> None:
    world = runbooks.world
    lose(world)
    id = await started(runbooks, throttle={"mode": "fixed", "rate_bytes_per_s": 1_000_000})
    await status_when(runbooks, id, "steps")
    world.lose_node("node-events-b")
    world.add_node("spare-b", "zone-b", "events")
    nobody = await run(runbooks, "add-brokers", id, "--reason", "x")
    assert nobody.exit_code == 2 and "exactly one of broker_ids, nodes and zone" in nobody.stderr
    done = await run(
        runbooks, "add-brokers", id, "--broker-id", "1002", "--node-is-gone", "--no-wait-for-approval", "--reason", "x"
    )
    assert done.exit_code == 0 and "--name add_brokers" in done.output, done.output
    for _ in range(100):
        if len(json.loads((await run(runbooks, "status", id, "-o", "json")).stdout)["status"]["brokers"]) == 2:
            break
        await asyncio.sleep(0.1)
    assert (await run(runbooks, "throttle", "set", id, "--rate", "1000000000", "--reason", "quick")).exit_code == 0
    over = await run(runbooks, "status", id, "--watch")
    assert over.exit_code == 0 and "brokers 1001, 1002 are back" in over.output
