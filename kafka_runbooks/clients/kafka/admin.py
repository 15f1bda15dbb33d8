"""`KafkaAdmin`: the `Kafka` Protocol, each call by the library that can do it."""

import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import NamedTuple

from confluent_kafka import ElectionType
from kafka.admin import ConfigResourceType

from kafka_runbooks.clients.errors import ClientError, Refused, Unreachable
from kafka_runbooks.clients.kafka.answers import Metadata
from kafka_runbooks.clients.kafka.configs import Configs, until
from kafka_runbooks.clients.kafka.confluent import ConfluentAdmin
from kafka_runbooks.clients.kafka.kafka_python import KafkaPythonAdmin
from kafka_runbooks.clients.kafka.tls import NodeStores
from kafka_runbooks.clients.kafka.topics import Topics
from kafka_runbooks.clients.security import acls
from kafka_runbooks.clients.security.connection import Connection
from kafka_runbooks.clients.security.settings import Security
from kafka_runbooks.models.certificates import Stores
from kafka_runbooks.models.cluster import (
    BrokerConfig,
    BrokerRates,
    ClusterSnapshot,
    ControllerEndpoint,
    LogDirectory,
    MetadataQuorum,
    Reassignment,
    Replica,
    ReplicaSizes,
    ThrottledReplicas,
    ThrottleRates,
    TopicPartition,
)
from kafka_runbooks.models.features import BrokerFeatures
from kafka_runbooks.models.rights import Acl
from kafka_runbooks.models.topic_changes import NewPartitions, NewTopic
from kafka_runbooks.models.topics import TopicConfigs, ValidatedConfigs

LEADER_RATE = "leader.replication.throttled.rate"
FOLLOWER_RATE = "follower.replication.throttled.rate"
RATES = (LEADER_RATE, FOLLOWER_RATE)
LEADER_REPLICAS = "leader.replication.throttled.replicas"
FOLLOWER_REPLICAS = "follower.replication.throttled.replicas"
MINIMUM_IN_SYNC = "min.insync.replicas"
CORDONED_LOG_DIRECTORIES = "cordoned.log.dirs"

APPLY_TIMEOUT_SECONDS = 5.0
"""How long a change may take to show on the brokers."""
APPLY_POLL_SECONDS = 0.05
LAST_TOPICS = 3
"""Of those whose lists were changed; several, for one may be gone or changed by someone else meanwhile."""


class _Minimum(NamedTuple):
    """A topic's `min.insync.replicas`, and when it was asked for."""

    topic_id: str | None
    value: int
    asked_at: float


class KafkaAdmin:
    """`protocols.Kafka` for one cluster; may be used by several threads. Clients are opened on first use and kept."""

    def __init__(self, bootstrap_servers: str, security: Security | None = None) -> None:
        connection = Connection(bootstrap_servers, security)
        self._confluent = ConfluentAdmin(connection)
        self._kafka_python = KafkaPythonAdmin(connection)
        self._configs = Configs(self._kafka_python)
        self._topics = Topics(self._kafka_python)
        self._stores = NodeStores(self._kafka_python, connection)
        self._known_minimum: dict[str, _Minimum] = {}

    def snapshot(self, topics: Collection[str] | None = None, *, minimum_in_sync_seconds: float = 0.0) -> ClusterSnapshot:
        found = self._kafka_python.metadata(topics)
        return ClusterSnapshot(
            cluster_id=found.cluster_id,
            controller_id=found.controller_id,
            brokers=found.brokers,
            fenced_brokers=() if topics is not None else self._kafka_python.fenced_brokers(found.answered_by),
            partitions=found.partitions,
            minimum_in_sync=self._minimum_in_sync(found, minimum_in_sync_seconds),
            topic_ids=found.topic_ids,
            answered_by=found.answered_by,
        )

    def _minimum_in_sync(self, found: Metadata, at_most_seconds: float) -> dict[str, int]:
        """Of each topic; those that are known for longer, or of another topic under the same name, are asked for."""
        now, ids = time.monotonic(), found.topic_ids
        topics = dict.fromkeys(partition.topic for partition in found.partitions)
        known = {topic: one for topic in topics if (one := self._known_minimum.get(topic)) and one.topic_id == ids.get(topic)}
        asked = [topic for topic in topics if topic not in known or now - known[topic].asked_at >= at_most_seconds]
        for topic, values in self._configs.of_topics(asked, [MINIMUM_IN_SYNC]).items():
            if (value := values.get(MINIMUM_IN_SYNC)) is not None:
                known[topic] = _Minimum(ids.get(topic), int(value), now)
        self._known_minimum.update(known)
        return {topic: one.value for topic, one in known.items()}

    def metadata_quorum(self, asked: Collection[int] = ()) -> MetadataQuorum | None:
        return self._kafka_python.metadata_quorum(asked)

    def replica_sizes(self, broker_ids: Iterable[int]) -> ReplicaSizes:
        return self._sizes(dict.fromkeys(sorted(set(broker_ids))))

    def sizes_of(self, replicas: Iterable[Replica]) -> ReplicaSizes:
        wanted: dict[int, dict[str, list[int]]] = {}
        for topic, partition, broker_id in sorted(set(replicas)):
            wanted.setdefault(broker_id, {}).setdefault(topic, []).append(partition)
        return self._sizes(wanted)

    def _sizes(self, wanted: Mapping[int, Mapping[str, Sequence[int]] | None]) -> ReplicaSizes:
        """Of some brokers the partitions of topics, or (None) all."""

        answers = self._kafka_python.log_directories(wanted)
        sizes: dict[Replica, int] = {}
        for found, _ in answers.values():
            sizes.update(found)
        directories = {broker_id: found for broker_id, (_, found) in answers.items()}
        volumes = {broker_id: _volumes(found) for broker_id, found in directories.items()}
        return ReplicaSizes.model_construct(  # Checking every replica would cost more than asking for it.
            size_bytes=sizes,
            unanswered_broker_ids=tuple(broker_id for broker_id in wanted if broker_id not in answers),
            total_bytes={broker_id: sum(total for total, _ in found) for broker_id, found in volumes.items() if found},
            usable_bytes={broker_id: sum(usable for _, usable in found) for broker_id, found in volumes.items() if found},
            directories=directories,
        )

    def reassignments(self) -> tuple[Reassignment, ...]:
        return self._kafka_python.reassignments()

    def alter_reassignments(self, targets: Mapping[TopicPartition, Sequence[int] | None]) -> dict[TopicPartition, str]:
        return self._kafka_python.alter_reassignments(targets)

    def elect_preferred_leaders(self, partitions: Iterable[TopicPartition]) -> dict[TopicPartition, str]:
        return self._confluent.elect_leaders(ElectionType.PREFERRED, partitions)

    def elect_unclean_leaders(self, partitions: Iterable[TopicPartition]) -> dict[TopicPartition, str]:
        return self._confluent.elect_leaders(ElectionType.UNCLEAN, partitions)

    def rates(self, broker_ids: Iterable[int]) -> dict[int, BrokerRates]:
        found = self._configs.of_brokers(broker_ids, RATES)
        return {broker_id: _both_rates(values) for broker_id, values in found.items() if isinstance(values, dict)}

    def throttle_rates(self, broker_ids: Iterable[int]) -> dict[int, ThrottleRates]:
        return {broker_id: _both_rates(values).own for broker_id, values in self._values_of(broker_ids, RATES).items()}

    def _values_of(self, broker_ids: Iterable[int], keys: Sequence[str]) -> dict[int, dict[str, BrokerConfig]]:
        """Raises for a broker that doesn't answer."""
        found = {}
        for broker_id, values in self._configs.of_brokers(broker_ids, keys).items():
            if not isinstance(values, dict):
                raise values
            found[broker_id] = values
        return found

    def set_throttle_rates(self, broker_id: int, rates: ThrottleRates) -> None:
        wanted = {LEADER_RATE: rates.leader_bytes_per_s, FOLLOWER_RATE: rates.follower_bytes_per_s}
        self._configs.alter_broker(broker_id, {key: str(value) if value is not None else None for key, value in wanted.items()})
        if not until(lambda: self.throttle_rates([broker_id])[broker_id] == rates, APPLY_TIMEOUT_SECONDS, APPLY_POLL_SECONDS):
            raise Unreachable(f"broker {broker_id} accepted new throttle rates but doesn't report them")

    def broker_configs(
        self, broker_ids: Iterable[int], names: Collection[str] | None = None
    ) -> dict[int, dict[str, BrokerConfig]]:
        found = self._configs.of_brokers(broker_ids, names)
        return {broker_id: configs for broker_id, configs in found.items() if isinstance(configs, dict)}

    def controller_configs(self, node_ids: Iterable[int], names: Collection[str]) -> dict[int, dict[str, BrokerConfig]]:
        return self._stores.of_controllers(node_ids, names)

    def set_broker_configs(self, broker_id: int | None, values: Mapping[str, str | None]) -> dict[str, str]:
        if not values:
            return {}
        refused = self._configs.alter_broker_each(broker_id, values)
        wanted = {name: value for name, value in values.items() if name not in refused}
        waiting = {broker_id} if broker_id is not None else set(self._kafka_python.known_broker_ids())

        def applied() -> bool:
            found = self._configs.of_brokers(waiting, list(wanted))
            # For all: nobody reads from one that is down or silent.
            waiting.difference_update(
                one
                for one, configs in found.items()
                if _reports(configs, wanted, is_own=broker_id is not None)
                or (broker_id is None and isinstance(configs, Unreachable))
            )
            return not waiting

        if wanted and not until(applied, APPLY_TIMEOUT_SECONDS, APPLY_POLL_SECONDS):
            raise Unreachable(
                f"broker {', '.join(map(str, sorted(waiting)))} doesn't report what it accepted: {', '.join(wanted)}"
            )
        return refused

    def tls_stores(self, node_ids: Iterable[int]) -> dict[int, tuple[Stores, ...]]:
        return self._stores.stores(node_ids)

    def refused_stores(self, node_id: int, listeners: Collection[str]) -> str | None:
        return self._stores.refused(node_id, listeners)

    def reload_stores(self, node_id: int, listeners: Collection[str]) -> None:
        self._stores.reload(node_id, listeners)

    def topic_configs(self, topics: Iterable[str]) -> TopicConfigs:
        return self._configs.set_on_topics(sorted(topics))

    def validate_topic_configs(self, sets: Sequence[Mapping[str, str]]) -> ValidatedConfigs:
        return self._configs.validate_for_topics(sets)

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

        waiting = set(self._kafka_python.known_broker_ids()) if last else set()

        def applied() -> bool:
            for broker_id, found in self._configs.of_topics_on_each(
                waiting, list(last), (LEADER_REPLICAS, FOLLOWER_REPLICAS)
            ).items():
                # Nobody reads from a broker that is down or silent.
                if isinstance(found, Unreachable) or all(
                    last[topic] == _throttled_replicas(values) for topic, values in found.items()
                ):
                    waiting.discard(broker_id)
            return not waiting

        until(applied, APPLY_TIMEOUT_SECONDS, APPLY_POLL_SECONDS)

    def create_topics(self, topics: Iterable[NewTopic], *, validate_only: bool = False) -> dict[str, str]:
        return self._topics.create(topics, validate_only=validate_only)

    def add_partitions(self, topics: Iterable[NewPartitions], *, validate_only: bool = False) -> dict[str, str]:
        return self._topics.grow(topics, validate_only=validate_only)

    def delete_topics(self, topics: Mapping[str, str]) -> dict[str, str]:
        return self._topics.delete(topics)

    def end_offsets(self, topics: Collection[str]) -> dict[str, tuple[int, ...]]:
        partitions = self._kafka_python.metadata(topics).partitions
        leaders = {one.name: one.leader for one in partitions if one.leader is not None}
        found = self._topics.end_offsets(leaders)
        by_topic: dict[str, list[int | None]] = {}
        for one in partitions:
            by_topic.setdefault(one.topic, []).append(found.get(one.name))
        return {
            topic: tuple(ends)
            for topic, offsets in by_topic.items()
            if len(ends := [o for o in offsets if o is not None]) == len(offsets)
        }

    def set_topic_configs(self, changes: Mapping[str, Mapping[str, str | None]]) -> dict[str, str]:
        return self._configs.alter_topics(changes)

    def log_directory_cordons(self, broker_ids: Iterable[int]) -> dict[int, str | None]:
        return {
            broker_id: found[CORDONED_LOG_DIRECTORIES].own or "" if CORDONED_LOG_DIRECTORIES in found else None
            for broker_id, found in self._values_of(broker_ids, (CORDONED_LOG_DIRECTORIES,)).items()
        }

    def cordon_log_directories(self, broker_id: int, directories: str) -> None:
        if self.log_directory_cordons([broker_id])[broker_id] is None:
            # It would take the setting as one of somebody's own, and go by none.
            raise Refused(f"broker {broker_id} knows no {CORDONED_LOG_DIRECTORIES} (KIP-1066, Kafka 4.3)")
        self._configs.alter_broker(broker_id, {CORDONED_LOG_DIRECTORIES: directories or None})

    def unregister_broker(self, broker_id: int) -> None:
        self._kafka_python.unregister_broker(broker_id)

    def add_voter(self, voter_id: int, directory_id: str, endpoints: Iterable[ControllerEndpoint]) -> None:
        self._kafka_python.add_voter(voter_id, directory_id, endpoints)

    def remove_voter(self, voter_id: int, directory_id: str) -> None:
        self._kafka_python.remove_voter(voter_id, directory_id)

    def features(self, broker_ids: Iterable[int]) -> dict[int, BrokerFeatures]:
        return self._kafka_python.features(broker_ids)

    def update_features(self, levels: Mapping[str, int], *, validate_only: bool = False) -> dict[str, str]:
        return self._kafka_python.update_features(levels, validate_only=validate_only) if levels else {}

    def missing_acls(self, *, makes_topics: bool = False) -> tuple[Acl, ...]:
        describe, alter, alter_configs, alter_topics = acls.WORKER
        may = {
            describe: lambda: self._kafka_python.metadata(),
            alter: lambda: self._kafka_python.update_features({}, validate_only=True),
        }
        missing = [acl for acl, ask in may.items() if _is_refused_for(acl, ask)]
        if not self._configs.may_alter(ConfigResourceType.BROKER, "", LEADER_RATE):
            missing.append(alter_configs)
        if not self._configs.may_alter(ConfigResourceType.TOPIC, acls.NO_TOPIC, LEADER_REPLICAS):
            missing.append(alter_topics)
        if makes_topics:
            missing += self._topics.missing_acls()
        return tuple(missing)

    def close(self) -> None:
        self._kafka_python.close()
        self._confluent.close()


def _is_refused_for(acl: Acl, ask: Callable[[], object]) -> bool:
    """Whether the answer is that this ACL is missing; of another refusal nothing follows for rights."""
    try:
        ask()
    except Refused as error:
        return f"the ACL {acl}" in str(error)
    return False


def _volumes(directories: Iterable[LogDirectory]) -> list[tuple[int, int]]:
    """Total and usable bytes of the volumes that a broker's online log directories are on; empty if one doesn't tell.

    Kafka doesn't say which directories share a volume. Those with the same total and the same free bytes are taken to do.
    """
    found = {(one.total_bytes, one.usable_bytes) for one in directories if not one.is_offline}
    known = [(total, usable) for total, usable in found if total is not None and usable is not None]
    return known if len(known) == len(found) else []


def _both_rates(values: Mapping[str, BrokerConfig]) -> BrokerRates:
    own = {key: value.own for key, value in values.items()}
    inherited = {key: value.in_file if value.for_all is None else value.for_all for key, value in values.items()}
    return BrokerRates(_rates(own), _rates(inherited))


def _rates(values: Mapping[str, str | None]) -> ThrottleRates:
    leader, follower = values.get(LEADER_RATE), values.get(FOLLOWER_RATE)
    return ThrottleRates(
        leader_bytes_per_s=int(leader) if leader else None, follower_bytes_per_s=int(follower) if follower else None
    )


def _reports(found: Mapping[str, BrokerConfig] | ClientError, wanted: Mapping[str, str | None], *, is_own: bool) -> bool:
    """Whether a broker has these values, set on itself or for all; what is secret can't be told.

    Before Kafka 4 some are listed only once they are set, as the rates of replication.
    """
    if isinstance(found, ClientError):
        return False
    known = {name: one.own if is_own else one.for_all for name, one in found.items()}
    told = {name: value for name, value in wanted.items() if name not in found or not found[name].is_sensitive}
    return all(known.get(name) == value for name, value in told.items())


def _throttled_replicas(values: Mapping[str, str | None]) -> ThrottledReplicas:
    return ThrottledReplicas(leader=values.get(LEADER_REPLICAS) or "", follower=values.get(FOLLOWER_REPLICAS) or "")
