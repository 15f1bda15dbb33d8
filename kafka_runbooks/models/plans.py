"""A frozen plan: exactly what will happen, content-hashed, kept outside the workflow's history.

A plan's partitions grow with the cluster, so the history carries a `PlanReference` and a `PlanSummary` only. What was approved is
what runs: each step compares the cluster with the plan before it acts.
"""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Annotated

from pydantic import AfterValidator, Field

from kafka_runbooks.models import pieces
from kafka_runbooks.models.base import Line, Lines, Model
from kafka_runbooks.models.cluster import ClusterSnapshot, ThrottledReplicas, TopicPartition
from kafka_runbooks.models.kubernetes import BrokerPlace
from kafka_runbooks.models.ledger import EntryLease
from kafka_runbooks.models.steps import StepName
from kafka_runbooks.models.throttles import AdaptiveThrottle, Throttle


class PlanReference(Model):
    """Where a plan is kept, the hash of its content, and the runbook that it is a plan of."""

    plan_id: str
    sha256: str
    kind: str


@lru_cache(maxsize=16_384)
def _same_number(broker_id: int) -> int:
    return broker_id


@lru_cache(maxsize=1024)
def _shared(broker_ids: tuple[int, ...]) -> tuple[int, ...]:
    """The same brokers as the same objects: a plan read from JSON would else have some millions of them."""
    return tuple(map(_same_number, broker_ids))


Brokers = Annotated[tuple[int, ...], AfterValidator(_shared)]


@dataclass(frozen=True, slots=True)
class PlannedPartition:
    """One partition of a plan: its replicas before, and what is wanted; `size_bytes` is its largest live replica.

    There are 200,000 of them in a large plan. As pydantic models they took 2.5 kB each.
    """

    topic: str
    partition: int
    before: Brokers
    after: Brokers
    size_bytes: int
    in_sync: Brokers = ()

    @property
    def name(self) -> TopicPartition:
        return TopicPartition(self.topic, self.partition)


class PromisedTopic(Model):
    """What a topic must have: from `first_partition` on these replicas, and these configs; None: Kafka's default."""

    name: str
    first_partition: int = 0
    replicas: tuple[Brokers, ...] = ()
    configs: dict[str, str | None] = Field(default_factory=dict)


class ExitPromises(Model):
    """What must hold on the cluster once a plan is carried out, besides what every runbook promises (`safety.exit_contract`)."""

    in_sync_brokers: tuple[int, ...] = ()
    """Brokers whose every replica is in sync."""
    empty_brokers: tuple[int, ...] = ()
    """Brokers that hold no replica."""
    leaderless_brokers: tuple[int, ...] = ()
    """Brokers that lead no partition, whoever is preferred."""
    without_vote: tuple[int, ...] = ()
    """Nodes that are no voters of the metadata quorum."""
    exact_assignment: bool = False
    """Every partition of the plan has exactly the planned replicas, in order."""
    places: tuple[BrokerPlace, ...] = ()
    """Brokers whose pods must be Ready on the right claims."""
    on_new_disks: bool = False
    """Those brokers' claims are others than before: their old disks were given up."""
    restarted_pods: dict[str, str] = Field(default_factory=dict)
    """Pods that have been made anew, from the current template of their StatefulSet: name -> uid before."""
    restarted_members: dict[str, str] = Field(default_factory=dict)
    """The same of pods of the ZooKeeper ensemble, whose every member is in sync besides."""
    finalised_features: bool = False
    """Features are finalised as far as all brokers support them."""
    ended_pods: dict[str, str] = Field(default_factory=dict)
    """Pods that have ended, whatever has become of their successors: name -> uid."""
    topics: tuple[PromisedTopic, ...] = ()
    """Topics that were made, grown or configured."""
    deleted_topics: dict[str, str] = Field(default_factory=dict)
    """Topics that were deleted: name -> id."""


class Plan(Model, ABC):
    """What the shared parts need of a plan, whichever runbook made it; frozen at `made_at` (RFC 3339)."""

    cluster: str
    kind: str
    """The runbook that carries it out."""
    title: str
    """What it does, in one line."""
    steps: tuple[StepName, ...]
    throttle: Throttle = Field(default_factory=AdaptiveThrottle)
    made_at: str
    lists_before: dict[str, ThrottledReplicas] = Field(default_factory=dict)
    """The topics' throttled replica lists when the plan was made."""
    rates_before: dict[int, int] = Field(default_factory=dict)
    """Leader throttle rates in bytes per second that brokers had when the plan was made."""
    topic_ids: dict[str, str] = Field(default_factory=dict)
    """Each topic's id when the plan was made, where Kafka gives them: a topic is known by its id, not by its name."""

    @property
    @abstractmethod
    def planned(self) -> Sequence[PlannedPartition]:
        """Every partition that it touches."""

    @property
    @abstractmethod
    def total_bytes(self) -> int:
        """Bytes that it copies."""

    @property
    @abstractmethod
    def promises(self) -> ExitPromises:
        """What must hold once it is carried out."""

    @abstractmethod
    def throttled_entries(self) -> dict[str, EntryLease]:
        """Every list entry that carrying it out may need, whoever is up: topic -> entries."""

    def gone(self, snapshot: ClusterSnapshot) -> frozenset[TopicPartition]:
        """Its partitions that don't exist any more. Those of a topic that was made again under its name are others."""
        renewed = snapshot.renewed_topics(self.topic_ids)
        names = (partition.name for partition in self.planned)
        return frozenset(name for name in names if name.topic in renewed or name not in snapshot.by_name)

    def sha256(self) -> str:
        """The hash that an approval refers to: over everything that will be done, but not over when it was planned."""
        digest = hashlib.sha256()
        for line in pieces.lines(self, exclude=frozenset({"made_at", "lists_before", "rates_before"})):
            digest.update(line)
        return digest.hexdigest()


def reference_to(plan: Plan) -> PlanReference:
    """A plan's reference: its id follows from its content, so making the same plan again overwrites its like."""
    digest = plan.sha256()
    return PlanReference(plan_id=f"kafka-runbooks-plan-{digest[:16]}", sha256=digest, kind=plan.kind)


class SummaryLine(Model):
    """One line of a plan for people: `throttle`, `up to 80 MB/s from each source`."""

    label: str
    text: Line


class BatchWhatIf(Model):
    """One batch while it runs: what it copies, and how full it makes the fullest broker while both copies exist."""

    partitions: int
    copied_bytes: int
    fullest_broker_id: int | None = None
    fullest_bytes: int = 0
    seconds: float = 0.0


class ReturningBroker(Model):
    """One broker of a plan that brings brokers back: where it was, what was lost with it, and how long its copy takes."""

    broker_id: int
    pod: str
    node: str | None = None
    rack: str | None = None
    map: str | None = None
    partitions: int = 0
    sole_copies: int = 0
    """Partitions whose in-sync copies were on these brokers only."""
    bytes_to_copy: int = 0
    eta_seconds: float = 0.0


class BrokerWhatIf(Model):
    """One broker before and after the plan."""

    broker_id: int
    used_bytes_before: int
    used_bytes_after: int
    replicas_before: int
    replicas_after: int
    leaders_before: int
    leaders_after: int
    arriving_bytes: int = 0


class PlanSummary(Model):
    """What a person needs in order to approve a plan; small enough for the history whatever the size of the cluster.

    `lines` are for people, whatever shows them. The figures beside them are for programs; those that a runbook doesn't have keep
    their defaults.
    """

    reference: PlanReference
    kind: str
    title: str
    lines: tuple[SummaryLine, ...] = Field(default=(), max_length=50)
    steps: tuple[StepName, ...]
    partitions: int
    bytes_to_copy: int
    is_harmless: bool = False
    """It moves nothing, takes nothing away, and leaves every record where it would go anyway."""
    lower_bound_bytes: int
    """The least bytes that any way of reaching the same end must copy."""
    throttle_bytes_per_s: int
    eta_seconds: float
    foreign_throttles: Lines = ()
    """Rates that were set by someone else; they stay and are obeyed."""
    notices: Lines = ()
    inverse: Line = ""
    is_within_approved: bool = False
    """A remainder of what was approved already: no second approval is needed."""

    # Brokers that come back or are replaced.
    returning: tuple[ReturningBroker, ...] = Field(default=(), max_length=1000)
    replacement_broker_id: int | None = None
    intermediate_states: Lines = ()
    """What holds while the steps run, each checked when the plan was made: who may not fail now, and what that costs."""

    # Upgrades.
    canary_id: int | None = None
    """The broker that is compared with its peers before the others follow."""
    nodes_with_canary: tuple[int, ...] = Field(default=(), max_length=1000)
    """Those that restart before it is: controllers, sick brokers, and itself."""

    # Moves.
    reordered_partitions: int = 0
    """Those whose replicas stay and only their order changes: another preferred leader."""
    levelled: str | None = None
    """What was balanced."""
    spread_before: float | None = None
    spread_after: float | None = None
    """Highest minus lowest over the brokers: a fraction of capacity for utilisation, else bytes or replicas."""
    batches: int = 0
    what_if: tuple[BatchWhatIf, ...] = Field(default=(), max_length=50)
    """The first batches."""
    brokers: tuple[BrokerWhatIf, ...] = Field(default=(), max_length=100)
    """Those that change most."""
