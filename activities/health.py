"""A look at what is wrong with a cluster now. Changes nothing."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import partial

from activities import ledgers
from activities.step import Steps, heartbeating, step
from kafka_runbooks.clients import store
from kafka_runbooks.clients.clusters import ClusterClients
from kafka_runbooks.clients.errors import ClientError
from kafka_runbooks.models.health import HealthReport
from kafka_runbooks.models.inputs import HealthCheckInput
from kafka_runbooks.safety import health
from kafka_runbooks.throttle.expiry import has_expired


class HealthActivities(Steps):
    """The look of `HealthCheck`."""

    @step
    def check_health(self, request: HealthCheckInput) -> HealthReport:
        """What is wrong with brokers and partitions, and what runs have left past their leases."""
        clients = self._open(request.cluster)
        with heartbeating():
            found = (
                *_attempted(lambda: health.problems(clients.snapshots.now())),
                *_attempted(lambda: _left(clients, request.cluster)),
            )
        return HealthReport(is_healthy=not found, problems=found, summary="; ".join(found) or "nothing is wrong")


def _attempted(look: Callable[[], Sequence[str]]) -> Sequence[str]:
    """What a part finds; that it can't be asked is a problem too, and hides no other."""
    try:
        return look()
    except ClientError as error:
        return [str(error)]


def _left(clients: ClusterClients, cluster: str) -> list[str]:
    """What runs have left past their leases; a record that can't be read is named."""
    found: list[str] = []
    for name in clients.kubernetes.records(store.LEDGER):
        found += _attempted(partial(_expired, clients, cluster, name))
    return found


def _expired(clients: ClusterClients, cluster: str, name: str) -> list[str]:
    ledger = ledgers.load(clients.kubernetes, name)
    if ledger is None or ledger.cluster != cluster or not has_expired(ledger.owner, datetime.now(UTC)):
        return []
    return [f"{ledger.owner} has left throttles or cordons; start clear-leftovers"]
