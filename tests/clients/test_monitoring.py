"""Alert rules by Prometheus' own tool, each shown to fire and not to; dashboard and documentation know the metrics that exist."""

import json
import re
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from activities.certificate_metrics import CertificateEnds
from tests.cli.test_docs import faults
from tests.clients.local_prometheus import binary
from worker.dashboard import dashboard
from worker.run_metrics import METRICS

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "deploy" / "kubernetes" / "monitoring"
RULES = yaml.safe_load((FOLDER / "alerts.yaml").read_text())["spec"]
ALERTS: dict[str, dict[str, Any]] = {rule["alert"]: rule for group in RULES["groups"] for rule in group["rules"]}
EXISTING = {f"kafka_runbooks_{name}" for name in METRICS} | {family.name for family in CertificateEnds().collect()}
LABELS = {f"kafka_runbooks_{name}": set(labels) for name, (_, labels) in METRICS.items()} | {
    "kafka_runbooks_certificate_days_left": {"cluster", "holder", "where", "subject"}
}
ADDED = {"instance", "pod", "job"}


def named_in(text: str) -> set[str]:
    return set(re.findall(r"kafka_runbooks_[a-z_]+", text))


def test_every_metric_of_the_alerts_exists_and_has_the_labels_that_are_used() -> None:
    for name, rule in ALERTS.items():
        (metric, *others) = named_in(rule["expr"])
        assert {metric, *others} <= EXISTING, name
        known = set.union(*(LABELS[one] for one in (metric, *others)))
        used = {label for some in re.findall(r"by \(([^)]*)\)", rule["expr"]) for label in some.split(", ")}
        used |= set(re.findall(r"\{(\w+)=", rule["expr"]))
        used |= set(re.findall(r"\$labels\.(\w+)", json.dumps(rule["annotations"])))
        assert used <= known, name


def test_the_commands_that_alerts_name_exist() -> None:
    said = [rule["annotations"]["description"] for rule in ALERTS.values()]
    commands = [
        found for text in said for found in re.findall(r"kafka-runbooks [a-z][^,.;:]*", re.sub(r"\{\{.*?\}\}", "X", text))
    ]
    assert len(commands) >= len(ALERTS) - 1
    assert [fault for one in commands for fault in faults(one.partition(" says ")[0])] == []


def test_every_metric_is_documented_once_and_in_an_alert_or_on_the_dashboard() -> None:
    page = (ROOT / "docs" / "alerts.md").read_text()
    listed = re.findall(r"^\| `(kafka_runbooks_[a-z_]+)`", page, re.MULTILINE)
    assert sorted(listed) == sorted(EXISTING)
    shown = named_in(json.dumps(dashboard())) | named_in(json.dumps(RULES))
    assert shown == EXISTING
    assert set(re.findall(r"^\| `(Kafka\w+)`", page, re.MULTILINE)) == set(ALERTS)


def test_the_dashboard_is_what_the_code_makes_and_names_metrics_and_labels_that_exist() -> None:
    made = dashboard()
    assert json.loads((FOLDER / "dashboard.json").read_text()) == made, "python -m worker.dashboard > …/dashboard.json"
    ids = [panel["id"] for panel in made["panels"]]
    assert len(ids) == len(set(ids))
    places = [(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in made["panels"]]
    assert len(places) == len(set(places)) and all(x + 12 <= 24 for x, _ in places)
    for panel in made["panels"]:
        (target,) = panel["targets"]
        (metric,) = named_in(target["expr"])
        used = {label for some in re.findall(r"by \(([^)]*)\)", target["expr"]) for label in some.split(", ")}
        used |= set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"]))
        assert used <= LABELS[metric] | ADDED, panel["title"]


def series(name: str, values: str, **labels: str) -> dict[str, str]:
    text = ", ".join(f'{key}="{value}"' for key, value in labels.items())
    return {"series": f"{name}{{{text}}}", "values": values}


RUN = {"cluster": "prod", "runbook": "Rebalance", "workflow_id": "prod/rebalance/1"}
SINCE = "kafka_runbooks_run_waiting_since_timestamp_seconds"
LOOKS = series("kafka_runbooks_seconds_since_look", "5+0x600", instance="a")
TWO = ({"instance": "a"}, {"instance": "b"})
"""Every worker tells of every run: one alert, not two."""
Case = tuple[str, list[dict[str, str]], str, Mapping[str, str] | None]
CASES: list[Case] = [
    ("KafkaRunbookWaitsForPerson", [series(SINCE, "0+0x600", needs="person", **RUN, **one) for one in TWO], "11m", RUN),
    ("KafkaRunbookWaitsForPerson", [series(SINCE, "0+0x600", needs="person", **RUN)], "9m", None),
    ("KafkaRunbookWaitsForPerson", [series(SINCE, "0+0x600", needs="something else", **RUN)], "60m", None),
    ("KafkaRunbookStandsStill", [series(SINCE, "0+0x600", needs="something else", **RUN, **one) for one in TWO], "121m", RUN),
    ("KafkaRunbookStandsStill", [series(SINCE, "0+0x600", needs="something else", **RUN)], "119m", None),
    (
        "KafkaRunbookFailed",
        [series("kafka_runbooks_ended_runs", "1+0x600", cluster="prod", runbook="Drain", outcome="failed", **one) for one in TWO],
        "1m",
        {"cluster": "prod", "runbook": "Drain"},
    ),
    (
        "KafkaRunbookFailed",
        [series("kafka_runbooks_ended_runs", "1+0x600", cluster="prod", runbook="Drain", outcome="done")],
        "1m",
        None,
    ),
    (
        "KafkaRunbookCopiesNothing",
        [
            series("kafka_runbooks_run_left_bytes", "100+0x600", **RUN),
            series("kafka_runbooks_run_rate_bytes_per_second", "0+0x600", **RUN),
        ],
        "31m",
        RUN,
    ),
    (
        "KafkaRunbookCopiesNothing",
        [
            series("kafka_runbooks_run_left_bytes", "100+0x600", **RUN),
            series("kafka_runbooks_run_rate_bytes_per_second", "7+0x600", **RUN),
        ],
        "31m",
        None,
    ),
    ("KafkaRunbookWithoutWorker", [series("kafka_runbooks_run_unanswered", "1+0x600", **RUN, **one) for one in TWO], "6m", RUN),
    (
        "KafkaRunbookWithoutWorker",
        [series("kafka_runbooks_run_unanswered", f"{number}+0x600", **RUN, **one) for number, one in enumerate(TWO)],
        "6m",
        None,
    ),
    ("KafkaRunbookLeftovers", [series("kafka_runbooks_leftovers", "2+0x600", cluster="prod")], "31m", {"cluster": "prod"}),
    ("KafkaRunbookLeftovers", [series("kafka_runbooks_leftovers", "0+0x600", cluster="prod")], "31m", None),
]
ENDS = {"cluster": "prod", "holder": "broker 1", "where": "listener CLIENTS"}
CASES += [
    (alert, [series("kafka_runbooks_certificate_days_left", f"{days}+0x600", subject="CN=a", **ENDS)], "1m", expected)
    for alert, days, expected in (
        ("KafkaCertificateEnds", 6, ENDS),
        ("KafkaCertificateEnds", 8, None),
        ("KafkaCertificateEndsTomorrow", "-1", ENDS),
        ("KafkaCertificateEndsTomorrow", 2, None),
    )
]
PROBLEM, CHECKED = "kafka_runbooks_problem", "kafka_runbooks_health_check_timestamp_seconds"
DOWN = {"cluster": "prod", "problem": "broker down", "of": "1003"}
CASES += [
    (
        "KafkaUnavailable",
        [series(PROBLEM, "1+0x600", cluster="prod", problem="no leader", of="", severity="critical", **one) for one in TWO],
        "1m",
        {"cluster": "prod", "problem": "no leader"},
    ),
    ("KafkaUnavailable", [series(PROBLEM, "1+0x600", severity="warning", **DOWN)], "60m", None),
    ("KafkaUnhealthy", [series(PROBLEM, "1+0x600", severity="warning", **DOWN, **one) for one in TWO], "1m", DOWN),
    ("KafkaUnhealthy", [series(PROBLEM, "1+0x5 _x600", severity="warning", **DOWN)], "11m", None),
    (
        "KafkaUnhealthy",
        [series(PROBLEM, "1+0x600", severity="warning", cluster="prod", problem="leftovers", of="ledger-1")],
        "60m",
        None,
    ),
    ("KafkaHealthUnseen", [series(CHECKED, "0+0x60 _x600", cluster="prod", **one) for one in TWO], "70m", {"cluster": "prod"}),
    (
        "KafkaHealthUnseen",
        [
            series(CHECKED, "0+0x60 _x600", cluster="prod", instance="a"),
            series(CHECKED, "0+60x600", cluster="prod", instance="b"),
        ],
        "70m",
        None,
    ),
    ("KafkaHealthUnseen", [], "120m", None),
]
UNSEEN: list[Case] = [
    ("KafkaRunbooksUnseen", [], "6m", {}),
    ("KafkaRunbooksUnseen", [series("kafka_runbooks_seconds_since_look", "0+60x600", instance="a")], "15m", {}),
    (
        "KafkaRunbooksUnseen",
        [LOOKS, series("kafka_runbooks_seconds_since_look", "0+60x600", instance="b")],
        "15m",
        None,
    ),
]


def test_every_alert_is_shown_to_fire_and_not_to_fire() -> None:
    for fires in (True, False):
        assert {name for name, _, _, expected in CASES + UNSEEN if (expected is not None) is fires} == set(ALERTS)


@pytest.mark.server
def test_alerts_fire_when_they_should(tmp_path: Path) -> None:
    promtool = binary().with_name("promtool")

    def succeeds(*arguments: str) -> None:
        done = subprocess.run([promtool, *arguments], cwd=tmp_path, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stdout + done.stderr

    (tmp_path / "rules.yaml").write_text(yaml.safe_dump(RULES))
    succeeds("check", "rules", "rules.yaml")
    # What they say is for people, and promtool compares every letter of it.
    untold = [{key: value for key, value in rule.items() if key != "annotations"} for rule in ALERTS.values()]
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump({"groups": [{"name": "kafka-runbooks", "rules": untold}]}))
    tests = []
    for name, given, at, expected in CASES + UNSEEN:
        severity = ALERTS[name]["labels"]["severity"]
        alerts = [] if expected is None else [{"exp_labels": {**expected, "severity": severity}}]
        looked = given if name == "KafkaRunbooksUnseen" else [*given, LOOKS]
        checked = {"eval_time": at, "alertname": name, "exp_alerts": alerts}
        tests.append({"interval": "1m", "input_series": looked, "alert_rule_test": [checked]})
    file = {"rule_files": ["rules.yaml"], "evaluation_interval": "1m", "tests": tests}
    (tmp_path / "tests.yaml").write_text(yaml.safe_dump(file))
    succeeds("test", "rules", "tests.yaml")
