"""Topics as they are made and changed: what a plan of topics says of each, and what Kafka is asked for.

Replicas are always given, never left to Kafka: a broker set of a map isn't known to it.
"""

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
