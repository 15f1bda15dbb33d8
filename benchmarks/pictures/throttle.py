"""The adaptive throttle over time: the controller itself, on a made-up broker that is slower the fuller its network is."""

from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from benchmarks.pictures.drawing import Drawing
from kafka_runbooks.models.throttles import AdaptiveThrottle, Rates
from kafka_runbooks.models.traffic import BrokerTraffic, TrafficReport
from kafka_runbooks.throttle.controller import Observation, Participants, adapt, ceiling
from kafka_runbooks.throttle.headroom import Capacity
from kafka_runbooks.throttle.latency_guard import mean_limit_ms
from kafka_runbooks.throttle.measurements import PerBroker, RequestTimes, RequestWindow

SOURCE = 1001
SECONDS = 6
MINUTES = 30
CAPACITY = 125_000_000
MEGA = 1_000_000
PEAK, BLIND = (10.0, 15.0), (21.0, 22.6)
"""Minutes: clients' peak, and metrics that are missing."""


class Moment(NamedTuple):
    minute: float
    clients: float
    rate: int
    mean_ms: float
    why: str


def simulated() -> list[Moment]:
    """What the controller does every six seconds; it sees of the broker what a metrics source would tell."""
    throttle, begin = AdaptiveThrottle(), datetime(2026, 3, 1, tzinfo=UTC)
    rates, participants, found = Rates(), Participants(frozenset((SOURCE,))), []
    rate = throttle.floor_bytes_per_s
    for number in range(MINUTES * 60 // SECONDS):
        at, minute = begin + timedelta(seconds=SECONDS * number), SECONDS * number / 60
        wave = (number * 7 % 11 - 5) * 0.6  # Clients are never quite even.
        clients = ((88 if PEAK[0] <= minute < PEAK[1] else 32) + wave) * MEGA
        own = min(rate, CAPACITY)
        load = (clients + own) / CAPACITY
        mean_ms = min(400.0, 4 / max(0.01, 1 - load)) if load < 1 else 400.0
        carried = min(clients + own, CAPACITY)
        traffic = BrokerTraffic(
            broker_id=SOURCE,
            measured_at=at,
            in_bytes_per_s=0.0,
            out_bytes_per_s=carried - own,
            replication_in_bytes_per_s=0.0,
            replication_out_bytes_per_s=own,
            produce_p99_ms=5.0,  # The picture is of the mean, which reacts at once.
            fetch_p99_ms=5.0,
        )
        is_blind = BLIND[0] <= minute < BLIND[1]
        report = TrafficReport(problems={SOURCE: "no metrics"}) if is_blind else TrafficReport(by_broker={SOURCE: traffic})
        observation = Observation(
            at=at,
            traffic=report,
            times={} if is_blind else {SOURCE: RequestTimes(RequestWindow(1000, mean_ms), RequestWindow(1000, 5.0))},
            moved=PerBroker({SOURCE: own}, {}),
            capacities={SOURCE: Capacity(CAPACITY, CAPACITY)},
        )
        rates = adapt(throttle, rates, participants, observation)
        found.append(Moment(minute, clients, int(own), mean_ms, rates.leader[SOURCE].why))
        rate = rates.leader[SOURCE].bytes_per_s
    return found


def throttle() -> str:
    """Rate and clients above, their request times below."""
    moments = simulated()
    limit, floor = mean_limit_ms(AdaptiveThrottle()), AdaptiveThrottle().floor_bytes_per_s
    highest = ceiling(AdaptiveThrottle(), [CAPACITY])
    it = Drawing(980, 540, "The rate rises in steps, is halved when clients wait, and falls to the floor without metrics")
    left, right, top, bottom, low, lowest = 70, 960, 56, 296, 350, 450

    def x(minute: float) -> float:
        return left + (right - left) * minute / MINUTES

    def y(bytes_per_s: float) -> float:
        return bottom - (bottom - top) * bytes_per_s / (140 * MEGA)

    def late(ms: float) -> float:
        return lowest - (lowest - low) * min(ms, 100) / 100

    it.text(20, 30, "A source's replication rate over half an hour, as the controller computes it every 6 s", size=15, bold=True)
    for begin, end in (PEAK, BLIND):
        it.area([(x(begin), top), (x(end), top), (x(end), lowest), (x(begin), lowest)], "shade")
    it.text(x(sum(PEAK) / 2), top + 14, "clients' peak", "amber-text", size=11.5, anchor="middle", bold=True)
    it.text(x(sum(BLIND) / 2), top + 14, "no metrics", "amber-text", size=11.5, anchor="middle", bold=True)
    for value in (0, 50, 100):
        it.line([(left, y(value * MEGA)), (right, y(value * MEGA))])
        it.text(left - 8, y(value * MEGA) + 4, f"{value}", "soft", size=11, anchor="end")
    it.text(left - 8, top + 6, "MB/s", "soft", size=11, anchor="end")
    clients = [(x(one.minute), y(one.clients)) for one in moments]
    it.area([(left, bottom), *clients, (clients[-1][0], bottom)], "grey")
    for value, words in ((CAPACITY, "the network's capacity"), (highest, "ceiling: 80 % of it"), (floor, "floor")):
        it.line([(left, y(value)), (right, y(value))], "mark")
        it.text(right - 6, y(value) - 5, words, "soft", size=11, anchor="end")
    it.line([(x(one.minute), y(one.rate)) for one in moments], "blue-line")
    it.line([(left, late(0)), (right, late(0))])
    it.line([(left, late(limit)), (right, late(limit))], "red-line")
    it.text(
        right - 6, late(limit) - 5, f"limit: {limit:.0f} ms on average, and the rate is halved", "soft", size=11, anchor="end"
    )
    it.line([(x(one.minute), late(one.mean_ms)) for one in moments], "amber-line")
    it.text(left - 8, late(100) + 4, "100 ms", "soft", size=11, anchor="end")
    it.text(left - 8, late(0) + 4, "0", "soft", size=11, anchor="end")
    it.text(left, low - 12, "what produce requests take", "amber-text", size=12, bold=True)
    for minute in range(0, MINUTES + 1, 5):
        it.text(
            x(minute),
            lowest + 20,
            f"{minute} min" if minute else "0",
            "soft",
            size=11,
            anchor="middle" if minute < MINUTES else "end",
        )
    for at, kind, words in ((left, "blue-text", "replication rate in force"), (left + 230, "soft", "grey: what clients read")):
        it.text(at, 498, words, kind, size=12, bold=True)
    it.text(
        left,
        522,
        "Up by a fortieth at a time while there is room; halved at once when clients wait; blind for long: down to the floor.",
        "soft",
        size=12,
    )
    return it.svg()
