"""A frozen plan of moves: which replicas go where, in which batches, and how to undo it.

One move is one partition from its observed replicas straight to its final ones (KIP-455 keeps the old replicas until the new ones
are in sync). Everything that moves data is such a plan, whoever made it, so that one executor carries it out, one exit contract
proves it and one inverse takes it back. It grows with the cluster and lives in the plan store; the history has `MoveSummary`.
"""

import hashlib
from collections.abc import Collection, Iterable

from pydantic import Field

from kafka_runbooks.models.base import Model
from kafka_runbooks.models.cluster import ThrottledReplicas, TopicPartition
from kafka_runbooks.models.ledger import EntryLease
from kafka_runbooks.models.plans import PlannedPartition, PlanReference, ReplacementPlan


class Move(PlannedPartition):
    """One partition of a plan; `batch` counts from 0."""

    batch: int = 0

    @property
    def name(self) -> TopicPartition:
        return TopicPartition(self.topic, self.partition)

    @property
    def arriving(self) -> tuple[int, ...]:
        """Brokers that get a copy."""
        return tuple(broker for broker in self.after if broker not in self.before)

    @property
    def copied_bytes(self) -> int:
        return self.size_bytes * len(self.arriving)


class MovePlan(Model):
    """Moves in the order in which they are started, frozen at `made_at` (RFC 3339)."""

    cluster: str
    kind: str
    """The runbook that it was made for."""
    title: str
    moves: tuple[Move, ...]
    leaving: tuple[int, ...] = ()
    """Brokers that must hold nothing in the end."""
    partition_counts: dict[str, int] = Field(default_factory=dict)
    """Partitions of each topic that the plan moves, when it was made: more of them later is drift."""
    made_at: str
    lists_before: dict[str, ThrottledReplicas] = Field(default_factory=dict)
    """The topics' throttled replica lists when the plan was made."""
    rates_before: dict[int, int] = Field(default_factory=dict)
    """Leader throttle rates in bytes per second that brokers had when the plan was made."""

    @property
    def total_bytes(self) -> int:
        return sum(move.copied_bytes for move in self.moves)

    def inverse(self) -> "MovePlan":
        """The way back to the assignment that the plan was made from, order included."""
        last = max((move.batch for move in self.moves), default=0)
        return self.model_copy(
            update={
                "kind": f"undo {self.kind}",
                "title": f"undo: {self.title}",
                "leaving": (),
                "partition_counts": {},
                "moves": tuple(
                    move.model_copy(update={"before": move.after, "after": move.before, "batch": last - move.batch})
                    for move in reversed(self.moves)
                ),
            }
        )

    def without(self, names: Collection[TopicPartition]) -> "MovePlan":
        """The plan less some partitions."""
        return self.model_copy(update={"moves": tuple(move for move in self.moves if move.name not in names)})

    def throttled_entries(self) -> dict[str, EntryLease]:
        """Every list entry that this plan or its inverse may need, whoever is up: topic -> entries."""
        entries: dict[str, tuple[list[str], list[str]]] = {}
        for move in self.moves:
            if set(move.before) == set(move.after):
                continue
            leader, follower = entries.setdefault(move.topic, ([], []))
            brokers = [f"{move.partition}:{broker}" for broker in dict.fromkeys((*move.before, *move.after))]
            leader += brokers
            follower += brokers
        return {
            topic: EntryLease(leader=tuple(leader), follower=tuple(follower)) for topic, (leader, follower) in entries.items()
        }

    def sha256(self) -> str:
        """The hash that an approval refers to: over everything that will be done, but not over when it was planned."""
        return hashlib.sha256(self.model_dump_json(exclude={"made_at", "lists_before", "rates_before"}).encode()).hexdigest()

    def is_within(self, approved: "MovePlan") -> bool:
        """Whether it does nothing that wasn't in a plan that somebody approved: a remainder asks nobody again."""
        wanted = {(move.name, move.after) for move in approved.moves}
        return all((move.name, move.after) in wanted for move in self.moves)


def of_replacement(plan: ReplacementPlan) -> MovePlan:
    """The moves of a substitution: another broker takes over one that leaves."""
    return MovePlan(
        cluster=plan.cluster,
        kind="ReplaceBroker",
        title=f"replace broker {plan.broker_id} by broker {plan.replacement_broker_id}",
        moves=tuple(Move(**partition.model_dump()) for partition in plan.partitions),
        leaving=(plan.broker_id,),
        made_at=plan.made_at,
        lists_before=plan.lists_before,
        rates_before=plan.rates_before,
    )


class BatchWhatIf(Model):
    """One batch while it runs: what it copies, and how full it makes the fullest broker while both copies exist."""

    partitions: int
    copied_bytes: int
    fullest_broker_id: int | None = None
    fullest_bytes: int = 0
    seconds: float = 0.0


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


class MoveSummary(Model):
    """What a person needs in order to approve a plan; small enough for the history whatever the size of the cluster."""

    reference: PlanReference
    kind: str
    title: str
    partitions: int
    reordered_partitions: int
    """Those whose replicas stay and only their order changes: another preferred leader."""
    bytes_to_copy: int
    lower_bound_bytes: int
    """The least bytes that any way of reaching the same level must copy."""
    levelled: str
    spread_before: float
    spread_after: float
    """Highest minus lowest over the brokers: a fraction of capacity for utilisation, else bytes or replicas."""
    throttle_bytes_per_s: int
    eta_seconds: float
    batches: int
    what_if: tuple[BatchWhatIf, ...] = Field(default=(), max_length=50)
    """The first batches."""
    brokers: tuple[BrokerWhatIf, ...] = Field(default=(), max_length=100)
    """Those that change most."""
    foreign_throttles: tuple[str, ...] = ()
    notices: tuple[str, ...] = ()
    inverse: str = ""
    steps: tuple[str, ...] = ()
    is_within_approved: bool = False
    """A remainder of what was approved already: nobody is asked again."""


def by_name(moves: Iterable[Move]) -> dict[TopicPartition, Move]:
    return {move.name: move for move in moves}
