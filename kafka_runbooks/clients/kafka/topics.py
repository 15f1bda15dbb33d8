"""Topics made, grown and deleted, many in a request; each topic's part of an answer is read.

A request that nobody answered may have been carried out, and asking another broker repeats it. So "it exists" is what Kafka may
say of a topic that we have made ourselves a moment ago: whoever asked looks at the cluster, and finds his topic or another's.
"""

import uuid
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, TypeVar

from kafka.errors import NoError, UnknownTopicIdError, UnknownTopicOrPartitionError, for_code
from kafka.protocol.admin import CreatePartitionsRequest, CreateTopicsRequest, DeleteTopicsRequest
from kafka.protocol.consumer import ListOffsetsRequest

from kafka_runbooks.clients.errors import ClientError
from kafka_runbooks.clients.kafka.answers import id_of, not_controller
from kafka_runbooks.clients.kafka.configs import error_of
from kafka_runbooks.clients.kafka.kafka_python import BROKER_SECONDS, CONTROLLER_SECONDS, KafkaPythonAdmin
from kafka_runbooks.clients.security import acls
from kafka_runbooks.clients.security.acls import ALTER, CREATE, DELETE
from kafka_runbooks.models.cluster import TopicPartition
from kafka_runbooks.models.rights import Acl
from kafka_runbooks.models.topic_changes import NewPartitions, NewTopic

PARTITIONS_PER_REQUEST = 2_000
"""Controllers refuse what takes more than 10,000 records of the metadata log (`QuorumController.MAX_RECORDS_PER_USER_OP`)."""
TOPICS_PER_REQUEST = 200
TIMEOUT_MS = 8_000
"""That the controller takes at most; less than a broker is waited for."""
CONSUMER, READ_UNCOMMITTED, LATEST = -1, 0, -1
"""As ListOffsets has them."""

T = TypeVar("T", NewTopic, NewPartitions)


class Topics:
    """Over one `KafkaPythonAdmin`; may be used by several threads."""

    def __init__(self, admin: KafkaPythonAdmin) -> None:
        self._admin = admin

    def create(self, topics: Iterable[NewTopic], *, validate_only: bool) -> dict[str, str]:
        """Make topics; returns those that weren't made, with Kafka's reason."""
        made = CreateTopicsRequest.CreatableTopic
        refused: dict[str, str] = {}
        for some in _batches(topics):
            rows = [
                made(
                    name=topic.name,
                    num_partitions=-1,
                    replication_factor=-1,
                    assignments=[
                        made.CreatableReplicaAssignment(partition_index=number, broker_ids=list(replicas))
                        for number, replicas in enumerate(topic.replicas)
                    ],
                    configs=[made.CreatableTopicConfig(name=key, value=value) for key, value in topic.configs.items()],
                )
                for topic in some
            ]
            answer, _ = self._admin.ask_any(
                "create topics",
                lambda rows=rows: CreateTopicsRequest(topics=rows, timeout_ms=TIMEOUT_MS, validate_only=validate_only),  # type: ignore[misc]
                CONTROLLER_SECONDS,
                error_of=lambda answer: not_controller(answer.topics),
            )
            refused |= _refused("topic", [topic.name for topic in some], answer.topics, CREATE)
        return refused

    def grow(self, topics: Iterable[NewPartitions], *, validate_only: bool) -> dict[str, str]:
        """Add partitions; returns the topics that didn't get them, with Kafka's reason, such as that it has so many."""
        made = CreatePartitionsRequest.CreatePartitionsTopic
        refused: dict[str, str] = {}
        for some in _batches(topics):
            rows = [
                made(
                    name=topic.topic,
                    count=topic.count,
                    assignments=[made.CreatePartitionsAssignment(broker_ids=list(replicas)) for replicas in topic.replicas],
                )
                for topic in some
            ]
            answer, _ = self._admin.ask_any(
                "create partitions",
                lambda rows=rows: CreatePartitionsRequest(topics=rows, timeout_ms=TIMEOUT_MS, validate_only=validate_only),  # type: ignore[misc]
                CONTROLLER_SECONDS,
                error_of=lambda answer: not_controller(answer.results),
            )
            refused |= _refused("partitions of topic", [topic.topic for topic in some], answer.results, ALTER)
        return refused

    def delete(self, topics: Mapping[str, str]) -> dict[str, str]:
        """Delete topics by id, so never another one under the same name; returns those that weren't, with Kafka's reason.

        One that doesn't exist any more is fine.

        Args:
            topics: name -> id.
        """
        refused: dict[str, str] = {}
        names = {id_of(topic_id): name for name, topic_id in topics.items()}
        for some in _slices(list(names), TOPICS_PER_REQUEST):
            rows = [DeleteTopicsRequest.DeleteTopicState(name=None, topic_id=topic_id) for topic_id in some]
            answer, _ = self._admin.ask_any(
                "delete topics",
                lambda rows=rows: DeleteTopicsRequest(topics=rows, topic_names=[], timeout_ms=TIMEOUT_MS),  # type: ignore[misc]
                CONTROLLER_SECONDS,
                error_of=lambda answer: not_controller(answer.responses),
            )
            missing = {names[topic_id] for topic_id in some}
            for result in answer.responses:
                name = names[result.topic_id]
                missing.discard(name)
                error = error_of(f"topic {name}", result, DELETE)
                if error is not None and for_code(result.error_code) not in (UnknownTopicIdError, UnknownTopicOrPartitionError):
                    refused[name] = str(error)
            refused |= dict.fromkeys(missing, UNMENTIONED)
        return refused

    def missing_acls(self) -> tuple[Acl, ...]:
        """What the principal lacks to make and grow topics: Kafka is asked to validate both for a name that none can have.

        There is no deletion that is only tried.
        """
        create, alter, _ = acls.MAKES_TOPICS
        name, rows = acls.NO_TOPIC, ((0,),)
        made = self.create([NewTopic(name=name, replicas=rows)], validate_only=True)
        grown = self.grow([NewPartitions(topic=name, topic_id=None, partitions_before=1, replicas=rows)], validate_only=True)
        lacks = {create: made, alter: grown}
        return tuple(acl for acl, refused in lacks.items() if "AuthorizationFailed" in refused.get(name, ""))

    def end_offsets(self, leaders: Mapping[TopicPartition, int]) -> dict[TopicPartition, int]:
        """Where each partition ends, asked of its leader, all at once; one of which its leader says nothing is left out.

        Args:
            leaders: partition -> the broker that leads it.
        """
        made = ListOffsetsRequest.ListOffsetsTopic
        by_broker: dict[int, dict[str, list[int]]] = {}
        for name, broker_id in sorted(leaders.items()):
            by_broker.setdefault(broker_id, {}).setdefault(name.topic, []).append(name.partition)
        requests = {
            broker_id: ListOffsetsRequest(
                replica_id=CONSUMER,
                isolation_level=READ_UNCOMMITTED,
                topics=[
                    made(
                        name=topic,
                        partitions=[made.ListOffsetsPartition(partition_index=one, timestamp=LATEST) for one in partitions],
                    )
                    for topic, partitions in found.items()
                ],
            )
            for broker_id, found in by_broker.items()
        }
        return {
            TopicPartition(topic.name, one.partition_index): one.offset
            for answer in self._admin.ask_each("end offsets", requests, BROKER_SECONDS).values()
            if not isinstance(answer, ClientError)
            for topic in answer.topics
            for one in topic.partitions
            if for_code(one.error_code) is NoError
        }


UNMENTIONED = "the controller's answer doesn't mention it"


def _refused(what: str, names: Iterable[str], results: Iterable[Any], operation: str) -> dict[str, str]:
    refused = dict.fromkeys(names, UNMENTIONED)
    for result in results:
        error = error_of(f"{what} {result.name}", result, operation)
        refused.pop(result.name, None)
        if error is not None:
            refused[result.name] = str(error)
    return refused


def _batches(topics: Iterable[T]) -> Iterator[list[T]]:
    """So many that a request stays within the controllers' limit."""
    batch: list[T] = []
    partitions = 0
    for topic in topics:
        if batch and (len(batch) == TOPICS_PER_REQUEST or partitions + len(topic.replicas) > PARTITIONS_PER_REQUEST):
            yield batch
            batch, partitions = [], 0
        batch.append(topic)
        partitions += len(topic.replicas)
    if batch:
        yield batch


def _slices(items: list[uuid.UUID], size: int) -> Iterator[list[uuid.UUID]]:
    return (items[start : start + size] for start in range(0, len(items), size))
