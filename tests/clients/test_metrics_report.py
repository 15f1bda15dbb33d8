"""The rule by which samples become figures or problems, and parsing an exporter's text."""

import math
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kafka_runbooks.clients.errors import Unreachable
from kafka_runbooks.clients.metrics.exporter import METRICS, ExporterMetrics, figures
from kafka_runbooks.clients.metrics.exporter import TOTALS as TOTALS_NAMES
from kafka_runbooks.clients.metrics.report import HIGHEST, Sample, Samples, broker_ids_of, parse_broker_id, report
from kafka_runbooks.models.kubernetes import BrokerPod
from kafka_runbooks.models.traffic import FIGURES, TOTALS, Figure, TrafficReport

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
NAMES: dict[Figure, str] = {figure: f"metric_of_{figure}" for figure in FIGURES}


def pod(broker_id: int | None, address: str | None = None) -> BrokerPod:
    name = f"kafka-{broker_id}"
    return BrokerPod(name=name, uid="u", broker_id=broker_id, map=None, stateful_set="kafka", claim="c", pod_ip=address)


def samples(broker_id: int, value: float = 1.0, at: datetime = NOW) -> Samples:
    return {(broker_id, figure): Sample(value, at) for figure in FIGURES}


def judged(found: Samples, *broker_ids: int) -> TrafficReport:
    return report(broker_ids, NAMES, found, NOW, 60)


def test_a_broker_with_all_figures_fresh_has_them_and_the_oldest_of_their_times() -> None:
    found = samples(1001) | {(1001, "fetch_p99_ms"): Sample(7.5, NOW - timedelta(seconds=59))}
    result = judged(found, 1001)
    assert not result.problems
    traffic = result.by_broker[1001]
    assert traffic.fetch_p99_ms == 7.5 and traffic.in_bytes_per_s == 1.0
    assert traffic.measured_at == NOW - timedelta(seconds=59)


@pytest.mark.parametrize(
    ("bad", "why"),
    [
        (Sample(math.nan, NOW), "is nan"),
        (Sample(math.inf, NOW), "is inf"),
        (Sample(-0.5, NOW), "is negative"),
        (Sample(2e11, NOW), "is implausible"),
        (Sample(1.0, NOW - timedelta(seconds=95)), "stale, 95 s old, at most 60 s"),
        (Sample(1.0, NOW + timedelta(seconds=95)), "95 s in the future"),
        ("no series", "no series"),
    ],
)
@pytest.mark.parametrize("figure", FIGURES)
def test_one_bad_figure_makes_its_broker_a_problem_that_names_the_metric_and_no_other_broker(
    figure: Figure, bad: Sample | str, why: str
) -> None:
    result = judged(samples(1001) | samples(1002) | {(1001, figure): bad}, 1001, 1002)
    assert set(result.by_broker) == {1002}
    assert result.problems[1001].startswith(f"{figure} (metric_of_{figure}): ") and why in result.problems[1001]


def test_a_figure_that_the_backend_lacks_is_missing_and_one_that_was_not_asked_for_stays_unknown() -> None:
    found = samples(1001)
    del found[1001, "produce_p99_ms"]
    assert judged(found, 1001).problems == {1001: "produce_p99_ms (metric_of_produce_p99_ms): missing"}
    asked: dict[Figure, str] = {figure: name for figure, name in NAMES.items() if figure != "produce_p99_ms"}
    without = report([1001], asked, found, NOW, 60)
    assert without.by_broker[1001].produce_p99_ms is None and not without.problems


MOMENTS = st.integers(-90, 90).map(lambda seconds: NOW + timedelta(seconds=seconds))
ANYTHING = st.one_of(st.just("no series"), st.builds(Sample, st.floats(), MOMENTS), st.builds(Sample, st.just(1.0), MOMENTS))
NAMES_OF_SAMPLES = st.tuples(st.sampled_from([1001, 1002, 1003]), st.sampled_from(FIGURES))
GOOD = samples(1001) | samples(1002)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.dictionaries(NAMES_OF_SAMPLES, ANYTHING).map(lambda found: GOOD | found))
def test_whatever_comes_each_broker_is_either_whole_and_sane_or_a_problem(
    found: Samples,
) -> None:
    result = judged(found, 1001, 1002)
    assert result.by_broker.keys() | result.problems.keys() == {1001, 1002}
    assert not result.by_broker.keys() & result.problems.keys()
    for traffic in result.by_broker.values():
        for figure in FIGURES:
            value = getattr(traffic, figure)
            assert value is not None and 0 <= value <= HIGHEST[figure]
        assert abs(NOW - traffic.measured_at) <= timedelta(seconds=60)


def test_totals_may_lack_but_not_be_nonsense() -> None:
    names: dict[Figure, str] = {total: f"metric_of_{total}" for total in TOTALS}
    assert report([1001], NAMES, samples(1001), NOW, 60, names).by_broker[1001].produce_requests is None
    known: Samples = samples(1001) | {(1001, "produce_requests"): Sample(5.0, NOW), (1001, "produce_mean_ms"): Sample(2.5, NOW)}
    found = report([1001], NAMES, known, NOW, 60, names).by_broker[1001]
    assert (found.produce_requests, found.produce_mean_ms, found.fetch_requests) == (5, 2.5, None)
    wrong: list[tuple[Figure, float, str]] = [
        ("produce_mean_ms", math.nan, "is nan"),
        ("produce_requests", 5.5, "is not a number of requests, 5.5"),
    ]
    for total, value, why in wrong:
        result = report([1001], NAMES, known | {(1001, total): Sample(value, NOW)}, NOW, 60, names)
        assert not result.by_broker and result.problems[1001] == f"{total} (metric_of_{total}): {why}"


@pytest.mark.parametrize(
    ("text", "broker_id"), [("1001", 1001), ("0", 0), ("N/A", None), ("", None), ("-1", None), ("१", None), (None, None)]
)
def test_a_broker_id_is_a_number(text: str | None, broker_id: int | None) -> None:
    assert parse_broker_id(text) == broker_id


def test_a_pod_without_an_id_is_no_broker() -> None:
    assert broker_ids_of([pod(1002), pod(None), pod(1001)]) == [1001, 1002]


EXPOSITION = "\n".join(f"{name} {value}" for value, name in enumerate(METRICS.values(), 1)) + "\njmx_scrape_error 0.0\n"


def test_figures_of_an_exposition_and_no_other_request_or_percentile() -> None:
    others = 'kafka_network_request_total_time_ms{request="Produce",percentile="999"} 99\n'
    others += 'kafka_network_request_total_time_ms{request="Fetch",percentile="99"} 98\nsomething_else{a="\\""} 3\n'
    assert figures(others + EXPOSITION + others) == dict(zip(FIGURES, (1, 2, 3, 4, 5, 6), strict=True))
    assert figures("") == {}
    totals = "\n".join(f"{name} {value}" for value, name in enumerate(TOTALS_NAMES.values(), 7))
    assert figures(EXPOSITION + totals) == dict(zip((*FIGURES, *TOTALS), range(1, 11), strict=True))


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (EXPOSITION.replace("jmx_scrape_error 0.0", "jmx_scrape_error 1.0"), "jmx_scrape_error is 1"),
        ("kafka_server_bytesin_one_minute_rate one", "one"),
    ],
)
def test_an_exposition_that_is_not_whole_is_nonsense(text: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        figures(text)


def test_no_exporter_at_all_is_a_backend_that_is_away_and_no_broker_is_no_question() -> None:
    metrics = ExporterMetrics(1)
    with pytest.raises(Unreachable, match=r"broker 1001: .*127\.0\.9\.9:1/metrics doesn't answer"):
        metrics.traffic([pod(1002), pod(1001, "127.0.9.9")])
    assert metrics.traffic([pod(None)]) == TrafficReport()
