"""Removing brokers: nothing new is placed on them while they are emptied, and their pods go only once they hold nothing.

The controller places new topics on any broker, also on one that is being emptied: on a busy cluster a decommission would never
end. Kafka >= 4.3 can cordon a broker's log directories (KIP-1066). On older versions, that brokers are empty is checked again
right before their pods go.
"""

from collections.abc import Collection, Sequence

from activities import ledgers, plan_store, proof, removal, voters
from activities.errors import NotProven, PlanDrift, RemovalRefused
from activities.permits import Fence, ensure_held
from activities.step import Reporter, Steps, heartbeating, step, wait
from kafka_runbooks.clients.clusters import ClusterClients
from kafka_runbooks.clients.errors import Unreachable
from kafka_runbooks.models.cluster import ClusterSnapshot, TopicPartition
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
            fence, silent = Fence(self._link, request.token), list[str]()
            live = clients.kafka.snapshot().live_broker_ids
            for broker in plan_store.load_moves(clients.kubernetes, request).leaving:
                if broker not in live:
                    continue
                fence.check()
                if why := _cordon(clients, request, broker):
                    silent.append(f"broker {broker}: log directories are not cordoned: {why}")
            return (*silent, *ledgers.read(clients.kubernetes, request.token).describe())[:50]

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

        Throttles and log directory cordons on these brokers are removed right before: Kafka lets nobody change a setting of a
        broker that is gone, and the next broker of its id would have it. So emptiness is looked at before, after, and once the
        pods have ended: a topic may be made in between. Then the pods come back with their disks, and what came is moved too.

        A broker that votes in the metadata quorum has left it before; since then somebody may have made it a voter again.

        Raises:
            PlanDrift: a broker holds replicas again, or is a voter.
            RemovalRefused: pods are no longer the highest ordinals.
            NotProven: nobody can say for sure that the brokers are empty.
        """
        clients = self._open(request.token.cluster)
        leaving = set(plan_store.load_moves(clients.kubernetes, request).leaving)
        reporter = Reporter.current()
        # By assigned ids: an interrupted attempt may have scaled down already.
        names = tuple(sorted(pod for pod, broker in clients.kubernetes.broker_ids().items() if broker in leaving))

        def observe() -> tuple[str, ...] | None:
            pods = [pod for pod in clients.kubernetes.broker_pods() if pod.broker_id in leaving]
            snapshot = clients.kafka.snapshot()
            live = snapshot.live_broker_ids & leaving
            if not pods and not live:
                voters.ensure_no_vote(clients.kafka, leaving)
                if not (left := _held(proof.fresh_snapshot(clients.kafka, clients.zookeeper), leaving)):
                    return names
                ensure_held(self._link, request.token)
                _bring_back(clients, names)
                raise PlanDrift(f"{_came(left)} while the pods ended; the pods come back with their disks")
            self._scale_down(clients, request, leaving)
            there = ", ".join(pod.name for pod in pods) or f"brokers {', '.join(map(str, sorted(live)))}"
            waiting = reporter.waiting(f"{there} not gone yet", "the pods end, and their sessions expire")
            reporter.report(Progress(waiting=waiting))
            return None

        return wait(observe)

    def _scale_down(self, clients: ClusterClients, request: StepRequest, leaving: set[int]) -> None:
        pods = clients.kubernetes.broker_pods()
        for stateful_set in clients.kubernetes.stateful_sets():
            going = [pod for pod in pods if pod.stateful_set == stateful_set.name and pod.broker_id in leaving]
            if not going or min(ordinal(pod) for pod in going) >= stateful_set.end:
                continue
            if reasons := reasons_not_to_remove(
                leaving, [pod for pod in pods if pod.stateful_set == stateful_set.name], [stateful_set]
            ):
                raise RemovalRefused(reasons[0].message)
            snapshot = proof.fresh_snapshot(clients.kafka, clients.zookeeper)
            if left := _held(snapshot, leaving):
                raise PlanDrift(_came(left))
            live = snapshot.live_broker_ids & leaving
            proof.ensure_empty_disks(clients.kafka, live)
            ensure_held(self._link, request.token)
            ledger = ledgers.read(clients.kubernetes, request.token)
            fence = Fence(self._link, request.token)
            ledger = removal.release_rates(clients.kafka, clients.kubernetes, fence, ledger, live)
            ledger = removal.release_log_directories(clients.kafka, clients.kubernetes, fence, ledger, live)
            if silent := sorted(live & (ledger.rates.keys() | ledger.log_directories.keys())):
                raise NotProven(f"broker {', '.join(map(str, silent))} still has throttles or cordons of this run")
            if left := _held(proof.fresh_snapshot(clients.kafka, clients.zookeeper), leaving):
                raise PlanDrift(_came(left))
            voters.ensure_no_vote(clients.kafka, leaving)
            clients.kubernetes.scale(stateful_set, min(ordinal(pod) for pod in going) - stateful_set.first_ordinal)

    @step
    def unregister_brokers(self, request: UnregisterRequest) -> None:
        """Unregister the brokers, and delete the claims of their pods: both only of brokers that are down and hold nothing.

        Once it is unregistered, no replica can be placed on a broker any more; so the last look comes then, before each claim. In
        ZooKeeper mode a broker's registration ended with its session, and there is nothing to unregister.

        Raises:
            RemovalRefused: a broker is up, its pod is there, or it holds replicas.
            NotProven: the metadata may be old.
        """
        clients = self._open(request.step.token.cluster)
        with heartbeating():
            leaving = plan_store.load_moves(clients.kubernetes, request.step).leaving
            in_zookeeper_mode = clients.kafka.metadata_quorum() is None
            for broker in leaving:
                _ensure_gone(clients, broker)
                if not in_zookeeper_mode:
                    ensure_held(self._link, request.step.token)
                    clients.kafka.unregister_broker(broker)
            ids = clients.kubernetes.broker_ids()
            for pod in request.pods:
                for name in _claims_of(clients, pod):
                    claim = clients.kubernetes.claim(name)
                    if claim is not None and ids.get(pod) in leaving:
                        _ensure_gone(clients, ids[pod])
                        ensure_held(self._link, request.step.token)
                        clients.kubernetes.delete_claim(claim.name, claim.uid)


def _held(snapshot: ClusterSnapshot, brokers: Collection[int]) -> list[TopicPartition]:
    """Partitions that have a replica on these brokers."""
    return [partition.name for partition in snapshot.partitions if not set(brokers).isdisjoint(partition.replicas)]


def _came(left: Sequence[TopicPartition]) -> str:
    return f"{len(left)} replicas have come onto the leaving brokers: {', '.join(map(str, left[:5]))}"


def _bring_back(clients: ClusterClients, pods: Sequence[str]) -> None:
    """Scale StatefulSets up again, so that these pods come back; their claims are still there."""
    for stateful_set in clients.kubernetes.stateful_sets():
        ordinals = [int(pod.rpartition("-")[2]) for pod in pods if pod.rpartition("-")[0] == stateful_set.name]
        if ordinals and max(ordinals) >= stateful_set.end:
            clients.kubernetes.scale(stateful_set, max(ordinals) + 1 - stateful_set.first_ordinal)


def _claims_of(clients: ClusterClients, pod: str) -> tuple[str, ...]:
    """By its StatefulSet's templates, since the pod is gone."""
    owner = pod.rpartition("-")[0]
    return next((one.claims_of(pod) for one in clients.kubernetes.stateful_sets() if one.name == owner), ())


def _ensure_gone(clients: ClusterClients, broker: int) -> None:
    """Kafka unregisters a running broker too, which then doesn't come back; and a disk that holds something must stay."""
    snapshot = proof.fresh_snapshot(clients.kafka, clients.zookeeper)
    pods = [pod.name for pod in clients.kubernetes.broker_pods() if pod.broker_id == broker]
    if broker in snapshot.live_broker_ids or pods:
        raise RemovalRefused(f"broker {broker} is {'up' if broker in snapshot.live_broker_ids else 'not gone'} again {pods}")
    if left := _held(snapshot, [broker]):
        raise RemovalRefused(
            f"broker {broker} is down and has {len(left)} replicas again: {', '.join(map(str, left[:5]))}; its claims are kept: "
            "scale its StatefulSet up again"
        )


def _cordon(clients: ClusterClients, request: StepRequest, broker: int) -> str | None:
    """Cordon a broker's log directories; returns why not, where it doesn't answer: the others don't wait for it."""
    try:
        before = clients.kafka.log_directory_cordons([broker])[broker]
    except Unreachable as error:
        return str(error)
    if before is None or before == ledgers.EVERY_LOG_DIRECTORY:
        return None
    ledger = ledgers.read(clients.kubernetes, request.token)
    owned = {broker: before, **ledger.log_directories}
    ledgers.write(clients.kubernetes, ledger.model_copy(update={"log_directories": owned}))
    try:
        clients.kafka.cordon_log_directories(broker, ledgers.EVERY_LOG_DIRECTORY)
    except Unreachable as error:
        return str(error)
    return None
