"""Headroom: how much of a broker's network is left for moving data, from its capacity and what really goes through it.

The formula is kafka-kit's autothrottle (its `ReplicationHeadroom`; figures in its own tests are ours too), with one change:
what replication takes now is *measured*. autothrottle takes the throttle it set last for it, which is wrong whenever the data
doesn't come as fast as it may, or somebody has changed the rate.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import NamedTuple

from kafka_runbooks.models.cluster import Direction
from kafka_runbooks.models.throttles import Learned

LEARNED_HALF_LIFE = timedelta(days=7)
"""Traffic that was carried well loses its word slowly: machines, disks and neighbours change."""
LIMIT_IS_FORGOTTEN_AFTER = timedelta(hours=1)
"""So long after request times were last out of bounds, what was learned bounds nothing any more."""


class Capacity(NamedTuple):
    """What a broker's network carries in each direction; None where it isn't configured."""

    leader_bytes_per_s: float | None = None
    follower_bytes_per_s: float | None = None

    def of(self, direction: Direction) -> float | None:
        return self.leader_bytes_per_s if direction is Direction.LEADER else self.follower_bytes_per_s


def capacity_of(instance_type: str | None, by_instance_type: Mapping[str, float]) -> Capacity:
    """A broker's capacity, from its node's instance type.

    A type that isn't configured leaves only its own brokers without a capacity (autothrottle then updates no broker at all).
    """
    both = by_instance_type.get(instance_type or "")
    return Capacity(both, both)


def headroom(capacity: float, carried: float, ours: float, share: float) -> float:
    """What our replication may take, all figures in one unit (bytes per second).

    `(capacity - others - over) * share`, with `others = max(carried - ours, 0)` and `over = max(carried - capacity, 0)`.
    It can be negative: then there is none. Whatever `share` < 1 is, others' traffic and ours stay under the capacity.

    Args:
        capacity: of the broker's network in this direction.
        carried: all traffic measured in this direction, ours included.
        ours: how much of it is ours, measured.
        share: of what is free, how much may be taken (autothrottle: `max-tx-rate`, `max-rx-rate`).
    """
    others = max(carried - ours, 0.0)
    over = max(carried - capacity, 0.0)
    return (capacity - others - over) * share


def learn(before: Learned | None, carried: float, *, in_bounds: bool, at: datetime) -> Learned:
    """What one more look teaches about what a broker carries."""
    faded = 0.0
    limited_at = None
    if before is not None:
        faded = before.bytes_per_s * 0.5 ** (max(timedelta(), at - before.at) / LEARNED_HALF_LIFE)
        limited_at = before.limited_at
    if not in_bounds:
        return Learned(bytes_per_s=faded, at=at, limited_at=at)
    return Learned(bytes_per_s=max(faded, carried), at=at, limited_at=limited_at)


def known_good(learned: Learned | None, at: datetime) -> float | None:
    """The traffic up to which it is known to go well; None while no limit was met lately.

    It isn't a capacity: a rate held under it could never find out that the broker can do more. Up to it a rate goes in whole
    steps, beyond it in small ones.
    """
    if learned is None or learned.limited_at is None or at - learned.limited_at > LIMIT_IS_FORGOTTEN_AFTER:
        return None
    return learned.bytes_per_s
