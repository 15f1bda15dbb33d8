"""Definitions out of files and ConfigMaps: each fault with the line on which it is, and none hides another."""

import json
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kafka_runbooks.models import labels
from kafka_runbooks.topics import checking
from kafka_runbooks.topics.reading import read, read_config_map

DEFINITIONS = """maps:
  - name: events
    topics: 'events\\..*'
topics:
  - name: events.clicks
    partitions: 24
    replication_factor: 3
    configs:
      retention.ms: 604800000
      cleanup.policy: [compact, delete]
      preallocate: false
  - names: [a, b]
    partitions: 1
    replication_factor: 1
"""
HEADER = """apiVersion: v1
kind: ConfigMap
metadata:
  name: topics
  labels:
    kafka-runbooks.io/cluster: lab
    kafka-runbooks.io/definitions: topics
data:
"""


def manifest(text: str, header: str = HEADER) -> str:
    return header + "  events.yaml: |\n" + "".join(f"    {line}\n" if line else "\n" for line in text.splitlines())


def test_definitions_are_as_kafka_has_them() -> None:
    reading = read(DEFINITIONS, "topics.yaml")
    assert not reading.faults
    clicks = reading.definitions.by_name["events.clicks"]
    assert clicks.configs == {"retention.ms": "604800000", "cleanup.policy": "compact,delete", "preallocate": "false"}
    assert set(reading.definitions.by_name) == {"a", "b", "events.clicks"}
    assert [one.entry.name for one in reading.definitions.maps] == ["events"]


def test_a_config_map_has_the_same() -> None:
    alone, wrapped = read(DEFINITIONS, "f"), read(manifest(DEFINITIONS), "f")
    by_the_api = read_config_map("topics", {"events.yaml": DEFINITIONS}, {})
    assert not wrapped.faults and not by_the_api.faults
    assert [one.entry for one in wrapped.definitions.topics] == [one.entry for one in alone.definitions.topics]
    assert [one.entry for one in by_the_api.definitions.topics] == [one.entry for one in alone.definitions.topics]
    first = HEADER.count("\n") + 1
    for field in ((), ("partitions",), ("configs", "retention.ms")):
        line = alone.definitions.topics[0].place(*field).line
        assert wrapped.definitions.topics[0].place(*field) == ("f", first + line)
        assert by_the_api.definitions.topics[0].place(*field) == ("ConfigMap topics events.yaml", line)


def test_the_page_s_examples_are_right() -> None:
    page = Path(__file__).parents[2] / "docs" / "topics.md"
    blocks = re.findall(r"^```yaml\n(.*?)^```", page.read_text(), re.DOTALL | re.MULTILINE)
    assert len(blocks) == 2
    for text in blocks:
        reading = read(text, "page")
        assert not reading.faults and not checking.check(reading.definitions)
    assert reading.definitions.kept and reading.definitions.clusters[0][0] == "prod"


WRONG = [
    (("name: events.clicks", "name: events/clicks"), 5, "topics.0.name: 'events/clicks' has '/'"),
    (("    partitions: 24\n", ""), 5, "topics.0.partitions: is missing"),
    (("partitions: 24", "partitions: 24\n    ownr: me"), 7, "topics.0.ownr: no such field; did you mean owner?"),
    (("partitions: 24", "partitions: '24'"), 6, "topics.0.partitions: Input should be a valid integer"),
    (("retention.ms: 604800000", "retention.ms:"), 9, "topics.0.configs.retention.ms: has no value"),
    (("retention.ms", "leader.replication.throttled.replicas"), 9, "is never declared"),
    (("[a, b]", "[a, ..]"), 12, "topics.1.names.1: a topic can't be called '..'"),
    (("[a, b]", "[a, __b]"), 12, "topics.1.names.1: '__b' is Kafka's own"),
    (("  - names: [a, b]\n    partitions: 1\n", "  - partitions: 1\n"), 12, "topics.1: give name or names"),
    (("    topics: 'events\\..*'", "    topics: '('"), 3, "maps.0.topics: '(' is not a regular expression"),
    (("maps:", "map:"), 1, "map: no such field; did you mean maps?"),
    (("partitions: 24", "partitions: 24\n    partitions: 12"), 7, "partitions: is given twice; the first is on line 6"),
    (("replication_factor: 3", "replication_factor: 3: 4"), 7, "isn't YAML"),
]


@pytest.mark.parametrize(("change", "line", "fault"), WRONG, ids=[fault for _, _, fault in WRONG])
def test_a_fault_has_its_line_in_a_file_and_in_a_config_map(change: tuple[str, str], line: int, fault: str) -> None:
    assert change[0] in DEFINITIONS
    text = DEFINITIONS.replace(*change, 1)
    (found,) = read(text, "f").faults
    assert (found.place.line, fault in found.message) == (line, True), found
    (found,) = read(manifest(text), "f").faults
    inner = HEADER.count("\n") + 1 + line
    assert found.place == ("f", inner), found
    assert fault.replace("line 6", f"line {inner - 1}") in found.message


def test_every_fault_at_once_and_the_rest_is_read() -> None:
    text, chosen = (
        DEFINITIONS + "  - {name: c, partitions: 1, replication_factor: 1}\n",
        [WRONG[number] for number in (0, 2, 4, 6, 9)],
    )
    for change, _, _ in chosen:
        assert change[0] in text
        text = text.replace(*change, 1)
    reading = read(text, "f")
    assert len(reading.faults) == len(chosen)
    assert all(any(fault in found.message for found in reading.faults) for _, _, fault in chosen)
    assert list(reading.definitions.by_name) == ["c"]


@pytest.mark.parametrize(
    ("change", "line", "fault"),
    [
        (
            ("kafka-runbooks.io/definitions: topics", "kafka-runbooks.io/definition: topics"),
            5,
            "add kafka-runbooks.io/definitions: topics",
        ),
        (("kafka-runbooks.io/cluster: lab", "app: kafka"), 5, "add kafka-runbooks.io/cluster"),
        (("kind: ConfigMap", "kind: Secret"), 2, "Secret of v1: expected a ConfigMap"),
        (("\ndata:\n", "\nbinaryData: {}\ndata:\n"), 8, "binaryData: isn't read"),
    ],
)
def test_a_config_map_that_nothing_would_read_is_a_fault(change: tuple[str, str], line: int, fault: str) -> None:
    (found,) = read(manifest(DEFINITIONS).replace(*change), "f").faults
    assert found.place.line == line and fault in found.message, found


@pytest.mark.parametrize(
    ("text", "line", "fault"),
    [
        ("", 1, "is empty"),
        ("# nothing\n---\n", 1, "is empty"),
        ("- a\n", 1, "expected topics, maps or a ConfigMap"),
        ("{}", 1, "is empty"),
        ("topics:\n", 1, "topics: expected a list"),
        (HEADER, 8, "data: is empty"),
        (HEADER + "  a: |\n\n", 10, "is empty"),
        (HEADER + "  a: just words\n", 9, "expected topics or maps"),
        (HEADER + "  a: {topics: []}\n", 9, "a: expected a text"),
        (HEADER + '  a: "topics:\\n- 3\\n"\n', 9, "topics.0"),
        (HEADER + "  a: |\n    topics: [\n", 11, "isn't YAML"),
        ("topics: [\x07]", 1, "isn't YAML"),
        ("topics: &a [*a]", 1, "topics.0"),
        ("topics: !!python/object/apply:os.system [ls]", 1, "isn't YAML"),
    ],
)
def test_what_is_empty_or_half_is_a_fault(text: str, line: int, fault: str) -> None:
    """A run that takes half of the definitions for all of them would think that the others are gone."""
    found = read(text, "f").faults
    assert found and fault in found[0].message and found[0].place.line == line, found


def test_an_empty_config_map_is_a_fault() -> None:
    assert read_config_map("topics", {}, {}).faults
    assert read_config_map("topics", {"a": ""}, {}).faults
    assert read_config_map("topics", {"a": "topics: ["}, {}).faults


KEPT = {"topics": ["events.clicks", "tmp-.*"], "until": "2026-03-01T09:00:00Z", "by": "alice", "reason": "INC-7"}


@pytest.mark.parametrize("annotation", [KEPT, [KEPT, KEPT]])
def test_what_somebody_keeps_for_a_while_is_an_annotation(annotation: object) -> None:
    annotated = HEADER.replace("\ndata:\n", f"\n  annotations:\n    {labels.KEEP_UNTIL}: '{json.dumps(annotation)}'\ndata:\n")
    in_file = read(manifest(DEFINITIONS, annotated), "f")
    by_the_api = read_config_map("topics", {"a": DEFINITIONS}, {labels.KEEP_UNTIL: json.dumps(annotation)})
    assert not in_file.faults and not by_the_api.faults
    for reading in (in_file, by_the_api):
        kept = reading.definitions.kept[0].entry
        before, after = kept.until.replace(hour=8), kept.until
        assert kept.keeps("events.clicks", before) and kept.keeps("tmp-1", before)
        assert not kept.keeps("eventsXclicks", before) and not kept.keeps("tmp-1", after)


@pytest.mark.parametrize(
    ("annotation", "fault"),
    [
        ("until Monday", "isn't JSON"),
        (json.dumps(KEPT | {"until": "2026-03-01T09:00:00"}), "until: Input should have timezone info"),
        (json.dumps(KEPT | {"unitl": 1}), "unitl: no such field; did you mean until?"),
        (json.dumps(KEPT | {"topics": ["("]}), "is not a regular expression"),
    ],
)
def test_an_annotation_that_says_nothing_is_a_fault(annotation: str, fault: str) -> None:
    """Else a run would undo what somebody has set in an emergency."""
    annotated = HEADER.replace("\ndata:\n", f"\n  annotations:\n    {labels.KEEP_UNTIL}: '{annotation}'\ndata:\n")
    (found,) = read(manifest(DEFINITIONS, annotated), "f").faults
    assert found.place.line == 9 and fault in found.message, found
    (found,) = read_config_map("topics", {"a": DEFINITIONS}, {labels.KEEP_UNTIL: annotation}).faults
    assert fault in found.message


@given(st.text(alphabet=st.characters(codec="utf-8")) | st.text(alphabet=" \n-:{}[]&*!|>'\"#%@,?ab1.", max_size=60))
def test_whatever_is_in_a_file_is_read_or_is_a_fault(text: str) -> None:
    reading = read(text, "f")
    assert reading.faults or reading.definitions.topics or reading.definitions.maps or "[]" in text.replace(" ", "")
    assert all(fault.place.line >= 1 for fault in reading.faults)
