"""Datadog's query API, as a server on loopback speaks it: the format is that of its documentation and recorded answers."""

import json
import logging
import re
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from kafka_runbooks.clients.errors import Refused, Unreachable
from kafka_runbooks.clients.metrics.datadog import METRICS, DatadogMetrics
from kafka_runbooks.clients.metrics.settings import DatadogSource
from kafka_runbooks.models.traffic import FIGURES
from tests.clients.test_metrics_report import pod

API_KEY, APPLICATION_KEY = "0123456789abcdef-api", "0123456789abcdef-application"
Points = list[tuple[float, float | None]]
QUERY = re.compile(r"(?:avg|sum|min|max):([\w.]+)\{([^}]*)\} by \{([^}]*)\},?")


class Datadog(ThreadingHTTPServer):
    """One organisation's metrics: `points[metric][tags]`, each point as (seconds ago, value)."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.points: dict[str, dict[tuple[str, ...], Points]] = {}
        self.asked: list[dict[str, str]] = []
        self.answer_instead: tuple[int, dict[str, str], str] | None = None
        for number, metric in enumerate(METRICS.values(), 1):
            for broker_id in (1001, 1002):
                self.points[metric] = self.points.get(metric, {}) | {
                    (f"broker_id:{broker_id}",): [(50, 9999.0), (20, broker_id + number / 10), (5, None)]
                }

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def answer(self, asked: dict[str, str]) -> dict[str, object]:
        """As recorded of api.datadoghq.com; a query that is grouped gives a series for each group, with its tags."""
        begin, end = int(asked["from"]), int(asked["to"])
        series: list[dict[str, object]] = []
        for index, query in enumerate(QUERY.finditer(asked["query"])):
            metric, scope, _ = query.groups()
            for tags, points in self.points.get(metric, {}).items():
                listed = [[round((time.time() - ago) * 1000), value] for ago, value in points]
                series.append(
                    {
                        "end": end * 1000 - 1,
                        "attributes": {},
                        "metric": metric,
                        "interval": 15,
                        "tag_set": list(tags),
                        "start": begin * 1000,
                        "length": len(listed),
                        "query_index": index,
                        "aggr": "avg",
                        "scope": ",".join([*tags, scope] if scope != "*" else tags),
                        "pointlist": [point for point in listed if point[0] >= begin * 1000],  # type: ignore[operator]
                        "expression": query.group().rstrip(","),
                        "unit": [
                            {"family": "bytes", "scale_factor": 1.0, "name": "byte", "short_name": "B", "plural": "bytes"},
                            None,
                        ],
                        "display_name": metric,
                    }
                )
        return {
            "status": "ok",
            "resp_version": 1,
            "series": series,
            "to_date": end * 1000,
            "query": asked["query"],
            "message": "",
            "res_type": "time_series",
            "times": [],
            "from_date": begin * 1000,
            "group_by": ["broker_id"],
            "values": [],
        }


class Handler(BaseHTTPRequestHandler):
    server: Datadog

    def do_GET(self) -> None:
        address = urlsplit(self.path)
        asked = {name: values[0] for name, values in parse_qs(address.query).items()}
        self.server.asked.append(asked)
        if self.server.answer_instead is not None:
            status, headers, body = self.server.answer_instead
        elif (self.headers["DD-API-KEY"], self.headers["DD-APPLICATION-KEY"]) != (API_KEY, APPLICATION_KEY):
            status, headers, body = 403, {}, '{"status":"error","code":403,"errors":["Forbidden"],"title":"Forbidden"}'
        elif address.path != "/api/v1/query":
            status, headers, body = 404, {}, '{"errors":["Not found"]}'
        else:
            status, headers, body = 200, {}, json.dumps(self.server.answer(asked))
        self.send_response(status)
        for name, value in {"Content-Type": "application/json", "Content-Length": str(len(body.encode())), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def datadog() -> Iterator[Datadog]:
    with Datadog() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture(autouse=True)
def keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DD_API_KEY", API_KEY)
    monkeypatch.setenv("DD_APP_KEY", APPLICATION_KEY)


def opened(datadog: Datadog, **settings: object) -> DatadogMetrics:
    return DatadogMetrics(DatadogSource.model_validate({"source": "datadog", "url": datadog.url, **settings}))


PODS = [pod(1001), pod(1002)]


def test_one_request_gives_all_figures_of_all_brokers_by_their_newest_point_with_a_value(datadog: Datadog) -> None:
    found = opened(datadog).traffic(PODS)
    assert not found.problems
    for broker_id in (1001, 1002):
        traffic = found.by_broker[broker_id]
        assert [getattr(traffic, figure) for figure in FIGURES] == [broker_id + number / 10 for number in range(1, 7)]
        assert 19 < (datetime.now(UTC) - traffic.measured_at).total_seconds() < 40
    (asked,) = datadog.asked
    assert int(asked["to"]) - int(asked["from"]) == 120
    assert asked["query"].startswith("avg:kafka.net.bytes_in.rate{*} by {broker_id},avg:kafka.net.bytes_out.rate{*} by")


def test_scope_tag_and_queries_are_the_clusters_own(datadog: Datadog) -> None:
    datadog.points["my.latency"] = {("kafka_id:1001",): [(5, 12.5)]}
    for metric in METRICS.values():
        datadog.points[metric] = {("kafka_id:1001",): [(5, 1.0)]}
    queries = {"produce_p99_ms": "max:my.latency{env:a,team:b} by {kafka_id}", "fetch_p99_ms": None}
    found = opened(datadog, scope="service:kafka,cluster:main", broker_tag="kafka_id", queries=queries).traffic([pod(1001)])
    assert not found.problems
    assert found.by_broker[1001].produce_p99_ms == 12.5 and found.by_broker[1001].fetch_p99_ms is None
    assert "avg:kafka.net.bytes_in.rate{service:kafka,cluster:main} by {kafka_id}," in datadog.asked[0]["query"]
    assert datadog.asked[0]["query"].endswith("max:my.latency{env:a,team:b} by {kafka_id}")


def test_a_stale_absent_or_empty_metric_is_a_problem_that_names_it(datadog: Datadog) -> None:
    metric = METRICS["replication_in_bytes_per_s"]
    datadog.points[metric] = {("broker_id:1001",): [(90, 5.0)], ("broker_id:1003",): [(5, None), (20, None)]}
    found = opened(datadog).traffic([pod(1001), pod(1002), pod(1003)])
    assert not found.by_broker
    named = f"replication_in_bytes_per_s (avg:{metric}{{*}} by {{broker_id}}): "
    assert f"{named}stale, 90 s old, at most 60 s" in found.problems[1001]
    assert found.problems[1002] == f"{named}no point in the last 120 s tagged broker_id:1002"
    assert f"{named}no point" in found.problems[1003]


@pytest.mark.parametrize(("value", "why"), [(-3.0, "is negative, -3"), (float("nan"), "is nan"), (1e15, "is implausible, 1e+15")])
def test_nonsense_is_a_problem(datadog: Datadog, value: float, why: str) -> None:
    datadog.points["kafka.net.bytes_in.rate"]["broker_id:1001",] = [(5, value)]
    found = opened(datadog).traffic(PODS)
    assert set(found.by_broker) == {1002} and why in found.problems[1001]


def test_hosts_without_the_tag_are_no_brokers_and_two_series_of_one_broker_are_no_figure(datadog: Datadog) -> None:
    for metric in METRICS.values():
        datadog.points[metric] |= {("broker_id:N/A",): [(5, 1.0)], (): [(5, 2.0)], ("host:a",): [(5, 3.0)]}
    found = opened(datadog).traffic(PODS)
    assert set(found.by_broker) == {1001, 1002} and not found.problems
    datadog.points["kafka.net.bytes_in.rate"]["broker_id:1001", "host:b"] = [(5, 1.0)]
    assert "more than one series tagged broker_id:1001" in opened(datadog).traffic(PODS).problems[1001]


def test_wrong_keys_are_refused_and_no_key_gets_into_a_message_or_a_log(
    datadog: Datadog, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    (tmp_path / "key").write_text("wrong-secret\n")
    with pytest.raises(Refused, match=f"^Datadog {datadog.url}/ answers 403: Forbidden$") as refused:
        opened(datadog, application_key_file=tmp_path / "key").traffic(PODS)
    opened(datadog).traffic(PODS)
    output = caplog.text + str(refused.value) + repr(refused.value.__cause__)
    assert not any(secret in output for secret in (API_KEY, APPLICATION_KEY, "wrong-secret"))


def test_keys_come_from_files_which_are_read_anew_at_each_look(
    datadog: Datadog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DD_API_KEY")
    monkeypatch.delenv("DD_APP_KEY")
    api, application = tmp_path / "api", tmp_path / "application"
    metrics = opened(datadog, api_key_file=api, application_key_file=application)
    with pytest.raises(Refused, match=f"metrics.api_key_file {api}: No such file"):
        metrics.traffic(PODS)
    api.write_text(API_KEY + "\n")
    application.write_text("")
    with pytest.raises(Refused, match=f"metrics.application_key_file: {application} holds no key"):
        metrics.traffic(PODS)
    application.write_text(APPLICATION_KEY)
    assert set(metrics.traffic(PODS).by_broker) == {1001, 1002}
    with pytest.raises(Refused, match=r"metrics\.api_key_file: DD_API_KEY is set to no key"):
        opened(datadog).traffic(PODS)


@pytest.mark.parametrize(
    ("answer", "error", "why"),
    [
        (
            (429, {"X-RateLimit-Reset": "17"}, '{"errors":["Rate limit reached"]}'),
            Unreachable,
            "rate limit reached, again in 17 s",
        ),
        ((500, {}, "oops"), Unreachable, "answers 500: Internal Server Error"),
        ((400, {}, '{"status":"error","error":"Error parsing query: unable to parse"}'), Refused, "400: Error parsing query"),
        ((200, {}, '{"status":"error","error":"Query timed out","series":[]}'), Refused, "answers error: Query timed out"),
        ((200, {}, "<html>login</html>"), Unreachable, "is this the API's address"),
        ((200, {}, '{"status":"ok","series":[{"pointlist":[[1]]}]}'), Unreachable, "isn't Datadog's format"),
        ((302, {"Location": "https://example.com"}, ""), Refused, "answers 302"),
    ],
)
def test_what_the_api_says_instead(
    datadog: Datadog, answer: tuple[int, dict[str, str], str], error: type[Exception], why: str
) -> None:
    datadog.answer_instead = answer
    metrics = opened(datadog)
    with pytest.raises(error, match=re.escape(why)):
        metrics.traffic(PODS)


def test_no_server(datadog: Datadog) -> None:
    source = DatadogSource.model_validate({"source": "datadog", "url": "http://127.0.0.1:1"})
    with pytest.raises(Unreachable, match=r"Datadog http://127\.0\.0\.1:1/ doesn't answer: "):
        DatadogMetrics(source).traffic(PODS)
