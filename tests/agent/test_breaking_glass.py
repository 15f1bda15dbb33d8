"""Forced readiness needs owner, reason and expiry, and never outlives the expiry."""

import json
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kafka_runbooks.agent.breaking_glass import LONGEST, Glass

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def annotation(expires_in: timedelta, **more: str) -> str:
    return json.dumps({"owner": "ana", "reason": "INC-7", "expires_at": (NOW + expires_in).isoformat()} | more)


def reason(glass: Glass, text: str | None, after: timedelta = timedelta(0)) -> str | None:
    event = glass.observe(text, NOW + after, after.total_seconds())
    return None if event is None else event.reason


@given(st.integers(-100_000, 200_000), st.lists(st.integers(0, 200_000), max_size=20), st.integers(-100_000, 100_000))
def test_forced_exactly_until_the_expiry_whatever_the_clocks_do(expires_in_s: int, later_s: list[int], set_back_s: int) -> None:
    glass = Glass()
    text = annotation(timedelta(seconds=expires_in_s))
    glass.observe(text, NOW, 0.0)
    for seconds in sorted(later_s):
        wall = NOW + timedelta(seconds=seconds)
        is_active = glass.active(wall, float(seconds)) is not None
        assert is_active == (0 < expires_in_s <= LONGEST.total_seconds() and seconds < expires_in_s)
        # A wall clock that is set back or forth can only end it early.
        if seconds >= expires_in_s:
            assert glass.active(wall + timedelta(seconds=set_back_s), float(seconds)) is None


def test_a_day_is_allowed_and_more_is_not() -> None:
    glass = Glass()
    assert reason(glass, annotation(LONGEST)) == "ReadinessForced"
    assert reason(glass, annotation(LONGEST + timedelta(seconds=1))) == "ReadinessForceIgnored"
    assert glass.active(NOW, 0.0) is None


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("true", "JSON"),
        ("{", "JSON"),
        ('{"owner": "ana", "expires_at": "2026-01-01T01:00:00Z"}', "reason"),
        ('{"owner": "", "reason": "x", "expires_at": "2026-01-01T01:00:00Z"}', "owner"),
        ('{"owner": "ana", "reason": "x"}', "expires_at"),
        ('{"owner": "ana", "reason": "x", "expires_at": "2026-01-01T01:00:00"}', "expires_at"),
        ('{"owner": "ana", "reason": "x", "expires_at": "soon"}', "expires_at"),
        ('{"owner": "ana", "reason": "x", "expires_at": "2026-01-01T01:00:00Z", "expiry": "x"}', "expiry"),
        (annotation(timedelta(hours=25)), "expires_at"),
    ],
)
def test_what_is_not_whole_is_ignored_and_said_so(text: str, named: str) -> None:
    glass = Glass()
    event = glass.observe(text, NOW, 0.0)
    assert event is not None and event.reason == "ReadinessForceIgnored" and named in event.message
    assert glass.active(NOW, 0.0) is None
    assert glass.observe(text, NOW, 10.0) == event


def test_events_are_the_same_until_something_changes() -> None:
    glass = Glass()
    text = annotation(timedelta(hours=1))
    assert reason(glass, None) is None
    forced = glass.observe(text, NOW, 0.0)
    assert forced is not None and forced.reason == "ReadinessForced" and "ana: INC-7" in forced.message
    assert glass.observe(text, NOW, 10.0) == forced
    expired = glass.observe(text, NOW + timedelta(hours=1), 3600.0)
    assert expired is not None and expired.reason == "ReadinessForceExpired" and expired.name != forced.name
    # An agent that starts anew says the same of the same annotation, under the same name.
    assert Glass().observe(text, NOW + timedelta(hours=2), 0.0) == expired


def test_withdrawn_ends_at_once() -> None:
    glass = Glass()
    reason(glass, annotation(timedelta(hours=1)))
    event = glass.observe(None, NOW + timedelta(minutes=1), 60.0)
    assert event is not None and event.reason == "ReadinessForceExpired" and "withdrawn" in event.message
    assert glass.active(NOW + timedelta(minutes=1), 60.0) is None


def test_replaced_by_a_broken_one_ends_at_once() -> None:
    glass = Glass()
    reason(glass, annotation(timedelta(hours=1)))
    assert reason(glass, "{}") == "ReadinessForceIgnored"
    assert glass.active(NOW, 0.0) is None


def test_extended_counts_from_the_new_expiry() -> None:
    glass = Glass()
    reason(glass, annotation(timedelta(minutes=1)))
    reason(glass, annotation(timedelta(minutes=5)), timedelta(seconds=50))
    assert glass.active(NOW + timedelta(minutes=4), 240.0) is not None
    assert glass.active(NOW + timedelta(minutes=5), 300.0) is None
