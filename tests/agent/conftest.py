"""The agent's look is tested against a real Kafka on loopback."""

from tests.clients.local_kafka import kafka

__all__ = ["kafka"]
