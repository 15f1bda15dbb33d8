"""What a person sees of a runbook in the terminal: steps, progress, rate, time left, and why it waits.

Three sources are put together: the `status` query, the latest heartbeat of the running activity (fresher than what it
signals), and the last failure of an activity that is being tried again.
"""

import asyncio
import os
from urllib.parse import quote

from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text
from temporalio.client import Client, WorkflowQueryFailedError
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.service import RPCError

from kafka_runbooks.models.preview import Preview
from kafka_runbooks.models.runbooks import Outcome, RunbookResult
from kafka_runbooks.models.status import Progress, Status
from kafka_runbooks.workflows.details import duration, size

QUERY_SECONDS = 3.0


def ui_link(workflow_id: str, namespace: str = "default") -> str:
    base = os.environ.get("TEMPORAL_UI_URL", "http://127.0.0.1:8233").rstrip("/")
    return f"{base}/namespaces/{namespace}/workflows/{quote(workflow_id, safe='')}"


async def look(client: Client, workflow_id: str) -> tuple[Status | None, Progress | None, str | None]:
    """Status, the freshest progress, and what an activity failed with last; None for what can't be had now."""
    handle = client.get_workflow_handle(workflow_id)
    status, progress, failure = None, None, None
    try:
        async with asyncio.timeout(QUERY_SECONDS):
            described = await handle.describe()
            for pending in described.raw_description.pending_activities:
                if pending.HasField("heartbeat_details") and pending.heartbeat_details.payloads:
                    found = await pydantic_data_converter.decode(list(pending.heartbeat_details.payloads), [Progress])
                    progress = found[0]
                if pending.HasField("last_failure"):
                    failure = f"{pending.activity_type.name}, attempt {pending.attempt}: {pending.last_failure.message}"
            status = await handle.query("status", result_type=Status)
    except (TimeoutError, RPCError, WorkflowQueryFailedError, ValueError):
        pass
    return status, progress, failure


async def view(client: Client, workflow_id: str) -> RenderableType:
    status, progress, failure = await look(client, workflow_id)
    return status_view(workflow_id, status, progress, failure)


def status_view(workflow_id: str, status: Status | None, fresh: Progress | None, failure: str | None) -> RenderableType:
    if status is None:
        return Panel(
            Text("no worker answers just now; the runbook is safe in Temporal and goes on when one does"), title=workflow_id
        )
    parts: list[RenderableType] = []
    where = Text(f"{status.phase}: {status.step}", style="bold")
    if status.step_number:
        where.append(f"   step {status.step_number} of {status.steps}", style="dim")
    parts.append(where)
    progress = fresh if fresh is not None and fresh.total_partitions else status.progress
    if progress is not None and progress.total_partitions:
        parts.append(ProgressBar(total=progress.total_bytes or progress.total_partitions, completed=_done(progress), width=60))
        line = f"{progress.done_partitions} of {progress.total_partitions} partitions"
        if progress.total_bytes:
            line += f", {size(progress.done_bytes)} of {size(progress.total_bytes)} at {size(progress.rate_bytes_per_s)}/s"
        if progress.eta_seconds is not None:
            line += f", {duration(progress.eta_seconds)} left"
        parts.append(Text(line))
        if progress.throttle_bytes_per_s is not None:
            parts.append(Text(f"throttle {size(progress.throttle_bytes_per_s)}/s a source; {progress.note}", style="dim"))
    waiting = (fresh.waiting if fresh is not None else None) or status.waiting
    if waiting is not None:
        parts.append(Text(f"waits since {waiting.since:%H:%M:%S} UTC: {waiting.reason}", style="yellow"))
        parts.append(Text(f"unblocks: {waiting.unblocks}", style="yellow"))
    parts += [Text(f"{reason.name}: {reason.message}", style="red") for reason in status.reasons[:10]]
    if failure:
        parts.append(Text(f"tried again: {failure}", style="red"))
    if status.owned_throttles:
        parts.append(Text("owns: " + "; ".join(status.owned_throttles[:4]), style="dim"))
    parts.append(Text(ui_link(workflow_id), style="dim"))
    return Panel(Group(*parts), title=workflow_id)


def _done(progress: Progress) -> int:
    return progress.done_bytes if progress.total_bytes else progress.done_partitions


def result_view(result: RunbookResult) -> RenderableType:
    good = result.outcome in (Outcome.DONE, Outcome.NOTHING_TO_DO)
    parts: list[RenderableType] = [Text(f"{result.outcome.value}: {result.summary}", style="green" if good else "red")]
    parts += [Text(f"{reason.name}: {reason.message}\n  clears: {reason.clears}", style="red") for reason in result.reasons]
    if result.checks:
        table = Table("exit contract", "holds", "found")
        for check in result.checks:
            table.add_row(check.name, "yes" if check.holds else "NO", check.detail)
        parts.append(table)
    if result.left_behind:
        parts.append(Text("left behind: " + "; ".join(result.left_behind), style="red"))
    return Group(*parts)


def preview_view(preview: Preview) -> RenderableType:
    parts: list[RenderableType] = [
        Text(f"{reason.name}: {reason.message}\n  clears: {reason.clears}", style="red") for reason in preview.reasons
    ]
    if preview.nothing_to_do:
        parts.append(Text(preview.nothing_to_do))
    plan = preview.plan
    if plan is not None:
        table = Table("plan", "")
        table.add_row("broker", f"{plan.broker_id} ({plan.pod} on {plan.node}, rack {plan.rack}, map {plan.map})")
        table.add_row("partitions", str(plan.partitions))
        table.add_row("to copy", f"{size(plan.bytes_to_copy)} (lower bound {size(plan.lower_bound_bytes)})")
        table.add_row("throttle", f"up to {size(plan.throttle_bytes_per_s)}/s a source")
        table.add_row("time", f"at least {duration(plan.eta_seconds)}")
        table.add_row("steps", "\n".join(plan.steps))
        table.add_row("meanwhile", "\n".join(plan.intermediate_states) or "any one broker may fail")
        table.add_row("inverse", plan.inverse)
        parts.append(table)
    return Group(*parts)
