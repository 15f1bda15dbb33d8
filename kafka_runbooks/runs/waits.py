"""Why nothing moves in a run just now: every cause, since when, and what resolves it."""

from datetime import UTC, datetime

from kafka_runbooks.models.status import FIRST_REPORT, Waiting
from kafka_runbooks.models.wording import duration
from kafka_runbooks.runs.observing import Observation

SLOT_SECONDS = 15.0
"""From then on it is said that no worker has taken a step."""


def waits(observed: Observation) -> list[str]:
    """Why nothing moves: each cause, since when, and what resolves it."""
    lines = [f"! {observed.no_answer}"] if observed.no_answer else []
    waiting = observed.status.waiting if observed.status else None
    if observed.progress is not None and observed.progress.waiting is not None:
        waiting = observed.progress.waiting
    is_new = waiting is not None and waiting.unblocks == FIRST_REPORT and _seconds_since(waiting.since) < SLOT_SECONDS
    if waiting is not None and not is_new:
        lines.append(f"waiting {since(waiting)}: {waiting.reason}; resumes when: {waiting.unblocks}")
    for activity in observed.activities:
        overdue = 0.0 if activity.scheduled_at is None else _seconds_since(activity.scheduled_at)
        if not activity.is_running and overdue > SLOT_SECONDS:
            lines.append(f"{activity.name} waits {duration(overdue)} for a free worker slot: none is free, or no worker runs")
        if activity.last_failure and activity.attempt > 1:
            how = "is being retried" if activity.is_running else "will be retried"
            lines.append(f"{activity.name} {how} (attempt {activity.attempt}): {activity.last_failure[:300]}")
    return lines


def since(waiting: Waiting) -> str:
    """`since 03:12:45 UTC (4 min 10 s)`."""
    return f"since {waiting.since:%H:%M:%S} UTC ({ago(waiting.since)})"


def _seconds_since(at: datetime) -> float:
    return max(0.0, (datetime.now(UTC) - at).total_seconds())


def ago(at: datetime | None) -> str:
    """How long ago; empty if never."""
    return "" if at is None else duration(_seconds_since(at))
