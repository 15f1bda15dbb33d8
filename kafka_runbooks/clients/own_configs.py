"""What the broker beside the agent can apply without a restart."""

from collections.abc import Collection

from confluent_kafka.admin import ConfigResource

from kafka_runbooks.clients.kafka.confluent import mapped
from kafka_runbooks.clients.own_replicas import admin_client
from kafka_runbooks.clients.security.acls import DESCRIBE_CONFIGS
from kafka_runbooks.clients.security.connection import Connection
from kafka_runbooks.clients.security.probe import probe
from kafka_runbooks.clients.security.settings import Security

TIMEOUT_S = 5.0


class OwnConfigsClient:
    """Asks this broker about itself. The questions are rare, so each has a client of its own."""

    def __init__(self, bootstrap_servers: str, broker_id: int, security: Security | None = None) -> None:
        self._connection = Connection(bootstrap_servers, security)
        self._broker_id = broker_id

    def updatable(self, names: Collection[str]) -> frozenset[str]:
        """Those of these configurations that can be set dynamically and are not secret; one that Kafka doesn't know is neither.

        Raises:
            Unreachable: the broker doesn't answer.
            Refused: it doesn't take the connection, or the principal may not ask.
        """
        broker = ConfigResource(ConfigResource.Type.BROKER, str(self._broker_id))
        probe(self._connection)
        with mapped("configurations", DESCRIBE_CONFIGS):
            # Kept: a client that is collected fails its own futures.
            client = admin_client(self._connection)
            (answer,) = client.describe_configs([broker], request_timeout=TIMEOUT_S).values()
            found = answer.result(2 * TIMEOUT_S)
        return frozenset(name for name in names if name in found and not (found[name].is_read_only or found[name].is_sensitive))
