"""Emptying nodes: cordon them, shut down what runs on them as soon as that is safe, hold them, and bring everything back.

Each step looks at the world and continues. Which nodes a run has in hand is the workflow's to know: what a node's pods tell
(restarted, gone, elsewhere) may have other causes.
"""

from collections.abc import Iterable

from activities import ledgers, plan_store
from activities.errors import PlanDrift
from activities.permits import Fence
from activities.restart_plans import Found, FoundNode, observe
from activities.restarts import Nodes, look_at_return
from activities.step import Reporter, Steps, heartbeating, step, wait
from kafka_runbooks.clients.clusters import ClusterClients
from kafka_runbooks.models.drains import DrainedNode, DrainPlan
from kafka_runbooks.models.messages import NodesRequest
from kafka_runbooks.models.restart_plan import RestartTarget
from kafka_runbooks.models.results import Reason
from kafka_runbooks.models.status import Progress
from kafka_runbooks.safety.drains import next_nodes, reasons_not_to_empty, why_announced


class DrainActivities(Steps):
    """Drains of nodes."""

    @step
    def choose_nodes(self, request: NodesRequest) -> tuple[str, ...]:
        """The next nodes that may be empty together, of all but those of the request; none where all are done.

        Raises:
            PlanDrift: something else runs on a node by now, or it is another node.
        """
        clients, plan = self._prepared(request)
        left = [node for node in plan.nodes if node.name not in request.nodes]

        def look() -> tuple[str, ...] | None:
            if not left:
                return ()
            found = Found(clients)
            _check(plan, left, found)
            acknowledged = request.step.acknowledged_risks
            chosen, reasons = next_nodes(
                observe(clients, found.shutting_down), left, plan.limits, acknowledged_risks=acknowledged
            )
            if chosen:
                return tuple(node.name for node in chosen)
            _report_blocked("no other node may be emptied now", reasons)
            return None

        return wait(look)

    @step
    def cordon_for_drain(self, request: NodesRequest) -> None:
        """Cordon the nodes in this run's name; a cordon of somebody else's stays theirs."""
        with heartbeating():
            clients, plan = self._prepared(request)
            fence, ledger = Fence(self._link, request.step.token), ledgers.read(clients.kubernetes, request.step.token)
            nodes = {node.uid: node for node in clients.kubernetes.nodes()}
            for drained in _in_hand(plan, request):
                if (node := nodes.get(drained.uid)) is not None:
                    fence.check()
                    ledger = ledgers.own_cordon(clients.kubernetes, ledger, node)

    @step
    def empty_nodes(self, request: NodesRequest) -> None:
        """Delete the pods on the nodes, each as soon as the rules allow its whole node to be down; return when they have ended.

        A node that is no longer cordoned is left alone: somebody wants it back.

        Raises:
            PlanDrift: somebody else's drain is over before its node was begun.
        """
        clients, plan = self._prepared(request)
        fence = Fence(self._link, request.step.token)

        def look() -> bool | None:
            found = Found(clients)
            emptied = [node for node in _in_hand(plan, request) if _is_to_empty(plan, node, found)]
            staying = {node.name: _on_node(plan, node, found) for node in emptied}
            begun = [node for node in emptied if len(staying[node.name]) < len(node.targets) or _ends(staying[node.name])]
            blocked: list[Reason] = []
            for node in emptied:
                for one in staying[node.name]:
                    if one.pod.is_terminating:
                        continue
                    if reasons := self._against(clients, plan, request, begun, node):
                        blocked += [reason for reason in reasons if reason not in blocked]
                        break
                    fence.check()
                    clients.kubernetes.delete_pod(one.pod.name, one.pod.uid, force=False)
                    begun = begun if node in begun else [*begun, node]
            pods = [one.pod.name for some in staying.values() for one in some]
            if not pods:
                return True
            if blocked:
                _report_blocked("what is left on the nodes may not be shut down now", blocked)
            else:
                waiting = Reporter.current().waiting(
                    f"{', '.join(pods[:10])} shut down in order", "Kafka has stopped in them", tuple(pods[:20])
                )
                Reporter.current().report(Progress(waiting=waiting))
            return None

        wait(look)

    def _against(
        self, clients: ClusterClients, plan: DrainPlan, request: NodesRequest, begun: Iterable[DrainedNode], node: DrainedNode
    ) -> list[Reason]:
        """Asked right before each pod is deleted: since the last look a broker may have died."""
        together = [*(one for one in begun if one is not node), node]
        going = [kafka for one in together for kafka in one.kafka]
        return reasons_not_to_empty(observe(clients), going, plan.limits, acknowledged_risks=request.step.acknowledged_risks)

    @step
    def hold_nodes(self, request: NodesRequest) -> tuple[str, ...]:
        """Keep the nodes for whoever works on them; return those that somebody has uncordoned by hand. Ends by cancellation."""
        clients, _ = self._prepared(request)

        def look() -> tuple[str, ...] | None:
            ledgers.renewed(clients.kubernetes, ledgers.read(clients.kubernetes, request.step.token))
            nodes = {node.name: node for node in clients.kubernetes.nodes()}
            lifted = tuple(name for name in request.nodes if name in nodes and not nodes[name].is_cordoned)
            if lifted:
                return lifted
            named = ", ".join(request.nodes[:10])
            waiting = Reporter.current().waiting(f"node {named} is empty and held", "uncordon", request.nodes[:20])
            Reporter.current().report(Progress(waiting=waiting))
            return None

        return wait(look)

    @step
    def uncordon_drained(self, request: NodesRequest) -> None:
        """Lift this run's cordons on the nodes."""
        with heartbeating():
            clients, plan = self._prepared(request)
            ledger = ledgers.read(clients.kubernetes, request.step.token)
            uids = {node.uid for node in _in_hand(plan, request)}
            Fence(self._link, request.step.token).check()
            ledgers.lift_cordons(clients.kubernetes, ledger, [one for one in ledger.cordons if one.uid in uids])

    @step
    def follow_return(self, request: NodesRequest) -> None:
        """Return when what was shut down on the nodes is up, answers, and is in sync."""
        clients, plan = self._prepared(request)
        fence, in_hand = Fence(self._link, request.step.token), _in_hand(plan, request)

        def look() -> bool | None:
            pods = Nodes(clients)
            gone: dict[RestartTarget, str] = {
                target: node.name
                for node in in_hand
                for target in node.targets
                if pods.is_new(target) or pods.is_gone(target)  # the others were never told to go
            }
            cordoned = {node.name for node in clients.kubernetes.nodes() if node.is_cordoned}
            hints = {
                target.pod: f"kubectl uncordon {name}: somebody else has cordoned it"
                for target, name in gone.items()
                if name in cordoned and ((pod := pods.pods.get(target.pod)) is None or pod.node is None)
            }
            return look_at_return(clients, fence, tuple(gone), hints)

        wait(look)

    def _prepared(self, request: NodesRequest) -> tuple[ClusterClients, DrainPlan]:
        clients = self._open(request.step.token.cluster)
        return clients, plan_store.load_as(clients.kubernetes, request.step.plan, DrainPlan)


def _in_hand(plan: DrainPlan, request: NodesRequest) -> list[DrainedNode]:
    return [node for node in plan.nodes if node.name in request.nodes]


def _check(plan: DrainPlan, left: Iterable[DrainedNode], found: Found) -> None:
    """What is to be emptied is still what was approved."""
    for node in left:
        machine = found.machines.get(node.name)
        if machine is None or machine.uid != node.uid:
            raise PlanDrift(f"node {node.name} is gone, or another one by now")
        if plan.is_announced and why_announced(machine) is None:
            raise PlanDrift(f"nobody drains node {node.name} any more")
        known = {target.pod for target in node.targets}
        if strangers := sorted(
            one.pod.name for one in found.nodes.values() if one.pod.node == node.name and one.pod.name not in known
        ):
            raise PlanDrift(f"{', '.join(strangers[:5])} runs on node {node.name} by now")


def _is_to_empty(plan: DrainPlan, node: DrainedNode, found: Found) -> bool:
    machine = found.machines.get(node.name)
    if machine is None or machine.uid != node.uid:
        return False
    if plan.is_announced and why_announced(machine) is None and not _ends(_on_node(plan, node, found)):
        raise PlanDrift(f"nobody drains node {node.name} any more")
    return plan.is_announced or machine.is_cordoned


def _on_node(plan: DrainPlan, node: DrainedNode, found: Found) -> list[FoundNode]:
    """Of the plan's pods, those that are on the node. Where others drain it, one that has come back to it is none of them."""
    uids = {target.pod: target.pod_uid for target in node.targets}
    return [
        one
        for _, one in sorted(found.nodes.items())
        if one.pod.node == node.name and one.pod.name in uids and not (plan.is_announced and one.pod.uid != uids[one.pod.name])
    ]


def _ends(pods: Iterable[FoundNode]) -> bool:
    return any(one.pod.is_terminating for one in pods)


def _report_blocked(what: str, reasons: list[Reason]) -> None:
    reporter = Reporter.current()
    waiting = reporter.waiting(
        f"{what}: {'; '.join(reason.message for reason in reasons[:3])}",
        "; ".join(dict.fromkeys(reason.remedy for reason in reasons[:3])),
        tuple(reason.name for reason in reasons[:20]),
    )
    reporter.report(Progress(waiting=waiting))
