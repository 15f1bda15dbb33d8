"""Whether a copy can finish: a throttle at or below the produce rate of the moving partitions never lets a replica catch up.

What a rate must carry follows from how Kafka counts (KIP-73; `KafkaApis.sizeOfThrottledPartitions`,
`ReplicaManager.shouldLeaderThrottle`): the leader's quota counts every byte that any follower fetches of a listed partition,
in sync or not, but only delays the followers that aren't in sync. So a source's in-sync followers of the listed partitions use
its rate first, each at the produce rate, and only the rest is available for copying:

    source, to keep up:          sum over its moving partitions of  produced * (in-sync followers + arriving replicas)
    destination, to keep up:     sum over what arrives on it of     produced
    either, to end in T seconds: that, and  left / T  for every arriving replica

The last is exact for one bottleneck and a lower bound where there are several: each broker must carry these bytes regardless of
the others.
"""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from kafka_runbooks.models.cluster import Direction, Replica, ThrottleRates, TopicPartition
from kafka_runbooks.models.moves import Copy
from kafka_runbooks.throttle.measurements import is_sound


class Copying(NamedTuple):
    """One partition that moves: what its destinations still lack, and its produce rate."""

    name: TopicPartition
    leader: int
    left_bytes: Mapping[int, int]
    """By destination; 0 if it is in sync already and only its list entries remain."""
    produced_bytes_per_s: float | None
    """None: not known."""
    in_sync_followers: int = 0
    """Other replicas that are in sync and fetch from the leader."""


class Need(NamedTuple):
    """What the rate of one broker in one direction must carry."""

    broker_id: int
    direction: Direction
    rate_bytes_per_s: int | None
    """In force; None: not throttled."""
    keeps_up_bytes_per_s: float
    """At this rate replicas neither catch up nor fall further behind."""
    left_bytes: int

    @property
    def never_ends(self) -> bool:
        return self.left_bytes > 0 and self.rate_bytes_per_s is not None and self.rate_bytes_per_s <= self.keeps_up_bytes_per_s

    @property
    def seconds(self) -> float | None:
        """Lower bound of the time at the rate in force; None: never; 0 if nothing is left or nothing is throttled."""
        if self.left_bytes == 0 or self.rate_bytes_per_s is None:
            return 0.0
        return None if self.never_ends else self.left_bytes / (self.rate_bytes_per_s - self.keeps_up_bytes_per_s)


class Feasibility(NamedTuple):
    """Whether, and how soon, the copy can finish at the rates in force."""

    needs: tuple[Need, ...]
    unknown: tuple[TopicPartition, ...] = ()
    """Partitions with an unknown produce rate. They count as 0, so the figures are lower bounds."""

    @property
    def never_ends(self) -> tuple[Need, ...]:
        """Brokers and directions at which a replica can never catch up."""
        return tuple(need for need in self.needs if need.never_ends)

    @property
    def seconds(self) -> float | None:
        """Lower bound of the time until everything is in sync; None: never, at these rates."""
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
    """The moving partitions, from measurements. One without a leader, or with a leader of unknown size, is left out.

    Args:
        moves: partitions, each with the brokers that receive its data.
        sizes: bytes of replicas (DescribeLogDirs), of the leaders and the destinations.
        produced: bytes per second by partition (`measurements.produced`).
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
    """Compare what each broker must carry with the rates in force.

    Args:
        moving: the partitions in the throttled replica lists.
        rates: in force, by broker, whether set by this run or not; a broker that is missing isn't throttled.
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
