"""The ACLs of `acls.sh` are enough on Kafka 3.9 in ZooKeeper mode too, whose AclAuthorizer keeps them in ZooKeeper."""

from collections.abc import Iterator

import pytest

from tests.clients.local_zookeeper_kafka import LocalZookeeperKafka
from tests.clients.security.secure_kafka import SecureKafka, secure_kafka
from tests.clients.security.test_acls import (
    admins,
    folder,
    test_doctor_s_table_is_what_the_script_gives,
    test_each_missing_acl_is_named_and_no_other,
    test_the_agent_says_that_it_may_not_describe_topics,
    test_what_making_topics_needs_besides_is_named_where_it_is_missing,
)

__all__ = [
    "admins",
    "folder",
    "test_doctor_s_table_is_what_the_script_gives",
    "test_each_missing_acl_is_named_and_no_other",
    "test_the_agent_says_that_it_may_not_describe_topics",
    "test_what_making_topics_needs_besides_is_named_where_it_is_missing",
]

# kafka-python leaves sockets to brokers that went away for the garbage collector.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


class SecureZookeeperKafka(SecureKafka, LocalZookeeperKafka):
    """Its users' passwords are in ZooKeeper too."""

    acl_command = "kafka.admin.AclCommand"


@pytest.fixture(scope="module")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SecureKafka]:
    with secure_kafka(tmp_path_factory.mktemp("secure"), SecureZookeeperKafka) as cluster:
        yield cluster
