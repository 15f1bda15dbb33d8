"""What a run has set on a cluster and must give back: its throttle leases, cordons and reassignments, with their owner.

The ledger is written before the thing is set (write ahead), beside the cluster and not in the worker: whoever comes after a
crash or a terminate, `ClearLeftovers` or the next run, reads what might be there, looks at the cluster, and takes back what
still is as we set it. What somebody changed meanwhile is theirs.
"""

from datetime import datetime

from pydantic import Field

from kafka_runbooks.models.base import Model
from kafka_runbooks.models.cluster import Direction, ThrottleRates, TopicPartition


class Owner(Model):
    """Whose it is. `expires_at` is renewed by whoever works under it."""

    workflow_id: str
    run_id: str
    expires_at: datetime

    def __str__(self) -> str:
        return f"{self.workflow_id}/{self.run_id}"


class RateLease(Model):
    """One broker's rates: what was there before us, what we set last, and what we had set when that was written ahead."""

    previous: ThrottleRates
    ours: ThrottleRates
    earlier: ThrottleRates | None = None
    """Still on the broker where a crash, or the broker's silence, came between writing `ours` ahead and setting it."""
    directions: tuple[Direction, ...] = (Direction.LEADER,)
    """Which of the two rates are ours. In the other one, `ours` only repeats what somebody else has set. Ledgers that were
    written before there were follower leases don't say, and have leader rates."""

    def describe(self) -> str:
        return ", ".join(f"{direction} replication throttle {self.ours.of(direction)} B/s" for direction in self.directions)


class EntryLease(Model):
    """The `partition:broker` entries that we added to one topic's lists (those that were there already are not ours)."""

    leader: tuple[str, ...] = ()
    follower: tuple[str, ...] = ()


class OwnedReassignment(Model):
    """A reassignment of ours: from where, to where."""

    topic: str
    partition: int
    before: tuple[int, ...]
    after: tuple[int, ...]

    @property
    def name(self) -> TopicPartition:
        return TopicPartition(self.topic, self.partition)


class Ledger(Model):
    """Everything one run has set. Empty means that nothing of it is left."""

    owner: Owner
    cluster: str
    rates: dict[int, RateLease] = Field(default_factory=dict)
    entries: dict[str, EntryLease] = Field(default_factory=dict)
    cordons: tuple[str, ...] = ()
    reassignments: tuple[OwnedReassignment, ...] = ()
    log_directories: dict[int, str] = Field(default_factory=dict)
    """Brokers whose log directories we cordoned (KIP-1066): what was cordoned before us, as the broker's setting had it."""

    @property
    def is_empty(self) -> bool:
        return not (self.rates or self.entries or self.cordons or self.reassignments or self.log_directories)

    def describe(self) -> tuple[str, ...]:
        """One line for each thing, in operators' words."""
        lines = [f"broker {broker_id}: {lease.describe()}" for broker_id, lease in sorted(self.rates.items())]
        lines += [
            f"topic {topic}: {len(lease.leader)} leader and {len(lease.follower)} follower throttled replicas"
            for topic, lease in sorted(self.entries.items())
        ]
        lines += [f"node {node}: cordon" for node in self.cordons]
        lines += [f"broker {broker_id}: cordoned log directories" for broker_id in sorted(self.log_directories)]
        if self.reassignments:
            lines.append(f"{len(self.reassignments)} partition reassignments")
        return tuple(lines)
