"""What a runbook would do, told before it is started."""

from typing import Any

from kafka_runbooks.models.base import Model
from kafka_runbooks.models.moves import MoveSummary
from kafka_runbooks.models.plans import PlanSummary
from kafka_runbooks.models.results import Reason


class MovesToPreview(Model):
    """Which runbook that moves data, and its input as JSON."""

    runbook: str
    request: dict[str, Any]


class Preview(Model):
    """The answer of `kafka-runbooks plan`. Nothing was changed, nothing is kept, no permit was taken.

    `plan` is None where the broker can't be found or there is nothing to do.
    """

    plan: PlanSummary | MoveSummary | None = None
    reasons: tuple[Reason, ...] = ()
    notes: tuple[str, ...] = ()
    nothing_to_do: str | None = None
