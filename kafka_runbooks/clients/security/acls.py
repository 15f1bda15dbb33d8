"""Which ACL a request needs: what a principal lacks that may not make it.

Kafka's answer says whether the cluster or a topic is at stake, and not which operation. `docs/security.md` has the whole table.
"""

from typing import Any

from kafka.errors import ClusterAuthorizationFailedError, KafkaError, TopicAuthorizationFailedError, for_code
from kafka.protocol.admin import (
    AlterPartitionReassignmentsRequest,
    CreateTopicsRequest,
    DescribeConfigsRequest,
    DescribeLogDirsRequest,
    DescribeQuorumRequest,
    IncrementalAlterConfigsRequest,
    ListPartitionReassignmentsRequest,
)
from kafka.protocol.metadata import MetadataRequest

from kafka_runbooks.models.rights import Acl

ALTER, ALTER_CONFIGS, CREATE, DELETE = "Alter", "AlterConfigs", "Create", "Delete"
DESCRIBE, DESCRIBE_CONFIGS = "Describe", "DescribeConfigs"

WORKER = (Acl(DESCRIBE, is_on_topics=True), Acl(ALTER), Acl(ALTER_CONFIGS), Acl(ALTER_CONFIGS, is_on_topics=True))
"""What the worker's principal needs, as `deploy/kubernetes/kafka/acls.sh` gives it. Alter includes Describe, and so on."""
MAKES_TOPICS = (Acl(CREATE, is_on_topics=True), Acl(ALTER, is_on_topics=True), Acl(DELETE, is_on_topics=True))
"""What it needs besides where TopicReconcile makes, grows and deletes topics."""

OPERATIONS = {
    MetadataRequest: DESCRIBE,
    DescribeLogDirsRequest: DESCRIBE,
    DescribeQuorumRequest: DESCRIBE,
    ListPartitionReassignmentsRequest: DESCRIBE,
    AlterPartitionReassignmentsRequest: ALTER,
    CreateTopicsRequest: CREATE,
    DescribeConfigsRequest: DESCRIBE_CONFIGS,
    IncrementalAlterConfigsRequest: ALTER_CONFIGS,
}
RESOURCES = {ClusterAuthorizationFailedError: "the cluster", TopicAuthorizationFailedError: "every topic"}

NO_TOPIC = "kafka-runbooks/no topic"
"""A name that no topic can have. To who may describe every topic, Kafka says that it is invalid; to others, that they may not.

In an answer about all topics, those that one may not describe are left out without a word, and what is left out can't be
recognised as out of sync.
"""


def operation_of(request: Any) -> str:
    """The operation that a message of kafka-python needs."""
    return next((operation for kind, operation in OPERATIONS.items() if isinstance(request, kind)), ALTER)


def lacks(error: type[KafkaError], operation: str) -> str | None:
    """Which ACL is missing; None if the error isn't about rights."""
    resource = RESOURCES.get(error)
    return None if resource is None else f"the principal needs the ACL {operation} on {resource} (docs/security.md)"


def raise_for(error_code: int, operation: str) -> None:
    """Raise kafka-python's error, with the missing ACL if it is about rights."""
    if error_code:
        error = for_code(error_code)
        missing = lacks(error, operation)
        raise error() if missing is None else error(missing)
