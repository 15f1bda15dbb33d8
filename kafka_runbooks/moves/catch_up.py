"""Brokers that catch up: how much has arrived on each, and why they stand still if they do."""

from collections.abc import Collection, Iterable, Mapping, Sequence

from kafka_runbooks.models.cluster import ClusterSnapshot, Partition, Replica, ReplicaSizes, TopicPartition
from kafka_runbooks.models.moves import Copy
from kafka_runbooks.models.status import BrokerProgress
from kafka_runbooks.moves.window import Hold
from kafka_runbooks.safety.availability import listed
from kafka_runbooks.throttle.leases import down_beside

STILL_SECONDS = 60.0
"""Bytes and in-sync replicas that don't change for this long are reported, however long the copy has taken."""


def copied_to(
    broker_id: int, planned_bytes: Mapping[TopicPartition, int], assigned: Iterable[Partition], sizes: ReplicaSizes
) -> BrokerProgress:
    """Bytes of a broker's replicas that are there, and in all, as their leaders' replicas are now.

    A replica that is in sync counts as planned, for its size says nothing of what was copied. One that isn't has what its disk
    says, even where that is as much as was planned: its leader's has grown since.

    Args:
        planned_bytes: the size of each of the plan's partitions.
        assigned: those that have a replica on the broker.
    """
    there = left = partitions = in_sync = 0
    for partition in assigned:
        partitions += 1
        planned = planned_bytes.get(partition.name, 0)
        if broker_id in partition.in_sync:
            in_sync += 1
            there += planned
            continue
        on_disk = sizes.size_bytes.get(Replica(*partition.name, broker_id), 0)
        leader = None if partition.leader is None else Replica(*partition.name, partition.leader)
        whole = planned if leader is None else sizes.size_bytes.get(leader, planned)
        there += on_disk
        left += max(0, whole - on_disk)
    return BrokerProgress(
        broker_id=broker_id, done_bytes=there, total_bytes=there + left, in_sync_partitions=in_sync, partitions=partitions
    )


def acknowledged_losses(
    broker_ids: Collection[int], late: Iterable[Partition], acknowledged_risks: Collection[str]
) -> list[TopicPartition]:
    """Leaderless partitions that have no replica but on these brokers, and whose loss an operator has acknowledged.

    With KIP-966 the controller makes their last leader lead again, on its empty disk, as it is unfenced; but not always (observed
    on 4.3.1, where the replica was not yet assigned to the new disk's log directory), and it doesn't retry. Where another
    replica exists, however old, an unclean election could prefer the empty one: that decision is left to operators.

    Args:
        broker_ids: brokers that are up, on new disks.
    """
    return [
        partition.name
        for partition in late
        if partition.leader is None
        and set(partition.replicas).issubset(broker_ids)
        and f"data-loss:{partition.topic}" in acknowledged_risks
    ]


def hold(
    snapshot: ClusterSnapshot,
    broker_ids: Collection[int],
    late: Sequence[Copy],
    still_seconds: float,
    silent: Collection[int] = (),
) -> Hold | None:
    """Why the copies stand still, or why they have to be slow; None where they don't.

    Args:
        snapshot: the cluster now.
        broker_ids: the brokers that catch up.
        late: what they still have to copy.
        still_seconds: how long nothing has arrived.
        silent: brokers that are registered and gave no answer to the last question.
    """
    live, own = snapshot.live_broker_ids, set(broker_ids)
    names = _named(sorted(own - live))
    if not own & live:
        return Hold(f"{names} is not registered with the controller", f"{names} starts")
    if down := sorted(down_beside(late, live) - own):
        who = _named(down)
        shared = sum(1 for copy in late if set(down).intersection(copy.partition.replicas))
        reason = (
            f"{who} is down too, which holds replicas of {shared} of the {len(late)} partitions that are copied: "
            "their brokers go no faster than needed, but for those that can't wait"
        )
        stuck = [copy.partition.name for copy in late if not live.intersection(copy.partition.in_sync)]
        if stuck:
            reason += f"; {len(stuck)} partitions have no live source: {', '.join(map(str, stuck[:5]))}"
        return Hold(reason, f"{who} comes back", tuple(f"broker {broker}" for broker in down))
    mute = {broker for copy in late for broker in (*copy.destinations, copy.partition.leader) if broker is not None} & set(silent)
    if mute:
        who = _named(sorted(mute))
        waiting = [copy.partition.name for copy in late if mute.intersection((*copy.destinations, copy.partition.leader))]
        reason = f"{who} doesn't answer: {len(waiting)} partitions wait for it ({', '.join(map(str, waiting[:5]))})"
        return Hold(reason, f"{who} answers", tuple(map(str, waiting[:20])))
    if broken := [copy for copy in late if set(copy.destinations).intersection(copy.partition.offline)]:
        who = _named(sorted({broker for copy in broken for broker in copy.destinations if broker in copy.partition.offline}))
        found = [copy.partition.name for copy in broken]
        return Hold(
            f"a log directory of {who} is offline: {len(found)} replicas in it don't catch up ({', '.join(map(str, found[:5]))})",
            f"the disk of {who} is mended and the broker restarts, or the replicas are moved elsewhere",
            tuple(map(str, found[:20])),
        )
    if late and still_seconds > STILL_SECONDS:
        who = _named(sorted({broker for copy in late for broker in copy.destinations if broker in live}))
        return Hold(
            f"nothing arrived on {who} for {still_seconds:.0f} s",
            f"{who} fetches again: check its log, its network and its disk",
            tuple(str(copy.partition.name) for copy in late[:20]),
        )
    return None


def _named(broker_ids: Sequence[int]) -> str:
    return f"broker {listed(list(broker_ids))}"
