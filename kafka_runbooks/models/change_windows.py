"""When data may move: change windows as an operator types them."""

from datetime import time
from enum import StrEnum
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import Field, field_validator

from kafka_runbooks.models.base import OperatorInput


class Weekday(StrEnum):
    MONDAY = "monday"
    TUESDAY = "tuesday"
    WEDNESDAY = "wednesday"
    THURSDAY = "thursday"
    FRIDAY = "friday"
    SATURDAY = "saturday"
    SUNDAY = "sunday"

    @property
    def number(self) -> int:
        """As `date.weekday()` counts."""
        return list(Weekday).index(self)


class ChangeWindow(OperatorInput):
    """A time of day, on some days of the week, in which data may move; in local time of its time zone.

    `days` are those on which it opens. Where `end` is not after `start`, it closes on the day after (`22:00` to `04:00`);
    `end` equal to `start` means 24 hours. When clocks change, local time still decides: a window from
    01:00 to 03:30 is an hour shorter in spring, and an hour longer in autumn.
    """

    days: tuple[Weekday, ...] = Field(
        default=tuple(Weekday), min_length=1, max_length=7, description="the days on which it opens"
    )
    start: time = Field(description="HH:MM, included")
    end: time = Field(description="HH:MM, not included; not after start: on the day after")
    timezone: str = Field(default="UTC", max_length=64, description="an IANA name, e.g. Europe/Paris")

    @field_validator("timezone")
    @classmethod
    def _known_timezone(cls, name: str) -> str:
        try:
            ZoneInfo(name)
        except (ZoneInfoNotFoundError, ValueError, OSError):
            raise ValueError(f"timezone {name!r} is not known; give an IANA name such as Europe/Paris or UTC") from None
        return name

    @field_validator("start", "end")
    @classmethod
    def _plain_time(cls, value: time) -> time:
        if value.tzinfo is not None:
            raise ValueError("give the time without an offset; the timezone has a field of its own")
        return value

    def __str__(self) -> str:
        days = "every day" if len(set(self.days)) == 7 else ", ".join(day[:3].capitalize() for day in Weekday if day in self.days)
        return f"{days} {self.start:%H:%M}-{self.end:%H:%M} {self.timezone}"
