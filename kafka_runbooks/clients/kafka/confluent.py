"""What confluent-kafka does for us: leader elections, and whether anybody answers.

Its AdminClient is kept once opened: one that is garbage-collected fails its own futures. librdkafka sends to the controller of
its cached metadata and to a hanging broker until a timeout; the constants and the refreshes here keep both short.
"""

import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

from confluent_kafka import ElectionType, KafkaError, KafkaException
from confluent_kafka import TopicPartition as ConfluentPartition
from confluent_kafka.admin import (
    AdminClient,
)
from tenacity import Retrying, retry_if_exception_type, stop_after_attempt

from kafka_runbooks.clients.errors import Refused, Unreachable
from kafka_runbooks.clients.kafka.refusals import is_refusal_of_librdkafka
from kafka_runbooks.models.cluster import TopicPartition

TIMEOUT_SECONDS = 15.0
BROKER_TIMEOUT_SECONDS = 5.0
"""For requests that one broker answers, so that a dead one is noticed soon."""
SOCKET_TIMEOUT_MS = 4_000
"""Below the timeouts above: librdkafka then drops a hanging broker before our call gives up, and the retry asks another one."""
METADATA_ATTEMPTS = 3


class ConfluentAdmin:
    """One AdminClient, opened on first use; may be used by several threads."""

    def __init__(self, bootstrap_servers: str) -> None:
        self._bootstrap_servers = bootstrap_servers
        self._lock = threading.Lock()
        self._client: AdminClient | None = None

    def check_reachable(self) -> None:
        """Return if some broker answers.

        librdkafka asks one broker and waits. It drops a hanging one after the socket timeout, and the next attempt asks another.

        Raises:
            Unreachable: none does.
        """
        self._attempt(
            "describe cluster", lambda: self._opened().describe_cluster(request_timeout=BROKER_TIMEOUT_SECONDS).result()
        )

    def elect_leaders(self, kind: ElectionType, partitions: Iterable[TopicPartition]) -> dict[TopicPartition, str]:
        """Elect leaders; returns the refused partitions with Kafka's reason."""
        asked = [ConfluentPartition(*name) for name in partitions]
        if not asked:
            return {}
        # librdkafka sends this to the controller of its newest metadata, and waits in vain if that broker is gone: so they are
        # renewed first, those of one topic, for they always name the controller.
        self._attempt("metadata", lambda: self._opened().list_topics(asked[0].topic, timeout=BROKER_TIMEOUT_SECONDS))
        with mapped(f"elect {kind.name.lower()} leaders"):
            answers = self._opened().elect_leaders(kind, asked).result(2 * TIMEOUT_SECONDS)
        return {
            TopicPartition(name.topic, name.partition): error.str()
            for name, error in answers.items()
            if error is not None and error.code() != KafkaError.ELECTION_NOT_NEEDED
        }

    def close(self) -> None:
        """Drop the client."""
        with self._lock:
            self._client = None

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

    def _attempt(self, what: str, call: Callable[[], object]) -> None:
        with mapped(what):
            for attempt in Retrying(
                stop=stop_after_attempt(METADATA_ATTEMPTS), retry=retry_if_exception_type(KafkaException), reraise=True
            ):
                with attempt:
                    call()


@contextmanager
def mapped(what: str) -> Iterator[None]:
    """Map confluent-kafka's errors to `clients.errors`."""
    try:
        yield
    except KafkaException as error:
        kafka_error = error.args[0]
        message = f"{what}: {kafka_error.str()}"
        if is_refusal_of_librdkafka(kafka_error):
            raise Refused(message) from error
        raise Unreachable(message) from error
    except (TimeoutError, OSError) as error:
        raise Unreachable(f"{what}: {type(error).__name__}: {error}") from error
