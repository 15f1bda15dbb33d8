"""What becomes of runs and scheduled looks, for metrics and messages: every worker asks Temporal for those of its task queue.

Temporal knows every run, so a worker that has just started knows what its predecessor knew, and several workers tell the same.
Nothing of it is in the runs themselves: no metric and no message changes a run's history, fails it, or waits in it.
"""

import asyncio
import contextlib
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import pydantic
import structlog
from temporalio.client import Client, WorkflowExecution
from temporalio.common import WorkflowIDReusePolicy
from temporalio.exceptions import WorkflowAlreadyStartedError
from temporalio.service import RPCError

from activities.ledgers import LEASE_TIME, name_of
from kafka_runbooks import search_attributes
from kafka_runbooks.catalogue import RUNBOOKS
from kafka_runbooks.clients import store
from kafka_runbooks.clients.clusters import Clusters
from kafka_runbooks.clients.errors import ClientError
from kafka_runbooks.models.certificate_ends import CertificateReport
from kafka_runbooks.models.health import HealthReport
from kafka_runbooks.models.notification import Notification
from kafka_runbooks.models.results import Outcome, RunbookResult
from kafka_runbooks.runs import observing
from kafka_runbooks.runs.observing import Observation
from workflows.notify import Notify

log = structlog.get_logger()

LOOK_SECONDS = 15.0
LEDGER_SECONDS = 60.0
ENDED_LATELY = timedelta(hours=1)
MOST_RUNS = 200
NO_NEWS = (Outcome.NOTHING_TO_DO, Outcome.BUSY, Outcome.JOINED, Outcome.SKIPPED)
"""Ends that nobody is told of: most are a schedule's, and who started the run by hand has the answer."""
REPORTS: dict[str, type[HealthReport | CertificateReport]] = {
    "CertificateWatch": CertificateReport,
    "HealthCheck": HealthReport,
}
"""Scheduled looks, and what they end with."""


@dataclass(frozen=True)
class EndedRun:
    """A run that has ended lately."""

    cluster: str
    runbook: str
    workflow_id: str
    run_id: str
    result: RunbookResult


@dataclass(frozen=True)
class OpenRun:
    """A run that is open."""

    cluster: str
    started_at: datetime
    observed: Observation


@dataclass(frozen=True)
class EndedLook:
    """A scheduled look that has ended lately."""

    cluster: str
    kind: str
    workflow_id: str
    run_id: str
    ended_at: datetime
    report: HealthReport | CertificateReport


@dataclass(frozen=True)
class Seen:
    """What the last look has found."""

    open: tuple[OpenRun, ...] = ()
    ended: tuple[EndedRun, ...] = ()
    looks: tuple[EndedLook, ...] = ()
    leftovers: dict[str, int] = field(default_factory=dict)
    """Cluster -> ledgers of runs that are over; a cluster whose ledgers can't be read is left out."""


class RunWatch:
    """Looks at the runs of a task queue again and again.

    Args:
        client: Temporal.
        clusters: whose ledgers are counted.
        task_queue: of the runs.
        has_webhook: whether people are told.
    """

    def __init__(self, client: Client, clusters: Clusters, task_queue: str, *, has_webhook: bool) -> None:
        self._client = client
        self._clusters = clusters
        self._task_queue = task_queue
        self._has_webhook = has_webhook
        self._ended: dict[str, EndedRun] = {}
        self._looks: dict[str, EndedLook] = {}
        self._told: set[str] = set()
        self._ledgers_at = -LEDGER_SECONDS
        self.seen = Seen()
        self.looked_at: float | None = None
        """By the monotonic clock."""

    async def watch(self) -> None:
        """Look until cancelled. A look that fails is followed by another."""
        while True:
            try:
                await self.look()
            except Exception as error:
                # Whatever it is: a watch that has ended looks like a night in which nothing happens.
                log.warning("runs can't be looked at", error=f"{type(error).__name__}: {error}"[:300])
            await asyncio.sleep(LOOK_SECONDS)

    async def look(self) -> None:
        """Look once, and tell people of what is new.

        Raises:
            RPCError: Temporal doesn't answer.
        """
        ours, looks = (f"TaskQueue = '{self._task_queue}' AND {_of_type(types)}" for types in (RUNBOOKS, REPORTS))
        since = datetime.now(UTC) - ENDED_LATELY
        found = self._client.list_workflows(f"{ours} AND ExecutionStatus = 'Running'", limit=MOST_RUNS)
        open_runs = [one async for run in found if (one := await self._observed(run)) is not None]
        lately = f"CloseTime > '{since:%Y-%m-%dT%H:%M:%SZ}'"
        over = f"{ours} AND ExecutionStatus != 'Running' AND {lately}"
        closed = [run async for run in self._client.list_workflows(over, limit=MOST_RUNS)]
        ends = {run.run_id: self._ended.get(run.run_id) or await self._end_of(run) for run in closed}
        self._ended = {run_id: end for run_id, end in ends.items() if end is not None}
        looked = f"{looks} AND ExecutionStatus = 'Completed' AND {lately}"
        done = [run async for run in self._client.list_workflows(looked, limit=MOST_RUNS)]
        reports = {run.run_id: self._looks.get(run.run_id) or await self._report_of(run) for run in done}
        self._looks = {run_id: look for run_id, look in reports.items() if look is not None}
        self.seen = Seen(
            open=tuple(one for one in open_runs if not one.observed.is_over),
            ended=tuple(self._ended.values()),
            looks=tuple(self._looks.values()),
            leftovers=await self._leftovers({one.observed.run_id for one in open_runs}),
        )
        self.looked_at = time.monotonic()
        if self._has_webhook:
            for message, key in news(self.seen):
                await self._tell(message, key)

    async def _observed(self, run: WorkflowExecution) -> OpenRun | None:
        """None: it can't be observed, or is gone and the list doesn't say so yet; the others can."""
        try:
            observed = await observing.observe(self._client, run.id, run.run_id)
        except (RPCError, pydantic.ValidationError) as error:
            log.warning("a run can't be observed", workflow_id=run.id, error=str(error)[:300])
            return None
        return OpenRun(_cluster_of(run), run.start_time, observed)

    async def _end_of(self, run: WorkflowExecution) -> EndedRun | None:
        """None, as for one that is open."""
        handle = self._client.get_workflow_handle(run.id, run_id=run.run_id, result_type=RunbookResult)
        try:
            result = await observing.result_of(handle)
        except (RPCError, pydantic.ValidationError) as error:
            log.warning("a run's end can't be read", workflow_id=run.id, error=str(error)[:300])
            return None
        return EndedRun(_cluster_of(run), run.workflow_type, run.id, run.run_id, result)

    async def _report_of(self, run: WorkflowExecution) -> EndedLook | None:
        """None, as for one that is open."""
        handle = self._client.get_workflow_handle(run.id, run_id=run.run_id, result_type=REPORTS[run.workflow_type])
        try:
            report = await handle.result(rpc_timeout=timedelta(seconds=10))
        except (RPCError, pydantic.ValidationError) as error:
            log.warning("what a look has found can't be read", workflow_id=run.id, error=str(error)[:300])
            return None
        ended_at = run.close_time or run.start_time
        return EndedLook(report.cluster or _cluster_of(run), run.workflow_type, run.id, run.run_id, ended_at, report)

    async def _leftovers(self, open_runs: set[str]) -> dict[str, int]:
        """A ledger whose lease wasn't renewed in time belongs to a run that is over, in whichever namespace it ran."""
        if time.monotonic() - self._ledgers_at < LEDGER_SECONDS:
            return self.seen.leftovers
        self._ledgers_at = time.monotonic()
        alive, expired = {name_of(run_id) for run_id in open_runs}, datetime.now(UTC) - LEASE_TIME
        counted = {}
        for cluster in self._clusters.names():
            try:
                ledgers = await asyncio.to_thread(store.written, self._clusters.open(cluster).kubernetes, store.LEDGER)
            except ClientError as error:
                log.warning("ledgers can't be listed", cluster=cluster, error=str(error)[:300])
                continue
            counted[cluster] = sum(one.name not in alive and one.at < expired for one in ledgers)
        return counted

    async def _tell(self, message: Notification, key: str) -> None:
        """Start the message's workflow; whoever comes second finds that it was there."""
        name = f"{message.cluster}/notify/{message.run_id}/{key}"
        if name in self._told:
            return
        with contextlib.suppress(WorkflowAlreadyStartedError):
            await self._client.start_workflow(
                Notify.run,
                message,
                id=name,
                task_queue=self._task_queue,
                id_reuse_policy=WorkflowIDReusePolicy.REJECT_DUPLICATE,
                static_summary=message.text[:200],
            )
        self._told.add(name)


def news(seen: Seen) -> Iterator[tuple[Notification, str]]:
    """What people should know, each with a key that is the same for every worker and every look."""
    for one in seen.open:
        waiting = one.observed.status.waiting if one.observed.status is not None else None
        if waiting is not None and waiting.needs_person:
            run = one.observed
            text = (
                f"{one.cluster}: {run.runbook} waits for a person since {waiting.since:%H:%M} UTC: {waiting.reason}. "
                f"To go on: {waiting.unblocks}. kafka-runbooks status {run.workflow_id}"
            )
            message = Notification(
                cluster=one.cluster,
                runbook=run.runbook,
                workflow_id=run.workflow_id,
                run_id=run.run_id,
                event="waits",
                text=text,
            )
            yield message, f"waits-{waiting.since:%Y%m%dT%H%M%S}"
    for end in seen.ended:
        if end.result.outcome in NO_NEWS:
            continue
        text = f"{end.cluster}: {end.runbook} {end.result.outcome}: {end.result.summary}. kafka-runbooks status {end.workflow_id}"
        if end.result.left_behind:
            text += f". Left behind: {'; '.join(end.result.left_behind[:5])}"
        message = Notification(
            cluster=end.cluster,
            runbook=end.runbook,
            workflow_id=end.workflow_id,
            run_id=end.run_id,
            event=end.result.outcome,
            text=text,
        )
        yield message, "ended"
    for look in seen.looks:
        if look.report.news:
            message = Notification(
                cluster=look.cluster,
                runbook=look.kind,
                workflow_id=look.workflow_id,
                run_id=look.run_id,
                event="found",
                text=f"{look.cluster}: {look.kind}: {look.report.news}",
            )
            yield message, "found"


def _of_type(types: Iterable[str]) -> str:
    return f"WorkflowType IN ({', '.join(repr(name) for name in types)})"


def _cluster_of(run: WorkflowExecution) -> str:
    """By its search attribute; where these aren't registered, by its ID."""
    return run.typed_search_attributes.get(search_attributes.CLUSTER) or run.id.partition("/")[0]
