"""The replication rates of one copy while it runs: measured, computed by the controller, and set on the brokers under leases.

The guard over them never sleeps. While Temporal is away, nobody knows whether the run may still act: rates fall, and none rises.
While the Kubernetes API is away, no rate can be recorded: one that should fall falls to the floor, which the ledger allows in
advance. While no step copies, `throttle_guard` looks after them.

Copies of partitions that can't wait are left out of the throttled replica lists (`throttle.urgent`), chosen anew at each look. An
attempt leaves none out before it has looked twice: it doesn't know yet what the brokers bear, nor what others have set.
"""

import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import TypeVar

from activities import ledgers, overrides
from activities.errors import TemporalUnreachable
from activities.permits import Fence
from activities.step import Link
from activities.traffic import Traffic
from kafka_runbooks.clients.clusters import ClusterClients
from kafka_runbooks.clients.errors import Refused, Unreachable
from kafka_runbooks.models.cluster import BrokerRates, Direction, Replica, ReplicaSizes, ThrottleRates, TopicPartition
from kafka_runbooks.models.ledger import Ledger
from kafka_runbooks.models.messages import Token
from kafka_runbooks.models.moves import Copy
from kafka_runbooks.models.operator import Overrides
from kafka_runbooks.models.throttles import MEGABYTE, AdaptiveThrottle, Budget, Rates, Throttle
from kafka_runbooks.models.traffic import TrafficReport
from kafka_runbooks.models.urgency import Urgency
from kafka_runbooks.throttle import controller, feasibility, leases, measurements, urgent
from kafka_runbooks.throttle import overrides as by_hand
from kafka_runbooks.throttle.measurements import PerBroker

ADAPT_SECONDS = 6.0
SHOWN = 2
"""Of each kind of note in the reason."""

T = TypeVar("T")


class Throttling:
    """The rates in force for one copy, by broker and direction, adapted every `ADAPT_SECONDS`.

    An attempt after a crash resumes from the rates recorded in the ledger.
    """

    def __init__(self, clients: ClusterClients, link: Link, token: Token, throttle: Throttle) -> None:
        self._clients = clients
        self._fence = Fence(link, token)
        self._token = token
        self._throttle = throttle
        self._now: Rates | None = None
        self._ledger: Ledger | None = None
        self._sizes: tuple[float, ReplicaSizes] | None = None
        self._traffic = Traffic(clients)
        self._overrides: Overrides = ()
        self._due = 0.0
        self._problems: list[str] = []
        """What is away, as of the last observation."""
        self.highest_bytes_per_s = 0
        self.too_slow: tuple[str, ...] = ()
        """Rates at which replicas never catch up, as of the last observation."""
        self.external: tuple[str, ...] = ()
        """Rates that others have set, and that the copy obeys."""
        self._obeyed: frozenset[tuple[Direction, int]] = frozenset()
        """The same, as brokers and directions."""
        self._urgent: Mapping[TopicPartition, Urgency] = {}
        self._chosen: tuple[urgent.Candidate, ...] = ()
        """The copies that are left out of the lists."""
        self._why_held: tuple[str, ...] = ()
        """Why urgent copies are not."""

    @property
    def rate_bytes_per_s(self) -> int:
        """The highest current rate of a source."""
        rates = [rate.bytes_per_s for rate in self._now.leader.values()] if self._now else []
        return max(rates, default=controller.first_rate(self._throttle))

    @property
    def reason(self) -> str:
        reason = (self._now and self._now.reason()) or "initial rate"
        first = urgent.describe(self._urgent, self._chosen, self._why_held[:SHOWN])
        first_of_all = (first,) if first else ()
        return "; ".join((*first_of_all, *self._problems[:SHOWN], reason, *self.external[:SHOWN], *self.too_slow[:SHOWN]))

    @property
    def _beside(self) -> frozenset[urgent.Beside]:
        return frozenset(one.beside for one in self._chosen)

    @property
    def _is_adaptive(self) -> bool:
        return isinstance(self._throttle, AdaptiveThrottle)

    @property
    def _lowest_bytes_per_s(self) -> int | None:
        return self._throttle.floor_bytes_per_s if isinstance(self._throttle, AdaptiveThrottle) else None

    def wanted(self, copies: Sequence[Copy], live: frozenset[int]) -> dict[int, ThrottleRates]:
        """The rates in force, and the initial rate for new participants."""
        now = self._now or Rates()
        return controller.with_participants(self._throttle, now, self._participants(copies, live)).wanted()

    def take(self, copies: Sequence[Copy], live: frozenset[int]) -> None:
        """Throttle copies that are about to start: rates are adapted only every few seconds."""
        kafka, kubernetes = self._clients.kafka, self._clients.kubernetes
        ledger = ledgers.read(kubernetes, self._token)
        self._ledger = ledgers.throttle(
            kafka,
            kubernetes,
            self._fence,
            ledger,
            copies,
            live,
            self.wanted(copies, live),
            lowest_bytes_per_s=self._lowest_bytes_per_s,
            beside=self._beside,
        )

    def adapt(
        self,
        copies: Sequence[Copy],
        live: frozenset[int],
        *,
        expected_down: Collection[int] = (),
        followers: Mapping[int, Collection[int]] | None = None,
        urgency: Mapping[TopicPartition, Urgency] | None = None,
        sizes: ReplicaSizes | None = None,
    ) -> None:
        """Measure, compute and set the rates, where `ADAPT_SECONDS` have passed.

        Args:
            copies: what is copied now.
            live: brokers that are up.
            expected_down: brokers that may be down: they are being emptied.
            followers: leader -> brokers in sync for what it leads in the whole cluster: it may wait for a destination.
            urgency: of those partitions among the copies that can't wait.
            sizes: of every replica of what is copied, where they have just been asked for; None: they are asked for here.
        """
        if time.monotonic() < self._due:
            return
        self._due = time.monotonic() + ADAPT_SECONDS
        self._problems = []
        may_raise = self._may_raise()
        before = self._rates_in_force()
        participants = self._participants(copies, live)
        last, observed_at = self._sizes, time.monotonic()
        fetching = leases.with_other_fetchers(copies, live)
        taking_part = sorted({*leases.sources_of(copies, live), *leases.destinations_of(fetching, live)})
        if sizes is None:
            copied = {Replica(*copy.partition.name, broker) for copy in fetching for broker in _live_on(copy, live)}
            sizes = self._clients.kafka.sizes_of(copied)
        self._sizes = (observed_at, sizes)
        copying: tuple[feasibility.Copying, ...] = ()
        names = {copy.partition.name for copy in copies}
        self._urgent = {name: how for name, how in (urgency or {}).items() if name in names}
        if last is not None:
            produced = measurements.produced(last[1], sizes, observed_at - last[0], (copy.partition for copy in fetching))
            copying = feasibility.copying_of(fetching, sizes.size_bytes, produced)
        observation = controller.Observation(at=datetime.now(UTC), traffic=TrafficReport())
        if isinstance(self._throttle, AdaptiveThrottle):
            down = leases.held_by_a_broker_that_is_down(copies, live, expected_down)
            can_not_wait = [copy for copy in copies if copy.partition.name in self._urgent]
            observation = self._traffic.observe(live)._replace(
                moved=None if last is None else measurements.moved(last[1], sizes, observed_at - last[0], fetching),
                lag=measurements.lag(sizes.size_bytes, fetching),
                waits_for=measurements.waits_for(followers or {}, participants.follower),
                held={key: _is_down(brokers) for key, brokers in down.items()},
                urgent=self._participants(can_not_wait, live),
                beside=controller.Participants(
                    frozenset(one.source for one in self._chosen if one.name in self._urgent),
                    frozenset(one.destination for one in self._chosen if one.name in self._urgent),
                ),
                keeps_up=_keeps_up(_listed(copying, self._beside)),
            )
        computed = controller.adapt(self._throttle, before, participants, observation)
        now = by_hand.apply(computed, self._in_force_by_hand())
        self._now = now if may_raise else controller.no_higher(now, before)
        chosen = self._choose(copies, copying, live, may_add=may_raise)
        self.highest_bytes_per_s = max(self.highest_bytes_per_s, self.rate_bytes_per_s)
        self._set(copies, live, chosen, may_raise=may_raise)
        found = self._clients.kafka.rates(taking_part)
        self._obeyed, self.external = _external(found, self._ledger)
        # The rates on the brokers, not the computed ones: an external rate can't be raised here.
        rates = {broker: own.over(whole) for broker, (own, whole) in found.items()}
        verdict = feasibility.judge(_listed(copying, self._beside), rates)
        self.too_slow = verdict.report() if verdict.never_ends else ()

    def _choose(
        self, copies: Sequence[Copy], copying: Iterable[feasibility.Copying], live: frozenset[int], *, may_add: bool
    ) -> tuple[urgent.Candidate, ...]:
        """The urgent copies to leave out of the lists until the next look. A rate that a person has set holds all of them."""
        now, already = self._now or Rates(), self._beside
        entries = self._ledger.entries if self._ledger is not None else {}
        own = {copy.partition.name: copy.destinations for copy in copies}
        wanted = [
            one
            for one in urgent.candidates(copying, own, self._urgent, live, already)
            if leases.holds(entries, one.name, one.source, one.destination)
        ]
        held: list[str] = []

        def budgets(direction: Direction, brokers: Iterable[int]) -> dict[int, Budget]:
            found = {}
            for broker in sorted(set(brokers)):
                rate = now.of(direction).get(broker)
                if (direction, broker) in self._obeyed:
                    held.append(f"others' rate of broker {broker}")
                elif by_hand.for_broker(self._overrides, broker) is not None:
                    held.append(f"the override of broker {broker}")
                elif rate is not None and rate.urgent.bytes_per_s:
                    found[broker] = rate.urgent if may_add else rate.urgent.model_copy(update={"may_grow": False})
                else:
                    held.append(f"request times or load of broker {broker}" if self._is_adaptive else "a fixed rate")
            return found

        out_of = budgets(Direction.LEADER, (one.source for one in wanted))
        into = budgets(Direction.FOLLOWER, (one.destination for one in wanted))
        if live.isdisjoint(broker for name in self._urgent for broker in own[name]):
            held.append("no destination is up")
        self._why_held = tuple(held)
        return urgent.choose(wanted, out_of, into, ADAPT_SECONDS, already)

    def _set(
        self, copies: Sequence[Copy], live: frozenset[int], chosen: tuple[urgent.Candidate, ...], *, may_raise: bool
    ) -> None:
        """Record and set lists and rates; where they can't be recorded, only what should fall falls."""
        kafka, kubernetes = self._clients.kafka, self._clients.kubernetes
        ledger, wanted = self._ledger, (self._now or Rates()).wanted()
        if ledger is None:
            return
        out, self._chosen = self._chosen, chosen
        try:
            ledger = ledgers.renewed(kubernetes, ledger)
            if may_raise:
                moving = {copy.partition.name for copy in copies}
                ledger = ledgers.remove_finished_entries(kafka, kubernetes, self._fence, ledger, moving)
            self._ledger = ledgers.throttle(
                kafka,
                kubernetes,
                self._fence,
                ledger,
                copies,
                live,
                wanted,
                lowest_bytes_per_s=self._lowest_bytes_per_s,
                beside=self._beside,
            )
            if may_raise:
                refused = ledgers.leave_out(kafka, self._fence, self._ledger, self._beside)
                self._chosen = tuple(one for one in chosen if one.name.topic not in refused)
                self._problems += [f"topic {topic} stays throttled: {why}" for topic, why in sorted(refused.items())]
        except Unreachable as error:
            self._problems.append(str(error))
            self._chosen = tuple(one for one in chosen if one.beside in {was.beside for was in out})
            lowered = ledgers.lower_without_record(kafka, self._fence, ledger, wanted)
            for found in (leases.rates_in_force(ledger.rates), leases.as_rates(lowered)):
                self._now = controller.no_higher(self._now or Rates(), found)
            entries = leases.entries_for(copies, live, self._beside)
            ledgers.list_entries(kafka, kubernetes, self._fence, ledger, leases.only_held(entries, ledger.entries))
            for broker, rates in lowered.items():
                self._problems.append(f"broker {broker} lowered to {_mega(rates)} MB/s without a record")

    def _may_raise(self) -> bool:
        """Whether it is known that the run may act; while Temporal is away, it may only take less."""
        try:
            self._fence.check()
        except TemporalUnreachable as error:
            self._problems.append(f"{error}: no rate rises")
            return False
        return True

    def _rates_in_force(self) -> Rates:
        """By the ledger, as last read; those of the last observation, with what is remembered of them, where there was one."""
        try:
            self._ledger = ledgers.read(self._clients.kubernetes, self._token)
        except Unreachable as error:
            if self._ledger is None:
                raise
            self._problems.append(str(error))
        assert self._ledger is not None
        return leases.rates_in_force(self._ledger.rates) if self._now is None else self._now

    def _in_force_by_hand(self) -> Overrides:
        """The operators' overrides; the last ones known where they can't be read now."""
        try:
            self._overrides = overrides.in_force(self._clients.kubernetes, self._token)
        except Unreachable:
            pass
        except Refused as error:
            self._overrides = ()
            self._problems.append(f"without overrides: {error}")
        return self._overrides

    def _participants(self, copies: Sequence[Copy], live: frozenset[int]) -> controller.Participants:
        # A fixed rate is defined as what each source sends.
        into = leases.destinations_of(copies, live) if isinstance(self._throttle, AdaptiveThrottle) else ()
        return controller.Participants(frozenset(leases.sources_of(copies, live)), frozenset(into))


def _live_on(copy: Copy, live: frozenset[int]) -> frozenset[int]:
    return live.intersection((*copy.partition.replicas, *copy.destinations))


def _is_down(brokers: Collection[int]) -> str:
    names = ", ".join(map(str, sorted(brokers)))
    return f"broker {names} is down, which holds replicas of what is copied: no faster than needed"


def _keeps_up(copying: Iterable[feasibility.Copying]) -> PerBroker:
    needs = feasibility.judge(copying, {}).needs
    return PerBroker(
        {need.broker_id: need.keeps_up_bytes_per_s for need in needs if need.direction is Direction.LEADER},
        {need.broker_id: need.keeps_up_bytes_per_s for need in needs if need.direction is Direction.FOLLOWER},
    )


def _listed(copying: Iterable[feasibility.Copying], beside: Collection[urgent.Beside]) -> tuple[feasibility.Copying, ...]:
    """What the lists hold: only that uses up a rate."""
    unlisted = {name for name, _ in beside}
    return tuple(one for one in copying if one.name not in unlisted)


def _external(
    found: Mapping[int, BrokerRates], ledger: Ledger | None
) -> tuple[frozenset[tuple[Direction, int]], tuple[str, ...]]:
    held = ledger.rates if ledger is not None else {}
    lines, obeyed = [], set()
    for direction in Direction:
        own = leases.foreign_rates({broker: rates for broker, (rates, _) in found.items()}, held, direction)
        for broker, (_, whole) in sorted(found.items()):
            if broker in own:
                obeyed.add((direction, broker))
                lines.append(f"broker {broker}: {direction} {own[broker] / MEGABYTE:g} MB/s set by someone else, obeyed")
            elif (rate := whole.of(direction)) is not None:
                obeyed.add((direction, broker))
                lines.append(f"broker {broker}: {direction} {rate / MEGABYTE:g} MB/s set for the whole cluster, obeyed")
    return frozenset(obeyed), tuple(lines)


def _mega(rates: ThrottleRates) -> str:
    return "/".join(f"{rate / MEGABYTE:g}" for direction in Direction if (rate := rates.of(direction)) is not None)
