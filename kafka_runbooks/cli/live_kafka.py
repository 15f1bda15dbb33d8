"""A connection to a live cluster, for the commands that read one themselves instead of asking a worker."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from kafka_runbooks.clients.errors import Refused
from kafka_runbooks.clients.protocols import Kafka
from kafka_runbooks.runs.validation import BadInput


@contextmanager
def opened(bootstrap: str, kafka_config: Path | None) -> Iterator[Kafka]:
    """The cluster, for as long as the block runs.

    Args:
        bootstrap: its bootstrap servers.
        kafka_config: YAML that says how to connect, as `security` of a clusters file.

    Raises:
        BadInput: that file can't be read.
    """
    from kafka_runbooks.clients.kafka import KafkaAdmin
    from kafka_runbooks.clients.security.settings import read_security

    try:
        security = None if kafka_config is None else read_security(kafka_config)
    except Refused as error:
        raise BadInput(f"--kafka-config: {error}") from error
    # What a library logs about a cluster that is away would bury the one line that says so.
    logging.getLogger("kafka").addHandler(logging.NullHandler())
    logging.getLogger("kafka").propagate = False
    kafka = KafkaAdmin(bootstrap, security)
    try:
        yield kafka
    finally:
        kafka.close()
