"""Preflight and plan of every runbook that moves data: one look, every reason not to start, and the frozen plan.

Nothing here changes the cluster. The plan is written to the plan store where a run asks for it, and nowhere for a preview.
"""

from collections.abc import Callable, Sequence
from typing import Any, Generic, TypeVar

from temporalio import activity

from activities import evacuations, ledgers, making
from activities.freezing import freeze, summarise
from activities.observing import View, observe
from activities.step import Link, Reporter, alive, looks
from kafka_runbooks.clients import store
from kafka_runbooks.clients.clusters import ClusterClients, Clusters
from kafka_runbooks.models.base import Model
from kafka_runbooks.models.inputs import (
    DecommissionInput,
    EvacuateLeadersInput,
    MovingInput,
    RebalanceInput,
    RunPlanInput,
    ScaleUpInput,
    SetReplicationFactorInput,
)
from kafka_runbooks.models.messages import MoveSurvey, Token
from kafka_runbooks.models.moves import MovePlan
from kafka_runbooks.models.plans import PlanReference
from kafka_runbooks.models.results import Reason
from kafka_runbooks.models.status import Progress
from kafka_runbooks.placement.errors import InFlight, InvalidRequest, NoAssignment
from kafka_runbooks.safety.moves import foreign_reassignments, reasons_not_to_move

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


class PlanningActivities:
    """One activity for each runbook; they differ in the planner that they ask."""

    def __init__(self, clusters: Clusters, link: Link) -> None:
        self._clusters = clusters
        self._link = link

    @activity.defn
    def plan_rebalance(self, asked: MovesAsked[RebalanceInput]) -> MoveSurvey:
        """Level a map's brokers, or every map's."""
        return self._survey("Rebalance", asked, making.rebalance)

    @activity.defn
    def plan_scale_up(self, asked: MovesAsked[ScaleUpInput]) -> MoveSurvey:
        """Bring new brokers to the level of the others."""
        return self._survey("ScaleUp", asked, making.scale_up)

    @activity.defn
    def plan_decommission(self, asked: MovesAsked[DecommissionInput]) -> MoveSurvey:
        """Everything off some brokers."""
        return self._survey("Decommission", asked, making.decommission)

    @activity.defn
    def plan_replication_factor(self, asked: MovesAsked[SetReplicationFactorInput]) -> MoveSurvey:
        """Another replication factor."""
        return self._survey("SetReplicationFactor", asked, making.replication_factor)

    @activity.defn
    def plan_evacuation(self, asked: MovesAsked[EvacuateLeadersInput]) -> MoveSurvey:
        """No leader on some brokers, or the leaders back."""
        return self._survey("EvacuateLeaders", asked, making.evacuation)

    @activity.defn
    def plan_given(self, asked: MovesAsked[RunPlanInput]) -> MoveSurvey:
        """A reassignment JSON that somebody brings."""
        return self._survey("RunPlan", asked, making.run_given)

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
        make: Callable[[ClusterClients, View, Request], making.Made],
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
    make: Callable[[ClusterClients, View, Request], making.Made],
) -> MoveSurvey:
    request = asked.request
    ours = None if asked.token is None else ledgers.read(clients.kubernetes, asked.token)
    try:
        view = observe(clients)
        made = make(clients, view, request)
        plan = freeze(clients, view, request, kind, made.title, made.plan, made.leaving, ours)
    except InFlight:
        return MoveSurvey(reasons=tuple(foreign_reassignments(clients.kafka.reassignments())))
    except NoAssignment as error:
        return MoveSurvey(
            reasons=tuple(
                Reason(name=f"no-map:{reason.constraint}", message=f"{reason.where}: {reason.problem}", remedy=reason.remedy)
                for reason in error.reasons[:50]
            )
        )
    except InvalidRequest as error:
        return MoveSurvey(
            reasons=(Reason(name="invalid-request", message=str(error)[:2000], remedy="ask for what the cluster has"),)
        )
    if not plan.moves and not made.goes_on:
        return MoveSurvey(nothing_to_do=made.nothing)
    reasons = [*made.reasons, *reasons_not_to_move(plan, view.snapshot, view.reassignments, request.acknowledged_risks)]
    approved = None if asked.approved is None else store.load(clients.kubernetes, asked.approved.plan_id, MovePlan)
    summary = summarise(clients, view, request, plan, made.plan, approved, ours)
    if asked.token is not None:
        store.save(
            clients.kubernetes,
            store.PLAN,
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
        remedy="clear these first, or plan for fewer topics at once",
    )
    return (*reasons[:MOST_REASONS], more)


PLANNERS: dict[str, tuple[type[MovingInput], Any]] = {
    "Rebalance": (RebalanceInput, making.rebalance),
    "ScaleUp": (ScaleUpInput, making.scale_up),
    "Decommission": (DecommissionInput, making.decommission),
    "SetReplicationFactor": (SetReplicationFactorInput, making.replication_factor),
    "EvacuateLeaders": (EvacuateLeadersInput, making.evacuation),
    "RunPlan": (RunPlanInput, making.run_given),
}
