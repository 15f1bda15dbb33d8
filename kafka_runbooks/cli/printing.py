"""How runs and their results are shown in a terminal."""

import re
import time

from rich.console import Console, Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from kafka_runbooks.models.results import Outcome, Reason, RunbookResult
from kafka_runbooks.models.status import FIRST_REPORT, Progress, Status
from kafka_runbooks.models.steps import StepName
from kafka_runbooks.models.wording import duration, size
from kafka_runbooks.runs.observing import Observation
from kafka_runbooks.runs.waits import ago, since, waits

FIGURES_SECONDS = 10.0
SHOWN_BROKERS = 30
_FIGURES = re.compile(r"[\d.:]+( [kMGT]?B| s| min| h)?")


def run(observed: Observation) -> RenderableType:
    """A run as one observation shows it: phase, steps, progress, waits, notes, what it holds."""
    status = observed.status
    parts: list[RenderableType] = [heading(observed)]
    if status is not None:
        parts += [_brokers(status), _steps(status)] if status.brokers else [_steps(status)]
    if observed.progress is not None:
        parts.append(progress_line(observed.progress))
    parts += [Text.assemble((line, "yellow")) for line in waits(observed)]
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
        table.add_row("", "[cyan]▶[/]", step, ago(status.step_since))
    if status.step and status.step not in planned:
        table.add_row("", "[cyan]▶[/]", status.step, ago(status.step_since))
    return table


def _brokers(status: Status) -> RenderableType:
    """Each broker of a run that brings several back: how far its copy is, or why it waits."""
    table = Table.grid(padding=(0, 2))
    for one in status.brokers[:SHOWN_BROKERS]:
        copied, words = one.progress, ""
        is_back = copied is not None and copied.in_sync_partitions == copied.partitions and one.step == StepName.CATCH_UP
        if copied is not None and one.step == StepName.CATCH_UP:
            words = f"{copied.in_sync_partitions} of {copied.partitions} partitions, "
            words += f"{size(copied.done_bytes)} of {size(copied.total_bytes)}"
        elif one.waiting is not None and one.waiting.unblocks != FIRST_REPORT:
            words = f"waits {since(one.waiting)}: {one.waiting.reason}"
        state = "[green]✓[/]" if is_back else "[cyan]▶[/]"
        table.add_row("", state, f"broker {one.broker_id}", "in sync" if is_back else one.step, Text(words))
    if (more := len(status.brokers) - SHOWN_BROKERS) > 0:
        table.add_row("", "", f"and {more} more")
    return table


def heading(observed: Observation) -> Text:
    """`ReplaceBroker lab/replace-broker/1001-… : steps`."""
    status = observed.status
    phase = status.phase if status else observed.state.lower()
    text = Text.assemble((observed.runbook, "bold"), f"  {observed.workflow_id}  ", (phase, "bold cyan"))
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


def one_line(observed: Observation) -> str:
    """An observation as a line of a log, for output that is not a terminal."""
    status, words = observed.status, []
    if status is not None:
        words.append(f"{status.phase}: {status.step}" if status.step else status.phase)
    if observed.progress is not None and observed.progress.total_bytes:
        progress = observed.progress
        words.append(f"{size(progress.done_bytes)} of {size(progress.total_bytes)}")
    return "; ".join([*words, *waits(observed)]) or observed.state.lower()


class Log:
    """Observations as lines of a log: a line on every change, and one every few seconds while only figures change."""

    def __init__(self) -> None:
        self._last = ""
        self._last_at = 0.0

    def line(self, observed: Observation) -> str | None:
        """The line, or None if nothing changed."""
        if observed.is_over:
            return None
        line, now = one_line(observed), time.monotonic()
        text = _FIGURES.sub("", line)
        if text == self._last and now - self._last_at < FIGURES_SECONDS:
            return None
        self._last, self._last_at = text, now
        return line


def print_reasons(console: Console, reasons: tuple[Reason, ...]) -> None:
    """Every reason, its remedy, and how it can be acknowledged."""
    for reason in reasons:
        console.print(f"[bold red]✗[/] [bold]{reason.name}[/]: ", Text(reason.message), sep="")
        console.print("    remedy: ", Text(reason.remedy), sep="")
        if reason.can_be_acknowledged:
            console.print("    or acknowledge it: ", Text(f"--acknowledged-risks {reason.name}"), sep="")


def print_result(console: Console, result: RunbookResult) -> None:
    """How a run ended."""
    succeeded = result.outcome in (Outcome.DONE, Outcome.NOTHING_TO_DO, Outcome.JOINED, Outcome.SKIPPED)
    console.print(Text.assemble((result.outcome.value, "bold green" if succeeded else "bold red"), f": {result.summary}"))
    print_reasons(console, result.reasons)
    table = Table.grid(padding=(0, 2))
    for step in result.steps:
        whose = "" if step.broker_id is None else f"broker {step.broker_id}: "
        table.add_row("", f"{whose}{step.step}", duration(step.seconds))
    for check in result.checks:
        table.add_row("[green]✓[/]" if check.passed else "[red]✗[/]", Text(check.name), Text(check.detail))
    for decision in result.decisions:
        table.add_row("", f"{decision.action} by {decision.by}", Text(decision.reason))
    if table.row_count:
        console.print(table)
    for left in result.left_behind:
        console.print(Text.assemble(("left behind: ", "bold red"), left))
