"""Headroom: how much of a broker's network is left for moving data, from its capacity and its measured traffic.

The formula is that of kafka-kit's autothrottle (`ReplicationHeadroom`; the figures of its tests hold here too), with one change:
the current replication traffic is *measured*. autothrottle uses the throttle it set last instead, which is wrong whenever data
moves slower than allowed, or someone else has changed the rate.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import NamedTuple

from kafka_runbooks.models.cluster import Direction
from kafka_runbooks.models.throttles import Learned

LEARNED_HALF_LIFE = timedelta(days=7)
"""Traffic known to be safe decays slowly: machines, disks and neighbours change."""
LIMIT_IS_FORGOTTEN_AFTER = timedelta(hours=1)
"""After this time without request times out of bounds, what was learned no longer limits the step."""


class Capacity(NamedTuple):
    """What a broker's network carries in each direction; None where it isn't configured."""

    leader_bytes_per_s: float | None = None
    follower_bytes_per_s: float | None = None

    def of(self, direction: Direction) -> float | None:
        return self.leader_bytes_per_s if direction is Direction.LEADER else self.follower_bytes_per_s


def capacity_of(instance_type: str | None, by_instance_type: Mapping[str, float]) -> Capacity:
    """A broker's capacity, from its node's instance type.

    A type that isn't configured leaves only its own brokers without a capacity (autothrottle then updates no broker).
    """
    both = by_instance_type.get(instance_type or "")
    return Capacity(both, both)


def headroom(capacity: float, carried: float, own: float, share: float) -> float:
    """The rate that this run's replication may use. All figures are in one unit (bytes per second).

    `(capacity - others - over) * share`, with `others = max(carried - own, 0)` and `over = max(carried - capacity, 0)`.
    Negative means no headroom. With any `share` < 1 the total traffic stays under the capacity.

    Args:
        capacity: of the broker's network in this direction.
        carried: all traffic measured in this direction, including the run's.
        own: the run's part of it, measured.
        share: of the free capacity that may be used (autothrottle: `max-tx-rate`, `max-rx-rate`).
    """
    others = max(carried - own, 0.0)
    over = max(carried - capacity, 0.0)
    return (capacity - others - over) * share


def learn(before: Learned | None, carried: float, *, in_bounds: bool, at: datetime) -> Learned:
    """Update what is known about the traffic a broker can carry, from one observation."""
    decayed = 0.0
    limited_at = None
    if before is not None:
        decayed = before.bytes_per_s * 0.5 ** (max(timedelta(), at - before.at) / LEARNED_HALF_LIFE)
        limited_at = before.limited_at
    if not in_bounds:
        return Learned(bytes_per_s=decayed, at=at, limited_at=at)
    return Learned(bytes_per_s=max(decayed, carried), at=at, limited_at=limited_at)


def known_good(learned: Learned | None, at: datetime) -> float | None:
    """The traffic known to be safe; None if no limit was hit recently.

    It isn't a capacity: a rate capped at it could never find out that the broker can carry more. Below it the rate rises in full
    steps, above it in small ones.
    """
    if learned is None or learned.limited_at is None or at - learned.limited_at > LIMIT_IS_FORGOTTEN_AFTER:
        return None
    return learned.bytes_per_s
