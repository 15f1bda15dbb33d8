"""A real Kafka 3.9 on loopback on its way from ZooKeeper to KRaft (KIP-866): brokers in each of the three modes, and controllers.

`LocalZookeeperKafka`, with KRaft controllers that are started by `start_controllers` and taken away by `stop_controllers`;
`restart(broker, mode)` brings a broker into another mode.
"""

import contextlib
import socket
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kafka_runbooks.models.kraft_migration import BrokerMode
from tests.clients.local_kafka import CLUSTER_ID, JMX_RULES, RACKS, ROOT, free_ports
from tests.clients.local_zookeeper_kafka import CHROOT, LocalZookeeperKafka

STANDARD_AUTHORIZER = "org.apache.kafka.metadata.authorizer.StandardAuthorizer"
CONTROLLER_RULES = ROOT / "deploy" / "kubernetes" / "kafka-zookeeper" / "migration" / "1-controllers" / "jmx-controller.yaml"
MIGRATES = "zookeeper.metadata.migration.enable=true\n"


class LocalMigration(LocalZookeeperKafka):
    """Three brokers in ZooKeeper mode at first, and as many controllers as asked for.

    Args:
        controllers: their node ids.
    """

    def __init__(
        self, folder: Path, racks: Mapping[int, str] = RACKS, *, controllers: tuple[int, ...] = (3001, 3002, 3003), **more: Any
    ) -> None:
        super().__init__(folder, racks, **more)
        self.controller_ports = dict(zip(controllers, free_ports(len(controllers)), strict=True))
        self.modes = dict.fromkeys(racks, BrokerMode.ZOOKEEPER)
        self.controllers_migrate = True
        if self.metrics_hosts:
            self.metrics_hosts |= {node_id: f"127.0.9.{100 + n}" for n, node_id in enumerate(controllers, 1)}

    def start_controllers(self, *node_ids: int) -> None:
        """Start some controllers, or all of them, with or without the migration as `controllers_migrate` says."""
        for node_id in node_ids or tuple(self.controller_ports):
            self._start_node(node_id, "controller", self.controller_ports[node_id], "")

    def stop_controllers(self) -> None:
        for node_id in self.controller_ports.keys() & self.processes.keys():
            self.kill(node_id)

    def restart_controller(self, node_id: int) -> None:
        self.kill(node_id)
        self.start_controllers(node_id)

    def restart(self, broker_id: int, mode: BrokerMode) -> None:
        """Stop a broker in order, and start it in this mode."""
        process = self.processes.pop(broker_id)
        process.terminate()
        process.wait(60)
        self.modes[broker_id] = mode
        self.start_broker(broker_id)
        self.wait_for_brokers(len(self.racks))
        self._until_it_listens(broker_id)  # One registers before it takes connections.

    def _until_it_listens(self, broker_id: int, timeout_s: float = 60) -> None:
        deadline = time.monotonic() + timeout_s
        while True:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.ports[broker_id]), 2):
                return
            if time.monotonic() > deadline:
                raise TimeoutError(f"broker {broker_id} doesn't listen after {timeout_s} s")
            time.sleep(0.2)

    def _mode(self, node_id: int, role: str) -> str:
        voters = ",".join(f"{one}@127.0.0.1:{port}" for one, port in self.controller_ports.items())
        quorum = (
            f"controller.quorum.voters={voters}\ncontroller.listener.names=CONTROLLER\n"
            # A busy machine elects nobody in between.
            "controller.quorum.fetch.timeout.ms=8000\n"
        )
        sessions = "broker.session.timeout.ms=6000\nbroker.heartbeat.interval.ms=1000\n"
        if role == "controller":
            migration = (
                f"{MIGRATES}zookeeper.connect=127.0.0.1:{self.zookeeper.port}{CHROOT}\n" if self.controllers_migrate else ""
            )
            own = f"process.roles=controller\nnode.id={node_id}\ninter.broker.listener.name=PLAINTEXT\n"
            return own + quorum + sessions + migration
        match self.modes[node_id]:
            case BrokerMode.ZOOKEEPER:
                return super()._mode(node_id, role)
            case BrokerMode.MIGRATING:
                return f"{super()._mode(node_id, role)}{quorum}{MIGRATES}inter.broker.protocol.version=3.9\n"
            case BrokerMode.KRAFT:
                return f"process.roles=broker\nnode.id={node_id}\n{quorum}{sessions}"

    def _start_node(self, node_id: int, role: str, port: int, more: str) -> None:
        # Controllers have the new authorizer from their first start, brokers from that in KRaft mode.
        without_zookeeper = role == "controller" or self.modes[node_id] is BrokerMode.KRAFT
        former = self.authorizer
        if without_zookeeper:
            self.authorizer = former.replace(self.authorizer_class, STANDARD_AUTHORIZER)
        try:
            super()._start_node(node_id, role, port, more)
        finally:
            self.authorizer = former

    def _agent(self, node_id: int) -> list[str]:
        options = super()._agent(node_id)
        return (
            [one.replace(str(JMX_RULES), str(CONTROLLER_RULES)) for one in options]
            if node_id in self.controller_ports
            else options
        )

    def _formatting(self, properties: Path) -> list[str]:
        """Brokers have formatted their disks in ZooKeeper mode; controllers need the cluster's id."""
        if "process.roles=controller" not in properties.read_text():
            return []
        data, _ = self.znodes.get("/cluster/id")
        cluster_id = data.decode().split('"id":"')[1].split('"')[0]
        assert cluster_id != CLUSTER_ID
        return ["kafka.tools.StorageTool", "format", "-t", cluster_id, "-c", str(properties)]
