"""A small cluster in memory that reassigns partitions as KRaft's controller does, for tests of the window."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from kafka_runbooks.models.cluster import Broker, ClusterSnapshot, Partition, Reassignment, TopicPartition
from kafka_runbooks.models.moves import Move, MovePlan
from kafka_runbooks.moves.admission import Observation
from kafka_runbooks.moves.window import WindowDecision

BROKERS = (1, 2, 3, 4, 5, 6)


def name(number: int) -> TopicPartition:
    return TopicPartition("t", number)


def move(number: int, before: tuple[int, ...], after: tuple[int, ...], size_bytes: int = 10, batch: int = 0) -> Move:
    return Move(topic="t", partition=number, before=before, after=after, size_bytes=size_bytes, batch=batch, in_sync=before)


def plan_of(*moves: Move, leaving: tuple[int, ...] = ()) -> MovePlan:
    return MovePlan(
        cluster="c",
        kind="Rebalance",
        title="test",
        moves=moves,
        leaving=leaving,
        partition_counts={"t": len(moves)},
        topic_ids={"t": "first"},
        made_at="2026-01-01T00:00:00+00:00",
    )


def in_any_order(one: tuple[int, ...], other: tuple[int, ...]) -> bool:
    return sorted(one) == sorted(other)


@dataclass
class Simulated:
    """Replicas in order, who is in sync, what is being reassigned; and the run's ledger."""

    replicas: dict[TopicPartition, tuple[int, ...]]
    minimum: int = 1
    live: set[int] = field(default_factory=lambda: set(BROKERS))
    in_sync: dict[TopicPartition, set[int]] = field(default_factory=dict)
    moving: dict[TopicPartition, Reassignment] = field(default_factory=dict)
    ledger: dict[TopicPartition, tuple[int, ...]] = field(default_factory=dict)
    topic_id: str = "first"

    def __post_init__(self) -> None:
        for partition, replicas in self.replicas.items():
            self.in_sync.setdefault(partition, set(replicas))

    @classmethod
    def before(cls, plan: MovePlan, minimum: int = 1) -> "Simulated":
        return cls({one.name: one.before for one in plan.moves}, minimum)

    def copy(self) -> "Simulated":
        in_sync = {partition: set(brokers) for partition, brokers in self.in_sync.items()}
        return Simulated(
            dict(self.replicas), self.minimum, set(self.live), in_sync, dict(self.moving), dict(self.ledger), self.topic_id
        )

    def make_topic_again(self) -> None:
        """Deleted, and made under the same name with the same replicas as at first: another topic."""
        self.topic_id = "second"
        for partition, replicas in self.replicas.items():
            moving = self.moving.pop(partition, None)
            self.replicas[partition] = replicas if moving is None else moving.target
            self.in_sync[partition] = set(self.replicas[partition])

    def snapshot(self) -> ClusterSnapshot:
        partitions = []
        for partition, replicas in sorted(self.replicas.items()):
            in_sync = [broker for broker in replicas if broker in self.in_sync[partition] and broker in self.live]
            partitions.append(
                Partition(
                    topic=partition.topic,
                    partition=partition.partition,
                    leader=in_sync[0] if in_sync else None,
                    replicas=replicas,
                    in_sync=tuple(in_sync),
                )
            )
        topics = {partition.topic for partition in self.replicas}
        return ClusterSnapshot(
            cluster_id="c",
            brokers=tuple(Broker(id=broker, host="h", port=1) for broker in sorted(self.live)),
            partitions=tuple(partitions),
            minimum_in_sync=dict.fromkeys(topics, self.minimum),
            topic_ids=dict.fromkeys(topics, self.topic_id),
        )

    def observe(self, dead: Iterable[int] = ()) -> Observation:
        return Observation(self.snapshot(), dict(self.moving), dict(self.ledger), frozenset(dead))

    def write_ledger(self, moves: Iterable[Move], settled: Iterable[TopicPartition] = ()) -> None:
        """Ahead of submitting; what is settled is forgotten at the same time, as the mover does."""
        for one in settled:
            self.ledger.pop(one, None)
        self.ledger.update({one.name: one.after for one in moves})

    def reassign(self, partition: TopicPartition, target: tuple[int, ...]) -> None:
        """As KRaft's ReplicationControlManager: the union with the target in front; nothing to add ends at once.

        A request over a reassignment in progress replaces it: what the first one added and the second doesn't want is removed.
        """
        current = self.moving.get(partition)
        old = tuple(one for one in self.replicas[partition] if current is None or one not in current.adding)
        union = (*target, *(broker for broker in old if broker not in target))
        adding = tuple(broker for broker in target if broker not in old)
        removing = tuple(broker for broker in old if broker not in target)
        self.replicas[partition] = union
        self.in_sync[partition] &= set(union)
        self.moving[partition] = Reassignment(
            topic=partition.topic, partition=partition.partition, replicas=union, adding=adding, removing=removing
        )
        if not adding:
            self.end(partition)

    def can_end(self, partition: TopicPartition) -> bool:
        """Its destinations are up, and so is somebody to copy from."""
        return set(self.moving[partition].adding) <= self.live and bool(self.in_sync[partition] & self.live)

    def end(self, partition: TopicPartition) -> None:
        moving = self.moving.pop(partition)
        self.replicas[partition] = moving.target
        self.in_sync[partition] = (self.in_sync[partition] | set(moving.adding)) & set(moving.target)

    def cancel(self, partition: TopicPartition) -> None:
        """The replicas that were there before, in the order of the union (KRaft's PartitionReassignmentRevert)."""
        moving = self.moving.pop(partition)
        self.replicas[partition] = tuple(broker for broker in self.replicas[partition] if broker not in moving.adding)
        self.in_sync[partition] -= set(moving.adding)

    def carry_out(self, decision: WindowDecision, most: int = 10**9) -> None:
        """A decision, or only that many requests of each kind before the worker dies."""
        for moved in decision.cancel[:most]:
            self.cancel(moved.name)
        for moved in decision.restore[:most]:
            self.reassign(moved.name, moved.before)
        self.write_ledger(decision.submit[:most], decision.arrived if decision.submit else ())
        for moved in decision.submit[:most]:
            self.reassign(moved.name, moved.after)
