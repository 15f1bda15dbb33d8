"""Why a run waits, as `status` prints it: what was reported, what no worker has taken, and what fails again and again."""

from datetime import UTC, datetime, timedelta

import pytest
from rich.console import Console

from kafka_runbooks.cli import printing
from kafka_runbooks.models.status import FIRST_REPORT, BrokerProgress, BrokerStatus, Progress, Status, Waiting
from kafka_runbooks.models.steps import StepName
from kafka_runbooks.runs.observing import Observation, RunningActivity
from kafka_runbooks.runs.waits import waits


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


def test_each_broker_of_several_is_shown_with_its_copy_or_why_it_waits() -> None:
    since = datetime(2026, 1, 1, 3, 4, 5, tzinfo=UTC)
    waiting = Waiting(reason="no free node of map events", since=since, unblocks="add a node")
    back = BrokerProgress(broker_id=1001, done_bytes=5_000_000, total_bytes=5_000_000, in_sync_partitions=3, partitions=3)
    half = BrokerProgress(broker_id=1003, done_bytes=2_000_000, total_bytes=4_000_000, in_sync_partitions=1, partitions=2)
    status = Status(
        runbook="ReplaceBroker",
        cluster="lab",
        phase="steps",
        brokers=(
            BrokerStatus(broker_id=1001, step=StepName.CATCH_UP, step_since=since, progress=back),
            BrokerStatus(broker_id=1002, step=StepName.CHOOSE_NODE, step_since=since, waiting=waiting),
            BrokerStatus(broker_id=1003, step=StepName.CATCH_UP, step_since=since, progress=half),
        ),
    )
    observed = Observation(workflow_id="w", run_id="r", runbook="ReplaceBroker", state="RUNNING", status=status)
    console = Console(width=140, record=True)
    console.print(printing.run(observed))
    lines = [line.strip() for line in console.export_text().splitlines() if "broker 100" in line]
    assert [line.split()[0] for line in lines] == ["✓", "▶", "▶"]
    assert "in sync" in lines[0] and "no free node of map events" in lines[1]
    assert "1 of 2 partitions, 2.0 MB of 4.0 MB" in lines[2]
    beats = (
        RunningActivity(name="choose_node", attempt=1, is_running=True, progress=Progress(waiting=waiting)),
        RunningActivity(name="follow_catch_up", attempt=1, is_running=True, progress=Progress(total_bytes=9, total_partitions=2)),
    )
    found = observed.model_copy(update={"activities": beats}).progress
    assert found is not None and found.total_bytes == 9
