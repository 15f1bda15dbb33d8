"""The steps of a rotation of certificates: choose the next change, write Secrets, follow the files, reload, prove, and take back.

Nothing is remembered: each step sees who presents and trusts what now, and does what is left. Kafka accepts a reload whatever it
makes of the files, so only a handshake ends a change; until one does, the former files stay in the Secrets beside the new ones.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta

from activities import plan_store
from activities.errors import RotationRefused
from activities.permits import Fence
from activities.restart_plans import observe, partitions_of, verified_rounds
from activities.rotation_views import PREVIOUS, WRITTEN_AT, Probes, View, certificates_of, read
from activities.step import Access, Reporter, Steps, heartbeating, step, wait
from kafka_runbooks.clients.certificates import pem
from kafka_runbooks.clients.certificates.protocols import Leaf, LeafRequest
from kafka_runbooks.clients.clusters import CertificateClients, ClusterClients
from kafka_runbooks.clients.errors import ClientError
from kafka_runbooks.models.inputs import RollingRestartInput
from kafka_runbooks.models.messages import StepRequest
from kafka_runbooks.models.plans import PlanReference
from kafka_runbooks.models.restart_plan import RestartPlan, RestartTarget
from kafka_runbooks.models.results import Check
from kafka_runbooks.models.rotation_plan import (
    ChangeReport,
    ChangeRequest,
    NextChange,
    OldClients,
    RotatedClient,
    RotatedNode,
    RotationPlan,
)
from kafka_runbooks.models.rotations import Party, Phase, Stage
from kafka_runbooks.models.status import Progress
from kafka_runbooks.models.steps import StepName
from kafka_runbooks.safety import rotation_start
from kafka_runbooks.safety.restarts import cut_off_brokers
from kafka_runbooks.safety.rotation_checker import broken
from kafka_runbooks.safety.rotations import RESTARTS, next_change, stage

PROOF_SECONDS = 30.0
"""How long a node that answers may go on with its former files; it loads new ones within a second."""
UNTOLD_SECONDS = 240.0
"""The same where no agent tells that the new files are there: the kubelet may take two minutes."""
SHOWN = 5
CERTIFICATES = (Phase.CERTIFICATES, Phase.CONTROLLERS)


class RotationActivities(Steps):
    """The steps of `RotateCertificates`."""

    def __init__(self, access: Access) -> None:
        super().__init__(access)
        self._probes = Probes()

    @step
    def choose_change(self, request: StepRequest) -> NextChange:
        """The next change; waits while a node can't be seen, or somebody would be cut off."""
        clients = self._open(request.token.cluster)
        plan = plan_store.load_as(clients.kubernetes, request.plan, RotationPlan)

        def look() -> NextChange | None:
            parties = View(clients, plan, self._probes).parties
            change = next_change(parties, plan.goal)
            if change is None:
                return NextChange(done=len(parties), total=len(parties))
            done = sum(1 for one in parties if stage(one, change.phase, plan.goal) is Stage.DONE)
            wrong = broken(parties) or _cut_off_from_controllers(clients)
            if change.names and not wrong:
                return NextChange(
                    phase=change.phase, names=change.names, by_restart=change.by_restart, done=done, total=len(parties)
                )
            if wrong:
                why, until = "somebody would be cut off: " + "; ".join(wrong[:SHOWN]), "everybody trusts who is to connect"
            else:
                why, until = "; ".join(change.why_not[:SHOWN]), change.until
            waiting = Reporter.current().waiting(f"{change.phase}: {why}", until, tuple(wrong or change.why_not)[:20])
            Reporter.current().report(Progress(done_partitions=done, total_partitions=len(parties), waiting=waiting))
            return None

        return wait(look)

    @step
    def write_files(self, request: ChangeRequest) -> None:
        """Write what a change is about into the Secrets, the former beside it, and have the kubelets bring it at once.

        Raises:
            RotationRefused: what was issued ends too soon, or a Secret is gone.
        """
        with heartbeating():
            clients, fence = self._open(request.step.token.cluster), Fence(self._link, request.step.token)
            plan = plan_store.load_as(clients.kubernetes, request.step.plan, RotationPlan)
            view = View(clients, plan, self._probes)
            certificates = certificates_of(clients)
            for party in _of(plan, request.names):
                seen = view.by_name[party.name]
                if not request.takes_back and stage(seen, request.phase, plan.goal) is not Stage.BEFORE:
                    continue
                secret = party.secret if isinstance(party, RotatedNode) else party.client.secret
                now = read(certificates, secret)
                changes = (
                    _former(now.data, _keys(party, request.phase))
                    if request.takes_back
                    else _new(certificates, plan, party, request.phase, now.data)
                )
                if changes:
                    fence.check()
                    certificates.secrets.write(secret, {**changes, **_stamps(party, request.phase)}, now.version)
            # The agents' Secret is mounted in the nodes' pods.
            for node in plan.nodes if "agent" in request.names else _nodes(plan, request.names):
                pod = view.pods.get(node.pod)
                if pod is not None:
                    clients.kubernetes.sync_files(pod.name, pod.uid)

    @step
    def follow_files(self, request: ChangeRequest) -> None:
        """Return when the files of a change are in the pods: the kubelets bring them."""
        clients = self._open(request.step.token.cluster)
        plan = plan_store.load_as(clients.kubernetes, request.step.plan, RotationPlan)

        def look() -> bool | None:
            view = View(clients, plan, self._probes)
            # Where no agent tells, the node is asked to reload until it shows the file.
            told = [name for name in request.names if view.has_record(name)]
            late = [name for name in told if not _has_arrived(view.by_name[name], request.phase)]
            if not late:
                return True
            waiting = Reporter.current().waiting(
                f"the Secret isn't in the files of {', '.join(late[:SHOWN])} yet",
                "the kubelet brings it there, within a minute or two",
                tuple(late[:20]),
            )
            done, total = len(request.names) - len(late), len(request.names)
            Reporter.current().report(Progress(done_partitions=done, total_partitions=total, waiting=waiting))
            return None

        wait(look)

    @step
    def prove_files(self, request: ChangeRequest) -> ChangeReport:
        """Have nodes reload until handshakes show the change; those that refuse it, or don't show it for too long, are told.

        One that restarts, or is down, is waited for, unless its container doesn't stay up.
        """
        clients, fence = self._open(request.step.token.cluster), Fence(self._link, request.step.token)
        plan = plan_store.load_as(clients.kubernetes, request.step.plan, RotationPlan)
        nodes = {node.name: node for node in _nodes(plan, request.names)}

        def look() -> ChangeReport | None:
            view, reporter = View(clients, plan, self._probes), Reporter.current()
            left = [name for name in request.names if not _is_shown(view.by_name[name], request, plan)]
            if not left:
                if request.takes_back:
                    for party in _of(plan, request.names):
                        secret = party.secret if isinstance(party, RotatedNode) else party.client.secret
                        _remove(
                            certificates_of(clients), fence, secret, [key + WRITTEN_AT for key in _keys(party, request.phase)]
                        )
                return ChangeReport()
            stuck = {name: why for name in left if (why := _why_stuck(view, nodes.get(name))) is not None}
            down = [name for name in left if name not in stuck and not _can_show(view, nodes.get(name), request.phase)]
            able = [nodes[name] for name in left if name in nodes and name not in (*stuck, *down) and nodes[name].reloads]
            refused = self._reload(clients, fence, able) if request.phase not in RESTARTS else {}
            if refused and not request.takes_back:
                return ChangeReport(unproven=refused)
            if down:
                waiting = reporter.waiting(f"{', '.join(down[:SHOWN])} can't be seen", f"{', '.join(down[:SHOWN])} answers again")
            else:
                named = ", ".join(left[:SHOWN])
                waiting = reporter.waiting(f"{named}: {request.phase}", f"a handshake with {named} proves it")
            reporter.report(Progress(waiting=waiting))
            patience = PROOF_SECONDS if all(map(view.has_record, left)) else UNTOLD_SECONDS
            if not down and (datetime.now(UTC) - waiting.since).total_seconds() > patience:
                return ChangeReport(unproven={name: stuck.get(name) or f"{name} doesn't use the new files" for name in left})
            return None

        return wait(look)

    def _reload(self, clients: ClusterClients, fence: Fence, nodes: Sequence[RotatedNode]) -> dict[str, str]:
        """Have nodes read their files again; returns those that would refuse them, with the reason, and let them be."""
        refused = {}
        for node in nodes:
            listeners = [stores.listener.name for stores in node.stores]
            why = clients.kafka.refused_stores(node.node.id, listeners)
            if why is not None:
                refused[node.name] = f"{node.name} refuses the new files: {why}"
                continue
            fence.check()
            clients.kafka.reload_stores(node.node.id, listeners)
        return refused

    @step
    def restarts_for_files(self, request: ChangeRequest) -> PlanReference:
        """A plan of restarts for the nodes of a change that read their files at their start only."""
        with heartbeating():
            clients = self._open(request.step.token.cluster)
            plan = plan_store.load_as(clients.kubernetes, request.step.plan, RotationPlan)
            pods = {pod.name: pod for pod in (*clients.kubernetes.broker_pods(), *clients.kubernetes.controller_pods())}
            targets = tuple(
                RestartTarget(node=node.node, pod=node.pod, pod_uid=pods[node.pod].uid, why=request.phase)
                for node in _nodes(plan, request.names)
                if node.pod in pods
            )
            asked = RollingRestartInput(
                cluster=plan.cluster,
                requester=request.step.token.workflow_id,
                reason=plan.reason,
                limits=plan.limits,
                acknowledged_risks=request.step.acknowledged_risks,
            )
            rounds, _ = verified_rounds(observe(clients), targets, asked)
            planned = {node_id for round_ in rounds.rounds for node_id in round_}
            # What may not go down now gets its turn once it may.
            late = tuple((target.node.id,) for target in targets if target.node.id not in planned)
            restart = RestartPlan(
                cluster=plan.cluster,
                kind="RollingRestart",
                title=f"restart {len(targets)} nodes: {request.phase}",
                steps=(StepName.CHOOSE_ROUND, StepName.RESTART, StepName.FOLLOW_RESTART),
                reason=plan.reason,
                targets=targets,
                rounds=(*rounds.rounds, *late),
                fewest_rounds=rounds.lower_bound_rounds,
                limits=plan.limits,
                wait_for=plan.wait_for,
                partitions=partitions_of(targets, clients.kafka.snapshot()),
                made_at=datetime.now(UTC).isoformat(timespec="seconds"),
            )
            return plan_store.save(clients.kubernetes, restart, request.step.token)

    @step
    def restart_expired(self, request: ChangeRequest) -> None:
        """Delete the pods of nodes whose certificates have expired: Kafka can't be asked whether they may be down.

        A pod that was made after the new file was written is left alone.
        """
        with heartbeating():
            clients, fence = self._open(request.step.token.cluster), Fence(self._link, request.step.token)
            plan = plan_store.load_as(clients.kubernetes, request.step.plan, RotationPlan)
            view = View(clients, plan, self._probes)
            for node in _nodes(plan, request.names):
                pod, party = view.pods.get(node.pod), view.by_name[node.name]
                serves_former = party.certificate.served is not None and not party.certificate.served.is_wanted
                if pod is not None and serves_former and not pod.is_terminating:
                    fence.check()
                    clients.kubernetes.delete_pod(pod.name, pod.uid, force=False)

    @step
    def find_old_clients(self, request: StepRequest) -> OldClients:
        """Who still presents certificates of the old authority, as far as anybody can tell."""
        with heartbeating():
            clients = self._open(request.token.cluster)
            plan = plan_store.load_as(clients.kubernetes, request.plan, RotationPlan)
            found, silent = dict[str, None](), list[str]()
            for node in plan.nodes:
                handshakes = clients.kubernetes.client_handshakes(node.pod) if node.node.is_broker else ()
                if handshakes is None:
                    silent.append(node.name)
                found |= {f"{one.subject} at {one.host}": None for one in rotation_start.old_clients(handshakes or (), plan)}
            unseen = f"{', '.join(silent[:SHOWN])}: no log of handshakes (jdk.event.security)" if silent else ""
            if not plan.old_subjects:
                unseen = "old and new authority have the same name, so logs don't tell their certificates apart"
            return OldClients(clients=tuple(found), unseen=unseen)

    @step
    def forget_files(self, request: StepRequest) -> None:
        """Remove the former files from the Secrets, once everything is proven."""
        with heartbeating():
            clients, fence = self._open(request.token.cluster), Fence(self._link, request.token)
            plan = plan_store.load_as(clients.kubernetes, request.plan, RotationPlan)
            certificates = certificates_of(clients)
            names = {one.secret for one in plan.nodes} | {one.client.secret for one in plan.clients}
            for name in sorted(names):
                kept = [key for key in read(certificates, name).data if key.endswith((PREVIOUS, WRITTEN_AT))]
                _remove(certificates, fence, name, kept)

    @step
    def prove_rotation(self, request: StepRequest) -> tuple[Check, ...]:
        """What a rotation promises, by handshakes made now."""
        with heartbeating():
            clients = self._open(request.token.cluster)
            plan = plan_store.load_as(clients.kubernetes, request.plan, RotationPlan)
            parties = View(clients, plan).parties
            nodes = [one for one in parties if not one.is_client]
            has_part = [phase for phase in CERTIFICATES if phase in plan.goal.phases]
            wrong = [one.name for one in nodes for phase in has_part if stage(one, phase, plan.goal) is not Stage.DONE]
            cut_off = broken(parties)
            checks = [
                Check(
                    name="certificates as asked for",
                    passed=not wrong,
                    detail=f"{len(nodes) - len(wrong)} of {len(nodes)}" + (f": not {', '.join(wrong[:10])}" if wrong else ""),
                ),
                Check(
                    name="everybody trusts everybody",
                    passed=not cut_off,
                    detail="; ".join(cut_off[:10]) or f"{len(parties)} nodes and clients",
                ),
            ]
            if Phase.DROP in plan.goal.phases:
                left = [one.name for one in parties if stage(one, Phase.DROP, plan.goal) is not Stage.DONE]
                detail = f"{len(parties) - len(left)} of {len(parties)}" + (f": not {', '.join(left[:10])}" if left else "")
                checks.append(Check(name="the old authority is trusted no more", passed=not left, detail=detail))
            return tuple(checks)


def _cut_off_from_controllers(clients: ClusterClients) -> list[str]:
    """Brokers that look healthy and hear of nothing any more: the controllers refuse their connection of the quorum."""
    try:
        return list(cut_off_brokers(observe(clients)).values())
    except ClientError:
        return []  # Where certificates have expired nobody can be asked.


def _of(plan: RotationPlan, names: Iterable[str]) -> list[RotatedNode | RotatedClient]:
    wanted, parties = set(names), list[RotatedNode | RotatedClient]([*plan.nodes, *plan.clients])
    return [one for one in parties if one.name in wanted]


def _nodes(plan: RotationPlan, names: Iterable[str]) -> list[RotatedNode]:
    return [one for one in _of(plan, names) if isinstance(one, RotatedNode)]


def _keys(party: RotatedNode | RotatedClient, phase: Phase) -> tuple[str, ...]:
    """The keys of its Secret that a phase changes."""
    if isinstance(party, RotatedNode):
        return (party.keystore,) if phase in CERTIFICATES else (party.truststore,)
    client = party.client
    return (client.certificate_key, client.key_key) if phase in CERTIFICATES else (client.ca_key,)


def _remove(certificates: CertificateClients, fence: Fence, secret: str, keys: Sequence[str]) -> None:
    """Keys that a Secret doesn't have are fine."""
    now = read(certificates, secret)
    there = dict.fromkeys(key for key in keys if key in now.data)
    if there:
        fence.check()
        certificates.secrets.write(secret, there, now.version)


def _stamps(party: RotatedNode | RotatedClient, phase: Phase) -> dict[str, bytes | None]:
    now = datetime.now(UTC).isoformat().encode()
    return {key + WRITTEN_AT: now for key in _keys(party, phase)}


def _former(data: Mapping[str, bytes], keys: Sequence[str]) -> dict[str, bytes | None]:
    """Take back: what was kept is in force again."""
    kept = [key for key in keys if key + PREVIOUS in data]
    return {key: data[key + PREVIOUS] for key in kept} | {key + PREVIOUS: None for key in kept}


def _new(
    certificates: CertificateClients,
    plan: RotationPlan,
    party: RotatedNode | RotatedClient,
    phase: Phase,
    data: Mapping[str, bytes],
) -> dict[str, bytes | None]:
    """What a Secret gets, the former kept beside it."""
    keys = _keys(party, phase)
    # What somebody else has broken meanwhile doesn't replace what was kept.
    is_worth_keeping = phase not in CERTIFICATES or _is_usable(party, data)
    changes: dict[str, bytes | None] = {
        key + PREVIOUS: data[key] for key in keys if key in data and (is_worth_keeping or key + PREVIOUS not in data)
    }
    if phase not in CERTIFICATES:
        (key,) = keys
        trusted = pem.by_sha256(data.get(key, b""))
        if phase is Phase.TRUST:
            trusted[plan.authority] = plan.authorities[plan.authority]
        kept = [text for sha256, text in trusted.items() if phase is Phase.TRUST or sha256 not in plan.old]
        return {**changes, key: "".join(kept).encode()}
    before = party.before
    if before is None:
        return {}
    node = party if isinstance(party, RotatedNode) else None
    asked = LeafRequest(before.subject, before.names) if node is None else LeafRequest(node.subject, node.names)
    leaf = certificates.issuers[plan.issuer].issue(asked)
    _raise_if_unfit(leaf, plan)
    if node is not None:
        return {**changes, node.keystore: pem.keystore(leaf)}
    return {**changes, keys[0]: leaf.chain.encode(), keys[1]: leaf.key.encode()}


def _is_usable(party: RotatedNode | RotatedClient, data: Mapping[str, bytes]) -> bool:
    """Whether a party could start with the key and the certificate that are in its Secret."""
    if isinstance(party, RotatedNode):
        return pem.is_usable(data.get(party.keystore, b""))
    return pem.is_usable(data.get(party.client.key_key, b"") + b"\n" + data.get(party.client.certificate_key, b""))


def _raise_if_unfit(leaf: Leaf, plan: RotationPlan) -> None:
    """Refuse what its dates make useless."""
    for issued in pem.certificates(leaf.chain.encode())[:1]:
        why = rotation_start.unfit_life(issued, datetime.now(UTC), timedelta(seconds=plan.eta_seconds))
        if why is not None:
            raise RotationRefused(f"issuer {plan.issuer}: what it has issued can't be used: {why}")


def _has_arrived(party: Party, phase: Phase) -> bool:
    """Whether a party's file is what its Secret says; a node that is down gets it when it is back."""
    places = party.certificate if phase in CERTIFICATES else party.trust
    return places.file is not None and places.file == places.secret


def _is_shown(party: Party, request: ChangeRequest, plan: RotationPlan) -> bool:
    """Whether a handshake shows the change; taken back, that what the Secret has again is in force."""
    if not request.takes_back:
        return stage(party, request.phase, plan.goal) is Stage.DONE
    if party.is_client:
        return _has_arrived(party, request.phase)
    if request.phase in CERTIFICATES:
        return party.certificate.served is not None and party.certificate.served == party.certificate.secret
    return party.trust.served is not None and party.trust.served == party.trust.secret


def _why_stuck(view: View, node: RotatedNode | None) -> str | None:
    """Why a node doesn't start; the new files may be to blame."""
    pod = None if node is None else view.pods.get(node.pod)
    return None if node is None or pod is None or not pod.stuck else f"{node.name} doesn't start: {pod.stuck}"


def _can_show(view: View, node: RotatedNode | None, phase: Phase) -> bool:
    """Whether it should show the new files by now: what doesn't run says nothing, and what restarts takes its time.

    A node whose process runs and that no handshake succeeds with may have loaded what it can't use.
    """
    pod = None if node is None else view.pods.get(node.pod)
    runs = pod is not None and pod.started_at is not None and not pod.is_terminating
    return node is None or (node.reloads and phase not in RESTARTS and runs)
