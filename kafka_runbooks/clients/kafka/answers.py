"""From Kafka's answers, as kafka-python decodes them, to models. No connection, no decision."""

import base64
import uuid
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import Any, NamedTuple

from kafka.errors import NoError, NotControllerError, TopicAuthorizationFailedError, for_code
from kafka.protocol.metadata import MetadataResponse

from kafka_runbooks.clients.kafka.metadata import Decoded, Topic
from kafka_runbooks.models.cluster import (
    Broker,
    LogDirectory,
    MetadataQuorum,
    Partition,
    QuorumReplica,
    Reassignment,
    Replica,
    TopicPartition,
)
from kafka_runbooks.models.features import BrokerFeatures

NO_ID = uuid.UUID(int=0)
"""A topic's id in ZooKeeper mode before Kafka 2.8; the directory id of a voter in a static quorum."""


class Metadata(NamedTuple):
    """One broker's answer."""

    answered_by: int
    cluster_id: str
    controller_id: int | None
    brokers: tuple[Broker, ...]
    partitions: tuple[Partition, ...]
    topic_ids: dict[str, str]


def metadata(answer: Any, answered_by: int) -> Metadata:
    """Brokers and partitions. A topic that is being deleted or isn't ready has none.

    Args:
        answer: kafka-python's, or `Decoded`.
        answered_by: the broker.
    """
    head = answer.head if isinstance(answer, Decoded) else answer
    topics = answer.topics if isinstance(answer, Decoded) else [_topic(topic) for topic in answer.topics]
    topics = sorted((topic for topic in topics if for_code(topic.error_code) is NoError), key=lambda topic: topic.name)
    return Metadata(
        answered_by=answered_by,
        cluster_id=head.cluster_id or "",
        controller_id=head.controller_id if head.controller_id >= 0 else None,
        brokers=tuple(
            Broker(id=broker.node_id, host=broker.host, port=broker.port, rack=broker.rack)
            for broker in sorted(head.brokers, key=lambda broker: int(broker.node_id))
        ),
        partitions=tuple(partition for topic in topics for partition in topic.partitions),
        topic_ids={topic.name: printed(topic.topic_id) for topic in topics if topic.topic_id not in (None, NO_ID)},
    )


def not_controller(items: Iterable[Any]) -> int:
    """The error code of a broker that doesn't pass a request on to the controller, by its items; others are each item's own.

    In ZooKeeper mode brokers don't: there `KafkaApis` answers NOT_CONTROLLER for each topic.
    """
    return next((int(item.error_code) for item in items if for_code(item.error_code) is NotControllerError), 0)


def metadata_error(answer: Any) -> int:
    """The error code of an answer to Metadata: its own, or that of a topic which may not be described."""
    refused = TopicAuthorizationFailedError.errno
    return int(getattr(answer, "error_code", 0) or next((refused for one in answer.topics if one.error_code == refused), 0))


def _topic(found: Any) -> Topic:
    partitions = [
        Partition(
            topic=found.name,
            partition=one.partition_index,
            leader=one.leader_id if one.leader_id >= 0 else None,
            replicas=tuple(one.replica_nodes),
            in_sync=tuple(one.isr_nodes),
            offline=tuple(one.offline_replicas or ()),
        )
        for one in found.partitions
    ]
    return Topic(found.error_code, found.name, found.topic_id, sorted(partitions))


def printed(found: uuid.UUID) -> str:
    """A topic's or directory's id as Kafka's tools print it: base64 with the URL alphabet, without padding."""
    return base64.urlsafe_b64encode(found.bytes).decode().rstrip("=")


def id_of(text: str) -> uuid.UUID:
    """The id that is printed so."""
    return uuid.UUID(bytes=base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))


def brokers_only(answer: Any) -> Any:
    """The answer without its topics."""
    return MetadataResponse(
        version=answer.API_VERSION,
        brokers=answer.brokers,
        cluster_id=answer.cluster_id,
        controller_id=answer.controller_id,
        topics=[],
    )


def fenced_brokers(answer: Any) -> tuple[Broker, ...]:
    return tuple(
        Broker(id=broker.broker_id, host=broker.host, port=broker.port, rack=broker.rack)
        for broker in sorted(answer.brokers, key=lambda broker: int(broker.broker_id))
        if broker.is_fenced
    )


def quorum_error(answer: Any) -> int:
    """The error code of an answer to DescribeQuorum: its own, or its only partition's."""
    if answer.error_code:
        return int(answer.error_code)
    return next((int(one.error_code) for topic in answer.topics for one in topic.partitions), 0)


def quorum(answer: Any) -> MetadataQuorum:
    (topic,) = answer.topics
    (log,) = topic.partitions
    return MetadataQuorum(
        leader_id=log.leader_id,
        leader_epoch=log.leader_epoch,
        high_watermark=log.high_watermark,
        voters=tuple(_quorum_replica(one) for one in log.current_voters),
        observers=tuple(_quorum_replica(one) for one in log.observers),
    )


def controller_addresses(answer: Any) -> dict[int, tuple[str, str, int]]:
    """Node ID of each voter -> name, host and port of its first listener, which all nodes connect to."""
    return {
        node.node_id: (node.listeners[0].name, node.listeners[0].host, node.listeners[0].port)
        for node in getattr(answer, "nodes", None) or ()
        if node.listeners
    }


def _quorum_replica(found: Any) -> QuorumReplica:
    directory = getattr(found, "replica_directory_id", None)
    return QuorumReplica(
        id=found.replica_id,
        log_end_offset=found.log_end_offset,
        directory_id=None if directory in (None, NO_ID) else printed(directory),
        last_fetch_at=_moment(found.last_fetch_timestamp),
        last_caught_up_at=_moment(found.last_caught_up_timestamp),
    )


def _moment(timestamp_ms: int | None) -> datetime | None:
    return None if timestamp_ms is None or timestamp_ms < 0 else datetime.fromtimestamp(timestamp_ms / 1000, UTC)


def log_directories(broker_id: int, answer: Any) -> tuple[dict[Replica, int], tuple[LogDirectory, ...]]:
    """Bytes by replica (one that is being moved between two directories counts with the larger), and the directories."""
    sizes: dict[Replica, int] = {}
    directories = []
    for directory in answer.results:
        error = for_code(directory.error_code)
        found = list(_replicas(broker_id, directory))
        for name, size_bytes in found:
            sizes[name] = max(sizes.get(name, 0), size_bytes)
        directories.append(
            LogDirectory(
                path=directory.log_dir,
                error=None if error is NoError else error.__name__,
                total_bytes=_known(directory, "total_bytes"),
                usable_bytes=_known(directory, "usable_bytes"),
                used_bytes=sum(size_bytes for _, size_bytes in found),
                replicas=len(found),
                is_cordoned=bool(getattr(directory, "is_cordoned", False)),
            )
        )
    return sizes, tuple(directories)


def _replicas(broker_id: int, directory: Any) -> Iterator[tuple[Replica, int]]:
    for topic in directory.topics:
        for partition in topic.partitions:
            yield Replica(topic.name, partition.partition_index, broker_id), partition.partition_size


def _known(directory: Any, field: str) -> int | None:
    value = getattr(directory, field, None)
    return None if value is None or value < 0 or directory.error_code else int(value)


def features(answer: Any) -> BrokerFeatures:
    return BrokerFeatures(
        supported={one.name: (one.min_version, one.max_version) for one in answer.supported_features or ()},
        finalised={one.name: one.max_version_level for one in answer.finalized_features or ()},
    )


def reassignments(answer: Any) -> tuple[Reassignment, ...]:
    found = {
        TopicPartition(topic.name, one.partition_index): Reassignment(
            topic=topic.name,
            partition=one.partition_index,
            replicas=tuple(one.replicas),
            adding=tuple(one.adding_replicas),
            removing=tuple(one.removing_replicas),
        )
        for topic in answer.topics
        for one in topic.partitions
    }
    return tuple(found[name] for name in sorted(found))
