"""How runs, plans and results look in a terminal."""

import re
import time
from datetime import UTC, datetime

from rich.console import Console, Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from kafka_runbooks.cli.watching import Seen
from kafka_runbooks.models.messages import Survey
from kafka_runbooks.models.plans import PlanSummary
from kafka_runbooks.models.results import Outcome, Reason, RunbookResult
from kafka_runbooks.models.status import Progress, Status, Waiting
from kafka_runbooks.models.wording import duration, size

FIGURES_SECONDS = 10.0
_FIGURES = re.compile(r"[\d.:]+( [kMGT]?B| s| min| h)?")


def watched(seen: Seen) -> RenderableType:
    """Everything of one look that a person would ask about."""
    status = seen.status
    parts: list[RenderableType] = [heading(seen)]
    if status is not None:
        parts.append(_steps(status))
    if seen.progress is not None:
        parts.append(progress_line(seen.progress))
    parts += [Text.assemble((line, "yellow")) for line in waits(seen)]
    if status is not None:
        parts += [Text(f"  reason {reason.name}: {reason.message}; {reason.remedy}") for reason in status.reasons]
        parts += [Text(f"  note: {note}", style="dim") for note in status.notes]
        parts += [Text(f"  holds: {held}", style="dim") for held in status.owned_throttles[:3]]
    return Group(*parts)


def _steps(status: Status) -> RenderableType:
    table = Table.grid(padding=(0, 2))
    took = {time.step: duration(time.seconds) for time in status.times}
    planned = status.plan.steps if status.plan else ()
    for step in (*(step for step in took if step not in planned and step != status.step), *planned):
        if step != status.step:
            table.add_row("", "[green]✓[/]" if step in took else "·", step, took.get(step, ""))
            continue
        table.add_row("", "[cyan]▶[/]", step, _ago(status.step_since))
    if status.step and status.step not in planned:
        table.add_row("", "[cyan]▶[/]", status.step, _ago(status.step_since))
    return table


def _ago(since: datetime | None) -> str:
    return "" if since is None else duration(max(0.0, (datetime.now(UTC) - since).total_seconds()))


def heading(seen: Seen) -> Text:
    """`ReplaceBroker lab/replace-broker/1001-… : steps`."""
    status = seen.status
    phase = status.phase if status else seen.state.lower()
    text = Text.assemble((seen.runbook, "bold"), f"  {seen.workflow_id}  ", (phase, "bold cyan"))
    if status is not None and status.step_number:
        text.append(f"  step {status.step_number} of {status.steps}")
    if status is not None and status.is_paused:
        text.append("  paused", style="yellow")
    return text


def progress_line(progress: Progress) -> RenderableType:
    """A bar with bytes, rate, time left and throttle."""
    words = [f"{progress.done_partitions} of {progress.total_partitions} partitions"] if progress.total_partitions else []
    if progress.total_bytes:
        words.append(f"{size(progress.done_bytes)} of {size(progress.total_bytes)}")
    if progress.rate_bytes_per_s:
        words.append(f"{size(progress.rate_bytes_per_s)}/s")
    if progress.eta_seconds is not None:
        words.append(f"{duration(progress.eta_seconds)} left")
    if progress.throttle_bytes_per_s is not None:
        words.append(f"throttle {size(progress.throttle_bytes_per_s)}/s")
    if progress.note:
        words.append(progress.note)
    table = Table.grid(padding=(0, 2))
    total, done = float(progress.total_bytes), float(progress.done_bytes)
    if not total:
        total, done = float(progress.total_partitions), float(progress.done_partitions)
    bar: RenderableType = ProgressBar(total=total, completed=min(done, total), width=30) if total else ""
    table.add_row("", bar, ", ".join(words))
    return table


def waits(seen: Seen) -> list[str]:
    """Why nothing moves: each cause with its since and what unblocks it."""
    lines = [f"! {seen.no_answer}"] if seen.no_answer else []
    waiting = seen.status.waiting if seen.status else None
    if seen.progress is not None and seen.progress.waiting is not None:
        waiting = seen.progress.waiting
    if waiting is not None:
        lines.append(f"waits {_since(waiting)}: {waiting.reason}; unblocks: {waiting.unblocks}")
    for activity in seen.activities:
        if activity.last_failure and activity.attempt > 1:
            how = "is being tried again" if activity.is_running else "will be tried again"
            lines.append(f"{activity.name} {how} (attempt {activity.attempt}): {activity.last_failure[:300]}")
    return lines


def _since(waiting: Waiting) -> str:
    ago = max(0.0, (datetime.now(UTC) - waiting.since).total_seconds())
    return f"since {waiting.since:%H:%M:%S} UTC ({duration(ago)})"


def one_line(seen: Seen) -> str:
    """A look as a line of a log, for output that is no terminal."""
    status, words = seen.status, []
    if status is not None:
        words.append(f"{status.phase}: {status.step}" if status.step else status.phase)
    if seen.progress is not None and seen.progress.total_bytes:
        progress = seen.progress
        words.append(f"{size(progress.done_bytes)} of {size(progress.total_bytes)}")
    return "; ".join([*words, *waits(seen)]) or seen.state.lower()


class News:
    """Looks as lines of a log: a line when something changes, and now and then while only figures do."""

    def __init__(self) -> None:
        self._told = ""
        self._told_at = 0.0

    def line(self, seen: Seen) -> str | None:
        """The line, or None where there is no news."""
        if seen.is_over:
            return None
        line, now = one_line(seen), time.monotonic()
        words = _FIGURES.sub("", line)
        if words == self._told and now - self._told_at < FIGURES_SECONDS:
            return None
        self._told, self._told_at = words, now
        return line


def print_plan(console: Console, plan: PlanSummary) -> None:
    """What a person reads before approving."""
    table, last = Table.grid(padding=(0, 2)), ""
    for line in plan.lines:
        table.add_row("" if line.label == last else line.label, Text(line.text))
        last = line.label
    if plan.brokers:
        brokers = Table("broker", "used", "then", "arrives", "replicas", "then", "leads", "then", box=None, pad_edge=False)
        for broker in plan.brokers:
            brokers.add_row(
                str(broker.broker_id),
                size(broker.used_bytes_before),
                size(broker.used_bytes_after),
                size(broker.arriving_bytes),
                *map(str, (broker.replicas_before, broker.replicas_after, broker.leaders_before, broker.leaders_after)),
            )
        table.add_row("brokers", brokers)
    table.add_row("steps", "\n".join(f"{number}. {step}" for number, step in enumerate(plan.steps, 1)))
    table.add_row("undo", plan.inverse)
    table.add_row("plan", f"sha256 {plan.reference.sha256}")
    console.print(table)


def print_reasons(console: Console, reasons: tuple[Reason, ...]) -> None:
    """Every reason, what clears it, and how it can be acknowledged."""
    for reason in reasons:
        console.print(f"[bold red]✗[/] [bold]{reason.name}[/]: ", Text(reason.message), sep="")
        console.print("    clears it: ", Text(reason.remedy), sep="")
        if reason.can_be_acknowledged:
            console.print("    or acknowledge it: ", Text(f'"acknowledged_risks": ["{reason.name}"]'), sep="")


def print_preview(console: Console, preview: Survey) -> None:
    """What would happen."""
    if preview.nothing_to_do:
        console.print(Text(f"nothing to do: {preview.nothing_to_do}"))
    if preview.plan is not None:
        print_plan(console, preview.plan)
    print_reasons(console, preview.reasons)
    for note in preview.notes:
        console.print(Text(f"note: {note}"))
    console.print("nothing was changed")


def print_result(console: Console, result: RunbookResult) -> None:
    """How it ended."""
    is_well = result.outcome in (Outcome.DONE, Outcome.NOTHING_TO_DO)
    console.print(Text.assemble((result.outcome.value, "bold green" if is_well else "bold red"), f": {result.summary}"))
    print_reasons(console, result.reasons)
    table = Table.grid(padding=(0, 2))
    for step in result.steps:
        table.add_row("", step.step, duration(step.seconds))
    for check in result.checks:
        table.add_row("[green]✓[/]" if check.passed else "[red]✗[/]", Text(check.name), Text(check.detail))
    for decision in result.decisions:
        table.add_row("", f"{decision.action} by {decision.by}", Text(decision.reason))
    if table.row_count:
        console.print(table)
    for left in result.left_behind:
        console.print(Text.assemble(("left behind: ", "bold red"), left))
