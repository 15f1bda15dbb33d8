"""What an operator says to a running runbook: approve, reject, pause, resume, abort, and throttle overrides."""

from datetime import datetime

from pydantic import Field

from kafka_runbooks.models.base import Name, OperatorInput
from kafka_runbooks.models.inputs import BrokerSelection, NodeState
from kafka_runbooks.models.throttles import MEGABYTE


class OperatorAction(OperatorInput):
    """An action on a running runbook: reject, pause, resume or abort."""

    by: Name = Field(description="who acts; recorded")
    reason: Name = Field(description="why; recorded")


class GiveWay(OperatorAction):
    """End at the gate, since another run needs the cluster."""


class Abort(OperatorAction):
    """End, and remove what was set. In-flight moves are cancelled; what has arrived stays, unless it is rolled back."""

    rollback: bool = Field(default=False, description="move everything back to where it was at the start, throttled")


class AddBrokers(OperatorAction, BrokerSelection):
    """Take more brokers along, behind the same preflight and gate. What runs goes on meanwhile, and also after a rejection."""

    node_state: NodeState | None = Field(default=None, description="as the run has it, which is the default")
    wait_for_approval: bool = Field(default=True, description="wait with the plan of all until someone approves it")
    acknowledged_risks: tuple[str, ...] = Field(default=(), max_length=1000, description="names of risks that preflight reports")


class Uncordon(OperatorAction):
    """Hand drained nodes back: they are uncordoned, and what ran on them comes back."""

    nodes: tuple[str, ...] = Field(default=(), max_length=1000, description="default: every node that the run holds")


class ClearThrottle(OperatorAction):
    """Remove throttle overrides: one broker's, the one for all brokers (no `broker_id`), or every one."""

    broker_id: int | None = Field(default=None, ge=0, description="default: the override for all brokers")
    everything: bool = Field(default=False, description="every override, whatever it is for")


class Approval(OperatorAction):
    """Approve the plan that waits. What is not named is not approved."""

    plan_sha256: str | None = Field(default=None, description="approve only the plan with this hash")
    acknowledged_risks: tuple[str, ...] = Field(
        default=(), max_length=1000, description="risks by name, as the status lists them"
    )
    allow_other_rack: bool = Field(default=False, description="the broker may come back in another rack")


class Override(OperatorInput):
    """A rate set by an operator, for one broker or (no `broker_id`) for all that take part."""

    rate_bytes_per_s: int = Field(ge=1_000, le=1_000_000_000_000, description="bytes per second, in both directions")
    broker_id: int | None = Field(default=None, ge=0, description="default: every broker that takes part")
    expires_at: datetime | None = Field(
        default=None, description="with a timezone; default: until it is cleared, or the run ends"
    )
    by: Name = Field(description="who acts; recorded")
    reason: Name = Field(description="why; recorded")

    def __str__(self) -> str:
        until = "" if self.expires_at is None else f", until {self.expires_at:%Y-%m-%d %H:%M %Z}".rstrip()
        return f"{self.rate_bytes_per_s / MEGABYTE:g} MB/s set by {self.by}{until}: {self.reason}"


Overrides = tuple[Override, ...]
