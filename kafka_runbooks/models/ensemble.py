"""A ZooKeeper ensemble as its members describe it, and what Kafka keeps in it: sessions of brokers, partitions' states.

A member that answers isn't one that has everything. What is known to be new goes by `Ensemble.committed_zxid`: the id of a
transaction that the ensemble committed for the very look, so that a member that has applied it lacks nothing older.
"""

from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from functools import cached_property
from typing import NamedTuple

from kafka_runbooks.models.base import Model
from kafka_runbooks.models.cluster import TopicPartition


class Mode(StrEnum):
    """What a member is, by its own answer to `srvr`."""

    LEADER = "leader"
    FOLLOWER = "follower"
    OBSERVER = "observer"
    STANDALONE = "standalone"
    READ_ONLY = "read-only"
    """Cut off from the leader, and serves what it has."""
    NOT_SERVING = "not serving"
    """Up, and follows no leader: it looks for one, or copies from it."""


class QuorumTls(StrEnum):
    """How a member connects to the others: the steps, in their order, by which an ensemble goes from plain text to TLS.

    From ZooKeeper's administrator's guide, "Upgrading existing non-TLS cluster with no downtime": `sslQuorum`, `portUnification`.
    """

    PLAIN = "plain"
    ACCEPTED = "accepted"
    """Connects by plain text, and takes both."""
    SPOKEN = "spoken"
    """Connects by TLS, and takes both."""
    REQUIRED = "required"
    """Connects by TLS, and takes nothing else; clients have no plain port either."""


class EnsembleMember(Model):
    """One of the configured addresses, and what answers there."""

    address: str
    """`host:port` as it is configured."""
    server_id: int | None = None
    """Its own word (`conf`) where it serves, else by its address in the ensemble's configuration; None: neither tells."""
    mode: Mode | None = None
    """None: it doesn't answer."""
    fault: str | None = None
    """Why it doesn't."""
    zxid: int | None = None
    """The last transaction that it has applied."""
    version: str | None = None

    @property
    def name(self) -> str:
        """For people."""
        return self.address if self.server_id is None else f"{self.server_id} ({self.address})"


class Server(Model):
    """A server of the ensemble's configuration (`/zookeeper/config`)."""

    server_id: int
    host: str
    client_port: int | None = None
    is_observer: bool = False


class Ensemble(Model):
    """The whole ensemble at one moment."""

    members: tuple[EnsembleMember, ...]
    """One for each configured address, in the order of the configuration."""
    servers: tuple[Server, ...] = ()
    """What the ensemble itself goes by; empty where it couldn't be asked."""
    committed_zxid: int | None = None
    """A transaction that a quorum has committed for this look; None: nothing can be committed."""
    fault: str | None = None
    """Why nothing can."""
    synced_followers: int | None = None
    """How many followers the leader counts as in sync (`zk_synced_followers`), itself not counted."""
    observed_at: datetime
    """By our own clock, before the first question."""

    @cached_property
    def voter_ids(self) -> frozenset[int]:
        return frozenset(server.server_id for server in self.servers if not server.is_observer)

    @property
    def quorum(self) -> int | None:
        """How many voters commit; None where the ensemble's configuration isn't known."""
        return len(self.voter_ids) // 2 + 1 if self.voter_ids else None

    def is_synced(self, member: EnsembleMember) -> bool:
        """Whether it serves and has everything that was committed when this look began."""
        serves = member.mode in (Mode.LEADER, Mode.FOLLOWER, Mode.OBSERVER, Mode.STANDALONE)
        return serves and member.zxid is not None and self.committed_zxid is not None and member.zxid >= self.committed_zxid

    @property
    def leader(self) -> EnsembleMember | None:
        """The one that says it leads; None if none does, or several do."""
        found = [member for member in self.members if member.mode in (Mode.LEADER, Mode.STANDALONE)]
        return found[0] if len(found) == 1 else None


class BrokerSession(Model):
    """A broker's registration `/brokers/ids/<id>`, which lasts as long as its session."""

    broker_id: int
    endpoints: tuple[str, ...]
    """`LISTENER://host:port`, as it advertises them."""
    rack: str | None = None
    session_id: int
    """The session that holds it (`ephemeralOwner`): a broker that has been restarted, or whose session expired, has another."""
    epoch: int
    """The transaction that made it, which the controller knows as the broker's epoch (KIP-380)."""


class BrokerSessions(Model):
    """Who lives, by ZooKeeper's word. A broker that died is among them until its session times out."""

    brokers: tuple[BrokerSession, ...]
    controller_id: int | None
    """None while there is none. During a migration to KRaft it may be a KRaft controller's."""
    controller_epoch: int | None
    """How many times a controller was elected (`/controller_epoch`)."""

    @property
    def by_id(self) -> Mapping[int, BrokerSession]:
        return {broker.broker_id: broker for broker in self.brokers}


class PartitionState(NamedTuple):
    """A partition as the controller has recorded it, and the replicas of its topic's record. A plain tuple: there are many."""

    replicas: tuple[int, ...]
    leader: int | None
    leader_epoch: int
    in_sync: tuple[int, ...]
    controller_epoch: int


PartitionStates = Mapping[TopicPartition, PartitionState]
