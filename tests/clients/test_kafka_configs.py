"""Configurations over connections that answer by the book: what is asked of whom, and that each item's answer is read."""

import asyncio
import threading
from collections.abc import Callable, Coroutine, Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from kafka.errors import (
    InvalidConfigurationError,
    InvalidReplicationFactorError,
    KafkaError,
    KafkaTimeoutError,
    NoError,
    NotControllerError,
    PolicyViolationError,
    RequestTimedOutError,
    TopicAuthorizationFailedError,
    UnknownTopicOrPartitionError,
)
from kafka.protocol.admin import (
    DescribeConfigsRequest,
    DescribeConfigsResponse,
    IncrementalAlterConfigsRequest,
    IncrementalAlterConfigsResponse,
)

from kafka_runbooks.clients.errors import ClientError, Refused, Unreachable
from kafka_runbooks.clients.kafka import KafkaAdmin
from kafka_runbooks.clients.kafka.configs import TOPICS_PER_REQUEST, Configs
from kafka_runbooks.clients.kafka.kafka_python import KafkaPythonAdmin
from kafka_runbooks.models.cluster import ThrottledReplicas, ThrottleRates
from kafka_runbooks.models.topics import ValidatedConfigs

BROKERS = (1, 2, 3)
OWN = {2: 1, 4: 2}
"""`ConfigSource` of what is set on a topic, and on a broker."""
DEFAULT = 5


class Wire:
    """Brokers 1 to 3 that know the same configurations; in the place of kafka-python's connections."""

    def __init__(self) -> None:
        self.asked: list[tuple[int, str, int]] = []
        """Broker, request, and how many resources it names."""
        self.values: dict[tuple[int, str], dict[str, str]] = {}
        self.refused: dict[str, int] = {}
        self.forgotten: set[str] = set()
        self.silent: set[int] = set()
        self.cluster = self
        self.has_waited = True
        self.sent_before_a_wait = 0
        self._lock = threading.Lock()

    def send(self, request: Any, broker_id: int) -> Any:
        with self._lock:
            self.asked.append((broker_id, type(request).__name__, len(request.resources)))
            self.sent_before_a_wait = 0 if self.has_waited else self.sent_before_a_wait + 1
            self.has_waited = False
        return broker_id, request

    async def wait_for(self, future: Any, timeout_ms: float) -> Any:
        broker_id, request = future
        self.has_waited = True
        if broker_id in self.silent:
            raise KafkaTimeoutError("silent")
        return self.describe(request) if isinstance(request, DescribeConfigsRequest) else self.alter(request)

    def run(self, coroutine: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
        return asyncio.run(coroutine())

    def brokers(self) -> list[SimpleNamespace]:
        return [SimpleNamespace(node_id=broker) for broker in BROKERS]

    def describe(self, request: DescribeConfigsRequest) -> Any:
        result = DescribeConfigsResponse.DescribeConfigsResult
        row = result.DescribeConfigsResourceResult
        results = []
        for one in request.resources:
            assert one.configuration_keys, "only what is needed"
            values = self.values.get((one.resource_type, one.resource_name), {})
            configs = []
            for key in one.configuration_keys:
                source = OWN[one.resource_type] if key in values else DEFAULT
                level = row.DescribeConfigsSynonym(name=key, value=values.get(key), source=source)
                configs.append(row(name=key, value=values.get(key), config_source=source, synonyms=[level]))
            gone = one.resource_type == 2 and one.resource_name == "gone"
            code = UnknownTopicOrPartitionError.errno if gone else 0
            results.append(
                result(
                    error_code=code,
                    resource_type=one.resource_type,
                    resource_name=one.resource_name,
                    configs=configs * (not gone),
                )
            )
        return DescribeConfigsResponse(results=results)

    def alter(self, request: IncrementalAlterConfigsRequest) -> Any:
        row, rows = IncrementalAlterConfigsResponse.AlterConfigsResourceResponse, []
        for one in request.resources:
            if one.resource_name in self.forgotten:
                continue
            code = self.refused.get(one.resource_name, 0)
            if code == 0:
                values = self.values.setdefault((one.resource_type, one.resource_name), {})
                for config in one.configs:
                    if config.config_operation == 0:
                        values[config.name] = config.value
                    else:
                        values.pop(config.name, None)
            rows.append(
                row(error_code=code, error_message="no", resource_type=one.resource_type, resource_name=one.resource_name)
            )
        return IncrementalAlterConfigsResponse(responses=rows)

    def count(self, kind: type) -> int:
        return sum(1 for _, name, _ in self.asked if name == kind.__name__)


@pytest.fixture
def wire(monkeypatch: pytest.MonkeyPatch) -> Iterator[Wire]:
    wire = Wire()
    monkeypatch.setattr(KafkaPythonAdmin, "_open", lambda self: SimpleNamespace(_manager=wire))
    yield wire


def lists(count: int) -> dict[str, ThrottledReplicas]:
    return {f"t{number:04d}": ThrottledReplicas(leader="0:1", follower="0:2") for number in range(count)}


def test_lists_of_500_topics_cost_some_requests_and_one_question_to_each_broker(wire: Wire) -> None:
    wanted = lists(500)
    admin = KafkaAdmin("none:1")
    assert admin.set_throttled_replicas(wanted) == {}
    batches = -(-500 // TOPICS_PER_REQUEST)
    assert wire.count(IncrementalAlterConfigsRequest) == batches
    confirmed = [(broker, count) for broker, name, count in wire.asked if name == "DescribeConfigsRequest"]
    assert sorted(broker for broker, _ in confirmed) == list(BROKERS), "each broker once"
    assert max(count for _, count in confirmed) < 10, "not every topic again from every broker"
    assert admin.throttled_replicas(wanted) == wanted


def test_one_refused_topic_of_many_is_named_and_the_others_are_set(wire: Wire) -> None:
    wanted = lists(TOPICS_PER_REQUEST + 10)
    wire.refused = {"t0003": PolicyViolationError.errno, "t0205": UnknownTopicOrPartitionError.errno}
    wire.forgotten = {"t0206"}
    refused = KafkaAdmin("none:1").set_throttled_replicas(wanted)
    assert refused.keys() == {"t0003", "t0206"}, "a topic that is gone is skipped"
    assert "PolicyViolationError: no" in refused["t0003"] and "doesn't mention it" in refused["t0206"]
    set_now = {name for (_, name), values in wire.values.items() if values}
    assert set_now == wanted.keys() - {"t0003", "t0205", "t0206"}


def test_a_topic_that_is_gone_has_no_lists(wire: Wire) -> None:
    assert KafkaAdmin("none:1").throttled_replicas(["gone", "t"]) == {"t": ThrottledReplicas()}


def test_rates_of_all_brokers_are_one_question_each_and_silent_ones_cost_one_wait_together(wire: Wire) -> None:
    wire.values[4, "1"] = {"leader.replication.throttled.rate": "5"}
    wire.silent = {2, 3}
    found = KafkaAdmin("none:1").rates(BROKERS)
    assert wire.sent_before_a_wait == len(BROKERS) - 1, "all before the first answer is waited for"
    assert found.keys() == {1} and found[1].own == ThrottleRates(leader_bytes_per_s=5)
    assert sorted(wire.asked) == [(broker, "DescribeConfigsRequest", 1) for broker in BROKERS]


def test_a_rate_is_read_back_from_its_broker_and_one_that_is_silent_is_unreachable(wire: Wire) -> None:
    admin, rates = KafkaAdmin("none:1"), ThrottleRates(leader_bytes_per_s=5, follower_bytes_per_s=6)
    admin.set_throttle_rates(1, rates)
    assert wire.asked == [(1, "IncrementalAlterConfigsRequest", 1), (1, "DescribeConfigsRequest", 1)]
    assert admin.throttle_rates([1]) == {1: rates}
    admin.set_throttle_rates(1, ThrottleRates())
    assert admin.throttle_rates([1]) == {1: ThrottleRates()} and not wire.values[4, "1"]
    wire.silent = {2}
    with pytest.raises(Unreachable, match="broker 2"):
        admin.set_throttle_rates(2, rates)


class OneBroker:
    """Answers each question about topics that might be made by the next of some errors; forgets the topic for None."""

    def __init__(self, *errors: type[KafkaError] | None) -> None:
        self.errors = iter(errors)

    def ask_any(self, what: str, request: Callable[[], Any], timeout_seconds: float, error_of: Callable[[Any], int]) -> Any:
        topics = []
        for topic in request().topics:
            if (error := next(self.errors)) is not None:
                rows = [SimpleNamespace(name="retention.ms")] if error is NoError else None
                topics.append(SimpleNamespace(name=topic.name, error_code=error.errno, error_message="no", configs=rows))
        answer = SimpleNamespace(topics=topics)
        self.whole = error_of(answer)
        return answer, 1


def validated(*errors: type[KafkaError] | None) -> ValidatedConfigs:
    admin: Any = OneBroker(*errors)
    return Configs(admin).validate_for_topics([{"retention.ms": str(number)} for number in range(len(errors))])


def test_what_kafka_says_of_configs_is_not_what_else_it_says_of_a_topic() -> None:
    found = validated(NoError, InvalidConfigurationError, PolicyViolationError, InvalidReplicationFactorError)
    assert found.reasons == (None, "no", None, None) and found.keys == {"retention.ms"}


@pytest.mark.parametrize(
    ("error", "kind", "said"),
    [
        (TopicAuthorizationFailedError, Refused, "needs the ACL Create on every topic"),
        (RequestTimedOutError, Unreachable, "RequestTimedOutError: no"),
        (None, Unreachable, "the answer doesn't mention"),
    ],
)
def test_no_word_on_configs_is_no_approval(error: type[KafkaError] | None, kind: type[ClientError], said: str) -> None:
    with pytest.raises(kind, match=said):
        validated(NoError, error)


def test_a_broker_that_does_not_pass_it_on_names_the_controller() -> None:
    """ZooKeeper mode: the whole question goes there."""
    admin: Any = OneBroker(NotControllerError)
    with pytest.raises(Unreachable):
        Configs(admin).validate_for_topics([{}])
    assert admin.whole == NotControllerError.errno
