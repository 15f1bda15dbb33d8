"""What the rates of a copy are computed from: brokers' traffic, their request times, and their nodes' capacities.

The guard over the rates must go on while the Kubernetes API is away: pods and nodes seldom change, so what was said last will do.
"""

from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from typing import TypeVar

from kafka_runbooks.clients.clusters import ClusterClients
from kafka_runbooks.clients.errors import ClientError, Unreachable
from kafka_runbooks.models.kubernetes import BrokerPod
from kafka_runbooks.models.traffic import BrokerTraffic, TrafficReport
from kafka_runbooks.throttle import controller, measurements
from kafka_runbooks.throttle.headroom import Capacity, capacity_of

T = TypeVar("T")


class Traffic:
    """Observed again and again: request times are those since the last observation."""

    def __init__(self, clients: ClusterClients) -> None:
        self._clients = clients
        self._before: dict[int, BrokerTraffic] = {}
        self._pods: tuple[BrokerPod, ...] = ()
        self._capacities: dict[int, Capacity] = {}

    def observe(self, live: frozenset[int]) -> controller.Observation:
        """Of the live brokers."""
        self._pods = _or_last(self._clients.kubernetes.broker_pods, self._pods)
        pods = [pod for pod in self._pods if pod.broker_id in live]
        self._capacities = _or_last(lambda: _capacities(self._clients, pods), self._capacities)
        traffic = self._report(pods)
        times = {
            broker: measurements.request_times(self._before.get(broker), found) for broker, found in traffic.by_broker.items()
        }
        self._before |= traffic.by_broker
        return controller.Observation(at=datetime.now(UTC), traffic=traffic, times=times, capacities=self._capacities)

    def _report(self, pods: Sequence[BrokerPod]) -> TrafficReport:
        try:
            return self._clients.metrics.traffic(pods)
        except ClientError as error:
            return TrafficReport(problems={pod.broker_id: str(error) for pod in pods if pod.broker_id is not None})


def _or_last(ask: Callable[[], T], last: T) -> T:
    """What the Kubernetes API says, or has said last."""
    try:
        return ask()
    except Unreachable:
        return last


def _capacities(clients: ClusterClients, pods: Iterable[BrokerPod]) -> dict[int, Capacity]:
    """Each broker's network capacity, if clusters.yaml has its node's instance type."""
    types = {node.name: node.instance_type for node in clients.kubernetes.nodes()}
    known = clients.settings.capacity_bytes_per_s
    return {pod.broker_id: capacity_of(types.get(pod.node or ""), known) for pod in pods if pod.broker_id is not None}
