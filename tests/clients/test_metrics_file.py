"""Figures from a JSON file that something else writes."""

import json
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from kafka_runbooks.clients.errors import Unreachable
from kafka_runbooks.clients.metrics.file import FileMetrics
from kafka_runbooks.clients.metrics.settings import FileSource
from kafka_runbooks.models.traffic import FIGURES, BrokerTraffic, TrafficReport
from tests.clients.test_metrics_report import pod

PODS = [pod(1001), pod(1002)]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "traffic.json"


def opened(path: Path) -> FileMetrics:
    return FileMetrics(FileSource(source="file", path=path))


def broker(broker_id: int, age_seconds: float = 0) -> BrokerTraffic:
    at = datetime.now(UTC) - timedelta(seconds=age_seconds)
    return BrokerTraffic.model_validate({"broker_id": broker_id, "measured_at": at, **dict.fromkeys(FIGURES, 2.5)})


def entry(**changed: object) -> dict[str, object]:
    return broker(1001).model_dump(mode="json") | changed


def test_a_report_as_we_write_it_is_read_as_it_was(path: Path) -> None:
    with_totals = broker(1001).model_copy(update={"produce_requests": 10**12, "produce_mean_ms": 3.25})
    written = TrafficReport(by_broker={1001: with_totals, 1003: broker(1003)}, problems={1002: "disk on fire"})
    path.write_text(written.model_dump_json())
    found = opened(path).traffic([*PODS, pod(None)])
    assert found == TrafficReport(by_broker={1001: written.by_broker[1001]}, problems={1002: "disk on fire"})


def test_a_broker_that_its_writer_calls_a_problem_is_one_though_it_has_figures(path: Path) -> None:
    path.write_text(TrafficReport(by_broker={1001: broker(1001)}, problems={1001: "half of its disks"}).model_dump_json())
    assert opened(path).traffic([pod(1001)]) == TrafficReport(problems={1001: "half of its disks"})


@pytest.mark.parametrize(
    ("bad", "why"),
    [
        ({"out_bytes_per_s": None}, "out_bytes_per_s (out_bytes_per_s): missing"),
        ({"out_bytes_per_s": "5"}, "out_bytes_per_s): is '5', not a number"),
        ({"out_bytes_per_s": True}, "is True, not a number"),
        ({"out_bytes_per_s": float("nan")}, "is nan"),
        ({"out_bytes_per_s": -1}, "is negative, -1"),
        ({"out_bytes_per_s": 10**400}, "out of range"),
        ({"fetch_requests": 1.5}, "fetch_requests (fetch_requests): is not a number of requests, 1.5"),
        ({"measured_at": "2026-01-01T00:00:00"}, "not a time with a time zone"),
        ({"measured_at": None}, "not a time with a time zone"),
        ({"measured_at": "2020-01-01T00:00:00Z"}, "stale, "),
    ],
)
def test_one_bad_value_spoils_one_broker(path: Path, bad: dict[str, object], why: str) -> None:
    path.write_text(json.dumps({"by_broker": {"1001": entry(**bad), "1002": entry(broker_id=1002)}}))
    found = opened(path).traffic(PODS)
    assert set(found.by_broker) == {1002} and why in found.problems[1001]


def test_a_broker_that_is_not_in_the_file_is_missing(path: Path) -> None:
    path.write_text('{"by_broker": {}}')
    found = opened(path).traffic([pod(1001)])
    assert found.problems[1001].startswith("in_bytes_per_s (in_bytes_per_s): missing; ")


@pytest.mark.parametrize(
    "text", ["", '{"by_broker": {', "[]", "{}", '{"by_broker": []}', '{"by_broker": {"a": {}}}', '{"by_broker": {"1": 2}}']
)
def test_half_a_file_or_another_one_is_unreachable(path: Path, text: str) -> None:
    path.write_text(text)
    with pytest.raises(Unreachable, match=f"metrics file {path} isn't a traffic report"):
        opened(path).traffic(PODS)


def test_no_file_or_a_folder_in_its_place(path: Path) -> None:
    with pytest.raises(Unreachable, match=f"metrics file {path}: No such file or directory"):
        opened(path).traffic(PODS)
    os.mkdir(path)
    with pytest.raises(Unreachable, match="Is a directory"):
        opened(path).traffic(PODS)
