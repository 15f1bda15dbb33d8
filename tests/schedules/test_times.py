"""Cron strings and change windows as Temporal's calendars: minute by minute over a week, against the window's own rule."""

from datetime import UTC, datetime, time, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from temporalio.client import ScheduleCalendarSpec

from kafka_runbooks.models.change_windows import ChangeWindow, Weekday
from kafka_runbooks.moves.change_windows import is_open
from kafka_runbooks.schedules import times

MONDAY = datetime(2026, 11, 23, tzinfo=UTC)
TIMES = st.builds(time, st.integers(0, 23), st.sampled_from([0, 1, 15, 30, 59]))
WEEKDAYS = st.lists(st.sampled_from(list(Weekday)), min_size=1, max_size=7, unique=True).map(tuple)


def matches(calendar: ScheduleCalendarSpec, at: datetime) -> bool:
    """As Temporal's `matchStructuredCalendar` does."""
    values = (
        (calendar.second, at.second),
        (calendar.minute, at.minute),
        (calendar.hour, at.hour),
        (calendar.day_of_month, at.day),
        (calendar.month, at.month),
        (calendar.day_of_week, at.isoweekday() % 7),
    )
    return all(
        any(value in range(span.start, max(span.start, span.end) + 1, max(1, span.step)) for span in spans)
        for spans, value in values
    )


@given(WEEKDAYS, TIMES, TIMES)
def test_what_is_skipped_is_exactly_what_the_window_leaves_out(days: tuple[Weekday, ...], start: time, end: time) -> None:
    window = ChangeWindow(days=days, start=start, end=end)
    skipped = times.outside(window)
    edges = {0, start.hour * 60 + start.minute, end.hour * 60 + end.minute}
    minutes = sorted({(edge + near) % times.DAY_MINUTES for edge in edges for near in (-61, -60, -1, 0, 1, 59, 60)})
    for day in range(7):
        for minute in minutes:
            at = MONDAY + timedelta(days=day, minutes=minute, seconds=30)
            assert is_open((window,), at) != any(matches(one, at) for one in skipped), at


@pytest.mark.parametrize(
    ("cron", "at", "not_at"),
    [
        ("0 7 * * mon-fri", [(0, 7, 0), (4, 7, 0)], [(5, 7, 0), (0, 7, 1), (0, 8, 0)]),
        ("*/15 8-18/2 * * *", [(0, 8, 45), (6, 18, 0)], [(0, 9, 0), (0, 8, 50)]),
        ("5,35 * * * 7", [(6, 3, 35)], [(0, 3, 35), (6, 3, 36)]),
        ("30 2 24 nov *", [(1, 2, 30)], [(0, 2, 30), (2, 2, 30)]),
    ],
)
def test_cron(cron: str, at: list[tuple[int, int, int]], not_at: list[tuple[int, int, int]]) -> None:
    calendar = times.cron(cron)
    for wanted, moments in ((True, at), (False, not_at)):
        for day, hour, minute in moments:
            assert matches(calendar, MONDAY + timedelta(days=day, hours=hour, minutes=minute)) is wanted


@pytest.mark.parametrize(
    ("cron", "fault"),
    [
        ("0 7 * *", "has 4 fields"),
        ("60 7 * * *", "minute '60': '60' isn't within 0 to 59"),
        ("0 7 1 * mon", "not both"),
        ("0 x * * *", "hour 'x'"),
        ("0 9-7 * * *", "isn't within"),
        ("*/0 * * * *", "minute"),
    ],
)
def test_a_wrong_cron_string_names_the_field(cron: str, fault: str) -> None:
    with pytest.raises(ValueError, match=fault):
        times.cron(cron)
