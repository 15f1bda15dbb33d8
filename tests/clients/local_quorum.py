"""A real Kafka of three combined nodes on loopback, whose voters can be changed (KIP-853)."""

from pathlib import Path
from uuid import uuid4

from kafka_runbooks.clients.kafka.answers import printed
from tests.clients.local_kafka import LocalKafka, free_ports

LISTENER = "CONTROLLER"


class LocalQuorum(LocalKafka):
    """Each node of `racks` is a broker and a controller; all of them are the first voters.

    `new_disk(id)` starts a killed one with nothing on its disk.
    """

    def __init__(self, folder: Path, racks: dict[int, str], *, properties: str = "") -> None:
        super().__init__(folder, racks, properties=properties)
        self.controller_ports = dict(zip(racks, free_ports(len(racks)), strict=True))
        self.first_directories = {node_id: printed(uuid4()) for node_id in racks}

    def start(self) -> None:
        for node_id in self.racks:
            self.start_broker(node_id)
        self.wait_for_brokers(len(self.racks))

    def new_disk(self, node_id: int) -> None:
        """The disk of a node that is down is lost; it starts on an empty one, under its id."""
        self.log_directory(node_id).rename(self.folder / f"lost-{node_id}")
        self.first_directories = {}
        self.start_broker(node_id)

    def _roles(self, node_id: int, role: str) -> str:
        return (
            f"process.roles=broker,controller\ncontroller.quorum.bootstrap.servers={self._bootstrap_servers()}\n"
            # A busy machine elects nobody in between.
            "controller.quorum.fetch.timeout.ms=8000\n"
        )

    def _bootstrap_servers(self) -> str:
        return ",".join(f"127.0.0.1:{port}" for port in self.controller_ports.values())

    def _listeners(self, node_id: int, role: str, port: int) -> dict[str, int]:
        return {"PLAINTEXT": port, LISTENER: self.controller_ports[node_id]}

    def _format(self) -> list[str]:
        if not self.first_directories:
            return ["--no-initial-controllers"]
        voters = (
            f"{node_id}@127.0.0.1:{self.controller_ports[node_id]}:{directory}"
            for node_id, directory in self.first_directories.items()
        )
        return ["--initial-controllers", ",".join(voters)]
