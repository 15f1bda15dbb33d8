"""The state of one broker's replicas as its peers know it: what the agent beside it polls every few seconds.

Which broker is asked matters. One that lost the controllers keeps answering from an outdated metadata cache, and one that just
started may know nothing; so the answer must come from another broker if there is one. librdkafka's reply tells which broker
answered. Peers are changed from time to time, so that a stale one doesn't mislead for long.
"""

import random
import time
from typing import NamedTuple

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient, ClusterMetadata

from kafka_runbooks.clients.errors import ClientError, Unreachable
from kafka_runbooks.clients.kafka.confluent import mapped
from kafka_runbooks.clients.security.acls import DESCRIBE, NO_TOPIC
from kafka_runbooks.clients.security.connection import Connection, addresses
from kafka_runbooks.clients.security.files import Version
from kafka_runbooks.clients.security.probe import probe
from kafka_runbooks.clients.security.settings import Security
from kafka_runbooks.models.cluster import TopicPartition

PEERS = 3
PEER_SECONDS = 300.0
ATTEMPTS = 3
"""When a peer goes down, librdkafka falls back to any broker it knows, including this one: then choose peers again at once."""


class OwnReplicas(NamedTuple):
    """One peer's answer.

    Attributes:
        answered_by: the broker that answered; -1 for a peer whose ID isn't known yet.
        live_broker_ids: brokers that are registered and unfenced.
        assigned: how many replicas this broker has.
        out_of_sync: those of them that are not in the ISR.
    """

    answered_by: int
    live_broker_ids: frozenset[int]
    assigned: int
    out_of_sync: tuple[TopicPartition, ...]


class OwnReplicasClient:
    """One persistent librdkafka client, for use by one thread."""

    def __init__(self, bootstrap_servers: str, broker_id: int, security: Security | None = None) -> None:
        self._connection = Connection(bootstrap_servers, security)
        self._asked = self._connection
        self._made_of: Version = ()
        self._broker_id = broker_id
        self._client: AdminClient | None = None
        self._asks_peers = False
        self._chosen_at = 0.0

    def poll(self, timeout_s: float) -> OwnReplicas:
        """Ask one peer for the metadata of every topic.

        Raises:
            Unreachable: no answer in time, or only from this broker although there are others.
            Refused: the broker doesn't take the connection, a file of it can't be used, or the principal may not describe topics.
        """
        for _ in range(ATTEMPTS):
            try:
                with mapped("no metadata", DESCRIBE):
                    client = self._renewed(timeout_s)
                    metadata = client.list_topics(timeout=timeout_s)
                    refusal = client.list_topics(NO_TOPIC, timeout=timeout_s).topics[NO_TOPIC].error
                    if refusal is not None and refusal.code() == KafkaError.TOPIC_AUTHORIZATION_FAILED:
                        raise KafkaException(refusal)
            except Unreachable:
                self._client = None
                probe(self._asked)  # It says why, where librdkafka says that the time is over.
                raise
            live = frozenset(metadata.brokers)
            # To librdkafka, a bootstrap address has no ID (-1) until its first answer.
            is_own = metadata.orig_broker_id == self._broker_id or not self._asks_peers
            if not is_own or live <= {self._broker_id}:
                return self._own_replicas(metadata)
            self._client = None
        raise Unreachable("no other broker answers; this broker's own metadata may be stale")

    def _renewed(self, timeout_s: float) -> AdminClient:
        """The client, or another one if it has asked the same peers for long or its files have changed."""
        version = self._connection.version()
        if self._client is None or version != self._made_of or time.monotonic() - self._chosen_at > PEER_SECONDS:
            try:
                self._client, self._asks_peers = self._choose(timeout_s)
            except ClientError:  # Files are replaced one after the other: until they fit, the client that there is goes on.
                if self._client is None:
                    raise
                if version == self._made_of:
                    self._chosen_at = time.monotonic()
                return self._client
            self._chosen_at, self._made_of = time.monotonic(), version
        return self._client

    def _own_replicas(self, metadata: ClusterMetadata) -> OwnReplicas:
        me = self._broker_id
        mine = [
            (topic.topic, partition)
            for topic in metadata.topics.values()
            for partition in topic.partitions.values()
            if me in partition.replicas
        ]
        behind = tuple(sorted(TopicPartition(topic, partition.id) for topic, partition in mine if me not in partition.isrs))
        return OwnReplicas(metadata.orig_broker_id, frozenset(metadata.brokers), len(mine), behind)

    def _choose(self, timeout_s: float) -> tuple[AdminClient, bool]:
        """A client for a few peers and True, or for the bootstrap address and False if there are no peers."""
        probe(self._connection)
        self._asked = self._connection
        first = admin_client(self._asked)
        brokers = first.list_topics(timeout=timeout_s).brokers.values()
        peers = [(broker.host, broker.port) for broker in brokers if broker.id != self._broker_id]
        if not peers:
            return first, False
        self._asked = self._connection.to(addresses(random.sample(peers, min(PEERS, len(peers)))))
        return admin_client(self._asked), True


def admin_client(connection: Connection) -> AdminClient:
    """A client of the agent's."""
    return AdminClient(
        {
            **connection.for_librdkafka(),
            "bootstrap.servers": ",".join(connection.servers),
            "client.id": "kafka-runbooks-agent",
            "socket.timeout.ms": 10_000,
            # Every poll asks for metadata; librdkafka's own refresh would only add load.
            "topic.metadata.refresh.interval.ms": -1,
            # The question about `NO_TOPIC` is none to create it, which takes another right.
            "allow.auto.create.topics": False,
            "log_level": 0,
        }
    )
