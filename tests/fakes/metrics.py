"""`protocols.BrokerMetrics` on a `World`: 5 ms and 1 MB/s in each direction unless the test says otherwise."""

from collections.abc import Iterable
from datetime import UTC, datetime

from kafka_runbooks.clients.errors import Unreachable
from kafka_runbooks.models.kubernetes import BrokerPod
from kafka_runbooks.models.traffic import BrokerTraffic, TrafficReport
from tests.fakes.world import World

MEGABYTE = 1_000_000.0


class FakeMetrics:
    """Brokers that are up answer. `changed` overrides figures of one, `problems` makes one unknown, `is_away` all."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.changed: dict[int, dict[str, float | None]] = {}
        self.problems: dict[int, str] = {}
        self.is_away = False

    def traffic(self, pods: Iterable[BrokerPod]) -> TrafficReport:
        if self.is_away:
            raise Unreachable("the metrics backend is away")
        by_broker, problems = {}, {}
        for broker_id in sorted({pod.broker_id for pod in pods if pod.broker_id is not None}):
            if not self.world.answers(broker_id):
                problems[broker_id] = "the metrics exporter doesn't answer"
            elif broker_id in self.problems:
                problems[broker_id] = self.problems[broker_id]
            else:
                by_broker[broker_id] = BrokerTraffic(
                    broker_id=broker_id,
                    measured_at=datetime.now(UTC),
                    in_bytes_per_s=MEGABYTE,
                    out_bytes_per_s=MEGABYTE,
                    replication_in_bytes_per_s=MEGABYTE,
                    replication_out_bytes_per_s=MEGABYTE,
                    produce_p99_ms=self.world.produce_p99_ms.get(broker_id, 5.0),
                    fetch_p99_ms=5.0,
                ).model_copy(update=self.changed.get(broker_id, {}))
        return TrafficReport(by_broker=by_broker, problems=problems)
