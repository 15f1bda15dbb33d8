"""What a person sets by hand: `throttle set` and `throttle clear`, for all brokers or for one, until it ends by itself.

An override takes the place of the computed rate in both directions, whatever floor and ceiling say: a broker's own before the
one for all. It ends at `expires_at`, and, where the person said so, as soon as nothing moves any more. Overrides also hold
where nothing is being reassigned, for a broker that catches up after a restart: then the entries for it must be in the
topics' lists too, else the rate holds nobody back (`entries_for`).

The words are autothrottle's, so that whoever used its API reads what they know.
"""

from collections.abc import Collection, Iterable, Sequence
from datetime import datetime

from pydantic import Field

from kafka_runbooks.models.base import OperatorInput
from kafka_runbooks.models.cluster import Direction, Partition
from kafka_runbooks.models.ledger import EntryLease
from kafka_runbooks.models.runbooks import MEGABYTE, Name
from kafka_runbooks.models.throttles import Rate, Rates


class Override(OperatorInput):
    """A rate that a person wants, in bytes per second, for one broker or (no `broker_id`) for all that take part."""

    rate_bytes_per_s: int = Field(ge=1_000, le=1_000_000_000_000, description="bytes per second, in both directions")
    broker_id: int | None = Field(default=None, ge=0, description="default: every broker that takes part")
    expires_at: datetime | None = Field(default=None, description="with a timezone; default: until it is cleared")
    ends_with_moves: bool = Field(default=False, description="removed as soon as nothing moves any more")
    by: Name = Field(description="who says it; recorded")
    reason: Name = Field(description="why; recorded")

    def __str__(self) -> str:
        until = "" if self.expires_at is None else f", until {self.expires_at:%Y-%m-%d %H:%M %Z}".rstrip()
        until += ", until nothing moves" if self.ends_with_moves else ""
        return f"{self.rate_bytes_per_s / MEGABYTE:g} MB/s set by {self.by}{until}: {self.reason}"


Overrides = tuple[Override, ...]


def with_override(overrides: Overrides, new: Override, now: datetime) -> Overrides:
    """The overrides with a new one, which takes the place of the one for the same broker or for all.

    Raises:
        ValueError: it has ended already, or doesn't say of which timezone its end is.
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


def still_in_force(overrides: Overrides, now: datetime, *, is_moving: bool) -> Overrides:
    """Without those that have ended by themselves."""
    return tuple(
        override
        for override in overrides
        if (override.expires_at is None or now < override.expires_at) and (is_moving or not override.ends_with_moves)
    )


def for_broker(overrides: Overrides, broker_id: int) -> Override | None:
    """What holds for a broker: its own, else the one for all."""
    by_broker = {override.broker_id: override for override in overrides}
    return by_broker.get(broker_id, by_broker.get(None))


def apply(rates: Rates, overrides: Overrides) -> Rates:
    """The computed rates with what people want in their place; what is computed next goes on from these."""

    def overridden(direction: Direction) -> dict[int, Rate]:
        found = {}
        for broker, rate in rates.of(direction).items():
            override = for_broker(overrides, broker)
            found[broker] = rate if override is None else _rate(override, rate)
        return found

    return rates.model_copy(update={"leader": overridden(Direction.LEADER), "follower": overridden(Direction.FOLLOWER)})


def for_recovery(overrides: Overrides, participants: Collection[int]) -> Rates:
    """Follower rates of brokers that have an override of their own and take no part in any reassignment: they catch up."""
    return Rates(
        follower={
            override.broker_id: _rate(override, Rate(bytes_per_s=override.rate_bytes_per_s))
            for override in overrides
            if override.broker_id is not None and override.broker_id not in participants
        }
    )


def entries_for(partitions: Iterable[Partition], overrides: Overrides, participants: Collection[int]) -> dict[str, EntryLease]:
    """The list entries with which overrides hold back brokers that catch up without any reassignment.

    Args:
        partitions: the cluster's. Internal topics count like any other: they are replicated like any other.
        participants: brokers whose entries are in the lists already, because they take part in a reassignment.

    Returns:
        Topic -> the follower entries of every replica on an overridden broker that isn't the partition's leader.
    """
    brokers = {override.broker_id for override in overrides if override.broker_id is not None} - set(participants)
    entries: dict[str, list[tuple[int, int]]] = {}
    for partition in partitions:
        for broker in partition.replicas:
            if broker in brokers and broker != partition.leader:
                entries.setdefault(partition.topic, []).append((partition.partition, broker))
    return {
        topic: EntryLease(follower=tuple(f"{partition}:{broker}" for partition, broker in sorted(entries[topic])))
        for topic in sorted(entries)
    }


def rate_from(text: str) -> int:
    """Bytes per second from what somebody typed as autothrottle's `rate`: whole megabytes (10^6 bytes) per second.

    Raises:
        ValueError: it isn't a positive whole number. The message is autothrottle's.
    """
    if not text:
        raise ValueError("rate param must be specified")
    try:
        megabytes = int(text)
    except ValueError:
        raise ValueError("rate param must be supplied as an integer") from None
    if megabytes <= 0:
        raise ValueError("rate param must be >0")
    return megabytes * MEGABYTE


def broker_from(text: str) -> int | None:
    """A broker id, or None for `all`.

    Raises:
        ValueError: it is neither. The message is autothrottle's.
    """
    if text == "all":
        return None
    if not text.isascii() or not text.isdigit():
        raise ValueError("broker param must be provided as integer or the string 'all'")
    return int(text)


def told(override: Override | None, broker_id: int | None = None) -> str:
    """What is set, as autothrottle's `GET /throttle` answers."""
    if override is None:
        return f"{_of(broker_id)}no throttle override is set"
    return f"{_of(override.broker_id)}a throttle override is configured at {_megabytes(override)}"


def told_set(override: Override) -> str:
    """As autothrottle's `POST /throttle` answers."""
    return f"{_of(override.broker_id)}throttle successfully set to {_megabytes(override)}"


def told_removed(broker_ids: Sequence[int | None]) -> str:
    """As autothrottle's `POST /throttle/remove` answers, a line for each."""
    return "".join(f"{_of(broker_id)}throttle removed\n" for broker_id in broker_ids)


def _rate(override: Override, computed: Rate) -> Rate:
    scope = "all brokers" if override.broker_id is None else f"broker {override.broker_id}"
    return computed.model_copy(update={"bytes_per_s": override.rate_bytes_per_s, "why": f"override for {scope}: {override}"})


def _order(override: Override) -> int:
    return -1 if override.broker_id is None else override.broker_id


def _of(broker_id: int | None) -> str:
    return "" if broker_id is None else f"broker {broker_id}: "


def _megabytes(override: Override) -> str:
    return f"{override.rate_bytes_per_s / MEGABYTE:g}MB/s, autoremove=={str(override.ends_with_moves).lower()}"
