"""Exactly the ACLs of `acls.sh`, on a real Kafka with an authorizer: everything works, and without one the error names it."""

import inspect
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka.admin import (
    AclBinding,
    AclBindingFilter,
    AclOperation,
    AclPermissionType,
    ResourcePatternType,
    ResourceType,
)

from kafka_runbooks.cli.place_inputs import live_snapshot
from kafka_runbooks.clients import topics
from kafka_runbooks.clients.errors import ClientError, Refused
from kafka_runbooks.clients.kafka import KafkaAdmin
from kafka_runbooks.clients.own_configs import OwnConfigsClient
from kafka_runbooks.clients.own_replicas import OwnReplicasClient
from kafka_runbooks.clients.protocols import Kafka
from kafka_runbooks.clients.security import acls
from kafka_runbooks.clients.security.settings import Security
from kafka_runbooks.models.cluster import ControllerEndpoint, Replica, ThrottledReplicas, ThrottleRates, TopicPartition
from kafka_runbooks.models.rights import Acl
from kafka_runbooks.models.topics import AskKafka, RefusedConfigs, TopicFacts
from tests.clients.local_kafka import JAVA, ROOT
from tests.clients.security.certificates import written
from tests.clients.security.secure_kafka import BROKER_ID, SecureKafka

# kafka-python leaves sockets to brokers that went away for the garbage collector.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")

USERS = {"a-worker": "WORKER", "a-planner": "PLANNER", "an-agent": "AGENT"}
"""User -> its variable in the script."""
TOPIC = TopicPartition("events", 0)
CLUSTER, TOPICS = ResourceType.BROKER, ResourceType.TOPIC

Needed = tuple[AclOperation, ResourceType]
DESCRIBE, ALTER = (AclOperation.DESCRIBE, CLUSTER), (AclOperation.ALTER, CLUSTER)
DESCRIBE_CONFIGS, ALTER_CONFIGS = (AclOperation.DESCRIBE_CONFIGS, CLUSTER), (AclOperation.ALTER_CONFIGS, CLUSTER)
DESCRIBE_TOPICS, DESCRIBE_TOPIC_CONFIGS = (AclOperation.DESCRIBE, TOPICS), (AclOperation.DESCRIBE_CONFIGS, TOPICS)
ALTER_TOPIC_CONFIGS, CREATE_TOPICS = (AclOperation.ALTER_CONFIGS, TOPICS), (AclOperation.CREATE, TOPICS)
INCLUDES = {ALTER: DESCRIBE, ALTER_CONFIGS: DESCRIBE_CONFIGS, ALTER_TOPIC_CONFIGS: DESCRIBE_TOPIC_CONFIGS}
SPELLED = {
    AclOperation.DESCRIBE: "Describe",
    AclOperation.ALTER: "Alter",
    AclOperation.DESCRIBE_CONFIGS: "DescribeConfigs",
    AclOperation.ALTER_CONFIGS: "AlterConfigs",
    AclOperation.CREATE: "Create",
}

DIRECTORY, ENDPOINT = "bG9jYWwta2Fma2EtdGVzdA", ControllerEndpoint("CONTROLLER", "127.0.0.1", 9093)


def in_a_static_quorum(change: Callable[[], None]) -> None:
    """Whoever has the right is told that nobody can change it."""
    try:
        change()
    except Refused as error:
        if "UnsupportedVersionError" not in str(error):
            raise


LISTS = ThrottledReplicas(leader="0:1001", follower="")
METHODS: dict[str, tuple[Callable[[KafkaAdmin], Any], tuple[Needed, ...]]] = {
    "snapshot": (lambda kafka: kafka.snapshot(), (DESCRIBE_TOPICS, DESCRIBE_TOPIC_CONFIGS)),
    "metadata_quorum": (lambda kafka: kafka.metadata_quorum(), (DESCRIBE,)),
    "replica_sizes": (lambda kafka: kafka.replica_sizes([BROKER_ID]), (DESCRIBE,)),
    "sizes_of": (lambda kafka: kafka.sizes_of([Replica(*TOPIC, BROKER_ID)]), (DESCRIBE,)),
    "reassignments": (lambda kafka: kafka.reassignments(), (DESCRIBE,)),
    "alter_reassignments": (lambda kafka: kafka.alter_reassignments({TOPIC: [BROKER_ID]}), (ALTER,)),
    "elect_preferred_leaders": (lambda kafka: kafka.elect_preferred_leaders([TOPIC]), (ALTER,)),
    "elect_unclean_leaders": (lambda kafka: kafka.elect_unclean_leaders([TOPIC]), (ALTER,)),
    "rates": (lambda kafka: kafka.rates([BROKER_ID]), (DESCRIBE_CONFIGS,)),
    "throttle_rates": (lambda kafka: kafka.throttle_rates([BROKER_ID]), (DESCRIBE_CONFIGS,)),
    "set_throttle_rates": (lambda kafka: kafka.set_throttle_rates(BROKER_ID, ThrottleRates()), (ALTER_CONFIGS,)),
    "broker_configs": (lambda kafka: kafka.broker_configs([BROKER_ID]), (DESCRIBE_CONFIGS,)),
    # What a controller asks for is seen on the lab: here the one broker is the controller, too, which nobody asks as one.
    "controller_configs": (lambda kafka: kafka.controller_configs([BROKER_ID], ["process.roles"]), ()),
    "set_broker_configs": (
        lambda kafka: kafka.set_broker_configs(None, {"leader.replication.throttled.rate": None}),
        (ALTER_CONFIGS,),
    ),
    "topic_configs": (lambda kafka: kafka.topic_configs([TOPIC.topic]), (DESCRIBE_TOPIC_CONFIGS,)),
    "set_topic_configs": (lambda kafka: kafka.set_topic_configs({TOPIC.topic: {"retention.ms": None}}), (ALTER_TOPIC_CONFIGS,)),
    "end_offsets": (lambda kafka: kafka.end_offsets([TOPIC.topic]), ()),
    "throttled_replicas": (lambda kafka: kafka.throttled_replicas([TOPIC.topic]), (DESCRIBE_TOPIC_CONFIGS,)),
    "set_throttled_replicas": (lambda kafka: kafka.set_throttled_replicas({TOPIC.topic: LISTS}), (ALTER_TOPIC_CONFIGS,)),
    "log_directory_cordons": (lambda kafka: kafka.log_directory_cordons([BROKER_ID]), (DESCRIBE_CONFIGS,)),
    "cordon_log_directories": (lambda kafka: kafka.cordon_log_directories(BROKER_ID, ""), (DESCRIBE_CONFIGS, ALTER_CONFIGS)),
    "tls_stores": (lambda kafka: kafka.tls_stores([BROKER_ID]), (DESCRIBE_CONFIGS,)),
    "refused_stores": (lambda kafka: kafka.refused_stores(BROKER_ID, ["SASLTLS"]), (DESCRIBE_CONFIGS, ALTER_CONFIGS)),
    "reload_stores": (lambda kafka: kafka.reload_stores(BROKER_ID, ["SASLTLS"]), (DESCRIBE_CONFIGS, ALTER_CONFIGS)),
    "features": (lambda kafka: kafka.features([BROKER_ID]), ()),
    "update_features": (lambda kafka: kafka.update_features({"metadata.version": 30}, validate_only=True), (ALTER,)),
    "missing_acls": (lambda kafka: kafka.missing_acls(), ()),
    "unregister_broker": (lambda kafka: kafka.unregister_broker(4711), (ALTER,)),
    "add_voter": (lambda kafka: in_a_static_quorum(lambda: kafka.add_voter(4711, DIRECTORY, [ENDPOINT])), (ALTER,)),
    "remove_voter": (lambda kafka: in_a_static_quorum(lambda: kafka.remove_voter(4711, DIRECTORY)), (ALTER,)),
}
"""Each method of the Protocol, and what it needs."""
BEYOND_THE_SCRIPT = {"validate_topic_configs", "create_topics", "add_partitions", "delete_topics"}
"""Methods that need more than the script gives to anybody, unless it is asked for."""


@pytest.fixture(scope="module")
def folder(kafka: SecureKafka, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With the users' passwords; they have what the script gives."""
    found = tmp_path_factory.mktemp("acls")
    for user in USERS:
        kafka.set_password(user, f"{user}-secret")
        written(found / user, f"{user}-secret")
    tool = found / "kafka-acls.sh"
    tool.write_text(f'#!/bin/sh\nexec {JAVA} -cp "{kafka.libraries}/*" {kafka.acl_command} "$@"\n')
    tool.chmod(0o755)
    environment = os.environ | {
        "PATH": f"{found}:{os.environ['PATH']}",
        "ADMIN": f"--bootstrap-server {kafka.bootstrap_servers}",
        **{variable: f"User:{user}" for user, variable in USERS.items()},
    }
    script = ROOT / "deploy" / "kubernetes" / "kafka" / "acls.sh"
    subprocess.run([script], check=True, env=environment, stdin=subprocess.DEVNULL, capture_output=True, timeout=120)
    return found


def security(kafka: SecureKafka, folder: Path, user: str) -> Security:
    sasl = {"mechanism": "SCRAM-SHA-512", "username": user, "password_file": folder / user}
    return Security.model_validate({"protocol": "SASL_SSL", "ca_file": kafka.ca_file, "sasl": sasl})


@pytest.fixture(scope="module")
def admins(kafka: SecureKafka, folder: Path) -> Iterator[dict[str, KafkaAdmin]]:
    found = {user: KafkaAdmin(kafka.bootstrap_of("SASLTLS"), security(kafka, folder, user)) for user in USERS}
    yield found
    for admin in found.values():
        admin.close()


def acls_of(kafka: SecureKafka, user: str) -> dict[Needed, AclBinding]:
    anything = AclBindingFilter(
        ResourceType.ANY, None, ResourcePatternType.ANY, f"User:{user}", None, AclOperation.ANY, AclPermissionType.ANY
    )
    return {(acl.operation, acl.restype): acl for acl in kafka.administrator.describe_acls(anything).result(20)}


@contextmanager
def without(kafka: SecureKafka, acl: AclBinding) -> Iterator[None]:
    exactly = AclBindingFilter(
        acl.restype, acl.name, acl.resource_pattern_type, acl.principal, acl.host, acl.operation, acl.permission_type
    )
    (future,) = kafka.administrator.delete_acls([exactly]).values()
    assert len(future.result(20)) == 1
    try:
        yield
    finally:
        kafka.allow([acl])


def outcome(call: Callable[[], Any]) -> str:
    """What a call says is wrong, raised or returned by item; empty if nothing is."""
    try:
        found = call()
    except ClientError as error:
        assert type(error) is Refused, error
        return str(error)
    return (
        " ".join(map(str, found.values()))
        if isinstance(found, dict) and all(isinstance(one, str) for one in found.values())
        else ""
    )


def becomes(call: Callable[[], str], condition: Callable[[str], bool]) -> None:
    """Brokers learn of a changed ACL a moment after the controller has answered."""
    deadline = time.monotonic() + 10
    while not condition(found := call()):
        assert time.monotonic() < deadline, found
        time.sleep(0.1)


def named(needed: Needed) -> str:
    return f"needs the ACL {SPELLED[needed[0]]} on {'the cluster' if needed[1] is CLUSTER else 'every topic'} (docs/security.md)"


def test_every_method_is_here() -> None:
    public = {name for name, _ in inspect.getmembers(Kafka, inspect.isfunction) if not name.startswith("_")}
    assert public - {"close"} == set(METHODS) | BEYOND_THE_SCRIPT


def test_the_script_gives_exactly_these(kafka: SecureKafka, folder: Path) -> None:
    assert set(acls_of(kafka, "a-worker")) == {ALTER, ALTER_CONFIGS, DESCRIBE_TOPICS, ALTER_TOPIC_CONFIGS}
    assert set(acls_of(kafka, "a-planner")) == {DESCRIBE, DESCRIBE_TOPICS, DESCRIBE_TOPIC_CONFIGS}
    assert set(acls_of(kafka, "an-agent")) == {DESCRIBE_CONFIGS, DESCRIBE_TOPICS}


def test_the_worker_may_do_all_with_them(admins: dict[str, KafkaAdmin]) -> None:
    assert {name: outcome(lambda: call(admins["a-worker"])) for name, (call, _) in METHODS.items()} == dict.fromkeys(METHODS, "")  # noqa: B023


@pytest.mark.parametrize("acl", [ALTER, ALTER_CONFIGS, DESCRIBE_TOPICS, ALTER_TOPIC_CONFIGS], ids=named)
def test_without_one_each_method_that_needs_it_names_it(kafka: SecureKafka, admins: dict[str, KafkaAdmin], acl: Needed) -> None:
    lost = {acl, INCLUDES.get(acl)}
    with without(kafka, acls_of(kafka, "a-worker")[acl]):
        for name, (call, needed) in METHODS.items():
            missing = [one for one in needed if one in lost]
            if missing:
                becomes(lambda: outcome(lambda: call(admins["a-worker"])), lambda said: named(missing[0]) in said)  # noqa: B023
            elif acl != DESCRIBE_TOPICS:  # Who may not know of a topic may not do anything with it.
                assert outcome(lambda: call(admins["a-worker"])) == "", name  # noqa: B023
    becomes(lambda: outcome(admins["a-worker"].snapshot), lambda said: said == "")


def test_doctor_s_table_is_what_the_script_gives(kafka: SecureKafka, folder: Path) -> None:
    given = {Acl(SPELLED[operation], is_on_topics=kind is TOPICS) for operation, kind in acls_of(kafka, "a-worker")}
    assert set(acls.WORKER) == given


@pytest.mark.parametrize("acl", [ALTER, ALTER_CONFIGS, DESCRIBE_TOPICS, ALTER_TOPIC_CONFIGS], ids=named)
def test_each_missing_acl_is_named_and_no_other(kafka: SecureKafka, admins: dict[str, KafkaAdmin], acl: Needed) -> None:
    admin = admins["a-worker"]
    becomes(lambda: str(admin.missing_acls()), lambda said: said == "()")
    with without(kafka, acls_of(kafka, "a-worker")[acl]):
        expected = (Acl(SPELLED[acl[0]], is_on_topics=acl[1] is TOPICS),)
        becomes(lambda: str(admin.missing_acls()), lambda said: said == str(expected))
    becomes(lambda: str(admin.missing_acls()), lambda said: said == "()")


def test_what_making_topics_needs_besides_is_named_where_it_is_missing(admins: dict[str, KafkaAdmin]) -> None:
    create, alter, _ = acls.MAKES_TOPICS
    assert admins["a-worker"].missing_acls(makes_topics=True) == (create, alter)


def test_asking_for_missing_acls_changes_nothing(kafka: SecureKafka, admins: dict[str, KafkaAdmin]) -> None:
    rates = ThrottleRates(leader_bytes_per_s=4711, follower_bytes_per_s=4712)
    default = {"leader.replication.throttled.rate": "4713"}
    admin = admins["a-worker"]
    admin.set_throttle_rates(BROKER_ID, rates)
    admin.set_broker_configs(None, default)
    try:
        assert admin.missing_acls() == ()
        assert admin.rates([BROKER_ID])[BROKER_ID].own == rates
        assert admin.broker_configs([BROKER_ID], default)[BROKER_ID]["leader.replication.throttled.rate"].for_all == "4713"
    finally:
        admin.set_throttle_rates(BROKER_ID, ThrottleRates())
        admin.set_broker_configs(None, dict.fromkeys(default))


@pytest.mark.parametrize("acl", [DESCRIBE, DESCRIBE_TOPICS, DESCRIBE_TOPIC_CONFIGS], ids=named)
def test_place_needs_no_more_than_the_planners(kafka: SecureKafka, admins: dict[str, KafkaAdmin], acl: Needed) -> None:
    def place() -> str:
        return outcome(lambda: live_snapshot(admins["a-planner"], 0))

    becomes(place, lambda said: said == "")
    with without(kafka, acls_of(kafka, "a-planner")[acl]):
        becomes(place, lambda said: named(acl) in said)
    becomes(place, lambda said: said == "")


def test_who_may_not_make_topics_checks_what_else_there_is(kafka: SecureKafka, admins: dict[str, KafkaAdmin]) -> None:
    """`topics check --bootstrap` with the rights of `place`."""
    planner = admins["a-planner"]
    wanted = [RefusedConfigs(configs={"retention.ms": "-5"}, reason="")]

    def observed() -> TopicFacts:
        def find(ask: AskKafka) -> tuple[RefusedConfigs, ...]:
            reasons = ask([one.configs for one in wanted])
            return tuple(one for one, why in zip(wanted, reasons, strict=True) if why)

        return topics.with_refused_configs(topics.observe(planner), planner, find)

    found = observed()
    assert found.topics.keys() == {TOPIC.topic} and "retention.ms" in (found.config_keys or ())
    assert found.refused_configs is None and named(CREATE_TOPICS) in found.unknown[0]
    given = AclBinding(
        TOPICS, "*", ResourcePatternType.LITERAL, "User:a-planner", "*", AclOperation.CREATE, AclPermissionType.ALLOW
    )
    kafka.allow([given])
    becomes(lambda: str(observed().unknown), lambda said: said == "()")
    assert observed().refused_configs == tuple(wanted)
    everything = AclBindingFilter(
        TOPICS, "*", ResourcePatternType.LITERAL, "User:a-planner", "*", AclOperation.CREATE, AclPermissionType.ALLOW
    )
    (future,) = kafka.administrator.delete_acls([everything]).values()
    assert len(future.result(20)) == 1


def test_the_agent_says_that_it_may_not_describe_topics(kafka: SecureKafka, folder: Path) -> None:
    client = OwnReplicasClient(kafka.bootstrap_of("SASLTLS"), BROKER_ID, security(kafka, folder, "an-agent"))
    assert client.poll(10).assigned >= 1
    with without(kafka, acls_of(kafka, "an-agent")[DESCRIBE_TOPICS]):
        becomes(lambda: outcome(lambda: client.poll(10)), lambda said: named(DESCRIBE_TOPICS) in said)


def test_the_agent_says_that_it_may_not_ask_what_its_broker_can_apply(kafka: SecureKafka, folder: Path) -> None:
    client = OwnConfigsClient(kafka.bootstrap_of("SASLTLS"), BROKER_ID, security(kafka, folder, "an-agent"))
    assert client.updatable(["num.io.threads", "log.dirs"]) == {"num.io.threads"}
    with without(kafka, acls_of(kafka, "an-agent")[DESCRIBE_CONFIGS]):
        becomes(lambda: outcome(lambda: client.updatable(["log.dirs"])), lambda said: named(DESCRIBE_CONFIGS) in said)
