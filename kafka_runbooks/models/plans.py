"""A frozen plan: what exactly will happen, content-hashed, kept outside the history.

A plan's partitions grow with the cluster, so the history carries only `PlanReference`. What was approved is what runs:
each step compares the fingerprint of what it touches with the plan's.
"""

import hashlib

from pydantic import Field

from kafka_runbooks.models.base import Model
from kafka_runbooks.models.cluster import ThrottledReplicas
from kafka_runbooks.models.ledger import EntryLease


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
    lists_before: dict[str, ThrottledReplicas] = Field(default_factory=dict)
    """The topics' throttled replica lists when the plan was made."""
    rates_before: dict[int, int] = Field(default_factory=dict)
    """Leader throttle rates in bytes per second that brokers had when the plan was made."""

    @property
    def total_bytes(self) -> int:
        return sum(partition.size_bytes for partition in self.partitions)

    @property
    def destination(self) -> int:
        """The broker that the data arrives on."""
        return self.broker_id if self.replacement_broker_id is None else self.replacement_broker_id

    def throttled_entries(self) -> dict[str, EntryLease]:
        """Every list entry that this plan's copying may need, whoever is up: topic -> entries."""
        entries: dict[str, EntryLease] = {}
        for partition in self.partitions:
            held = entries.get(partition.topic, EntryLease())
            sources = tuple(f"{partition.partition}:{broker}" for broker in partition.before if broker != self.destination)
            entries[partition.topic] = EntryLease(
                leader=(*held.leader, *sources), follower=(*held.follower, f"{partition.partition}:{self.destination}")
            )
        return entries

    def sha256(self) -> str:
        """The hash that an approval refers to: over everything that will be done, but not over when it was planned."""
        return hashlib.sha256(self.model_dump_json(exclude={"made_at", "lists_before", "rates_before"}).encode()).hexdigest()


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
