"""Will it ever finish? A throttle at or below what is produced to the moving partitions never lets a replica catch up.

What a rate must carry follows from how Kafka counts (KIP-73; `KafkaApis.sizeOfThrottledPartitions`,
`ReplicaManager.shouldLeaderThrottle`): the leader's quota counts every byte that any follower fetches of a listed partition,
in sync or not, but only holds back the followers that aren't in sync. So a source's rate is used up first by its in-sync
followers of the listed partitions, one share of what is produced for each, and only the rest copies anything:

    source, to keep up:          sum over its moving partitions of  produced * (in-sync followers + arriving replicas)
    destination, to keep up:     sum over what arrives on it of     produced
    either, to end in T seconds: that, and  left / T  for every arriving replica

The last is exact for one bottleneck, and the least that any way of sharing needs where there are several: each broker must
carry these bytes whatever the others do.
"""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from kafka_runbooks.models.cluster import Direction, Replica, ThrottleRates, TopicPartition
from kafka_runbooks.models.moves import Copy
from kafka_runbooks.throttle.measurements import is_sound


class Copying(NamedTuple):
    """One partition that moves: what its destinations still lack, and what is produced to it meanwhile."""

    name: TopicPartition
    leader: int
    left_bytes: Mapping[int, int]
    """By destination; 0 where that one is in sync already and only its list entries are left."""
    produced_bytes_per_s: float | None
    """None: not known."""
    in_sync_followers: int = 0
    """Other replicas that are in sync and fetch from the leader."""


class Need(NamedTuple):
    """One broker in one direction: what its rate must carry. Bytes per second and seconds."""

    broker_id: int
    direction: Direction
    rate_bytes_per_s: int | None
    """In force; None: not throttled."""
    keeps_up_bytes_per_s: float
    """At this rate nothing falls further behind, and nothing catches up either."""
    left_bytes: int

    @property
    def never_ends(self) -> bool:
        return self.left_bytes > 0 and self.rate_bytes_per_s is not None and self.rate_bytes_per_s <= self.keeps_up_bytes_per_s

    @property
    def seconds(self) -> float | None:
        """The least time at the rate in force; None: never. 0 where nothing is left or nothing is throttled."""
        if self.left_bytes == 0 or self.rate_bytes_per_s is None:
            return 0.0
        return None if self.never_ends else self.left_bytes / (self.rate_bytes_per_s - self.keeps_up_bytes_per_s)


class Feasibility(NamedTuple):
    """What the rates in force lead to."""

    needs: tuple[Need, ...]
    unknown: tuple[TopicPartition, ...] = ()
    """Partitions whose produce rate isn't known: they count as if nothing were produced, so that figures are too low."""

    @property
    def never_ends(self) -> tuple[Need, ...]:
        """Where a replica can never catch up."""
        return tuple(need for need in self.needs if need.never_ends)

    @property
    def seconds(self) -> float | None:
        """The least time until all is in sync; None: never, as it stands."""
        times = [need.seconds for need in self.needs]
        return None if None in times else max((time for time in times if time is not None), default=0.0)

    def report(self) -> tuple[str, ...]:
        """One line for each broker and direction at which replicas never catch up; empty if there is none."""
        lines = [
            f"broker {need.broker_id}: {need.direction} replication throttle {_mega(need.rate_bytes_per_s or 0)} MB/s "
            f"never catches up: {_mega(need.keeps_up_bytes_per_s)} MB/s are needed only to keep up"
            for need in self.never_ends
        ]
        if self.unknown:
            names = ", ".join(map(str, self.unknown[:5]))
            lines.append(f"the produce rate of {len(self.unknown)} partitions is not known: {names}")
        return tuple(lines)


def copying_of(
    moves: Iterable[Copy], sizes: Mapping[Replica, int], produced: Mapping[TopicPartition, float]
) -> tuple[Copying, ...]:
    """What moves, from what was measured. A partition without a leader, or whose leader's size isn't known, is left out.

    Args:
        moves: partitions, each with the brokers that its data arrives on.
        sizes: bytes of replicas (DescribeLogDirs), of the leaders and the destinations.
        produced: bytes per second by partition (`measuring.produced`).
    """
    found = []
    for partition, destinations in moves:
        whole = sizes.get(Replica(partition.topic, partition.partition, -1 if partition.leader is None else partition.leader))
        if partition.leader is None or whole is None:
            continue
        held = {broker: sizes.get(Replica(partition.topic, partition.partition, broker), 0) for broker in destinations}
        found.append(
            Copying(
                partition.name,
                partition.leader,
                {broker: 0 if broker in partition.in_sync else max(0, whole - held[broker]) for broker in destinations},
                produced.get(partition.name),
                len({*partition.in_sync} - {partition.leader, *destinations}),
            )
        )
    return tuple(found)


def judge(moving: Iterable[Copying], rates: Mapping[int, ThrottleRates]) -> Feasibility:
    """What each broker must carry, against the rates in force.

    Args:
        moving: the partitions in the throttled replica lists.
        rates: in force, by broker, whoever set them; a broker that isn't in it isn't throttled.
    """
    keeps_up: dict[tuple[Direction, int], float] = {}
    left: dict[tuple[Direction, int], int] = {}
    unknown = []

    def carry(direction: Direction, broker: int, bytes_per_s: float, left_bytes: int) -> None:
        keeps_up[direction, broker] = keeps_up.get((direction, broker), 0.0) + bytes_per_s
        left[direction, broker] = left.get((direction, broker), 0) + left_bytes

    for copying in moving:
        produced = copying.produced_bytes_per_s
        if produced is None or not is_sound(produced):
            unknown.append(copying.name)
            produced = 0.0
        carry(Direction.LEADER, copying.leader, copying.in_sync_followers * produced, 0)
        for destination, left_bytes in copying.left_bytes.items():
            carry(Direction.LEADER, copying.leader, produced, left_bytes)
            carry(Direction.FOLLOWER, destination, produced, left_bytes)
    return Feasibility(
        tuple(
            Need(
                broker,
                direction,
                rates.get(broker, ThrottleRates()).of(direction),
                keeps_up[direction, broker],
                left[direction, broker],
            )
            for direction, broker in sorted(keeps_up)
        ),
        tuple(unknown),
    )


def _mega(bytes_per_s: float) -> str:
    return f"{bytes_per_s / 1_000_000:.2f}"
