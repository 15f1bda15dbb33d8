"""Kafka's admin interface, from two libraries: each has calls that the other lacks.

confluent-kafka has configurations, elections and metadata; kafka-python has partition reassignments and DescribeLogDirs. Both
are opened when first needed and kept: an AdminClient that is garbage collected fails its own futures. Every call is bounded.
"""

import itertools
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

from confluent_kafka import ElectionType, KafkaError, KafkaException
from confluent_kafka import TopicPartition as ConfluentPartition
from confluent_kafka.admin import (
    AdminClient,
    AlterConfigOpType,
    ClusterMetadata,
    ConfigEntry,
    ConfigResource,
    ConfigSource,
    ResourceType,
)
from kafka import KafkaAdminClient
from kafka.admin import ConfigResource as PythonConfigResource
from kafka.admin import ConfigResourceType
from kafka.errors import BrokerIdNotRegisteredError, NoError, NoReassignmentInProgressError, for_code
from kafka.errors import KafkaError as PythonKafkaError
from kafka.structs import TopicPartition as PythonPartition
from tenacity import Retrying, retry_if_exception_type, stop_after_attempt

from kafka_runbooks.clients.errors import Refused, Unreachable
from kafka_runbooks.clients.messages import UnregisterBrokerRequest
from kafka_runbooks.models.cluster import (
    Broker,
    ClusterSnapshot,
    Partition,
    Reassignment,
    Replica,
    ReplicaSizes,
    ThrottledReplicas,
    ThrottleRates,
    TopicPartition,
)

TIMEOUT_SECONDS = 15.0
BROKER_TIMEOUT_SECONDS = 5.0
"""For what one broker answers: a dead one is noticed soon."""
SOCKET_TIMEOUT_MS = 4_000
"""Less than that: librdkafka drops a broker that hangs before our call gives up, and so the next try asks another one."""
METADATA_ATTEMPTS = 3

TOPICS_A_CALL = 200
LEADER_RATE = "leader.replication.throttled.rate"
FOLLOWER_RATE = "follower.replication.throttled.rate"
LEADER_REPLICAS = "leader.replication.throttled.replicas"
FOLLOWER_REPLICAS = "follower.replication.throttled.replicas"
MINIMUM_IN_SYNC = "min.insync.replicas"
CORDONED_LOG_DIRECTORIES = "cordoned.log.dirs"

REFUSALS = {
    KafkaError.CLUSTER_AUTHORIZATION_FAILED,
    KafkaError.TOPIC_AUTHORIZATION_FAILED,
    KafkaError.INVALID_CONFIG,
    KafkaError.INVALID_REQUEST,
    KafkaError.POLICY_VIOLATION,
}


class KafkaAdmin:
    """`protocols.Kafka` for one cluster; may be used by several threads."""

    def __init__(self, bootstrap_servers: str) -> None:
        self._bootstrap_servers = bootstrap_servers
        self._lock = threading.Lock()
        self._python_lock = threading.Lock()
        self._admin: AdminClient | None = None
        self._python: KafkaAdminClient | None = None

    def snapshot(self) -> ClusterSnapshot:
        metadata = self._metadata()
        # confluent-kafka's describe_cluster waits for a controller that may be the broker that just died; any broker knows racks.
        with self._asked_python("describe cluster") as python:
            described = python.describe_cluster()
        partitions = tuple(
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
        return ClusterSnapshot(
            cluster_id=described["cluster_id"] or "",
            controller_id=described["controller_id"] if described["controller_id"] >= 0 else None,
            brokers=tuple(
                Broker(id=node["broker_id"], host=node["host"], port=node["port"], rack=node["rack"])
                for node in sorted(described["brokers"], key=lambda node: int(node["broker_id"]))
                if not node.get("is_fenced", False)
            ),
            partitions=tuple(sorted(partitions, key=lambda partition: partition.name)),
            minimum_in_sync=self._minimum_in_sync(sorted(metadata.topics)),
        )

    def _minimum_in_sync(self, topics: Sequence[str]) -> dict[str, int]:
        """By kafka-python: it can ask for one key of each topic instead of all, and any broker instead of the controller."""
        minimum: dict[str, int] = {}
        for start in range(0, len(topics), TOPICS_A_CALL):
            asked = [
                PythonConfigResource(ConfigResourceType.TOPIC, topic, configs=[MINIMUM_IN_SYNC])
                for topic in topics[start : start + TOPICS_A_CALL]
            ]
            with self._asked_python("describe configs") as python:
                found = python.describe_configs(asked, config_filter="all")
            for topic, entries in found.get("topic", {}).items():
                if MINIMUM_IN_SYNC in entries:
                    minimum[topic] = int(entries[MINIMUM_IN_SYNC]["value"])
        return minimum

    def replica_sizes(self, broker_ids: Iterable[int]) -> ReplicaSizes:
        wanted = sorted(set(broker_ids))
        sizes: dict[Replica, int] = {}
        disks: dict[int, tuple[int, int]] = {}
        unanswered = []
        metadata = self._metadata()
        self._forget_python_unless_it_knows(addresses(metadata))
        held: dict[int, dict[str, list[int]]] = {broker_id: {} for broker_id in wanted}
        for topic in metadata.topics.values():
            for partition in topic.partitions.values():
                for broker_id in held.keys() & set(partition.replicas):
                    held[broker_id].setdefault(topic.topic, []).append(partition.id)
        # All at once: each dead broker would cost a whole timeout, one after the other.
        with ThreadPoolExecutor(max(1, min(16, len(wanted)))) as threads:
            for broker_id, found in zip(wanted, threads.map(self._log_directories, wanted, held.values()), strict=True):
                if found is None:
                    unanswered.append(broker_id)
                else:
                    sizes.update(_sizes(broker_id, found))
                    disks.update(_disks(broker_id, found))
        return ReplicaSizes(
            size_bytes=sizes,
            unanswered_broker_ids=tuple(unanswered),
            total_bytes={broker_id: total for broker_id, (total, _) in disks.items()},
            usable_bytes={broker_id: usable for broker_id, (_, usable) in disks.items()},
        )

    def _log_directories(self, broker_id: int, partitions: Mapping[str, Sequence[int]]) -> Sequence[Mapping[str, Any]] | None:
        """DescribeLogDirs of one broker, or None where it doesn't answer. The client stays: its other brokers are fine.

        Without `partitions` kafka-python would first ask any broker, the dead one too, for all that there are.
        """
        try:
            found: Sequence[Mapping[str, Any]] = self._kafka_python().describe_log_dirs(dict(partitions), brokers=[broker_id])
        except (PythonKafkaError, Unreachable, OSError):
            return None
        return found

    def reassignments(self) -> tuple[Reassignment, ...]:
        with self._asked_python("list reassignments") as python:
            found = python.list_partition_reassignments()
        return tuple(
            Reassignment(
                topic=name.topic,
                partition=name.partition,
                replicas=tuple(state["replicas"]),
                adding=tuple(state["adding_replicas"]),
                removing=tuple(state["removing_replicas"]),
            )
            for name, state in sorted(found.items())
        )

    def alter_reassignments(self, targets: Mapping[TopicPartition, Sequence[int] | None]) -> dict[TopicPartition, str]:
        refused: dict[TopicPartition, str] = {}
        asked = {PythonPartition(*name): list(target) if target is not None else None for name, target in targets.items()}
        with self._asked_python("alter reassignments") as python:
            answer = python.alter_partition_reassignments(asked)
        for name, error in answer.items():
            ours = TopicPartition(name.topic, name.partition)
            if error is not None and not (targets[ours] is None and error is NoReassignmentInProgressError):
                refused[ours] = error.__name__
        return refused

    def elect_preferred_leaders(self, partitions: Iterable[TopicPartition]) -> dict[TopicPartition, str]:
        return self._elect(ElectionType.PREFERRED, partitions)

    def elect_unclean_leaders(self, partitions: Iterable[TopicPartition]) -> dict[TopicPartition, str]:
        return self._elect(ElectionType.UNCLEAN, partitions)

    def _elect(self, kind: ElectionType, partitions: Iterable[TopicPartition]) -> dict[TopicPartition, str]:
        asked = [ConfluentPartition(*name) for name in partitions]
        if not asked:
            return {}
        with mapped(f"elect {kind.name.lower()} leaders"):
            future = self._for_controller().elect_leaders(kind, asked)
            answers = future.result(2 * TIMEOUT_SECONDS)
        return {
            TopicPartition(name.topic, name.partition): error.str()
            for name, error in answers.items()
            if error is not None and error.code() != KafkaError.ELECTION_NOT_NEEDED
        }

    def throttle_rates(self, broker_ids: Iterable[int]) -> dict[int, ThrottleRates]:
        found = self._configs(ResourceType.BROKER, [str(broker_id) for broker_id in broker_ids], BROKER_TIMEOUT_SECONDS)
        return {int(broker): ThrottleRates(**_rates(entries)) for broker, entries in found.items()}

    def set_throttle_rates(self, broker_id: int, rates: ThrottleRates) -> None:
        wanted = {LEADER_RATE: rates.leader_bytes_per_s, FOLLOWER_RATE: rates.follower_bytes_per_s}
        changes = {key: str(value) if value is not None else None for key, value in wanted.items()}
        self._set(ResourceType.BROKER, {str(broker_id): changes}, BROKER_TIMEOUT_SECONDS)
        for _ in range(20):
            if self.throttle_rates([broker_id]).get(broker_id) == rates:
                return
            threading.Event().wait(0.25)
        raise Unreachable(f"broker {broker_id} took new throttle rates but doesn't report them")

    def throttled_replicas(self, topics: Iterable[str]) -> dict[str, ThrottledReplicas]:
        found = self._configs(ResourceType.TOPIC, sorted(topics))
        return {
            topic: ThrottledReplicas(leader=_own(entries, LEADER_REPLICAS), follower=_own(entries, FOLLOWER_REPLICAS))
            for topic, entries in found.items()
        }

    def set_throttled_replicas(self, lists: Mapping[str, ThrottledReplicas]) -> None:
        changes = {
            topic: {LEADER_REPLICAS: wanted.leader or None, FOLLOWER_REPLICAS: wanted.follower or None}
            for topic, wanted in lists.items()
        }
        if changes:
            self._set(ResourceType.TOPIC, changes, TIMEOUT_SECONDS, skip_unknown=True)
            self._wait_until_told(lists)

    def _wait_until_told(self, lists: Mapping[str, ThrottledReplicas]) -> None:
        """Wait until every broker reports these lists.

        The controller answers before the brokers have applied a change, and the next reader asks any of them: who adds to, or
        takes from, a list that is older than what he has set himself brings back what he had taken away. Not for ever: somebody
        else may change a list meanwhile.
        """
        with self._asked_python("describe configs") as python:
            brokers = [broker.node_id for broker in python._manager.cluster.brokers()]
        deadline = time.monotonic() + BROKER_TIMEOUT_SECONDS
        with ThreadPoolExecutor(max(1, min(16, len(brokers)))) as threads:
            list(threads.map(lambda broker_id: self._wait_until_broker_tells(broker_id, lists, deadline), brokers))

    def _wait_until_broker_tells(self, broker_id: int, lists: Mapping[str, ThrottledReplicas], deadline: float) -> None:
        asked = [
            PythonConfigResource(ConfigResourceType.TOPIC, topic, configs=[LEADER_REPLICAS, FOLLOWER_REPLICAS])
            for topic in sorted(lists)
        ]
        while time.monotonic() < deadline:
            try:
                python = self._kafka_python()
                request = python._describe_configs_request(asked, False)
                answer = python._manager.run(python._manager.send, request, broker_id)
                found = python._describe_configs_process_responses([answer], "all").get("topic", {})
            except (PythonKafkaError, Unreachable, OSError):
                return  # It is down, or a topic is gone: nobody reads from it.
            told = {
                topic: ThrottledReplicas(
                    leader=(entries.get(LEADER_REPLICAS) or {}).get("value") or "",
                    follower=(entries.get(FOLLOWER_REPLICAS) or {}).get("value") or "",
                )
                for topic, entries in found.items()
            }
            if all(lists[topic] == held for topic, held in told.items()):
                return
            time.sleep(0.05)

    def log_directory_cordons(self, broker_ids: Iterable[int]) -> dict[int, str | None]:
        found = self._configs(ResourceType.BROKER, [str(broker_id) for broker_id in broker_ids], BROKER_TIMEOUT_SECONDS)
        return {
            int(broker): _own(entries, CORDONED_LOG_DIRECTORIES) if CORDONED_LOG_DIRECTORIES in entries else None
            for broker, entries in found.items()
        }

    def cordon_log_directories(self, broker_id: int, directories: str) -> None:
        self._set(ResourceType.BROKER, {str(broker_id): {CORDONED_LOG_DIRECTORIES: directories or None}}, BROKER_TIMEOUT_SECONDS)

    def unregister_broker(self, broker_id: int) -> None:
        with self._asked_python(f"unregister broker {broker_id}") as python:
            answer = python._manager.run(python._manager.send, UnregisterBrokerRequest(broker_id=broker_id))
        error = for_code(answer.error_code)
        if error not in (NoError, BrokerIdNotRegisteredError):
            raise Refused(f"unregister broker {broker_id}: {error.__name__} {answer.error_message or ''}".strip())

    def close(self) -> None:
        with self._lock, self._python_lock:
            if self._python is not None:
                self._python.close()
            self._python, self._admin = None, None

    # configurations

    def _configs(
        self, kind: ResourceType, names: Sequence[str], timeout_seconds: float = TIMEOUT_SECONDS
    ) -> dict[str, Mapping[str, ConfigEntry]]:
        """Each resource's entries; a topic that is gone is left out."""
        found: dict[str, Mapping[str, ConfigEntry]] = {}
        # A broker's own configuration is asked of that broker: librdkafka takes one such resource a call.
        at_once = 1 if kind == ResourceType.BROKER else TOPICS_A_CALL
        for start in range(0, len(names), at_once):
            resources = [ConfigResource(kind, name) for name in names[start : start + at_once]]
            with mapped("describe configs"):
                admin = self._confluent() if kind == ResourceType.BROKER else self._for_controller()
                futures = admin.describe_configs(resources, request_timeout=timeout_seconds)
            for resource, future in futures.items():
                try:
                    with mapped(f"configs of {resource.name}"):
                        found[resource.name] = future.result(2 * timeout_seconds)
                except _Unknown:
                    continue
        return found

    def _set(
        self,
        kind: ResourceType,
        changes: Mapping[str, Mapping[str, str | None]],
        timeout_seconds: float,
        *,
        skip_unknown: bool = False,
    ) -> None:
        resources = [
            ConfigResource(
                kind,
                name,
                incremental_configs=[
                    ConfigEntry(
                        key,
                        value if value is not None else "",
                        incremental_operation=AlterConfigOpType.SET if value is not None else AlterConfigOpType.DELETE,
                    )
                    for key, value in entries.items()
                ],
            )
            for name, entries in changes.items()
        ]
        for start in range(0, len(resources), TOPICS_A_CALL):
            with mapped("alter configs"):
                admin = self._confluent() if kind == ResourceType.BROKER else self._for_controller()
                futures = admin.incremental_alter_configs(
                    resources[start : start + TOPICS_A_CALL], request_timeout=timeout_seconds
                )
            for resource, future in futures.items():
                try:
                    with mapped(f"configs of {resource.name}"):
                        future.result(2 * timeout_seconds)
                except _Unknown as error:
                    if not skip_unknown:
                        raise Refused(str(error)) from error

    # the two libraries

    def _confluent(self) -> AdminClient:
        with self._lock:
            if self._admin is None:
                self._admin = AdminClient(
                    {
                        "bootstrap.servers": self._bootstrap_servers,
                        "socket.timeout.ms": SOCKET_TIMEOUT_MS,
                        "client.id": "kafka-runbooks",
                    },
                )
            return self._admin

    def _metadata(self) -> ClusterMetadata:
        """From any broker. librdkafka asks one and waits; a broker that hangs is dropped then, and the next try asks another."""
        with mapped("metadata"):
            for attempt in Retrying(
                stop=stop_after_attempt(METADATA_ATTEMPTS), retry=retry_if_exception_type(KafkaException), reraise=True
            ):
                with attempt:
                    return self._confluent().list_topics(timeout=BROKER_TIMEOUT_SECONDS)
        raise AssertionError("the last attempt raises")

    def _for_controller(self) -> AdminClient:
        """For what librdkafka sends to the controller (topics' configurations, elections): it takes the one of its newest
        metadata and waits in vain when that one is gone, so the metadata is renewed first.
        """
        self._metadata()
        return self._confluent()

    @contextmanager
    def _asked_python(self, what: str) -> Iterator[Any]:
        """kafka-python for a request to the controller. It remembers whom it took for that and never asks anew when that
        broker is gone, so after an error it is dropped and the next call starts afresh.
        """
        try:
            with mapped(what):
                yield self._kafka_python()
        except Unreachable:
            self._forget_python()
            raise

    def _forget_python_unless_it_knows(self, brokers: frozenset[tuple[int, str, int]]) -> None:
        """kafka-python asks for the brokers every five minutes: one that has joined or come back since is nobody to it."""
        with self._python_lock:
            python = self._python
        if python is not None and not brokers <= {(one.node_id, one.host, one.port) for one in python._manager.cluster.brokers()}:
            self._forget_python()

    def _forget_python(self) -> None:
        with self._python_lock:
            python, self._python = self._python, None
        if python is not None:
            python.close()

    def _kafka_python(self) -> Any:
        """Its calls may come from several threads: they run on an I/O thread of its own.

        A client that finds nobody leaves that thread behind, so the other library looks first. One that asks a broker that hangs
        asks nobody else in its time: each try is given the next one.
        """
        servers = itertools.cycle(self._bootstrap_servers.split(","))
        with self._python_lock:
            if self._python is None:
                self._metadata()
                with mapped("connect"):
                    for attempt in Retrying(
                        stop=stop_after_attempt(METADATA_ATTEMPTS), retry=retry_if_exception_type(PythonKafkaError), reraise=True
                    ):
                        with attempt:
                            self._python = KafkaAdminClient(
                                bootstrap_servers=[next(servers)],
                                client_id="kafka-runbooks",
                                request_timeout_ms=10_000,
                                bootstrap_timeout_ms=int(1000 * BROKER_TIMEOUT_SECONDS),
                            )
            return self._python


def addresses(metadata: ClusterMetadata) -> frozenset[tuple[int, str, int]]:
    """Id, host and port of every broker that is up."""
    return frozenset((broker.id, broker.host, broker.port) for broker in metadata.brokers.values())


class _Unknown(Refused):
    """The topic is gone."""


@contextmanager
def mapped(what: str) -> Iterator[None]:
    """Turn the libraries' errors into ours."""
    try:
        yield
    except KafkaException as error:
        kafka_error = error.args[0]
        message = f"{what}: {kafka_error.str()}"
        if kafka_error.code() == KafkaError.UNKNOWN_TOPIC_OR_PART:
            raise _Unknown(message) from error
        if kafka_error.code() in REFUSALS:
            raise Refused(message) from error
        raise Unreachable(message) from error
    except (PythonKafkaError, TimeoutError, OSError) as error:
        raise Unreachable(f"{what}: {type(error).__name__}: {error}") from error


def _own(entries: Mapping[str, ConfigEntry], key: str) -> str:
    """A value that is set on the resource itself, not inherited."""
    entry = entries.get(key)
    own = (ConfigSource.DYNAMIC_TOPIC_CONFIG.value, ConfigSource.DYNAMIC_BROKER_CONFIG.value)
    if entry is None or entry.value is None:
        return ""
    source = entry.source.value if isinstance(entry.source, ConfigSource) else entry.source
    return entry.value if source in own else ""


def _rates(entries: Mapping[str, ConfigEntry]) -> dict[str, int | None]:
    leader, follower = _own(entries, LEADER_RATE), _own(entries, FOLLOWER_RATE)
    return {
        "leader_bytes_per_s": int(leader) if leader else None,
        "follower_bytes_per_s": int(follower) if follower else None,
    }


def _sizes(broker_id: int, answer: Sequence[Mapping[str, Any]]) -> dict[Replica, int]:
    """DescribeLogDirs' answer: a replica on the move between two log directories counts with the larger."""
    sizes: dict[Replica, int] = {}
    for broker in answer:
        for directory in broker["log_dirs"]:
            for topic in directory["topics"]:
                for partition in topic["partitions"]:
                    name = Replica(topic["name"], partition["partition_index"], broker_id)
                    sizes[name] = max(sizes.get(name, 0), partition["partition_size"])
    return sizes


def _disks(broker_id: int, answer: Sequence[Mapping[str, Any]]) -> dict[int, tuple[int, int]]:
    """The broker's (total, usable) bytes over its log directories (KIP-827); nothing where one doesn't tell or is offline.

    Directories that share a volume each count all of it: Kafka does not say which share one.
    """
    volumes = []
    for broker in answer:
        for directory in broker["log_dirs"]:
            total, usable = directory.get("total_bytes", -1), directory.get("usable_bytes", -1)
            if directory["error_code"] or total < 0 or usable < 0:
                return {}
            volumes.append((total, usable))
    return {broker_id: (sum(total for total, _ in volumes), sum(usable for _, usable in volumes))} if volumes else {}


def _space(answer: Sequence[Mapping[str, Any]]) -> tuple[int, int] | None:
    """Total and usable bytes of a broker's volumes (KIP-827), or None where it doesn't tell. Log directories on one volume, which
    have the same figures, are counted once.
    """
    volumes = {
        (directory.get("total_bytes", -1), directory.get("usable_bytes", -1))
        for broker in answer
        for directory in broker["log_dirs"]
    }
    if not volumes or any(total < 0 or usable < 0 for total, usable in volumes):
        return None
    return sum(total for total, _ in volumes), sum(usable for _, usable in volumes)
