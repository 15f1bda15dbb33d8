"""Who may go down: what each partition loses when one broker is away.

A partition takes acks=all writes while its in-sync replicas number at least `min.insync.replicas` (Kafka's
`Partition.scala`, NOT_ENOUGH_REPLICAS). Strimzi's KafkaAvailability asks the same before a restart. Here the question is
also asked of a broker that is down already: what is gone with it, and what hangs by one thread until it is back?
"""

from collections import defaultdict
from collections.abc import Iterable

from kafka_runbooks.models.cluster import ClusterSnapshot, Partition
from kafka_runbooks.models.results import Reason


def only_copy_on(snapshot: ClusterSnapshot, broker_id: int) -> list[Partition]:
    """Partitions whose data no live broker has: every other replica is down or not in sync, or there is none (RF 1)."""
    live = snapshot.live_broker_ids - {broker_id}
    return [
        partition
        for partition in snapshot.on_broker(broker_id)
        if not any(replica in live and replica in partition.in_sync for replica in partition.replicas)
    ]


def below_minimum(snapshot: ClusterSnapshot, without: Iterable[int] = ()) -> list[Partition]:
    """Partitions that refuse acks=all writes while the brokers of `without` are away too.

    Those with fewer replicas than `min.insync.replicas` refuse them always and are not listed.
    """
    away = set(without)
    found = []
    for partition in snapshot.partitions:
        minimum = snapshot.minimum_in_sync.get(partition.topic, 1)
        in_sync = sum(1 for broker in partition.in_sync if broker in snapshot.live_broker_ids and broker not in away)
        if len(partition.replicas) >= minimum and in_sync < minimum:
            found.append(partition)
    return found


def out_of_sync(snapshot: ClusterSnapshot, broker_id: int) -> list[Partition]:
    """Partitions with a replica on this broker that is not in their in-sync set."""
    return [partition for partition in snapshot.on_broker(broker_id) if broker_id not in partition.in_sync]


def not_led_by_preferred(snapshot: ClusterSnapshot, partitions: Iterable[Partition]) -> list[Partition]:
    """Those of `partitions` whose first replica is up and in sync but doesn't lead."""
    return [
        partition
        for partition in partitions
        if partition.replicas
        and partition.leader != partition.replicas[0]
        and partition.replicas[0] in snapshot.live_broker_ids
        and partition.replicas[0] in partition.in_sync
    ]


def by_topic(partitions: Iterable[Partition]) -> dict[str, list[int]]:
    """Topic -> its partition numbers, both sorted."""
    grouped: dict[str, list[int]] = defaultdict(list)
    for partition in partitions:
        grouped[partition.topic].append(partition.partition)
    return {topic: sorted(numbers) for topic, numbers in sorted(grouped.items())}


def listed(numbers: list[int], most: int = 10) -> str:
    """`1, 2, 3 and 7 more`."""
    shown = ", ".join(map(str, numbers[:most]))
    return f"{shown} and {len(numbers) - most} more" if len(numbers) > most else shown


def risks_of_losing(snapshot: ClusterSnapshot, broker_id: int, *, disk_is_lost: bool) -> list[Reason]:
    """What a person must know before this broker's disk is given up, one reason a topic.

    With a disk that comes back nothing is given up, so nothing is asked.
    """
    if not disk_is_lost:
        return []
    return [
        Reason(
            name=f"data-loss:{topic}",
            message=f"topic {topic}, partition {listed(numbers)}: the only in-sync copy is on broker {broker_id}; "
            "releasing its volume makes the loss final",
            remedy=f'bring the disk back (node_state "returns"), or acknowledge with acknowledged_risks ["data-loss:{topic}"]',
            can_be_acknowledged=True,
        )
        for topic, numbers in by_topic(only_copy_on(snapshot, broker_id)).items()
    ]
