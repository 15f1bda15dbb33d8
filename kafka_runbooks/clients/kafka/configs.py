"""Configurations: topics' from any broker, a broker's own from itself; only the keys that are asked for.

Not all keys of a resource, since a broker has some hundred: on 300 brokers their answers would cost more than all else of a look.
What is set is read back from the brokers, for the controller answers before they have applied it.
"""

import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, TypeVar

from kafka.admin import AlterConfigOp, ConfigResourceType
from kafka.errors import (
    InvalidConfigurationError,
    InvalidReplicationFactorError,
    NoError,
    PolicyViolationError,
    UnknownTopicOrPartitionError,
    for_code,
)
from kafka.protocol.admin import CreateTopicsRequest, DescribeConfigsRequest, IncrementalAlterConfigsRequest

from kafka_runbooks.clients.errors import ClientError, Refused, Unreachable
from kafka_runbooks.clients.kafka.answers import not_controller
from kafka_runbooks.clients.kafka.kafka_python import BROKER_SECONDS, CONTROLLER_SECONDS, KafkaPythonAdmin
from kafka_runbooks.clients.kafka.refusals import is_refusal
from kafka_runbooks.clients.security.acls import ALTER_CONFIGS, CREATE, DESCRIBE_CONFIGS, lacks
from kafka_runbooks.models.cluster import BrokerConfig
from kafka_runbooks.models.topics import TopicConfigs, ValidatedConfigs

T = TypeVar("T")

TOPICS_PER_REQUEST = 200
WITH_CONFIGS = 5
"""The first version of CreateTopics whose answer has configs (KIP-525)."""
VALIDATE = "validate topics' configs"
NEVER_MADE = "kafka-runbooks-validation-of-configs-"
"""What the names begin with of topics that Kafka is asked about, and that are never made."""
ON_TOPIC, OWN, FOR_ALL, IN_FILE, DEFAULT = 1, 2, 3, 4, 5
"""Where a value is set: on the topic; dynamically on the broker or for all brokers; in its file; nowhere (`ConfigSource`)."""


class Configs:
    """Reads and changes configurations over one `KafkaPythonAdmin`; may be used by several threads."""

    def __init__(self, admin: KafkaPythonAdmin) -> None:
        self._admin = admin

    def of_topics(self, topics: Sequence[str], keys: Sequence[str]) -> dict[str, dict[str, str | None]]:
        """Effective values of each topic, from any broker; a topic that no longer exists is left out."""
        found: dict[str, dict[str, str | None]] = {}
        for some in _batches(topics):
            answer, _ = self._admin.ask_any("describe configs", lambda some=some: _describe_topics(some, keys))  # type: ignore[misc]
            found |= _values(answer)
        return found

    def of_topics_on_each(
        self, broker_ids: Collection[int], topics: Sequence[str], keys: Sequence[str]
    ) -> dict[int, dict[str, dict[str, str | None]] | Unreachable]:
        """The same as each of some brokers has them now; of one that is down, unknown or silent, that it is."""
        requests = {broker_id: _describe_topics(topics, keys) for broker_id in broker_ids}
        found: dict[int, dict[str, dict[str, str | None]] | Unreachable] = {}
        for broker_id, answer in self._admin.ask_each("configs of topics", requests, BROKER_SECONDS).items():
            if isinstance(answer, ClientError) and not isinstance(answer, Unreachable):
                raise answer
            found[broker_id] = answer if isinstance(answer, Unreachable) else _values(answer)
        return found

    def of_brokers(
        self, broker_ids: Iterable[int], keys: Collection[str] | None
    ) -> dict[int, dict[str, BrokerConfig] | Unreachable]:
        """Of each broker these keys, or all, asked at once; or that it can't be had: it is down, unknown or silent.

        Raises:
            Refused: the account may not ask. That a broker doesn't answer would be another thing.
        """
        requests = {broker_id: described_broker(broker_id, keys) for broker_id in sorted(set(broker_ids))}
        found: dict[int, dict[str, BrokerConfig] | Unreachable] = {}
        for broker_id, answer in self._admin.ask_each("configs", requests, BROKER_SECONDS).items():
            configs = answer if isinstance(answer, ClientError) else broker_configs(broker_id, answer)
            if isinstance(configs, ClientError) and not isinstance(configs, Unreachable):
                raise configs
            found[broker_id] = configs
        return found

    def set_on_topics(self, topics: Sequence[str]) -> TopicConfigs:
        """What is set on each topic itself, and every key that one can have; a topic that no longer exists is left out."""
        own: dict[str, dict[str, str]] = {}
        keys: set[str] = set()
        for some in _batches(topics):
            answer, _ = self._admin.ask_any("describe configs", partial(_describe_topics, some, None), CONTROLLER_SECONDS)
            for result in _of_existing(answer):
                own[result.resource_name] = {
                    config.name: config.value
                    for config in result.configs
                    if config.config_source == ON_TOPIC and config.value is not None
                }
                keys.update(config.name for config in result.configs)
        return TopicConfigs(own, frozenset(keys))

    def validate_for_topics(self, sets: Sequence[Mapping[str, str]]) -> ValidatedConfigs:
        """Whether Kafka would make topics with these configs: it is asked to validate, and makes none."""
        reasons: list[str | None] = []
        keys: set[str] = set()
        for some in _batches(sets):
            answer, _ = self._admin.ask_any(
                VALIDATE, partial(_validate, some), CONTROLLER_SECONDS, lambda answer: not_controller(answer.topics)
            )
            by_name = {topic.name: topic for topic in answer.topics}
            for name in (f"{NEVER_MADE}{number}" for number in range(len(some))):
                if name not in by_name:
                    raise Unreachable(f"{VALIDATE}: the answer doesn't mention one")
                reasons.append(_reason(by_name[name]))
                keys.update(config.name for config in by_name[name].configs or ())
        return ValidatedConfigs(tuple(reasons), frozenset(keys))

    def may_alter(self, kind: int, name: str, key: str) -> bool:
        """Whether we may change configurations of a broker (empty: of all) or a topic: Kafka is asked to try it, not to do it.

        Raises:
            Unreachable: nobody answers.
        """
        request = _alter({(kind, name): {key: None}}, validate_only=True)
        answer, _ = self._admin.ask_any("may we alter configs", lambda: request, CONTROLLER_SECONDS, error_of=lambda _: 0)
        return not any(lacks(for_code(result.error_code), ALTER_CONFIGS) for result in answer.responses)

    def alter_broker(self, broker_id: int | None, changes: Mapping[str, str | None]) -> None:
        """Change the dynamic values of a broker, or (None) those for the whole cluster; None deletes a key.

        Raises:
            Refused: Kafka rejects the change, all of it.
            Unreachable: the broker doesn't answer.
        """
        what = "configs for all brokers" if broker_id is None else f"configs of broker {broker_id}"
        request = _alter({(ConfigResourceType.BROKER, "" if broker_id is None else str(broker_id)): changes})
        if broker_id is None:
            answer, _ = self._admin.ask_any(what, lambda: request, CONTROLLER_SECONDS, error_of=lambda _: 0)
        else:
            answer = self._admin.ask(what, request, broker_id, BROKER_SECONDS)
        errors = [error_of(what, result, ALTER_CONFIGS) for result in answer.responses]
        for error in errors or [Unreachable(f"{what}: the answer doesn't mention it")]:
            if error is not None:
                raise error

    def alter_broker_each(self, broker_id: int | None, changes: Mapping[str, str | None]) -> dict[str, str]:
        """The same; where Kafka rejects it, each key by itself, since one makes it reject all. Returns the refused keys."""
        try:
            self.alter_broker(broker_id, changes)
        except Refused as refused:
            if len(changes) == 1:
                return dict.fromkeys(changes, str(refused))
            return {key: why for one in changes.items() for key, why in self.alter_broker_each(broker_id, dict([one])).items()}
        return {}

    def alter_topics(self, changes: Mapping[str, Mapping[str, str | None]]) -> dict[str, str]:
        """Change topics' values; None deletes a key. Returns the topics that were not changed, with the reason.

        A topic that no longer exists is skipped; one that an answer doesn't mention counts as not changed.
        """
        failed = dict.fromkeys(changes, "the controller's answer doesn't mention it")
        for some in _batches(sorted(changes)):
            answer, _ = self._admin.ask_any(
                "alter configs",
                lambda some=some: _alter({(ConfigResourceType.TOPIC, topic): changes[topic] for topic in some}),  # type: ignore[misc]
                CONTROLLER_SECONDS,
                error_of=lambda _: 0,
            )
            for result in answer.responses:
                topic, error = result.resource_name, error_of(f"configs of {result.resource_name}", result, ALTER_CONFIGS)
                failed.pop(topic, None)
                if error is not None and for_code(result.error_code) is not UnknownTopicOrPartitionError:
                    failed[topic] = str(error)
        return failed


def until(holds: Callable[[], bool], timeout_seconds: float, poll_seconds: float) -> bool:
    """Ask again until it holds; False if that isn't in time."""
    deadline = time.monotonic() + timeout_seconds
    while not holds():
        if time.monotonic() > deadline:
            return False
        time.sleep(poll_seconds)
    return True


def _batches(items: Sequence[T]) -> list[Sequence[T]]:
    return [items[start : start + TOPICS_PER_REQUEST] for start in range(0, len(items), TOPICS_PER_REQUEST)]


def _describe_topics(topics: Collection[str], keys: Sequence[str] | None) -> DescribeConfigsRequest:
    made = DescribeConfigsRequest.DescribeConfigsResource
    asked = None if keys is None else list(keys)
    resources = [made(resource_type=ConfigResourceType.TOPIC, resource_name=topic, configuration_keys=asked) for topic in topics]
    return DescribeConfigsRequest(resources=resources, include_synonyms=False)


def _validate(sets: Sequence[Mapping[str, str]]) -> CreateTopicsRequest:
    """Asks whether topics of these configs could be made."""
    topic = CreateTopicsRequest.CreatableTopic
    return CreateTopicsRequest(
        topics=[
            topic(
                name=f"{NEVER_MADE}{number}",
                num_partitions=1,
                replication_factor=1,
                assignments=[],
                configs=[topic.CreatableTopicConfig(name=key, value=value) for key, value in configs.items()],
            )
            for number, configs in enumerate(sets)
        ],
        timeout_ms=int(CONTROLLER_SECONDS * 1000),
        validate_only=True,
        min_version=WITH_CONFIGS,
    )


def _reason(topic: Any) -> str | None:
    """Why a topic's configs are refused, by its part of an answer to `_validate`.

    Raises:
        Refused, Unreachable: nothing is said of its configs.
    """
    kind = for_code(topic.error_code)
    if kind is InvalidConfigurationError:
        return str(topic.error_message or kind.__name__)
    # Configs are looked at before where the topic would be. A policy of the cluster's owner is about the whole topic.
    if kind not in (NoError, PolicyViolationError, InvalidReplicationFactorError):
        more = lacks(kind, CREATE) or topic.error_message
        raise (Refused if is_refusal(kind()) else Unreachable)(f"{VALIDATE}: {kind.__name__}" + (f": {more}" if more else ""))
    return None


def described_broker(broker_id: int, keys: Collection[str] | None) -> DescribeConfigsRequest:
    """Asks a broker, or a controller, for its configurations: these or all."""
    resource = DescribeConfigsRequest.DescribeConfigsResource(
        resource_type=ConfigResourceType.BROKER,
        resource_name=str(broker_id),
        configuration_keys=None if keys is None else list(keys),
    )
    return DescribeConfigsRequest(resources=[resource], include_synonyms=True)


def broker_configs(broker_id: int, answer: Any) -> dict[str, BrokerConfig] | ClientError:
    """What the answer says, or that it is an error."""
    found = {}
    for result in answer.results:
        if error := error_of(f"configs of broker {broker_id}", result, DESCRIBE_CONFIGS):
            return error
        for config in result.configs:
            # Kafka lists every level at which a key is set, and other keys that mean the same in another unit.
            levels = {one.source: one.value for one in config.synonyms or () if one.name == config.name}
            found[config.name] = BrokerConfig(
                in_force=config.value,
                own=levels.get(OWN),
                for_all=levels.get(FOR_ALL),
                in_file=levels.get(IN_FILE),
                is_read_only=config.read_only,
                is_sensitive=config.is_sensitive,
                default=levels.get(DEFAULT),
            )
    return found


def alter_broker_request(
    broker_id: int, changes: Mapping[str, str | None], *, validate_only: bool
) -> IncrementalAlterConfigsRequest:
    """Changes a broker's, or a controller's, own configurations; None deletes a key."""
    return _alter({(ConfigResourceType.BROKER, str(broker_id)): changes}, validate_only=validate_only)


def _alter(
    changes: Mapping[tuple[int, str], Mapping[str, str | None]], *, validate_only: bool = False
) -> IncrementalAlterConfigsRequest:
    resource = IncrementalAlterConfigsRequest.AlterConfigsResource
    return IncrementalAlterConfigsRequest(
        resources=[
            resource(
                resource_type=kind,
                resource_name=name,
                configs=[
                    resource.AlterableConfig(
                        name=key, config_operation=AlterConfigOp.DELETE if value is None else AlterConfigOp.SET, value=value
                    )
                    for key, value in values.items()
                ],
            )
            for (kind, name), values in changes.items()
        ],
        validate_only=validate_only,
    )


def _values(answer: Any) -> dict[str, dict[str, str | None]]:
    """The values of each topic that exists."""
    return {result.resource_name: {config.name: config.value for config in result.configs} for result in _of_existing(answer)}


def _of_existing(answer: Any) -> Iterator[Any]:
    """The results of topics that exist."""
    for result in answer.results:
        if for_code(result.error_code) is UnknownTopicOrPartitionError:
            continue
        if error := error_of(f"configs of {result.resource_name}", result, DESCRIBE_CONFIGS):
            raise error
        yield result


def error_of(what: str, result: Any, operation: str) -> ClientError | None:
    """What one resource's part of an answer says is wrong; `operation` is what the request needs the right to."""
    kind = for_code(result.error_code)
    if kind is NoError:
        return None
    more = lacks(kind, operation) or result.error_message
    message = f"{what}: {kind.__name__}" + (f": {more}" if more else "")
    return (Refused if is_refusal(kind()) else Unreachable)(message)
