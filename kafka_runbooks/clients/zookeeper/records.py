"""What Kafka 3.9 keeps in znodes (`kafka.zk.ZkData`): registrations, the controller, topics, partitions' states."""

import json
from collections.abc import Iterator
from contextlib import contextmanager

from kafka_runbooks.clients.errors import Unreachable
from kafka_runbooks.clients.zookeeper.reads import Znode
from kafka_runbooks.models.ensemble import BrokerSession, PartitionState


@contextmanager
def readable() -> Iterator[None]:
    """A znode in another format is an error that says so."""
    try:
        yield
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise Unreachable(f"a znode isn't as Kafka writes it: {error!r}") from error


def broker_session(broker_id: int, node: Znode) -> BrokerSession:
    """Of `/brokers/ids/<id>` (`BrokerIdZNode`)."""
    written = json.loads(node.data)
    return BrokerSession(
        broker_id=broker_id,
        endpoints=tuple(written["endpoints"]),
        rack=written.get("rack"),
        session_id=node.session_id,
        epoch=node.created_zxid,
    )


def controller_id(data: bytes) -> int:
    """Of `/controller` (`ControllerZNode`)."""
    return int(json.loads(data)["brokerid"])


def kraft_epoch(data: bytes) -> int | None:
    """Of `/controller`: the KRaft quorum's epoch when its leader registered; None: a broker in ZooKeeper mode has."""
    epoch = int(json.loads(data).get("kraftControllerEpoch", -1))
    return None if epoch < 0 else epoch


def copied_offset(data: bytes) -> int | None:
    """Of `/migration` (`MigrationZNode`), as `ZkMigrationLeadershipState.initialZkMigrationComplete` reads it; None: not yet."""
    offset = int(json.loads(data)["kraft_metadata_offset"])
    return offset if offset > 0 else None


def replicas(data: bytes) -> dict[int, tuple[int, ...]]:
    """Partition -> replicas, of `/brokers/topics/<topic>` (`TopicZNode`)."""
    return {int(number): tuple(found) for number, found in json.loads(data)["partitions"].items()}


def partition_state(replicas: tuple[int, ...], data: bytes) -> PartitionState:
    """Of `…/partitions/<number>/state` (`TopicPartitionStateZNode`), in which leader -1 is none."""
    written = json.loads(data)
    return PartitionState(
        replicas=replicas,
        leader=None if written["leader"] < 0 else written["leader"],
        leader_epoch=written["leader_epoch"],
        in_sync=tuple(written["isr"]),
        controller_epoch=written["controller_epoch"],
    )
