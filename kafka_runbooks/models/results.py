"""What a runbook answers: reasons not to start, checks of the exit contract, and its result at the end."""

from datetime import datetime
from enum import StrEnum
from typing import Annotated

from pydantic import AfterValidator, Field

from kafka_runbooks.models.base import MOST_LINES, Line, Lines, Model, first, last
from kafka_runbooks.models.plans import PlanReference


class Reason(Model):
    """One reason not to start. An operator acknowledges it by `name`, where that is possible."""

    name: str
    message: Line
    remedy: Line = Field(alias="clears")
    """What would make it go away."""
    can_be_acknowledged: bool = False
    is_bad_input: bool = False
    """The input names what isn't there: nothing but another input makes it go away."""


def _first_reasons(reasons: tuple[Reason, ...]) -> tuple[Reason, ...]:
    if len(reasons) <= MOST_LINES + 1:
        return reasons
    more = Reason(
        name="more-reasons",
        message=f"{len(reasons) - MOST_LINES} more reasons like these",
        remedy="clear these first, or plan for fewer topics at once",
    )
    return (*reasons[:MOST_LINES], more)


Reasons = Annotated[tuple[Reason, ...], AfterValidator(_first_reasons)]
"""As many as a history should keep. One that isn't listed can't be acknowledged either."""


class Check(Model):
    """One assertion of the exit contract, made on the live cluster."""

    name: str
    passed: bool = Field(alias="holds")
    detail: Line


class PhaseTime(Model):
    """How long a step took, end to end, retries and waits included."""

    step: str
    seconds: float
    broker_id: int | None = None
    """Whose step it was, where a run brings several brokers back."""


class Decision(Model):
    """What an operator decided, at the gate or at another time, and why."""

    action: str
    by: str
    reason: str
    at: datetime


class Outcome(StrEnum):
    DONE = "done"
    NOTHING_TO_DO = "nothing to do"
    FAILED = "failed"
    REFUSED = "refused by preflight"
    BUSY = "busy"
    SKIPPED = "skipped"
    """A scheduled run, which has given way to another one."""
    JOINED = "joined another run"
    """Another run has taken over what was asked for."""
    REJECTED = "rejected"
    ABORTED = "aborted"
    CANCELLED = "cancelled"


class RunbookResult(Model):
    """What a runbook reports at its end, however it ended."""

    outcome: Outcome
    summary: Line
    plan: PlanReference | None = None
    reasons: Reasons = ()
    checks: Annotated[tuple[Check, ...], AfterValidator(first)] = ()
    steps: Annotated[tuple[PhaseTime, ...], AfterValidator(last)] = ()
    copied_bytes: int = 0
    lower_bound_bytes: int = 0
    highest_throttle_bytes_per_s: int | None = None
    left_behind: Lines = ()
    decisions: Annotated[tuple[Decision, ...], AfterValidator(last)] = ()
