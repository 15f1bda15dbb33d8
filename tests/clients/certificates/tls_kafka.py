"""A real Kafka whose nodes speak TLS with client certificates to each other and to clients, each with PEM files of its own.

The plain listener is for what a test has to be able to do whatever the certificates are.
"""

from collections.abc import Sequence
from pathlib import Path

from tests.clients.local_kafka import RACKS, LocalKafka
from tests.clients.security.certificates import Authority, Leaf, written

INTERNAL, CLIENT, CONTROLLER = "INTERNAL", "CLIENT", "CONTROLLER"
CONTROLLER_ID = 1


class TlsKafka(LocalKafka):
    """Listeners: `INTERNAL` (between brokers), `CLIENT`, and the controller's; each requires a client certificate."""

    def __init__(self, folder: Path, authority: Authority, *, brokers: int) -> None:
        racks = dict(list(RACKS.items())[:brokers])
        super().__init__(folder, racks, listeners={INTERNAL: "SSL", CLIENT: "SSL"})
        self.listeners[CONTROLLER] = "SSL"
        self.authority = authority
        self.certificates = folder / "certificates"
        self.certificates.mkdir()
        for node_id in (CONTROLLER_ID, *racks):
            self.give(node_id, self.leaf(node_id), [authority.pem])

    def port(self, node_id: int, listener: str) -> int:
        return self.controller_port if listener == CONTROLLER else self.listener_ports[node_id][listener]

    def leaf(self, node_id: int, authority: Authority | None = None) -> Leaf:
        """A certificate for a node."""
        return (authority or self.authority).leaf(f"node-{node_id}", "127.0.0.1", hosts=("localhost",))

    def keystore(self, node_id: int) -> Path:
        return self.certificates / f"{node_id}.pem"

    def truststore(self, node_id: int) -> Path:
        return self.certificates / f"{node_id}.ca.pem"

    def give(self, node_id: int, leaf: Leaf | None = None, trusted: Sequence[str] | None = None) -> None:
        """Write a node's files."""
        if trusted is not None:
            written(self.truststore(node_id), "".join(trusted))
        if leaf is not None:
            written(self.keystore(node_id), leaf.both)

    def _roles(self, node_id: int, role: str) -> str:
        return (
            f"{super()._roles(node_id, role)}ssl.client.auth=required\n"
            f"ssl.keystore.type=PEM\nssl.keystore.location={self.keystore(node_id)}\n"
            f"ssl.truststore.type=PEM\nssl.truststore.location={self.truststore(node_id)}\n"
            + (f"inter.broker.listener.name={INTERNAL}\n" if role == "broker" else "")
        )
