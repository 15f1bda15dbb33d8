"""One Kafka for all of these tests."""

from collections.abc import Iterator

import pytest
from confluent_kafka.admin import NewTopic

from tests.clients.security.secure_kafka import SecureKafka, secure_kafka


@pytest.fixture(scope="package")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SecureKafka]:
    """With a topic `events` of one partition."""
    with secure_kafka(tmp_path_factory.mktemp("secure")) as cluster:
        for future in cluster.administrator.create_topics([NewTopic("events", num_partitions=1, replication_factor=1)]).values():
            future.result(20)
        yield cluster
