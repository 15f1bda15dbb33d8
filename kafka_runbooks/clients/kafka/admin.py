"""`KafkaAdmin`: the `Kafka` Protocol, each call by the library that can do it."""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from confluent_kafka import ElectionType

from kafka_runbooks.clients.errors import ClientError, Unreachable
from kafka_runbooks.clients.kafka.configs import BrokerValues, Configs, until
from kafka_runbooks.clients.kafka.confluent import ConfluentAdmin
from kafka_runbooks.clients.kafka.kafka_python import KafkaPythonAdmin
from kafka_runbooks.models.cluster import (
    BrokerRates,
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
BROKERS_AT_ONCE = 64
LAST_TOPICS = 3
"""Of those whose lists were changed; several, for one may be gone or changed by someone else meanwhile."""

T = TypeVar("T")


class KafkaAdmin:
    """`protocols.Kafka` for one cluster; may be used by several threads. Clients are opened on first use and kept."""

    def __init__(self, bootstrap_servers: str) -> None:
        self._confluent = ConfluentAdmin(bootstrap_servers)
        self._kafka_python = KafkaPythonAdmin(bootstrap_servers, check_reachable=self._confluent.check_reachable)
        self._configs = Configs(self._kafka_python)

    def snapshot(self) -> ClusterSnapshot:
        found = self._kafka_python.metadata()
        minimum_in_sync = self._configs.of_topics(sorted({partition.topic for partition in found.partitions}), [MINIMUM_IN_SYNC])
        return ClusterSnapshot(
            cluster_id=found.cluster_id,
            controller_id=found.controller_id,
            brokers=found.brokers,
            fenced_brokers=self._kafka_python.fenced_brokers(found.answered_by),
            partitions=found.partitions,
            minimum_in_sync={
                topic: int(value)
                for topic, values in minimum_in_sync.items()
                if (value := values.get(MINIMUM_IN_SYNC)) is not None
            },
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
        return ReplicaSizes.model_construct(  # Checking every replica would cost more than asking for it.
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

    def rates(self, broker_ids: Iterable[int]) -> dict[int, BrokerRates]:
        def ask(broker_id: int) -> BrokerRates | None:
            try:
                return self._rates_of(broker_id)
            except ClientError:
                return None

        answers = self._at_once(ask, sorted(set(broker_ids)))
        return {broker_id: rates for broker_id, rates in answers.items() if rates is not None}

    def throttle_rates(self, broker_ids: Iterable[int]) -> dict[int, ThrottleRates]:
        return {broker_id: rates.own for broker_id, rates in self._at_once(self._rates_of, sorted(set(broker_ids))).items()}

    def _rates_of(self, broker_id: int) -> BrokerRates:
        found = self._configs.of_broker(broker_id, (LEADER_RATE, FOLLOWER_RATE))
        return BrokerRates(_rates(found.own), _rates(found.inherited))

    def set_throttle_rates(self, broker_id: int, rates: ThrottleRates) -> None:
        wanted = {LEADER_RATE: rates.leader_bytes_per_s, FOLLOWER_RATE: rates.follower_bytes_per_s}
        self._configs.alter_broker(broker_id, {key: str(value) if value is not None else None for key, value in wanted.items()})
        if not until(lambda: self._rates_of(broker_id).own == rates, APPLY_TIMEOUT_SECONDS, APPLY_POLL_SECONDS):
            raise Unreachable(f"broker {broker_id} accepted new throttle rates but doesn't report them")

    def throttled_replicas(self, topics: Iterable[str]) -> dict[str, ThrottledReplicas]:
        found = self._configs.of_topics(sorted(topics), (LEADER_REPLICAS, FOLLOWER_REPLICAS))
        return {topic: _throttled_replicas(values) for topic, values in found.items()}

    def set_throttled_replicas(self, lists: Mapping[str, ThrottledReplicas]) -> dict[str, str]:
        if not lists:
            return {}
        refused = self._configs.alter_topics(
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
        removes from a list older than the one just set would bring back entries that were removed. Brokers apply the metadata log
        in its order, and the topics are changed in theirs: one that has the last ones has them all.
        """
        last = {topic: lists[topic] for topic in sorted(lists)[-LAST_TOPICS:]}

        def applied(broker_id: int) -> bool:
            try:
                found = self._configs.of_topics_on(broker_id, list(last), (LEADER_REPLICAS, FOLLOWER_REPLICAS))
            except Unreachable:
                return True  # Nobody reads from a broker that is down or silent.
            return all(last[topic] == _throttled_replicas(values) for topic, values in found.items())

        def wait(broker_id: int) -> bool:
            return until(lambda: applied(broker_id), APPLY_TIMEOUT_SECONDS, APPLY_POLL_SECONDS)

        if last:
            self._at_once(wait, sorted(self._kafka_python.known_broker_ids()))

    def log_directory_cordons(self, broker_ids: Iterable[int]) -> dict[int, str | None]:
        def ask(broker_id: int) -> BrokerValues:
            return self._configs.of_broker(broker_id, (CORDONED_LOG_DIRECTORIES,))

        return {
            broker_id: found.own.get(CORDONED_LOG_DIRECTORIES, "") if CORDONED_LOG_DIRECTORIES in found.known else None
            for broker_id, found in self._at_once(ask, sorted(set(broker_ids))).items()
        }

    def cordon_log_directories(self, broker_id: int, directories: str) -> None:
        self._configs.alter_broker(broker_id, {CORDONED_LOG_DIRECTORIES: directories or None})

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
