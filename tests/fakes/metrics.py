"""`protocols.BrokerMetrics` on a `World`: 5 ms and 1 MB/s in each direction unless the test says otherwise."""

from collections.abc import Iterable
from datetime import UTC, datetime

from kafka_runbooks.clients.errors import Unreachable
from kafka_runbooks.models.kubernetes import BrokerPod
from kafka_runbooks.models.recovery import BrokerProgress, BrokerState, RecoveryReport
from kafka_runbooks.models.traffic import BrokerTraffic, TrafficReport
from tests.fakes.world import World, WorldPod

MEGABYTE = 1_000_000.0
SEGMENTS = 10
"""Of a log that is recovered, at first."""


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

    def recovery(self, pods: Iterable[BrokerPod]) -> RecoveryReport:
        """The exporter serves as soon as the process runs."""
        if self.is_away:
            raise Unreachable("the metrics backend is away")
        by_broker, problems = {}, {}
        for broker_id in sorted({pod.broker_id for pod in pods if pod.broker_id is not None}):
            pod = self.world.pod_of(broker_id)
            does_run = (
                pod is not None and pod.started_at is not None and not {broker_id} & (self.world.killed | set(self.world.silent))
            )
            if pod is None or not does_run or not self.world.is_on_node(pod):
                problems[broker_id] = "the metrics exporter doesn't answer"
            elif broker_id in self.problems:
                problems[broker_id] = self.problems[broker_id]
            else:
                by_broker[broker_id] = _progress(pod)
        return RecoveryReport(by_broker=by_broker, problems=problems)


def _progress(pod: WorldPod) -> BrokerProgress:
    state = BrokerState.RUNNING if pod.has_started else BrokerState.RECOVERY if pod.recovers_in else BrokerState.STARTING
    if pod.has_started and pod.ends_in is not None:
        state = BrokerState.PENDING_CONTROLLED_SHUTDOWN
    recovers = 0 if pod.has_started or pod.starts_in > pod.recovers_in else pod.recovers_in
    return BrokerProgress(state=state, remaining_logs=recovers, remaining_segments=SEGMENTS * recovers)
