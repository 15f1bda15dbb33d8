"""What a run has set on a cluster and must remove: its throttle leases, cordons and reassignments, with their owner.

The ledger is written before the setting is made (write ahead), beside the cluster and not in the worker: after a crash or a
terminate, `ClearLeftovers` or the next run reads what might be there, observes the cluster, and removes what still is as the
run set it. Values changed by others since are left alone.
"""

from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from typing import NamedTuple

from pydantic import Field

from kafka_runbooks.models.base import Model
from kafka_runbooks.models.cluster import Direction, ThrottleRates, TopicPartition

SHOWN = 5
"""Partitions that a line names."""


class Owner(Model):
    """The run that owns a ledger. It renews `expires_at` while it works."""

    workflow_id: str
    run_id: str
    expires_at: datetime
    namespace: str = ""
    """Temporal's, in which the run is known: another namespace, or another server, can't tell whether it is open."""

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
    lowest_bytes_per_s: int | None = None
    """May be on the broker too: what the run falls back to at once where it can't write what it sets (an outage of the API)."""

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
    topic_id: str | None = None
    """None where Kafka gives none. A topic that was made again under its name has another one, and isn't the run's."""

    @property
    def name(self) -> TopicPartition:
        return TopicPartition(self.topic, self.partition)


class Cordon(Model):
    """A node that the run cordoned; a later node of the same name has another uid."""

    node: str
    uid: str


class Kind(StrEnum):
    """Of what a ledger lists, as operators call it."""

    REASSIGNMENT = "reassignment"
    TOPIC = "topic"
    BROKER = "broker"
    NODE = "node"
    LOG_DIRECTORIES = "log directories"


class Item(NamedTuple):
    """One thing that a run has set: a topic's list entries, a broker's rates, a node's cordon."""

    kind: Kind
    name: str


class Ledger(Model):
    """Everything one run has set. Empty: nothing of it is left."""

    owner: Owner
    cluster: str
    version: str | None = Field(default=None, exclude=True)
    """The record's when it was read or written last, which the next write gives; None: there is no record. Not stored."""
    rates: dict[int, RateLease] = Field(default_factory=dict)
    entries: dict[str, EntryLease] = Field(default_factory=dict)
    cordons: tuple[Cordon, ...] = ()
    reassignments: tuple[OwnedReassignment, ...] = ()
    log_directories: dict[int, str] = Field(default_factory=dict)
    """Brokers whose log directories the run cordoned (KIP-1066), with the broker's setting before."""

    @property
    def is_empty(self) -> bool:
        return not (self.rates or self.entries or self.cordons or self.reassignments or self.log_directories)

    def describe(self, why: Mapping[Item, str] | None = None) -> tuple[str, ...]:
        """One line for each setting, as operators call it.

        Args:
            why: the reasons for which some are still there; reassignments with the same one share a line.
        """
        why = why or {}
        lines: list[tuple[str, str]] = []
        for broker_id, lease in sorted(self.rates.items()):
            lines.append((f"broker {broker_id}: {lease.describe()}", why.get(Item(Kind.BROKER, str(broker_id)), "")))
        for topic, entries in sorted(self.entries.items()):
            text = f"topic {topic}: {len(entries.leader)} leader and {len(entries.follower)} follower throttled replicas"
            lines.append((text, why.get(Item(Kind.TOPIC, topic), "")))
        lines += [(f"node {one.node}: cordon", why.get(Item(Kind.NODE, one.node), "")) for one in self.cordons]
        for broker_id in sorted(self.log_directories):
            reason = why.get(Item(Kind.LOG_DIRECTORIES, str(broker_id)), "")
            lines.append((f"broker {broker_id}: cordoned log directories", reason))
        moves: dict[str, list[str]] = {}
        for move in self.reassignments:
            moves.setdefault(why.get(Item(Kind.REASSIGNMENT, str(move.name)), ""), []).append(str(move.name))
        for reason, names in sorted(moves.items()):
            shown = f" ({', '.join(names[:SHOWN])}{', …' if len(names) > SHOWN else ''})" if reason else ""
            lines.append((f"{len(names)} partition reassignments{shown}", reason))
        return tuple(f"{text}: {reason}" if reason else text for text, reason in lines)

    def less(self, left: "Ledger") -> "Ledger":
        """What is in this one and no more in a later one: what was removed in between."""
        entries = {}
        for topic, held in self.entries.items():
            still = left.entries.get(topic, EntryLease())
            gone = EntryLease(
                leader=tuple(entry for entry in held.leader if entry not in still.leader),
                follower=tuple(entry for entry in held.follower if entry not in still.follower),
            )
            if gone.leader or gone.follower:
                entries[topic] = gone
        still_moving = {move.name for move in left.reassignments}
        return self.model_copy(
            update={
                "rates": {broker: lease for broker, lease in self.rates.items() if broker not in left.rates},
                "entries": entries,
                "cordons": tuple(cordon for cordon in self.cordons if cordon not in left.cordons),
                "reassignments": tuple(move for move in self.reassignments if move.name not in still_moving),
                "log_directories": {one: was for one, was in self.log_directories.items() if one not in left.log_directories},
            }
        )
