"""Kafka's admin interface for one cluster.

No single Python library has all of it: confluent-kafka has configurations and elections; kafka-python has metadata with topic
ids, the quorum, reassignments, DescribeLogDirs and requests to a chosen broker. `KafkaAdmin` takes whichever a call needs.
"""

from kafka_runbooks.clients.kafka.admin import KafkaAdmin

__all__ = ["KafkaAdmin"]
