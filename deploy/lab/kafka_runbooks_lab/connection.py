"""How the lab's own clients, its tests and benchmarks connect to Kafka; none of the project's code takes part.

Each client outside of pods has a certificate in the lab's state: `ADMIN` may do everything, `TRAFFIC` may produce and consume. A
lab without TLS has no such files.
"""

from pathlib import Path
from typing import Any

from kafka_runbooks_lab import paths

BOOTSTRAP = "kafka-bootstrap.kafka.svc.cluster.local:9092"
FOLDER = paths.STATE / "kafka"
CA_FILE = FOLDER / "ca.pem"
ENSEMBLE_CA_FILE = FOLDER / "zookeeper-ca.pem"
"""Of a ZooKeeper ensemble's own authority; `certificate_file(ENSEMBLE)` is a client's of it."""
ENSEMBLE = "zookeeper"
ADMIN, TRAFFIC = "kafka-admin", "kafka-traffic"
"""Principals, which are the common names of their certificates."""


def speaks_tls() -> bool:
    """Whether the lab's Kafka does."""
    return CA_FILE.exists()


def certificate_file(who: str) -> Path:
    """The private key and the certificate of a client, in one file."""
    return FOLDER / f"{who}.pem"


def librdkafka(who: str = ADMIN) -> dict[str, Any]:
    """The configuration of a client of confluent-kafka."""
    found: dict[str, Any] = {"bootstrap.servers": BOOTSTRAP}
    if speaks_tls():
        own = str(certificate_file(who))
        found |= {"security.protocol": "SSL", "ssl.ca.location": str(CA_FILE)}
        found |= {"ssl.certificate.location": own, "ssl.key.location": own}
    return found


def kafka_python(who: str = ADMIN) -> dict[str, Any]:
    """The arguments of a client of kafka-python."""
    found: dict[str, Any] = {"bootstrap_servers": BOOTSTRAP}
    if speaks_tls():
        own = str(certificate_file(who))
        found |= {"security_protocol": "SSL", "ssl_cafile": str(CA_FILE), "ssl_certfile": own, "ssl_keyfile": own}
    return found


def java_file(who: str = ADMIN) -> Path:
    """The properties of a Java client, such as Kafka's tools."""
    return FOLDER / f"{who}.properties"
