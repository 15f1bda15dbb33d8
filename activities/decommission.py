"""Removing brokers: nothing new is placed on them while they are emptied, and their pods go only once they hold nothing.

The controller places new topics on any broker, also on one that is being emptied: on a busy cluster a decommission would never
end. Kafka >= 4.3 can cordon a broker's log directories (KIP-1066). On older versions, that brokers are empty is checked again
right before their pods go.
"""

from activities import ledgers, plan_store
from activities.errors import PlanDrift, RemovalRefused
from activities.permits import ensure_held
from activities.step import Reporter, Steps, heartbeating, step, wait
from kafka_runbooks.clients.clusters import ClusterClients
from kafka_runbooks.models.messages import StepRequest, UnregisterRequest
from kafka_runbooks.models.status import Progress
from kafka_runbooks.safety.moves import ordinal, reasons_not_to_remove


class DecommissionActivities(Steps):
    """Before and after the moves of a decommission."""

    @step
    def cordon_log_directories(self, request: StepRequest) -> tuple[str, ...]:
        """Cordon the leaving brokers that are up and support it; returns what the ledger now lists."""
        clients = self._open(request.token.cluster)
        with heartbeating():
            ensure_held(self._link, request.token)
            live = clients.kafka.snapshot().live_broker_ids
            for broker in plan_store.load_moves(clients.kubernetes, request).leaving:
                if broker in live:
                    _cordon(clients, request, broker)
            return ledgers.read(clients.kubernetes, request.token).describe()[:50]

    @step
    def keep_log_directories_cordoned(self, request: StepRequest) -> tuple[int, ...]:
        """Keep the cordons of empty brokers that stay: drop them from the ledger; returns the brokers."""
        clients = self._open(request.token.cluster)
        with heartbeating():
            ensure_held(self._link, request.token)
            ledger = ledgers.read(clients.kubernetes, request.token)
            ledgers.write(clients.kubernetes, ledger.model_copy(update={"log_directories": {}}))
            return tuple(sorted(ledger.log_directories))

    @step
    def remove_pods(self, request: StepRequest) -> tuple[str, ...]:
        """Scale the StatefulSets down by the leaving brokers' pods, and wait until pods and brokers are gone; returns the pods.

        Throttles and log directory cordons on these brokers are removed right before (a setting of a broker that is gone can't be
        changed, and would apply to the next broker with its id), then emptiness is checked once more.

        Raises:
            PlanDrift: a broker holds replicas again.
            RemovalRefused: pods are no longer the highest ordinals.
        """
        clients = self._open(request.token.cluster)
        leaving = set(plan_store.load_moves(clients.kubernetes, request).leaving)
        reporter = Reporter.current()
        # By assigned ids: an interrupted attempt may have scaled down already.
        names = tuple(sorted(pod for pod, broker in clients.kubernetes.broker_ids().items() if broker in leaving))

        def observe() -> tuple[str, ...] | None:
            pods = [pod for pod in clients.kubernetes.broker_pods() if pod.broker_id in leaving]
            live = clients.kafka.snapshot().live_broker_ids
            if not pods and not live & leaving:
                return names
            self._scale_down(clients, request, leaving)
            there = ", ".join(pod.name for pod in pods) or f"brokers {', '.join(map(str, sorted(live & leaving)))}"
            waiting = reporter.waiting(f"{there} not gone yet", "the pods end, and their sessions expire")
            reporter.report(Progress(waiting=waiting))
            return None

        return wait(observe)

    def _scale_down(self, clients: ClusterClients, request: StepRequest, leaving: set[int]) -> None:
        pods = clients.kubernetes.broker_pods()
        for stateful_set in clients.kubernetes.stateful_sets():
            going = [pod for pod in pods if pod.stateful_set == stateful_set.name and pod.broker_id in leaving]
            if not going or min(ordinal(pod) for pod in going) >= stateful_set.replicas:
                continue
            reasons = reasons_not_to_remove(leaving, pods, [stateful_set])
            reasons = [reason for reason in reasons if reason.name.endswith(f":{stateful_set.name}")]
            if reasons:
                raise RemovalRefused(reasons[0].message)
            ensure_held(self._link, request.token)
            ledger = ledgers.read(clients.kubernetes, request.token)
            live = clients.kafka.snapshot().live_broker_ids & leaving
            ledger = ledgers.release_rates(clients.kafka, clients.kubernetes, ledger, sorted(live))
            ledgers.release_log_directories(clients.kafka, clients.kubernetes, ledger, live)
            snapshot = clients.kafka.snapshot()
            left = [partition.name for partition in snapshot.partitions if leaving & set(partition.replicas)]
            if left:
                raise PlanDrift(f"{len(left)} replicas have come onto the leaving brokers: {', '.join(map(str, left[:5]))}")
            clients.kubernetes.scale(stateful_set, min(ordinal(pod) for pod in going))

    @step
    def unregister_brokers(self, request: UnregisterRequest) -> None:
        """Delete the claims of pods that are gone (their disks are empty), and unregister the brokers."""
        clients = self._open(request.step.token.cluster)
        with heartbeating():
            ensure_held(self._link, request.step.token)
            there = {pod.name for pod in clients.kubernetes.broker_pods()}
            for pod in request.pods:
                claim = clients.kubernetes.claim(f"data-{pod}")
                if claim is not None and pod not in there:
                    clients.kubernetes.delete_claim(claim.name, claim.uid)
            live = clients.kafka.snapshot().live_broker_ids
            for broker in plan_store.load_moves(clients.kubernetes, request.step).leaving:
                if broker not in live:
                    clients.kafka.unregister_broker(broker)


def _cordon(clients: ClusterClients, request: StepRequest, broker: int) -> None:
    before = clients.kafka.log_directory_cordons([broker])[broker]
    if before is None or before == ledgers.EVERY_LOG_DIRECTORY:
        return
    ledger = ledgers.read(clients.kubernetes, request.token)
    owned = {broker: before, **ledger.log_directories}
    ledgers.write(clients.kubernetes, ledger.model_copy(update={"log_directories": owned}))
    clients.kafka.cordon_log_directories(broker, ledgers.EVERY_LOG_DIRECTORY)
