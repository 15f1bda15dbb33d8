"""Other tools' files: what is taken over, and everything else is named."""

import json
from typing import Any

import pytest
import yaml

from kafka_runbooks.models.topics import TopicDefinition
from kafka_runbooks.topics.migration import Converted, convert

TOPICCTL = """meta:
  name: orders
  cluster: local
  environment: prod
  region: eu
  description: |
    All orders.
  labels: {owner: payments, tier: gold}
  consumers: [billing]
spec:
  partitions: 12
  replicationFactor: 3
  retentionMinutes: 360
  placement: {strategy: in-rack, picker: randomized}
  migration: {throttleMB: 5}
  settings:
    cleanup.policy: [compact, delete]
    max.message.bytes: 5242880
    preallocate: true
    segment.ms:
    follower.replication.throttled.replicas: ["0:1"]
"""
REGISTRY: dict[str, Any] = {
    "topics": {
        "orders": {
            "tags": {"owner": "payments", "tagMarkedForDeletionTime": "1"},
            "name": "orders",
            "partitions": 12,
            "replication": 3,
            "configs": {"retention.ms": "21600000", "leader.replication.throttled.replicas": "*"},
            "replicas": {"0": {"ids": [1, 2, 3]}},
        },
        "__consumer_offsets": {"name": "__consumer_offsets", "partitions": 50, "replication": 3},
    },
    "names": [],
}


def converted(*texts: str) -> Converted:
    found = Converted()
    for number, text in enumerate(texts):
        convert(text, f"f{number}", found)
    return found


def test_topicctl_s_topics() -> None:
    found = converted(TOPICCTL)
    assert not found.faults
    configs = {
        "cleanup.policy": "compact,delete",
        "max.message.bytes": "5242880",
        "preallocate": "true",
        "retention.ms": "21600000",
    }
    assert found.topics == [
        TopicDefinition(name="orders", partitions=12, replication_factor=3, owner="payments", configs=configs)
    ]
    lines = {line.split(": ")[1].split(" of ")[0]: line for line in found.remarks}
    assert lines.keys() == {
        "meta.cluster",
        "meta.environment",
        "meta.region",
        "meta.description",
        "meta.labels.tier",
        "meta.consumers",
        "spec.placement.strategy",
        "spec.placement.picker",
        "spec.migration",
        "spec.settings.segment.ms",
        "follower.replication.throttled.replicas",
    }
    assert lines["meta.consumers"].startswith("f0:9: ") and lines["spec.settings.segment.ms"].startswith("f0:20: ")


def test_every_field_of_topicctl_is_taken_over_or_named() -> None:
    """A value of each that changes must change what comes out."""
    given = yaml.safe_load(TOPICCTL)
    whole = converted(TOPICCTL)
    for part in ("meta", "spec"):
        for name in given[part]:
            less = {**given, part: {key: value for key, value in given[part].items() if key != name}}
            found = converted(yaml.safe_dump(less))
            outcome = (found.topics, sorted(map(str, found.left)))
            assert outcome != (whole.topics, sorted(map(str, whole.left))), f"{part}.{name} makes no difference"


def test_the_same_of_many_topics_is_one_line() -> None:
    found = converted(*(TOPICCTL.replace("orders", f"orders-{number}") for number in range(9)))
    assert len(found.topics) == 9 and len(found.remarks) == 11
    assert "meta.region of orders-0, orders-1, orders-2 and 6 more: has no counterpart" in "\n".join(found.remarks)


def test_the_registry_s_topics_and_tags() -> None:
    found = converted(json.dumps(REGISTRY, indent=1))
    assert not found.faults
    configs = {"retention.ms": "21600000"}
    assert found.topics == [
        TopicDefinition(name="orders", partitions=12, replication_factor=3, owner="payments", configs=configs)
    ]
    said = "\n".join(found.remarks)
    for name in ("tags.tagMarkedForDeletionTime", "replicas", "leader.replication.throttled.replicas", "__consumer_offsets"):
        assert name in said


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (("name: orders", "name: orders/a"), "f0:2: meta.name: 'orders/a' has '/'"),
        (("  name: orders\n", ""), "f0:1: meta.name: is missing"),
        (("partitions: 12", "partitions: many"), "f0:11: spec.partitions: Input should be a valid integer"),
        (("  replicationFactor: 3\n", ""), "f0:10: spec.replicationFactor: is missing"),
        (("retentionMinutes: 360", "retentionMinutes: 6h"), "f0:13: orders: retentionMinutes isn't a whole number"),
        (("preallocate: true", "retention.ms: 1"), "f0:13: orders: retention.ms is in its settings too"),
        (("preallocate: true", "preallocate: {a: b}"), "f0:19: spec.settings.preallocate: give a text"),
        (("  partitions: 12\n", ""), "f0:1: is neither a topic of topicctl nor the registry's answer"),
        (("meta:", "meta: ["), "isn't YAML"),
    ],
)
def test_a_fault_is_where_it_stands_in_their_file(change: tuple[str, str], fault: str) -> None:
    assert change[0] in TOPICCTL
    found = converted(TOPICCTL.replace(*change))
    assert any(fault in str(one) for one in found.faults), found.faults


def test_an_empty_file_is_a_fault() -> None:
    assert str(converted("").faults[0]) == "f0:1: is empty"
