"""What kafka-python does for us: reassignments, DescribeLogDirs, and requests that go to one chosen broker.

This is the only module that uses kafka-python's private API, listed in `PRIVATE_API`: the public client neither sends a message
of our choice (UnregisterBroker, KIP-631, which it lacks; a topic's configuration as one particular broker has it) nor shows
which brokers it knows. `pyproject.toml` bounds the version, and a test names each attribute that a new version has dropped.
"""

import itertools
import threading
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

from kafka import KafkaAdminClient
from kafka.admin import ConfigResource, ConfigResourceType
from kafka.errors import BrokerIdNotRegisteredError, KafkaError, NoError, NoReassignmentInProgressError, for_code
from kafka.protocol.admin import DescribeConfigsRequest
from kafka.protocol.api_message import ApiMessage
from kafka.structs import TopicPartition as PythonPartition
from tenacity import Retrying, retry_if_exception_type, stop_after_attempt

from kafka_runbooks.clients.errors import Refused, Unreachable
from kafka_runbooks.models.cluster import Broker, Reassignment, Replica, TopicPartition

PRIVATE_API = ("_manager.run", "_manager.send", "_manager.cluster.brokers")
"""Attributes of a `KafkaAdminClient` that are used here and are not documented."""

MESSAGES = "kafka_runbooks.clients.kafka.messages"
BOOTSTRAP_TIMEOUT_MS = 5_000
REQUEST_TIMEOUT_MS = 10_000
CONNECT_ATTEMPTS = 3
TOPICS_PER_REQUEST = 200


class UnregisterBrokerRequest(ApiMessage, load_json=MESSAGES):  # type: ignore[call-arg,misc]
    """Remove a broker from the KRaft registry. It must be down: Kafka doesn't refuse to remove a running one."""


class UnregisterBrokerResponse(ApiMessage, load_json=MESSAGES):  # type: ignore[call-arg,misc]
    """`error_code` is BROKER_ID_NOT_REGISTERED for a broker that was removed before."""


class ClusterDescription(NamedTuple):
    """The cluster and its unfenced brokers."""

    cluster_id: str
    controller_id: int | None
    brokers: tuple[Broker, ...]


class LogDirectories(NamedTuple):
    """One broker's answer to DescribeLogDirs.

    Attributes:
        size_bytes: bytes of each replica.
        disk_bytes: total and usable bytes over all log directories (KIP-827); None if one is offline or doesn't report them.
            Directories on one volume each count the whole volume, since Kafka doesn't report which ones share it.
    """

    size_bytes: dict[Replica, int]
    disk_bytes: tuple[int, int] | None


class KafkaPythonAdmin:
    """One `KafkaAdminClient`, opened on first use; several threads may call it, since it has an I/O thread of its own.

    Args:
        bootstrap_servers: `host:port,host:port`.
        check_reachable: raises `Unreachable` unless some broker answers. A `KafkaAdminClient` that can't connect leaves its I/O
            thread behind, so this is asked first.
    """

    def __init__(self, bootstrap_servers: str, check_reachable: Callable[[], object]) -> None:
        self._bootstrap_servers = bootstrap_servers
        self._check_reachable = check_reachable
        self._lock = threading.Lock()
        self._client: Any = None

    def describe_cluster(self) -> ClusterDescription:
        """Brokers with their racks, from any broker."""
        with self._asked("describe cluster") as client:
            found = client.describe_cluster()
        return ClusterDescription(
            cluster_id=found["cluster_id"] or "",
            controller_id=found["controller_id"] if found["controller_id"] >= 0 else None,
            brokers=tuple(
                Broker(id=node["broker_id"], host=node["host"], port=node["port"], rack=node["rack"])
                for node in sorted(found["brokers"], key=lambda node: int(node["broker_id"]))
                if not node.get("is_fenced", False)
            ),
        )

    def topic_configs(self, topics: Sequence[str], key: str) -> dict[str, str]:
        """One effective configuration value of each topic, from any broker; a topic that no longer exists is left out."""
        values: dict[str, str] = {}
        for start in range(0, len(topics), TOPICS_PER_REQUEST):
            resources = [
                ConfigResource(ConfigResourceType.TOPIC, topic, configs=[key])
                for topic in topics[start : start + TOPICS_PER_REQUEST]
            ]
            with self._asked("describe configs") as client:
                found = client.describe_configs(resources, config_filter="all")
            values |= {topic: entries[key]["value"] for topic, entries in found.get("topic", {}).items() if key in entries}
        return values

    def topic_configs_on(self, broker_id: int, topics: Sequence[str], keys: Sequence[str]) -> dict[str, dict[str, str | None]]:
        """Effective configuration values of each topic as this broker has them now.

        Raises:
            Unreachable: the broker is down or unknown.
        """
        resources = [(ConfigResourceType.TOPIC, topic, list(keys)) for topic in topics]
        request = DescribeConfigsRequest(resources=resources, include_synonyms=False)
        client = self._opened()
        with mapped(f"describe configs on broker {broker_id}"):
            answer = client._manager.run(client._manager.send, request, broker_id)
        return {
            result.resource_name: {config.name: config.value for config in result.configs}
            for result in answer.results
            if result.error_code == 0
        }

    def log_directories(self, broker_id: int, partitions: Mapping[str, Collection[int]]) -> LogDirectories:
        """Sizes of these partitions' replicas on one broker, and its disks.

        With no partitions given, kafka-python would first ask any broker, perhaps a dead one, for all there are.

        Raises:
            Unreachable: the broker doesn't answer. The client is kept, for its other brokers are fine.
        """
        client = self._opened()
        with mapped(f"log directories of broker {broker_id}"):
            answer = client.describe_log_dirs({topic: list(ids) for topic, ids in partitions.items()}, brokers=[broker_id])
        directories = [directory for broker in answer for directory in broker["log_dirs"]]
        return LogDirectories(_sizes(broker_id, directories), _disk_bytes(directories))

    def reassignments(self) -> tuple[Reassignment, ...]:
        """Every reassignment in progress."""
        with self._asked("list reassignments") as client:
            found = client.list_partition_reassignments()
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
        """Start (a list of broker IDs) or cancel (None) reassignments; returns the refused ones with Kafka's reason."""
        asked = {PythonPartition(*name): list(target) if target is not None else None for name, target in targets.items()}
        with self._asked("alter reassignments") as client:
            answer = client.alter_partition_reassignments(asked)
        refused: dict[TopicPartition, str] = {}
        for asked_name, error in answer.items():
            name = TopicPartition(asked_name.topic, asked_name.partition)
            if error is not None and not (targets[name] is None and error is NoReassignmentInProgressError):
                refused[name] = error.__name__
        return refused

    def unregister_broker(self, broker_id: int) -> None:
        """Remove a broker from the registry; one that isn't registered is fine.

        Raises:
            Refused: Kafka rejects it.
        """
        with self._asked(f"unregister broker {broker_id}") as client:
            answer = client._manager.run(client._manager.send, UnregisterBrokerRequest(broker_id=broker_id))
        error = for_code(answer.error_code)
        if error not in (NoError, BrokerIdNotRegisteredError):
            raise Refused(f"unregister broker {broker_id}: {error.__name__} {answer.error_message or ''}".strip())

    def known_brokers(self) -> frozenset[tuple[int, str, int]]:
        """ID, host and port of each broker in the client's cached metadata, which it refreshes every five minutes."""
        return frozenset((broker.node_id, broker.host, broker.port) for broker in self._opened()._manager.cluster.brokers())

    def reconnect_unless_known(self, brokers: frozenset[tuple[int, str, int]]) -> None:
        """Drop a client whose cached metadata lacks one of these brokers: it would fail for each that has joined or returned."""
        with self._lock:
            is_open = self._client is not None
        if is_open and not brokers <= self.known_brokers():
            self.close()

    def close(self) -> None:
        """Close the client; the next call opens another."""
        with self._lock:
            client, self._client = self._client, None
        if client is not None:
            client.close()

    @contextmanager
    def _asked(self, what: str) -> Iterator[Any]:
        """The client, for a request to the controller or to any broker; after an error it is dropped.

        It never looks for another controller once the one it remembers is gone.
        """
        try:
            with mapped(what):
                yield self._opened()
        except Unreachable:
            self.close()
            raise

    def _opened(self) -> Any:
        """The client. One bootstrap server per attempt: given several, it would spend the whole timeout on one that hangs."""
        servers = itertools.cycle(self._bootstrap_servers.split(","))
        with self._lock:
            if self._client is None:
                self._check_reachable()
                with mapped("connect"):
                    for attempt in Retrying(
                        stop=stop_after_attempt(CONNECT_ATTEMPTS), retry=retry_if_exception_type(KafkaError), reraise=True
                    ):
                        with attempt:
                            self._client = KafkaAdminClient(
                                bootstrap_servers=[next(servers)],
                                client_id="kafka-runbooks",
                                request_timeout_ms=REQUEST_TIMEOUT_MS,
                                bootstrap_timeout_ms=BOOTSTRAP_TIMEOUT_MS,
                            )
            return self._client


@contextmanager
def mapped(what: str) -> Iterator[None]:
    """Map kafka-python's errors to `clients.errors`."""
    try:
        yield
    except (KafkaError, TimeoutError, OSError) as error:
        raise Unreachable(f"{what}: {type(error).__name__}: {error}") from error


def _sizes(broker_id: int, directories: Sequence[Mapping[str, Any]]) -> dict[Replica, int]:
    """Bytes by replica; one that is being moved between two log directories counts with the larger."""
    sizes: dict[Replica, int] = {}
    for directory in directories:
        for topic in directory["topics"]:
            for partition in topic["partitions"]:
                name = Replica(topic["name"], partition["partition_index"], broker_id)
                sizes[name] = max(sizes.get(name, 0), partition["partition_size"])
    return sizes


def _disk_bytes(directories: Sequence[Mapping[str, Any]]) -> tuple[int, int] | None:
    volumes = [(directory.get("total_bytes", -1), directory.get("usable_bytes", -1)) for directory in directories]
    is_offline = any(directory["error_code"] for directory in directories)
    if not volumes or is_offline or any(total < 0 or usable < 0 for total, usable in volumes):
        return None
    return sum(total for total, _ in volumes), sum(usable for _, usable in volumes)
