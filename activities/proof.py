"""Proof before a disk is let go: the controllers' word that the metadata are new, and the brokers' own word about what they hold.

Parts of activities. `safety.freshness` judges; here the questions are asked in the order that makes the answers worth something:
the quorum before and after the metadata, so that a broker that was cut off until a moment ago is noticed, and the holders of the
copies last. In ZooKeeper mode the sessions take the quorum's place, and the controller's records that of the metadata.
"""

from collections.abc import Collection
from dataclasses import replace

from activities.errors import NotProven
from kafka_runbooks.clients.clusters import ClusterClients
from kafka_runbooks.clients.errors import Unreachable
from kafka_runbooks.clients.protocols import Kafka, ZooKeeper
from kafka_runbooks.models.cluster import ClusterSnapshot, MetadataQuorum, TopicPartition
from kafka_runbooks.models.results import Reason
from kafka_runbooks.safety import freshness

NO_ENSEMBLE = "the metadata may be old: the cluster is in ZooKeeper mode, and clusters.yaml names no zookeeper for it"


def reasons_against(clients: ClusterClients, cluster: str) -> tuple[Reason, ...]:
    """Why a runbook that lets disks go can't prove anything here; asked before it starts."""
    if clients.zookeeper is None and clients.kafka.metadata_quorum() is None:
        return (freshness.without_ensemble(cluster),)
    return under_migration(clients, cluster)


def under_migration(clients: ClusterClients, cluster: str) -> tuple[Reason, ...]:
    """Why what must not happen during a migration to KRaft can't begin: it is under way, or clusters.yaml has it so."""
    if clients.zookeeper is None or not freshness.is_migrating(clients.zookeeper.sessions()):
        return ()
    return (freshness.migrating(cluster),)


def fresh_snapshot(kafka: Kafka, zookeeper: ZooKeeper | None) -> ClusterSnapshot:
    """A snapshot that is known to be new.

    Args:
        kafka: the cluster.
        zookeeper: its ensemble; None in KRaft mode.

    Raises:
        NotProven: the controllers don't answer, or the broker that answered doesn't follow them; in ZooKeeper mode, the ensemble
            doesn't answer, or no controller is settled; or the cluster is on its way from there to KRaft.
    """
    before = _quorum(kafka)
    if before is None:
        return _recorded(kafka, zookeeper)
    if zookeeper is not None:
        # Brokers in KRaft mode follow the quorum; of those that aren't there yet it knows too little.
        raise NotProven(freshness.MIGRATING)
    snapshot = kafka.snapshot()
    asked = () if snapshot.answered_by is None else (snapshot.answered_by,)
    for quorum in (before, _quorum(kafka)):
        if not asked or quorum is None:
            raise NotProven("the metadata may be old: nobody knows which broker answered")
        if stale := freshness.stale_brokers(quorum, asked):
            raise NotProven(f"the metadata may be old: {'; '.join(stale.values())}")
    return snapshot


def newest(kafka: Kafka, zookeeper: ZooKeeper | None) -> tuple[MetadataQuorum | None, ClusterSnapshot]:
    """For what can be undone: the quorum, and the cluster as a broker knows it, or as its controller's records in ZooKeeper say.

    During a migration to KRaft only brokers that are in that mode know the quorum; before the first of them is, nobody does.

    Raises:
        NotProven: in ZooKeeper mode, no controller is settled.
    """
    quorum = kafka.metadata_quorum()
    if quorum is not None or zookeeper is None:
        return quorum, kafka.snapshot()
    sessions = zookeeper.sessions()
    if not freshness.is_migrating(sessions):
        return None, _recorded(kafka, zookeeper)
    in_kraft_mode = kafka.snapshot(()).live_broker_ids - sessions.by_id.keys()
    quorum = kafka.metadata_quorum(in_kraft_mode) if in_kraft_mode else None
    # Whom brokers call the controller is any of them.
    return quorum, replace(kafka.snapshot(), controller_id=None)


def copies_without_proof(
    kafka: Kafka, zookeeper: ZooKeeper | None, snapshot: ClusterSnapshot, without: int
) -> dict[TopicPartition, str]:
    """Partitions of this broker for which no other broker proves that it has a copy -> why.

    Args:
        kafka: the cluster.
        zookeeper: its ensemble; None in KRaft mode.
        snapshot: of `fresh_snapshot`.
        without: the broker.

    Raises:
        NotProven: the controllers, or the ensemble, don't answer.
    """
    sizes = kafka.replica_sizes(freshness.copies_to_ask(snapshot, without))
    quorum = _quorum(kafka)
    if quorum is not None:
        return freshness.unproven(
            snapshot, freshness.stale_brokers(quorum, freshness.relied_on(snapshot, without)), sizes, without
        )
    try:
        sessions = _known(zookeeper).sessions()
    except Unreachable as error:
        raise NotProven(f"nobody knows who lives: {error}") from error
    return freshness.unproven(snapshot, freshness.changed_sessions(snapshot, sessions), sizes, without)


def ensure_empty_disks(kafka: Kafka, broker_ids: Collection[int]) -> None:
    """Ask these brokers, which are up, whether anything is left on their disks, whatever the metadata say.

    Raises:
        NotProven: something is, or one of them doesn't answer.
    """
    sizes = kafka.replica_sizes(broker_ids)
    doubts = [f"broker {broker_id} doesn't answer" for broker_id in sizes.unanswered_broker_ids]
    for broker_id, directories in sorted(sizes.directories.items()):
        if left := sum(directory.replicas for directory in directories):
            doubts.append(f"broker {broker_id} still has {left} replicas on its disks")
    if doubts:
        raise NotProven("; ".join(doubts))


def _recorded(kafka: Kafka, zookeeper: ZooKeeper | None) -> ClusterSnapshot:
    """As the controller has recorded it; the look at the sessions goes around it, so that a failover in between is noticed."""
    ensemble = _known(zookeeper)
    try:
        before = ensemble.sessions()
        snapshot, states = kafka.snapshot(), ensemble.partition_states()
        after = ensemble.sessions()
    except Unreachable as error:
        raise NotProven(f"the metadata may be old: {error}") from error
    if (why := freshness.why_unsettled(before, after)) is not None:
        raise NotProven(f"the metadata may be old: {why}")
    return freshness.as_recorded(snapshot, states, before, after)


def _known(zookeeper: ZooKeeper | None) -> ZooKeeper:
    if zookeeper is None:
        raise NotProven(NO_ENSEMBLE)
    return zookeeper


def _quorum(kafka: Kafka) -> MetadataQuorum | None:
    try:
        return kafka.metadata_quorum()
    except Unreachable as error:
        raise NotProven(f"the metadata may be old: no controller answers ({error})") from error
