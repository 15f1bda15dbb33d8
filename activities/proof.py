"""Proof before a disk is let go: the quorum's word that the metadata are new, and the brokers' own word about what they hold.

Parts of activities. `safety.freshness` judges; here the questions are asked in the order that makes the answers worth something:
the quorum before and after the metadata, so that a broker that was cut off until a moment ago is noticed, and the holders of the
copies last.
"""

from collections.abc import Collection

from activities.errors import NotProven
from kafka_runbooks.clients.errors import Unreachable
from kafka_runbooks.clients.protocols import Kafka
from kafka_runbooks.models.cluster import ClusterSnapshot, MetadataQuorum, TopicPartition
from kafka_runbooks.safety import freshness


def fresh_snapshot(kafka: Kafka) -> ClusterSnapshot:
    """A snapshot that is known to be new.

    Raises:
        NotProven: the controllers don't answer, or the broker that answered doesn't follow them.
    """
    before = _quorum(kafka)
    snapshot = kafka.snapshot()
    asked = () if snapshot.answered_by is None else (snapshot.answered_by,)
    for quorum in (before, _quorum(kafka)):
        if quorum is None:
            continue  # ZooKeeper mode: only the brokers' own word can be had
        if not asked:
            raise NotProven("the metadata may be old: nobody knows which broker answered")
        if stale := freshness.stale_brokers(quorum, asked):
            raise NotProven(f"the metadata may be old: {'; '.join(stale.values())}")
    return snapshot


def copies_without_proof(kafka: Kafka, snapshot: ClusterSnapshot, without: int) -> dict[TopicPartition, str]:
    """Partitions of this broker for which no other broker proves that it has a copy -> why.

    Raises:
        NotProven: the controllers don't answer.
    """
    sizes = kafka.replica_sizes(freshness.copies_to_ask(snapshot, without))
    return freshness.unproven(snapshot, _quorum(kafka), sizes, without)


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


def _quorum(kafka: Kafka) -> MetadataQuorum | None:
    try:
        return kafka.metadata_quorum()
    except Unreachable as error:
        raise NotProven(f"the metadata may be old: no controller answers ({error})") from error
