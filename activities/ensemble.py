"""Restarting a ZooKeeper ensemble: plan, choose the member that may go down now, delete its pod, follow it until it is in sync.

What has been restarted is told by the pods' uids, never by memory. Who is who is told by the members: a pod's member is the one
that answers at the address of `zookeeper.hosts` with the pod's name, and its server id is its own word. How a member connects to
the others is what its pod was started with, and which certificate it has what its agent has recorded.
"""

import time
from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime
from functools import cached_property

from activities import plan_store
from activities.errors import PlanDrift
from activities.leaders import FORGOTTEN
from activities.permits import Fence
from activities.restart_plans import ROUND_STEPS, not_on_delete, offered, stuck_with_newest
from activities.restarts import REPAIR, STALLED_SECONDS, Stage
from activities.step import Reporter, Steps, heartbeating, step, wait
from kafka_runbooks.clients.clusters import ClusterClients
from kafka_runbooks.models.certificates import TlsFiles
from kafka_runbooks.models.ensemble import Ensemble, EnsembleMember, QuorumTls
from kafka_runbooks.models.ensemble_plan import EnsemblePlan, MemberTarget
from kafka_runbooks.models.inputs import RestartEnsembleInput
from kafka_runbooks.models.kubernetes import KafkaPod
from kafka_runbooks.models.messages import PlanRequest, Round, StepRequest, Survey
from kafka_runbooks.models.plans import PlanSummary, SummaryLine, reference_to
from kafka_runbooks.models.results import Reason
from kafka_runbooks.models.status import Progress
from kafka_runbooks.models.steps import StepName
from kafka_runbooks.models.wording import duration
from kafka_runbooks.safety import quorum_tls
from kafka_runbooks.safety.addresses import may_be_missed
from kafka_runbooks.safety.ensemble import in_order, not_in_sync, reasons_not_to_go_down

CLIENT_TLS = "zookeeper.ssl.client.enable"
"""Kafka's own configuration of its connection to ZooKeeper."""
RESTART_SECONDS = 60.0
"""Of a member of which nothing else is known: its JVM starts, loads its snapshot, and copies what it has missed."""


class EnsembleActivities(Steps):
    """The plan and the steps of `RestartEnsemble`."""

    @step
    def plan_restart_ensemble(self, asked: PlanRequest[RestartEnsembleInput]) -> Survey:
        """Find the members to restart and every reason against it, and freeze the plan. Changes nothing."""
        with heartbeating():
            clients, request = self._open(asked.request.cluster), asked.request
            if clients.zookeeper is None:
                return Survey(reasons=(_no_zookeeper(request.cluster),))
            members = Members(clients)
            if reasons := [*_not_identified(request.cluster, members), *_unknown_ids(request, members)]:
                return Survey(reasons=tuple(reasons))
            targets = _targets(request, members)
            if not targets:
                return Survey(nothing_to_do="no member has to restart: each has the newest pod template and certificates")
            plan = _freeze(request, targets)
            against = [*_against(members, targets), *_plain_clients(clients, members, targets)]
            return offered(clients, asked, plan, _summarise(plan, members.ensemble), against, ())

    @step
    def choose_member(self, request: StepRequest) -> Round:
        """The next member of the plan that may go down; first the one that is down already. None where all are done."""
        clients = self._open(request.token.cluster)
        plan = plan_store.load_as(clients.kubernetes, request.plan, EnsemblePlan)

        def look() -> Round | None:
            members = Members(clients)
            left = {target.server_id for target in plan.targets if not members.is_new(target)}
            done = len(plan.targets) - len(left)
            begun = [target for target in plan.targets if members.is_gone(target) or members.is_new(target)]
            in_hand = tuple(target.server_id for target in begun if members.stage_of(target) is not None)
            if in_hand or not left:
                return Round(node_ids=in_hand, done=done, total=len(plan.targets))
            first: list[Reason] = []
            for server_id in in_order(members.ensemble, left):
                reasons = members.reasons_against(server_id, left)
                if not reasons:
                    return Round(node_ids=(server_id,), done=done, total=len(plan.targets))
                first = first or reasons
            waiting = Reporter.current().waiting(
                f"no member may go down: {'; '.join(reason.message for reason in first[:3])}",
                "; ".join(dict.fromkeys(reason.remedy for reason in first[:3])),
                tuple(reason.name for reason in first[:20]),
            )
            Reporter.current().report(Progress(waiting=waiting))
            return None

        return wait(look)

    @step
    def restart_member(self, request: StepRequest) -> tuple[int, ...]:
        """Delete the pod of a member if it may still go down; returns it, or nothing where another one has to be chosen."""
        with heartbeating():
            clients, fence = self._open(request.token.cluster), Fence(self._link, request.token)
            plan = plan_store.load_as(clients.kubernetes, request.plan, EnsemblePlan)
            going: list[int] = []
            for target in [target for target in plan.targets if target.server_id in request.broker_ids]:
                members = Members(clients)
                if not members.is_new(target) and not members.is_gone(target):
                    left = {one.server_id for one in plan.targets if not members.is_new(one)}
                    if members.reasons_against(target.server_id, left):
                        continue
                    fence.check()
                    clients.kubernetes.delete_pod(target.pod, target.pod_uid, force=False)
                going.append(target.server_id)
            return tuple(going)

    @step
    def follow_member(self, request: StepRequest) -> None:
        """Return when a member is back, has what was committed, and is Ready. However long that takes, nothing is killed."""
        clients, fence = self._open(request.token.cluster), Fence(self._link, request.token)
        plan = plan_store.load_as(clients.kubernetes, request.plan, EnsemblePlan)
        targets = [target for target in plan.targets if target.server_id in request.broker_ids]

        def look() -> bool | None:
            members, reporter = Members(clients), Reporter.current()
            stages = [stage for target in targets if (stage := members.stage_of(target)) is not None]
            if not stages:
                return True
            for target in targets:
                pod = members.pods.get(target.pod)
                if pod is not None and pod.stuck and members.is_outdated(pod) and not pod.is_terminating:
                    # Its template was repaired meanwhile; under `OnDelete` nobody else makes the pod anew.
                    fence.check()
                    clients.kubernetes.delete_pod(pod.name, pod.uid, force=False)
            reason, stalled = "; ".join(stage.why for stage in stages), reporter.unchanged_seconds()
            if stalled > STALLED_SECONDS:
                reason = f"nothing has changed for {duration(stalled)}: {reason}"
            whys = tuple(stage.why for stage in stages)
            reporter.report(Progress(waiting=reporter.waiting(reason, "; ".join(stage.until for stage in stages), whys)))
            return None

        wait(look)


class Members:
    """The ensemble and its pods as they are now, asked once a look."""

    def __init__(self, clients: ClusterClients) -> None:
        if clients.zookeeper is None:
            raise PlanDrift("the cluster's entry in clusters.yaml has no zookeeper any more")
        began = time.monotonic()
        self.ensemble = clients.zookeeper.ensemble()
        self.pods: Mapping[str, KafkaPod] = {pod.name: pod for pod in clients.kubernetes.ensemble_pods()}
        self.sets = {one.name: one for one in clients.kubernetes.ensemble_sets()}
        self._kubernetes = clients.kubernetes
        self._address_cache_seconds = clients.settings.address_cache_seconds
        self._age_seconds = time.monotonic() - began

    def member_of(self, pod: str) -> EnsembleMember | None:
        """The one at the address of a pod: a pod of a StatefulSet is the first part of its DNS name."""
        found = (member for member in self.ensemble.members if member.address.rpartition(":")[0].split(".")[0] == pod)
        return next(found, None)

    def server_id_of(self, pod: str) -> int | None:
        member = self.member_of(pod)
        return None if member is None else member.server_id

    def is_new(self, target: MemberTarget) -> bool:
        """Whether another pod has taken the place of the plan's."""
        pod = self.pods.get(target.pod)
        return pod is not None and pod.uid != target.pod_uid

    def is_gone(self, target: MemberTarget) -> bool:
        """Whether the plan's pod has ended, or was told to, and no other is there yet."""
        pod = self.pods.get(target.pod)
        return pod is None or (pod.uid == target.pod_uid and pod.is_terminating)

    def is_outdated(self, pod: KafkaPod) -> bool:
        """Whether its template has changed since it was made."""
        newest = self.sets.get(pod.stateful_set)
        return (
            newest is not None and None not in (newest.update_revision, pod.revision) and newest.update_revision != pod.revision
        )

    @cached_property
    def _tls_files(self) -> Mapping[str, TlsFiles]:
        return self._kubernetes.tls_files()

    def has_other_certificates(self, pod: KafkaPod) -> bool:
        """Whether what is in its TLS files isn't what its process was started with. ZooKeeper 3.8 reads them when it starts."""
        record = self._tls_files.get(pod.name)
        if record is None or record.pod_uid != pod.uid or not record.is_of_process(pod.started_at):
            return False
        return any(record.sha256.get(path) not in (None, digest) for path, digest in record.started_with.items())

    def reasons_against(self, server_id: int, later: Collection[int]) -> list[Reason]:
        """Why a member may not go down now."""
        ending = [self.server_id_of(pod.name) for pod in self.pods.values() if pod.is_terminating]
        return [
            *reasons_not_to_go_down(
                self.ensemble,
                server_id,
                age_seconds=self._age_seconds,
                later=later,
                shutting_down=[one for one in ending if one is not None],
            ),
            *self._would_split(server_id),
        ]

    def _would_split(self, server_id: int) -> list[Reason]:
        """Why its next process couldn't talk to the others."""
        by_id = {found: pod for pod in self.pods.values() if (found := self.server_id_of(pod.name)) is not None}
        pod = by_id.get(server_id)
        newest = self.sets.get(pod.stateful_set) if pod is not None else None
        if newest is None:
            return []
        others = {other: one.quorum_tls for other, one in by_id.items() if other != server_id}
        return quorum_tls.would_split(server_id, newest.quorum_tls, others)

    def stage_of(self, target: MemberTarget) -> Stage | None:
        """Where a member is that was told to restart; None: it is back and in sync."""
        pod, member, server_id = self.pods.get(target.pod), self.member_of(target.pod), target.server_id
        if pod is None:
            return Stage(f"pod {target.pod} doesn't exist yet", f"its StatefulSet makes pod {target.pod}")
        if pod.uid == target.pod_uid:
            return Stage(f"member {server_id} shuts down", f"ZooKeeper has stopped in pod {pod.name}")
        if pod.stuck:
            return Stage(f"pod {pod.name} is stuck: {pod.stuck}", REPAIR.format(pod=pod.name))
        if pod.started_at is None:
            why = f": {pod.why_pending}" if pod.why_pending else ""
            return Stage(f"pod {pod.name} has not started ZooKeeper{why}", f"ZooKeeper starts in pod {pod.name}")
        if self.ensemble.committed_zxid is None:
            why = f"the ensemble commits nothing: {self.ensemble.fault}"
            return Stage(why, "a quorum of its members is back")
        if member is not None and member.mode is not None and member.server_id != server_id:
            why = f"pod {pod.name} answers as server {member.server_id}, and was {server_id}"
            return Stage(why, f"its myid is {server_id} again")
        if (away := not_in_sync(self.ensemble).get(server_id)) is not None:
            return Stage(away, f"member {server_id} has everything that was committed")
        if not pod.is_ready:
            return Stage(f"pod {pod.name} is not Ready yet", f"pod {pod.name} is Ready")
        if may_be_missed(pod, self._address_cache_seconds, datetime.now(UTC)):  # it may lead once the next one has stopped
            return Stage(f"others may still connect to the former address of member {server_id}", FORGOTTEN)
        return None


def _no_zookeeper(cluster: str) -> Reason:
    return Reason(
        name="no-zookeeper",
        message=f"cluster: {cluster} has no zookeeper in clusters.yaml: as far as the worker knows it runs in KRaft mode",
        remedy="restart its controllers with rolling-restart; or, in ZooKeeper mode, add zookeeper to the cluster's entry",
        is_bad_input=True,
    )


def _not_identified(cluster: str, members: Members) -> list[Reason]:
    """Where it isn't known which pod is which member, none may go."""
    if not members.pods:
        return [
            Reason(
                name="no-pods",
                message=f"no pod has the labels of cluster {cluster}'s ZooKeeper ensemble: nobody knows what to restart",
                remedy=f"label its pods app.kubernetes.io/component=zookeeper and kafka-runbooks.io/cluster={cluster}",
            )
        ]
    if members.ensemble.committed_zxid is None:
        return [
            Reason(
                name="commits-nothing",
                message=f"the ensemble commits nothing: {members.ensemble.fault}",
                remedy="bring back as many of its members as make a quorum",
            )
        ]
    return [
        Reason(
            name=f"unknown-member:{pod}",
            message=f"pod {pod} is no known member: "
            + ("no address of zookeeper.hosts is its" if members.member_of(pod) is None else "it doesn't tell its server id"),
            remedy="give each pod's own DNS name in zookeeper.hosts (pod.service.namespace.svc:port)",
        )
        for pod in sorted(members.pods)
        if members.server_id_of(pod) is None
    ]


def _unknown_ids(request: RestartEnsembleInput, members: Members) -> list[Reason]:
    known = {members.server_id_of(pod) for pod in members.pods}
    unknown = sorted(set(request.server_ids) - known)
    if not unknown:
        return []
    return [
        Reason(
            name="unknown-server",
            message=f"server_ids: no pod is server {', '.join(map(str, unknown))} of the ensemble",
            remedy=f"give some of {', '.join(str(one) for one in sorted(one for one in known if one is not None))}",
            is_bad_input=True,
        )
    ]


def _targets(request: RestartEnsembleInput, members: Members) -> list[MemberTarget]:
    targets = []
    for name, pod in sorted(members.pods.items()):
        server_id = members.server_id_of(name)
        if server_id is None or (request.server_ids and server_id not in request.server_ids):
            continue
        whys = ["its pod template has changed"] * members.is_outdated(pod)
        whys += ["its TLS files have changed since it started"] * members.has_other_certificates(pod)
        if whys or not request.only_outdated:
            targets.append(MemberTarget(server_id=server_id, pod=name, pod_uid=pod.uid, why=", ".join(whys) or "asked for"))
    return sorted(targets, key=lambda target: target.server_id)


def _against(members: Members, targets: Sequence[MemberTarget]) -> list[Reason]:
    """Every reason not to begin. One that is away and among the targets restarts first, and is in nobody's way then."""
    names = {members.pods[target.pod].stateful_set for target in targets}
    newest = [pod for pod in members.pods.values() if not members.is_outdated(pod)]
    reasons = [
        *not_on_delete(members.sets[name] for name in sorted(names & members.sets.keys())),
        *stuck_with_newest(newest),
    ]
    mended = {f"member-away:{target.server_id}" for target in targets}
    mended |= {f"quorum-tls:{server_id}" for server_id in not_in_sync(members.ensemble) if f"member-away:{server_id}" in mended}
    for target in targets:
        found = members.reasons_against(target.server_id, ())
        known = {reason.name for reason in reasons} | mended
        reasons += [reason for reason in found if reason.name not in known]
    return reasons


def _plain_clients(clients: ClusterClients, members: Members, targets: Sequence[MemberTarget]) -> list[Reason]:
    """Who would be left outside, where these restarts close the members' port for plain text."""
    pods = [members.pods[target.pod] for target in targets]
    closing = [
        pod
        for pod in pods
        if pod.stateful_set in members.sets
        and members.sets[pod.stateful_set].quorum_tls == QuorumTls.REQUIRED
        and pod.quorum_tls != QuorumTls.REQUIRED
    ]
    if not closing:
        return []
    configs = clients.kafka.broker_configs(clients.kafka.snapshot().live_broker_ids, [CLIENT_TLS])
    plain = [one for one, found in configs.items() if CLIENT_TLS in found and found[CLIENT_TLS].in_force != "true"]
    settings = clients.settings.zookeeper
    return quorum_tls.plain_clients(plain, is_worker=settings is not None and settings.tls is None)


def _freeze(request: RestartEnsembleInput, targets: Sequence[MemberTarget]) -> EnsemblePlan:
    return EnsemblePlan(
        cluster=request.cluster,
        kind="RestartEnsemble",
        title=f"restart {len(targets)} members of the ensemble: {request.reason}",
        steps=(*ROUND_STEPS, StepName.RELEASE, StepName.PROVE),
        reason=request.reason,
        targets=tuple(targets),
        made_at=datetime.now(UTC).isoformat(timespec="seconds"),
    )


def _summarise(plan: EnsemblePlan, ensemble: Ensemble) -> PlanSummary:
    by_id = {target.server_id: target for target in plan.targets}
    leader = ensemble.leader
    lines = [("reason", plan.reason), ("ensemble", f"{len(ensemble.servers)} members, {ensemble.quorum} make a quorum")]
    for number, server_id in enumerate(in_order(ensemble, by_id), start=1):
        leads = ", which leads now" if leader is not None and leader.server_id == server_id else ""
        lines.append(("member", f"{number}. server {server_id} ({by_id[server_id].pod}){leads}: {by_id[server_id].why}"))
    return PlanSummary(
        reference=reference_to(plan),
        kind=plan.kind,
        title=plan.title,
        lines=tuple(SummaryLine(label=label, text=text) for label, text in lines[:50]),
        steps=plan.steps,
        partitions=0,
        bytes_to_copy=0,
        lower_bound_bytes=0,
        throttle_bytes_per_s=0,
        eta_seconds=RESTART_SECONDS * len(plan.targets),
        batches=len(plan.targets),
        notices=(
            "while the leader restarts the ensemble elects another: for some seconds Kafka's controller can decide nothing",
        ),
        inverse="none is needed: a restart changes nothing that is kept",
    )
