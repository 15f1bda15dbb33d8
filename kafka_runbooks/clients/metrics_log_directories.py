"""Partitions' sizes and brokers' free bytes from the brokers themselves, where kafka-kit had to ask Datadog.

DescribeLogDirs gives the bytes of each replica (KIP-113) and, since Kafka 3.3, the usable bytes of each log directory's volume
(KIP-827).
"""

from datetime import UTC, datetime

from kafka_runbooks.clients.protocols import Kafka
from kafka_runbooks.models.cluster import TopicPartition
from kafka_runbooks.models.traffic import StorageReport


def storage(kafka: Kafka) -> StorageReport:
    """Ask every live broker. One that doesn't answer becomes a problem, and so does a partition of which no replica was seen.

    Raises:
        Unreachable: no broker answers.
    """
    seen = kafka.snapshot()
    found = kafka.replica_sizes(sorted(seen.live_broker_ids))
    sizes: dict[TopicPartition, int] = {}
    for replica, size_bytes in found.size_bytes.items():
        name = TopicPartition(replica.topic, replica.partition)
        sizes[name] = max(sizes.get(name, 0), size_bytes)
    problems = [f"broker {broker_id}: doesn't describe its log directories" for broker_id in sorted(found.unanswered_broker_ids)]
    silent = seen.live_broker_ids - found.usable_bytes.keys() - set(found.unanswered_broker_ids)
    problems += [
        f"broker {broker_id}: doesn't say its free bytes; a log directory is offline, or Kafka is older than 3.3"
        for broker_id in sorted(silent)
    ]
    unseen = sorted({partition.name for partition in seen.partitions} - sizes.keys())
    problems += [f"{name}: no live broker reports its size" for name in unseen]
    return StorageReport(
        measured_at=datetime.now(UTC), size_bytes=sizes, free_bytes=dict(found.usable_bytes), problems=tuple(problems)
    )
