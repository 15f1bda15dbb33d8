"""Replication throttles as brokers have them: one rate for each direction, and why it is what it is.

A broker's leader rate bounds what it sends as a source, its follower rate what it receives as a destination (KIP-73).
"""

from datetime import datetime
from typing import Annotated, Literal

from pydantic import Field, model_validator

from kafka_runbooks.models.base import Model, OperatorInput
from kafka_runbooks.models.cluster import Direction, ThrottleRates

MEGABYTE = 1_000_000


class FixedThrottle(OperatorInput):
    """Every live source may replicate at this rate, from start to end."""

    mode: Literal["fixed"] = "fixed"
    rate_bytes_per_s: int = Field(ge=1_000, description="bytes per second that each live source may replicate")


class AdaptiveThrottle(OperatorInput):
    """Start at `floor_bytes_per_s`, rise while there is headroom and request times are in bounds, halve when they aren't."""

    mode: Literal["adapt"] = "adapt"
    floor_bytes_per_s: int = Field(default=10 * MEGABYTE, ge=1_000, description="the initial rate, and the lowest")
    ceiling_bytes_per_s: int | None = Field(
        default=None, ge=1_000, description="default: 80 % of the capacity that clusters.yaml gives the node's instance type"
    )
    produce_p99_limit_ms: float = Field(default=250.0, gt=0, description="the rate is halved while a live broker's p99 is above")
    fetch_p99_limit_ms: float | None = Field(
        default=1_000.0,
        gt=0,
        description="the same for consumers' fetches, which wait up to fetch.max.wait.ms (500) by design; null: not considered",
    )
    produce_mean_limit_ms: float | None = Field(
        default=None,
        gt=0,
        description="limit of the mean between two observations; default: a fifth of produce_p99_limit_ms",
    )
    source_share: float = Field(default=0.8, gt=0, lt=1, description="share of a source's free network capacity that may be used")
    destination_share: float = Field(default=0.8, gt=0, lt=1, description="the same for a destination")
    change_threshold: float = Field(
        default=0.1,
        ge=0,
        lt=1,
        description="a rate changes only by more than this share of it",
    )

    @model_validator(mode="after")
    def _floor_below_ceiling(self) -> "AdaptiveThrottle":
        if self.ceiling_bytes_per_s is not None and self.ceiling_bytes_per_s < self.floor_bytes_per_s:
            raise ValueError("ceiling_bytes_per_s is below floor_bytes_per_s")
        return self


Throttle = Annotated[FixedThrottle | AdaptiveThrottle, Field(discriminator="mode")]


SHOWN = 4
"""Reasons, and brokers of each, that a note names: heartbeats and histories carry it."""


class Learned(Model):
    """The most traffic that one broker was measured to carry in one direction while its request times were in bounds."""

    bytes_per_s: float
    at: datetime
    limited_at: datetime | None = None
    """When request times were last out of bounds; None: never, and then the broker may be able to carry more."""


class Budget(Model):
    """What may be copied beside a broker's lists in one direction, of partitions that can't wait (`throttle.urgent`)."""

    bytes_per_s: int = 0
    may_grow: bool = False
    """Whether more copies may be left out of the lists now; if not, those that are may stay."""
    slow_at: datetime | None = None
    """When request times were last out of bounds."""


class Rate(Model):
    """The rate of one broker in one direction, its reason, and what must be remembered until the next observation."""

    bytes_per_s: int
    why: str = "initial rate"
    blind_observations: int = 0
    """Observations in a row without the figures that are needed to judge it."""
    lag_bytes: float | None = None
    """What was missing on the replicas that are moving, at the last observation."""
    learned: Learned | None = None
    urgent: Budget = Budget()


class Slowness(Model):
    """What is remembered of one broker's request times: percentiles forget late, a window's mean at once."""

    measured_at: datetime | None = None
    """When the figures that were judged last had been measured."""
    window_slow_at: datetime | None = None
    """When the mean of a window was last over its limit."""
    p99_cut_at: datetime | None = None
    p99_cut_ratio: float = 0.0
    """The percentile that last cut a rate, over its limit: it cuts again where it has risen since, or has stayed for long."""
    produced_at: datetime | None = None
    """When produce requests were last observed to complete."""


class Rates(Model):
    """Every participant's rates, kept from observation to observation."""

    leader: dict[int, Rate] = Field(default_factory=dict)
    follower: dict[int, Rate] = Field(default_factory=dict)
    slowness: dict[int, Slowness] = Field(default_factory=dict)

    def of(self, direction: Direction) -> dict[int, Rate]:
        return self.leader if direction is Direction.LEADER else self.follower

    def wanted(self) -> dict[int, ThrottleRates]:
        """What to set on each broker; None where the broker does not send (receive)."""
        return {
            broker: ThrottleRates(
                leader_bytes_per_s=self.leader[broker].bytes_per_s if broker in self.leader else None,
                follower_bytes_per_s=self.follower[broker].bytes_per_s if broker in self.follower else None,
            )
            for broker in sorted({*self.leader, *self.follower})
        }

    def reason(self) -> str:
        """The reasons, each once, with the brokers it applies to; the first few, rising rates last."""
        brokers: dict[str, list[str]] = {}
        for direction in Direction:
            for broker, rate in sorted(self.of(direction).items()):
                brokers.setdefault(rate.why, []).append(f"{broker} {'out' if direction is Direction.LEADER else 'in'}")
        if len(brokers) == 1:
            return next(iter(brokers))
        reasons = sorted(brokers.items(), key=lambda reason: reason[0].startswith("up"))
        shown = [f"{', '.join(names[:SHOWN])}{', …' if len(names) > SHOWN else ''}: {why}" for why, names in reasons[:SHOWN]]
        return "; ".join([*shown, *([f"and {len(reasons) - SHOWN} more"] if len(reasons) > SHOWN else [])])
