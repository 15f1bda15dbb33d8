"""A frozen plan: what exactly will happen, content-hashed, kept outside the history.

A plan's partitions grow with the cluster, so the history carries only `PlanReference`. What was approved is what runs:
each step compares the fingerprint of what it touches with the plan's.
"""

import hashlib

from kafka_runbooks.models.base import Model


class PlanReference(Model):
    """Where a plan is kept, and the hash of its content."""

    plan_id: str
    sha256: str


class PlannedPartition(Model):
    """One partition of a plan: its replicas before, and what is wanted; `size_bytes` is its largest live replica."""

    topic: str
    partition: int
    before: tuple[int, ...]
    after: tuple[int, ...]
    size_bytes: int
    in_sync: tuple[int, ...] = ()


class ReplacementPlan(Model):
    """How one broker is replaced, frozen at `made_at` (RFC 3339)."""

    cluster: str
    broker_id: int
    replacement_broker_id: int | None
    copies_everything: bool
    """True where the disk is lost and every replica must come from its peers."""
    partitions: tuple[PlannedPartition, ...]
    steps: tuple[str, ...]
    made_at: str

    @property
    def total_bytes(self) -> int:
        return sum(partition.size_bytes for partition in self.partitions)

    def sha256(self) -> str:
        """The hash that an approval refers to: over everything that will be done, but not over when it was planned."""
        return hashlib.sha256(self.model_dump_json(exclude={"made_at"}).encode()).hexdigest()


class PlanSummary(Model):
    """What a person needs in order to approve a plan; small enough for the history."""

    reference: PlanReference
    broker_id: int
    pod: str
    node: str | None
    rack: str | None
    map: str | None
    replacement_broker_id: int | None = None
    partitions: int
    bytes_to_copy: int
    lower_bound_bytes: int
    """The least bytes that any way of reaching the same end must copy."""
    throttle_bytes_per_s: int
    eta_seconds: float
    steps: tuple[str, ...]
    intermediate_states: tuple[str, ...] = ()
    """What holds while the steps run, each checked when the plan was made: who may not fail now, and what that costs."""
    foreign_throttles: tuple[str, ...] = ()
    inverse: str = ""
