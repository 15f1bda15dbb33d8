"""What confluent-kafka does for us: metadata, configurations and leader elections.

Its AdminClient is kept once opened: one that is garbage-collected fails its own futures. librdkafka sends to the controller of
its cached metadata and to a hanging broker until a timeout; the constants and the refreshes here keep both short.
"""

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import NamedTuple

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
from tenacity import Retrying, retry_if_exception_type, stop_after_attempt

from kafka_runbooks.clients.errors import ClientError, Refused, Unreachable
from kafka_runbooks.clients.kafka.refusals import is_refusal_of_librdkafka
from kafka_runbooks.models.cluster import TopicPartition

TIMEOUT_SECONDS = 15.0
BROKER_TIMEOUT_SECONDS = 5.0
"""For requests that one broker answers, so that a dead one is noticed soon."""
SOCKET_TIMEOUT_MS = 4_000
"""Below the timeouts above: librdkafka then drops a hanging broker before our call gives up, and the retry asks another one."""
METADATA_ATTEMPTS = 3
TOPICS_PER_REQUEST = 200

OWN_SOURCES = (ConfigSource.DYNAMIC_TOPIC_CONFIG.value, ConfigSource.DYNAMIC_BROKER_CONFIG.value)


class OwnConfigs(NamedTuple):
    """One resource's dynamic configuration.

    Attributes:
        values: what is set on the resource itself; inherited, default and static values are left out.
        known: every key that the broker has, set or not.
    """

    values: Mapping[str, str]
    known: frozenset[str]


class ConfluentAdmin:
    """One AdminClient, opened on first use; may be used by several threads."""

    def __init__(self, bootstrap_servers: str) -> None:
        self._bootstrap_servers = bootstrap_servers
        self._lock = threading.Lock()
        self._client: AdminClient | None = None

    def metadata(self) -> ClusterMetadata:
        """Brokers and partitions, as any one broker knows them.

        librdkafka asks one broker and waits. It drops a hanging one after the socket timeout, and the next attempt asks another.
        """
        with mapped("metadata"):
            for attempt in Retrying(
                stop=stop_after_attempt(METADATA_ATTEMPTS), retry=retry_if_exception_type(KafkaException), reraise=True
            ):
                with attempt:
                    return self._opened().list_topics(timeout=BROKER_TIMEOUT_SECONDS)
        raise AssertionError("the last attempt raises")

    def elect_leaders(self, kind: ElectionType, partitions: Iterable[TopicPartition]) -> dict[TopicPartition, str]:
        """Elect leaders; returns the refused partitions with Kafka's reason."""
        asked = [ConfluentPartition(*name) for name in partitions]
        if not asked:
            return {}
        with mapped(f"elect {kind.name.lower()} leaders"):
            answers = self._for_controller().elect_leaders(kind, asked).result(2 * TIMEOUT_SECONDS)
        return {
            TopicPartition(name.topic, name.partition): error.str()
            for name, error in answers.items()
            if error is not None and error.code() != KafkaError.ELECTION_NOT_NEEDED
        }

    def broker_config(self, broker_id: int) -> OwnConfigs:
        """A broker's own dynamic configuration; raises for a broker that is down."""
        # librdkafka sends this to the broker itself and takes one such resource per call.
        (own,) = self._describe(ResourceType.BROKER, [str(broker_id)], self._opened).values()
        return own

    def topic_configs(self, topics: Sequence[str]) -> dict[str, OwnConfigs]:
        """Each topic's own configuration; a topic that no longer exists is left out."""
        found: dict[str, OwnConfigs] = {}
        for start in range(0, len(topics), TOPICS_PER_REQUEST):
            found |= self._describe(ResourceType.TOPIC, topics[start : start + TOPICS_PER_REQUEST], self._for_controller)
        return found

    def alter_broker_configs(self, broker_id: int, changes: Mapping[str, str | None]) -> None:
        """Change a broker's dynamic configuration; None deletes a key.

        Raises:
            Refused: the broker rejects the change.
            Unreachable: it doesn't answer.
        """
        for error in self._alter(ResourceType.BROKER, {str(broker_id): changes}, self._opened).values():
            raise error

    def alter_topic_configs(self, changes: Mapping[str, Mapping[str, str | None]]) -> dict[str, str]:
        """Change topics' configurations; None deletes a key. Returns the topics that were not changed, with the reason.

        A topic that no longer exists is skipped.
        """
        topics = sorted(changes)
        failed: dict[str, str] = {}
        for start in range(0, len(topics), TOPICS_PER_REQUEST):
            some = {topic: changes[topic] for topic in topics[start : start + TOPICS_PER_REQUEST]}
            failed |= {topic: str(error) for topic, error in self._alter(ResourceType.TOPIC, some, self._for_controller).items()}
        return failed

    def close(self) -> None:
        """Drop the client."""
        with self._lock:
            self._client = None

    def _describe(self, kind: ResourceType, names: Sequence[str], client: Callable[[], AdminClient]) -> dict[str, OwnConfigs]:
        timeout_seconds = _timeout_seconds(kind)
        with mapped("describe configs"):
            futures = client().describe_configs([ConfigResource(kind, name) for name in names], request_timeout=timeout_seconds)
        found: dict[str, OwnConfigs] = {}
        for resource, future in futures.items():
            with mapped(f"configs of {resource.name}", missing_ok=True):
                found[resource.name] = _own(future.result(2 * timeout_seconds))
        return found

    def _alter(
        self, kind: ResourceType, changes: Mapping[str, Mapping[str, str | None]], client: Callable[[], AdminClient]
    ) -> dict[str, ClientError]:
        """The error of each resource that was not changed."""
        timeout_seconds = _timeout_seconds(kind)
        resources = [
            ConfigResource(kind, name, incremental_configs=[_change(key, value) for key, value in entries.items()])
            for name, entries in changes.items()
        ]
        with mapped("alter configs"):
            futures = client().incremental_alter_configs(resources, request_timeout=timeout_seconds)
        failed: dict[str, ClientError] = {}
        for resource, future in futures.items():
            try:
                with mapped(f"configs of {resource.name}", missing_ok=True):
                    future.result(2 * timeout_seconds)
            except ClientError as error:
                failed[resource.name] = error
        return failed

    def _opened(self) -> AdminClient:
        with self._lock:
            if self._client is None:
                self._client = AdminClient(
                    {
                        "bootstrap.servers": self._bootstrap_servers,
                        "socket.timeout.ms": SOCKET_TIMEOUT_MS,
                        "client.id": "kafka-runbooks",
                        # A cluster that is away is told by the error of a call; librdkafka would log it twenty times a second.
                        "log_level": 0,
                    },
                )
            return self._client

    def _for_controller(self) -> AdminClient:
        """The client, for requests that librdkafka sends to the controller (topics' configurations, elections).

        It takes the controller of its newest metadata, and waits in vain if that broker is gone: so refresh the metadata first.
        """
        self.metadata()
        return self._opened()


@contextmanager
def mapped(what: str, *, missing_ok: bool = False) -> Iterator[None]:
    """Map confluent-kafka's errors to `clients.errors`.

    Args:
        what: what is being done, for messages.
        missing_ok: leave the block without an error if the topic doesn't exist.
    """
    try:
        yield
    except KafkaException as error:
        kafka_error = error.args[0]
        message = f"{what}: {kafka_error.str()}"
        if kafka_error.code() == KafkaError.UNKNOWN_TOPIC_OR_PART and missing_ok:
            return
        if is_refusal_of_librdkafka(kafka_error):
            raise Refused(message) from error
        raise Unreachable(message) from error
    except (TimeoutError, OSError) as error:
        raise Unreachable(f"{what}: {type(error).__name__}: {error}") from error


def _timeout_seconds(kind: ResourceType) -> float:
    return BROKER_TIMEOUT_SECONDS if kind == ResourceType.BROKER else TIMEOUT_SECONDS


def _change(key: str, value: str | None) -> ConfigEntry:
    operation = AlterConfigOpType.DELETE if value is None else AlterConfigOpType.SET
    return ConfigEntry(key, value or "", incremental_operation=operation)


def _own(entries: Mapping[str, ConfigEntry]) -> OwnConfigs:
    own = {key: entry.value for key, entry in entries.items() if entry.value is not None and _source(entry) in OWN_SOURCES}
    return OwnConfigs(own, frozenset(entries))


def _source(entry: ConfigEntry) -> object:
    return entry.source.value if isinstance(entry.source, ConfigSource) else entry.source
