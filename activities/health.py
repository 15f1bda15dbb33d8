"""A look at what is wrong with a cluster now. Changes nothing."""

from datetime import UTC, datetime

from activities import ledgers
from activities.step import Steps, heartbeating, step
from kafka_runbooks.clients import store
from kafka_runbooks.clients.clusters import ClusterClients
from kafka_runbooks.models.health import HealthReport
from kafka_runbooks.models.inputs import HealthCheckInput
from kafka_runbooks.safety import health
from kafka_runbooks.throttle.expiry import has_expired


class HealthActivities(Steps):
    """The look of `HealthCheck`."""

    @step
    def check_health(self, request: HealthCheckInput) -> HealthReport:
        """What is wrong with brokers and partitions, and what runs have left past their leases."""
        with heartbeating():
            clients = self._open(request.cluster)
            found = (*health.problems(clients.snapshots.now()), *_left(clients, request.cluster))
        return HealthReport(is_healthy=not found, problems=found, summary="; ".join(found) or "nothing is wrong")


def _left(clients: ClusterClients, cluster: str) -> list[str]:
    found = []
    for name in clients.kubernetes.records(store.LEDGER):
        ledger = ledgers.load(clients.kubernetes, name)
        if ledger is not None and ledger.cluster == cluster and has_expired(ledger.owner, datetime.now(UTC)):
            found.append(f"{ledger.owner} has left throttles or cordons; start clear-leftovers")
    return found
