"""What `RunWatch` has seen, for Prometheus. Every worker tells of every run: take the maximum over workers, never the sum.

A look that is old says nothing: its age is told, and the rest is left out.
"""

import time
from collections import Counter
from collections.abc import Iterable, Iterator
from datetime import datetime

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from kafka_runbooks.models.health import HealthReport
from kafka_runbooks.safety.health import URGENT
from worker.run_watch import EndedLook, OpenRun, RunWatch

FORGOTTEN_SECONDS = 120.0
RUN = ("cluster", "runbook", "workflow_id")
PROBLEM = ("cluster", "severity", "problem", "of")
METRICS = {
    "seconds_since_look": ("Age of what this worker tells about runs", ()),
    "run_step": ("An open run, and the step that it is at", (*RUN, "phase", "step")),
    "run_started_timestamp_seconds": ("When an open run was started", RUN),
    "run_step_since_timestamp_seconds": ("Since when an open run is at its step", RUN),
    "run_waiting_since_timestamp_seconds": ("Since when an open run waits, for a person or for something else", (*RUN, "needs")),
    "run_left_bytes": ("What an open run has still to copy", RUN),
    "run_rate_bytes_per_second": ("How fast an open run copies", RUN),
    "run_unanswered": ("1 where no worker tells the state of an open run", RUN),
    "ended_runs": ("Runs that ended in the last hour", ("cluster", "runbook", "outcome")),
    "problem": ("1 for what is wrong with a cluster by its last health check, once people are told", PROBLEM),
    "health_check_timestamp_seconds": ("When the last health check of a cluster ended, within the last hour", ("cluster",)),
    "leftovers": ("Ledgers of runs that are over: settings that nobody gives back", ("cluster",)),
}
"""Each metric without its prefix: its help, and its labels."""


class RunMetrics(Collector):
    """Of one worker."""

    def __init__(self, watch: RunWatch) -> None:
        self._watch = watch

    def collect(self) -> Iterator[GaugeMetricFamily]:
        found = {
            name: GaugeMetricFamily(f"kafka_runbooks_{name}", help, labels=labels) for name, (help, labels) in METRICS.items()
        }
        looked_at, seen = self._watch.looked_at, self._watch.seen
        age = None if looked_at is None else time.monotonic() - looked_at
        if age is not None:
            found["seconds_since_look"].add_metric([], age)
        if age is not None and age < FORGOTTEN_SECONDS:
            for run in seen.open:
                _add(found, run)
            for ended, number in Counter((one.cluster, one.runbook, one.result.outcome.value) for one in seen.ended).items():
                found["ended_runs"].add_metric(ended, number)
            for cluster, (ended_at, report) in _last_health_checks(seen.looks).items():
                found["health_check_timestamp_seconds"].add_metric([cluster], ended_at.timestamp())
                for one in report.standing:
                    severity = "critical" if one.fault in URGENT else "warning"
                    found["problem"].add_metric([cluster, severity, one.fault, one.of], 1)
            for cluster, number in seen.leftovers.items():
                found["leftovers"].add_metric([cluster], number)
        yield from found.values()


def _last_health_checks(looks: Iterable[EndedLook]) -> dict[str, tuple[datetime, HealthReport]]:
    """By cluster."""
    ended = sorted(looks, key=lambda look: look.ended_at)
    return {look.cluster: (look.ended_at, look.report) for look in ended if isinstance(look.report, HealthReport)}


def _add(found: dict[str, GaugeMetricFamily], run: OpenRun) -> None:
    observed, labels = run.observed, [run.cluster, run.observed.runbook, run.observed.workflow_id]
    found["run_started_timestamp_seconds"].add_metric(labels, run.started_at.timestamp())
    status, progress = observed.status, observed.progress
    found["run_unanswered"].add_metric(labels, status is None)
    if status is not None:
        found["run_step"].add_metric([*labels, status.phase, status.step], 1)
        if status.step_since is not None:
            found["run_step_since_timestamp_seconds"].add_metric(labels, status.step_since.timestamp())
        if (waiting := status.waiting) is not None:
            needs = "person" if waiting.needs_person else "something else"
            found["run_waiting_since_timestamp_seconds"].add_metric([*labels, needs], waiting.since.timestamp())
    if progress is not None and progress.total_bytes:
        found["run_left_bytes"].add_metric(labels, max(0, progress.total_bytes - progress.done_bytes))
        found["run_rate_bytes_per_second"].add_metric(labels, progress.rate_bytes_per_s)
