"""How far what brokers say can be trusted before something is let go for ever.

Three things are not the same: a replica is *in sync* in the metadata of the broker that was asked; that broker's *metadata* is
new; and the broker with the replica *answers* and has it on a log directory that works. A broker that is cut off from the
controllers goes on to answer from the metadata that it had, and where the controllers hang, all of them do. So a copy counts only
if its broker and the one that was asked follow the metadata log now, by the word of the quorum's leader, and if its broker lists
the replica on its disk.

In ZooKeeper mode nobody knows how far a broker follows: one with a live session may have old metadata too. So there the
controller's own records are read instead of any broker's metadata, and a copy counts only if its broker has had the same session
all the time, and lists the replica on its disk.
"""

from collections.abc import Collection, Iterable, Mapping
from datetime import datetime
from urllib.parse import urlsplit

from kafka_runbooks.models.cluster import (
    Broker,
    ClusterSnapshot,
    MetadataQuorum,
    Partition,
    Replica,
    ReplicaSizes,
    TopicPartition,
)
from kafka_runbooks.models.ensemble import BrokerSession, BrokerSessions, PartitionStates
from kafka_runbooks.models.results import Reason

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


def without_ensemble(cluster: str) -> Reason:
    """Nothing can be proven of a cluster in ZooKeeper mode whose ensemble isn't known."""
    return Reason(
        name="no-zookeeper",
        message=f"{cluster} is in ZooKeeper mode, and its entry in clusters.yaml names no ensemble, whose records alone prove "
        "that a disk may go",
        remedy=f"add to clusters.{cluster} in clusters.yaml: zookeeper: {{hosts: 'HOST:2181,HOST:2181,HOST:2181/CHROOT'}}, as "
        "zookeeper.connect of its brokers has it (docs/zookeeper.md)",
    )


def why_unsettled(before: BrokerSessions, after: BrokerSessions) -> str | None:
    """Why the records that were read between two looks at the sessions may be somebody else's by now; None: they hold.

    During a migration brokers that run in KRaft mode already have no session.
    """
    if after.controller_id is None:
        return "no controller is elected"
    if (before.controller_id, before.controller_epoch) != (after.controller_id, after.controller_epoch):
        return f"controller {after.controller_id} has just been elected"
    if is_migrating(after):
        return f"controller {after.controller_id} is no broker with a session: a migration to KRaft is under way"
    return None


def is_migrating(sessions: BrokerSessions) -> bool:
    """Whether KRaft controllers have taken over, and write to ZooKeeper too (KIP-866)."""
    return sessions.controller_id is not None and sessions.controller_id not in sessions.by_id


MIGRATING = "a migration to KRaft is under way; or it has ended, and clusters.yaml still names the ensemble"


def migrating(cluster: str) -> Reason:
    """What has to wait until a migration to KRaft has ended."""
    return Reason(
        name="migration-to-kraft",
        message=f"{cluster}: {MIGRATING}",
        remedy=f"go on with migrate-to-kraft, to the end; then take zookeeper out of clusters.{cluster} in clusters.yaml",
    )


def as_recorded(
    snapshot: ClusterSnapshot, states: PartitionStates, before: BrokerSessions, after: BrokerSessions
) -> ClusterSnapshot:
    """The cluster as the controller has recorded it in ZooKeeper; of a snapshot only what isn't kept there.

    Args:
        snapshot: any broker's knowledge, however old.
        states: read after a `sync`, between both looks at the sessions.
        before: an earlier look.
        after: the look that tells who lives. A broker whose session is another than before counts as live, and has no `epoch`.
    """
    live, former, known = after.by_id, before.by_id, snapshot.by_name
    failed = {name: {one for one in known[name].offline if one in live} for name in states if name in known}
    partitions = tuple(
        Partition(
            topic=name.topic,
            partition=name.partition,
            leader=state.leader if state.leader in live else None,
            replicas=state.replicas,
            in_sync=state.in_sync,
            offline=tuple(one for one in state.replicas if one not in live or one in failed.get(name, ())),
        )
        for name, state in sorted(states.items())
    )
    return ClusterSnapshot(
        cluster_id=snapshot.cluster_id,
        controller_id=after.controller_id,
        brokers=tuple(_broker(session, former.get(session.broker_id)) for session in after.brokers),
        partitions=partitions,
        minimum_in_sync=snapshot.minimum_in_sync,
        topic_ids=snapshot.topic_ids,
    )


def _broker(session: BrokerSession, before: BrokerSession | None) -> Broker:
    address = urlsplit(session.endpoints[0] if session.endpoints else "")
    return Broker(
        id=session.broker_id,
        host=address.hostname or "",
        port=address.port or 0,
        rack=session.rack,
        epoch=session.epoch if before is not None and before.epoch == session.epoch else None,
    )


def changed_sessions(snapshot: ClusterSnapshot, now: BrokerSessions) -> dict[int, str]:
    """Brokers of `as_recorded` that aren't what they were then -> why: what they say now is another process's word."""
    found = {}
    for broker in snapshot.brokers:
        session = now.by_id.get(broker.id)
        if session is None:
            found[broker.id] = f"broker {broker.id} has no session in ZooKeeper any more"
        elif session.epoch != broker.epoch:
            found[broker.id] = f"broker {broker.id} has just got another session in ZooKeeper"
    return found


def relied_on(snapshot: ClusterSnapshot, without: int) -> frozenset[int]:
    """Brokers whose metadata have to be new for a copy to count: those of `copies_to_ask`, and the one that was asked."""
    return copies_to_ask(snapshot, without) | frozenset(() if snapshot.answered_by is None else (snapshot.answered_by,))


def copies_to_ask(snapshot: ClusterSnapshot, without: int) -> frozenset[int]:
    """Brokers with a live in-sync replica of a partition that `without` has too: theirs are the copies that would be left."""
    return frozenset(
        broker_id
        for partition in snapshot.on_broker(without)
        for broker_id in partition.in_sync
        if broker_id != without and broker_id in snapshot.live_broker_ids
    )


def unproven(snapshot: ClusterSnapshot, stale: Mapping[int, str], sizes: ReplicaSizes, without: int) -> dict[TopicPartition, str]:
    """Partitions of a broker for which no other copy is proven to exist -> why none of those that the metadata names counts.

    Args:
        snapshot: the cluster now.
        stale: by `stale_brokers` of those `relied_on`, or `changed_sessions`; asked after the snapshot was taken.
        sizes: the answers of `copies_to_ask`, asked after the snapshot too.
        without: the broker whose copies are about to be let go.
    """
    from_old = stale.get(snapshot.answered_by) if snapshot.answered_by is not None else None
    found = {}
    for partition in snapshot.on_broker(without):
        why = from_old or _why_no_copy(partition, snapshot, stale, sizes, without)
        if why is not None:
            found[partition.name] = why
    return found


def _why_no_copy(
    partition: Partition, snapshot: ClusterSnapshot, stale: Mapping[int, str], sizes: ReplicaSizes, without: int
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
