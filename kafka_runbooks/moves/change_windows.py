"""Change windows: may data move now, until when, and does the remaining work fit in?

A window is given in the local time of its time zone (`models.change_windows`), so that time decides whether it is open. It can
only open or close at its own times, at midnight, or when that zone's clocks change; these moments are tried in order. Several
windows act as one: data may move while any of them is open, and where two adjoin nothing closes.

Time zone rules come from the machine's database, of which two workers may have different versions: ask in an activity, not in
workflow code.
"""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, time, timedelta
from typing import NamedTuple
from zoneinfo import ZoneInfo

from kafka_runbooks.models.change_windows import ChangeWindow

HORIZON_DAYS = 15
"""A window recurs every week; one in an hour that a clock change skips recurs a week later."""


class Opening(NamedTuple):
    """The state of the windows at one moment. Times are UTC."""

    is_open: bool
    closes_at: datetime | None = None
    """When it next closes; None if it is open and never closes, or isn't known to open."""
    opens_at: datetime | None = None
    """When it next opens; None if it is open, or never opens."""
    reason: str = ""

    def fits(self, now: datetime, seconds: float) -> bool:
        """Whether work of this many seconds, begun now, ends before it closes. An unknown duration (NaN) doesn't fit."""
        return self.is_open and (self.closes_at is None or seconds <= (self.closes_at - now).total_seconds())


def opening_at(windows: Sequence[ChangeWindow], now: datetime) -> Opening:
    """The state of the windows now. Without windows data may always move.

    Args:
        now: with any time zone.

    Raises:
        ValueError: `now` has no timezone.
    """
    if now.tzinfo is None:
        raise ValueError(f"now is {now}: it must have a timezone")
    if not windows:
        return Opening(True, reason="no change window was given: data may move at any time")
    now = now.astimezone(UTC)
    names = "; ".join(map(str, windows))
    moments = sorted({moment for window in windows for moment in _moments(window, now) if moment > now})
    if is_open(windows, now):
        closes = next((moment for moment in moments if not is_open(windows, moment)), None)
        until = "" if closes is None else f" until {closes:%a %H:%M} UTC"
        return Opening(True, closes_at=closes, reason=f"the change window is open{until} ({names})")
    opens = next((moment for moment in moments if is_open(windows, moment)), None)
    if opens is None:
        return Opening(False, reason=f"the change window never opens ({names})")
    closes = next((moment for moment in moments if moment > opens and not is_open(windows, moment)), None)
    return Opening(
        False, closes_at=closes, opens_at=opens, reason=f"the change window is closed and opens {opens:%a %H:%M} UTC ({names})"
    )


def is_open(windows: Sequence[ChangeWindow], at: datetime) -> bool:
    """Whether any of the windows is open at a moment, in the local time of each."""
    return any(_is_open(window, at) for window in windows)


def _is_open(window: ChangeWindow, at: datetime) -> bool:
    local = at.astimezone(ZoneInfo(window.timezone))
    days = {day.number for day in window.days}
    opened_today = local.weekday() in days and local.time() >= window.start
    if window.end > window.start:
        return opened_today and local.time() < window.end
    opened_yesterday = (local.weekday() - 1) % 7 in days and local.time() < window.end
    return opened_today or opened_yesterday


def _moments(window: ChangeWindow, now: datetime) -> Iterator[datetime]:
    """Every moment from a day before `now` to the horizon at which the window may open or close."""
    zone = ZoneInfo(window.timezone)
    first = now.astimezone(zone).date() - timedelta(days=1)
    for number in range(HORIZON_DAYS):
        day = first + timedelta(days=number)
        for clock in {window.start, window.end, time()}:
            # fold: when a clock is put back, the same local time occurs twice.
            for fold in (0, 1):
                yield datetime.combine(day, clock.replace(fold=fold), zone).astimezone(UTC)
        change = _clock_change(zone, datetime.combine(day, time(), UTC))
        if change is not None:
            yield change


def _clock_change(zone: ZoneInfo, day: datetime) -> datetime | None:
    """When this zone's clocks change within the 24 hours from a moment, to the second."""
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
