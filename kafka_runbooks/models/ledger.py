"""What a run has set on a cluster and must remove: its throttle leases, cordons and reassignments, with their owner.

The ledger is written before the setting is made (write ahead), beside the cluster and not in the worker: after a crash or a
terminate, `ClearLeftovers` or the next run reads what might be there, observes the cluster, and removes what still is as the
run set it. Values changed by others since are left alone.
"""

from datetime import datetime

from pydantic import Field

from kafka_runbooks.models.base import Model
from kafka_runbooks.models.cluster import Direction, ThrottleRates, TopicPartition


class Owner(Model):
    """The run that owns a ledger. It renews `expires_at` while it works."""

    workflow_id: str
    run_id: str
    expires_at: datetime

    def __str__(self) -> str:
        return f"{self.workflow_id}/{self.run_id}"


class RateLease(Model):
    """One broker's rates: what was set before the run, what the run set last, and what it had set when that was written ahead."""

    previous: ThrottleRates
    ours: ThrottleRates
    earlier: ThrottleRates | None = None
    """Still on the broker if a crash, or the broker's silence, came between writing `ours` ahead and setting it."""
    directions: tuple[Direction, ...] = (Direction.LEADER,)
    """Which of the two rates the run owns. In the other one, `ours` only repeats what others have set."""

    def describe(self) -> str:
        return ", ".join(f"{direction} replication throttle {self.ours.of(direction)} B/s" for direction in self.directions)


class EntryLease(Model):
    """The `partition:broker` entries that the run added to one topic's lists; entries that existed before are not among them."""

    leader: tuple[str, ...] = ()
    follower: tuple[str, ...] = ()


class OwnedReassignment(Model):
    """A reassignment of the run: from where, to where."""

    topic: str
    partition: int
    before: tuple[int, ...]
    after: tuple[int, ...]

    @property
    def name(self) -> TopicPartition:
        return TopicPartition(self.topic, self.partition)


class Cordon(Model):
    """A node that the run cordoned; a later node of the same name has another uid."""

    node: str
    uid: str


class Ledger(Model):
    """Everything one run has set. Empty: nothing of it is left."""

    owner: Owner
    cluster: str
    rates: dict[int, RateLease] = Field(default_factory=dict)
    entries: dict[str, EntryLease] = Field(default_factory=dict)
    cordons: tuple[Cordon, ...] = ()
    reassignments: tuple[OwnedReassignment, ...] = ()
    log_directories: dict[int, str] = Field(default_factory=dict)
    """Brokers whose log directories the run cordoned (KIP-1066), with the broker's setting before."""

    @property
    def is_empty(self) -> bool:
        return not (self.rates or self.entries or self.cordons or self.reassignments or self.log_directories)

    def describe(self) -> tuple[str, ...]:
        """One line for each setting, as operators call it."""
        lines = [f"broker {broker_id}: {lease.describe()}" for broker_id, lease in sorted(self.rates.items())]
        lines += [
            f"topic {topic}: {len(lease.leader)} leader and {len(lease.follower)} follower throttled replicas"
            for topic, lease in sorted(self.entries.items())
        ]
        lines += [f"node {cordon.node}: cordon" for cordon in self.cordons]
        lines += [f"broker {broker_id}: cordoned log directories" for broker_id in sorted(self.log_directories)]
        if self.reassignments:
            lines.append(f"{len(self.reassignments)} partition reassignments")
        return tuple(lines)
