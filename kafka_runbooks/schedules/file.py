"""The file in which schedules are declared, and its faults, each with its line."""

from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import pydantic
from pydantic import AfterValidator, BeforeValidator, Field, ValidationInfo, field_validator, model_validator

from kafka_runbooks import documents
from kafka_runbooks.catalogue import RUNBOOKS, command_name
from kafka_runbooks.models.base import Name, OperatorInput
from kafka_runbooks.models.change_windows import ChangeWindow
from kafka_runbooks.models.inputs import CertificateWatchInput, HealthCheckInput
from kafka_runbooks.runs.durations import duration
from kafka_runbooks.runs.validation import BadInput
from kafka_runbooks.schedules import times

LOOKS: dict[str, type[OperatorInput]] = {"CertificateWatch": CertificateWatchInput, "HealthCheck": HealthCheckInput}
"""What is scheduled and is no runbook: it changes nothing, and takes no permit."""
BY_COMMAND = {command_name(name): name for name in (*RUNBOOKS, *LOOKS)}


def _known_zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError(f"{name!r} is not known; give an IANA name such as Europe/Paris or UTC") from None
    return name


def _duration(value: object) -> object:
    return duration(value) if isinstance(value, str) else value


def _cron(value: str) -> str:
    times.cron(value)
    return value


Duration = Annotated[timedelta, BeforeValidator(_duration)]


class Entry(OperatorInput):
    """One schedule."""

    runbook: str = Field(description="a runbook, certificate-watch or health-check")
    input: dict[str, Any] = Field(description="its input")
    cron: Annotated[str, AfterValidator(_cron)] | None = Field(
        default=None, description="minute, hour, day of month, month, day of week; or give every"
    )
    every: Duration | None = Field(default=None, description="15m, 4h, 2d; or give cron")
    jitter: Duration = Field(default=timedelta(), description="starts are put off by up to this, each by another time")
    timezone: Annotated[str, AfterValidator(_known_zone)] = Field(default="UTC", description="an IANA name, for cron and window")
    window: ChangeWindow | None = Field(default=None, description="nothing starts outside of it")
    overlap: Literal["skip", "buffer-one", "cancel-other", "terminate-other", "allow-all"] = Field(
        default="skip", description="when it is due and the last run is still in progress"
    )
    catch_up: Duration = Field(default=timedelta(minutes=10), description="how late it still starts after Temporal was away")
    paused: bool | None = Field(default=None, description="default: as somebody has left it")
    note: str = Field(default="", max_length=500, description="why it is there")

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if (self.cron is None) == (self.every is None):
            raise ValueError("give cron or every, one of them")
        if self.every is not None and self.every < timedelta(minutes=1):
            raise ValueError("every: at least 1m")
        if self.window is not None and self.window.timezone != self.timezone:
            raise ValueError(f"window.timezone is {self.window.timezone}, and timezone {self.timezone}: give the same for both")
        return self

    @field_validator("runbook")
    @classmethod
    def _known(cls, name: str) -> str:
        if name not in BY_COMMAND:
            raise ValueError(f"{name!r} is not known; known are {', '.join(sorted(BY_COMMAND))}")
        return name

    @field_validator("input")
    @classmethod
    def _fits_runbook(cls, given: dict[str, Any], info: ValidationInfo) -> dict[str, Any]:
        if "runbook" in info.data:
            _validated(BY_COMMAND[info.data["runbook"]], given)
        return given

    @property
    def workflow(self) -> str:
        """The workflow type."""
        return BY_COMMAND[self.runbook]

    @property
    def request(self) -> OperatorInput:
        """The validated input. A scheduled runbook gives way to a person's: it doesn't wait in line, it skips."""
        return _validated(self.workflow, self.input)


def _validated(workflow: str, given: Mapping[str, Any]) -> OperatorInput:
    if workflow in LOOKS:
        return LOOKS[workflow].model_validate(given)
    return RUNBOOKS[workflow].input.model_validate({"requester": "schedule", "when_busy": "skip", **given})


class SchedulesFile(OperatorInput):
    """All schedules of one owner."""

    owner: Name = Field(description="whose schedules these are: those of the same owner that aren't in the file are deleted")
    schedules: dict[Name, Entry] = Field(description="by schedule id")


def read(path: Path) -> SchedulesFile:
    """Read the file.

    Raises:
        BadInput: it can't be read, or something in it is wrong; a line for each fault, with its line in the file.
    """
    try:
        text = path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise BadInput(f"{path}: can't read the file: {reason}") from error
    found, faults = documents.parse(text, str(path))
    if faults:
        raise BadInput("\n".join(map(str, faults)))
    if len(found) != 1 or not isinstance(found[0].data, Mapping):
        raise BadInput(f"{path}: expected owner and schedules")
    try:
        return SchedulesFile.model_validate(found[0].data)
    except pydantic.ValidationError as error:
        raise BadInput("\n".join(str(found[0].explain(one)) for one in error.errors(include_url=False))) from error
