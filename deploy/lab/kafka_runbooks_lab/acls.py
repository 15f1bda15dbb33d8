"""Gives everybody their ACLs as soon as a broker answers: an agent needs its own before its broker can be Ready.

Worker and agent get exactly what `deploy/kubernetes/kafka/acls.sh` says, which is run with a `kafka-acls.sh` that prints what it
is asked for: four starts of a JVM would cost the lab's two cores seconds while nine others start. `main` runs inside the lab's
network.
"""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from confluent_kafka import KafkaException
from confluent_kafka.admin import AclBinding, AclOperation, AclPermissionType, AdminClient, ResourcePatternType, ResourceType

from kafka_runbooks_lab import connection, paths

SCRIPT = paths.CHECKOUT / "deploy/kubernetes/kafka/acls.sh"
PRINCIPALS = {"WORKER": "User:kafka-runbooks", "AGENT": "User:kafka-agent"}
TIMEOUT_SECONDS = 180.0
_BROKERS = [
    f"kafka-{map}-{number}.kafka-{map}.kafka.svc.cluster.local:9092" for map in ("events", "checks") for number in range(3)
]
"""By pods' own names: the bootstrap Service leads to those that are Ready, and none is."""


def of_script() -> Iterator[AclBinding]:
    """What the script gives to worker and agent."""
    with tempfile.TemporaryDirectory() as folder:
        tool = Path(folder) / "kafka-acls.sh"
        tool.write_text('#!/bin/sh\necho "$@"\n')
        tool.chmod(0o755)
        environment = {"PATH": f"{folder}:{os.environ['PATH']}", "ADMIN": "-", "MAKES_TOPICS": "yes", **PRINCIPALS}
        done = subprocess.run(["sh", str(SCRIPT)], env=environment, check=True, capture_output=True, text=True)
    for line in done.stdout.splitlines():
        yield from _read(line.split())


def _read(words: list[str]) -> Iterator[AclBinding]:
    """The bindings of one command of the script."""
    options = list(zip(words, [*words[1:], ""], strict=True))
    (principal,) = [value for option, value in options if option == "--allow-principal"]
    operations = [value for option, value in options if option == "--operation"]
    topics = [value for option, value in options if option == "--topic"]
    kind, name = (ResourceType.TOPIC, topics[0]) if topics else (ResourceType.BROKER, "kafka-cluster")
    assert topics or "--cluster" in words, words
    for operation in operations:
        spelled = "".join(f"_{letter}" if letter.isupper() else letter for letter in operation).strip("_").upper()
        yield _allow(principal, kind, name, AclOperation[spelled])


def of_traffic() -> list[AclBinding]:
    """What producers and consumers need: every topic, every group."""
    topic = [AclOperation.WRITE, AclOperation.READ, AclOperation.DESCRIBE]
    principal = f"User:{connection.TRAFFIC}"
    found = [_allow(principal, ResourceType.TOPIC, "*", operation) for operation in topic]
    return [*found, _allow(principal, ResourceType.GROUP, "*", AclOperation.READ)]


def _allow(principal: str, kind: ResourceType, name: str, operation: AclOperation) -> AclBinding:
    return AclBinding(kind, name, ResourcePatternType.LITERAL, principal, "*", operation, AclPermissionType.ALLOW)


def main() -> None:
    """Add them; exit code 1 if no broker takes them in time."""
    bindings = [*of_script(), *of_traffic()]
    servers = {"bootstrap.servers": ",".join(_BROKERS), "log_level": 0, "reconnect.backoff.max.ms": 500}
    admin = AdminClient({**connection.librdkafka(), **servers})
    ends = time.monotonic() + TIMEOUT_SECONDS
    while True:
        try:
            for future in admin.create_acls(bindings, request_timeout=10).values():
                future.result(20)
            return
        except KafkaException as error:
            if time.monotonic() > ends:
                sys.exit(f"no broker takes the ACLs: {error}")
            time.sleep(0.2)


if __name__ == "__main__":
    main()
