"""What a broker measures about itself: traffic by direction and latency, with the time it was measured.

Throttles are computed from it. A figure that isn't known is None, never 0: an unknown rate is no headroom.
"""

from datetime import datetime
from typing import Literal, get_args

from pydantic import Field

from kafka_runbooks.models.base import Model

Figure = Literal[
    "in_bytes_per_s",
    "out_bytes_per_s",
    "replication_in_bytes_per_s",
    "replication_out_bytes_per_s",
    "produce_p99_ms",
    "fetch_p99_ms",
    "produce_requests",
    "produce_mean_ms",
    "fetch_requests",
    "fetch_mean_ms",
]
"""The measured fields of `BrokerTraffic`; a metrics backend finds each of them under a name of its own."""

FIGURES: tuple[Figure, ...] = get_args(Figure)[:6]
"""Those that a broker must have."""

TOTALS: tuple[Figure, ...] = get_args(Figure)[6:]
"""Optional metrics that only some backends report."""


class BrokerTraffic(Model):
    """One broker, at one moment. Client traffic and replication are apart: `in_bytes_per_s` is what producers send
    (`BrokerTopicMetrics,name=BytesInPerSec`), `replication_in_bytes_per_s` what it fetches as a follower
    (`ReplicationBytesInPerSec`); `out` likewise for consumers and followers."""

    broker_id: int
    measured_at: datetime
    """When the oldest of the figures was measured."""
    in_bytes_per_s: float | None = None
    out_bytes_per_s: float | None = None
    replication_in_bytes_per_s: float | None = None
    replication_out_bytes_per_s: float | None = None
    produce_p99_ms: float | None = None
    fetch_p99_ms: float | None = None
    """Of consumers' fetches (`RequestMetrics,name=TotalTimeMs,request=FetchConsumer`)."""
    produce_requests: int | None = None
    """Produce requests completed since the broker started, and their mean time: two observations give the mean in between."""
    produce_mean_ms: float | None = None
    fetch_requests: int | None = None
    fetch_mean_ms: float | None = None


class TrafficReport(Model):
    """What a metrics backend found: the figures of brokers that report all of them fresh, and what is wrong with the others."""

    by_broker: dict[int, BrokerTraffic] = Field(default_factory=dict)
    problems: dict[int, str] = Field(default_factory=dict)
    """Broker -> which metric is missing, stale or implausible."""
