"""What a runbook reports while it runs: where it is, how far, how long still, and why it waits."""

from datetime import datetime
from typing import Annotated

from pydantic import AfterValidator, Field

from kafka_runbooks.models.base import Line, Lines, Model, last
from kafka_runbooks.models.plans import PlanSummary
from kafka_runbooks.models.results import Decision, PhaseTime, Reasons

FIRST_REPORT = "a worker with a free slot takes the step"
"""What unblocks a step that was entered, and that no worker has reported on yet."""

DECISION = "approve or reject"
"""What unblocks a run whose plan waits for a person."""


class Waiting(Model):
    """Why nothing moves just now, and what would change that."""

    reason: Line
    since: datetime
    unblocks: Line
    blocking: Lines = ()
    needs_person: bool = False
    """Nothing but a person's decision ends it."""


class BrokerProgress(Model):
    """How far one of several brokers is with its copy."""

    broker_id: int
    done_bytes: int = 0
    total_bytes: int = 0
    in_sync_partitions: int = 0
    partitions: int = 0


class Progress(Model):
    """How far a step is. Also what an activity heartbeats, so that the next attempt continues the figures."""

    broker_id: int | None = None
    """The one broker that the step is about, where a run brings several back."""
    brokers: tuple[BrokerProgress, ...] = ()
    """Of a step that is about several."""

    done_bytes: int = 0
    total_bytes: int = 0
    done_partitions: int = 0
    total_partitions: int = 0
    rate_bytes_per_s: float = 0.0
    eta_seconds: float | None = None
    throttle_bytes_per_s: int | None = None
    highest_throttle_bytes_per_s: int | None = None
    waiting: Waiting | None = None
    changed_at: datetime | None = None
    """Since when nothing of it has changed."""
    note: Line = ""
    gone: Lines = ()
    """The first of the plan's partitions that were deleted since, or whose topic was made again under its name."""
    gone_partitions: int = 0
    """How many there are in all; they are neither in `total_partitions` nor moved."""


class Signalled(Model):
    """What a step has told its workflow so far, over all its attempts; in its heartbeats, behind the progress."""

    progress: Progress | None = None
    at: datetime | None = None
    count: int = 0


class BrokerStatus(Model):
    """Where one of several brokers is on its way back, and why it waits."""

    broker_id: int
    step: str
    step_since: datetime
    waiting: Waiting | None = None
    progress: BrokerProgress | None = None


class Status(Model):
    """The answer of the `status` query."""

    runbook: str
    cluster: str
    phase: str
    step: str = ""
    step_number: int = 0
    steps: int = 0
    step_since: datetime | None = None
    times: Annotated[tuple[PhaseTime, ...], AfterValidator(last)] = ()
    """How long the finished steps took."""
    progress: Progress | None = None
    waiting: Waiting | None = None
    brokers: tuple[BrokerStatus, ...] = ()
    """Each broker of a run that brings several back."""
    plan: PlanSummary | None = None
    reasons: Reasons = ()
    notes: Lines = ()
    """What preflight observed and an operator should know: forced readiness, partitions that refuse writes."""
    owned_throttles: Lines = ()
    permit_holder: str | None = None
    is_paused: bool = False
    takes_brokers: bool = False
    """More brokers may be added to it now."""
    nodes_held: Lines = ()
    """Empty nodes that it holds until somebody hands them back."""
    decisions: Annotated[tuple[Decision, ...], AfterValidator(last)] = ()
    links: dict[str, str] = Field(default_factory=dict)

    @property
    def needs_decision(self) -> bool:
        """Whether something waits for a person to approve or reject it."""
        return self.waiting is not None and self.waiting.unblocks == DECISION
