"""A Kafka cluster as its own metadata describes it at one moment: brokers, partitions, replicas, who is in sync.

A snapshot is what every pure module decides upon. It holds no handle to the cluster and is never updated: take another one
instead. Sizes come separately (`ReplicaSizes`), because asking for them costs every broker a walk over its log directories.
"""

from collections.abc import Iterator
from enum import StrEnum
from typing import NamedTuple

from pydantic import Field

from kafka_runbooks.models.base import Model


class TopicPartition(NamedTuple):
    """A partition's name."""

    topic: str
    partition: int

    def __str__(self) -> str:
        return f"{self.topic}-{self.partition}"


class Broker(Model):
    """A broker that is registered and unfenced, as metadata lists it."""

    id: int
    host: str
    port: int
    rack: str | None = None


class Partition(Model):
    """One partition: `replicas` in preference order (the first is the preferred leader), `in_sync` as the leader says."""

    topic: str
    partition: int
    leader: int | None
    replicas: tuple[int, ...]
    in_sync: tuple[int, ...]

    @property
    def name(self) -> TopicPartition:
        return TopicPartition(self.topic, self.partition)


class ClusterSnapshot(Model):
    """Brokers that are up, every partition, and each topic's effective `min.insync.replicas`."""

    cluster_id: str
    controller_id: int | None = None
    brokers: tuple[Broker, ...]
    partitions: tuple[Partition, ...]
    minimum_in_sync: dict[str, int]

    @property
    def live_broker_ids(self) -> frozenset[int]:
        return frozenset(broker.id for broker in self.brokers)

    @property
    def down_broker_ids(self) -> frozenset[int]:
        """Brokers with assigned replicas that are not up."""
        return frozenset(broker for partition in self.partitions for broker in partition.replicas) - self.live_broker_ids

    def on_broker(self, broker_id: int) -> Iterator[Partition]:
        """Partitions that have a replica assigned to `broker_id`."""
        return (partition for partition in self.partitions if broker_id in partition.replicas)


class Replica(NamedTuple):
    """One replica's name: a partition on a broker."""

    topic: str
    partition: int
    broker_id: int


class ReplicaSizes(Model):
    """Bytes of every replica, from DescribeLogDirs (KIP-113) of the brokers that answered."""

    size_bytes: dict[Replica, int]
    unanswered_broker_ids: tuple[int, ...] = ()
    total_bytes: dict[int, int] = Field(default_factory=dict)
    """Broker -> size of its log directories' volumes (KIP-827, Kafka >= 3.3); a broker that doesn't tell is left out."""
    usable_bytes: dict[int, int] = Field(default_factory=dict)
    """Broker -> what is free on them."""


class Reassignment(Model):
    """A reassignment in progress (KIP-455): `replicas` is the union, `adding` arrive and `removing` leave at its end."""

    topic: str
    partition: int
    replicas: tuple[int, ...]
    adding: tuple[int, ...]
    removing: tuple[int, ...]

    @property
    def name(self) -> TopicPartition:
        return TopicPartition(self.topic, self.partition)

    @property
    def target(self) -> tuple[int, ...]:
        return tuple(broker_id for broker_id in self.replicas if broker_id not in self.removing)


class Direction(StrEnum):
    """Of replication, named as Kafka's configs are (`leader.replication.throttled.rate`, `follower.…`)."""

    LEADER = "leader"
    """Out of a source."""
    FOLLOWER = "follower"
    """Into a destination."""


class ThrottleRates(Model):
    """A broker's own dynamic throttle rates; None where no rate is set on that broker itself (KIP-73)."""

    leader_bytes_per_s: int | None = None
    follower_bytes_per_s: int | None = None

    def of(self, direction: Direction) -> int | None:
        return self.leader_bytes_per_s if direction is Direction.LEADER else self.follower_bytes_per_s


class ThrottledReplicas(Model):
    """A topic's throttled replica lists as Kafka holds them: `p:broker` entries joined by commas, `*`, or empty (KIP-73)."""

    leader: str = ""
    follower: str = ""
