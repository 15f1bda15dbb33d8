"""Brokers that leave: nothing new lands on them while they are emptied, and their pods go only once they hold nothing.

New topics go where the controller puts them, also onto a broker that is being emptied: a decommission on a busy cluster never
ends. Kafka >= 4.3 can cordon a broker's log directories (KIP-1066). On older ones emptiness is looked at again right before pods
go.
"""

from temporalio import activity
from temporalio.exceptions import ApplicationError

from activities import ledgers
from activities.moves import load_moves
from activities.permits import ensure_held
from activities.replacement import PLAN_DRIFT
from activities.step import Link, Reporter, alive, looks
from kafka_runbooks.clients.clusters import ClusterClients, Clusters
from kafka_runbooks.models.messages import MoveStep
from kafka_runbooks.models.status import Progress
from kafka_runbooks.safety.moves import ordinal, reasons_not_to_remove


class LeavingActivities:
    """Around the moves of a decommission."""

    def __init__(self, clusters: Clusters, link: Link) -> None:
        self._clusters = clusters
        self._link = link

    @activity.defn(no_thread_cancel_exception=True)
    def cordon_log_directories(self, step: MoveStep) -> tuple[str, ...]:
        """Cordon the leaving brokers that are up and know how; returns what the ledger now owns, in words."""
        clients = self._clusters.open(step.token.cluster)
        with alive():
            ensure_held(self._link, step.token)
            live = clients.kafka.snapshot().live_broker_ids
            for broker in load_moves(clients, step).leaving:
                if broker in live:
                    self._cordon(clients, step, broker)
            return ledgers.read(clients.kubernetes, step.token).describe()[:50]

    def _cordon(self, clients: ClusterClients, step: MoveStep, broker: int) -> None:
        before = clients.kafka.log_directory_cordons([broker])[broker]
        if before is None or before == ledgers.EVERY_LOG_DIRECTORY:
            return
        ledger = ledgers.read(clients.kubernetes, step.token)
        owned = {broker: before, **ledger.log_directories}
        ledgers.write(clients.kubernetes, ledger.model_copy(update={"log_directories": owned}))
        clients.kafka.cordon_log_directories(broker, ledgers.EVERY_LOG_DIRECTORY)

    @activity.defn(no_thread_cancel_exception=True)
    def keep_log_directories_cordoned(self, step: MoveStep) -> tuple[int, ...]:
        """The brokers are empty and stay: so does what keeps them empty. It is struck out of the ledger; returns which."""
        clients = self._clusters.open(step.token.cluster)
        with alive():
            ensure_held(self._link, step.token)
            ledger = ledgers.read(clients.kubernetes, step.token)
            ledgers.write(clients.kubernetes, ledger.model_copy(update={"log_directories": {}}))
            return tuple(sorted(ledger.log_directories))

    @activity.defn(no_thread_cancel_exception=True)
    def remove_pods(self, step: MoveStep) -> tuple[str, ...]:
        """Scale the StatefulSets down by the leaving brokers' pods, and wait until pods and brokers are gone; returns the pods.

        Throttles and the cordon of log directories on these brokers go right before (a setting of a broker that is gone can't be
        changed, and would wait for whoever gets its id), then emptiness is looked at once more.

        Raises:
            ApplicationError: `PlanDrift`, where a broker holds something (again); `Refused`, where pods are no longer the highest
                ordinals. Neither is tried again.
        """
        clients = self._clusters.open(step.token.cluster)
        leaving = set(load_moves(clients, step).leaving)
        reporter = Reporter(self._link, step.token)
        # By the ids that were given out: an attempt before this one may have scaled down already.
        names = tuple(sorted(pod for pod, broker in clients.kubernetes.broker_ids().items() if broker in leaving))
        for _ in looks():
            pods = [pod for pod in clients.kubernetes.broker_pods() if pod.broker_id in leaving]
            live = clients.kafka.snapshot().live_broker_ids
            if not pods and not live & leaving:
                return names
            self._scale_down(clients, step, leaving)
            there = ", ".join(pod.name for pod in pods) or f"brokers {', '.join(map(str, sorted(live & leaving)))}"
            reporter.report(
                Progress(waiting=reporter.waiting(f"{there} not gone yet", "the pods end, and their sessions expire"))
            )
        raise AssertionError("looks never end by themselves")

    def _scale_down(self, clients: ClusterClients, step: MoveStep, leaving: set[int]) -> None:
        pods = clients.kubernetes.broker_pods()
        for wanted in clients.kubernetes.stateful_sets():
            going = [pod for pod in pods if pod.stateful_set == wanted.name and pod.broker_id in leaving]
            if not going or min(ordinal(pod) for pod in going) >= wanted.replicas:
                continue
            reasons = reasons_not_to_remove(leaving, pods, [wanted])
            reasons = [reason for reason in reasons if reason.name.endswith(f":{wanted.name}")]
            if reasons:
                raise ApplicationError(reasons[0].message, type="Refused", non_retryable=True)
            ensure_held(self._link, step.token)
            ledger = ledgers.read(clients.kubernetes, step.token)
            live = clients.kafka.snapshot().live_broker_ids & leaving
            ledger = ledgers.release_rates(clients.kafka, clients.kubernetes, ledger, sorted(live))
            ledgers.release_log_directories(clients.kafka, clients.kubernetes, ledger, live)
            snapshot = clients.kafka.snapshot()
            left = [partition.name for partition in snapshot.partitions if leaving & set(partition.replicas)]
            if left:
                raise ApplicationError(
                    f"{len(left)} replicas have come onto the leaving brokers: {', '.join(map(str, left[:5]))}",
                    type=PLAN_DRIFT,
                    non_retryable=True,
                )
            clients.kubernetes.scale(wanted, min(ordinal(pod) for pod in going))

    @activity.defn(no_thread_cancel_exception=True)
    def unregister_brokers(self, step: MoveStep, pods: tuple[str, ...]) -> None:
        """Delete the claims of pods that are gone (their disks are empty), and strike the brokers out of the registry."""
        clients = self._clusters.open(step.token.cluster)
        with alive():
            ensure_held(self._link, step.token)
            there = {pod.name for pod in clients.kubernetes.broker_pods()}
            for pod in pods:
                claim = clients.kubernetes.claim(f"data-{pod}")
                if claim is not None and pod not in there:
                    clients.kubernetes.delete_claim(claim.name, claim.uid)
            live = clients.kafka.snapshot().live_broker_ids
            for broker in load_moves(clients, step).leaving:
                if broker not in live:
                    clients.kafka.unregister_broker(broker)
