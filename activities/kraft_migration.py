"""Migrating a cluster from ZooKeeper to KRaft (KIP-866), leg by leg: what is seen, a leg's plan, and what only waits or acts.

Restarts are those of every roll (`activities/restarts.py`), with plans of this runbook. Manifests are the operator's: a leg waits
until it sees them in brokers' files and pods' templates, and goes on.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from activities import plan_store
from activities.errors import PlanDrift
from activities.permits import Fence
from activities.restart_plans import (
    ROUND_STEPS,
    Found,
    against_sets,
    no_pods,
    observe,
    offered,
    partitions_of,
    stuck_pods,
    summary_of,
    verified_rounds,
)
from activities.step import Reporter, Steps, heartbeating, step, wait
from kafka_runbooks.clients.clusters import ClusterClients
from kafka_runbooks.models.cluster import BrokerConfig, ClusterSnapshot
from kafka_runbooks.models.inputs import MigrateToKraftInput
from kafka_runbooks.models.kraft_migration import BrokerMode, Leg, MigrationPlan, MigrationSeen
from kafka_runbooks.models.messages import PlanRequest, StepRequest, Survey
from kafka_runbooks.models.plans import PlanSummary
from kafka_runbooks.models.restart_plan import RestartTarget
from kafka_runbooks.models.restarts import RestartRounds
from kafka_runbooks.models.results import Reason
from kafka_runbooks.models.status import Progress
from kafka_runbooks.models.steps import StepName
from kafka_runbooks.safety import kraft_migration, kraft_migration_legs
from kafka_runbooks.safety.availability import listed
from kafka_runbooks.safety.freshness import without_ensemble
from kafka_runbooks.safety.kraft_migration_legs import (
    BRINGS,
    CONNECT,
    FORWARD,
    MIGRATES,
    NO_WAY_BACK,
    ROLES,
    lines_to_apply,
    next_leg,
    to_restart,
    why_not_there,
)

THEN = "; until the last leg, kafka-runbooks start migrate-to-kraft --back returns to ZooKeeper mode"


class KraftMigrationActivities(Steps):
    """The plans and the steps of `MigrateToKraft`."""

    @step
    def plan_migrate_to_kraft(self, asked: PlanRequest[MigrateToKraftInput]) -> Survey:
        """Find the leg that comes next and every reason against it, and freeze its plan. Changes nothing."""
        with heartbeating():
            clients, request = self._open(asked.request.cluster), asked.request
            if clients.zookeeper is None:
                return Survey(reasons=(without_ensemble(request.cluster),))
            found = Found(clients)
            if reasons := no_pods(request.cluster, found):
                return Survey(reasons=tuple(reasons))
            snapshot, seen = look(clients, found)
            leg = next_leg(seen, back=request.back)
            if leg is None:
                end = (
                    "ZooKeeper mode, and nothing of a migration is left"
                    if request.back
                    else "KRaft mode: the migration has ended"
                )
                return Survey(nothing_to_do=f"the cluster is in {end}", notes=found.notes)
            reasons = kraft_migration_legs.reasons_not_to_begin(seen, back=request.back)
            if leg is not Leg.FINISH and not clients.zookeeper.may_give_back_control():
                reasons.append(kraft_migration_legs.no_right_to_give_back())
            if leg in (Leg.CONTROLLERS, Leg.DUAL_WRITE):
                reasons += _not_ready(clients, snapshot, seen)
            targets = [
                RestartTarget(node=one.node, pod=one.pod.name, pod_uid=one.pod.uid, why=leg)
                for node_id, one in sorted(found.nodes.items())
                if node_id in to_restart(leg, seen)
            ]
            rounds = RestartRounds(rounds=())
            if targets:  # Others come while no controller answers, too.
                rounds, blocked = verified_rounds(observe(clients, found.shutting_down), targets, request)
                reasons += [*against_sets(targets, found), *stuck_pods(targets, found), *blocked]
            plan = _freeze(request, leg, snapshot, targets, rounds)
            return offered(clients, asked, plan, _summarise(plan, rounds, seen), reasons, found.notes)

    @step
    def await_manifests(self, request: StepRequest) -> None:
        """Return once what a leg needs is seen: in brokers' files or templates; controllers deployed, or taken away."""
        clients = self._open(request.token.cluster)
        plan = plan_store.load_as(clients.kubernetes, request.plan, MigrationPlan)

        def observe_manifests() -> bool | None:
            missing = _missing_manifests(plan, Found(clients))
            if not missing:
                return True
            unblocks = f"apply: {'; '.join(plan.lines)}"
            Reporter.current().report(
                Progress(waiting=Reporter.current().waiting("; ".join(missing), unblocks, tuple(missing[:20])))
            )
            return None

        wait(observe_manifests)

    @step
    def follow_leg(self, request: StepRequest) -> None:
        """Return once a leg has reached its end, and every replica is in sync.

        Raises:
            PlanDrift: a node has to restart that the plan doesn't restart, or no longer.
        """
        clients = self._open(request.token.cluster)
        plan = plan_store.load_as(clients.kubernetes, request.plan, MigrationPlan)

        def observe_end() -> bool | None:
            found = Found(clients)
            snapshot, seen = look(clients, found)
            if wrong := _not_converted(plan, found, seen):
                raise PlanDrift(wrong)
            missing = why_not_there(plan.leg, seen)
            if late := sum(1 for one in snapshot.partitions if len(one.in_sync) < len(one.replicas)):
                missing.append(f"{late} partitions have replicas that are not in sync")
            if not missing:
                return True
            done = len(seen.modes) - len(to_restart(plan.leg, seen)) if plan.leg in BRINGS else 0
            waiting = Reporter.current().waiting("; ".join(missing), f"the leg's end: {plan.leg}", tuple(missing[:20]))
            Reporter.current().report(Progress(done_partitions=done, total_partitions=len(seen.modes), waiting=waiting))
            return None

        wait(observe_end)

    @step
    def check_round(self, request: StepRequest) -> None:
        """Look whether what has just restarted is in the mode that it was to be in, before anything else goes down.

        Raises:
            PlanDrift: it isn't.
        """
        with heartbeating():
            clients = self._open(request.token.cluster)
            plan, found = plan_store.load_as(clients.kubernetes, request.plan, MigrationPlan), Found(clients)
            _, seen = look(clients, found)
            if wrong := _not_converted(plan, found, seen):
                raise PlanDrift(wrong)

    @step
    def give_back_control(self, request: StepRequest) -> None:
        """Have a broker elected as the controller, and forget the migration in ZooKeeper.

        Raises:
            PlanDrift: there are controllers again.
        """
        with heartbeating():
            clients, fence = self._open(request.token.cluster), Fence(self._link, request.token)
            if clients.zookeeper is None:
                raise PlanDrift("clusters.yaml names no ensemble any more")
            if pods := clients.kubernetes.controller_pods():
                raise PlanDrift(f"there are controllers again: {', '.join(pod.name for pod in pods)}")
            states = clients.zookeeper.partition_states()
            fence.check()
            clients.zookeeper.give_back_control(max((one.controller_epoch for one in states.values()), default=0))


def look(clients: ClusterClients, found: Found) -> tuple[ClusterSnapshot, MigrationSeen]:
    """The cluster, and how far its migration is."""
    if clients.zookeeper is None or clients.controllers is None:
        raise PlanDrift("clusters.yaml names no ensemble any more")
    snapshot, pods = clients.kafka.snapshot(), clients.kubernetes.controller_pods()
    brokers = snapshot.live_broker_ids | {node_id for node_id, one in found.nodes.items() if one.node.is_broker}
    configs = clients.kafka.broker_configs(brokers & snapshot.live_broker_ids, (ROLES, MIGRATES))
    modes = {broker: _mode(values) for broker, values in configs.items()}
    states = clients.controllers.states(pods)
    controllers = tuple(state for _, state in sorted(states.items()) if not isinstance(state, str))
    migrating: dict[int, bool] = {}
    if set(modes.values()) == {BrokerMode.KRAFT} and controllers:
        known = clients.kafka.controller_configs([one.node_id for one in controllers], (MIGRATES, CONNECT))
        migrating = {
            node_id: _in_force(values, MIGRATES) == "true" or bool(_in_force(values, CONNECT))
            for node_id, values in known.items()
        }
    return snapshot, MigrationSeen(
        modes=modes,
        silent_brokers=tuple(sorted(brokers - modes.keys())),
        znodes=clients.zookeeper.migration(),
        controller_pods=tuple(pod.name for pod in pods),
        controllers=controllers,
        silent_controllers=tuple(state for _, state in sorted(states.items()) if isinstance(state, str)),
        controllers_migrating=migrating,
    )


def _in_force(configs: Mapping[str, BrokerConfig], name: str) -> str | None:
    return configs[name].in_force if name in configs else None


def _mode(configs: Mapping[str, BrokerConfig]) -> BrokerMode:
    if "broker" in (_in_force(configs, ROLES) or ""):
        return BrokerMode.KRAFT
    return BrokerMode.MIGRATING if _in_force(configs, MIGRATES) == "true" else BrokerMode.ZOOKEEPER


def _not_ready(clients: ClusterClients, snapshot: ClusterSnapshot, seen: MigrationSeen) -> list[Reason]:
    """What `doctor` finds in the way, and what must be quiet before a beginning."""
    live = snapshot.live_broker_ids
    setup = kraft_migration.Setup(
        broker_ids=live | frozenset(clients.kubernetes.broker_ids().values()),
        live_broker_ids=live,
        configs=clients.kafka.broker_configs(live, kraft_migration.CONFIGS),
        controller_ids=[pod.node_id for pod in clients.kubernetes.controller_pods() if pod.node_id is not None],
    )
    reasons = [
        Reason(name=f"not-ready:{number}", message=fault, remedy=remedy)
        for number, (fault, remedy) in enumerate(kraft_migration.hindrances(setup), start=1)
    ]
    if moving := clients.kafka.reassignments():
        reasons.append(
            Reason(
                name="reassignments",
                message=f"{len(moving)} partitions are being reassigned",
                remedy="wait until they have arrived, or cancel them where they were started",
            )
        )
    if late := [str(one.name) for one in snapshot.partitions if len(one.in_sync) < len(one.replicas)]:
        reasons.append(
            Reason(
                name="under-replicated",
                message=f"{len(late)} partitions have replicas that are not in sync: {', '.join(late[:5])}",
                remedy="bring back the brokers that have them: the migration waits for every broker that has a replica",
            )
        )
    assert clients.zookeeper is not None
    ensemble = clients.zookeeper.ensemble()
    if ensemble.committed_zxid is None:
        reasons.append(
            Reason(
                name="commits-nothing",
                message=f"the ensemble commits nothing: {ensemble.fault}",
                remedy="bring back as many of its members as make a quorum",
            )
        )
    return reasons


def _freeze(
    request: MigrateToKraftInput, leg: Leg, snapshot: ClusterSnapshot, targets: Sequence[RestartTarget], rounds: RestartRounds
) -> MigrationPlan:
    """The plan, not stored yet."""
    acts = (StepName.GIVE_BACK,) if leg is Leg.BACK_TO_A_BROKER else ()
    end = StepName.FINISH_MIGRATION if leg is Leg.FINISH else StepName.FOLLOW_LEG
    number = f"leg {FORWARD.index(leg) + 1} of {len(FORWARD)}: " if leg in FORWARD else ""
    return MigrationPlan(
        cluster=request.cluster,
        kind="MigrateToKraft",
        title=f"{number}{leg}" + (f", {NO_WAY_BACK}" if leg is Leg.FINISH else ""),
        steps=(
            StepName.AWAIT_MANIFESTS,
            *((*ROUND_STEPS, StepName.ELECT) if targets else ()),
            *acts,
            end,
            StepName.RELEASE,
            StepName.PROVE,
        ),
        reason=request.reason,
        leg=leg,
        lines=lines_to_apply(leg, snapshot.cluster_id),
        targets=tuple(targets),
        rounds=rounds.rounds,
        fewest_rounds=rounds.lower_bound_rounds,
        limits=request.limits,
        wait_for=request.wait_for,
        partitions=partitions_of(targets, snapshot),
        made_at=datetime.now(UTC).isoformat(timespec="seconds"),
    )


def _summarise(plan: MigrationPlan, rounds: RestartRounds, seen: MigrationSeen) -> PlanSummary:
    """The plan's summary for operators."""
    modes = [(str(mode), f"brokers {listed(list(found))}") for mode in BrokerMode if (found := seen.of_mode(mode))]
    state = "unknown" if seen.state is None else seen.state.name
    controller = f"{seen.znodes.controller_id}, {'a KRaft controller' if seen.znodes.kraft_controls else 'a broker'}"
    quorum = [("controllers' state", f"{len(seen.controllers)} controllers: {state}")] if seen.controller_pods else []
    lines = [*modes, ("controller in ZooKeeper", controller), *quorum, *(("apply", line) for line in plan.lines)]
    is_last = plan.leg is Leg.FINISH
    notices = (f"{NO_WAY_BACK}: nothing is written to ZooKeeper any more",) if is_last else ()
    inverse = "none: this is the last gate" if is_last else "migrate-to-kraft --back, until the last leg"
    return summary_of(plan, rounds, lines, notices=notices, inverse=inverse)


def _missing_manifests(plan: MigrationPlan, found: Found) -> list[str]:
    """What of a leg's manifests isn't seen yet."""
    controllers = [one for one in found.nodes.values() if one.node.is_controller]
    if plan.leg is Leg.BACK_TO_A_BROKER:
        return [f"pod {one.pod.name} of a controller is still there" for one in controllers]
    if plan.leg is Leg.CONTROLLERS:
        return [] if controllers else ["no pod of a controller is there"]
    return [
        f"{target.pod}: {why}"
        for target in plan.targets
        if _is_unchanged(target, found)
        and (one := found.nodes[target.node.id])
        and (why := _why_unchanged(plan.leg, one.is_outdated, None if one.changes is None else set(one.changes.changed)))
        is not None
    ]


def _why_unchanged(leg: Leg, is_outdated: bool, changed: "set[str] | None") -> str | None:
    """Of a node that is to restart, by its template and (where its agent tells) the keys in its file that have changed."""
    if leg in BRINGS and changed is not None:
        return None if BRINGS[leg].key in changed else f"{BRINGS[leg].key} in its file is as it was started with"
    return None if is_outdated else "its template is as it was started with"


def _not_converted(plan: MigrationPlan, found: Found, seen: MigrationSeen) -> str | None:
    """Nodes that the plan doesn't restart any more, and that are not what the leg was to make of them."""
    waiting = {target.node.id for target in plan.targets if _is_unchanged(target, found)}
    wrong = sorted(set(to_restart(plan.leg, seen)) - waiting)
    return f"nodes {listed(wrong)} run without the leg's settings" if wrong else None


def _is_unchanged(target: RestartTarget, found: Found) -> bool:
    one = found.nodes.get(target.node.id)
    return one is not None and one.pod.uid == target.pod_uid
