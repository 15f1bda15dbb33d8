"""`KafkaAdmin`: the `Kafka` Protocol, each call by the library that can do it."""

import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from confluent_kafka import ElectionType

from kafka_runbooks.clients.errors import Unreachable
from kafka_runbooks.clients.kafka.confluent import ConfluentAdmin, OwnConfigs
from kafka_runbooks.clients.kafka.kafka_python import KafkaPythonAdmin
from kafka_runbooks.models.cluster import (
    ClusterSnapshot,
    LogDirectory,
    MetadataQuorum,
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
BROKERS_AT_ONCE = 32

T = TypeVar("T")


class KafkaAdmin:
    """`protocols.Kafka` for one cluster; may be used by several threads. Clients are opened on first use and kept."""

    def __init__(self, bootstrap_servers: str) -> None:
        self._confluent = ConfluentAdmin(bootstrap_servers)
        self._kafka_python = KafkaPythonAdmin(bootstrap_servers, check_reachable=self._confluent.metadata)

    def snapshot(self) -> ClusterSnapshot:
        found = self._kafka_python.metadata()
        # One key instead of all, and from any broker: it hardly ever changes.
        minimum_in_sync = self._kafka_python.topic_configs(
            sorted({partition.topic for partition in found.partitions}), MINIMUM_IN_SYNC
        )
        return ClusterSnapshot(
            cluster_id=found.cluster_id,
            controller_id=found.controller_id,
            brokers=found.brokers,
            fenced_brokers=self._kafka_python.fenced_brokers(found.answered_by),
            partitions=found.partitions,
            minimum_in_sync={topic: int(value) for topic, value in minimum_in_sync.items()},
            topic_ids=found.topic_ids,
            answered_by=found.answered_by,
        )

    def metadata_quorum(self) -> MetadataQuorum | None:
        return self._kafka_python.metadata_quorum()

    def replica_sizes(self, broker_ids: Iterable[int]) -> ReplicaSizes:
        wanted = sorted(set(broker_ids))
        # All at once: in turn, each silent broker would cost a whole timeout.
        answers = self._at_once(self._log_directories, wanted)
        sizes: dict[Replica, int] = {}
        directories: dict[int, tuple[LogDirectory, ...]] = {}
        for broker_id, answer in answers.items():
            if answer is not None:
                sizes.update(answer[0])
                directories[broker_id] = answer[1]
        volumes = {broker_id: _volumes(found) for broker_id, found in directories.items()}
        return ReplicaSizes(
            size_bytes=sizes,
            unanswered_broker_ids=tuple(broker_id for broker_id, answer in answers.items() if answer is None),
            total_bytes={broker_id: sum(total for total, _ in found) for broker_id, found in volumes.items() if found},
            usable_bytes={broker_id: sum(usable for _, usable in found) for broker_id, found in volumes.items() if found},
            directories=directories,
        )

    def _log_directories(self, broker_id: int) -> tuple[dict[Replica, int], tuple[LogDirectory, ...]] | None:
        try:
            return self._kafka_python.log_directories(broker_id)
        except Unreachable:
            return None

    def _at_once(self, ask: Callable[[int], T], broker_ids: Collection[int]) -> dict[int, T]:
        with ThreadPoolExecutor(max(1, min(BROKERS_AT_ONCE, len(broker_ids)))) as threads:
            return dict(zip(broker_ids, threads.map(ask, broker_ids), strict=True))

    def reassignments(self) -> tuple[Reassignment, ...]:
        return self._kafka_python.reassignments()

    def alter_reassignments(self, targets: Mapping[TopicPartition, Sequence[int] | None]) -> dict[TopicPartition, str]:
        return self._kafka_python.alter_reassignments(targets)

    def elect_preferred_leaders(self, partitions: Iterable[TopicPartition]) -> dict[TopicPartition, str]:
        return self._confluent.elect_leaders(ElectionType.PREFERRED, partitions)

    def elect_unclean_leaders(self, partitions: Iterable[TopicPartition]) -> dict[TopicPartition, str]:
        return self._confluent.elect_leaders(ElectionType.UNCLEAN, partitions)

    def throttle_rates(self, broker_ids: Iterable[int]) -> dict[int, ThrottleRates]:
        return {broker_id: _rates(own.values) for broker_id, own in self._broker_configs(broker_ids).items()}

    def inherited_rates(self, broker_ids: Iterable[int]) -> dict[int, ThrottleRates]:
        def ask(broker_id: int) -> ThrottleRates:
            return _rates(self._kafka_python.inherited_broker_configs(broker_id, (LEADER_RATE, FOLLOWER_RATE)))

        return self._at_once(ask, sorted(set(broker_ids)))

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

    def set_throttled_replicas(self, lists: Mapping[str, ThrottledReplicas]) -> dict[str, str]:
        if not lists:
            return {}
        refused = self._confluent.alter_topic_configs(
            {
                topic: {LEADER_REPLICAS: wanted.leader or None, FOLLOWER_REPLICAS: wanted.follower or None}
                for topic, wanted in lists.items()
            }
        )
        self._wait_until_applied({topic: wanted for topic, wanted in lists.items() if topic not in refused})
        return refused

    def _wait_until_applied(self, lists: Mapping[str, ThrottledReplicas]) -> None:
        """Wait until every broker reports these lists, but not for longer than the timeout: someone else may change one.

        The controller answers before the brokers have applied a change, and the next read may ask any of them. Whoever adds to or
        removes from a list older than the one just set would bring back entries that were removed.
        """
        deadline = time.monotonic() + APPLY_TIMEOUT_SECONDS
        brokers = sorted(self._kafka_python.known_broker_ids())
        self._at_once(lambda broker_id: self._wait_until_broker_applied(broker_id, lists, deadline), brokers)

    def _wait_until_broker_applied(self, broker_id: int, lists: Mapping[str, ThrottledReplicas], deadline: float) -> None:
        while time.monotonic() < deadline:
            try:
                found = self._kafka_python.topic_configs_on(broker_id, sorted(lists), (LEADER_REPLICAS, FOLLOWER_REPLICAS))
            except Unreachable:
                return  # Nobody reads from a broker that is down or silent.
            if all(lists[topic] == _throttled_replicas(values) for topic, values in found.items()):
                return
            time.sleep(APPLY_POLL_SECONDS)

    def log_directory_cordons(self, broker_ids: Iterable[int]) -> dict[int, str | None]:
        return {
            broker_id: own.values.get(CORDONED_LOG_DIRECTORIES, "") if CORDONED_LOG_DIRECTORIES in own.known else None
            for broker_id, own in self._broker_configs(broker_ids).items()
        }

    def _broker_configs(self, broker_ids: Iterable[int]) -> dict[int, OwnConfigs]:
        return self._at_once(self._confluent.broker_config, sorted(set(broker_ids)))

    def cordon_log_directories(self, broker_id: int, directories: str) -> None:
        self._confluent.alter_broker_configs(broker_id, {CORDONED_LOG_DIRECTORIES: directories or None})

    def unregister_broker(self, broker_id: int) -> None:
        self._kafka_python.unregister_broker(broker_id)

    def close(self) -> None:
        self._kafka_python.close()
        self._confluent.close()


def _volumes(directories: Iterable[LogDirectory]) -> list[tuple[int, int]]:
    """Total and usable bytes of the volumes that a broker's online log directories are on; empty if one doesn't tell.

    Kafka doesn't say which directories share a volume. Those with the same total and the same free bytes are taken to do.
    """
    found = {(one.total_bytes, one.usable_bytes) for one in directories if not one.is_offline}
    known = [(total, usable) for total, usable in found if total is not None and usable is not None]
    return known if len(known) == len(found) else []


def _rates(values: Mapping[str, str]) -> ThrottleRates:
    leader, follower = values.get(LEADER_RATE), values.get(FOLLOWER_RATE)
    return ThrottleRates(
        leader_bytes_per_s=int(leader) if leader else None, follower_bytes_per_s=int(follower) if follower else None
    )


def _throttled_replicas(values: Mapping[str, str | None]) -> ThrottledReplicas:
    return ThrottledReplicas(leader=values.get(LEADER_REPLICAS) or "", follower=values.get(FOLLOWER_REPLICAS) or "")
