"""Which partitions can't wait: those that refuse acks=all writes, and those that hang by one in-sync copy.

A topic that has one replica by its owner's choice doesn't hang by it. So what counts is how many copies a partition should have:
the replicas that are assigned to it, without those that a reassignment is only adding. Refusing writes is different: Kafka counts
the replicas that are being added too (`effective_min_isr`), and while one is, producers wait for it.

A move *repairs* an urgent partition if what it lacks can't come back by itself: a replica's broker is down, or its log directory
is offline. One whose replicas only lag catches up without it, and another copy would take from what it needs.
"""

from collections.abc import Collection, Iterable, Mapping

from kafka_runbooks.models.cluster import ClusterSnapshot, Partition, TopicPartition
from kafka_runbooks.models.urgency import Urgency
from kafka_runbooks.safety.availability import effective_min_isr, min_isr_of


def urgency(partition: Partition, minimum: int, live: Collection[int], copies: int) -> Urgency:
    """How urgent one partition is.

    Args:
        partition: as it is now.
        minimum: its topic's `min.insync.replicas`.
        live: brokers that are registered and unfenced.
        copies: how many it should have.
    """
    in_sync = sum(1 for broker in partition.in_sync if broker in live)
    if in_sync < effective_min_isr(partition.replicas, minimum):
        return Urgency.REFUSES_WRITES
    return Urgency.ONE_COPY if in_sync <= 1 < copies else Urgency.NONE


def urgent_among(
    partitions: Iterable[Partition],
    snapshot: ClusterSnapshot,
    adding: Mapping[TopicPartition, Collection[int]] | None = None,
) -> dict[TopicPartition, Urgency]:
    """Those of some partitions that can't wait.

    Args:
        partitions: the ones that are asked about.
        snapshot: who is live, and each topic's `min.insync.replicas`.
        adding: the replicas that reassignments in progress are adding.
    """
    live = snapshot.live_broker_ids
    found: dict[TopicPartition, Urgency] = {}
    for partition in partitions:
        arriving = (adding or {}).get(partition.name, ())
        copies = sum(1 for broker in partition.replicas if broker not in arriving)
        how = urgency(partition, min_isr_of(snapshot, partition.topic), live, copies)
        if how is not Urgency.NONE:
            found[partition.name] = how
    return found


def is_repaired_by_moving(partition: Partition, live: Collection[int]) -> bool:
    """Whether an urgent partition lacks a replica that can't catch up where it is."""
    return any(broker not in live or broker in partition.offline for broker in partition.replicas)
