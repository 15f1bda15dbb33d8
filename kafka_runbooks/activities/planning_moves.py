"""Preflight and plan of every runbook that moves data: one look, every reason not to start, and the frozen plan.

Nothing here changes the cluster. The plan is written to the plan store where a run asks for it, and nowhere for a preview.
"""

import gzip
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import pydantic
from temporalio import activity

from kafka_runbooks.activities import evacuations
from kafka_runbooks.activities.freezing import freeze, summarise
from kafka_runbooks.activities.observing import View, observe, regions
from kafka_runbooks.activities.running import Link, Reporter, alive, looks
from kafka_runbooks.clients import records
from kafka_runbooks.clients.open import ClusterClients, Clusters
from kafka_runbooks.models.base import Model
from kafka_runbooks.models.move_inputs import (
    DecommissionInput,
    EvacuateLeadersInput,
    MovingInput,
    RebalanceInput,
    RunPlanInput,
    ScaleUpInput,
    SetReplicationFactorInput,
)
from kafka_runbooks.models.moves import MovePlan, MoveSurvey
from kafka_runbooks.models.placement import ReassignmentMap
from kafka_runbooks.models.plans import PlanReference
from kafka_runbooks.models.runbooks import Reason
from kafka_runbooks.models.status import Progress
from kafka_runbooks.models.steps import Token
from kafka_runbooks.placement import planners
from kafka_runbooks.placement.errors import BadWish, InFlight, NoMap
from kafka_runbooks.placement.given import given
from kafka_runbooks.placement.plan import Plan
from kafka_runbooks.placement.wishes import Options
from kafka_runbooks.safety.moving import foreign_reassignments, reasons_not_to_move, reasons_not_to_remove

MOST_REASONS = 100
Request = TypeVar("Request", bound=MovingInput)


class MovesAsked(Model, Generic[Request]):
    """Ask for a frozen plan. Without a token it is kept nowhere; `approved` is the plan that this one is to go on from."""

    request: Request
    token: Token | None = None
    approved: PlanReference | None = None


def asked_for(model: type[MovingInput]) -> Any:
    """The model of a question with this input: the parameter makes the converter keep every field of it."""
    questions: Any = MovesAsked
    return questions[model]


@dataclass(frozen=True)
class Made:
    """What a planner made of a wish."""

    plan: Plan
    title: str
    nothing: str
    """What to say where there is nothing to do."""
    leaving: tuple[int, ...] = ()
    reasons: Sequence[Reason] = ()
    """What speaks against what the runbook does beside moving."""
    goes_on: bool = False
    """There is something to do although nothing moves."""


class PlanningActivities:
    """One activity for each runbook; they differ in the planner that they ask."""

    def __init__(self, clusters: Clusters, link: Link) -> None:
        self._clusters = clusters
        self._link = link

    @activity.defn
    def plan_rebalance(self, asked: MovesAsked[RebalanceInput]) -> MoveSurvey:
        """Level a map's brokers, or every map's."""
        return self._survey("Rebalance", asked, _rebalance)

    @activity.defn
    def plan_scale_up(self, asked: MovesAsked[ScaleUpInput]) -> MoveSurvey:
        """Bring new brokers to the level of the others."""
        return self._survey("ScaleUp", asked, _scale_up)

    @activity.defn
    def plan_decommission(self, asked: MovesAsked[DecommissionInput]) -> MoveSurvey:
        """Everything off some brokers."""
        return self._survey("Decommission", asked, _decommission)

    @activity.defn
    def plan_replication_factor(self, asked: MovesAsked[SetReplicationFactorInput]) -> MoveSurvey:
        """Another replication factor."""
        return self._survey("SetReplicationFactor", asked, _replication_factor)

    @activity.defn
    def plan_evacuation(self, asked: MovesAsked[EvacuateLeadersInput]) -> MoveSurvey:
        """No leader on some brokers, or the leaders back."""
        return self._survey("EvacuateLeaders", asked, _evacuation)

    @activity.defn
    def plan_given(self, asked: MovesAsked[RunPlanInput]) -> MoveSurvey:
        """A reassignment JSON that somebody brings."""
        return self._survey("RunPlan", asked, _given)

    @activity.defn
    def preview_moves(self, kind: str, request: dict[str, Any]) -> MoveSurvey:
        """What a runbook would do now; kept nowhere."""
        model, make = PLANNERS[kind]
        with alive():
            return _look(self._clusters.open(str(request.get("cluster"))), kind, MovesAsked(request=model(**request)), make)

    def _survey(
        self,
        kind: str,
        asked: MovesAsked[Request],
        make: Callable[[ClusterClients, View, Request], Made],
    ) -> MoveSurvey:
        """Look and plan. Who waits in line, or is under way already, waits for other people's reassignments too."""
        request = asked.request
        clients = self._clusters.open(request.cluster)
        if asked.token is None:
            with alive():
                return _look(clients, kind, asked, make)
        reporter = Reporter(self._link, asked.token)
        for _ in looks():
            found = _look(clients, kind, asked, make)
            foreign = [reason for reason in found.reasons if reason.name == "foreign-reassignment"]
            if not foreign or not (request.when_busy == "wait" or asked.approved is not None):
                return found
            reporter.report(Progress(waiting=reporter.waiting(foreign[0].message, "their reassignments end")))
        raise AssertionError("looks never end by themselves")


def _look(
    clients: ClusterClients,
    kind: str,
    asked: MovesAsked[Request],
    make: Callable[[ClusterClients, View, Request], Made],
) -> MoveSurvey:
    request = asked.request
    try:
        view = observe(clients)
        made = make(clients, view, request)
        plan = freeze(clients, view, request, kind, made.title, made.plan, made.leaving)
    except InFlight:
        return MoveSurvey(reasons=tuple(foreign_reassignments(clients.kafka.reassignments())))
    except NoMap as error:
        return MoveSurvey(
            reasons=tuple(
                Reason(name=f"no-map:{reason.constraint}", message=f"{reason.where}: {reason.problem}", clears=reason.remedy)
                for reason in error.reasons[:50]
            )
        )
    except BadWish as error:
        return MoveSurvey(reasons=(Reason(name="bad-wish", message=str(error)[:2000], clears="ask for what the cluster has"),))
    if not plan.moves and not made.goes_on:
        return MoveSurvey(nothing_to_do=made.nothing)
    reasons = [*made.reasons, *reasons_not_to_move(plan, view.snapshot, view.reassignments, request.acknowledged_risks)]
    approved = None if asked.approved is None else records.load(clients.kubernetes, asked.approved.plan_id, MovePlan)
    summary = summarise(clients, view, request, plan, made.plan, approved)
    if asked.token is not None:
        records.save(
            clients.kubernetes,
            records.PLAN,
            summary.reference.plan_id,
            plan,
            f"{plan.title}: {len(plan.moves)} partitions, {plan.total_bytes} bytes; "
            f"run {asked.token.workflow_id}/{asked.token.run_id}",
        )
        if isinstance(request, EvacuateLeadersInput) and not request.back:
            evacuations.remember(clients, request.brokers, plan)
    return MoveSurvey(summary=summary, reasons=bounded(reasons))


def bounded(reasons: Sequence[Reason]) -> tuple[Reason, ...]:
    """At most so many as the history can hold. What isn't shown can't be acknowledged either."""
    if len(reasons) <= MOST_REASONS:
        return tuple(reasons)
    more = Reason(
        name="more-reasons",
        message=f"{len(reasons) - MOST_REASONS} more reasons like these",
        clears="clear these first, or plan for fewer topics at once",
    )
    return (*reasons[:MOST_REASONS], more)


def _rebalance(clients: ClusterClients, view: View, request: RebalanceInput) -> Made:
    only = None if request.map is None else (request.map,)
    options = Options(
        topics=request.topics or None,
        regions=regions(view, only),
        measure=request.level,
        target_spread=request.target_spread,
        max_moved_bytes=request.max_moved_bytes,
    )
    what = f"map {request.map}" if request.map is not None else "every map" if options.regions is not None else "the cluster"
    return Made(planners.rebalance(view.cluster, options), f"rebalance {what}", f"{what} is as level as it can be")


def _scale_up(clients: ClusterClients, view: View, request: ScaleUpInput) -> Made:
    new = _listed(request.brokers)
    maps = sorted({view.map_of[broker] for broker in request.brokers if broker in view.map_of})
    down = sorted(set(request.brokers) - view.snapshot.live_broker_ids)
    if down:
        raise BadWish(f"brokers: {down} are not registered with the cluster; live: {sorted(view.snapshot.live_broker_ids)}")
    options = Options(
        regions=regions(view, maps or None),
        measure=request.level,
        target_spread=request.target_spread,
        max_moved_bytes=request.max_moved_bytes,
    )
    if _hold_something(view, request.brokers):
        # A run that was broken off has brought something already: what is left is to level.
        made = planners.rebalance(view.cluster, options)
    else:
        made = planners.scale_up(view.cluster, request.brokers, options)
    return Made(made, f"scale up with brokers {new}", f"brokers {new} are level with the others")


def _hold_something(view: View, brokers: Sequence[int]) -> bool:
    return any(set(brokers) & set(partition.replicas) for partition in view.snapshot.partitions)


def _decommission(clients: ClusterClients, view: View, request: DecommissionInput) -> Made:
    leaving = leaving_brokers(view, request)
    names = _listed(leaving)
    # One that is down and holds nothing isn't in the metadata any more; there may still be a pod to remove.
    known = sorted(set(leaving) & set(view.cluster.broker_ids.tolist()))
    maps = sorted({view.map_of[broker] for broker in known if broker in view.map_of})
    options = Options(regions=regions(view, maps or None), leaders="keep")
    made = planners.decommission(view.cluster, known, options) if known else given(view.cluster, ReassignmentMap(partitions=()))
    reasons: list[Reason] = []
    if request.remove_pods:
        pods = clients.kubernetes.broker_pods()
        reasons = reasons_not_to_remove(leaving, pods, clients.kubernetes.stateful_sets())
    return Made(
        made, f"decommission brokers {names}", f"brokers {names} hold no replica", leaving, reasons, goes_on=request.remove_pods
    )


def leaving_brokers(view: View, request: DecommissionInput) -> tuple[int, ...]:
    """The brokers that are meant, by id or by rack."""
    if request.rack is None:
        return tuple(sorted(request.brokers))
    found = tuple(sorted(broker.id for broker in view.snapshot.brokers if broker.rack == request.rack))
    if not found:
        racks = sorted({broker.rack for broker in view.snapshot.brokers if broker.rack is not None})
        raise BadWish(f"rack: {request.rack!r} has no live broker; known: {racks}")
    return found


def _replication_factor(clients: ClusterClients, view: View, request: SetReplicationFactorInput) -> Made:
    options = Options(topics=request.topics, regions=regions(view), leaders="keep")
    made = planners.set_replication(view.cluster, request.replication_factor, options)
    what = f"replication factor {request.replication_factor} for {', '.join(request.topics[:5])}"
    return Made(made, what, f"{what}: it is so already")


def _evacuation(clients: ClusterClients, view: View, request: EvacuateLeadersInput) -> Made:
    names = _listed(request.brokers)
    if request.back:
        wanted = evacuations.way_back(clients, view, request.brokers)
        made = given(view.cluster, wanted, "leaders back")
        return Made(made, f"leaders back to brokers {names}", f"brokers {names} lead what they led before the evacuation")
    made = planners.evacuate_leaders(view.cluster, request.brokers)
    return Made(made, f"evacuate leaders from brokers {names}", f"brokers {names} are no partition's preferred leader")


def _given(clients: ClusterClients, view: View, request: RunPlanInput) -> Made:
    wanted = request.plan if request.plan is not None else _from_config_map(clients, str(request.config_map))
    if not wanted.partitions:
        raise BadWish("plan.partitions: it is empty")
    known = {(partition.topic, partition.partition) for partition in view.snapshot.partitions}
    brokers = set(view.cluster.broker_ids.tolist())
    seen: dict[tuple[str, int], int] = {}
    wrong = []
    for number, entry in enumerate(wanted.partitions):
        where = f"plan.partitions.{number}"
        if (entry.topic, entry.partition) not in known:
            wrong.append(f"{where}: {entry.topic}-{entry.partition} is unknown to the cluster")
        if (first := seen.setdefault((entry.topic, entry.partition), number)) != number:
            wrong.append(f"{where}: {entry.topic}-{entry.partition} is in plan.partitions.{first} already")
        if len(set(entry.replicas)) != len(entry.replicas):
            wrong.append(f"{where}.replicas: a broker appears twice in {list(entry.replicas)}")
        if unknown := sorted(set(entry.replicas) - brokers):
            wrong.append(f"{where}.replicas: {unknown} are unknown to the cluster; known: {sorted(brokers)}")
    if wrong:
        raise BadWish("; ".join(wrong[:20]) + (f"; and {len(wrong) - 20} more" if len(wrong) > 20 else ""))
    count = f"{len(wanted.partitions)} partitions"
    return Made(given(view.cluster, wanted), f"run the given plan of {count}", f"{count} are where the plan wants them")


def _from_config_map(clients: ClusterClients, name: str) -> ReassignmentMap:
    """The JSON under a ConfigMap's one key (gzipped under `binaryData`, or plain)."""
    found = clients.kubernetes.read_record(name)
    entries = {key: value for key, value in (found or {}).items() if key not in ("summary", "parts")}
    if not entries:
        raise BadWish(f"config_map: there is no ConfigMap {name!r} with a reassignment JSON in the cluster's namespace")
    if len(entries) > 1:
        raise BadWish(f"config_map: {name!r} has several keys ({', '.join(sorted(entries))}); leave one")
    data = next(iter(entries.values()))
    try:
        text = gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data
        return ReassignmentMap.model_validate_json(text)
    except pydantic.ValidationError as error:
        lines = [f"plan.{'.'.join(str(part) for part in fault['loc'])}: {fault['msg']}" for fault in error.errors()[:10]]
        raise BadWish(f"config_map {name}: {'; '.join(lines)}") from error
    except (OSError, EOFError, ValueError) as error:
        raise BadWish(f"config_map {name}: can't be read: {error}") from error


def _listed(brokers: Sequence[int]) -> str:
    return ", ".join(map(str, sorted(brokers)))


PLANNERS: dict[str, tuple[type[MovingInput], Any]] = {
    "Rebalance": (RebalanceInput, _rebalance),
    "ScaleUp": (ScaleUpInput, _scale_up),
    "Decommission": (DecommissionInput, _decommission),
    "SetReplicationFactor": (SetReplicationFactorInput, _replication_factor),
    "EvacuateLeaders": (EvacuateLeadersInput, _evacuation),
    "RunPlan": (RunPlanInput, _given),
}
