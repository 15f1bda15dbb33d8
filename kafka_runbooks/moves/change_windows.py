"""Change windows: may data move now, until when, and does what is still to do fit in?

A window is a statement about the clock on a wall (`models.windows`). So whether one is open at a moment is read off that
clock, and the moments at which it opens and closes are looked for among those at which the answer can change: the window's
own times, and the moments at which the wall's clock is put forward or back. Several windows are one: data may move while any
of them is open, and where two meet nothing closes.

Timezones' rules come from the machine's database, which two workers may have in different versions: ask in an activity, not
in workflow code.
"""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, time, timedelta
from typing import NamedTuple
from zoneinfo import ZoneInfo

from kafka_runbooks.models.change_windows import ChangeWindow

HORIZON_DAYS = 15
"""Windows come back every week; one that falls into an hour that a clock leaves out comes back a week later."""


class Opening(NamedTuple):
    """What the windows say at one moment. Times are UTC."""

    is_open: bool
    closes_at: datetime | None = None
    """When it next closes; None where it is open and stays so, or isn't known to open."""
    opens_at: datetime | None = None
    """When it next opens; None where it is open, or never opens."""
    why: str = ""

    def fits(self, now: datetime, seconds: float) -> bool:
        """Whether work of so many seconds, begun now, ends before it closes. An unknown duration (NaN) doesn't fit."""
        return self.is_open and (self.closes_at is None or seconds <= (self.closes_at - now).total_seconds())


def look(windows: Sequence[ChangeWindow], now: datetime) -> Opening:
    """What the windows say now. No windows: data may always move.

    Args:
        now: with a timezone, any.

    Raises:
        ValueError: `now` has no timezone.
    """
    if now.tzinfo is None:
        raise ValueError(f"now is {now}: it must have a timezone")
    if not windows:
        return Opening(True, why="no change window was given: data may move at any time")
    now = now.astimezone(UTC)
    names = "; ".join(map(str, windows))
    moments = sorted({moment for window in windows for moment in _moments(window, now) if moment > now})
    if is_open(windows, now):
        closes = next((moment for moment in moments if not is_open(windows, moment)), None)
        until = "" if closes is None else f" until {closes:%a %H:%M} UTC"
        return Opening(True, closes_at=closes, why=f"the change window is open{until} ({names})")
    opens = next((moment for moment in moments if is_open(windows, moment)), None)
    if opens is None:
        return Opening(False, why=f"the change window never opens ({names})")
    closes = next((moment for moment in moments if moment > opens and not is_open(windows, moment)), None)
    return Opening(
        False, closes_at=closes, opens_at=opens, why=f"the change window is closed and opens {opens:%a %H:%M} UTC ({names})"
    )


def is_open(windows: Sequence[ChangeWindow], at: datetime) -> bool:
    """Whether any of the windows is open at a moment, by the clocks of their timezones."""
    return any(_is_open(window, at) for window in windows)


def _is_open(window: ChangeWindow, at: datetime) -> bool:
    wall = at.astimezone(ZoneInfo(window.timezone))
    days = {day.number for day in window.days}
    opened_today = wall.weekday() in days and wall.time() >= window.start
    if window.end > window.start:
        return opened_today and wall.time() < window.end
    opened_yesterday = (wall.weekday() - 1) % 7 in days and wall.time() < window.end
    return opened_today or opened_yesterday


def _moments(window: ChangeWindow, now: datetime) -> Iterator[datetime]:
    """Every moment from a day before `now` to the horizon at which the answer may change."""
    zone = ZoneInfo(window.timezone)
    first = now.astimezone(zone).date() - timedelta(days=1)
    for number in range(HORIZON_DAYS):
        day = first + timedelta(days=number)
        for clock in {window.start, window.end, time()}:
            # fold: where a clock is put back, the same time comes twice.
            for fold in (0, 1):
                yield datetime.combine(day, clock.replace(fold=fold), zone).astimezone(UTC)
        change = _clock_change(zone, datetime.combine(day, time(), UTC))
        if change is not None:
            yield change


def _clock_change(zone: ZoneInfo, day: datetime) -> datetime | None:
    """The moment at which this zone's clock is put forward or back within 24 hours from a moment, to the second."""
    before, after = day, day + timedelta(days=1)
    if before.astimezone(zone).utcoffset() == after.astimezone(zone).utcoffset():
        return None
    while after - before > timedelta(seconds=1):
        middle = before + (after - before) / 2
        if middle.astimezone(zone).utcoffset() == before.astimezone(zone).utcoffset():
            before = middle
        else:
            after = middle
    return after.replace(microsecond=0)
