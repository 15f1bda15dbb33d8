"""`protocols.BrokerMetrics` on a `World`: 5 ms unless the test says otherwise."""

from collections.abc import Iterable

from kafka_runbooks.clients.protocols import BrokerMetrics
from kafka_runbooks.models.pods import BrokerPod
from tests.fakes.world import World


class FakeMetrics:
    def __init__(self, world: World) -> None:
        self.world = world

    def produce_p99_ms(self, pods: Iterable[BrokerPod]) -> dict[int, float]:
        asked = [pod.broker_id for pod in pods if pod.broker_id is not None]
        return {broker_id: self.world.produce_p99_ms.get(broker_id, 5.0) for broker_id in asked if self.world.is_up(broker_id)}


def _conforms(world: World) -> BrokerMetrics:
    return FakeMetrics(world)
