"""A look at what is wrong with a cluster now. Changes nothing."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import partial

from activities import ledgers
from activities.step import Steps, heartbeating, step
from kafka_runbooks.clients import store
from kafka_runbooks.clients.clusters import ClusterClients
from kafka_runbooks.clients.errors import ClientError
from kafka_runbooks.models.health import Fault, HealthReport, Problem
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
                *_attempted("brokers and partitions", lambda: _of_kafka(clients)),
                *_attempted("leftovers", lambda: _left(clients, request.cluster)),
            )
        summary = "; ".join(one.line for one in found) or "nothing is wrong"
        return HealthReport(cluster=request.cluster, is_healthy=not found, found=found, summary=summary)


def _attempted(part: str, look: Callable[[], Sequence[Problem]]) -> Sequence[Problem]:
    """What a part finds; that it can't be asked is a problem too, and hides no other."""
    try:
        return look()
    except ClientError as error:
        return [Problem(fault=Fault.UNSEEN, line=str(error), of=(part,))]


def _of_kafka(clients: ClusterClients) -> Sequence[Problem]:
    # A reassignment that ends between the two questions has all its replicas in sync.
    reassignments = clients.kafka.reassignments()
    return health.problems(clients.snapshots.now(), reassignments)


def _left(clients: ClusterClients, cluster: str) -> list[Problem]:
    """What runs have left past their leases; a record that can't be read is named."""
    found: list[Problem] = []
    for name in clients.kubernetes.records(store.LEDGER):
        found += _attempted(name, partial(_expired, clients, cluster, name))
    return found


def _expired(clients: ClusterClients, cluster: str, name: str) -> list[Problem]:
    ledger = ledgers.load(clients.kubernetes, name)
    if ledger is None or ledger.cluster != cluster or not has_expired(ledger.owner, datetime.now(UTC)):
        return []
    line = f"{ledger.owner} has left throttles or cordons; start clear-leftovers"
    return [Problem(fault=Fault.LEFTOVERS, line=line, of=(name,))]
