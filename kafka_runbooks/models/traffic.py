"""What a broker measures about itself: traffic by direction and latency, with the time it was measured.

Throttles are computed from it. A figure that isn't known is None, never 0: an unknown rate is no headroom.
"""

from datetime import datetime

from pydantic import Field

from kafka_runbooks.models.base import Model


class BrokerTraffic(Model):
    """One broker, at one moment. Client traffic and replication are apart: `in_bytes_per_s` is what producers send
    (`BrokerTopicMetrics,name=BytesInPerSec`), `replication_in_bytes_per_s` what it fetches as a follower
    (`ReplicationBytesInPerSec`); `out` likewise for consumers and followers."""

    broker_id: int
    measured_at: datetime
    in_bytes_per_s: float | None = None
    out_bytes_per_s: float | None = None
    replication_in_bytes_per_s: float | None = None
    replication_out_bytes_per_s: float | None = None
    produce_p99_ms: float | None = None
    fetch_p99_ms: float | None = None
    """Of consumers' fetches (`RequestMetrics,name=TotalTimeMs,request=FetchConsumer`)."""


class TrafficReport(Model):
    """What a metrics backend found: figures of the brokers that have them all and fresh, and of the others what is wrong."""

    by_broker: dict[int, BrokerTraffic] = Field(default_factory=dict)
    problems: dict[int, str] = Field(default_factory=dict)
    """Broker -> the metric that is missing, stale or nonsense, in words."""
