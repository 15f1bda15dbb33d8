"""One broker's pod, claims and node: confirm that the old node is gone, release its disks, wait for the pod on the new node.

Several brokers go this way side by side, each at its own pace.
"""

from collections.abc import Sequence
from datetime import UTC, datetime

from activities import ledgers, plan_store, proof
from activities.errors import NotProven, PlanDrift
from activities.permits import Fence, ensure_held
from activities.step import Reporter, Steps, heartbeating, step, wait
from kafka_runbooks.clients.clusters import ClusterClients
from kafka_runbooks.models.kubernetes import BrokerPlace, BrokerPod, Claim, Node
from kafka_runbooks.models.messages import Landing, NodeChoice, StepRequest
from kafka_runbooks.models.replacement import ReplacementPlan
from kafka_runbooks.models.status import Progress
from kafka_runbooks.moves.drift import drift
from kafka_runbooks.safety import lost_node, node_choice
from kafka_runbooks.safety.availability import risks_of_losing

SECONDS_BETWEEN_OBSERVATIONS = 30.0
"""A node must be observed gone twice, this far apart, before its volume is released: one observation may be of a stale cache."""

PENDING_PATIENCE_SECONDS = 20.0
BINDING_PATIENCE_SECONDS = 60.0
"""A scheduler takes a second; without a place that the pod can take, other brokers of the map must not wait for it."""


class BrokerActivities(Steps):
    """Steps on the broker's pod and disk. Each observes the cluster first and does only what is left to do."""

    def _prepared(self, request: StepRequest) -> tuple[ClusterClients, ReplacementPlan, BrokerPlace, Reporter]:
        """For a step that is about one broker."""
        clients = self._open(request.token.cluster)
        plan = plan_store.load_as(clients.kubernetes, request.plan, ReplacementPlan)
        (broker_id,) = request.broker_ids or plan.broker_ids
        return clients, plan, plan.place_of(broker_id), Reporter.current()

    @step
    def cordon_nodes(self, request: StepRequest) -> None:
        """Cordon the nodes that the brokers of the plan ran on, as far as they exist."""
        clients = self._open(request.token.cluster)
        plan = plan_store.load_as(clients.kubernetes, request.plan, ReplacementPlan)
        with heartbeating():
            fence, ledger = Fence(self._link, request.token), ledgers.read(clients.kubernetes, request.token)
            for node in clients.kubernetes.nodes():
                if any(lost_node.is_node_of(node, place) for place in plan.places):
                    fence.check()
                    ledger = ledgers.own_cordon(clients.kubernetes, ledger, node)

    @step
    def fence_broker(self, request: StepRequest) -> None:
        """Wait until nothing runs on the old node as this broker: two brokers must never share an id."""
        clients, _, place, reporter = self._prepared(request)

        def observe() -> bool | None:
            if not _is_up_there(clients, place):
                return True
            waiting = reporter.waiting(
                f"broker {place.broker_id} still heartbeats to the controller; its node {place.node} runs it",
                f"power node {place.node} off, or abort and use node_state returns",
                (f"broker {place.broker_id}",),
            )
            reporter.report(Progress(waiting=waiting))
            return None

        wait(observe)

    @step
    def confirm_node_gone(self, request: StepRequest) -> None:
        """Observe node and broker gone twice, `SECONDS_BETWEEN_OBSERVATIONS` apart, unless an operator has confirmed it."""
        clients, _, place, reporter = self._prepared(request)
        if place.node_is_gone:
            return

        def observe() -> bool | None:
            against = lost_node.why_node_is_not_gone(clients.kubernetes.nodes(), place)
            if _is_up_there(clients, place):
                against = f"broker {place.broker_id} is up", "power the node off, or abort and use node_state returns"
            if against is not None:
                reason, unblocks = against
            else:
                seconds = f"{SECONDS_BETWEEN_OBSERVATIONS:.0f} s"
                reason = f"node {place.node} is gone; the second observation follows {seconds} after the first"
                unblocks = "the second observation that the node is gone (node_is_gone in the input makes it unnecessary)"
            waiting = reporter.waiting(reason, unblocks, (place.node or "",))
            first_at = waiting.since  # kept from attempt to attempt
            if against is None and (datetime.now(UTC) - first_at).total_seconds() >= SECONDS_BETWEEN_OBSERVATIONS:
                return True
            reporter.report(Progress(waiting=waiting))
            return None

        wait(observe)

    @step
    def keep_to_rack(self, request: StepRequest) -> None:
        """Cordon its map's free nodes in other racks than the chosen one, until the broker's pod is bound.

        The scheduler doesn't know racks. It would bind the pods of two brokers that come back together to each other's racks, or
        one to another rack although its own has a node.
        """
        clients, plan, place, _ = self._prepared(request)
        with heartbeating():
            fence, ledger = Fence(self._link, request.token), ledgers.read(clients.kubernetes, request.token)
            pods, nodes = clients.kubernetes.broker_pods(), _without_own_cordons(clients, plan, request)
            choice = _choose(plan, place, pods, nodes)
            if choice.node is None or lost_node.runs_elsewhere(pods, nodes, place):
                return
            for node in node_choice.free_nodes(nodes, pods):
                if node.map == place.map and node.zone != choice.rack:
                    fence.check()
                    ledger = ledgers.own_cordon(clients.kubernetes, ledger, node)

    @step
    def open_other_racks(self, request: StepRequest) -> None:
        """Wait until the broker's pod is bound, a minute at most, and lift the cordons of `keep_to_rack`."""
        clients, plan, place, reporter = self._prepared(request)

        def observe() -> bool | None:
            pod = _pod(clients, place)
            if pod is not None and pod.node is not None and not pod.is_terminating:
                return True
            waiting = reporter.waiting(f"pod {place.pod} is not bound to a node yet", "the scheduler binds it", (place.pod,))
            reporter.report(Progress(waiting=waiting))
            waited_seconds = (datetime.now(UTC) - waiting.since).total_seconds()
            self._free_if_stuck(clients, request, place, pod, waited_seconds)
            return True if waited_seconds > BINDING_PATIENCE_SECONDS else None

        wait(observe)
        with heartbeating():
            ensure_held(self._link, request.token)
            ledger, nodes = ledgers.read(clients.kubernetes, request.token), clients.kubernetes.nodes()
            lost = {node.uid for node in nodes if any(lost_node.is_node_of(node, one) is not False for one in plan.places)}
            there = {node.uid for node in nodes}
            ledgers.lift_cordons(clients.kubernetes, ledger, [one for one in ledger.cordons if one.uid in there - lost])

    @step
    def choose_node(self, request: StepRequest) -> NodeChoice:
        """Choose a node for the broker, beside the plan's other brokers that have none yet; waits while its map has none."""
        clients, plan, place, reporter = self._prepared(request)

        def observe() -> NodeChoice | None:
            nodes, pods = _without_own_cordons(clients, plan, request), clients.kubernetes.broker_pods()
            pod = next((pod for pod in pods if pod.name == place.pod), None)
            if pod is not None and pod.is_ready and lost_node.runs_elsewhere(pods, nodes, place):
                return NodeChoice(node=pod.node, rack=place.rack)
            choice = _choose(plan, place, pods, nodes)
            if choice.node is not None:
                return choice
            waiting = reporter.waiting(
                f"no free node of map {place.map} in rack {place.rack} or any other",
                f"add a node of map {place.map} in zone {place.rack}",
                (f"map {place.map}",),
            )
            reporter.report(Progress(waiting=waiting))
            return None

        return wait(observe)

    @step
    def release_volume(self, request: StepRequest) -> None:
        """Delete the lost disks' claims and volumes, if they are still those of the plan.

        Waits while this would make an unacknowledged loss permanent: a second broker may have died since.

        Raises:
            PlanDrift: the broker's partitions are no longer the plan's.
        """
        clients, plan, place, reporter = self._prepared(request)

        def observe() -> bool | None:
            if _is_back(clients, place):
                return True  # With these claims, so their disks are in use.
            there = [lost for lost in place.claims if _is_there(clients, lost)]
            for lost in there:
                if (against := _why_not_release(clients, plan, place, request)) is not None:
                    reporter.report(Progress(waiting=reporter.waiting(*against)))
                    return None
                ensure_held(self._link, request.token)
                clients.kubernetes.delete_claim(lost.name, lost.uid)
            for lost in (lost for lost in place.claims if lost not in there):
                # Whoever deleted this claim may have died before deleting its volume.
                ensure_held(self._link, request.token)
                clients.kubernetes.delete_claim(lost.name, lost.uid)
            return True

        wait(observe)

    @step
    def delete_pod(self, request: StepRequest) -> None:
        """Delete the pod that is bound to the lost node, so that its StatefulSet recreates it. A pod elsewhere is left alone."""
        clients, _, place, _ = self._prepared(request)
        with heartbeating():
            pod, nodes = _pod(clients, place), clients.kubernetes.nodes()
            if pod is None or _is_back(clients, place):
                return
            claims = [clients.kubernetes.claim(name) for name in pod.claims]
            if lost_node.must_make_way(pod, claims, nodes, place):
                ensure_held(self._link, request.token)
                clients.kubernetes.delete_pod(pod.name, pod.uid, force=not _has_kubelet(pod, nodes))

    @step
    def wait_for_pod(self, request: StepRequest) -> Landing:
        """Wait until the same ordinal runs as the same broker; reports the scheduler's reason while it doesn't.

        A pod that was created while the lost claim was still being deleted refers to that claim forever, and is deleted again;
        so is one that was deleted on a node which Kubernetes didn't know to be dead: no kubelet ends it.
        """
        clients, plan, place, reporter = self._prepared(request)

        def observe() -> Landing | None:
            pod = _pod(clients, place)
            live, nodes = clients.kafka.snapshot().live_broker_ids, clients.kubernetes.nodes()
            if pod is not None and pod.node is not None and pod.broker_id == place.broker_id and not pod.is_terminating:
                node = next((node for node in nodes if node.name == pod.node), None)
                if node is not None and node.is_ready and pod.broker_id in live and _may_land(node, plan, place):
                    ensure_held(self._link, request.token)
                    _clear_labels(clients, nodes, node, place)
                    return Landing(node=node.name, rack=node.zone, in_other_rack=node.zone != place.rack)
            waiting = reporter.waiting(*_why_not_running(place, pod), (place.pod,))
            if plan.copies_everything:
                self._free_if_stuck(clients, request, place, pod, (datetime.now(UTC) - waiting.since).total_seconds())
            reporter.report(Progress(waiting=waiting))
            return None

        return wait(observe)

    def _free_if_stuck(
        self, clients: ClusterClients, request: StepRequest, place: BrokerPlace, pod: BrokerPod | None, waited_seconds: float
    ) -> None:
        """Delete a pod that would never start, nor end."""
        if pod is not None and _is_stuck(clients, place, pod, clients.kubernetes.nodes(), waited_seconds):
            ensure_held(self._link, request.token)
            clients.kubernetes.delete_pod(pod.name, pod.uid, force=True)


def _why_not_release(
    clients: ClusterClients, plan: ReplacementPlan, place: BrokerPlace, request: StepRequest
) -> tuple[str, str, tuple[str, ...]] | None:
    """Looked at again right before each claim is deleted: what is waited for, what would help, and for whom."""
    try:
        snapshot = proof.fresh_snapshot(clients.kafka, clients.zookeeper)
        unproven = proof.copies_without_proof(clients.kafka, clients.zookeeper, snapshot, place.broker_id)
    except NotProven as error:
        return str(error), "the controllers answer, and the brokers follow them", ("controllers",)
    changes = drift(plan, snapshot)
    if changes:
        raise PlanDrift("; ".join(changes[:5]))
    if place.broker_id in snapshot.live_broker_ids:
        return (
            f"broker {place.broker_id} is up and uses the disks that are to be given up",
            "power its node off, or abort: a broker that is up needs no new disk",
            (f"broker {place.broker_id}",),
        )
    risks = [risk for risk in risks_of_losing(snapshot, [place.broker_id]) if risk.name not in request.acknowledged_risks]
    if risks:
        return (
            "the last in-sync replicas of partitions have been lost since: " + "; ".join(risk.message for risk in risks[:3]),
            "bring the other brokers of these partitions back, or acknowledge: " + ", ".join(risk.name for risk in risks[:10]),
            tuple(risk.name for risk in risks[:20]),
        )
    doubts = [f"{name}: {why}" for name, why in unproven.items() if f"data-loss:{name.topic}" not in request.acknowledged_risks]
    if doubts:
        return (
            f"no other copy of {len(doubts)} partitions is proven: {'; '.join(doubts[:3])}",
            "the brokers that should have the copies answer, and list them on their disks",
            tuple(doubts[:20]),
        )
    return None


def _pod(clients: ClusterClients, place: BrokerPlace) -> BrokerPod | None:
    return next((pod for pod in clients.kubernetes.broker_pods() if pod.name == place.pod), None)


def _choose(plan: ReplacementPlan, place: BrokerPlace, pods: Sequence[BrokerPod], nodes: Sequence[Node]) -> NodeChoice:
    """The broker's node, beside the plan's other brokers that have none yet."""
    homeless = [one for one in plan.places if one == place or not lost_node.runs_elsewhere(pods, nodes, one)]
    return node_choice.choose_nodes(homeless, nodes, pods, disks_are_lost=plan.copies_everything)[place.broker_id]


def _without_own_cordons(clients: ClusterClients, plan: ReplacementPlan, request: StepRequest) -> list[Node]:
    """The nodes; those that the run has cordoned only to keep another broker to its rack are as free as before."""
    return [
        node.model_copy(update={"is_cordoned": False})
        if request.token.run_id in (node.cordoned_by or "")
        and all(lost_node.is_node_of(node, place) is False for place in plan.places)
        else node
        for node in clients.kubernetes.nodes()
    ]


def _is_there(clients: ClusterClients, lost: Claim) -> bool:
    claim = clients.kubernetes.claim(lost.name)
    return claim is not None and claim.uid == lost.uid and not claim.is_terminating


def _is_up_there(clients: ClusterClients, place: BrokerPlace) -> bool:
    """Whether the broker is up, and not because it has come back on another machine already."""
    return place.broker_id in clients.kafka.snapshot().live_broker_ids and not _runs_elsewhere(clients, place)


def _is_back(clients: ClusterClients, place: BrokerPlace) -> bool:
    """Whether the broker is up on another machine: its StatefulSet was faster than the run."""
    return place.broker_id in clients.kafka.snapshot().live_broker_ids and _runs_elsewhere(clients, place)


def _runs_elsewhere(clients: ClusterClients, place: BrokerPlace) -> bool:
    return lost_node.runs_elsewhere(clients.kubernetes.broker_pods(), clients.kubernetes.nodes(), place)


def _has_kubelet(pod: BrokerPod, nodes: Sequence[Node]) -> bool:
    """Whether a kubelet ends the pod in order; without one it would be terminating for ever."""
    return any(node.name == pod.node and node.is_ready for node in nodes)


def _may_land(node: Node, plan: ReplacementPlan, place: BrokerPlace) -> bool:
    return not (plan.copies_everything and lost_node.may_be_lost_node(node, place))


def _clear_labels(clients: ClusterClients, nodes: Sequence[Node], landed_on: Node, place: BrokerPlace) -> None:
    """Remove the broker's label from the nodes that it has left: agents may only change their own node's."""
    for node in nodes:
        if node.broker_id == place.broker_id and node.uid != landed_on.uid:
            clients.kubernetes.clear_broker_label(node.name, node.uid)


def _is_stuck(clients: ClusterClients, place: BrokerPlace, pod: BrokerPod, nodes: Sequence[Node], waited_seconds: float) -> bool:
    """Whether a pod without a node refers to a deleted claim, or one on the lost node is to end and nobody is there to end it."""
    claims = [clients.kubernetes.claim(name) for name in pod.claims]
    if pod.node is not None:
        return pod.is_terminating and not _has_kubelet(pod, nodes) and lost_node.must_make_way(pod, claims, nodes, place)
    if any(claim is not None and claim.is_terminating and claim.uid in place.claim_uids for claim in claims):
        return True
    return any(claim is None for claim in claims) and waited_seconds > PENDING_PATIENCE_SECONDS


def _why_not_running(place: BrokerPlace, pod: BrokerPod | None) -> tuple[str, str]:
    if pod is None:
        return f"pod {place.pod} doesn't exist", "its StatefulSet creates it"
    if pod.node is None:
        return (
            f"pod {pod.name} is not scheduled: {pod.why_pending or 'no reason given yet'}",
            f"a free node of map {place.map} in zone {place.rack} that can mount {', '.join(pod.claims)}",
        )
    return (
        f"pod {pod.name} on {pod.node} is {pod.phase}{': ' + pod.why_pending if pod.why_pending else ''}",
        f"broker {place.broker_id} registers with the controller",
    )
