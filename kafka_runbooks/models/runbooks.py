"""What an operator asks of a runbook, and what a runbook answers at its end."""

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Literal

from pydantic import Field, StringConstraints, model_validator

from kafka_runbooks.models.base import Model, OperatorInput
from kafka_runbooks.models.plans import PlanReference

Name = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=200)]

MEGABYTE = 1_000_000


class FixedThrottle(OperatorInput):
    """Every live source may send recovery traffic at this rate, no more, from start to end."""

    mode: Literal["fixed"] = "fixed"
    rate_bytes_per_s: int = Field(ge=1_000, description="bytes per second that each live source may replicate")


class AdaptiveThrottle(OperatorInput):
    """Start at `floor_bytes_per_s`, go up while there is headroom and clients don't feel it, halve when they do."""

    mode: Literal["adapt"] = "adapt"
    floor_bytes_per_s: int = Field(default=10 * MEGABYTE, ge=1_000)
    ceiling_bytes_per_s: int | None = Field(
        default=None, ge=1_000, description="default: 80 % of the capacity that clusters.yaml gives the node's instance type"
    )
    produce_p99_limit_ms: float = Field(default=250.0, gt=0, description="the rate is halved while a live broker's p99 is above")
    fetch_p99_limit_ms: float | None = Field(
        default=1_000.0,
        gt=0,
        description="the same for consumers' fetches, which wait up to fetch.max.wait.ms (500) by design; null: not looked at",
    )
    produce_mean_limit_ms: float | None = Field(
        default=None,
        gt=0,
        description="the mean over the seconds between two looks; default: a fifth of produce_p99_limit_ms",
    )
    source_share: float = Field(
        default=0.8, gt=0, lt=1, description="of what is free of a source's network, how much may be taken"
    )
    destination_share: float = Field(default=0.8, gt=0, lt=1, description="the same for a destination")
    change_threshold: float = Field(
        default=0.1,
        ge=0,
        lt=1,
        description="a rate stays as it is while what it should be is no further away than this share of it",
    )

    @model_validator(mode="after")
    def _floor_below_ceiling(self) -> "AdaptiveThrottle":
        if self.ceiling_bytes_per_s is not None and self.ceiling_bytes_per_s < self.floor_bytes_per_s:
            raise ValueError("ceiling_bytes_per_s is below floor_bytes_per_s")
        return self


Throttle = Annotated[FixedThrottle | AdaptiveThrottle, Field(discriminator="mode")]


class NodeState(StrEnum):
    """What happened to the broker's node, in the operator's words."""

    LOST = "lost"
    """The node and its disk are gone for good: the data must come from the other replicas."""
    RETURNS = "returns"
    """The node is drained or restarts and its disk comes back: only what was produced meanwhile must be caught up."""


class RunbookInput(OperatorInput):
    """What every runbook that changes a cluster is asked with."""

    cluster: Name = Field(description="the cluster's name, as clusters.yaml has it")
    requester: Name = Field(description="who asks; recorded in the history")
    ticket: str | None = Field(default=None, max_length=200, description="incident or change ticket; recorded")
    when_busy: Literal["fail", "wait"] = Field(
        default="fail", description="another runbook holds the cluster: fail at once, or wait in line"
    )


class ReplaceBrokerInput(RunbookInput):
    """Bring a broker back whose node was lost, drained or restarted; or put another broker in its place.

    Name the broker by `broker_id` or by the `node` it ran on. With `replacement_broker_id` the broker's partitions are
    reassigned onto that other, running broker instead of bringing the lost one back.
    """

    broker_id: int | None = Field(default=None, ge=0, description="the broker's id; or give node")
    node: str | None = Field(default=None, max_length=253, description="the node it ran on; or give broker_id")
    node_state: NodeState = Field(default=NodeState.LOST, description="lost: its disk is gone; returns: its disk comes back")
    replacement_broker_id: int | None = Field(default=None, ge=0, description="reassign onto this broker instead")
    throttle: Throttle = Field(default_factory=AdaptiveThrottle)
    wait_for_approval: bool = Field(default=True, description="park at the plan until somebody approves it")
    acknowledged_risks: tuple[str, ...] = Field(default=(), max_length=1000, description="names of risks that preflight reports")
    node_is_gone: bool = Field(
        default=False, description="the operator's word that the node will not come back: the lost volume is released at once"
    )
    allow_other_rack: bool = Field(default=False, description="the broker may come back in another rack without asking")

    @model_validator(mode="after")
    def _one_broker(self) -> "ReplaceBrokerInput":
        if (self.broker_id is None) == (self.node is None):
            raise ValueError("give exactly one of broker_id and node")
        if self.broker_id is not None and self.broker_id == self.replacement_broker_id:
            raise ValueError("replacement_broker_id is broker_id itself; leave it out to bring the broker back")
        return self


class ClearLeftoversInput(RunbookInput):
    """Give back what runs that were terminated or died have left on a cluster: throttles, reassignments, cordons."""

    only_expired: bool = Field(default=False, description="only what is past its lease, for a schedule that runs often")


class ThrottleRecoveryInput(RunbookInput):
    """Throttle brokers that catch up by themselves, without any reassignment, until they are in sync."""

    brokers: tuple[Annotated[int, Field(ge=0)], ...] = Field(min_length=1, max_length=1000, description="ids of the brokers")
    throttle: Throttle = Field(default_factory=AdaptiveThrottle)


class Reason(Model):
    """One reason not to start. `name` is what an operator acknowledges, where a person's word is enough."""

    name: str
    message: str
    clears: str
    """What would make it go away."""
    can_be_acknowledged: bool = False


class Check(Model):
    """One assertion of the exit contract, made on the live cluster."""

    name: str
    holds: bool
    detail: str


class PhaseTime(Model):
    """How long a step took, end to end, retries and waits included."""

    step: str
    seconds: float


class Decision(Model):
    """What a person decided at the gate or meanwhile, and why."""

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
    """What a runbook reports at its end, whichever way it ended."""

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


class Word(OperatorInput):
    """What a person says to a running runbook: reject, pause, resume or abort."""

    by: Name = Field(description="who says it; recorded")
    reason: Name = Field(description="why; recorded")


class Abort(Word):
    """End, and give back what was set. What is in flight is cancelled; what has arrived stays, unless it is rolled back."""

    rollback: bool = Field(default=False, description="move everything back to where it was at the start, throttled")


class ClearThrottle(Word):
    """Take overrides of the throttle back: one broker's, the one for all brokers (no `broker_id`), or every one."""

    broker_id: int | None = Field(default=None, ge=0, description="default: the override for all brokers")
    everything: bool = Field(default=False, description="every override, whatever it is for")


class Approval(Word):
    """Approve the plan that waits. What it doesn't name is not approved."""

    plan_sha256: str | None = Field(default=None, description="approve only the plan with this hash")
    acknowledged_risks: tuple[str, ...] = Field(default=(), description="risks by name, as the status lists them")
    allow_other_rack: bool = Field(default=False, description="the broker may come back in another rack")
