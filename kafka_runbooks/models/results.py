"""What a runbook answers: reasons not to start, checks of the exit contract, and its result at the end."""

from datetime import datetime
from enum import StrEnum

from pydantic import Field

from kafka_runbooks.models.base import Model
from kafka_runbooks.models.plans import PlanReference


class Reason(Model):
    """One reason not to start. An operator acknowledges it by `name`, where that is possible."""

    name: str
    message: str
    remedy: str = Field(alias="clears")
    """What would make it go away."""
    can_be_acknowledged: bool = False


class Check(Model):
    """One assertion of the exit contract, made on the live cluster."""

    name: str
    passed: bool = Field(alias="holds")
    detail: str


class PhaseTime(Model):
    """How long a step took, end to end, retries and waits included."""

    step: str
    seconds: float


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
    REJECTED = "rejected"
    ABORTED = "aborted"
    CANCELLED = "cancelled"


class RunbookResult(Model):
    """What a runbook reports at its end, however it ended."""

    outcome: Outcome
    summary: str
    plan: PlanReference | None = None
    reasons: tuple[Reason, ...] = ()
    checks: tuple[Check, ...] = ()
    steps: tuple[PhaseTime, ...] = ()
    copied_bytes: int = 0
    lower_bound_bytes: int = 0
    highest_throttle_bytes_per_s: int | None = None
    left_behind: tuple[str, ...] = ()
    decisions: tuple[Decision, ...] = ()
