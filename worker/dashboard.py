"""The Grafana dashboard: `python -m worker.dashboard > deploy/kubernetes/monitoring/dashboard.json`.

Made by code, so that a metric that is renamed or dropped doesn't leave an empty panel behind; a test compares it with the file.
"""

import json
from typing import Any

BY_RUN = "max by (cluster, runbook, workflow_id)"
OF_CLUSTER = '{cluster=~"$cluster"}'
DATA_SOURCE = {"type": "prometheus", "uid": "${datasource}"}
WIDTH, HEIGHT, ROW = 12, 8, 24


def _panel(title: str, kind: str, expression: str, legend: str, unit: str, *, is_instant: bool = False) -> dict[str, Any]:
    target: dict[str, Any] = {"datasource": DATA_SOURCE, "expr": expression, "legendFormat": legend, "refId": "A"}
    if is_instant:
        target |= {"instant": True, "format": "table" if kind == "table" else "time_series"}
    return {
        "title": title,
        "type": kind,
        "datasource": DATA_SOURCE,
        "targets": [target],
        "fieldConfig": {"defaults": {"unit": unit}, "overrides": []},
        "options": {},
    }


def panels() -> list[dict[str, Any]]:
    """Left to right, top to bottom: first what needs somebody now."""
    of = OF_CLUSTER
    run = "{{cluster}} {{runbook}} {{workflow_id}}"
    waits = 'kafka_runbooks_run_waiting_since_timestamp_seconds{cluster=~"$cluster", needs=%s}'
    person, other = (waits % f'"{needs}"' for needs in ("person", "something else"))
    return [
        _panel("Waits for a person", "timeseries", f"time() - {BY_RUN} ({person})", run, "s"),
        _panel("Waits for something else", "timeseries", f"time() - {BY_RUN} ({other})", run, "s"),
        _panel(
            "Open runs, and the step each is at",
            "table",
            f"max by (cluster, runbook, workflow_id, phase, step) (kafka_runbooks_run_step{of})",
            "",
            "none",
            is_instant=True,
        ),
        _panel(
            "At that step for", "timeseries", f"time() - {BY_RUN} (kafka_runbooks_run_step_since_timestamp_seconds{of})", run, "s"
        ),
        _panel("Bytes left to copy", "timeseries", f"{BY_RUN} (kafka_runbooks_run_left_bytes{of})", run, "bytes"),
        _panel("Copy rate", "timeseries", f"{BY_RUN} (kafka_runbooks_run_rate_bytes_per_second{of})", run, "Bps"),
        _panel(
            "Ended in the last hour",
            "timeseries",
            f"max by (cluster, runbook, outcome) (kafka_runbooks_ended_runs{of})",
            "{{cluster}} {{runbook}} {{outcome}}",
            "none",
        ),
        _panel(
            "Age of open runs", "timeseries", f"time() - {BY_RUN} (kafka_runbooks_run_started_timestamp_seconds{of})", run, "s"
        ),
        _panel(
            "What is wrong, by health checks",
            "table",
            f"max by (cluster, severity, problem, of) (kafka_runbooks_problem{of})",
            "",
            "none",
            is_instant=True,
        ),
        _panel(
            "Since the last health check",
            "timeseries",
            f"time() - max by (cluster) (kafka_runbooks_health_check_timestamp_seconds{of})",
            "{{cluster}}",
            "s",
        ),
        _panel("Leftovers", "timeseries", f"max by (cluster) (kafka_runbooks_leftovers{of})", "{{cluster}}", "none"),
        _panel(
            "Days until certificates end",
            "timeseries",
            f"min by (cluster, holder, where) (kafka_runbooks_certificate_days_left{of})",
            "{{cluster}} {{holder}} {{where}}",
            "d",
        ),
        _panel(
            "Runs that no worker answers for",
            "timeseries",
            f"min by (cluster, runbook, workflow_id) (kafka_runbooks_run_unanswered{of})",
            run,
            "none",
        ),
        _panel("Age of what workers tell", "timeseries", "kafka_runbooks_seconds_since_look", "{{instance}}", "s"),
    ]


def dashboard() -> dict[str, Any]:
    """The whole of it."""
    placed = []
    for number, panel in enumerate(panels()):
        x, y = number * WIDTH % ROW, number * WIDTH // ROW * HEIGHT
        placed.append(panel | {"id": number + 1, "gridPos": {"h": HEIGHT, "w": WIDTH, "x": x, "y": y}})
    cluster = {
        "name": "cluster",
        "type": "query",
        "datasource": DATA_SOURCE,
        "query": "label_values(kafka_runbooks_leftovers, cluster)",
        "includeAll": True,
        "allValue": ".*",
        "multi": True,
        "refresh": 2,
    }
    return {
        "uid": "kafka-runbooks",
        "title": "Kafka runbooks",
        "tags": ["kafka"],
        "timezone": "utc",
        "refresh": "30s",
        "schemaVersion": 39,
        "time": {"from": "now-6h", "to": "now"},
        "templating": {"list": [{"name": "datasource", "type": "datasource", "query": "prometheus"}, cluster]},
        "panels": placed,
    }


if __name__ == "__main__":
    print(json.dumps(dashboard(), indent=2))
