"""The maps that `place` writes, and their rollbacks, are carried out by Kafka's own `kafka-reassign-partitions`."""

import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka.admin import AdminClient, NewTopic
from typer.testing import CliRunner

from kafka_runbooks.cli.app import app
from tests.clients.local_kafka import LocalKafka

Places = dict[tuple[str, int], list[int]]
TOOL = "org.apache.kafka.tools.reassign.ReassignPartitionsCommand"
UNEVEN = [[1001, 1002]] * 6
LEFT_RIGHT = {"left": UNEVEN, "right": UNEVEN}


@pytest.fixture
def topics(kafka: LocalKafka) -> Iterator[Places]:
    """Two topics of which broker 1003 holds nothing; how they were laid out."""
    confluent = AdminClient({"bootstrap.servers": kafka.bootstrap_servers})
    made = [NewTopic(name, len(replicas), replica_assignment=replicas) for name, replicas in LEFT_RIGHT.items()]
    for future in confluent.create_topics(made).values():
        future.result(30)
    kafka.wait_for_topics(*LEFT_RIGHT)
    yield {(name, number): ids for name, replicas in LEFT_RIGHT.items() for number, ids in enumerate(replicas)}
    for future in confluent.delete_topics(list(LEFT_RIGHT)).values():
        future.result(30)


def place(kafka: LocalKafka, *more: str) -> None:
    asked = ["place", "rebalance", "--bootstrap", kafka.bootstrap_servers, "--topics", "left,right", "--level", "replica-count"]
    done = CliRunner().invoke(app, [*asked, *more])
    assert done.exit_code == 0, done.output


def carry_out(kafka: LocalKafka, file: Path) -> None:
    tool(kafka, file, "--execute")
    for _ in range(60):
        if "still in progress" not in tool(kafka, file, "--verify"):
            return
    pytest.fail(f"{file.name} is still in progress")


def tool(kafka: LocalKafka, file: Path, verb: str) -> str:
    java = shutil.which("java")
    asked = ["--bootstrap-server", kafka.bootstrap_servers, "--reassignment-json-file", str(file), verb]
    command = [java or "java", "-XX:TieredStopAtLevel=1", "-cp", f"{kafka.libraries}/*", TOOL, *asked]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def told(file: Path) -> Places:
    rows: list[dict[str, Any]] = json.loads(file.read_text())["partitions"]
    return {(row["topic"], row["partition"]): row["replicas"] for row in rows}


def there(kafka: LocalKafka) -> Places:
    listed = AdminClient({"bootstrap.servers": kafka.bootstrap_servers}).list_topics(timeout=10).topics
    return {(name, number): list(one.replicas) for name in LEFT_RIGHT for number, one in listed[name].partitions.items()}


def test_a_combined_map_and_its_rollback(kafka: LocalKafka, topics: Places, tmp_path: Path) -> None:
    place(kafka, "--out-path", str(tmp_path), "--out-file", "all")
    carry_out(kafka, tmp_path / "all.json")
    assert there(kafka) == topics | told(tmp_path / "all.json") != topics
    assert {broker: str(there(kafka)).count(str(broker)) for broker in kafka.racks} == {1001: 8, 1002: 8, 1003: 8}
    carry_out(kafka, tmp_path / "all@rollback.json")
    assert there(kafka) == topics


def test_maps_by_topic_in_two_phases(kafka: LocalKafka, topics: Places, tmp_path: Path) -> None:
    place(kafka, "--out-path", str(tmp_path), "--out-file", "all", "--phased")
    for topic in LEFT_RIGHT:
        for phase in (0, 1):
            carry_out(kafka, tmp_path / f"{topic}@phase{phase}.json")
    assert there(kafka) == topics | told(tmp_path / "all.json") != topics
