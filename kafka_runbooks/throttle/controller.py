"""How fast each broker may replicate right now, in each direction: one look further.

What a rate should be comes from headroom (`headroom`); how it gets there is additive increase and multiplicative decrease, as
TCP and Cruise Control's concurrency adjuster have it, on the rate itself: up in small steps while clients don't feel it
(`guarding`), halved as soon as they do. A rate that is near what it should be stays as it is (hysteresis). It rises only on
good news and where what it allows is used; unknown is not good news: it stays, and after a few such looks falls, look by
look, to the floor. It is never cleared here, and never leaves floor and ceiling.
"""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import NamedTuple

from kafka_runbooks.models.cluster import Direction
from kafka_runbooks.models.throttles import AdaptiveThrottle, FixedThrottle, Rate, Rates, Slowness
from kafka_runbooks.models.traffic import TrafficReport
from kafka_runbooks.throttle import latency_guard, measurements
from kafka_runbooks.throttle.headroom import Capacity, headroom, known_good, learn
from kafka_runbooks.throttle.latency_guard import Finding, News
from kafka_runbooks.throttle.measurements import PerBroker, RequestTimes

STEPS_FROM_FLOOR_TO_CEILING = 40
"""So many good looks in a row lead from the floor to the ceiling. Kafka holds the average of the last 11 s to the rate
(`replication.quota.window.num` samples, `ReplicationQuotaManager`), so a rate that rises lets ten seconds of the difference
through at once, as fast as the network carries it: from floor to ceiling in 12 steps that was 0.7 s of a full line, in which
in-sync followers' fetches and so producers wait; in 40 it is a fifth of a second."""
STEPS_WHILE_FALLING_BEHIND = 2
"""More is produced than arrives: the rate rises twice as fast."""
PROBING_SHARE = 0.25
"""Of a step, beyond the traffic that is known to go well."""
LOOKS_WITHOUT_METRICS = 3
"""From so many looks in a row without metrics on, the rate is halved at each, down to the floor."""
USED_SHARE = 0.1
"""A rate of which less than this is used isn't what holds the data back; raised unseen, it would let a burst through later.
As low as that because small partitions come in bursts: a fifth of what is allowed has been measured as normal."""
DEFAULT_CEILING_BYTES_PER_S = 100_000_000
FIXED = "fixed by the operator"


class Participants(NamedTuple):
    """The brokers whose rates are ours to decide: sources by leader rate, destinations by follower rate."""

    leader: frozenset[int]
    follower: frozenset[int] = frozenset()

    def of(self, direction: Direction) -> frozenset[int]:
        return self.leader if direction is Direction.LEADER else self.follower


class Look(NamedTuple):
    """What was seen of the cluster since the last look, and at what time."""

    at: datetime
    traffic: TrafficReport
    times: Mapping[int, RequestTimes] = {}
    moved: PerBroker | None = None
    """Bytes per second that moved (`measuring.moved`)."""
    lag: PerBroker | None = None
    """Bytes that are missing (`measuring.lag`)."""
    capacities: Mapping[int, Capacity] = {}
    waits_for: Mapping[int, frozenset[int]] = {}
    """Leader -> the destinations that are in sync for a partition that it leads: its acks=all producers wait for them."""
    held_at_floor: str = ""
    """A reason to replicate as slowly as allowed, e.g. that another broker is down."""


def ceiling(throttle: AdaptiveThrottle, capacities_bytes_per_s: Iterable[float], share: float | None = None) -> int:
    """The highest rate: what the operator gave, else a share of the least capacity; never below the floor.

    Args:
        share: default: what a source may give.
    """
    if throttle.ceiling_bytes_per_s is not None:
        return throttle.ceiling_bytes_per_s
    capacities = list(capacities_bytes_per_s)
    share = throttle.source_share if share is None else share
    highest = int(share * min(capacities)) if capacities else DEFAULT_CEILING_BYTES_PER_S
    return max(throttle.floor_bytes_per_s, highest)


def first_rate(throttle: AdaptiveThrottle | FixedThrottle) -> int:
    """The rate to begin with, before anything was measured."""
    return throttle.rate_bytes_per_s if isinstance(throttle, FixedThrottle) else throttle.floor_bytes_per_s


def rate_before_data_flows(throttle: AdaptiveThrottle | FixedThrottle) -> int:
    """The rate of sources whose destination is not there yet, in bytes per second.

    In-sync followers' fetches of listed partitions are samples of the same quota, so that by the time when the destination comes
    a source has ten seconds of nearly nothing to make up for (`STEPS_FROM_FLOOR_TO_CEILING`): at the floor it would send ten
    times the floor at once, nothing for ten seconds, and so on. At a tenth of it that is a fetch or two. The
    destination's own quota begins with its first fetch and has nothing to make up for: it holds the copy while its sources go to
    the floor.
    """
    first = first_rate(throttle)
    return first if isinstance(throttle, FixedThrottle) else max(1, first // 10)


def adapt(throttle: AdaptiveThrottle | FixedThrottle, now: Rates, participants: Participants, look: Look) -> Rates:
    """Every participant's rates one look later, each with the reason.

    Args:
        throttle: what the operator asked for.
        now: the rates in force and what was remembered with them; one that takes part anew begins with `first_rate`.
        participants: whoever is in `now` but not here is left out of the answer.
        look: what was measured.
    """
    now = with_participants(throttle, now, participants)
    if isinstance(throttle, FixedThrottle):
        return now
    findings: dict[int, Finding] = {}
    slowness: dict[int, Slowness] = {}
    for broker in sorted({*participants.leader, *participants.follower, *look.waits_for}):
        times = look.times.get(broker, RequestTimes())
        before = now.slowness.get(broker, Slowness())
        findings[broker], slowness[broker] = latency_guard.judge(
            throttle, look.traffic.by_broker.get(broker), times, before, look.at
        )
    waited_for = latency_guard.slow_for_destinations(findings, look.waits_for)
    leader = {
        broker: _next(throttle, Direction.LEADER, broker, rate, findings[broker], look) for broker, rate in now.leader.items()
    }
    follower = {}
    for broker, rate in now.follower.items():
        finding = findings[broker]
        if broker in waited_for and finding.news is not News.SLOW:
            slow, theirs = waited_for[broker]
            finding = Finding(News.SLOW, f"broker {slow} waits for it: {theirs.why}")
        follower[broker] = _next(throttle, Direction.FOLLOWER, broker, rate, finding, look)
    return Rates(leader=leader, follower=follower, slowness=slowness)


def with_participants(throttle: AdaptiveThrottle | FixedThrottle, now: Rates, participants: Participants) -> Rates:
    """The rates in force of these participants; one that takes part only now begins with `first_rate`."""
    first = Rate(bytes_per_s=first_rate(throttle), why=FIXED if isinstance(throttle, FixedThrottle) else "to begin with")
    is_fixed = isinstance(throttle, FixedThrottle)
    return Rates(
        leader={broker: first if is_fixed else now.leader.get(broker, first) for broker in sorted(participants.leader)},
        follower={broker: first if is_fixed else now.follower.get(broker, first) for broker in sorted(participants.follower)},
        slowness=now.slowness,
    )


def _next(throttle: AdaptiveThrottle, direction: Direction, broker: int, before: Rate, finding: Finding, look: Look) -> Rate:
    floor = throttle.floor_bytes_per_s
    share = throttle.source_share if direction is Direction.LEADER else throttle.destination_share
    capacity = look.capacities.get(broker, Capacity()).of(direction)
    highest = ceiling(throttle, [] if capacity is None else [capacity], share)
    rate = min(max(before.bytes_per_s, floor), highest)
    halved = max(floor, rate // 2)

    traffic = look.traffic.by_broker.get(broker)
    wrong = measurements.trouble(traffic, look.at)
    carried = None if wrong or traffic is None else measurements.total(traffic, direction)
    lag = _sound(look.lag, direction, broker)
    learned = before.learned
    if carried is not None and finding.news in (News.GOOD, News.SLOW):
        learned = learn(learned, carried, in_bounds=finding.news is News.GOOD, at=look.at)

    def decide(bytes_per_s: float, why: str, blind_looks: int = 0) -> Rate:
        return Rate(bytes_per_s=int(bytes_per_s), why=why, blind_looks=blind_looks, lag_bytes=lag, learned=learned)

    if look.held_at_floor:
        return decide(floor, look.held_at_floor)
    if finding.news is News.SLOW:
        return decide(halved, f"halved: {finding.why}" if rate > floor else f"at the floor: {finding.why}")
    if finding.news is News.UNKNOWN or (capacity is not None and carried is None):
        what = look.traffic.problems.get(broker) or (finding.why if finding.news is News.UNKNOWN else "its traffic is not known")
        blind = before.blind_looks + 1
        if blind < LOOKS_WITHOUT_METRICS:
            return decide(rate, f"stays: {what}", blind)
        return decide(halved, f"down to the floor: {what}, {blind} looks in a row", blind)

    ours = _sound(look.moved, direction, broker)
    replicated = None
    if carried is not None and traffic is not None:
        replicated = traffic.replication_out_bytes_per_s if direction is Direction.LEADER else traffic.replication_in_bytes_per_s
    if capacity is None or carried is None:
        target, room = float(highest), "capacity not known"
    else:
        target = headroom(capacity, carried, min(ours or 0.0, replicated or 0.0), share)
        room = f"{_mega(carried)} of {_mega(capacity)} MB/s are used, {_mega(ours or 0.0)} by us"
    target = min(max(target, floor), highest)
    if abs(target - rate) <= throttle.change_threshold * rate and (rate == highest or target < highest):
        where = "at the ceiling" if rate == highest else "as fast as there is room"
        return decide(rate, f"{where}: {room}")
    if target < rate:
        return decide(max(target, halved), f"less room: {room}")
    if finding.news is News.UNSURE:
        return decide(rate, f"stays: {finding.why}")
    if ours is None:
        return decide(rate, "stays: how much arrives is not known")
    # In-sync followers' fetches count against the same quota (`feasibility`): a rate can be used up and nothing of it be ours.
    used = max(ours, replicated or 0.0)
    if used < USED_SHARE * rate:
        return decide(rate, f"stays: only {_mega(used)} of {_mega(rate)} MB/s are used")
    step = max(1.0, (highest - floor) / STEPS_FROM_FLOOR_TO_CEILING)
    why = f"up: request times are in bounds, {room}"
    good = known_good(learned, look.at)
    if good is not None and carried is not None and carried >= good:
        step, why = max(1.0, step * PROBING_SHARE), f"up slowly, beyond what is known to go well: {room}"
    elif lag is not None and before.lag_bytes is not None and lag > before.lag_bytes:
        step, why = step * STEPS_WHILE_FALLING_BEHIND, f"up faster: more is produced than arrives; {room}"
    return decide(min(target, rate + step), why)


def _sound(figures: PerBroker | None, direction: Direction, broker: int) -> float | None:
    figure = None if figures is None else figures.of(direction, broker)
    return figure if figure is not None and measurements.is_sound(figure) else None


def _mega(bytes_per_s: float) -> str:
    return f"{bytes_per_s / 1_000_000:.1f}"
