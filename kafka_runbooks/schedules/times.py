"""When a schedule starts something, as Temporal's calendars say it.

Cron strings and change windows are turned into calendars here, and not by the server: what it returns can then be compared with
what was declared, and somebody's edit by hand is seen.
"""

from collections.abc import Iterable, Sequence

from temporalio.client import ScheduleCalendarSpec, ScheduleRange

from kafka_runbooks.models.change_windows import ChangeWindow

DAY_NAMES = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
MONTH_NAMES = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
DAY_MINUTES = 24 * 60
DAY_OF_MONTH, DAY_OF_WEEK = 2, 4
CRON_FIELDS = (("minute", 0, 59), ("hour", 0, 23), ("day of month", 1, 31), ("month", 1, 12), ("day of week", 0, 7))


def cron(text: str) -> ScheduleCalendarSpec:
    """A cron string of five fields.

    Day of month and day of week together mean either of them to cron and both of them to Temporal, so only one is taken.

    Raises:
        ValueError: it isn't one; the message says which field.
    """
    fields = text.split()
    if len(fields) != len(CRON_FIELDS):
        raise ValueError(f"{text!r} has {len(fields)} fields: give minute, hour, day of month, month and day of week")
    if "*" not in (fields[DAY_OF_MONTH], fields[DAY_OF_WEEK]):
        raise ValueError(f"{text!r}: give a day of month or a day of week, not both; use * for the other")
    parsed = [_cron_field(field, *bounds) for field, bounds in zip(fields, CRON_FIELDS, strict=True)]
    minute, hour, day_of_month, month, day_of_week = parsed
    return ScheduleCalendarSpec(
        second=(ScheduleRange(0, 0, 1),),
        minute=minute,
        hour=hour,
        day_of_month=day_of_month,
        month=month,
        day_of_week=_from_sunday(day_of_week),
    )


def _cron_field(field: str, name: str, lowest: int, highest: int) -> list[ScheduleRange]:
    found = []
    names = {"month": MONTH_NAMES, "day of week": DAY_NAMES}.get(name, ())
    for part in field.lower().split(","):
        span, _, step = part.partition("/")
        start, dash, end = span.partition("-")
        try:
            first = lowest if span == "*" else _number(start, names, lowest)
            last = _number(end, names, lowest) if dash else (highest if span == "*" or step else first)
            every = int(step) if step else 1
        except ValueError:
            raise ValueError(f"{name} {field!r}: {part!r} is no number, range or *") from None
        if not lowest <= first <= last <= highest or every < 1:
            raise ValueError(f"{name} {field!r}: {part!r} isn't within {lowest} to {highest}")
        found.append(ScheduleRange(first, last, every))
    return found


def _number(text: str, names: Sequence[str], lowest: int) -> int:
    return lowest + names.index(text) if text in names else int(text)


def _from_sunday(days: Iterable[ScheduleRange]) -> list[ScheduleRange]:
    """Cron's 7 is Sunday too."""
    numbers = sorted({day % 7 for one in days for day in range(one.start, one.end + 1, one.step)})
    return _ranges(numbers)


def _ranges(numbers: Sequence[int]) -> list[ScheduleRange]:
    found: list[ScheduleRange] = []
    for number in numbers:
        if found and number == found[-1].end + 1:
            found[-1] = ScheduleRange(found[-1].start, number, 1)
        else:
            found.append(ScheduleRange(number, number, 1))
    return found


def outside(window: ChangeWindow) -> list[ScheduleCalendarSpec]:
    """Every second that isn't in a change window, for Temporal to skip: what would start then starts not at all."""
    start, end = (at.hour * 60 + at.minute for at in (window.start, window.end))
    opens = {day.number for day in window.days}
    by_times: dict[tuple[int, int], list[int]] = {}
    for day in range(7):
        for span in _closed(day in opens, (day - 1) % 7 in opens, start, end):
            by_times.setdefault(span, []).append(day)
    return [calendar for (begin, until), days in by_times.items() for calendar in _calendars(begin, until, days)]


def _closed(opens: bool, opened_before: bool, start: int, end: int) -> list[tuple[int, int]]:
    """A day's minutes outside of the window, as half-open spans."""
    if end > start:
        opened = [(start, end)] if opens else []
    else:  # Past midnight; the same time is 24 hours.
        opened = ([(0, end)] if opened_before else []) + ([(start, DAY_MINUTES)] if opens else [])
    closed, at = [], 0
    for begin, until in opened:
        if begin > at:
            closed.append((at, begin))
        at = max(at, until)
    return [*closed, (at, DAY_MINUTES)] if at < DAY_MINUTES else closed


def _calendars(begin: int, until: int, days: Sequence[int]) -> list[ScheduleCalendarSpec]:
    """A span of minutes on some days (Monday is 0): the hours that it has a part of, and those that it has in full."""
    (first, from_minute), (last, to_minute) = divmod(begin, 60), divmod(until, 60)
    spans = [(first, first, from_minute, to_minute - 1)]
    if last > first:
        spans = [(first, first, from_minute, 59)] if from_minute else []
        first_full = first + bool(from_minute)
        spans += [(first_full, last - 1, 0, 59)] if last > first_full else []
        spans += [(last, last, 0, to_minute - 1)] if to_minute else []
    return [
        ScheduleCalendarSpec(
            second=(ScheduleRange(0, 59, 1),),
            minute=(ScheduleRange(minute, to, 1),),
            hour=(ScheduleRange(hour, to_hour, 1),),
            day_of_month=(ScheduleRange(1, 31, 1),),
            month=(ScheduleRange(1, 12, 1),),
            day_of_week=_ranges(sorted((day + 1) % 7 for day in days)),
        )
        for hour, to_hour, minute, to in spans
    ]
