"""`KafkaAdmin`: the `Kafka` Protocol, each call by the library that can do it."""

import time
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

from confluent_kafka import ElectionType

from kafka_runbooks.clients.errors import Unreachable
from kafka_runbooks.clients.kafka.confluent import ConfluentAdmin, OwnConfigs, addresses
from kafka_runbooks.clients.kafka.kafka_python import KafkaPythonAdmin, LogDirectories
from kafka_runbooks.models.cluster import (
    ClusterSnapshot,
    Partition,
    Reassignment,
    Replica,
    ReplicaSizes,
    ThrottledReplicas,
    ThrottleRates,
    TopicPartition,
)

LEADER_RATE = "leader.replication.throttled.rate"
FOLLOWER_RATE = "follower.replication.throttled.rate"
LEADER_REPLICAS = "leader.replication.throttled.replicas"
FOLLOWER_REPLICAS = "follower.replication.throttled.replicas"
MINIMUM_IN_SYNC = "min.insync.replicas"
CORDONED_LOG_DIRECTORIES = "cordoned.log.dirs"

APPLY_TIMEOUT_SECONDS = 5.0
"""How long a change may take to show on the brokers."""
APPLY_POLL_SECONDS = 0.05
BROKERS_AT_ONCE = 16


class KafkaAdmin:
    """`protocols.Kafka` for one cluster; may be used by several threads. Clients are opened on first use and kept."""

    def __init__(self, bootstrap_servers: str) -> None:
        self._confluent = ConfluentAdmin(bootstrap_servers)
        self._kafka_python = KafkaPythonAdmin(bootstrap_servers, check_reachable=self._confluent.metadata)

    def snapshot(self) -> ClusterSnapshot:
        metadata = self._confluent.metadata()
        # confluent-kafka's describe_cluster waits for a controller that may be the broker that just died.
        cluster = self._kafka_python.describe_cluster()
        partitions = (
            Partition(
                topic=topic.topic,
                partition=partition.id,
                leader=partition.leader if partition.leader >= 0 else None,
                replicas=tuple(partition.replicas),
                in_sync=tuple(partition.isrs),
            )
            for topic in metadata.topics.values()
            for partition in topic.partitions.values()
        )
        # kafka-python can ask for one key instead of all, and any broker instead of the controller.
        minimum_in_sync = self._kafka_python.topic_configs(sorted(metadata.topics), MINIMUM_IN_SYNC)
        return ClusterSnapshot(
            cluster_id=cluster.cluster_id,
            controller_id=cluster.controller_id,
            brokers=cluster.brokers,
            partitions=tuple(sorted(partitions, key=lambda partition: partition.name)),
            minimum_in_sync={topic: int(value) for topic, value in minimum_in_sync.items()},
        )

    def replica_sizes(self, broker_ids: Iterable[int]) -> ReplicaSizes:
        wanted = sorted(set(broker_ids))
        metadata = self._confluent.metadata()
        self._kafka_python.reconnect_unless_known(addresses(metadata))
        held: dict[int, dict[str, list[int]]] = {broker_id: {} for broker_id in wanted}
        for topic in metadata.topics.values():
            for partition in topic.partitions.values():
                for broker_id in held.keys() & set(partition.replicas):
                    held[broker_id].setdefault(topic.topic, []).append(partition.id)
        # In parallel: one by one, each dead broker would cost a whole timeout.
        with ThreadPoolExecutor(max(1, min(BROKERS_AT_ONCE, len(wanted)))) as threads:
            answers = dict(zip(wanted, threads.map(self._log_directories, wanted, held.values()), strict=True))
        sizes: dict[Replica, int] = {}
        disks: dict[int, tuple[int, int]] = {}
        for broker_id, answer in answers.items():
            if answer is not None:
                sizes.update(answer.size_bytes)
                if answer.disk_bytes is not None:
                    disks[broker_id] = answer.disk_bytes
        return ReplicaSizes(
            size_bytes=sizes,
            unanswered_broker_ids=tuple(broker_id for broker_id, answer in answers.items() if answer is None),
            total_bytes={broker_id: total for broker_id, (total, _) in disks.items()},
            usable_bytes={broker_id: usable for broker_id, (_, usable) in disks.items()},
        )

    def _log_directories(self, broker_id: int, partitions: Mapping[str, Sequence[int]]) -> LogDirectories | None:
        try:
            return self._kafka_python.log_directories(broker_id, partitions)
        except Unreachable:
            return None

    def reassignments(self) -> tuple[Reassignment, ...]:
        return self._kafka_python.reassignments()

    def alter_reassignments(self, targets: Mapping[TopicPartition, Sequence[int] | None]) -> dict[TopicPartition, str]:
        return self._kafka_python.alter_reassignments(targets)

    def elect_preferred_leaders(self, partitions: Iterable[TopicPartition]) -> dict[TopicPartition, str]:
        return self._confluent.elect_leaders(ElectionType.PREFERRED, partitions)

    def elect_unclean_leaders(self, partitions: Iterable[TopicPartition]) -> dict[TopicPartition, str]:
        return self._confluent.elect_leaders(ElectionType.UNCLEAN, partitions)

    def throttle_rates(self, broker_ids: Iterable[int]) -> dict[int, ThrottleRates]:
        return {broker_id: _rates(own) for broker_id, own in self._confluent.broker_configs(broker_ids).items()}

    def set_throttle_rates(self, broker_id: int, rates: ThrottleRates) -> None:
        wanted = {LEADER_RATE: rates.leader_bytes_per_s, FOLLOWER_RATE: rates.follower_bytes_per_s}
        self._confluent.alter_broker_configs(
            broker_id, {key: str(value) if value is not None else None for key, value in wanted.items()}
        )
        deadline = time.monotonic() + APPLY_TIMEOUT_SECONDS
        while self.throttle_rates([broker_id]).get(broker_id) != rates:
            if time.monotonic() > deadline:
                raise Unreachable(f"broker {broker_id} accepted new throttle rates but doesn't report them")
            time.sleep(APPLY_POLL_SECONDS)

    def throttled_replicas(self, topics: Iterable[str]) -> dict[str, ThrottledReplicas]:
        found = self._confluent.topic_configs(sorted(topics))
        return {topic: _throttled_replicas(own.values) for topic, own in found.items()}

    def set_throttled_replicas(self, lists: Mapping[str, ThrottledReplicas]) -> None:
        if lists:
            self._confluent.alter_topic_configs(
                {
                    topic: {LEADER_REPLICAS: wanted.leader or None, FOLLOWER_REPLICAS: wanted.follower or None}
                    for topic, wanted in lists.items()
                }
            )
            self._wait_until_applied(lists)

    def _wait_until_applied(self, lists: Mapping[str, ThrottledReplicas]) -> None:
        """Wait until every broker reports these lists, but not for longer than the timeout: someone else may change one.

        The controller answers before the brokers have applied a change, and the next read may ask any of them. Whoever adds to or
        removes from a list older than the one just set would bring back entries that were removed.
        """
        brokers = sorted(broker_id for broker_id, _, _ in self._kafka_python.known_brokers())
        deadline = time.monotonic() + APPLY_TIMEOUT_SECONDS
        with ThreadPoolExecutor(max(1, min(BROKERS_AT_ONCE, len(brokers)))) as threads:
            list(threads.map(lambda broker_id: self._wait_until_broker_applied(broker_id, lists, deadline), brokers))

    def _wait_until_broker_applied(self, broker_id: int, lists: Mapping[str, ThrottledReplicas], deadline: float) -> None:
        while time.monotonic() < deadline:
            try:
                found = self._kafka_python.topic_configs_on(broker_id, sorted(lists), (LEADER_REPLICAS, FOLLOWER_REPLICAS))
            except Unreachable:
                return  # Nobody reads from a broker that is down.
            if all(lists[topic] == _throttled_replicas(values) for topic, values in found.items()):
                return
            time.sleep(APPLY_POLL_SECONDS)

    def log_directory_cordons(self, broker_ids: Iterable[int]) -> dict[int, str | None]:
        return {
            broker_id: own.values.get(CORDONED_LOG_DIRECTORIES, "") if CORDONED_LOG_DIRECTORIES in own.known else None
            for broker_id, own in self._confluent.broker_configs(broker_ids).items()
        }

    def cordon_log_directories(self, broker_id: int, directories: str) -> None:
        self._confluent.alter_broker_configs(broker_id, {CORDONED_LOG_DIRECTORIES: directories or None})

    def unregister_broker(self, broker_id: int) -> None:
        self._kafka_python.unregister_broker(broker_id)

    def close(self) -> None:
        self._kafka_python.close()
        self._confluent.close()


def _rates(own: OwnConfigs) -> ThrottleRates:
    leader, follower = own.values.get(LEADER_RATE), own.values.get(FOLLOWER_RATE)
    return ThrottleRates(
        leader_bytes_per_s=int(leader) if leader else None, follower_bytes_per_s=int(follower) if follower else None
    )


def _throttled_replicas(values: Mapping[str, str | None]) -> ThrottledReplicas:
    return ThrottledReplicas(leader=values.get(LEADER_REPLICAS) or "", follower=values.get(FOLLOWER_REPLICAS) or "")
