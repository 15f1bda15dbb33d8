"""The replication rates of one copy while it runs: measured, computed by the controller, and set on the brokers under leases."""

import time
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

from activities import ledgers
from activities.overrides import in_force
from activities.permits import ensure_held
from activities.step import Link
from kafka_runbooks.clients.clusters import ClusterClients
from kafka_runbooks.clients.errors import ClientError
from kafka_runbooks.models.cluster import Partition, ReplicaSizes, ThrottleRates
from kafka_runbooks.models.kubernetes import BrokerPod
from kafka_runbooks.models.messages import Token
from kafka_runbooks.models.throttles import AdaptiveThrottle, Rates, Throttle
from kafka_runbooks.models.traffic import BrokerTraffic, TrafficReport
from kafka_runbooks.throttle import controller, feasibility, leases, measurements, overrides
from kafka_runbooks.throttle.headroom import Capacity, capacity_of

ADAPT_SECONDS = 6.0


class Throttling:
    """The rates in force for one copy, by broker and direction, adapted at each look that is due.

    An attempt that comes after a crash goes on from the rates that its ledger says are in force.
    """

    def __init__(self, clients: ClusterClients, link: Link, token: Token, throttle: Throttle) -> None:
        self._clients = clients
        self._link = link
        self._token = token
        self._throttle = throttle
        self._now: Rates | None = None
        self._sizes: tuple[float, ReplicaSizes] | None = None
        self._traffic_before: dict[int, BrokerTraffic] = {}
        self._due = 0.0
        self.highest_bytes_per_s = 0
        self.too_slow: tuple[str, ...] = ()
        """Rates at which replicas never catch up, in words, as of the last look."""

    @property
    def rate_bytes_per_s(self) -> int:
        """The highest that a source may send now."""
        rates = [rate.bytes_per_s for rate in self._now.leader.values()] if self._now else []
        return max(rates, default=controller.first_rate(self._throttle))

    @property
    def why(self) -> str:
        why = (self._now and self._now.reason()) or "to begin with"
        return "; ".join((why, *self.too_slow[:2]))

    def wanted(self, moves: Sequence[tuple[Partition, Sequence[int]]], live: frozenset[int]) -> dict[int, ThrottleRates]:
        """The rates in force, and for brokers that take part only now the rate to begin with."""
        now = self._now or Rates()
        return controller.with_participants(self._throttle, now, self._participants(moves, live)).wanted()

    def look(
        self,
        moves: Sequence[tuple[Partition, Sequence[int]]],
        live: frozenset[int],
        *,
        hold_at_floor: bool = False,
        partitions: Iterable[Partition] = (),
    ) -> None:
        """Measure and set, where `ADAPT_SECONDS` have passed.

        Args:
            moves: what is copied now.
            live: brokers that are up.
            hold_at_floor: another broker is down; recovery takes as little as it can from those that are left.
            partitions: the cluster's, for who waits for a destination that is in sync already.
        """
        if time.monotonic() < self._due:
            return
        self._due = time.monotonic() + ADAPT_SECONDS
        kafka, kubernetes = self._clients.kafka, self._clients.kubernetes
        ledger = ledgers.read(kubernetes, self._token)
        if self._now is None:
            self._now = leases.rates_in_force(ledger.rates)
        participants = self._participants(moves, live)
        before, seen_at = self._sizes, time.monotonic()
        taking_part = sorted({*leases.sources_of(moves, live), *leases.destinations_of(moves, live)})
        sizes = kafka.replica_sizes(taking_part)
        self._sizes = (seen_at, sizes)
        seen = controller.Look(at=datetime.now(UTC), traffic=TrafficReport())
        if isinstance(self._throttle, AdaptiveThrottle):
            pods = [pod for pod in kubernetes.broker_pods() if pod.broker_id in live]
            traffic = self._traffic(pods)
            seen = controller.Look(
                at=datetime.now(UTC),
                traffic=traffic,
                times={
                    broker: measurements.request_times(self._traffic_before.get(broker), found)
                    for broker, found in traffic.by_broker.items()
                },
                moved=None if before is None else measurements.moved(before[1], sizes, seen_at - before[0], moves),
                lag=measurements.lag(sizes.size_bytes, moves),
                capacities=capacities(self._clients, pods),
                waits_for=measurements.waits_for(partitions, participants.follower),
                held_at_floor="another broker is down" if hold_at_floor else "",
            )
            self._traffic_before |= traffic.by_broker
        computed = controller.adapt(self._throttle, self._now, participants, seen)
        self._now = overrides.apply(computed, in_force(kubernetes, self._token))
        self.highest_bytes_per_s = max(self.highest_bytes_per_s, self.rate_bytes_per_s)
        ensure_held(self._link, self._token)
        ledger = ledgers.renewed(kubernetes, ledger)
        ledger = ledgers.strike_entries(kafka, kubernetes, ledger, {partition.name for partition, _ in moves})
        ledger = ledgers.throttle(kafka, kubernetes, ledger, moves, live, self._now.wanted())
        if before is not None:
            produced = measurements.produced(before[1], sizes, seen_at - before[0], (partition for partition, _ in moves))
            copying = feasibility.copying_of(moves, sizes.size_bytes, produced)
            # The rates as they are on the brokers: one that somebody else set is the one that nothing here can raise.
            verdict = feasibility.judge(copying, self._in_force(taking_part))
            self.too_slow = verdict.report() if verdict.never_ends else ()

    def _in_force(self, brokers: Iterable[int]) -> dict[int, ThrottleRates]:
        rates: dict[int, ThrottleRates] = {}
        for broker in brokers:
            try:
                rates |= self._clients.kafka.throttle_rates([broker])
            except ClientError:
                continue
        return rates

    def _traffic(self, pods: Sequence[BrokerPod]) -> TrafficReport:
        try:
            return self._clients.metrics.traffic(pods)
        except ClientError as error:
            return TrafficReport(problems={pod.broker_id: str(error) for pod in pods if pod.broker_id is not None})

    def _participants(self, moves: Sequence[tuple[Partition, Sequence[int]]], live: frozenset[int]) -> controller.Participants:
        # A fixed rate is by its definition what each source sends.
        into = leases.destinations_of(moves, live) if isinstance(self._throttle, AdaptiveThrottle) else ()
        return controller.Participants(frozenset(leases.sources_of(moves, live)), frozenset(into))


def capacities(clients: ClusterClients, pods: Iterable[BrokerPod]) -> dict[int, Capacity]:
    """Each broker's network capacity, as far as clusters.yaml knows its node's instance type."""
    types = {node.name: node.instance_type for node in clients.kubernetes.nodes()}
    known = clients.settings.capacity_bytes_per_s
    return {
        pod.broker_id: capacity_of(pod.broker_id, types.get(pod.node or ""), {}, known)
        for pod in pods
        if pod.broker_id is not None
    }
