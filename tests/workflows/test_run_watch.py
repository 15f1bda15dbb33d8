"""What workers tell of runs, on a real Temporal: metrics that any worker has at once, and messages that go out once."""

import asyncio
import os
import re
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from prometheus_client import CollectorRegistry, generate_latest
from temporalio.client import Client, WorkflowHandle
from temporalio.service import RPCError, RPCStatusCode
from temporalio.testing import WorkflowEnvironment

from activities import ledgers
from kafka_runbooks.clients import store
from kafka_runbooks.clients.webhook import Webhook
from kafka_runbooks.models.ledger import Ledger, Owner
from kafka_runbooks.models.operator import Approval, OperatorAction
from kafka_runbooks.models.results import Outcome, RunbookResult
from kafka_runbooks.runs import observing
from kafka_runbooks.runs.observing import Observation
from tests.clients.local_kafka import free_ports
from tests.clients.local_webhook import LocalWebhook
from tests.clients.scraped import until_it_answers
from tests.fakes.kubernetes import FakeKubernetes
from tests.temporal_env import Bench, bench, make_world
from tests.workflows.test_replace_broker import until
from worker import run_watch
from worker.run_metrics import FORGOTTEN_SECONDS, RunMetrics
from worker.run_watch import RunWatch

BY = OperatorAction(by="bob", reason="CHG-1")


@pytest_asyncio.fixture(scope="module")
async def hooked(
    server: WorkflowEnvironment, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[tuple[Bench, LocalWebhook]]:
    """One worker for all of these tests, which has a webhook."""
    file = tmp_path_factory.mktemp("webhook") / "url"
    with LocalWebhook() as webhook:
        file.write_text(webhook.url)
        async with bench(server, make_world(), webhook=Webhook(file)) as ready:
            yield ready, webhook


@pytest.fixture
def watched(hooked: tuple[Bench, LocalWebhook]) -> tuple[Bench, LocalWebhook, Callable[[], RunWatch]]:
    """And what makes the watch of one more worker."""
    ready, webhook = hooked
    webhook.posts.clear()
    webhook.answers.clear()
    return ready, webhook, lambda: RunWatch(ready.client, ready.clusters, ready.task_queue, has_webhook=True)


Watched = tuple[Bench, LocalWebhook, Callable[[], RunWatch]]


def metrics(watch: RunWatch) -> dict[str, float]:
    registry = CollectorRegistry()
    registry.register(RunMetrics(watch))
    lines = generate_latest(registry).decode().splitlines()
    return {line.rpartition(" ")[0]: float(line.rpartition(" ")[2]) for line in lines if not line.startswith("#")}


async def at_the_gate(ready: Bench, broker_id: int = 1001) -> WorkflowHandle[Any, RunbookResult]:
    handle = await ready.start_runbook("EvacuateLeaders", brokers=[broker_id], wait_for_approval=True)
    await until(handle, lambda status: status.phase == "gate" and status.waiting is not None, 60)
    return handle


async def seen_when(watch: RunWatch, holds: Callable[[], bool]) -> None:
    """Temporal's index of runs follows their events by a moment."""
    for _ in range(100):
        await watch.look()
        if holds():
            return
        await asyncio.sleep(0.1)
    raise AssertionError(watch.seen)


async def delivered(webhook: LocalWebhook, number: int) -> list[str]:
    for _ in range(200):
        if len(webhook.posts) >= number:
            break
        await asyncio.sleep(0.05)
    await asyncio.sleep(0.3)
    assert len(webhook.posts) == number
    return [post["text"] for post in webhook.posts]


async def test_a_run_at_the_gate_is_told_once_by_two_workers_and_so_is_its_end(watched: Watched) -> None:
    ready, webhook, new_watch = watched
    handle = await at_the_gate(ready)
    one, other = new_watch(), new_watch()
    await seen_when(one, lambda: bool(one.seen.open))
    await seen_when(other, lambda: bool(other.seen.open))
    await one.look()
    labels = f'cluster="{ready.cluster}",runbook="EvacuateLeaders",workflow_id="{handle.id}"'
    for watch in (one, other):
        found = metrics(watch)
        since = found[
            f'kafka_runbooks_run_waiting_since_timestamp_seconds{{cluster="{ready.cluster}",needs="person",'
            + labels.split(",", 1)[1]
            + "}"
        ]
        assert abs(since - datetime.now(UTC).timestamp()) < 120
        assert found[f"kafka_runbooks_run_started_timestamp_seconds{{{labels}}}"] <= since
        assert found[f"kafka_runbooks_run_unanswered{{{labels}}}"] == 0
        assert any(key.startswith("kafka_runbooks_run_step{") and 'phase="gate"' in key for key in found)
    (text,) = await delivered(webhook, 1)
    assert "waits for a person" in text and "approve or reject" in text and f"kafka-runbooks status {handle.id}" in text

    await handle.execute_update("reject", BY)
    assert (await observing.result_of(handle)).outcome is Outcome.REJECTED
    for watch in (one, other, new_watch()):
        await seen_when(watch, lambda: not watch.seen.open and bool(watch.seen.ended))  # noqa: B023
        key = f'kafka_runbooks_ended_runs{{cluster="{ready.cluster}",outcome="rejected",runbook="EvacuateLeaders"}}'
        assert metrics(watch)[key] == 1
        assert not any(key.startswith("kafka_runbooks_run_") for key in metrics(watch))
    _, text = await delivered(webhook, 2)
    assert "rejected by bob" in text
    history = (
        await ready.client.get_workflow_handle(f"{ready.cluster}/notify/{handle.result_run_id}/ended").fetch_history()
    ).to_json()
    assert "s3cret" not in history and webhook.url not in history


async def test_a_webhook_that_fails_holds_no_run_and_is_tried_again_or_given_up(watched: Watched) -> None:
    ready, webhook, new_watch = watched
    webhook.answers = [500, 404, 404]
    handle = await at_the_gate(ready)
    watch = new_watch()
    await seen_when(watch, lambda: bool(watch.seen.open))
    await handle.execute_update("approve", Approval(by="bob", reason="CHG-2"))
    assert (await handle.result()).outcome is Outcome.DONE
    await seen_when(watch, lambda: any(one.run_id == handle.result_run_id for one in watch.seen.ended))
    name = f"{ready.cluster}/notify/{handle.result_run_id}"
    told = await ready.client.get_workflow_handle(f"{name}/ended").result()
    assert told["is_delivered"] is False and re.search("answers 404", told["note"])
    for _ in range(100):
        if len(webhook.posts) >= 3:
            break
        await asyncio.sleep(0.1)
    waits = [post for post in webhook.posts if post["event"] == "waits"]
    assert 1 <= len(waits) <= 2, "after the 500 it is sent again, after a 404 not"


async def test_ends_that_are_no_news_are_counted_and_told_nobody(watched: Watched) -> None:
    ready, webhook, new_watch = watched
    handle = await ready.start_runbook("ClearLeftovers")
    assert (await handle.result()).outcome is Outcome.NOTHING_TO_DO
    watch = new_watch()
    await seen_when(watch, lambda: any(one.run_id == handle.result_run_id for one in watch.seen.ended))
    key = f'kafka_runbooks_ended_runs{{cluster="{ready.cluster}",outcome="nothing to do",runbook="ClearLeftovers"}}'
    assert metrics(watch)[key] >= 1
    assert not [post for post in webhook.posts if post["runbook"] == "ClearLeftovers"]


async def test_a_run_that_is_terminated_is_told_as_failed(watched: Watched) -> None:
    ready, _, new_watch = watched
    handle = await at_the_gate(ready, 1002)
    await handle.terminate("by hand")
    watch = new_watch()
    await seen_when(watch, lambda: any(one.run_id == handle.result_run_id for one in watch.seen.ended))
    (end,) = (one for one in watch.seen.ended if one.run_id == handle.result_run_id)
    assert end.result.outcome is Outcome.FAILED and "terminated" in end.result.summary


async def test_a_ledger_whose_lease_has_run_out_is_a_leftover(watched: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    ready, _, new_watch = watched
    kubernetes = FakeKubernetes(ready.world)
    monkeypatch.setattr(run_watch, "LEDGER_SECONDS", 0.0)
    expired = datetime.now(UTC)
    for run_id in ("long-gone", "young"):
        ledger = Ledger(owner=Owner(workflow_id="a", run_id=run_id, expires_at=expired), cluster=ready.cluster)
        store.save(kubernetes, store.LEDGER, ledgers.name_of(run_id), ledger, "a ledger")
    watch = new_watch()
    await watch.look()
    assert watch.seen.leftovers == {ready.cluster: 0}
    record = kubernetes.read_record(ledgers.name_of("long-gone"))
    assert record is not None
    long_ago = (expired - ledgers.LEASE_TIME - timedelta(minutes=1)).isoformat(timespec="seconds")
    summary, annotations = "a ledger", {**record.annotations, store.WRITTEN_AT: long_ago}
    kubernetes.write_record(ledgers.name_of("long-gone"), store.LEDGER, record.parts, summary, record.version, annotations)
    await watch.look()
    assert watch.seen.leftovers == {ready.cluster: 1}
    assert metrics(watch)[f'kafka_runbooks_leftovers{{cluster="{ready.cluster}"}}'] == 1


async def test_a_run_that_cannot_be_observed_hides_no_other_and_nothing_ends_the_watch(
    watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    ready, _, new_watch = watched
    handle, looks, observe = await at_the_gate(ready, 1003), list[str](), observing.observe  # 1001 leads nothing any more

    async def gone_once(client: Client, workflow_id: str, run_id: str | None = None) -> Observation:
        looks.append(workflow_id)
        if len(looks) == 1:
            raise RPCError("not found", RPCStatusCode.NOT_FOUND, b"")
        if len(looks) == 2:
            raise KeyError("a defect")
        return await observe(client, workflow_id, run_id)

    monkeypatch.setattr(observing, "observe", gone_once)
    monkeypatch.setattr(run_watch, "LOOK_SECONDS", 0.05)
    watch = new_watch()
    watching = asyncio.create_task(watch.watch())
    try:
        async with asyncio.timeout(20):
            while not watch.seen.open:
                await asyncio.sleep(0.05)
    finally:
        watching.cancel()
    assert watch.seen.open[0].observed.workflow_id == handle.id and len(looks) >= 3
    await handle.execute_update("reject", BY)
    await observing.result_of(handle)


async def test_an_old_look_tells_its_age_and_nothing_else(watched: Watched) -> None:
    _, _, new_watch = watched
    watch = new_watch()
    assert metrics(watch) == {}
    await watch.look()
    assert watch.looked_at is not None
    watch.looked_at -= FORGOTTEN_SECONDS
    (age,) = metrics(watch).items()
    assert age[0] == "kafka_runbooks_seconds_since_look" and age[1] >= FORGOTTEN_SECONDS


def test_the_file_with_the_url_is_a_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    from worker.settings import WorkerSettings

    monkeypatch.setenv("KAFKA_RUNBOOKS_WEBHOOK_URL_FILE", "/etc/webhook/url")
    assert WorkerSettings().webhook_url_file == Path("/etc/webhook/url")


def test_a_worker_s_process_tells_what_it_sees(server: WorkflowEnvironment, tmp_path: Path) -> None:
    health, temporal = free_ports(2)
    (tmp_path / "clusters.yaml").write_text("clusters: {}\n")
    environment = os.environ | {
        "TEMPORAL_ADDRESS": server.client.service_client.config.target_host,
        "KAFKA_RUNBOOKS_CLUSTERS_FILE": str(tmp_path / "clusters.yaml"),
        "KAFKA_RUNBOOKS_TASK_QUEUE": "test-of-the-process",
        "KAFKA_RUNBOOKS_HEALTH_PORT": str(health),
        "KAFKA_RUNBOOKS_METRICS_PORT": str(temporal),
    }
    process = subprocess.Popen([sys.executable, "-m", "worker"], env=environment)
    try:
        metrics = until_it_answers(f"http://127.0.0.1:{health}/metrics", "kafka_runbooks_seconds_since_look ")
        assert "kafka_runbooks_certificate_days_left" in metrics
    finally:
        process.terminate()
        process.wait(60)
