"""Throttle overrides by operators, for all brokers or for one: `throttle set` and `throttle clear`.

An override replaces the computed rate in both directions, regardless of floor and ceiling; a broker's own takes precedence over
the one for all. It ends at `expires_at`, and with the run that it was set in.
"""

from datetime import datetime

from kafka_runbooks.models.cluster import Direction
from kafka_runbooks.models.operator import Override, Overrides
from kafka_runbooks.models.throttles import Rate, Rates


def with_override(overrides: Overrides, new: Override, now: datetime) -> Overrides:
    """The overrides with a new one, which replaces the one of the same scope (a broker, or all).

    Raises:
        ValueError: it has expired already, or its expiry has no time zone.
    """
    if new.expires_at is not None and new.expires_at.tzinfo is None:
        raise ValueError("expires_at has no timezone; write it like 2026-01-01T12:00:00Z")
    if new.expires_at is not None and new.expires_at <= now:
        raise ValueError(f"expires_at is {new.expires_at:%Y-%m-%d %H:%M:%S %Z}, which is over")
    kept = [override for override in overrides if override.broker_id != new.broker_id]
    return tuple(sorted((*kept, new), key=_order))


def without(overrides: Overrides, broker_id: int | None) -> Overrides:
    """The overrides without the one for this broker, or (None) without the one for all."""
    return tuple(override for override in overrides if override.broker_id != broker_id)


def still_in_force(overrides: Overrides, now: datetime) -> Overrides:
    """The overrides that have not expired."""
    return tuple(override for override in overrides if override.expires_at is None or now < override.expires_at)


def for_broker(overrides: Overrides, broker_id: int) -> Override | None:
    """The override for a broker: its own, else the one for all."""
    by_broker = {override.broker_id: override for override in overrides}
    return by_broker.get(broker_id, by_broker.get(None))


def apply(rates: Rates, overrides: Overrides) -> Rates:
    """The computed rates, replaced by overrides where there are any; the next computation starts from these."""

    def overridden(direction: Direction) -> dict[int, Rate]:
        found = {}
        for broker, rate in rates.of(direction).items():
            override = for_broker(overrides, broker)
            found[broker] = rate if override is None else _rate(override, rate)
        return found

    return rates.model_copy(update={"leader": overridden(Direction.LEADER), "follower": overridden(Direction.FOLLOWER)})


def _rate(override: Override, computed: Rate) -> Rate:
    scope = "all brokers" if override.broker_id is None else f"broker {override.broker_id}"
    return computed.model_copy(update={"bytes_per_s": override.rate_bytes_per_s, "why": f"override for {scope}: {override}"})


def _order(override: Override) -> int:
    return -1 if override.broker_id is None else override.broker_id
