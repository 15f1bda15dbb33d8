"""What confluent-kafka does for us: leader elections.

Its AdminClient is kept once opened: one that is garbage-collected fails its own futures. librdkafka sends to the controller of
its cached metadata and to a hanging broker until a timeout; the constants and the refreshes here keep both short.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

from confluent_kafka import ElectionType, KafkaError, KafkaException
from confluent_kafka import TopicPartition as ConfluentPartition
from confluent_kafka.admin import AdminClient
from kafka.errors import for_code
from tenacity import Retrying, retry_if_exception_type, stop_after_attempt

from kafka_runbooks.clients.errors import Refused, Unreachable
from kafka_runbooks.clients.kafka.refusals import is_refusal_of_librdkafka
from kafka_runbooks.clients.security.acls import ALTER, lacks
from kafka_runbooks.clients.security.connection import CLIENT_ID, Connection, Renewed
from kafka_runbooks.clients.security.probe import probe
from kafka_runbooks.models.cluster import TopicPartition

TIMEOUT_SECONDS = 15.0
BROKER_TIMEOUT_SECONDS = 5.0
"""For requests that one broker answers, so that a dead one is noticed soon."""
SOCKET_TIMEOUT_MS = 4_000
"""Below the timeouts above: librdkafka then drops a hanging broker before our call gives up, and the retry asks another one."""
METADATA_ATTEMPTS = 3


class ConfluentAdmin:
    """One AdminClient, opened on first use; may be used by several threads."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        # Dropping the last reference closes one.
        self._client = Renewed(connection, self._open, close=lambda _: None)

    def elect_leaders(self, kind: ElectionType, partitions: Iterable[TopicPartition]) -> dict[TopicPartition, str]:
        """Elect leaders; returns the refused partitions with Kafka's reason."""
        asked = [ConfluentPartition(*name) for name in partitions]
        if not asked:
            return {}
        # librdkafka sends this to the controller of its newest metadata, and waits in vain if that broker is gone: so they are
        # renewed first, those of one topic, for they always name the controller.
        client = self._client.get()
        try:
            self._attempt("metadata", lambda: client.list_topics(asked[0].topic, timeout=BROKER_TIMEOUT_SECONDS))
            with mapped(f"elect {kind.name.lower()} leaders"):
                answers = client.elect_leaders(kind, asked).result(2 * TIMEOUT_SECONDS)
        except Unreachable:
            probe(self._connection)  # librdkafka says that the time is over; this says why.
            raise
        return {
            TopicPartition(name.topic, name.partition): error.str()
            for name, error in answers.items()
            if error is not None and error.code() != KafkaError.ELECTION_NOT_NEEDED
        }

    def close(self) -> None:
        """Drop the client."""
        self._client.close()

    def _open(self) -> AdminClient:
        probe(self._connection)
        with mapped("connect"):
            return AdminClient(
                {
                    **self._connection.for_librdkafka(),
                    "bootstrap.servers": ",".join(self._connection.servers),
                    "socket.timeout.ms": SOCKET_TIMEOUT_MS,
                    "client.id": CLIENT_ID,
                    # A cluster that is away is told by the error of a call; librdkafka would log it twenty times a second.
                    "log_level": 0,
                },
            )

    def _attempt(self, what: str, call: Callable[[], object]) -> None:
        with mapped(what):
            for attempt in Retrying(
                stop=stop_after_attempt(METADATA_ATTEMPTS), retry=retry_if_exception_type(KafkaException), reraise=True
            ):
                with attempt:
                    call()


@contextmanager
def mapped(what: str, operation: str = ALTER) -> Iterator[None]:
    """Map confluent-kafka's errors to `clients.errors`.

    Args:
        what: what is being done, for messages.
        operation: what the principal needs the right to.
    """
    try:
        yield
    except KafkaException as error:
        kafka_error = error.args[0]
        missing = lacks(for_code(kafka_error.code()), operation) if kafka_error.code() > 0 else None
        message = f"{what}: {missing or kafka_error.str()}"
        if is_refusal_of_librdkafka(kafka_error):
            raise Refused(message) from error
        raise Unreachable(message) from error
    except (TimeoutError, OSError) as error:
        raise Unreachable(f"{what}: {type(error).__name__}: {error}") from error
