"""Partitions' sizes and brokers' free bytes from the brokers themselves, where kafka-kit had to ask Datadog.

DescribeLogDirs gives the bytes of each replica (KIP-113) and, since Kafka 3.3, the usable bytes of each log directory's volume
(KIP-827). A broker whose volumes are shared by several log directories seems to have more room than it has: Kafka doesn't say
which share one.
"""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient
from kafka import KafkaAdminClient
from kafka.errors import KafkaError

from kafka_runbooks.clients.errors import Unreachable
from kafka_runbooks.models.cluster import TopicPartition
from kafka_runbooks.models.traffic import StorageReport

TIMEOUT_SECONDS = 10.0


def storage(bootstrap_servers: str) -> StorageReport:
    """Ask every live broker; one that doesn't answer becomes a problem, and so does a partition that only it holds.

    Raises:
        Unreachable: no broker answers.
    """
    try:
        metadata = AdminClient({"bootstrap.servers": bootstrap_servers, "log_level": 0}).list_topics(timeout=TIMEOUT_SECONDS)
    except KafkaException as error:
        raise Unreachable(f"Kafka {bootstrap_servers}: {error.args[0].str()}") from error
    held: dict[int, dict[str, list[int]]] = {broker_id: {} for broker_id in sorted(metadata.brokers)}
    partitions = set()
    for topic in metadata.topics.values():
        for partition in topic.partitions.values():
            partitions.add(TopicPartition(topic.topic, partition.id))
            for broker_id in held.keys() & set(partition.replicas):
                held[broker_id].setdefault(topic.topic, []).append(partition.id)
    answers = _ask(bootstrap_servers, held)
    free_bytes: dict[int, int] = {}
    sizes: dict[TopicPartition, int] = {}
    problems: list[str] = []
    for broker_id, answer in answers.items():
        free = answer if isinstance(answer, str) else _free(answer)
        if isinstance(free, str):
            problems.append(f"broker {broker_id}: {free}")
        else:
            free_bytes[broker_id] = free
        for name, size_bytes in _sizes(() if isinstance(answer, str) else answer):
            sizes[name] = max(sizes.get(name, 0), size_bytes)
    problems += [f"{name}: no live broker reports its size" for name in sorted(partitions - sizes.keys())]
    return StorageReport(measured_at=datetime.now(UTC), size_bytes=sizes, free_bytes=free_bytes, problems=tuple(problems))


def _ask(bootstrap_servers: str, held: Mapping[int, Mapping[str, Sequence[int]]]) -> dict[int, Sequence[Mapping[str, Any]] | str]:
    """Each broker's log directories, or why there are none. All at once: a dead broker costs a timeout."""
    try:
        admin = KafkaAdminClient(bootstrap_servers=bootstrap_servers.split(","), request_timeout_ms=int(TIMEOUT_SECONDS * 1000))
    except KafkaError as error:
        raise Unreachable(f"Kafka {bootstrap_servers}: {error}") from error

    def ask(broker_id: int) -> Sequence[Mapping[str, Any]] | str:
        try:
            (answer,) = admin.describe_log_dirs(dict(held[broker_id]), brokers=[broker_id])
        except (KafkaError, OSError, ValueError) as error:
            return f"doesn't describe its log directories: {error}"
        directories: Sequence[Mapping[str, Any]] = answer["log_dirs"]
        return directories

    try:
        with ThreadPoolExecutor(max(1, min(16, len(held)))) as threads:
            return dict(zip(held, threads.map(ask, held), strict=True))
    finally:
        admin.close()


def _free(directories: Sequence[Mapping[str, Any]]) -> int | str:
    free = 0
    for directory in directories:
        if directory["error_code"]:
            return f"log directory {directory['log_dir']} is offline (error {directory['error_code']})"
        if directory.get("usable_bytes", -1) < 0:
            return "doesn't say its free bytes: Kafka 3.3 and later do (KIP-827)"
        free += directory["usable_bytes"]
    return free if directories else "has no log directory"


def _sizes(directories: Sequence[Mapping[str, Any]]) -> list[tuple[TopicPartition, int]]:
    return [
        (TopicPartition(topic["name"], partition["partition_index"]), partition["partition_size"])
        for directory in directories
        for topic in directory["topics"]
        for partition in topic["partitions"]
    ]
