"""What KRaft controllers say of themselves by the JMX exporter in their pods, during a migration from ZooKeeper.

Brokers in ZooKeeper mode know nothing of the quorum, and the controllers themselves answer only whom ACLs allow, which they have
after the copy. The names are those of `jmx-controller.yaml` in
`deploy/kubernetes/kafka-zookeeper/migration/1-controllers`.
"""

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor

import httpx

from kafka_runbooks.clients.metrics.exporter import TIMEOUT_SECONDS, samples, scrape
from kafka_runbooks.models.kraft_migration import ControllerState, ZkMigrationState
from kafka_runbooks.models.kubernetes import ControllerPod

LEADER, EPOCH = "kafka_raft_current_leader", "kafka_raft_current_epoch"
LAG_MS = "kafka_controller_last_applied_record_lag_ms"
STATE = "kafka_controller_zk_migration_state"
WAITING = "kafka_controller_migrating_zk_broker_count"
NEEDED = (LEADER, EPOCH, LAG_MS, STATE)


class ExporterControllers:
    """Scrapes the controllers' `/metrics` in parallel."""

    def __init__(self, port: int) -> None:
        self._port = port

    def states(self, pods: Iterable[ControllerPod]) -> dict[str, ControllerState | str]:
        pods = list(pods)
        client = httpx.Client(timeout=TIMEOUT_SECONDS, trust_env=False)
        with client, ThreadPoolExecutor(max(1, len(pods))) as threads:
            found = threads.map(lambda pod: self._state(client, pod), pods)
            return dict(zip((pod.name for pod in pods), found, strict=True))

    def _state(self, client: httpx.Client, pod: ControllerPod) -> ControllerState | str:
        node_id = pod.node_id
        if node_id is None:
            return f"pod {pod.name} doesn't tell its node id"
        return scrape(client, pod, self._port, lambda text: state(node_id, text))


def state(node_id: int, exposition: str) -> ControllerState:
    """A controller's state by its exporter's text.

    Raises:
        ValueError: it isn't in Prometheus' text format, or something is missing.
    """
    found = {name: value for name, _, value in samples(exposition, (*NEEDED, WAITING))}
    if missing := [name for name in NEEDED if name not in found]:
        raise ValueError(f"no {', '.join(missing)}: do the exporter's rules name these MBeans?")
    leader, migration = int(found[LEADER]), int(found[STATE])
    return ControllerState(
        node_id=node_id,
        leader_id=None if leader < 0 else leader,
        epoch=int(found[EPOCH]),
        lag_seconds=max(0.0, found[LAG_MS]) / 1000,
        state=None if migration < 0 else ZkMigrationState(migration),
        waiting_brokers=int(found.get(WAITING, 0)),
    )
