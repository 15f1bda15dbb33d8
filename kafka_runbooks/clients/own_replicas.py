"""The state of one broker's replicas as its peers know it: what the agent beside it polls every few seconds.

Which broker is asked matters. One that lost the controllers keeps answering from an outdated metadata cache, and one that just
started may know nothing; so the answer must come from another broker if there is one. librdkafka's reply tells which broker
answered. Peers are changed from time to time, so that a stale one doesn't mislead for long.
"""

import random
import time
from typing import NamedTuple

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient, ClusterMetadata

from kafka_runbooks.clients.errors import Unreachable
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

    def __init__(self, bootstrap_servers: str, broker_id: int) -> None:
        self._bootstrap_servers = bootstrap_servers
        self._broker_id = broker_id
        self._client: AdminClient | None = None
        self._asks_peers = False
        self._chosen_at = 0.0

    def poll(self, timeout_s: float) -> OwnReplicas:
        """Ask one peer for the metadata of every topic.

        Raises:
            Unreachable: no answer in time, or only from this broker although there are others.
        """
        for _ in range(ATTEMPTS):
            try:
                if self._client is None or time.monotonic() - self._chosen_at > PEER_SECONDS:
                    self._client, self._asks_peers = self._choose(timeout_s)
                    self._chosen_at = time.monotonic()
                metadata = self._client.list_topics(timeout=timeout_s)
            except KafkaException as error:
                self._client = None
                raise Unreachable(f"no metadata: {error.args[0].str()}") from error
            live = frozenset(metadata.brokers)
            # To librdkafka, a bootstrap address has no ID (-1) until its first answer.
            is_own = metadata.orig_broker_id == self._broker_id or not self._asks_peers
            if not is_own or live <= {self._broker_id}:
                return self._own_replicas(metadata)
            self._client = None
        raise Unreachable("no other broker answers; this broker's own metadata may be stale")

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
        first = _client(self._bootstrap_servers)
        brokers = first.list_topics(timeout=timeout_s).brokers.values()
        peers = [f"{broker.host}:{broker.port}" for broker in brokers if broker.id != self._broker_id]
        if not peers:
            return first, False
        return _client(",".join(random.sample(peers, min(PEERS, len(peers))))), True


def _client(servers: str) -> AdminClient:
    return AdminClient(
        {
            "bootstrap.servers": servers,
            "client.id": "kafka-runbooks-agent",
            "socket.timeout.ms": 10_000,
            # Every poll asks for metadata; librdkafka's own refresh would only add load.
            "topic.metadata.refresh.interval.ms": -1,
            "log_level": 0,
        }
    )
