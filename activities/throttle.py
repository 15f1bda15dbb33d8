"""The replication rates of one copy while it runs: measured, computed by the controller, and set on the brokers under leases."""

import time
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

from activities import ledgers
from activities.overrides import in_force
from activities.permits import Fence
from activities.step import Link
from kafka_runbooks.clients.clusters import ClusterClients
from kafka_runbooks.clients.errors import ClientError
from kafka_runbooks.models.cluster import Partition, ReplicaSizes, ThrottleRates
from kafka_runbooks.models.kubernetes import BrokerPod
from kafka_runbooks.models.messages import Token
from kafka_runbooks.models.moves import Copy
from kafka_runbooks.models.throttles import AdaptiveThrottle, Rates, Throttle
from kafka_runbooks.models.traffic import BrokerTraffic, TrafficReport
from kafka_runbooks.throttle import controller, feasibility, leases, measurements, overrides
from kafka_runbooks.throttle.headroom import Capacity, capacity_of

ADAPT_SECONDS = 6.0


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
        self._sizes: tuple[float, ReplicaSizes] | None = None
        self._traffic_before: dict[int, BrokerTraffic] = {}
        self._due = 0.0
        self.highest_bytes_per_s = 0
        self.too_slow: tuple[str, ...] = ()
        """Rates at which replicas never catch up, as of the last observation."""

    @property
    def rate_bytes_per_s(self) -> int:
        """The highest current rate of a source."""
        rates = [rate.bytes_per_s for rate in self._now.leader.values()] if self._now else []
        return max(rates, default=controller.first_rate(self._throttle))

    @property
    def reason(self) -> str:
        reason = (self._now and self._now.reason()) or "initial rate"
        return "; ".join((reason, *self.too_slow[:2]))

    def wanted(self, copies: Sequence[Copy], live: frozenset[int]) -> dict[int, ThrottleRates]:
        """The rates in force, and the initial rate for new participants."""
        now = self._now or Rates()
        return controller.with_participants(self._throttle, now, self._participants(copies, live)).wanted()

    def adapt(
        self,
        copies: Sequence[Copy],
        live: frozenset[int],
        *,
        hold_at_floor: bool = False,
        partitions: Iterable[Partition] = (),
    ) -> None:
        """Measure, compute and set the rates, where `ADAPT_SECONDS` have passed.

        Args:
            copies: what is copied now.
            live: brokers that are up.
            hold_at_floor: another broker is down, so recovery takes as little as possible from the remaining ones.
            partitions: all of the cluster's, to find leaders that wait for a destination that is in sync already.
        """
        if time.monotonic() < self._due:
            return
        self._due = time.monotonic() + ADAPT_SECONDS
        kafka, kubernetes = self._clients.kafka, self._clients.kubernetes
        ledger = ledgers.read(kubernetes, self._token)
        if self._now is None:
            self._now = leases.rates_in_force(ledger.rates)
        participants = self._participants(copies, live)
        before, observed_at = self._sizes, time.monotonic()
        taking_part = sorted({*leases.sources_of(copies, live), *leases.destinations_of(copies, live)})
        sizes = kafka.replica_sizes(taking_part)
        self._sizes = (observed_at, sizes)
        observation = controller.Observation(at=datetime.now(UTC), traffic=TrafficReport())
        if isinstance(self._throttle, AdaptiveThrottle):
            moved = None if before is None else measurements.moved(before[1], sizes, observed_at - before[0], copies)
            observation = self._measured(live)._replace(
                moved=moved,
                lag=measurements.lag(sizes.size_bytes, copies),
                waits_for=measurements.waits_for(partitions, participants.follower),
                held_at_floor="another broker is down" if hold_at_floor else "",
            )
        computed = controller.adapt(self._throttle, self._now, participants, observation)
        self._now = overrides.apply(computed, in_force(kubernetes, self._token))
        self.highest_bytes_per_s = max(self.highest_bytes_per_s, self.rate_bytes_per_s)
        self._fence.check()
        ledger = ledgers.renewed(kubernetes, ledger)
        ledger = ledgers.remove_finished_entries(kafka, kubernetes, self._fence, ledger, {copy.partition.name for copy in copies})
        ledgers.throttle(kafka, kubernetes, self._fence, ledger, copies, live, self._now.wanted())
        if before is not None:
            produced = measurements.produced(before[1], sizes, observed_at - before[0], (copy.partition for copy in copies))
            copying = feasibility.copying_of(copies, sizes.size_bytes, produced)
            # The rates on the brokers, not the computed ones: an external rate can't be raised here.
            verdict = feasibility.judge(copying, self._in_force(taking_part))
            self.too_slow = verdict.report() if verdict.never_ends else ()

    def _measured(self, live: frozenset[int]) -> controller.Observation:
        """Traffic, request times since the last observation, and capacities of the live brokers."""
        pods = [pod for pod in self._clients.kubernetes.broker_pods() if pod.broker_id in live]
        traffic = self._traffic(pods)
        times = {
            broker: measurements.request_times(self._traffic_before.get(broker), found)
            for broker, found in traffic.by_broker.items()
        }
        self._traffic_before |= traffic.by_broker
        return controller.Observation(
            at=datetime.now(UTC), traffic=traffic, times=times, capacities=capacities(self._clients, pods)
        )

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

    def _participants(self, copies: Sequence[Copy], live: frozenset[int]) -> controller.Participants:
        # A fixed rate is defined as what each source sends.
        into = leases.destinations_of(copies, live) if isinstance(self._throttle, AdaptiveThrottle) else ()
        return controller.Participants(frozenset(leases.sources_of(copies, live)), frozenset(into))


def capacities(clients: ClusterClients, pods: Iterable[BrokerPod]) -> dict[int, Capacity]:
    """Each broker's network capacity, if clusters.yaml has its node's instance type."""
    types = {node.name: node.instance_type for node in clients.kubernetes.nodes()}
    known = clients.settings.capacity_bytes_per_s
    return {pod.broker_id: capacity_of(types.get(pod.node or ""), known) for pod in pods if pod.broker_id is not None}


def ceiling_for(clients: ClusterClients, throttle: AdaptiveThrottle, sources: Iterable[int]) -> int:
    """The highest rate for these sources, from the capacities of their nodes' instance types."""
    types = {node.name: node.instance_type for node in clients.kubernetes.nodes()}
    brokers = set(sources)
    pods = [pod for pod in clients.kubernetes.broker_pods() if pod.broker_id in brokers]
    known = clients.settings.capacity_bytes_per_s
    return controller.ceiling(
        throttle, [known[name] for pod in pods if (name := types.get(pod.node or "")) in known and name is not None]
    )


def planned_rate(clients: ClusterClients, throttle: Throttle, sources: Iterable[int]) -> int:
    """The rate that a plan's ETA is based on: the fixed one, or the ceiling of an adaptive one."""
    if isinstance(throttle, AdaptiveThrottle):
        return ceiling_for(clients, throttle, sources)
    return throttle.rate_bytes_per_s
