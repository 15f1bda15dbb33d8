"""A Kafka cluster as its own metadata describes it at one moment: brokers, partitions, replicas, who is in sync.

A snapshot is what every pure module decides upon. It holds no handle to the cluster and is never updated: take another one
instead. Sizes come separately (`ReplicaSizes`), because asking for them costs every broker a walk over its log directories.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from functools import cached_property
from itertools import chain
from typing import NamedTuple, TypeVar

from pydantic import Field

from kafka_runbooks.models.base import Model

T = TypeVar("T")


class TopicPartition(NamedTuple):
    """A partition's name."""

    topic: str
    partition: int

    def __str__(self) -> str:
        return f"{self.topic}-{self.partition}"


class Broker(Model):
    """A broker that is registered with the cluster, as metadata lists it."""

    id: int
    host: str
    port: int
    rack: str | None = None
    epoch: int | None = None
    """In ZooKeeper mode, where ZooKeeper was asked: of the registration by which it counts (KIP-380)."""


class Partition(NamedTuple):
    """One partition: `replicas` in preference order (the first is the preferred leader), `in_sync` as the leader says.

    A plain tuple, for a cluster has some hundred thousand of them.
    """

    topic: str
    partition: int
    leader: int | None
    replicas: tuple[int, ...]
    in_sync: tuple[int, ...]
    offline: tuple[int, ...] = ()
    """Replicas whose broker is down, or whose log directory failed under a broker that is up (KIP-112)."""

    @property
    def name(self) -> TopicPartition:
        return TopicPartition(self.topic, self.partition)

    @property
    def lags(self) -> bool:
        """Whether some replica is not in sync."""
        return self.in_sync != self.replicas and not set(self.replicas).issubset(self.in_sync)


class ByName(Mapping[TopicPartition, Partition]):
    """Partitions by name, out of those of each topic in order."""

    def __init__(self, by_topic: Mapping[str, tuple[Partition, ...]]) -> None:
        self._by_topic = by_topic

    def __getitem__(self, name: TopicPartition) -> Partition:
        topic, number = name
        found = self._by_topic[topic]
        if number < len(found) and found[number].partition == number:
            return found[number]
        for partition in found:
            if partition.partition == number:
                return partition
        raise KeyError(name)

    def __iter__(self) -> Iterator[TopicPartition]:
        return (partition.name for found in self._by_topic.values() for partition in found)

    def __len__(self) -> int:
        return sum(map(len, self._by_topic.values()))


@dataclass(frozen=True)
class ClusterSnapshot:
    """Brokers, every partition, and each topic's effective `min.insync.replicas`, all as one broker knows them.

    That broker's knowledge may be old: one that is cut off from the controllers goes on to answer. Before anything is let go for
    ever, compare with `MetadataQuorum`, which the controllers answer, or in ZooKeeper mode with what they have recorded there.

    What follows from the partitions is counted once, when it is first asked for.
    """

    cluster_id: str
    brokers: tuple[Broker, ...]
    """Registered and unfenced: they are up, as far as the controllers know."""
    partitions: tuple[Partition, ...]
    """By topic and number."""
    minimum_in_sync: Mapping[str, int]
    controller_id: int | None = None
    fenced_brokers: tuple[Broker, ...] = ()
    """Registered, but down or not yet started (KRaft, Kafka >= 4.0). An older cluster lists none."""
    topic_ids: Mapping[str, str] = field(default_factory=dict)
    """Topic -> its id as Kafka's tools print it (KIP-516): a topic that is made again under its name has another one."""
    answered_by: int | None = None
    """The broker whose knowledge this is; None: ZooKeeper's (`safety.freshness.as_recorded`)."""

    @cached_property
    def live_broker_ids(self) -> frozenset[int]:
        return frozenset(broker.id for broker in self.brokers)

    @property
    def registered_broker_ids(self) -> frozenset[int]:
        """Live and fenced ones. A broker that only replica lists mention was unregistered, or the cluster is older."""
        return self.live_broker_ids | {broker.id for broker in self.fenced_brokers}

    @property
    def racks(self) -> dict[int, str | None]:
        """The rack of each registered broker, whether it is up or not."""
        return {broker.id: broker.rack for broker in (*self.fenced_brokers, *self.brokers)}

    @cached_property
    def down_broker_ids(self) -> frozenset[int]:
        """Brokers with assigned replicas that are not up."""
        assigned = chain.from_iterable(partition.replicas for partition in self.partitions)
        return frozenset(assigned) - self.live_broker_ids

    @cached_property
    def by_topic(self) -> Mapping[str, tuple[Partition, ...]]:
        found: dict[str, list[Partition]] = {}
        for partition in self.partitions:
            found.setdefault(partition.topic, []).append(partition)
        return {topic: tuple(partitions) for topic, partitions in found.items()}

    @cached_property
    def by_name(self) -> Mapping[TopicPartition, Partition]:
        return ByName(self.by_topic)

    @cached_property
    def lagging(self) -> tuple[Partition, ...]:
        """Partitions of which some replica is not in sync."""
        return tuple(partition for partition in self.partitions if partition.lags)

    def renewed_topics(self, topic_ids: Mapping[str, str]) -> frozenset[str]:
        """Those of some topics that were deleted and made again under their names since they had these ids."""
        return frozenset(topic for topic, known in topic_ids.items() if self.topic_ids.get(topic, known) != known)

    def on_broker(self, broker_id: int) -> Iterator[Partition]:
        """Partitions that have a replica assigned to `broker_id`."""
        if broker_id not in self._on_broker:
            self._on_broker[broker_id] = tuple(partition for partition in self.partitions if broker_id in partition.replicas)
        return iter(self._on_broker[broker_id])

    @cached_property
    def _on_broker(self) -> dict[int, tuple[Partition, ...]]:
        """Of the brokers that were asked about."""
        return {}

    @cached_property
    def followers(self) -> Mapping[int, Mapping[int, int]]:
        """Leader -> brokers that its acks=all producers wait for, since they are in sync: each with the number of partitions."""
        found: dict[int, Counter[int]] = {}
        _count(found, self.partitions, 1)
        return found

    def with_topics(self, newer: "ClusterSnapshot", topics: Collection[str]) -> "ClusterSnapshot":
        """With what a newer look at some topics says of them; one of these that it doesn't have is gone.

        The brokers are the newer ones too. What was counted here already isn't counted again.
        """
        renewed = frozenset(topics)
        known = {topic: found for topic, found in self.by_topic.items() if topic not in renewed}
        added = {topic: found for topic, found in newer.by_topic.items() if topic in renewed}
        by_topic = dict(sorted({**known, **added}.items()))
        live = newer.live_broker_ids
        lagging = [partition for partition in self.lagging if partition.topic not in renewed]
        lagging += [partition for partition in newer.lagging if partition.topic in renewed]
        made = ClusterSnapshot(
            cluster_id=self.cluster_id,
            controller_id=newer.controller_id,
            brokers=newer.brokers,
            partitions=tuple(chain.from_iterable(by_topic.values())),
            minimum_in_sync=_renewed(self.minimum_in_sync, newer.minimum_in_sync, renewed),
            fenced_brokers=tuple(broker for broker in self.fenced_brokers if broker.id not in live),
            topic_ids=_renewed(self.topic_ids, newer.topic_ids, renewed),
            answered_by=newer.answered_by,
        )
        vars(made).update(by_topic=by_topic, lagging=tuple(sorted(lagging)))
        arrived = [partition for found in added.values() for partition in found]
        for broker_id, found in self._on_broker.items():
            there = [partition for partition in found if partition.topic not in renewed]
            there += [partition for partition in arrived if broker_id in partition.replicas]
            made._on_broker[broker_id] = tuple(sorted(there))
        if "followers" in vars(self):
            followers = {leader: Counter(among) for leader, among in self.followers.items()}
            _count(followers, chain.from_iterable(self.by_topic.get(topic, ()) for topic in renewed), -1)
            _count(followers, arrived, 1)
            vars(made).update(followers={leader: among for leader, among in followers.items() if among})
        return made


def _count(followers: dict[int, Counter[int]], partitions: Iterable[Partition], times: int) -> None:
    """Add the in-sync followers of partitions to those of their leaders, or take them off."""
    for partition in partitions:
        if partition.leader is not None:
            among = followers.setdefault(partition.leader, Counter())
            for broker in partition.in_sync:
                if broker != partition.leader:
                    among[broker] += times
                    if not among[broker]:
                        del among[broker]


def _renewed(known: Mapping[str, T], newer: Mapping[str, T], topics: Collection[str]) -> dict[str, T]:
    kept = {topic: value for topic, value in known.items() if topic not in topics}
    return {**kept, **{topic: value for topic, value in newer.items() if topic in topics}}


class Replica(NamedTuple):
    """One replica's name: a partition on a broker."""

    topic: str
    partition: int
    broker_id: int


class LogDirectory(Model):
    """One log directory of a broker. `total_bytes` and `usable_bytes` are its whole volume's; None where they are unknown."""

    path: str
    error: str | None = None
    """Kafka's name of what is wrong with it. A directory that failed is offline, with all its replicas."""
    total_bytes: int | None = None
    usable_bytes: int | None = None
    used_bytes: int = 0
    """Bytes of the replicas in it."""
    replicas: int = 0
    is_cordoned: bool = False

    @property
    def is_offline(self) -> bool:
        return self.error is not None


class ReplicaSizes(Model):
    """Bytes of every replica, from DescribeLogDirs (KIP-113) of the brokers that answered."""

    size_bytes: dict[Replica, int]
    """A replica that moves from one log directory to another counts with the larger of both copies."""
    unanswered_broker_ids: tuple[int, ...] = ()
    total_bytes: dict[int, int] = Field(default_factory=dict)
    """Broker -> size of its log directories' volumes (KIP-827, Kafka >= 3.3), those of offline ones left out; a broker that
    doesn't tell is left out."""
    usable_bytes: dict[int, int] = Field(default_factory=dict)
    """Broker -> what is free on them."""
    directories: dict[int, tuple[LogDirectory, ...]] = Field(default_factory=dict)
    """Broker -> its log directories, offline ones included."""
    old_broker_ids: tuple[int, ...] = ()
    """Brokers that did not answer, and whose figures are from an earlier answer."""

    def offline_directories(self, broker_id: int) -> tuple[LogDirectory, ...]:
        return tuple(directory for directory in self.directories.get(broker_id, ()) if directory.is_offline)

    def with_more(self, more: "ReplicaSizes") -> "ReplicaSizes":
        """With other answers of the same time, of other replicas."""
        return ReplicaSizes.model_construct(
            size_bytes={**self.size_bytes, **more.size_bytes},
            unanswered_broker_ids=tuple(sorted({*self.unanswered_broker_ids, *more.unanswered_broker_ids})),
            total_bytes={**self.total_bytes, **more.total_bytes},
            usable_bytes={**self.usable_bytes, **more.usable_bytes},
            directories={**self.directories, **more.directories},
        )

    def filled_from(self, earlier: "ReplicaSizes | None") -> "ReplicaSizes":
        """With the last known figures of brokers that don't answer now; they are listed in `old_broker_ids`."""
        silent = set(self.unanswered_broker_ids)
        if earlier is None or not silent:
            return self
        remembered = silent & {*(replica.broker_id for replica in earlier.size_bytes), *earlier.directories}
        return self.model_copy(
            update={
                "size_bytes": {
                    **{replica: size for replica, size in earlier.size_bytes.items() if replica.broker_id in remembered},
                    **self.size_bytes,
                },
                "total_bytes": {**_of(earlier.total_bytes, remembered), **self.total_bytes},
                "usable_bytes": {**_of(earlier.usable_bytes, remembered), **self.usable_bytes},
                "directories": {**_of(earlier.directories, remembered), **self.directories},
                "old_broker_ids": tuple(sorted(remembered)),
            }
        )


def _of(by_broker: dict[int, T], broker_ids: set[int]) -> dict[int, T]:
    return {broker_id: value for broker_id, value in by_broker.items() if broker_id in broker_ids}


class ControllerEndpoint(NamedTuple):
    """Where other controllers reach a controller on one of its listeners."""

    listener: str
    """Kafka's name of it."""
    host: str
    port: int


class QuorumReplica(Model):
    """A controller (voter) or broker (observer) as a replica of the metadata log. Times are by the leader's clock."""

    id: int
    log_end_offset: int
    directory_id: str | None = None
    """Of the disk that has its metadata log (KIP-853), as Kafka's tools print it. In a static quorum no voter has one."""
    last_fetch_at: datetime | None = None
    last_caught_up_at: datetime | None = None
    """When it last had everything that the leader has; the leader's own is the time of the answer (KIP-836, Kafka >= 3.3)."""


class MetadataQuorum(Model):
    """The KRaft quorum as its leader, the active controller, describes it: who has the cluster's metadata, and how new."""

    leader_id: int
    leader_epoch: int
    high_watermark: int
    voters: tuple[QuorumReplica, ...]
    observers: tuple[QuorumReplica, ...]

    @property
    def voter_ids(self) -> frozenset[int]:
        return frozenset(voter.id for voter in self.voters)

    @property
    def is_static(self) -> bool:
        """The voters are those of `controller.quorum.voters` in every node's file (kraft.version 0): nobody can change them."""
        return any(voter.directory_id is None for voter in self.voters)


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

    def over(self, inherited: "ThrottleRates") -> "ThrottleRates":
        """The rates in force: those set here, else the inherited ones."""
        leader, follower = self.leader_bytes_per_s, self.follower_bytes_per_s
        return ThrottleRates(
            leader_bytes_per_s=inherited.leader_bytes_per_s if leader is None else leader,
            follower_bytes_per_s=inherited.follower_bytes_per_s if follower is None else follower,
        )


class BrokerRates(NamedTuple):
    """A broker's own rates, and those that hold in a direction in which it has none."""

    own: ThrottleRates
    inherited: ThrottleRates


class ThrottledReplicas(Model):
    """A topic's throttled replica lists as Kafka holds them: `p:broker` entries joined by commas, `*`, or empty (KIP-73)."""

    leader: str = ""
    follower: str = ""


class BrokerConfig(NamedTuple):
    """One configuration of one broker, at each level at which it can be set; None where it isn't set there, or is secret."""

    in_force: str | None
    """The first of the levels below that is set, else Kafka's default. A key of the same meaning in another unit counts for
    itself alone: `log.retention.hours` in the file leaves `log.retention.ms` unset."""
    own: str | None
    """Set dynamically on the broker itself."""
    for_all: str | None
    """Set dynamically for the whole cluster (`--entity-default`)."""
    in_file: str | None
    """In the properties that the broker was started with."""
    is_read_only: bool
    """It can't be set dynamically: only a restart changes it."""
    is_sensitive: bool
    """Its values are secret, and Kafka tells none of them."""
    default: str | None = None
    """Of the broker's release."""
