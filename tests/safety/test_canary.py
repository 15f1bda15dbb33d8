"""A canary is judged by its peers at the same moment, by what was usual before, and by several looks in a row."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from kafka_runbooks.models.traffic import BrokerTraffic, TrafficReport
from kafka_runbooks.safety.canary import LOOKS_IN_A_ROW, NOTICEABLE_MS, Looks, compare, usual_ratios

AT = datetime(2026, 1, 1, tzinfo=UTC)
CANARY, PEERS = 1, (2, 3, 4)


def report(*produce_p99_ms: float | None, fetch_p99_ms: float | None = 100.0) -> TrafficReport:
    """Of the canary first, then its peers; one whose figure is None doesn't report."""
    return TrafficReport(
        by_broker={
            number: BrokerTraffic(broker_id=number, measured_at=AT, produce_p99_ms=value, fetch_p99_ms=fetch_p99_ms)
            for number, value in enumerate(produce_p99_ms, start=1)
            if value is not None
        }
    )


def worse(found: TrafficReport, usual: dict[str, float] | None = None, tolerated: float = 1.5) -> set[str]:
    return {one.name for one in compare(found, CANARY, PEERS, usual or {}, tolerated) if one.is_worse}


def test_the_canary_is_compared_with_the_median_of_its_peers() -> None:
    assert worse(report(29, 20, 20, 300)) == set()
    assert worse(report(31, 20, 20, 300)) == {"produce p99"}
    assert worse(report(31, 20, 20, 300), tolerated=1.6) == set()
    assert str(compare(report(31, 20, 20, 300), CANARY, PEERS, {}, 1.5)[0]) == (
        "produce p99 31.0 ms, its peers 20.0 ms, limit 30.0 ms"
    )


def test_what_was_slower_before_may_be_slower_and_what_was_faster_needs_not_stay_so() -> None:
    usual = usual_ratios(report(60, 20, 20, 20), CANARY, PEERS)
    assert usual == {"produce_p99_ms": 3.0, "fetch_p99_ms": 1.0}
    assert worse(report(89, 20, 20, 20), usual) == set() != worse(report(91, 20, 20, 20), usual)
    faster = usual_ratios(report(10, 20, 20, 20), CANARY, PEERS)
    assert worse(report(29, 20, 20, 20), faster) == set()


def test_a_difference_that_nobody_notices_is_none() -> None:
    assert worse(report(1 + NOTICEABLE_MS, 1, 1, 1)) == set() != worse(report(1.1 + NOTICEABLE_MS, 1, 1, 1))


@pytest.mark.parametrize(
    "found", [report(None, 20, 20), report(20, None, None), report(0, 20, 20), report(20, 0, 0), TrafficReport()]
)
def test_what_is_not_known_is_not_compared(found: TrafficReport) -> None:
    assert "produce p99" not in {one.name for one in compare(found, CANARY, PEERS, {}, 1.5)}
    assert "produce_p99_ms" not in usual_ratios(found, CANARY, PEERS)


def test_a_figure_that_said_nothing_before_says_nothing_now() -> None:
    usual = usual_ratios(report(20, 20, fetch_p99_ms=None), CANARY, PEERS)
    assert [one.name for one in compare(report(20, 20), CANARY, PEERS, usual, 1.5)] == ["produce p99"]
    assert [one.name for one in compare(report(20, 20), CANARY, PEERS, {}, 1.5)] == ["produce p99", "fetch p99"]


def seen(*are_worse: bool) -> Looks:
    looks = Looks()
    for number, is_worse in enumerate(are_worse):
        looks = looks.after(AT + timedelta(seconds=number), is_worse=is_worse)
    return looks


def test_one_look_is_noise_and_several_in_a_row_are_not() -> None:
    assert not seen(True, True, False, True, True).is_worse and seen(False, True, True, True).is_worse
    assert seen(False, False, False).is_good and not seen(False, False).is_good
    assert not seen(False, False, False, True).is_good and seen(False, False, False, True, False).is_good


def test_the_same_measurement_counts_once() -> None:
    looks = Looks()
    for _ in range(10):
        looks = looks.after(AT, is_worse=True)
    assert looks.worse == 1 and not looks.is_worse


@given(st.lists(st.booleans(), max_size=30))
def test_worse_and_good_exclude_each_other(are_worse: list[bool]) -> None:
    looks = seen(*are_worse)
    assert not (looks.is_worse and looks.is_good)
    last = are_worse[-LOOKS_IN_A_ROW:]
    assert looks.is_worse == (len(last) == LOOKS_IN_A_ROW and all(last))


figure = st.floats(0.1, 10_000)


@given(figure, st.lists(figure, min_size=3, max_size=3), st.floats(1, 10), st.floats(1.01, 100))
def test_slower_is_never_better_and_as_slow_as_usual_is_good(
    own: float, others: list[float], tolerated: float, factor: float
) -> None:
    before = report(own, *others)
    usual = usual_ratios(before, CANARY, PEERS)
    assert worse(before, usual, tolerated) == set(), "nothing has changed"
    scaled = report(*(value * factor for value in (own, *others)))
    assert worse(scaled, usual, tolerated) == set(), "all are slower: it isn't the release"
    (first, *_) = compare(before, CANARY, PEERS, usual, tolerated)
    assume(first.limit_ms * factor > first.limit_ms)
    assert worse(report(first.limit_ms * factor, *others), usual, tolerated) == {"produce p99"}
