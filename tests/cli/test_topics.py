"""`topics` and `schema topics` without a cluster; with one: tests/clients/test_topics.py."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from kafka_runbooks.cli.app import app
from kafka_runbooks.topics import schema
from kafka_runbooks.topics.reading import read
from tests.topics.builders import MAPS, topic
from tests.topics.test_migration import TOPICCTL

RIGHT = MAPS + "topics:\n" + topic("events.a")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    made = tmp_path / "topics.yaml"
    made.write_text(RIGHT)
    return made


def test_definitions_without_a_fault(file: Path) -> None:
    done = CliRunner().invoke(app, ["topics", "check", str(file)])
    assert (done.exit_code, done.stderr) == (0, "")
    assert done.stdout.splitlines() == [
        "not checked: without a cluster: configs, partitions that there are, other topics' names, brokers that there are",
        "1 topic: no fault",
    ]


def test_every_fault_of_every_file_with_its_line(file: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.yaml"
    other.write_text("topics:\n" + topic("events_a", map="events") + topic("a/b") + topic("legacy"))
    done = CliRunner().invoke(app, ["topics", "check", str(file), str(other)])
    assert done.exit_code == 2
    places = [line.partition(": ")[0] for line in done.stdout.splitlines() if line.startswith(str(tmp_path))]
    assert places == [f"{other}:2", f"{other}:3", f"{other}:4"]
    assert done.stdout.splitlines()[-1] == "3 topics: 3 faults"


def test_as_json(file: Path) -> None:
    file.write_text(RIGHT.replace("events.a", "legacy"))
    done = CliRunner().invoke(app, ["topics", "check", str(file), "-o", "json"])
    found = json.loads(done.stdout)
    assert done.exit_code == 2 and found["topics"] == 1 and len(found["unchecked"]) == 1
    assert [(one["file"], one["line"]) for one in found["faults"]] == [(str(file), 5)]


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["check", "no.yaml"], 2, "no.yaml: can't read the file: No such file or directory"),
        (["check", "FILE", "--kafka-config", "x"], 2, "--kafka-config: only with --bootstrap SERVERS"),
        (["check", "FILE", "--bootstrap", "x:1", "--kafka-config", "no.yaml"], 2, "--kafka-config: "),
        (["check", "FILE", "--bootstrap", "127.0.0.1:1"], 1, "--bootstrap 127.0.0.1:1: the cluster can't be read"),
        (["export", "--bootstrap", "127.0.0.1:1"], 1, "--bootstrap 127.0.0.1:1: the cluster can't be read"),
        (["export", "--bootstrap", "127.0.0.1:1", "--maps", "no.yaml"], 2, "no.yaml: can't read the file"),
        (["convert", "FILE"], 2, ":1: is neither a topic of topicctl"),
    ],
)
def test_what_ends_a_command_early(file: Path, arguments: list[str], code: int, said: str) -> None:
    done = CliRunner().invoke(app, ["topics", *(str(file) if one == "FILE" else one for one in arguments)])
    assert done.exit_code == code and said in done.stderr and done.stderr.startswith("error: "), done.output


def test_other_tools_files_are_converted_and_what_is_left_is_named_twice(tmp_path: Path) -> None:
    """On stderr for who converts, and in comments for who reads the file later."""
    theirs = tmp_path / "orders.yaml"
    theirs.write_text(TOPICCTL)
    done = CliRunner().invoke(app, ["topics", "convert", str(theirs)])
    assert done.exit_code == 0
    said = done.stderr.splitlines()
    assert said and [f"# {line}" for line in said] == [line for line in done.stdout.splitlines() if line.startswith("#")]
    assert all(line.startswith(f"not taken over: {theirs}:") for line in said)
    reading = read(done.stdout, "converted")
    assert not reading.faults and list(reading.definitions.by_name) == ["orders"]


def test_the_schema_for_editors() -> None:
    done = CliRunner().invoke(app, ["schema", "topics"])
    assert done.exit_code == 0 and json.loads(done.stdout) == schema.topics()
