"""How fast each broker may replicate in each direction: computes the next rates from the current ones and one observation.

The target comes from headroom (`headroom`). The rate approaches it by additive increase and multiplicative decrease, as in TCP
and Cruise Control's concurrency adjuster: up in small steps while request times are in bounds (`latency_guard`), halved as soon
as they are not. A rate close to its target doesn't change (hysteresis). It rises only if request times are known to be good and
the rate is actually used. Without metrics it stays as it is, and after a few such observations is halved at each, down to the
floor. A rate is never removed here, and always lies between floor and ceiling.

What a replica needs only to keep up with production is the lowest that a rate falls to for want of metrics or of headroom, with a
quarter and the floor on top: below it a copy never ends. Request times alone come before that.
"""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import NamedTuple

from kafka_runbooks.models.cluster import Direction
from kafka_runbooks.models.throttles import AdaptiveThrottle, Budget, FixedThrottle, Rate, Rates, Slowness
from kafka_runbooks.models.traffic import BrokerTraffic, TrafficReport
from kafka_runbooks.throttle import latency_guard, measurements, urgent
from kafka_runbooks.throttle.headroom import Capacity, headroom, known_good, learn
from kafka_runbooks.throttle.latency_guard import Finding, Latency
from kafka_runbooks.throttle.measurements import PerBroker, RequestTimes

STEPS_FROM_FLOOR_TO_CEILING = 40
"""Good observations in a row that lead from the floor to the ceiling. Kafka holds the average of the last 11 s to the rate
(`replication.quota.window.num` samples, `ReplicationQuotaManager`), so raising the rate lets ten seconds of the difference
through at once, at network speed. With 12 steps from floor to ceiling that burst saturated the link for 0.7 s, in which in-sync
followers' fetches, and so producers, wait; with 40 it is 0.2 s."""
STEPS_WHILE_FALLING_BEHIND = 2
"""Factor on the step while more is produced than arrives."""
PROBING_SHARE = 0.25
"""Share of a step to raise by, beyond the traffic known to be safe."""
OBSERVATIONS_WITHOUT_METRICS = 3
"""From this many observations in a row without metrics on, the rate is halved at each, down to the floor."""
USED_SHARE = 0.1
"""If less than this share of the rate is used, the rate is not the bottleneck; raising it would only allow a burst later. It is
this low because small partitions arrive in bursts: a fifth of the rate was measured in normal operation."""
KEEP_UP_FACTOR = 1.25
"""On what only keeps up: production varies. The floor comes on top of it."""
URGENT_FIRST = "no faster than needed: partitions that can't wait are copied first"
DEFAULT_CEILING_BYTES_PER_S = 100_000_000
FIXED = "fixed by the operator"


class Participants(NamedTuple):
    """The brokers whose rates are adapted: sources by leader rate, destinations by follower rate."""

    leader: frozenset[int]
    follower: frozenset[int] = frozenset()

    def of(self, direction: Direction) -> frozenset[int]:
        return self.leader if direction is Direction.LEADER else self.follower


class Observation(NamedTuple):
    """What was measured on the cluster since the last observation."""

    at: datetime
    traffic: TrafficReport
    times: Mapping[int, RequestTimes] = {}
    moved: PerBroker | None = None
    """Bytes per second that moved (`measurements.moved`)."""
    lag: PerBroker | None = None
    """Bytes that are missing (`measurements.lag`)."""
    capacities: Mapping[int, Capacity] = {}
    waits_for: Mapping[int, frozenset[int]] = {}
    """Leader -> the destinations in sync for a partition that it leads: its acks=all producers wait for them."""
    held: Mapping[tuple[Direction, int], str] = {}
    """Who is to replicate no faster than needed, and why: e.g. a broker is down that holds replicas of what it copies."""
    urgent: Participants = Participants(frozenset())
    """Brokers that copy partitions which can't wait."""
    beside: Participants = Participants(frozenset())
    """Those of them that have had such copies left out of their lists since the last observation."""
    keeps_up: PerBroker | None = None
    """Bytes per second at which replicas neither catch up nor fall behind (`feasibility`)."""


def ceiling(throttle: AdaptiveThrottle, capacities_bytes_per_s: Iterable[float], share: float | None = None) -> int:
    """The highest rate: the operator's ceiling, else a share of the lowest capacity; never below the floor.

    Args:
        share: of the capacity; default: the source share.
    """
    if throttle.ceiling_bytes_per_s is not None:
        return throttle.ceiling_bytes_per_s
    capacities = list(capacities_bytes_per_s)
    share = throttle.source_share if share is None else share
    highest = int(share * min(capacities)) if capacities else DEFAULT_CEILING_BYTES_PER_S
    return max(throttle.floor_bytes_per_s, highest)


def first_rate(throttle: AdaptiveThrottle | FixedThrottle) -> int:
    """The initial rate, before anything was measured."""
    return throttle.rate_bytes_per_s if isinstance(throttle, FixedThrottle) else throttle.floor_bytes_per_s


def rate_before_data_flows(throttle: AdaptiveThrottle | FixedThrottle) -> int:
    """The rate of sources whose destination is not up yet, in bytes per second.

    In-sync followers' fetches of listed partitions are samples of the same quota. When the destination comes up, the source's
    window therefore holds ten seconds of almost no traffic (`STEPS_FROM_FLOOR_TO_CEILING`): at the floor it would send ten times
    the floor at once, then nothing for ten seconds, and so on. At a tenth of the floor that burst is a fetch or two. The
    destination's own quota starts with its first fetch, with an empty window: it limits the copy while its sources rise to the
    floor.
    """
    first = first_rate(throttle)
    return first if isinstance(throttle, FixedThrottle) else max(1, first // 10)


def adapt(throttle: AdaptiveThrottle | FixedThrottle, now: Rates, participants: Participants, observation: Observation) -> Rates:
    """Every participant's next rates, each with its reason.

    Args:
        throttle: what the operator asked for.
        now: the rates in force and the state kept with them; a new participant starts at `first_rate`.
        participants: brokers in `now` that are not among them are dropped.
        observation: what was measured.
    """
    now = with_participants(throttle, now, participants)
    if isinstance(throttle, FixedThrottle):
        return now
    findings: dict[int, Finding] = {}
    slowness: dict[int, Slowness] = {}
    for broker in sorted({*participants.leader, *participants.follower, *observation.waits_for}):
        times = observation.times.get(broker, RequestTimes())
        before = now.slowness.get(broker, Slowness())
        findings[broker], slowness[broker] = latency_guard.judge(
            throttle, observation.traffic.by_broker.get(broker), times, before, observation.at
        )
    waited_for = latency_guard.slow_for_destinations(findings, observation.waits_for)
    leader = {
        broker: _both(throttle, Direction.LEADER, broker, rate, findings[broker], observation)
        for broker, rate in now.leader.items()
    }
    follower = {}
    for broker, rate in now.follower.items():
        finding = findings[broker]
        if broker in waited_for and finding.latency is not Latency.SLOW:
            slow, found = waited_for[broker]
            finding = Finding(Latency.SLOW, f"broker {slow} waits for it: {found.why}")
        follower[broker] = _both(throttle, Direction.FOLLOWER, broker, rate, finding, observation)
    return Rates(leader=leader, follower=follower, slowness=slowness)


def no_higher(rates: Rates, before: Rates) -> Rates:
    """The rates, none above the one before: for when nobody knows whether the run may raise one. New ones only take less."""

    def bounded(direction: Direction) -> dict[int, Rate]:
        known = before.of(direction)
        return {
            broker: rate.model_copy(update={"bytes_per_s": min(rate.bytes_per_s, known[broker].bytes_per_s)})
            if broker in known
            else rate
            for broker, rate in rates.of(direction).items()
        }

    return rates.model_copy(update={"leader": bounded(Direction.LEADER), "follower": bounded(Direction.FOLLOWER)})


def with_participants(throttle: AdaptiveThrottle | FixedThrottle, now: Rates, participants: Participants) -> Rates:
    """The rates in force of these participants; a new one starts at `first_rate`."""
    first = Rate(bytes_per_s=first_rate(throttle), why=FIXED if isinstance(throttle, FixedThrottle) else "initial rate")
    is_fixed = isinstance(throttle, FixedThrottle)
    return Rates(
        leader={broker: first if is_fixed else now.leader.get(broker, first) for broker in sorted(participants.leader)},
        follower={broker: first if is_fixed else now.follower.get(broker, first) for broker in sorted(participants.follower)},
        slowness=now.slowness,
    )


def _both(
    throttle: AdaptiveThrottle, direction: Direction, broker: int, before: Rate, finding: Finding, observation: Observation
) -> Rate:
    """The next rate, and what may be copied beside it of partitions that can't wait."""
    rate = _next(throttle, direction, broker, before, finding, observation)
    if broker not in observation.urgent.of(direction):
        return rate.model_copy(update={"urgent": Budget(slow_at=before.urgent.slow_at)})
    room = _headroom(throttle, direction, broker, observation)
    # The rest goes down to that as soon as something is copied beside it.
    left = None if room is None else room - _needed(throttle, direction, broker, observation)
    is_used = broker in observation.beside.of(direction)
    found = urgent.budget(before.urgent, left, finding.latency, is_used=is_used, at=observation.at)
    return rate.model_copy(update={"urgent": found})


def _highest(throttle: AdaptiveThrottle, direction: Direction, broker: int, observation: Observation) -> int:
    capacity = observation.capacities.get(broker, Capacity()).of(direction)
    return ceiling(throttle, [] if capacity is None else [capacity], _share(throttle, direction))


def _share(throttle: AdaptiveThrottle, direction: Direction) -> float:
    return throttle.source_share if direction is Direction.LEADER else throttle.destination_share


def _needed(throttle: AdaptiveThrottle, direction: Direction, broker: int, observation: Observation) -> float:
    """What keeps up with production, and a share on top of it."""
    keeps_up = _sound(observation.keeps_up, direction, broker) or 0.0
    return min(throttle.floor_bytes_per_s + keeps_up * KEEP_UP_FACTOR, _highest(throttle, direction, broker, observation))


def _headroom(throttle: AdaptiveThrottle, direction: Direction, broker: int, observation: Observation) -> float | None:
    """What a broker's capacity leaves for this run, whatever the ceiling; None: not known."""
    capacity = observation.capacities.get(broker, Capacity()).of(direction)
    traffic = observation.traffic.by_broker.get(broker)
    if traffic is None or measurements.trouble(traffic, observation.at):
        return None
    if capacity is None:
        return float(DEFAULT_CEILING_BYTES_PER_S)
    carried = measurements.total(traffic, direction)
    if carried is None:
        return None
    return headroom(capacity, carried, _own(traffic, direction, broker, observation), _share(throttle, direction))


def _own(traffic: BrokerTraffic, direction: Direction, broker: int, observation: Observation) -> float:
    """What this run moves of a broker's traffic: never more than all of its replication."""
    is_out = direction is Direction.LEADER
    replicated = traffic.replication_out_bytes_per_s if is_out else traffic.replication_in_bytes_per_s
    return min(_sound(observation.moved, direction, broker) or 0.0, replicated or 0.0)


def _next(
    throttle: AdaptiveThrottle, direction: Direction, broker: int, before: Rate, finding: Finding, observation: Observation
) -> Rate:
    floor = throttle.floor_bytes_per_s
    capacity = observation.capacities.get(broker, Capacity()).of(direction)
    highest = _highest(throttle, direction, broker, observation)
    rate = min(max(before.bytes_per_s, floor), highest)
    halved = max(floor, rate // 2)

    traffic = observation.traffic.by_broker.get(broker)
    problem = measurements.trouble(traffic, observation.at)
    carried = None if problem or traffic is None else measurements.total(traffic, direction)
    lag = _sound(observation.lag, direction, broker)
    learned = before.learned
    if carried is not None and finding.latency in (Latency.GOOD, Latency.SLOW):
        learned = learn(learned, carried, in_bounds=finding.latency is Latency.GOOD, at=observation.at)

    def decide(bytes_per_s: float, why: str, blind_observations: int = 0) -> Rate:
        return Rate(bytes_per_s=int(bytes_per_s), why=why, blind_observations=blind_observations, lag_bytes=lag, learned=learned)

    if finding.latency is Latency.SLOW:
        return decide(halved, f"halved: {finding.why}" if rate > floor else f"at the floor: {finding.why}")
    needed = _needed(throttle, direction, broker, observation)
    held = URGENT_FIRST if broker in observation.beside.of(direction) else observation.held.get((direction, broker))
    if held:
        if rate < needed and finding.latency is not Latency.GOOD:
            return decide(rate, f"unchanged: {finding.why}; {held}")
        return decide(min(needed, rate + max(1.0, (highest - floor) / STEPS_FROM_FLOOR_TO_CEILING)), held)
    lowest = max(halved, min(rate, needed))
    if finding.latency is Latency.UNKNOWN or (capacity is not None and carried is None):
        what = observation.traffic.problems.get(broker) or (
            finding.why if finding.latency is Latency.UNKNOWN else "its traffic is not known"
        )
        blind = before.blind_observations + 1
        if blind < OBSERVATIONS_WITHOUT_METRICS:
            return decide(rate, f"unchanged: {what}", blind)
        return decide(lowest, f"reduced towards the floor: {what}, for {blind} observations in a row", blind)

    own = _sound(observation.moved, direction, broker)
    replicated = None
    if carried is not None and traffic is not None:
        replicated = traffic.replication_out_bytes_per_s if direction is Direction.LEADER else traffic.replication_in_bytes_per_s
    if capacity is None or carried is None or traffic is None:
        target, usage = float(highest), "capacity not known"
    else:
        target = headroom(capacity, carried, _own(traffic, direction, broker, observation), _share(throttle, direction))
        usage = f"{_mega(carried)} of {_mega(capacity)} MB/s are used, {_mega(own or 0.0)} by this run"
    target = min(max(target, floor), highest)
    if abs(target - rate) <= throttle.change_threshold * rate and (rate == highest or target < highest):
        where = "at the ceiling" if rate == highest else "at the headroom"
        return decide(rate, f"{where}: {usage}")
    if target < rate:
        return decide(max(target, lowest), f"less headroom: {usage}")
    if finding.latency is Latency.UNSURE:
        return decide(rate, f"unchanged: {finding.why}")
    if own is None:
        return decide(rate, "unchanged: how much arrives is not known")
    # In-sync followers' fetches count against the same quota (`feasibility`): they alone can use up a rate.
    used = max(own, replicated or 0.0)
    if used < USED_SHARE * rate:
        return decide(rate, f"unchanged: only {_mega(used)} of {_mega(rate)} MB/s are used")
    step = max(1.0, (highest - floor) / STEPS_FROM_FLOOR_TO_CEILING)
    why = f"up: request times are in bounds, {usage}"
    good = known_good(learned, observation.at)
    if good is not None and carried is not None and carried >= good:
        step, why = max(1.0, step * PROBING_SHARE), f"up slowly, beyond the traffic known to be safe: {usage}"
    elif lag is not None and before.lag_bytes is not None and lag > before.lag_bytes:
        step, why = step * STEPS_WHILE_FALLING_BEHIND, f"up faster: more is produced than arrives; {usage}"
    return decide(min(target, rate + step), why)


def _sound(figures: PerBroker | None, direction: Direction, broker: int) -> float | None:
    figure = None if figures is None else figures.of(direction, broker)
    return figure if figure is not None and measurements.is_sound(figure) else None


def _mega(bytes_per_s: float) -> str:
    return f"{bytes_per_s / 1_000_000:.1f}"
