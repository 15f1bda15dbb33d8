"""Restarting nodes, round by round: choose who may go down now, delete their pods, and follow them until they are back in sync.

What has been restarted is told by the pods' uids, never by memory: each step looks at the world, and continues.
"""

from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime
from typing import NamedTuple

from activities import plan_store
from activities.errors import ConfigRefused, PlanDrift, PlanGone
from activities.leaders import FORGOTTEN
from activities.permits import Fence
from activities.restart_plans import Found, observe
from activities.step import Reporter, Steps, heartbeating, step, wait
from kafka_runbooks.clients.clusters import ClusterClients
from kafka_runbooks.clients.errors import ClientError
from kafka_runbooks.clients.protocols import Kubernetes
from kafka_runbooks.models.kubernetes import BrokerPod, KafkaPod
from kafka_runbooks.models.messages import Round, StepRequest
from kafka_runbooks.models.plans import PlanReference
from kafka_runbooks.models.recovery import BrokerState
from kafka_runbooks.models.restart_plan import RestartPlan, RestartTarget
from kafka_runbooks.models.restarts import RestartObservation
from kafka_runbooks.models.results import Reason
from kafka_runbooks.models.status import Progress
from kafka_runbooks.models.wording import duration
from kafka_runbooks.safety.addresses import may_be_missed
from kafka_runbooks.safety.availability import out_of_sync
from kafka_runbooks.safety.restarts import reasons_not_to_restart
from kafka_runbooks.safety.voters import has_caught_up

STALLED_SECONDS = 300.0
"""Without any change in what is left, a restart is said to be stalled; it is waited for all the same."""

REPAIR = (
    "repair the template of {pod} (its pod is then made anew), or abort: no other node goes down, since it would get stuck too"
)


class RestartActivities(Steps):
    """Rolling restarts."""

    @step
    def apply_configs(self, request: StepRequest) -> None:
        """Set what brokers take without a restart, and read it back from each.

        Raises:
            ConfigRefused: Kafka refuses a value; what it has accepted before stays, since it is what the file says.
        """
        with heartbeating():
            clients, fence = self._open(request.token.cluster), Fence(self._link, request.token)
            plan = load_restarts(clients.kubernetes, request.plan)
            for broker_id, values in sorted(plan.applied.items()):
                fence.check()
                if refused := clients.kafka.set_broker_configs(broker_id, values):
                    raise ConfigRefused(f"broker {broker_id}: " + "; ".join(f"{name}: {why}" for name, why in refused.items()))

    @step
    def choose_round(self, request: StepRequest) -> Round:
        """The next nodes of the plan that may go down together; those first that are down already. None where all are done.

        Raises:
            PlanDrift: the template that was to be rolled out is another one by now.
        """
        clients = self._open(request.token.cluster)
        plan = load_restarts(clients.kubernetes, request.plan)

        def look() -> Round | None:
            found = Found(clients)
            nodes, observation = Nodes(clients, found), observe(clients, found.shutting_down)
            undone = [target for target in plan.targets if not nodes.is_new(target)]
            left = [target for target in undone if not request.broker_ids or target.node.id in request.broker_ids]
            done = len(plan.targets) - len(undone)
            begun = [target for target in plan.targets if nodes.is_gone(target) or nodes.is_new(target)]
            in_hand = [target.node.id for target in begun if nodes.stage_of(target, observation) is not None]
            if in_hand or not left:
                return Round(node_ids=tuple(in_hand), done=done, total=len(plan.targets))
            if (changed := nodes.changed_template(plan)) is not None:
                raise PlanDrift(f"the pod template of {changed} has changed since the plan was made")
            going, reasons = _next(plan, left, undone, observation, request.acknowledged_risks)
            if going:
                return Round(node_ids=going, done=done, total=len(plan.targets))
            blocking = "; ".join(reason.message for reason in reasons[:3])
            waiting = Reporter.current().waiting(
                f"no node of the next round may go down: {blocking}",
                "; ".join(dict.fromkeys(reason.remedy for reason in reasons[:3])),
                tuple(reason.name for reason in reasons[:20]),
            )
            Reporter.current().report(Progress(waiting=waiting))
            return None

        return wait(look)

    @step
    def restart_nodes(self, request: StepRequest) -> tuple[int, ...]:
        """Delete the pods of a round, one after the other, as long as each may still go down; returns the nodes that restart.

        The rules are asked again before each: since the round was chosen a broker may have died, or become the active controller.
        """
        with heartbeating():
            clients, fence = self._open(request.token.cluster), Fence(self._link, request.token)
            plan = load_restarts(clients.kubernetes, request.plan)
            going: list[RestartTarget] = []
            for target in _of(plan, request.broker_ids):
                found = Found(clients)
                nodes = Nodes(clients, found)
                if not nodes.is_new(target) and not nodes.is_gone(target):
                    if nodes.changed_template(plan) is not None:
                        break
                    together = [one.node for one in (*going, target)]
                    later = [one.node for one in plan.targets if one.node not in together and not nodes.is_new(one)]
                    observation, acknowledged = observe(clients, found.shutting_down), request.acknowledged_risks
                    if reasons_not_to_restart(observation, together, plan.limits, later=later, acknowledged_risks=acknowledged):
                        continue
                    fence.check()
                    clients.kubernetes.delete_pod(target.pod, target.pod_uid, force=False)
                going.append(target)
            return tuple(target.node.id for target in going)

    @step
    def follow_restart(self, request: StepRequest) -> None:
        """Return when the nodes of a round are up, answer, and are in sync. However long that takes, nothing is killed."""
        clients, fence = self._open(request.token.cluster), Fence(self._link, request.token)
        plan = load_restarts(clients.kubernetes, request.plan)
        round_ = _of(plan, request.broker_ids)

        def look() -> bool | None:
            if look_at_return(clients, fence, round_) is None:
                return None
            _forget_what_the_file_says(clients, fence, [target.node.id for target in round_ if target.node.is_broker])
            return True

        wait(look)


def look_at_return(
    clients: ClusterClients, fence: Fence, targets: Sequence[RestartTarget], hints: Mapping[str, str] | None = None
) -> bool | None:
    """One look at nodes that were told to go down: True once all are back and in sync; reports what they are at.

    Args:
        hints: by pod, what else its return waits for.
    """
    nodes, observation, reporter = Nodes(clients), observe(clients, ()), Reporter.current()
    stages = {target: stage for target in targets if (stage := nodes.stage_of(target, observation)) is not None}
    if not stages:
        return True
    for target in stages:
        pod = nodes.pods.get(target.pod)
        if pod is not None and pod.stuck and nodes.is_outdated(pod) and not pod.is_terminating:
            # Its template was repaired meanwhile; under `OnDelete` nobody else makes the pod anew.
            fence.check()
            clients.kubernetes.delete_pod(pod.name, pod.uid, force=False)
    brokers = [target.node.id for target in targets if target.node.is_broker]
    assigned = sum(1 for broker in brokers for _ in observation.snapshot.on_broker(broker))
    late = sum(
        len(out_of_sync(observation.snapshot, broker))
        if broker in observation.snapshot.live_broker_ids
        else sum(1 for _ in observation.snapshot.on_broker(broker))
        for broker in brokers
    )
    whys = [stage.why for stage in stages.values()]
    untils = [(hints or {}).get(target.pod) or stage.until for target, stage in stages.items()]
    reason, stalled = "; ".join(whys), reporter.unchanged_seconds()
    if stalled > STALLED_SECONDS:
        reason = f"nothing has changed for {duration(stalled)}: {reason}"
    waiting = reporter.waiting(reason, "; ".join(untils), tuple(whys))
    reporter.report(Progress(done_partitions=assigned - late, total_partitions=assigned, waiting=waiting))
    return None


def _forget_what_the_file_says(clients: ClusterClients, fence: Fence, broker_ids: Sequence[int]) -> None:
    """Delete what is set on brokers and in their file alike: it would hide the next change of the file from their next start."""
    for broker_id, configs in clients.kafka.broker_configs(broker_ids).items():
        same = [name for name, config in configs.items() if config.own is not None and config.own == config.in_file]
        if same:
            fence.check()
            clients.kafka.set_broker_configs(broker_id, dict.fromkeys(same))


def load_restarts(kubernetes: Kubernetes, reference: PlanReference) -> RestartPlan:
    """The frozen plan of whichever runbook restarts nodes.

    Raises:
        PlanGone: it is not in the store, or is not what was approved.
    """
    plan = plan_store.load(kubernetes, reference)
    if not isinstance(plan, RestartPlan):
        raise PlanGone(f"{reference.kind}'s plans restart no nodes")
    return plan


def _of(plan: RestartPlan, node_ids: Collection[int]) -> list[RestartTarget]:
    """In the order of the plan's rounds."""
    by_id = {target.node.id: target for target in plan.targets}
    return [by_id[node_id] for round_ in plan.rounds for node_id in round_ if node_id in node_ids]


def _next(
    plan: RestartPlan,
    left: Sequence[RestartTarget],
    undone: Sequence[RestartTarget],
    observation: RestartObservation,
    acknowledged_risks: Collection[str],
) -> tuple[tuple[int, ...], list[Reason]]:
    """As many of `left` as may go of the first round of which any may; else why not even one. No broker goes before a controller.

    Args:
        undone: all that haven't been restarted; those of them that aren't `left` come later.
    """
    first: list[Reason] = []
    are_controllers = any(target.node.is_controller for target in left)
    remaining = [target.node.id for target in left if target.node.is_controller or not are_controllers]
    for round_ in plan.rounds:
        going: list[RestartTarget] = []
        for target in _of(plan, set(round_).intersection(remaining)):
            together = [one.node for one in (*going, target)]
            later = [one.node for one in undone if one.node not in together]
            reasons = reasons_not_to_restart(
                observation, together, plan.limits, later=later, acknowledged_risks=acknowledged_risks
            )
            if not reasons:
                going.append(target)
            first = first or reasons
        if going:
            return tuple(target.node.id for target in going), first
    return (), first


class Stage(NamedTuple):
    """What a node is still at, and what ends that."""

    why: str
    until: str


class Nodes:
    """The pods of brokers and controllers as they are now, asked once a look.

    Args:
        found: what the look has asked for already.
    """

    def __init__(self, clients: ClusterClients, found: Found | None = None) -> None:
        self._clients = clients
        kubernetes = clients.kubernetes
        pods = (*kubernetes.broker_pods(), *kubernetes.controller_pods()) if found is None else found.pods
        sets = kubernetes.stateful_sets() if found is None else found.sets.values()
        self.pods: Mapping[str, KafkaPod] = {pod.name: pod for pod in pods}
        self._revisions = {one.name: one.update_revision for one in sets}

    def is_new(self, target: RestartTarget) -> bool:
        """Whether another pod has taken the place of the plan's."""
        pod = self.pods.get(target.pod)
        return pod is not None and pod.uid != target.pod_uid

    def is_gone(self, target: RestartTarget) -> bool:
        """Whether the plan's pod has ended, or was told to, and no other is there yet."""
        pod = self.pods.get(target.pod)
        return pod is None or (pod.uid == target.pod_uid and pod.is_terminating)

    def changed_template(self, plan: RestartPlan) -> str | None:
        """A StatefulSet whose template is another one than the plan rolls out, if the plan says which."""
        changed = (name for name, revision in sorted(plan.revisions.items()) if self._revisions.get(name) != revision)
        return next(changed, None)

    def is_outdated(self, pod: KafkaPod) -> bool:
        """Whether its template has changed since it was made."""
        newest = self._revisions.get(pod.stateful_set)
        return newest is not None and pod.revision is not None and pod.revision != newest

    def stage_of(self, target: RestartTarget, observation: RestartObservation) -> Stage | None:
        """Where a node is that was told to restart; None: it is back, answers, and is in sync."""
        pod, node = self.pods.get(target.pod), target.node
        if pod is None:
            return Stage(f"pod {target.pod} doesn't exist yet", f"its StatefulSet makes pod {target.pod}")
        if pod.uid == target.pod_uid:
            led = sum(1 for partition in observation.snapshot.partitions if partition.leader == node.id) if node.is_broker else 0
            leads = f": it still leads {led} partitions" if led else ""
            return Stage(f"node {node.id} shuts down in order{leads}", f"Kafka has stopped on node {node.id}")
        if pod.stuck:
            return Stage(f"pod {pod.name} is stuck: {pod.stuck}", REPAIR.format(pod=pod.name))
        if pod.started_at is None:
            why = f": {pod.why_pending}" if pod.why_pending else ""
            return Stage(f"pod {pod.name} has not started Kafka{why}", f"Kafka starts in pod {pod.name}")
        if node.is_broker and (stage := self._not_serving(pod, node.id, observation)) is not None:
            return stage
        if node.is_controller and observation.quorum is not None and not has_caught_up(observation.quorum, node.id):
            return Stage(f"controller {node.id} catches up with the metadata log", f"controller {node.id} has caught up")
        if not pod.is_ready:
            return Stage(f"pod {pod.name} is not Ready yet", f"pod {pod.name} is Ready")
        # The next one to stop may make this one active. Brokers lead again later: `activities.leaders`.
        if node.is_controller and may_be_missed(pod, self._clients.settings.address_cache_seconds, datetime.now(UTC)):
            return Stage(f"others may still connect to the former address of controller {node.id}", FORGOTTEN)
        return None

    def _not_serving(self, pod: KafkaPod, broker_id: int, observation: RestartObservation) -> Stage | None:
        if broker_id not in observation.snapshot.live_broker_ids:
            return self._starting(pod, broker_id)
        if broker_id not in self._clients.kafka.broker_configs([broker_id], ["node.id"]):
            return Stage(f"broker {broker_id} is registered, and doesn't answer", f"broker {broker_id} answers")
        late = out_of_sync(observation.snapshot, broker_id)
        if not late:
            return None
        shown = ", ".join(str(partition.name) for partition in late[:3]) + (", …" if len(late) > 3 else "")
        return Stage(f"broker {broker_id}: {len(late)} replicas are not in sync yet ({shown})", f"broker {broker_id} is in sync")

    def _starting(self, pod: KafkaPod, broker_id: int) -> Stage:
        """A broker that isn't registered yet: only its metrics tell how far it is."""
        try:
            found = self._clients.metrics.recovery([pod]) if isinstance(pod, BrokerPod) else None
        except ClientError:
            found = None
        said = None if found is None else found.by_broker.get(broker_id)
        if said is None or said.state is not BrokerState.RECOVERY:
            return Stage(f"broker {broker_id} is not registered yet", f"broker {broker_id} registers with the controllers")
        left = f"{said.remaining_logs} logs and {said.remaining_segments} segments left"
        if not said.remaining_logs and not said.remaining_segments:
            return Stage(f"broker {broker_id} loads its logs", f"broker {broker_id} has loaded its logs")
        return Stage(
            f"broker {broker_id} recovers its logs after an unclean stop: {left}", f"broker {broker_id} has recovered its logs"
        )
