"""Brokers before and after a plan, as figures for a drawing. Bars only: at 3 a.m. nobody reads a table of bytes."""

from dataclasses import dataclass

from kafka_runbooks.models.plans import PlanSummary
from kafka_runbooks.models.wording import size

WIDTH = 170
"""Of the longest bar, in the drawing's units."""
MOST_BARS = 24


@dataclass(frozen=True)
class Bar:
    """One broker: how long its bars are, and what is written beside them."""

    label: str
    before: int
    after: int
    arriving: int
    """The part of `after` that is copied to it."""
    before_text: str
    after_text: str
    was_lost: bool = False


@dataclass(frozen=True)
class Picture:
    """All of them."""

    bars: tuple[Bar, ...]
    left_out: int
    sentence: str
    """The same in words, for who can't see it."""


def of(plan: PlanSummary) -> Picture | None:
    """The picture of a plan; None where it moves nothing."""
    found = _returning(plan) or _moved(plan)
    if not found:
        return None
    shown = found[:MOST_BARS]
    words = "; ".join(f"{bar.label}: {bar.before_text}, then {bar.after_text}" for bar in shown)
    return Picture(shown, len(found) - len(shown), words)


def _returning(plan: PlanSummary) -> tuple[Bar, ...]:
    longest = max((broker.bytes_to_copy for broker in plan.returning), default=0)
    return tuple(
        Bar(
            label=f"{broker.broker_id}" + (f", {broker.rack}" if broker.rack else ""),
            before=0,
            after=_length(broker.bytes_to_copy, longest),
            arriving=_length(broker.bytes_to_copy, longest),
            before_text=f"lost, {broker.partitions} replicas",
            after_text=f"{size(broker.bytes_to_copy)} copied to it",
            was_lost=True,
        )
        for broker in plan.returning
    )


def _moved(plan: PlanSummary) -> tuple[Bar, ...]:
    longest = max((max(broker.used_bytes_before, broker.used_bytes_after) for broker in plan.brokers), default=0)
    return tuple(
        Bar(
            label=str(broker.broker_id),
            before=_length(broker.used_bytes_before, longest),
            after=_length(broker.used_bytes_after, longest),
            arriving=_length(min(broker.arriving_bytes, broker.used_bytes_after), longest),
            before_text=f"{size(broker.used_bytes_before)}, {broker.replicas_before} replicas, leads {broker.leaders_before}",
            after_text=f"{size(broker.used_bytes_after)}, {broker.replicas_after} replicas, leads {broker.leaders_after}",
        )
        for broker in plan.brokers
    )


def _length(number: int, longest: int) -> int:
    return round(WIDTH * number / longest) if longest else 0
