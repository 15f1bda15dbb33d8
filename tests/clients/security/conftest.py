"""One Kafka for all of these tests."""

from collections.abc import Iterator

import pytest

from tests.clients.security.secure_kafka import SecureKafka, secure_kafka


@pytest.fixture(scope="package")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SecureKafka]:
    with secure_kafka(tmp_path_factory.mktemp("secure")) as cluster:
        yield cluster
