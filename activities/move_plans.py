"""Preflight and plan of every runbook that moves data: observe, collect every reason not to start, and freeze the plan.

Nothing here changes the cluster. The plan is kept in the plan store for a run, and not stored for a preview.
"""

import gzip
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import TypeVar

import pydantic

from activities import evacuations, ledgers, plan_store, proof, second_person, voters
from activities.errors import PlannerDefect
from activities.large_plans import Turn
from activities.planned_rates import planned_rates, rates_of
from activities.step import POLL_SECONDS, Reporter, Steps, heartbeating, step, wait
from kafka_runbooks.clients import store
from kafka_runbooks.clients.clusters import ClusterClients
from kafka_runbooks.clients.protocols import Kubernetes
from kafka_runbooks.models.inputs import (
    DecommissionInput,
    EvacuateLeadersInput,
    MoveInput,
    RebalanceInput,
    RunPlanInput,
    ScaleUpInput,
    SetReplicationFactorInput,
)
from kafka_runbooks.models.messages import PlanRequest, StepRequest, Survey
from kafka_runbooks.models.moves import MovePlan
from kafka_runbooks.models.placement import ReassignmentMap
from kafka_runbooks.models.results import Reason
from kafka_runbooks.models.status import Progress
from kafka_runbooks.moves import freeze, planning, what_if
from kafka_runbooks.moves.planning import ClusterObservation, PlannerResult
from kafka_runbooks.placement import errors as placement_errors
from kafka_runbooks.placement import snapshots
from kafka_runbooks.placement.errors import InFlight, InvalidRequest, NoAssignment
from kafka_runbooks.safety.moves import foreign_reassignments, reasons_not_to_move, unacknowledged

SILENT_SECONDS = 60.0
"""How long a broker that has just joined is waited for: others may not know its address yet."""

Request = TypeVar("Request", bound=MoveInput)
Planner = Callable[[ClusterClients, ClusterObservation], PlannerResult]


class MovePlanActivities(Steps):
    """One activity for each runbook; they differ in their planner."""

    @step
    def plan_rebalance(self, asked: PlanRequest[RebalanceInput]) -> Survey:
        """Balance a map's brokers, or every map's."""
        return self._survey("Rebalance", asked, lambda _, observed: planning.rebalance(observed, asked.request))

    @step
    def plan_scale_up(self, asked: PlanRequest[ScaleUpInput]) -> Survey:
        """Move a share of the data onto new brokers."""

        def plan(clients: ClusterClients, observed: ClusterObservation) -> PlannerResult:
            return planning.scale_up(observed, asked.request, voters.controllers_among(clients, asked.request.brokers))

        return self._survey("ScaleUp", asked, plan)

    @step
    def plan_decommission(self, asked: PlanRequest[DecommissionInput]) -> Survey:
        """Move everything off some brokers."""

        def plan(clients: ClusterClients, observed: ClusterObservation) -> PlannerResult:
            pods, stateful_sets = clients.kubernetes.broker_pods(), clients.kubernetes.stateful_sets()
            racks = registered_racks(clients.kubernetes) | observed.snapshot.racks
            controllers = voters.controllers_among(clients, observed.snapshot.live_broker_ids, only_voters=True)
            found = planning.decommission(observed, asked.request, pods, stateful_sets, racks, controllers)
            against = proof.reasons_against(clients, asked.request.cluster) if asked.request.remove_pods else ()
            return replace(found, reasons=(*found.reasons, *against))

        return self._survey("Decommission", asked, plan)

    @step
    def plan_set_replication_factor(self, asked: PlanRequest[SetReplicationFactorInput]) -> Survey:
        """Change the replication factor."""
        return self._survey(
            "SetReplicationFactor", asked, lambda _, observed: planning.replication_factor(observed, asked.request)
        )

    @step
    def plan_evacuate_leaders(self, asked: PlanRequest[EvacuateLeadersInput]) -> Survey:
        """Move leadership off some brokers, or back."""

        def plan(clients: ClusterClients, observed: ClusterObservation) -> PlannerResult:
            if asked.request.back:
                evacuated = evacuations.recall(clients, asked.request.brokers)
                return planning.return_of_leaders(observed, asked.request, evacuated)
            return planning.evacuation(observed, asked.request)

        found = self._survey("EvacuateLeaders", asked, plan)
        if asked.token is not None and not asked.request.back and found.plan is not None and asked.keeps_plan(found.reasons):
            clients = self._open(asked.request.cluster)
            frozen = plan_store.load_moves(clients.kubernetes, StepRequest(token=asked.token, plan=found.plan.reference))
            evacuations.remember(clients, asked.request.brokers, frozen)
        return found

    @step
    def plan_run_plan(self, asked: PlanRequest[RunPlanInput]) -> Survey:
        """Carry out a reassignment JSON given by an operator."""

        def plan(clients: ClusterClients, observed: ClusterObservation) -> PlannerResult:
            given = asked.request.plan
            wanted = given if given is not None else _from_config_map(clients, str(asked.request.config_map))
            return planning.reassignment(observed, wanted)

        return self._survey("RunPlan", asked, plan)

    def _survey(self, kind: str, asked: PlanRequest[Request], planner: Planner) -> Survey:
        """Observe and plan."""
        clients = self._open(asked.request.cluster)
        return once_nobody_else_moves(clients, asked, lambda: survey(clients, kind, asked, planner))


def once_nobody_else_moves(clients: ClusterClients, asked: PlanRequest[Request], look: Callable[[], Survey]) -> Survey:
    """The survey. With `when_busy` wait, or once a plan was approved, external reassignments are waited for."""
    if asked.token is None:
        with heartbeating():
            return second_person.demanded(clients.settings, asked.request, look())
    reporter = Reporter.current()

    def observe() -> Survey | None:
        found = look()
        external = [reason for reason in found.reasons if reason.name == "foreign-reassignment"]
        if not external or not (asked.request.when_busy == "wait" or asked.approved is not None):
            return second_person.demanded(clients.settings, asked.request, found)
        reporter.report(Progress(waiting=reporter.waiting(external[0].message, "their reassignments end")))
        return None

    return wait(observe)


def survey(clients: ClusterClients, kind: str, asked: PlanRequest[Request], planner: Planner) -> Survey:
    """The plan as it would be frozen now, stored only for a run, and every reason not to carry it out.

    Raises:
        PlannerDefect: the independent checker found a broken rule in the plan.
    """
    with Turn() as turn:
        return _surveyed(clients, kind, asked, planner, turn)


def _surveyed(clients: ClusterClients, kind: str, asked: PlanRequest[Request], planner: Planner, turn: Turn) -> Survey:
    request = asked.request
    try:
        observed = observe_cluster(clients, turn)
        if isinstance(observed, Reason):
            return Survey(reasons=(observed,))
        result = planner(clients, observed)
        plan = freeze.freeze(observed, request, kind, result, datetime.now(UTC))
    except InFlight:
        return Survey(reasons=tuple(foreign_reassignments(clients.kafka.reassignments())))
    except NoAssignment as error:
        return Survey(
            reasons=tuple(
                Reason(name=f"no-map:{reason.constraint}", message=f"{reason.where}: {reason.problem}", remedy=reason.remedy)
                for reason in error.reasons[:50]
            )
        )
    except InvalidRequest as error:
        reason = Reason(name="invalid-request", message=str(error)[:2000], remedy="correct the input", is_bad_input=True)
        return Survey(reasons=(reason,))
    except placement_errors.PlannerDefect as error:
        raise PlannerDefect(f"the {kind} planner broke a rule, nothing was changed: {error}") from error
    if not plan.moves and not result.continues_without_moves:
        # What is asked for and can't be done is not nothing to do; and what was left alone is said.
        left = tuple(unacknowledged(result.reasons, request.acknowledged_risks))
        notes = (*result.notices, *result.plan.notices)
        return Survey(reasons=left) if left else Survey(nothing_to_do=result.nothing, notes=notes)
    ledger = None if asked.token is None else ledgers.read(clients.kubernetes, asked.token)
    lists = clients.kafka.throttled_replicas(sorted({move.topic for move in plan.moves}))
    brokers = what_if.changed_brokers(plan.moves) & observed.snapshot.live_broker_ids
    plan = freeze.with_throttles_before(plan, lists, rates_of(clients, brokers), ledger)
    approved = None if asked.approved is None else store.load(clients.kubernetes, asked.approved.plan_id, MovePlan)
    leaders = {partition.name: partition.leader for partition in observed.snapshot.partitions}
    rates = planned_rates(clients, request.throttle, what_if.sent_bytes(plan.moves, leaders), asked.token)
    summary = freeze.summarise(observed, plan, result, rates.by_source, rates.notes, approved, datetime.now(UTC))
    reasons = [
        *unacknowledged(result.reasons, request.acknowledged_risks),
        *reasons_not_to_move(plan, observed.snapshot, observed.reassignments, request.acknowledged_risks),
    ]
    if asked.token is not None and asked.keeps_plan(reasons):
        plan_store.save(clients.kubernetes, plan, asked.token)
    return Survey(plan=summary, reasons=tuple(reasons))


def observe_cluster(clients: ClusterClients, turn: Turn) -> ClusterObservation | Reason:
    """Everything that a plan is based on, or why none can be made: the load of a live broker that doesn't answer is unknown."""
    deadline = time.monotonic() + SILENT_SECONDS
    while True:
        snapshot = clients.kafka.snapshot()
        if turn.take(len(snapshot.partitions)):
            continue  # It is old by now.
        sizes = clients.kafka.replica_sizes(sorted(snapshot.live_broker_ids))
        silent = sorted(set(sizes.unanswered_broker_ids) & snapshot.live_broker_ids)
        if not silent:
            break
        if time.monotonic() > deadline:
            what = "their replicas' sizes (DescribeLogDirs)"
            return Reason(
                name="silent-brokers",
                message=f"brokers {silent} did not report {what} for {SILENT_SECONDS:.0f} s",
                remedy="wait until they answer, or stop them: a broker that is down is planned around",
            )
        time.sleep(POLL_SECONDS)
    reassignments = clients.kafka.reassignments()
    map_of = {
        pod.broker_id: pod.map for pod in clients.kubernetes.broker_pods() if pod.broker_id is not None and pod.map is not None
    }
    cluster = snapshots.from_snapshot(snapshots.observed(snapshot, sizes, reassignments))
    return ClusterObservation(snapshot, sizes, reassignments, map_of, cluster)


def registered_racks(kubernetes: Kubernetes) -> dict[int, str | None]:
    """Rack of every broker that was ever given an id, as it started last; None where that isn't recorded."""
    last_starts = kubernetes.last_starts()
    return {broker: last_starts[pod].rack if pod in last_starts else None for pod, broker in kubernetes.broker_ids().items()}


def _from_config_map(clients: ClusterClients, name: str) -> ReassignmentMap:
    """The JSON under a ConfigMap's one key (gzipped under `binaryData`, or plain)."""
    found = clients.kubernetes.read_record(name)
    entries = {key: value for key, value in (found.parts if found else {}).items() if key != "summary"}
    if not entries:
        raise InvalidRequest(f"config_map: there is no ConfigMap {name!r} with a reassignment JSON in the cluster's namespace")
    if len(entries) > 1:
        raise InvalidRequest(f"config_map: {name!r} has several keys ({', '.join(sorted(entries))}); leave one")
    data = next(iter(entries.values()))
    try:
        text = gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data
        return ReassignmentMap.model_validate_json(text)
    except pydantic.ValidationError as error:
        lines = [f"plan.{'.'.join(str(part) for part in fault['loc'])}: {fault['msg']}" for fault in error.errors()[:10]]
        raise InvalidRequest(f"config_map {name}: {'; '.join(lines)}") from error
    except (OSError, EOFError, ValueError) as error:
        raise InvalidRequest(f"config_map {name}: can't be read: {error}") from error
