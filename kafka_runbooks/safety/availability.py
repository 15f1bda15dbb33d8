"""May these brokers go down? One question, `may_go_down`, on one measure, `min_isr_margin`.

Kafka takes an acks=all write only while a partition has at least as many in-sync replicas as its effective minimum: below it,
`Partition.scala` answers NOT_ENOUGH_REPLICAS. The effective minimum is `min.insync.replicas`, or the number of replicas if that
is less (Kafka 3.7 and later). The margin is how many in-sync replicas a partition has above it.

`may_go_down` follows Strimzi's `KafkaAvailability.canRoll`, partition by partition, and names what Strimzi passes over:

1. A partition with no more replicas than `min.insync.replicas` can't spare one even when all are in sync. Strimzi ignores it;
   here it is a risk for an operator to acknowledge, for one replica at a time.
2. An in-sync replica may go only if enough others stay in sync (`in_sync_to_keep`): the minimum, and the headroom above it, but
   never more than all others, or nothing could ever be restarted.
3. A replica that is not in sync can't lower the margin. On a partition that is below its minimum it might still be the next to
   catch up, so Strimzi never restarts its broker, not even where that broker is the broken one; here an operator can acknowledge.

Unlike Strimzi's rule it is asked of several brokers at once, and a replica counts as in sync only while its broker is live. What
it allows to several at once it also allows to one after the other while those before it are still down.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Protocol

from kafka_runbooks.models.cluster import ClusterSnapshot, Partition, TopicPartition
from kafka_runbooks.models.results import Reason


def effective_min_isr(replicas: Collection[int], minimum: int) -> int:
    """The in-sync replicas that Kafka asks for before it takes an acks=all write.

    Args:
        replicas: of one partition; those that a reassignment is adding count too.
        minimum: the topic's `min.insync.replicas`.
    """
    return min(minimum, len(replicas))


def in_sync_to_keep(replicas: int, minimum: int, headroom: int | None = 0) -> int:
    """How many in-sync replicas must be left when some go down; the voters of the metadata quorum are no different.

    Args:
        replicas: how many there are.
        minimum: `min.insync.replicas`; of voters, their majority.
        headroom: in-sync replicas to keep above the minimum, in case another broker fails meanwhile; None: all others.
    """
    others = replicas - 1
    return others if headroom is None else min(minimum + headroom, others)


def min_isr_margin(partition: Partition, minimum: int, live: Collection[int], without: Collection[int] = ()) -> int:
    """In-sync live replicas above the effective minimum, once the brokers of `without` are down too; below 0, writes are refused.

    Args:
        partition: as it is now.
        minimum: its topic's `min.insync.replicas`.
        live: brokers that are registered and unfenced.
        without: brokers taken to be down as well.
    """
    left = sum(1 for broker in partition.in_sync if broker in live and broker not in without)
    return left - effective_min_isr(partition.replicas, minimum)


def min_isr_of(snapshot: ClusterSnapshot, topic: str) -> int:
    """The topic's `min.insync.replicas`; Kafka's default where it isn't known."""
    return snapshot.minimum_in_sync.get(topic, 1)


def may_go_down(snapshot: ClusterSnapshot, brokers: Collection[int], *, headroom: int | None = 0) -> list[Reason]:
    """Why these brokers may not all be down at the same time; empty: they may.

    Args:
        snapshot: the cluster now.
        brokers: those to take down together.
        headroom: in-sync replicas to keep above the minimum, as far as a partition has that many with one replica gone. None:
            every other replica, so nothing that these brokers hold is under-replicated and no two of them share a partition.

    Returns:
        One reason for each rule and topic, topics in order. Only those of rules 1 and 3 can be acknowledged.
    """
    going, live = set(brokers), snapshot.live_broker_ids
    no_spare, below, already_below = [], [], []
    for partition in snapshot.partitions:
        affected = going.intersection(partition.replicas)
        if not affected:
            continue
        minimum = min_isr_of(snapshot, partition.topic)
        if not affected.intersection(partition.in_sync, live):
            if min_isr_margin(partition, minimum, live, going) < 0:
                already_below.append(partition)
            continue
        if len(partition.replicas) <= minimum:
            no_spare.append(partition)
        left = live.intersection(partition.in_sync) - going
        if len(left) < in_sync_to_keep(len(partition.replicas), minimum, headroom):
            below.append(partition)
    return [
        *_no_spare_replica(snapshot, no_spare),
        *_below_min_isr(snapshot, below, going, headroom),
        *_already_below_min_isr(snapshot, already_below, going, headroom),
    ]


def _no_spare_replica(snapshot: ClusterSnapshot, partitions: Iterable[Partition]) -> list[Reason]:
    return [
        Reason(
            name=f"no-spare-replica:{topic}",
            message=f"topic {topic}, partition {listed(numbers)}: no more replicas than min.insync.replicas "
            f"({min_isr_of(snapshot, topic)}): acks=all writes are refused while any of them is down",
            remedy="raise the replication factor, lower min.insync.replicas, or acknowledge with acknowledged_risks "
            f'["no-spare-replica:{topic}"]',
            can_be_acknowledged=True,
        )
        for topic, numbers in by_topic(partitions).items()
    ]


def _below_min_isr(
    snapshot: ClusterSnapshot, partitions: Iterable[Partition], going: set[int], headroom: int | None
) -> list[Reason]:
    live, reasons = snapshot.live_broker_ids, []
    kept = ", and every other replica to be kept in sync" if headroom is None else ""
    kept = f", and {headroom} more to be kept" if headroom else kept
    for topic, found in _of_topics(partitions):
        minimum = min_isr_of(snapshot, topic)
        remedy = _until_enough_are_in_sync(snapshot, found, going, headroom)
        spare = min(len(live.intersection(partition.in_sync) - going) - minimum for partition in found)
        if spare >= 0:
            remedy += f", or set headroom to {spare}"
        reasons.append(
            Reason(
                name=f"below-min-isr:{topic}",
                message=f"topic {topic}, partition {listed(sorted(partition.partition for partition in found))}: too few in-sync "
                f"replicas without broker {listed(sorted(going))} (min.insync.replicas {minimum}{kept})",
                remedy=remedy,
            )
        )
    return reasons


def _already_below_min_isr(
    snapshot: ClusterSnapshot, partitions: Iterable[Partition], going: set[int], headroom: int | None
) -> list[Reason]:
    reasons = []
    for topic, found in _of_topics(partitions):
        minimum = min_isr_of(snapshot, topic)
        can_recover = all(len(partition.replicas) > minimum for partition in found)
        wait = f"{_until_enough_are_in_sync(snapshot, found, going, headroom)}, or " if can_recover else ""
        reasons.append(
            Reason(
                name=f"already-below-min-isr:{topic}",
                message=f"topic {topic}, partition {listed(sorted(partition.partition for partition in found))}: already below "
                f"min.insync.replicas ({minimum}), and the replica on broker {listed(sorted(going))} may be the next to catch up",
                remedy=f'{wait}acknowledge with acknowledged_risks ["already-below-min-isr:{topic}"]',
                can_be_acknowledged=True,
            )
        )
    return reasons


def _until_enough_are_in_sync(
    snapshot: ClusterSnapshot, partitions: Collection[Partition], going: set[int], headroom: int | None
) -> str:
    """What an operator waits for, and what even then is too much at once."""
    live, topic = snapshot.live_broker_ids, next(iter(partitions)).topic
    one_at_a_time = any(
        len(partition.replicas) - len(going.intersection(partition.replicas))
        < in_sync_to_keep(len(partition.replicas), min_isr_of(snapshot, topic), headroom)
        for partition in partitions
    )
    lagging = {
        broker
        for partition in partitions
        for broker in partition.replicas
        if not (broker in live and broker in partition.in_sync) and (one_at_a_time or broker not in going)
    }
    parts = [f"wait until broker {listed(sorted(lagging))} is in sync again"] if lagging else []
    parts += [f"take brokers {listed(sorted(going))} down one at a time"] if one_at_a_time else []
    return " and ".join(parts)


def _of_topics(partitions: Iterable[Partition]) -> list[tuple[str, list[Partition]]]:
    found: dict[str, list[Partition]] = defaultdict(list)
    for partition in partitions:
        found[partition.topic].append(partition)
    return sorted(found.items())


def under_min_isr(snapshot: ClusterSnapshot, without: Collection[int] = ()) -> list[Partition]:
    """Partitions that refuse acks=all writes while the brokers of `without` are down too (Kafka's UnderMinIsrPartitionCount)."""
    live = snapshot.live_broker_ids
    return [
        partition
        for partition in snapshot.partitions
        if min_isr_margin(partition, min_isr_of(snapshot, partition.topic), live, without) < 0
    ]


def only_copy_on(snapshot: ClusterSnapshot, brokers: Collection[int]) -> list[Partition]:
    """Partitions of these brokers whose other replicas are all down or not in sync, or that have no other."""
    together, others = set(brokers), snapshot.live_broker_ids - set(brokers)
    return [
        partition
        for partition in snapshot.partitions
        if together.intersection(partition.replicas) and not others.intersection(partition.replicas, partition.in_sync)
    ]


def out_of_sync(snapshot: ClusterSnapshot, broker_id: int) -> list[Partition]:
    """Partitions with a replica on this broker that is not in sync."""
    return [partition for partition in snapshot.on_broker(broker_id) if broker_id not in partition.in_sync]


def would_lead(snapshot: ClusterSnapshot, replicas: Sequence[int], in_sync: Collection[int]) -> int | None:
    """Who leads a partition with these replicas once it is elected by preference: the first one that is live and in sync."""
    return next((broker for broker in replicas if broker in snapshot.live_broker_ids and broker in in_sync), None)


def leaders_that_stay(
    snapshot: ClusterSnapshot, after: Mapping[TopicPartition, Sequence[int]], brokers: Collection[int]
) -> list[Reason]:
    """Partitions that some brokers would go on to lead, whatever is preferred: nobody else of them is in sync.

    Args:
        snapshot: the cluster now.
        after: the replicas of partitions whose order is to change.
        brokers: those that are to lead nothing.
    """
    staying = [
        partition
        for partition in snapshot.partitions
        if partition.leader in brokers
        and would_lead(snapshot, after.get(partition.name, partition.replicas), set(partition.in_sync) - set(brokers)) is None
    ]
    return [
        Reason(
            name=f"no-other-in-sync:{topic}",
            message=f"topic {topic}, partition {listed(numbers)}: led by a broker to evacuate, and no other replica is in sync",
            remedy="wait until another replica is in sync, or add one",
        )
        for topic, numbers in by_topic(staying).items()
    ]


def not_led_by_preferred(snapshot: ClusterSnapshot, partitions: Iterable[Partition]) -> list[Partition]:
    """Those of `partitions` whose preferred replica, the first, is live and in sync but isn't the leader."""
    live = snapshot.live_broker_ids
    return [
        partition
        for partition in partitions
        if partition.replicas
        and partition.leader != partition.replicas[0]
        and partition.replicas[0] in live
        and partition.replicas[0] in partition.in_sync
    ]


def risks_of_losing(snapshot: ClusterSnapshot, brokers: Collection[int]) -> list[Reason]:
    """What an operator must acknowledge before the disks of these brokers are given up, one reason per topic."""
    return [
        Reason(
            name=f"data-loss:{topic}",
            message=f"topic {topic}, partition {listed(numbers)}: the only in-sync copy is on broker {listed(sorted(brokers))}; "
            "releasing the volume makes the loss final",
            remedy=f'bring the disk back (node_state "returns"), or acknowledge with acknowledged_risks ["data-loss:{topic}"]',
            can_be_acknowledged=True,
        )
        for topic, numbers in by_topic(only_copy_on(snapshot, brokers)).items()
    ]


class Named(Protocol):
    """A partition, or what is planned of one."""

    @property
    def topic(self) -> str: ...
    @property
    def partition(self) -> int: ...


def by_topic(partitions: Iterable[Named]) -> dict[str, list[int]]:
    """Topic -> its partition numbers, both sorted."""
    grouped: dict[str, list[int]] = defaultdict(list)
    for partition in partitions:
        grouped[partition.topic].append(partition.partition)
    return {topic: sorted(numbers) for topic, numbers in sorted(grouped.items())}


def listed(numbers: list[int], most: int = 10) -> str:
    """`1, 2, 3 and 7 more`."""
    shown = ", ".join(map(str, numbers[:most]))
    return f"{shown} and {len(numbers) - most} more" if len(numbers) > most else shown
