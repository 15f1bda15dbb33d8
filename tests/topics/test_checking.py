"""What is wrong with definitions, alone and against a cluster: each by its line, all at once."""

import time
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from kafka_runbooks.models.topics import RefusedConfigs, TopicFacts
from kafka_runbooks.topics import checking
from tests.topics.builders import MAPS, defined, existing, facts, found, topic
from tests.topics.test_reading import HEADER, manifest

TOPICS = "topics:\n"


@pytest.mark.parametrize(
    ("text", "faults"),
    [
        (TOPICS + topic("a.b") + topic("a.c"), []),
        (TOPICS + topic("a") + topic("a"), ["3: a is declared twice; the first time at f:2"]),
        (TOPICS + topic("a.b") + topic("a_b"), ["3: a_b collides with a.b at f:2"]),
        (
            TOPICS + topic("a") + "  - names:\n      - b\n      - a\n    partitions: 1\n    replication_factor: 1\n",
            ["5: a is declared twice; the first time at f:2"],
        ),
        (
            TOPICS + "  - {names: [a.b, a_b], partitions: 1, replication_factor: 1}\n",
            ["2: a_b collides with a.b at f:2"],
        ),
        (TOPICS + topic("a", configs='{"min.insync.replicas": 2}'), []),
        (
            TOPICS + topic("a", configs='\n      {"retention.ms": 1,\n      "min.insync.replicas": "3"}'),
            ["4: a: min.insync.replicas 3 is more than the replication factor, 2"],
        ),
    ],
)
def test_what_definitions_alone_can_tell(text: str, faults: list[str]) -> None:
    assert [one.startswith(fault) for one, fault in zip(found(text), faults, strict=True)] == [True] * len(faults), found(text)


MAP_RULE: list[tuple[str, str | None]] = [
    (topic("events.a"), None),
    (topic("events.a", map="events"), None),
    (topic("legacy", map="logs"), None),
    (topic("legacy"), "5: legacy is in no map"),
    (topic("legacy", delete="true"), None),
    (topic("events.a", map="logs"), "5: events.a is declared for map logs, and its name is one of events"),
    (topic("events.a", map="metrics"), "5: no map is called 'metrics'; there are events, logs"),
    ("  - {names: [events.a, legacy], partitions: 1, replication_factor: 1}\n", "5: legacy is in no map"),
]


@pytest.mark.parametrize(("entry", "fault"), MAP_RULE)
def test_a_topic_is_in_one_map(entry: str, fault: str | None) -> None:
    faults = found(MAPS + TOPICS + entry)
    assert (not faults) if fault is None else (len(faults) == 1 and faults[0].startswith(fault)), faults


def test_expressions_that_overlap_are_decided_by_the_definition() -> None:
    overlapping = MAPS.replace("(logs|audit)", "(logs|events)") + TOPICS
    (fault,) = found(overlapping + topic("events.a"))
    assert fault.startswith("5: events.a is in two maps, events and logs")
    assert not found(overlapping + topic("events.a", map="logs"))


def test_config_maps_of_two_clusters_are_not_checked_together() -> None:
    others = HEADER.replace("cluster: lab", "cluster: prod")
    texts = [manifest(TOPICS + topic("a")), manifest(TOPICS + topic("b"), others)]
    (fault,) = found("---\n".join(texts))
    assert fault == "18: is of cluster prod, and f:6 of lab: check each cluster by itself"
    assert not found("---\n".join([texts[0], manifest(TOPICS + topic("b"))]))


def test_a_map_is_declared_once() -> None:
    assert found(MAPS + "  - {name: logs, topics: x}\n") == ["4: map logs is declared twice; the first time at f:3"]


def test_labels_are_maps_without_expressions() -> None:
    labelled = facts(brokers_by_map={"events": (1, 2, 3), "logs": (4, 5)})
    assert not found(TOPICS + topic("a", map="events"), labelled)
    assert "is in no map" in found(TOPICS + topic("a"), labelled)[0]
    assert "no map is called 'x'" in found(TOPICS + topic("a", map="x"), labelled)[0]
    assert not found(TOPICS + topic("a"), facts(brokers_by_map={"events": (1, 2, 3)})), "the only one has every topic"
    assert not found(TOPICS + topic("a"), facts(brokers_by_map={})), "none has it, so all brokers do"


def test_a_map_has_brokers() -> None:
    text = "maps:\n  - {name: events, topics: '.*'}\n"
    assert not found(text, facts(brokers_by_map={"events": (1,)}))
    assert "no broker" in found(text, facts(brokers_by_map={"logs": (1,)}))[0]
    assert found("maps:\n  - name: x\n    topics: a\n    brokers: [1, 9]\n", facts()) == [
        "4: map x: broker 9 isn't in the cluster"
    ]


CLUSTER = facts({"a.b": existing(6), "events.a": existing(6)})


@pytest.mark.parametrize(
    ("text", "faults"),
    [
        (TOPICS + topic("a.b", partitions=6), []),
        (TOPICS + topic("a.b", partitions=7), []),
        (TOPICS + topic("a.b", partitions=5), ["2: a.b has 6 partitions, and Kafka can't take any away"]),
        (TOPICS + topic("a.b", partitions=5, delete="true"), []),
        (TOPICS + topic("a_b", partitions=6), ["2: a_b collides with the topic a.b"]),
        (TOPICS + topic("c", replication_factor=5), []),
        (TOPICS + topic("c", replication_factor=6), ["2: c: replication factor 6, and the cluster has 5 brokers"]),
        (MAPS + TOPICS + topic("events.c", replication_factor=3), []),
        (
            MAPS + TOPICS + topic("events.c", replication_factor=4),
            ["5: events.c: replication factor 4, and map events has 3 brokers"],
        ),
        (
            TOPICS + topic("c", configs='{"retention.m": 1, "x": 2}'),
            [
                "2: c: this version of Kafka has no topic config retention.m; did you mean retention.ms?",
                "2: c: this version of Kafka has no topic config x",
            ],
        ),
    ],
)
def test_what_does_not_fit_the_cluster(text: str, faults: list[str]) -> None:
    shown = found(text, CLUSTER)
    assert len(shown) == len(faults) and all(map(str.startswith, shown, faults)), shown


def test_a_map_that_grew_takes_more_copies() -> None:
    text = "maps:\n  - {name: events, topics: 'events\\..*'}\n" + TOPICS + topic("events.c", replication_factor=4)
    (fault,) = found(text, facts(brokers_by_map={"events": (1, 2, 3)}))
    assert fault == "4: events.c: replication factor 4, and map events has 3 brokers"
    assert not found(text, facts(brokers_by_map={"events": (1, 2, 3, 4)}))
    assert not found(text, facts()) and checking.unchecked(defined(text), facts()) == [
        "replication factors against the brokers of events: give `brokers` with the map"
    ], "who has nobody's labels says so"


class Kafka:
    """Refuses some values, and two that don't go together; names the first fault of a set only, as Kafka does."""

    def __init__(self) -> None:
        self.asked: list[Mapping[str, str]] = []

    def __call__(self, sets: Sequence[Mapping[str, str]]) -> list[str | None]:
        self.asked += sets
        return [self._reason(configs) for configs in sets]

    def _reason(self, configs: Mapping[str, str]) -> str | None:
        for key, value in sorted(configs.items()):
            if value == "wrong":
                return f"Invalid value wrong for configuration {key}"
        return "retention.ms is less than it may be" if {"retention.ms", "retention.bytes"} <= configs.keys() else None


def refused(text: str) -> tuple[tuple[RefusedConfigs, ...], Kafka]:
    kafka = Kafka()
    return checking.refused_configs(defined(text), kafka), kafka


def test_kafka_is_asked_for_values_and_each_fault_is_found() -> None:
    text = (
        "topics:\n  - name: a\n    partitions: 1\n    replication_factor: 1\n    configs:\n"
        "      cleanup.policy: wrong\n      retention.ms: wrong\n"
        + topic("b", configs='{"retention.ms": 1, "retention.bytes": 2}')
    )
    sets, _ = refused(text)
    assert found(text, facts(refused_configs=sets)) == [
        "6: a: Kafka says: Invalid value wrong for configuration cleanup.policy",
        "7: a: Kafka says: Invalid value wrong for configuration retention.ms",
        "8: b: Kafka says: retention.ms is less than it may be",
    ]


def test_kafka_is_asked_once_for_what_many_topics_have() -> None:
    same = "".join(topic(f"t{number}", configs='{"retention.ms": 1}') for number in range(50))
    text = TOPICS + same + topic("none") + topic("gone", delete="true", configs='{"retention.ms": wrong}')
    sets, kafka = refused(text)
    assert not sets and kafka.asked == [{"retention.ms": "1"}]


def test_a_wrong_value_elsewhere_is_not_held_against_a_topic() -> None:
    text = TOPICS + topic("a", configs='{"retention.ms": wrong}') + topic("b", configs='{"retention.ms": 1}')
    assert [one[0] for one in found(text, facts(refused_configs=refused(text)[0]))] == ["2"]


UNTOLD: list[tuple[str, TopicFacts | None, str]] = [
    (TOPICS + topic("a"), None, "without a cluster"),
    (TOPICS + topic("a", map="events"), facts(), "no file declares maps"),
    (TOPICS + topic("a"), facts(unknown=("values of configs: no right",)), "values of configs: no right"),
]


@pytest.mark.parametrize(("text", "known", "said"), UNTOLD)
def test_what_was_not_checked_is_said(text: str, known: Any, said: str) -> None:
    (line,) = checking.unchecked(defined(text), known)
    assert said in line


def test_what_was_checked_is_not_said_to_be_unchecked() -> None:
    assert not checking.unchecked(defined(MAPS + TOPICS + topic("events.a")), facts(refused_configs=()))


def test_two_thousand_topics_are_checked_in_a_second() -> None:
    text = MAPS + TOPICS + "".join(topic(f"events.{number}", configs='{"retention.ms": 1}') for number in range(2000))
    definitions, known = defined(text), facts({f"events.{number}": existing() for number in range(2000)})
    begin = time.process_time()
    assert not checking.check(definitions, known)
    assert time.process_time() - begin < 1
