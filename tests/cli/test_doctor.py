"""`doctor` against a real Temporal server and a worker whose cluster is a world in memory."""

import json
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest
import pytest_asyncio
from temporalio.testing import WorkflowEnvironment

from activities.pools import Pool
from kafka_runbooks.cli import doctor
from kafka_runbooks.clients.kubernetes import rights
from kafka_runbooks.clients.security import acls
from tests.cli.test_commands import run
from tests.fakes.metrics import FakeMetrics
from tests.fakes.world import World
from tests.temporal_env import Bench, bench


@pytest_asyncio.fixture(scope="module")
async def clinic(server: WorkflowEnvironment) -> AsyncIterator[Bench]:
    """One worker for all: its cluster, with controllers, is in order at the beginning of each test."""
    world = World(controllers=3)
    world.add_topic("events.a", 3, (1001, 1002, 1003))
    async with bench(server, world) as ready:
        yield ready


@pytest.fixture
def runbooks(clinic: Bench) -> Bench:
    world = clinic.world
    world.denied, world.missing_acls, world.are_controllers_away = set(), (), False
    world.update_strategies.clear()
    return clinic


async def diagnosis(bench: Bench) -> tuple[int, list[dict[str, Any]]]:
    done = await run(bench, "doctor", bench.cluster, "-o", "json")
    return done.exit_code, json.loads(done.stdout)["checks"]


async def test_a_cluster_in_order_has_no_fault(runbooks: Bench) -> None:
    code, checks = await diagnosis(runbooks)
    assert [one for one in checks if one["fault"]] == [] and code == 0
    assert {one["about"] for one in checks} >= {"Temporal", "worker", "Kafka", "ACL", "RBAC", "clock", "version", "StatefulSet"}
    shown = await run(runbooks, "doctor", runbooks.cluster)
    assert shown.exit_code == 0 and "no fault" in shown.stdout and "FAULT" not in shown.stdout


async def test_every_missing_right_and_acl_is_named_with_what_mends_it(runbooks: Bench) -> None:
    needed = rights.of_worker("kafka")
    runbooks.world.denied, runbooks.world.missing_acls = set(needed), acls.WORKER
    code, checks = await diagnosis(runbooks)
    assert code == 1
    said = {one["fault"]: one["remedy"] for one in checks if one["fault"]}
    assert {f"the worker may not {right}" for right in needed} <= said.keys()
    assert all(right.rule in said[f"the worker may not {right}"] for right in needed)
    assert all(acl.arguments in said[f"the worker's principal lacks the ACL {acl}"] for acl in acls.WORKER)
    assert len(said) == len(needed) + len(acls.WORKER)
    shown = await run(runbooks, "doctor", runbooks.cluster)
    assert shown.exit_code == 1 and "mend it: kafka-acls.sh --bootstrap-server none:9092" in shown.stdout


async def test_what_does_not_answer_hides_nothing_else(runbooks: Bench) -> None:
    runbooks.world.are_controllers_away = True
    runbooks.world.update_strategies["events"] = "RollingUpdate"
    code, checks = await diagnosis(runbooks)
    faults = [one["fault"] for one in checks if one["fault"]]
    assert code == 1 and any("updateStrategy RollingUpdate" in fault for fault in faults) and len(faults) >= 2


async def test_metrics_that_nobody_serves_are_named_with_what_is_done_without(runbooks: Bench) -> None:
    metrics = runbooks.clusters.open(runbooks.cluster).metrics
    assert isinstance(metrics, FakeMetrics)
    metrics.is_away = True
    _, checks = await diagnosis(runbooks)
    metrics.is_away = False
    (found,) = [one for one in checks if one["fault"]]
    assert found["fault"].endswith("the metrics backend is away") and "docs/metrics.md; until then" in found["remedy"]


async def test_an_unknown_cluster_is_bad_input(runbooks: Bench) -> None:
    done = await run(runbooks, "doctor", "elsewhere")
    assert done.exit_code == 2 and "elsewhere" in done.stderr and "clusters.yaml" in done.stderr
    assert (await run(runbooks, "doctor", " ")).exit_code == 2


async def test_without_a_worker_it_says_so_and_asks_none(runbooks: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "PAUSES", ())
    done = await run(replace(runbooks, task_queue="nobody-polls-this"), "doctor", runbooks.cluster)
    assert done.exit_code == 1 and done.stdout.count("no worker polls the task queue nobody-polls-this") == 4
    assert "rollout status deployment/kafka-runbooks-worker" in done.stdout


def test_its_queues_are_those_of_the_worker_s_pools() -> None:
    assert {f"runs/{pool}" for pool in doctor.POOLS} == {pool.task_queue("runs") for pool in Pool}
