"""The broker's pod, claim and node: made sure that the old one is gone, let go, and waited for in its new place."""

import time
from datetime import UTC, datetime

from temporalio import activity
from temporalio.exceptions import ApplicationError

from activities import ledgers
from activities.permits import ensure_held
from activities.replacement import PLAN_DRIFT, drift, load_frozen
from activities.step import Link, Reporter, alive, looks
from kafka_runbooks.clients.clusters import ClusterClients, Clusters
from kafka_runbooks.models.kubernetes import BrokerPod
from kafka_runbooks.models.messages import Landing, NodeChoice, StepRequest
from kafka_runbooks.models.plans import ReplacementPlan
from kafka_runbooks.models.status import Progress, Waiting
from kafka_runbooks.safety.availability import risks_of_losing
from kafka_runbooks.safety.node_choice import choose_node, why_node_is_not_gone

SECONDS_BETWEEN_OBSERVATIONS = 30.0
"""A node must be seen gone twice, so far apart, before its volume is let go: one look may be at a stale cache."""

PENDING_PATIENCE_SECONDS = 20.0


class PodActivities:
    """Steps on the broker's pod and disk. Each looks at the world first and does only what is left to do."""

    def __init__(self, clusters: Clusters, link: Link) -> None:
        self._clusters = clusters
        self._link = link

    @activity.defn(no_thread_cancel_exception=True)
    def fence_broker(self, step: StepRequest) -> None:
        """Cordon the old node, and wait until the cluster has no broker of this id: never two brokers with one id."""
        clients = self._clusters.open(step.token.cluster)
        reporter = Reporter(self._link, step.token)
        with alive():
            ensure_held(self._link, step.token)
            ledger = ledgers.read(clients.kubernetes, step.token)
            if step.place.node is not None and any(node.name == step.place.node for node in clients.kubernetes.nodes()):
                ledgers.own_cordon(clients.kubernetes, ledger, step.place.node)
        for _ in looks():
            if step.place.broker_id not in clients.kafka.snapshot().live_broker_ids:
                return
            why = reporter.waiting(
                f"broker {step.place.broker_id} still heartbeats to the controller; its node {step.place.node} runs it",
                f"power node {step.place.node} off, or abort and use node_state returns",
                (f"broker {step.place.broker_id}",),
            )
            reporter.report(Progress(waiting=why))

    @activity.defn(no_thread_cancel_exception=True)
    def confirm_node_gone(self, step: StepRequest) -> None:
        """Two observations, `SECONDS_BETWEEN_OBSERVATIONS` apart, that node and broker are gone; or the operator's word."""
        if step.node_is_gone:
            return
        clients = self._clusters.open(step.token.cluster)
        reporter = Reporter(self._link, step.token)
        first: float | None = None
        for _ in looks():
            node = next((node for node in clients.kubernetes.nodes() if node.name == step.place.node), None)
            broker_is_up = step.place.broker_id in clients.kafka.snapshot().live_broker_ids
            against = f"broker {step.place.broker_id} is up" if broker_is_up else why_node_is_not_gone(node, step.place.node_uid)
            now = time.monotonic()
            if against is not None:
                first = None
                why = reporter.waiting(
                    against, "power the node off, or abort and use node_state returns", (step.place.node or "",)
                )
            elif first is None:
                first = now
                why = self._until_second(reporter, step, now, first)
            elif now - first >= SECONDS_BETWEEN_OBSERVATIONS:
                return
            else:
                why = self._until_second(reporter, step, now, first)
            reporter.report(Progress(waiting=why))

    def _until_second(self, reporter: Reporter, step: StepRequest, now: float, first: float) -> Waiting:
        left = SECONDS_BETWEEN_OBSERVATIONS - (now - first)
        return reporter.waiting(
            f"node {step.place.node} is gone; the second observation is due in {left:.0f} s",
            "the second observation that the node is gone (node_is_gone in the input spares it)",
            (step.place.node or "",),
        )

    @activity.defn(no_thread_cancel_exception=True)
    def choose_landing_node(self, step: StepRequest) -> NodeChoice:
        """A node where the broker can come back; waits while there is none in its map."""
        clients = self._clusters.open(step.token.cluster)
        reporter = Reporter(self._link, step.token)
        for _ in looks():
            nodes, pods = clients.kubernetes.nodes(), clients.kubernetes.broker_pods()
            pod = next((pod for pod in pods if pod.name == step.place.pod), None)
            if pod is not None and pod.is_ready and pod.node is not None and pod.node != step.place.node:
                return NodeChoice(node=pod.node, rack=step.place.rack)
            choice = choose_node(step.place, nodes, pods, old_node_is_gone=step.disk_is_lost)
            if choice.node is not None:
                return choice
            why = reporter.waiting(
                f"no free node of map {step.place.map} in rack {step.place.rack} or any other",
                f"add a node of map {step.place.map} in zone {step.place.rack}",
                (f"map {step.place.map}",),
            )
            reporter.report(Progress(waiting=why))
        raise AssertionError("looks never end by themselves")

    @activity.defn(no_thread_cancel_exception=True)
    def release_volume(self, step: StepRequest) -> None:
        """Delete the lost disk's claim and volume, if they are still the ones that the plan saw.

        Waits while doing so would make a loss final that nobody has acknowledged: a second broker died meanwhile.

        Raises:
            ApplicationError: `PlanDrift`, where the broker's partitions are not the plan's any more.
        """
        clients = self._clusters.open(step.token.cluster)
        reporter = Reporter(self._link, step.token)
        plan = load_frozen(clients, step.plan, ReplacementPlan)
        for _ in looks():
            claim = clients.kubernetes.claim(step.place.claim)
            if claim is None or claim.uid != step.place.claim_uid:
                return
            snapshot = clients.kafka.snapshot()
            changes = drift(plan, snapshot)
            if changes:
                raise ApplicationError("; ".join(changes[:5]), type=PLAN_DRIFT, non_retryable=True)
            risks = [
                risk
                for risk in risks_of_losing(snapshot, step.place.broker_id, disk_is_lost=True)
                if risk.name not in step.acknowledged_risks
            ]
            if not risks:
                ensure_held(self._link, step.token)
                with alive():
                    clients.kubernetes.delete_claim(claim.name, claim.uid)
                return
            why = reporter.waiting(
                "a partition's last copies went away meanwhile: " + "; ".join(risk.message for risk in risks[:3]),
                "bring the other brokers of these partitions back, or acknowledge: "
                + ", ".join(risk.name for risk in risks[:10]),
                tuple(risk.name for risk in risks[:20]),
            )
            reporter.report(Progress(waiting=why))

    @activity.defn(no_thread_cancel_exception=True)
    def delete_pod(self, step: StepRequest) -> None:
        """Delete the pod that is bound to the lost node, so that its StatefulSet makes it anew. A pod elsewhere is left."""
        clients = self._clusters.open(step.token.cluster)
        with alive():
            pod = _pod(clients, step)
            claim = clients.kubernetes.claim(step.place.claim)
            belongs_to_lost_disk = claim is None or claim.is_terminating or claim.uid == step.place.claim_uid
            if pod is not None and (pod.node == step.place.node or (pod.node is None and belongs_to_lost_disk)):
                ensure_held(self._link, step.token)
                clients.kubernetes.delete_pod(pod.name, pod.uid, force=True)

    @activity.defn(no_thread_cancel_exception=True)
    def wait_for_pod(self, step: StepRequest) -> Landing:
        """Wait until the same ordinal runs as the same broker; says in the scheduler's words why it doesn't yet.

        A pod that was made while the lost claim was still being deleted refers to that claim for ever, and is made anew.
        """
        clients = self._clusters.open(step.token.cluster)
        reporter = Reporter(self._link, step.token)
        began = datetime.now(UTC)
        for _ in looks():
            pod = _pod(clients, step)
            live = clients.kafka.snapshot().live_broker_ids
            if pod is not None and pod.node is not None and pod.broker_id == step.place.broker_id and not pod.is_terminating:
                node = next((node for node in clients.kubernetes.nodes() if node.name == pod.node), None)
                is_elsewhere = not step.disk_is_lost or pod.node != step.place.node
                if node is not None and node.is_ready and is_elsewhere and pod.broker_id in live:
                    return Landing(node=node.name, rack=node.zone, in_other_rack=node.zone != step.place.rack)
            if step.disk_is_lost:
                self._free_stuck_pod(clients, step, pod, (datetime.now(UTC) - began).total_seconds())
            why = reporter.waiting(*_why_not_running(step, pod), (step.place.pod,))
            reporter.report(Progress(waiting=why))
        raise AssertionError("looks never end by themselves")

    def _free_stuck_pod(self, clients: ClusterClients, step: StepRequest, pod: BrokerPod | None, waited_seconds: float) -> None:
        if pod is None or pod.node is not None:
            return
        claim = clients.kubernetes.claim(pod.claim)
        if claim is not None and claim.is_terminating and claim.uid == step.place.claim_uid:
            stuck = True
        else:
            stuck = claim is None and waited_seconds > PENDING_PATIENCE_SECONDS
        if stuck:
            ensure_held(self._link, step.token)
            clients.kubernetes.delete_pod(pod.name, pod.uid, force=True)


def _pod(clients: ClusterClients, step: StepRequest) -> BrokerPod | None:
    return next((pod for pod in clients.kubernetes.broker_pods() if pod.name == step.place.pod), None)


def _why_not_running(step: StepRequest, pod: BrokerPod | None) -> tuple[str, str]:
    if pod is None:
        return f"pod {step.place.pod} doesn't exist", "its StatefulSet makes it"
    if pod.node is None:
        return (
            f"pod {pod.name} is not scheduled: {pod.why_pending or 'no reason given yet'}",
            f"a free node of map {step.place.map} in zone {step.place.rack} that can mount {pod.claim}",
        )
    return (
        f"pod {pod.name} on {pod.node} is {pod.phase}{': ' + pod.why_pending if pod.why_pending else ''}",
        f"broker {step.place.broker_id} registers with the controller",
    )
