"""Preflight and plan of `Upgrade`: the nodes whose pod template has changed, the canary, and what could be finalised."""

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from activities import proof
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
from activities.step import Steps, heartbeating, step
from kafka_runbooks.models.cluster import ClusterSnapshot
from kafka_runbooks.models.features import METADATA_VERSION, BrokerFeatures, finalised, releases, to_finalise
from kafka_runbooks.models.inputs import UpgradeInput
from kafka_runbooks.models.messages import PlanRequest, Survey
from kafka_runbooks.models.plans import PlanSummary
from kafka_runbooks.models.restart_plan import RestartTarget
from kafka_runbooks.models.restarts import RestartObservation, RestartRounds
from kafka_runbooks.models.results import Reason
from kafka_runbooks.models.steps import StepName
from kafka_runbooks.models.upgrades import Canary, UpgradePlan
from kafka_runbooks.models.wording import duration
from kafka_runbooks.safety.availability import listed

ROLL_BACK = (
    "until features are finalised, roll back by applying the former pod template and starting Upgrade again; "
    "after that there is no way back"
)
MOST_PEERS = 50


class UpgradePlanActivities(Steps):
    """The plan of `Upgrade`."""

    @step
    def plan_upgrade(self, asked: PlanRequest[UpgradeInput]) -> Survey:
        """Find what is outdated and every reason against restarting it, and freeze rounds and canary. Changes nothing."""
        with heartbeating():
            clients, request = self._open(asked.request.cluster), asked.request
            found = Found(clients)
            observation = observe(clients, found.shutting_down)
            snapshot = observation.snapshot
            features = clients.kafka.features(snapshot.live_broker_ids)
            targets = [
                RestartTarget(node=one.node, pod=one.pod.name, pod_uid=one.pod.uid, why="its pod template has changed")
                for _, one in sorted(found.nodes.items())
                if one.is_outdated
            ]
            unreadable = _unreadable(request, features, snapshot)
            is_behind = request.finalise_features and bool(to_finalise(features))
            reasons = [*no_pods(request.cluster, found), *_bad_canary(request, found, observation.active_controller)]
            # Kafka's documentation: no other release and no other metadata.version while it lasts.
            if reasons := [*reasons, *proof.under_migration(clients, request.cluster)]:
                return Survey(reasons=tuple(reasons))
            if not targets and not is_behind and not unreadable:
                return Survey(nothing_to_do=f"every pod is of the newest template; {_finalised(features)}", notes=found.notes)
            canary, notes = _canary(request, found, targets, observation)
            rounds, blocked = verified_rounds(observation, targets, request, canary.broker_id if canary is not None else None)
            reasons = [*unreadable, *against_sets(targets, found), *stuck_pods(targets, found), *blocked]
            plan = _freeze(request, snapshot, found, targets, canary, rounds)
            return offered(clients, asked, plan, _summarise(plan, rounds, features), reasons, (*found.notes, *notes))


def _bad_canary(request: UpgradeInput, found: Found, active_controller: int | None) -> list[Reason]:
    """Why the given canary can't be one."""
    brokers = sorted(node_id for node_id, one in found.nodes.items() if one.node.is_broker)
    given = request.canary_node_id
    if given is None or (given in brokers and given != active_controller):
        return []
    is_unknown = given not in brokers
    what = "the cluster has no broker" if is_unknown else "the active controller, which restarts last, is"
    return [
        Reason(
            name="unknown-canary" if is_unknown else "canary-is-active-controller",
            message=f"canary_node_id: {what} {given}",
            remedy=f"give one of {listed([one for one in brokers if one != active_controller], 30)}",
            is_bad_input=is_unknown,
        )
    ]


def _unreadable(request: UpgradeInput, features: Mapping[int, BrokerFeatures], snapshot: ClusterSnapshot) -> list[Reason]:
    """Why it isn't known what may be finalised."""
    silent = sorted(snapshot.live_broker_ids - features.keys())
    if silent or not features:
        return [
            Reason(
                name="features-unknown",
                message=f"brokers {listed(silent)} don't tell their features: nobody knows which releases run",
                remedy="let them answer again; a broker that hangs is for ReplaceBroker or a restart",
            )
        ]
    if request.finalise_features and METADATA_VERSION not in finalised(features.values()):
        return [
            Reason(
                name="no-metadata-version",
                message="no metadata.version is finalised: the cluster is in ZooKeeper mode, where it is a configuration",
                remedy="start it with finalise_features false, and change inter.broker.protocol.version later",
            )
        ]
    return []


def _canary(
    request: UpgradeInput, found: Found, targets: Sequence[RestartTarget], observation: RestartObservation
) -> tuple[Canary | None, tuple[str, ...]]:
    """The broker to begin with, and what to know about the choice.

    Where most of a map's brokers are of the newest template already, there is nothing to try out: so the rest of an upgrade, and
    a rollback after the canary, don't wait.
    """
    outdated = {target.node.id: target.node for target in targets if target.node.is_broker}
    if request.canary_soak_seconds == 0 or not outdated:
        return None, ()
    chosen = request.canary_node_id
    if chosen is None:
        early = [node for node in outdated.values() if node.id != observation.active_controller] or list(outdated.values())
        pure = [node for node in early if not node.is_controller] or early
        of_map = Counter(node.map for node in pure)
        map_name = min(of_map, key=lambda name: (-of_map[name], name or ""))
        brokers = sum(1 for one in found.nodes.values() if one.node.is_broker and one.node.map == map_name)
        if 2 * of_map[map_name] < brokers:
            return None, (f"no canary: most brokers of map {map_name} are of the newest template already",)
        led = Counter(partition.leader for partition in observation.snapshot.partitions)
        ready = [node for node in pure if node.map == map_name and node.is_ready] or pure
        by_load = sorted(ready, key=lambda node: (led[node.id], node.id))
        chosen = by_load[len(by_load) // 2].id
    own_map = found.nodes[chosen].node.map
    others = [node for node_id, node in outdated.items() if node_id != chosen]
    peers = [node.id for node in others if node.map == own_map] or [node.id for node in others]
    notes = () if peers else (f"canary {chosen} has no peer that it could be compared with",)
    canary = Canary(
        broker_id=chosen,
        peers=tuple(peers[:MOST_PEERS]),
        soak_seconds=request.canary_soak_seconds,
        tolerated_slowdown=request.tolerated_slowdown,
    )
    return canary, notes


def _freeze(
    request: UpgradeInput,
    snapshot: ClusterSnapshot,
    found: Found,
    targets: Sequence[RestartTarget],
    canary: Canary | None,
    rounds: RestartRounds,
) -> UpgradePlan:
    """The plan, not stored yet."""
    sets = {found.nodes[target.node.id].pod.stateful_set for target in targets}
    revisions = {name: found.sets[name].update_revision for name in sorted(sets & found.sets.keys())}
    restarting = (*ROUND_STEPS, StepName.ELECT) if targets else ()
    return UpgradePlan(
        cluster=request.cluster,
        kind="Upgrade",
        title=f"upgrade {len(targets)} nodes: {request.reason}" if targets else f"finalise features: {request.reason}",
        steps=(
            *((StepName.MEASURE_CANARY,) if canary is not None else ()),
            *restarting,
            *((StepName.WATCH_CANARY,) if canary is not None else ()),
            *((StepName.READ_FEATURES, StepName.FINALISE) if request.finalise_features else ()),
            StepName.RELEASE,
            StepName.PROVE,
        ),
        reason=request.reason,
        targets=tuple(targets),
        rounds=rounds.rounds,
        fewest_rounds=rounds.lower_bound_rounds,
        limits=request.limits,
        wait_for=request.wait_for,
        revisions={name: revision for name, revision in revisions.items() if revision is not None},
        partitions=partitions_of(targets, snapshot),
        canary=canary,
        finalise_features=request.finalise_features,
        made_at=datetime.now(UTC).isoformat(timespec="seconds"),
    )


def _summarise(plan: UpgradePlan, rounds: RestartRounds, features: Mapping[int, BrokerFeatures]) -> PlanSummary:
    """The plan's summary for operators."""
    lines = [
        ("release now", f"{name}: {len(brokers)} brokers ({listed(list(brokers))})")
        for name, brokers in releases(features).items()
    ]
    lines.append(("features now", _finalised(features)))
    if plan.canary is not None:
        compared = f"compared with {listed(list(plan.canary.peers))}" if plan.canary.peers else "compared with no other"
        lines.append(("canary", f"broker {plan.canary.broker_id}, {compared} for {duration(plan.canary.soak_seconds)}"))
    if plan.finalise_features:
        behind = "; ".join(map(str, to_finalise(features)))
        then = behind or "as far as all brokers support them once they run the new release"
        lines.append(("features at the end", f"finalised behind a gate of their own: {then}"))
    else:
        lines.append(("features at the end", "left as they are"))
    summary = summary_of(
        plan,
        rounds,
        lines,
        notices=(ROLL_BACK,),
        inverse="the former pod template, rolled out in the same way, as long as no feature is finalised",
        canary_id=plan.canary.broker_id if plan.canary is not None else None,
        nodes_with_canary=plan.with_canary,
    )
    soak_seconds = plan.canary.soak_seconds if plan.canary is not None else 0.0
    return summary.model_copy(update={"eta_seconds": summary.eta_seconds + soak_seconds})


def _finalised(features: Mapping[int, BrokerFeatures]) -> str:
    found = finalised(features.values())
    return (
        "finalised are " + ", ".join(f"{name} {level}" for name, level in found.items()) if found else "no feature is finalised"
    )
