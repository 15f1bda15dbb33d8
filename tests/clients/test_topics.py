"""Topics of a real Kafka: what is set on them, what it says of configs, and the commands that check and export definitions."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from confluent_kafka.admin import AdminClient, NewTopic
from typer.testing import CliRunner

from kafka_runbooks.cli.app import app
from kafka_runbooks.clients import topics
from kafka_runbooks.clients.kafka import KafkaAdmin
from kafka_runbooks.models.topics import ExistingTopic
from kafka_runbooks.topics import checking
from tests.clients.local_kafka import RACKS, LocalKafka
from tests.topics.builders import defined, topic

pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
MAPS = """maps:
  - {name: events, topics: 'events\\..*', brokers: [1001, 1002]}
  - {name: rest, topics: 'orders|payments', brokers: [1001, 1002, 1003]}
"""


@pytest.fixture(scope="module")
def admin(kafka: LocalKafka) -> Iterator[KafkaAdmin]:
    """Before it has any topic: a test that needs none comes first."""
    admin = KafkaAdmin(kafka.bootstrap_servers)
    yield admin
    admin.close()


def test_an_empty_cluster_knows_its_configs(admin: KafkaAdmin) -> None:
    assert topics.observe(admin).config_keys is None
    known = topics.with_refused_configs(topics.observe(admin), admin, lambda ask: ())
    assert {"retention.ms", "cleanup.policy", "min.insync.replicas"} <= set(known.config_keys or ())
    assert not admin.snapshot().partitions, "nothing was made"


def test_kafka_is_asked_and_makes_nothing(admin: KafkaAdmin) -> None:
    asked: list[dict[str, str]] = [
        {},
        {"retention.ms": "-5"},
        {"retention.ms": "5"},
        {"retention.m": "5"},
        {"cleanup.policy": "x"},
    ]
    reasons = admin.validate_topic_configs(asked * 60).reasons
    assert reasons[:5] == reasons[-5:] and [reason is None for reason in reasons[:5]] == [True, False, True, False, False]
    assert reasons[1] == "Invalid value -5 for configuration retention.ms: Value must be at least -1"
    assert not admin.snapshot().partitions


@pytest.fixture(scope="module")
def made(kafka: LocalKafka, admin: KafkaAdmin) -> KafkaAdmin:
    wanted = [
        NewTopic("events.a", num_partitions=2, replica_assignment=[[1001, 1002], [1002, 1001]], config={"retention.ms": "1000"}),
        NewTopic(
            "orders",
            num_partitions=1,
            replica_assignment=[[1003, 1001, 1002]],
            config={
                "min.insync.replicas": "2",
                "cleanup.policy": "compact",
                # As a run sets them later; a broker hears of these with the topic itself.
                "leader.replication.throttled.replicas": "0:1003",
                "follower.replication.throttled.replicas": "0:1001",
            },
        ),
        NewTopic("stray", num_partitions=1, replica_assignment=[[1001]]),
    ]
    client = AdminClient({"bootstrap.servers": kafka.bootstrap_servers})
    for future in client.create_topics(wanted).values():
        future.result()
    kafka.wait_for_topics("events.a", "orders", "stray")
    return admin


def test_what_is_set_on_topics_themselves(made: KafkaAdmin) -> None:
    known = topics.observe(made)
    assert known.racks == RACKS
    assert known.topics["events.a"] == ExistingTopic(
        partitions=2,
        replication_factor=2,
        broker_ids=(1001, 1002),
        topic_id=made.snapshot().topic_ids["events.a"],
        replicas=((1001, 1002), (1002, 1001)),
        configs={"retention.ms": "1000"},
    )
    assert set(known.topics["orders"].configs) == {
        "cleanup.policy",
        "follower.replication.throttled.replicas",
        "leader.replication.throttled.replicas",
        "min.insync.replicas",
    }
    assert set(made.topic_configs(["stray", "gone"]).own) == {"stray"}


def test_kafka_s_own_list_of_configs_is_what_counts(made: KafkaAdmin) -> None:
    text = "topics:\n" + topic("a", configs='{"retention.m": 1, "retention.ms": -5, "segment.bytes": many}')
    definitions = defined(text)
    known = topics.with_refused_configs(topics.observe(made), made, lambda ask: checking.refused_configs(definitions, ask))
    messages = sorted(fault.message for fault in checking.check(definitions, known))
    assert messages == [
        "a: Kafka says: Invalid value -5 for configuration retention.ms: Value must be at least -1",
        "a: Kafka says: Invalid value many for configuration segment.bytes: Not a number of type INT",
        "a: this version of Kafka has no topic config retention.m; did you mean retention.ms?",
    ]


def test_an_export_is_checked_without_a_fault(made: KafkaAdmin, kafka: LocalKafka, tmp_path: Path) -> None:
    maps, file = tmp_path / "maps.yaml", tmp_path / "topics.yaml"
    maps.write_text(MAPS)
    live = ["--bootstrap", kafka.bootstrap_servers]
    written = CliRunner().invoke(app, ["topics", "export", *live, "--maps", str(maps)])
    assert written.exit_code == 0, written.output
    assert "not taken over: stray isn't declared: stray is in no map" in written.stderr
    assert "throttled.replicas" in written.stderr
    assert "throttled" not in "".join(line for line in written.stdout.splitlines() if not line.startswith("#"))
    file.write_text(written.stdout)
    done = CliRunner().invoke(app, ["topics", "check", str(file), *live])
    assert (done.exit_code, done.stdout) == (0, "2 topics: no fault\n"), done.output


def test_definitions_are_checked_against_what_there_is(made: KafkaAdmin, kafka: LocalKafka, tmp_path: Path) -> None:
    file = tmp_path / "topics.yaml"
    file.write_text(
        MAPS
        + "topics:\n"
        + topic("events.a", partitions=1)
        + topic("events_a", map="events")
        + topic("events.b", replication_factor=3)
        + topic("payments", configs='{"cleanup.policy": [delete, shred]}')
    )
    done = CliRunner().invoke(app, ["topics", "check", str(file), "--bootstrap", kafka.bootstrap_servers])
    assert done.exit_code == 2
    lines = [line.removeprefix(f"{file}:") for line in done.stdout.splitlines()]
    assert lines[0].startswith("5: events.a has 2 partitions, and Kafka can't take any away")
    assert lines[1].startswith("6: events_a collides with events.a at")
    assert lines[2].startswith("6: events_a collides with the topic events.a")
    assert lines[3].startswith("7: events.b: replication factor 3, and map events has 2 brokers")
    assert lines[4].startswith("8: payments: Kafka says: Invalid value shred for configuration cleanup.policy")
    assert lines[5] == "4 topics: 5 faults"
