"""Topics as they are made and changed: what a plan of topics says of each, and what Kafka is asked for.

Replicas are always given, never left to Kafka: a broker set of a map isn't known to it.
"""

from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from typing import NamedTuple

from pydantic import Field

from kafka_runbooks.models.base import Model
from kafka_runbooks.models.plans import Brokers


class NewTopic(Model):
    """A topic to be made."""

    name: str
    replicas: tuple[Brokers, ...]
    """Of each partition, the preferred leader first."""
    configs: dict[str, str] = Field(default_factory=dict)


class NewPartitions(Model):
    """Partitions to be added to a topic."""

    topic: str
    topic_id: str | None
    partitions_before: int
    replicas: tuple[Brokers, ...]
    """Of each new partition; the first one gets the number `partitions_before`."""

    @property
    def count(self) -> int:
        """Partitions that the topic has in the end."""
        return self.partitions_before + len(self.replicas)


class ConfigValues(NamedTuple):
    """A config of a topic, now and as it is wanted; None: not set on the topic, so Kafka's default."""

    before: str | None
    after: str | None


class AppliedTopic(Model):
    """The configs of a topic that a definition has set, so that one that leaves the definition is reset."""

    name: str
    topic_id: str | None
    keys: tuple[str, ...]


class ConfigChange(Model):
    """Configs of a topic to be set, changed or reset."""

    topic: str
    topic_id: str | None
    values: dict[str, ConfigValues]

    @property
    def applied(self) -> AppliedTopic:
        """The keys that are about to be set."""
        keys = tuple(key for key, value in self.values.items() if value.after is not None)
        return AppliedTopic(name=self.topic, topic_id=self.topic_id, keys=keys)

    @property
    def wanted(self) -> Mapping[str, str | None]:
        """Each key's value in the end."""
        return {key: value.after for key, value in self.values.items()}


class TopicDeletion(Model):
    """A topic to be deleted, known by its id."""

    topic: str
    topic_id: str
    end_offsets: tuple[int, ...]
    """Where its partitions have ended for a while: nothing may have been produced since."""


class DriftKind(StrEnum):
    """How a topic differs from what is declared, where that isn't changed."""

    UNMANAGED = "unmanaged"
    """No definition has it."""
    CONFIG = "config"
    """A config is set on it that its definition doesn't have, and that we didn't set."""
    KEPT = "kept"
    """It differs, and somebody wants it to stay so until a time."""
    DELETION = "deletion"
    """It is marked for deletion, and may not be deleted now."""


class Drift(Model):
    """What differs from the definitions, and stays."""

    topic: str
    kind: DriftKind
    detail: str


class QuietTopic(Model):
    """Since when nothing has been produced to a topic that is marked for deletion, as far as anybody has looked."""

    name: str
    topic_id: str
    end_offsets: tuple[int, ...]
    since: datetime


class AppliedTopics(Model):
    """What definitions have set on a cluster's topics, and what has been seen of those that they mark for deletion."""

    LONG_FIELD = "topics"
    topics: tuple[AppliedTopic, ...] = ()
    quiet: tuple[QuietTopic, ...] = ()

    def keys_of(self, topic: str, topic_id: str | None) -> frozenset[str]:
        """What was set on the topic of this id: one that was made again under its name is another."""
        return frozenset(key for one in self.topics if (one.name, one.topic_id) == (topic, topic_id) for key in one.keys)
