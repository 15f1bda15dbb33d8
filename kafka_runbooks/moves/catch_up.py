"""A broker that catches up: what is copied to it, how much has arrived, and why it stands still if it does."""

from collections.abc import Collection, Iterable, Sequence

from kafka_runbooks.models.cluster import ClusterSnapshot, Partition, Replica, ReplicaSizes, TopicPartition
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


def copied_to(broker_id: int, plan: ReplacementPlan, assigned: Iterable[Partition], sizes: ReplicaSizes) -> tuple[int, int]:
    """Bytes of the broker's replicas that are there, and those that are left to copy, as their leaders' replicas are now.

    A replica that is in sync counts as planned, for its size says nothing of what was copied. One that isn't has what its disk
    says, even where that is as much as was planned: its leader's has grown since.
    """
    planned = {partition.name: partition.size_bytes for partition in plan.partitions}
    there = left = 0
    for partition in assigned:
        if broker_id in partition.in_sync:
            there += planned.get(partition.name, 0)
            continue
        on_disk = sizes.size_bytes.get(Replica(*partition.name, broker_id), 0)
        leader = None if partition.leader is None else Replica(*partition.name, partition.leader)
        whole = planned.get(partition.name, 0) if leader is None else sizes.size_bytes.get(leader, planned.get(partition.name, 0))
        there += on_disk
        left += max(0, whole - on_disk)
    return there, left


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
    mute = {broker_id, *(partition.leader for partition in late)} & set(silent) if late else set()
    if mute:
        names = ", ".join(map(str, sorted(one for one in mute if one is not None)))
        waiting = [partition.name for partition in late if broker_id in mute or partition.leader in mute]
        reason = f"broker {names} doesn't answer: {len(waiting)} partitions wait for it ({', '.join(map(str, waiting[:5]))})"
        return Hold(reason, f"broker {names} answers", tuple(map(str, waiting[:20])))
    if broken := [partition.name for partition in late if broker_id in partition.offline]:
        return Hold(
            f"a log directory of broker {broker_id} is offline: {len(broken)} replicas in it don't catch up "
            f"({', '.join(map(str, broken[:5]))})",
            f"the disk of broker {broker_id} is mended and the broker restarts, or the replicas are moved elsewhere",
            tuple(map(str, broken[:20])),
        )
    if late and still_seconds > STILL_SECONDS:
        return Hold(
            f"nothing arrived on broker {broker_id} for {still_seconds:.0f} s",
            f"broker {broker_id} fetches again: check its log, its network and its disk",
            tuple(str(partition.name) for partition in late[:20]),
        )
    return None
