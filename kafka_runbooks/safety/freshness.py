"""How far what brokers say can be trusted before something is let go for ever.

Three things are not the same: a replica is *in sync* in the metadata of the broker that was asked; that broker's *metadata* is
new; and the broker with the replica *answers* and has it on a log directory that works. A broker that is cut off from the
controllers goes on to answer from the metadata that it had, and where the controllers hang, all of them do. So a copy counts only
if its broker and the one that was asked follow the metadata log now, by the word of the quorum's leader, and if its broker lists
the replica on its disk.
"""

from collections.abc import Collection, Iterable
from datetime import datetime

from kafka_runbooks.models.cluster import ClusterSnapshot, MetadataQuorum, Partition, Replica, ReplicaSizes, TopicPartition

LONGEST_LAG_SECONDS = 10.0
"""The leader appends to the metadata log twice a second, and every broker fetches at once: who is this far behind is cut off."""


def stale_brokers(quorum: MetadataQuorum, broker_ids: Collection[int]) -> dict[int, str]:
    """Those brokers whose metadata isn't known to be new -> why."""
    known, found = _caught_up_at(quorum), {}
    for broker_id in sorted(broker_ids):
        lag = _lag_seconds(known, quorum.leader_id, broker_id)
        if lag is None:
            found[broker_id] = f"the controllers' leader doesn't know how far broker {broker_id} follows"
        elif lag > LONGEST_LAG_SECONDS:
            found[broker_id] = f"broker {broker_id} has been behind the controllers for {lag:.0f} s"
    return found


def _caught_up_at(quorum: MetadataQuorum) -> dict[int, datetime]:
    """By the leader's clock.

    A broker that came back on a new disk is listed twice for some minutes, by the directories' ids (KIP-853): the newest counts.
    """
    known: dict[int, datetime] = {}
    for replica in (*quorum.observers, *quorum.voters):
        if replica.last_caught_up_at is not None:
            known[replica.id] = max(replica.last_caught_up_at, known.get(replica.id, replica.last_caught_up_at))
    return known


def _lag_seconds(known: dict[int, datetime], leader_id: int, broker_id: int) -> float | None:
    leader_at, broker_at = known.get(leader_id), known.get(broker_id)
    return None if leader_at is None or broker_at is None else max(0.0, (leader_at - broker_at).total_seconds())


def copies_to_ask(snapshot: ClusterSnapshot, without: int) -> frozenset[int]:
    """Brokers with a live in-sync replica of a partition that `without` has too: theirs are the copies that would be left."""
    return frozenset(
        broker_id
        for partition in snapshot.on_broker(without)
        for broker_id in partition.in_sync
        if broker_id != without and broker_id in snapshot.live_broker_ids
    )


def unproven(
    snapshot: ClusterSnapshot, quorum: MetadataQuorum | None, sizes: ReplicaSizes, without: int
) -> dict[TopicPartition, str]:
    """Partitions of a broker for which no other copy is proven to exist -> why none of those that the metadata names counts.

    Args:
        snapshot: the cluster now.
        quorum: as its leader describes it, asked after the snapshot was taken; None in ZooKeeper mode, where only the brokers'
            own answers can be had.
        sizes: the answers of `copies_to_ask`, asked after the snapshot too.
        without: the broker whose copies are about to be let go.
    """
    stale = {} if quorum is None else stale_brokers(quorum, copies_to_ask(snapshot, without) | _asked(snapshot))
    from_old = stale.get(snapshot.answered_by) if snapshot.answered_by is not None else None
    found = {}
    for partition in snapshot.on_broker(without):
        why = from_old or _why_no_copy(partition, snapshot, stale, sizes, without)
        if why is not None:
            found[partition.name] = why
    return found


def _asked(snapshot: ClusterSnapshot) -> frozenset[int]:
    return frozenset(() if snapshot.answered_by is None else (snapshot.answered_by,))


def _why_no_copy(
    partition: Partition, snapshot: ClusterSnapshot, stale: dict[int, str], sizes: ReplicaSizes, without: int
) -> str | None:
    """None where one copy is proven."""
    doubts = []
    for broker_id in _others(partition, without):
        if broker_id not in snapshot.live_broker_ids:
            doubts.append(f"broker {broker_id} is down")
        elif broker_id in stale:
            doubts.append(stale[broker_id])
        elif broker_id in sizes.unanswered_broker_ids:
            doubts.append(f"broker {broker_id} doesn't answer")
        elif Replica(partition.topic, partition.partition, broker_id) not in sizes.size_bytes:
            doubts.append(f"broker {broker_id} doesn't have it on a log directory that works")
        else:
            return None
    return "; ".join(doubts) or "no other replica is in sync"


def _others(partition: Partition, without: int) -> Iterable[int]:
    return (broker_id for broker_id in partition.in_sync if broker_id != without)
