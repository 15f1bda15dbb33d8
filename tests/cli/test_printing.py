"""Why a run waits, as `status` prints it: what was reported, what no worker has taken, and what fails again and again."""

from datetime import UTC, datetime, timedelta

import pytest

from kafka_runbooks.cli.printing import waits
from kafka_runbooks.cli.watching import Observation, RunningActivity
from kafka_runbooks.models.status import FIRST_REPORT, Progress, Status, Waiting


def ago(seconds: float) -> datetime:
    return datetime.now(UTC) - timedelta(seconds=seconds)


def observation(waiting: Waiting | None, *activities: RunningActivity) -> Observation:
    status = Status(runbook="Rebalance", cluster="lab", phase="steps", step="plan", waiting=waiting)
    return Observation(workflow_id="w", run_id="r", runbook="Rebalance", state="RUNNING", status=status, activities=activities)


@pytest.mark.parametrize(("seconds", "lines"), [(2, 0), (60, 1)])
def test_a_step_without_a_report_is_news_after_a_while_only(seconds: float, lines: int) -> None:
    waiting = Waiting(reason="plan: no report from a worker yet", since=ago(seconds), unblocks=FIRST_REPORT)
    assert len(waits(observation(waiting))) == lines


def test_a_step_that_no_worker_has_a_slot_for() -> None:
    waiting = RunningActivity(name="move_partitions", attempt=1, is_running=False, scheduled_at=ago(45))
    (line,) = waits(observation(None, waiting))
    assert line == "move_partitions waits 45 s for a free worker slot: none is free, or no worker runs"


def test_an_attempt_that_is_not_due_yet_waits_for_no_slot() -> None:
    due_later = RunningActivity(name="choose_node", attempt=7, is_running=False, scheduled_at=ago(-10))
    assert waits(observation(None, due_later)) == []


def test_an_attempt_that_failed_is_told() -> None:
    failed = RunningActivity(name="release", attempt=3, is_running=False, scheduled_at=ago(-2), last_failure="no answer")
    assert waits(observation(None, failed)) == ["release will be retried (attempt 3): no answer"]


def test_a_heartbeat_without_figures_hides_none() -> None:
    """The guard's, in a pause: the figures of what is in flight are the status's."""
    figures = Progress(done_bytes=5, total_bytes=10)
    guard = RunningActivity(name="keep_throttles", attempt=1, is_running=True, progress=Progress())
    observed = observation(None, guard)
    assert observed.status is not None
    observed = observed.model_copy(update={"status": observed.status.model_copy(update={"progress": figures})})
    assert observed.progress == figures
