"""A broker that catches up: what is copied to it, how much has arrived, and why it stands still if it does."""

from collections.abc import Collection, Iterable, Mapping, Sequence

from kafka_runbooks.models.cluster import ClusterSnapshot, Partition, Replica, TopicPartition
from kafka_runbooks.models.moves import Copy
from kafka_runbooks.models.replacement import ReplacementPlan
from kafka_runbooks.moves.window import Hold
from kafka_runbooks.safety.availability import only_copy_on
from kafka_runbooks.throttle.leases import down_beside

STILL_SECONDS = 60.0
"""Bytes and in-sync replicas that don't change for this long are reported, however long the copy has taken."""


def copies_to(destination: int, partitions: Iterable[Partition]) -> list[Copy]:
    """Copies of whole partitions onto one broker."""
    return [Copy(partition, (destination,)) for partition in partitions]


def bytes_arrived(plan: ReplacementPlan, on_disk: Mapping[Replica, int], in_sync: Collection[TopicPartition]) -> int:
    """Bytes of the plan that are on the destination; a partition in sync counts in full (retention may have shortened it)."""
    return sum(
        partition.size_bytes
        if partition.name in in_sync
        else min(partition.size_bytes, on_disk.get(Replica(partition.topic, partition.partition, plan.destination), 0))
        for partition in plan.partitions
    )


def acknowledged_losses(broker_id: int, late: Iterable[Partition], acknowledged_risks: Collection[str]) -> list[TopicPartition]:
    """Leaderless partitions that have no replica but on this broker, and whose loss an operator has acknowledged.

    With KIP-966 the controller makes their last leader lead again, on its empty disk, as it is unfenced; but not always (observed
    on 4.3.1, where the replica was not yet assigned to the new disk's log directory), and it doesn't retry. Where another
    replica exists, however old, an unclean election could prefer the empty one: that decision is left to operators.
    """
    return [
        partition.name
        for partition in late
        if partition.leader is None
        and partition.replicas == (broker_id,)
        and f"data-loss:{partition.topic}" in acknowledged_risks
    ]


def hold(
    snapshot: ClusterSnapshot, broker_id: int, late: Sequence[Partition], still_seconds: float, silent: Collection[int] = ()
) -> Hold | None:
    """Why the copy stands still, or why it has to be slow; None where it doesn't.

    Args:
        snapshot: the cluster now.
        broker_id: the broker that catches up.
        late: partitions on which it is not in sync.
        still_seconds: how long nothing has arrived.
        silent: brokers that are registered and gave no answer to the last question.
    """
    if broker_id not in snapshot.live_broker_ids:
        return Hold(f"broker {broker_id} is not registered with the controller", f"broker {broker_id} starts")
    if down := sorted(down_beside(copies_to(broker_id, late), snapshot.live_broker_ids)):
        names = ", ".join(map(str, down))
        reason = f"broker {names} is down too, which holds replicas of the same partitions: recovery is no faster than needed"
        stuck = [partition.name for partition in only_copy_on(snapshot, broker_id) if partition in late]
        if stuck:
            reason += f"; {len(stuck)} partitions have no live source: {', '.join(map(str, stuck[:5]))}"
        return Hold(reason, f"broker {names} comes back", tuple(f"broker {broker}" for broker in down))
    if late and still_seconds > STILL_SECONDS:
        return Hold(
            f"nothing arrived on broker {broker_id} for {still_seconds:.0f} s",
            f"broker {broker_id} fetches again: check its log, its network and its disk",
            tuple(str(partition.name) for partition in late[:20]),
        )
    return None
