"""Made-up observations for the throttle's tests: brokers' metrics, rates and capacities."""

from datetime import UTC, datetime, timedelta

from kafka_runbooks.models.throttles import Rates
from kafka_runbooks.models.traffic import BrokerTraffic, TrafficReport
from kafka_runbooks.throttle.controller import Observation
from kafka_runbooks.throttle.headroom import Capacity
from kafka_runbooks.throttle.measurements import PerBroker

START = datetime(2026, 3, 1, tzinfo=UTC)
INTERVAL = timedelta(seconds=6)
MEGABYTE = 1_000_000


def traffic(broker_id: int, at: datetime = START, **figures: float | int | None) -> BrokerTraffic:
    """A healthy, idle broker, except for these figures."""
    idle = dict.fromkeys(("in_bytes_per_s", "out_bytes_per_s", "replication_in_bytes_per_s", "replication_out_bytes_per_s"), 0.0)
    return BrokerTraffic.model_validate(
        {"broker_id": broker_id, "measured_at": at, **idle, "produce_p99_ms": 5.0, "fetch_p99_ms": 5.0, **figures}
    )


def report(*brokers: BrokerTraffic) -> TrafficReport:
    return TrafficReport(by_broker={broker.broker_id: broker for broker in brokers})


def all_used(rates: Rates) -> PerBroker:
    """The full rate moves on every broker."""
    return PerBroker(
        {broker: float(rate.bytes_per_s) for broker, rate in rates.leader.items()},
        {broker: float(rate.bytes_per_s) for broker, rate in rates.follower.items()},
    )


def good_observation(rates: Rates, at: datetime = START, capacity: float | None = None) -> Observation:
    """Every participant is idle and healthy, and uses its full rate."""
    brokers = sorted({*rates.leader, *rates.follower})
    used = all_used(rates)
    return Observation(
        at=at,
        traffic=report(
            *(
                traffic(
                    broker,
                    at,
                    replication_out_bytes_per_s=used.leader.get(broker, 0.0),
                    replication_in_bytes_per_s=used.follower.get(broker, 0.0),
                )
                for broker in brokers
            )
        ),
        moved=used,
        capacities={} if capacity is None else {broker: Capacity(capacity, capacity) for broker in brokers},
    )
