"""Change windows follow local time: past midnight, through the week, and when clocks change."""

from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from kafka_runbooks.models.change_windows import ChangeWindow, Weekday
from kafka_runbooks.moves.change_windows import is_open, opening_at
from tests.examples import examples

PARIS = ZoneInfo("Europe/Paris")
NIGHTS = ChangeWindow(days=(Weekday.MONDAY, Weekday.FRIDAY), start=time(22), end=time(4), timezone="Europe/Paris")


def paris(day: int, hour: int, minute: int = 0, month: int = 3, fold: int = 0) -> datetime:
    return datetime(2026, month, day, hour, minute, tzinfo=PARIS, fold=fold)


@pytest.mark.parametrize(
    ("at", "expected"),
    [
        (paris(2, 21, 59), False),  # Monday
        (paris(2, 22), True),
        (paris(3, 3, 59), True),  # Tuesday, opened on Monday
        (paris(3, 4), False),
        (paris(3, 22, 30), False),  # Tuesday
        (paris(7, 3, 30), True),  # Saturday, opened on Friday
        (paris(8, 3, 30), False),
    ],
)
def test_it_opens_on_its_days_and_closes_on_the_day_after(at: datetime, expected: bool) -> None:
    assert is_open([NIGHTS], at) is expected
    assert opening_at([NIGHTS], at).is_open is expected


def test_it_says_when_it_opens_and_closes_and_what_fits() -> None:
    closed = opening_at([NIGHTS], paris(3, 12))
    assert closed.opens_at == paris(6, 22) and closed.closes_at == paris(7, 4)
    assert closed.reason == "the change window is closed and opens Fri 21:00 UTC (Mon, Fri 22:00-04:00 Europe/Paris)"
    assert not closed.fits(paris(3, 12), 1)
    now = paris(3, 3)
    opened = opening_at([NIGHTS], now)
    assert opened.closes_at == paris(3, 4)
    assert opened.fits(now, 3_600) and not opened.fits(now, 3_601)
    assert not opened.fits(now, float("nan")), "how long it takes is not known"


def test_windows_that_meet_are_one() -> None:
    evening = ChangeWindow(start=time(20), end=time(0), timezone="Europe/Paris")
    morning = ChangeWindow(start=time(0), end=time(6), timezone="Europe/Paris")
    assert opening_at([evening, morning], paris(3, 21)).closes_at == paris(4, 6)
    assert opening_at([evening], paris(3, 21)).closes_at == paris(4, 0)
    elsewhere = ChangeWindow(start=time(0), end=time(1), timezone="America/New_York")  # 06:00 to 07:00 in Paris
    assert opening_at([morning, elsewhere], paris(3, 5, 30)).closes_at == paris(3, 7)


def test_no_windows_or_all_day_every_day_never_close() -> None:
    always = ChangeWindow(start=time(0), end=time(0))
    for opening in (opening_at([], paris(3, 5)), opening_at([always], paris(3, 5))):
        assert opening.is_open and opening.closes_at is None and opening.fits(paris(3, 5), 1e9)


def test_in_spring_the_hour_that_is_left_out_is_no_hour() -> None:
    """2026-03-29, 02:00 to 03:00 does not exist in Paris."""
    night = ChangeWindow(start=time(1), end=time(3, 30), timezone="Europe/Paris")
    opening = opening_at([night], paris(29, 1))
    assert opening.closes_at is not None
    assert opening.closes_at - paris(29, 1).astimezone(UTC) == timedelta(hours=1, minutes=30)
    inside = ChangeWindow(start=time(2, 15), end=time(2, 45), timezone="Europe/Paris")
    assert opening_at([inside], paris(29, 0)).opens_at == paris(30, 2, 15), "that night it does not come"
    across = ChangeWindow(start=time(2, 30), end=time(4), timezone="Europe/Paris")
    assert opening_at([across], paris(29, 0)).opens_at == paris(29, 3), "the clock jumps into it"
    sundays = ChangeWindow(days=(Weekday.SUNDAY,), start=time(2, 15), end=time(2, 45), timezone="Europe/Paris")
    assert opening_at([sundays], paris(28, 0)).opens_at == paris(5, 2, 15, month=4)


def test_in_autumn_the_hour_that_comes_twice_is_open_twice() -> None:
    """2026-10-25, 03:00 is followed by 02:00 in Paris."""
    night = ChangeWindow(start=time(1), end=time(3, 30), timezone="Europe/Paris")
    opening = opening_at([night], paris(25, 1, month=10))
    assert opening.closes_at is not None
    assert opening.closes_at - paris(25, 1, month=10).astimezone(UTC) == timedelta(hours=3, minutes=30)
    inside = ChangeWindow(start=time(2, 15), end=time(2, 45), timezone="Europe/Paris")
    first = opening_at([inside], paris(25, 2, 20, month=10))
    assert first.closes_at == datetime(2026, 10, 25, 0, 45, tzinfo=UTC)
    assert opening_at([inside], first.closes_at).opens_at == datetime(2026, 10, 25, 1, 15, tzinfo=UTC)


windows = st.builds(
    ChangeWindow,
    days=st.sets(st.sampled_from(Weekday), min_size=1).map(tuple),
    start=st.times().map(lambda clock: clock.replace(second=0, microsecond=0)),
    end=st.times().map(lambda clock: clock.replace(second=0, microsecond=0)),
    timezone=st.sampled_from(["UTC", "Europe/Paris", "America/New_York", "Asia/Kolkata", "Australia/Lord_Howe", "Africa/Cairo"]),
)
days_of_clock_change = st.sampled_from([(3, 28), (10, 24), (3, 7), (10, 31), (4, 4), (10, 3), (4, 24), (6, 1)])


@settings(max_examples=examples(60), deadline=None)
@given(st.lists(windows, min_size=1, max_size=3), days_of_clock_change, st.integers(0, 2_879))
def test_nothing_opens_or_closes_before_the_moment_given(several: list[ChangeWindow], day: tuple[int, int], minute: int) -> None:
    """Against the definition, minute by minute over two days around clock changes."""
    now = datetime(2026, *day, tzinfo=UTC) + timedelta(minutes=minute)
    opening = opening_at(several, now)
    assert opening.is_open is is_open(several, now)
    changes = opening.closes_at if opening.is_open else opening.opens_at
    moment = now
    while moment < now + timedelta(days=2):
        if changes is not None and moment >= changes:
            assert moment < changes + timedelta(minutes=1)
            assert is_open(several, changes) is not opening.is_open
            break
        assert is_open(several, moment) is opening.is_open, (moment, changes)
        moment += timedelta(minutes=1)
    if not opening.is_open and opening.opens_at and opening.closes_at:
        assert is_open(several, opening.closes_at - timedelta(seconds=1)) and not is_open(several, opening.closes_at)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"timezone": "Mars/Olympus"}, "timezone 'Mars/Olympus' is not known"),
        ({"timezone": "../../etc/passwd"}, "is not known"),
        ({"start": "22:00+02:00"}, "the timezone has a field of its own"),
        ({"start": "25:00"}, "start"),
        ({"days": []}, "days"),
        ({"days": ["mon"]}, "monday"),
        ({"until": "04:00"}, "until"),
    ],
)
def test_bad_input_names_the_field(wrong: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        ChangeWindow.model_validate({"start": "22:00", "end": "04:00", **wrong})


def test_a_moment_without_a_timezone_is_an_error() -> None:
    with pytest.raises(ValueError, match="must have a timezone"):
        opening_at([NIGHTS], datetime(2026, 3, 3))
