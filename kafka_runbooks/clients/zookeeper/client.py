"""The Protocol `ZooKeeper` on a real ensemble."""

import time
from collections.abc import Collection
from datetime import UTC, datetime

from kafka_runbooks.clients.errors import ClientError, Unreachable
from kafka_runbooks.clients.zookeeper import answers, records
from kafka_runbooks.clients.zookeeper.connection import Connection
from kafka_runbooks.clients.zookeeper.settings import ZookeeperSettings
from kafka_runbooks.models.cluster import TopicPartition
from kafka_runbooks.models.ensemble import BrokerSessions, Ensemble, EnsembleMember, PartitionState, Server
from kafka_runbooks.models.kraft_migration import MigrationZnodes

CONTROLLER, EPOCH, MIGRATION = "/controller", "/controller_epoch", "/migration"
WORDS = ("srvr", "conf", "mntr")
CATCH_UP_SECONDS = 2.0
"""How long members are asked again that lack the look's own transaction, which a follower applies some ms after the leader."""
AGAIN_SECONDS = 0.1


class ZooKeeperClient:
    """Connects for each question."""

    def __init__(self, settings: ZookeeperSettings) -> None:
        self._connection = Connection(settings)

    def ensemble(self) -> Ensemble:
        observed_at = datetime.now(UTC)
        servers: tuple[Server, ...] = ()
        committed, fault = None, None
        try:
            with self._connection.session(chroot=False) as session:
                committed = session.sync()
                servers = answers.servers(session.read("/zookeeper/config"))
        except Unreachable as error:
            fault = str(error)
        deadline = time.monotonic() + CATCH_UP_SECONDS
        while True:
            found = self._connection.each(WORDS)
            members = tuple(answers.member(address, answer, servers) for address, answer in found.items())
            counts = [answers.synced_followers(answer) for answer in found.values() if not isinstance(answer, ClientError)]
            ensemble = Ensemble(
                members=members,
                servers=servers,
                committed_zxid=committed,
                fault=fault,
                synced_followers=next((count for count in counts if count is not None), None),
                observed_at=observed_at,
            )
            if not _behind(ensemble) or time.monotonic() > deadline:
                return ensemble
            time.sleep(AGAIN_SECONDS)

    def sessions(self) -> BrokerSessions:
        with self._connection.session() as session:
            session.sync()
            ids = [int(name) for name in session.children("/brokers/ids")]
            registrations = session.nodes([f"/brokers/ids/{broker_id}" for broker_id in ids])
            controller, epoch = session.read_all([CONTROLLER, EPOCH])
        with records.readable():
            return BrokerSessions(
                brokers=tuple(
                    records.broker_session(broker_id, node)
                    for broker_id, node in zip(ids, registrations, strict=True)
                    if node is not None
                ),
                controller_id=None if controller is None else records.controller_id(controller),
                controller_epoch=None if epoch is None else int(epoch),
            )

    def migration(self) -> MigrationZnodes:
        with self._connection.session() as session:
            session.sync()
            controller, epoch, migration = session.read_all([CONTROLLER, EPOCH, MIGRATION])
        with records.readable():
            return MigrationZnodes(
                controller_id=None if controller is None else records.controller_id(controller),
                kraft_epoch=None if controller is None else records.kraft_epoch(controller),
                controller_epoch=None if epoch is None else int(epoch),
                is_begun=migration is not None,
                # Empty where Kafka's tool for ACLs of znodes made it (KAFKA-19480).
                copied_offset=None if not migration else records.copied_offset(migration),
            )

    def may_give_back_control(self) -> bool:
        with self._connection.session() as session:
            return session.may_change(EPOCH) and session.may_change(CONTROLLER, delete=True)

    def give_back_control(self, least_epoch: int) -> None:
        with self._connection.session() as session:
            session.sync()
            controller, epoch, migration = session.nodes([CONTROLLER, EPOCH, MIGRATION])
            write: dict[str, tuple[bytes, int]] = {}
            delete: dict[str, int] = {}
            with records.readable():
                if controller is not None and records.kraft_epoch(controller.data) is not None:
                    delete[CONTROLLER] = controller.version
                    if epoch is not None and int(epoch.data) < least_epoch:
                        write[EPOCH] = (str(least_epoch).encode(), epoch.version)
            if migration is not None:
                delete[MIGRATION] = migration.version
            if delete:
                session.change(write=write, delete=delete)

    def partition_states(self, topics: Collection[str] | None = None) -> dict[TopicPartition, PartitionState]:
        with self._connection.session() as session, records.readable():
            session.sync()
            if topics is None:
                topics = set(session.children("/brokers/topics")) - set(session.children("/admin/delete_topics"))
            names = sorted(topics)
            assigned = session.read_all([f"/brokers/topics/{topic}" for topic in names])
            replicas = {
                TopicPartition(topic, number): found
                for topic, data in zip(names, assigned, strict=True)
                if data is not None
                for number, found in records.replicas(data).items()
            }
            paths = [f"/brokers/topics/{one.topic}/partitions/{one.partition}/state" for one in replicas]
            states = session.read_all(paths)
        with records.readable():
            return {
                name: records.partition_state(found, data)
                for (name, found), data in zip(replicas.items(), states, strict=True)
                if data is not None
            }


def _behind(ensemble: Ensemble) -> list[EnsembleMember]:
    """Members that serve and lack the look's own transaction."""
    if ensemble.committed_zxid is None:
        return []
    return [member for member in ensemble.members if member.zxid is not None and not ensemble.is_synced(member)]
