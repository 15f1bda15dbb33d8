"""Carrying out a frozen plan of moves: until every partition is where it should be, led as it should be, and proven.

The moving itself is one long activity around the mover, which looks and acts window by window.
"""

import time

from temporalio import activity
from temporalio.exceptions import ApplicationError

from activities import evacuations
from activities.exit_contract import kept, proven
from activities.mover import SETTLED_LOOKS, Mover
from activities.permits import ensure_held
from activities.replacement import PLAN_DRIFT, load_frozen
from activities.step import Link, Reporter, alive, looks
from kafka_runbooks.clients.clusters import ClusterClients, Clusters
from kafka_runbooks.models.messages import MoveChecks, MoveProof, MoveStep, Token
from kafka_runbooks.models.moves import MovePlan, of_replacement
from kafka_runbooks.models.plans import ReplacementPlan
from kafka_runbooks.models.results import Check
from kafka_runbooks.models.status import Progress
from kafka_runbooks.safety import exit_contract
from kafka_runbooks.safety.availability import not_led_by_preferred

ELECTIONS_AT_ONCE = 500
ELECTION_PATIENCE_SECONDS = 120.0


def load_moves(clients: ClusterClients, step: MoveStep) -> MovePlan:
    """The frozen plan, or its inverse in a rollback.

    Raises:
        ApplicationError: it is gone, or is not what was approved; not retryable.
    """
    if step.is_replacement:
        return of_replacement(load_frozen(clients, step.plan, ReplacementPlan))
    plan = load_frozen(clients, step.plan, MovePlan)
    return plan.inverse() if step.is_rollback else plan


class MovingActivities:
    """Moving, and the proof that it is done."""

    def __init__(self, clusters: Clusters, link: Link) -> None:
        self._clusters = clusters
        self._link = link

    @activity.defn(no_thread_cancel_exception=True)
    def move_partitions(self, step: MoveStep) -> Progress:
        """Return when every partition of the plan is where it should be. Cancelled (a pause): what is in flight goes on.

        Raises:
            ApplicationError: `PlanDrift`, where the rest must be planned anew (somebody moved partitions of the plan, partitions
                were added, a destination is dead); nothing of ours is in flight then. Not retryable.
        """
        clients = self._clusters.open(step.token.cluster)
        plan = load_moves(clients, step)
        mover = Mover(clients, self._link, step, plan)
        done_looks = 0
        for _ in looks():
            decision, progress = mover.look()
            done_looks = done_looks + 1 if decision.is_done else 0
            # At the start of a way back a broker whose metadata lag still shows what was there before the moves.
            if done_looks >= (SETTLED_LOOKS if step.is_rollback else 1):
                return progress
            if decision.is_done:
                continue
            if decision.must_replan:
                why = [f"broker {broker} is dead" for broker in decision.lost] + list(decision.drift)
                raise ApplicationError("; ".join(why[:5]), type=PLAN_DRIFT, non_retryable=True)
        raise AssertionError("looks never end by themselves")

    @activity.defn(no_thread_cancel_exception=True)
    def elect_planned_leaders(self, step: MoveStep) -> int:
        """Make the first replicas of the plan's partitions their leaders; returns how many lead now.

        Raises:
            ApplicationError: `ElectionRefused`, where the controller has refused for `ELECTION_PATIENCE_SECONDS`.
        """
        clients = self._clusters.open(step.token.cluster)
        names = {move.name for move in load_moves(clients, step).moves}
        reporter, began = Reporter(self._link, step.token), time.monotonic()
        for _ in looks(1.0):
            snapshot = clients.kafka.snapshot()
            planned = [partition for partition in snapshot.partitions if partition.name in names]
            left = not_led_by_preferred(snapshot, planned)
            if not left:
                return len(planned)
            ensure_held(self._link, step.token)
            refused = clients.kafka.elect_preferred_leaders([partition.name for partition in left[:ELECTIONS_AT_ONCE]])
            why = "; ".join(f"{name}: {reason}" for name, reason in list(refused.items())[:3])
            if refused and time.monotonic() - began > ELECTION_PATIENCE_SECONDS:
                raise ApplicationError(f"preferred leaders were not elected: {why}", type="ElectionRefused", non_retryable=True)
            waiting = reporter.waiting(
                f"{len(left)} partitions are not led by their preferred leader. {why}", "the controller elects them"
            )
            done = len(planned) - len(left)
            reporter.report(Progress(done_partitions=done, total_partitions=len(planned), waiting=waiting))
        raise AssertionError("looks never end by themselves")

    @activity.defn
    def forget_evacuation(self, token: Token, brokers: tuple[int, ...]) -> None:
        """The leaders are back: what they were before is no longer kept."""
        with alive():
            ensure_held(self._link, token)
            evacuations.forget(self._clusters.open(token.cluster), brokers)

    @activity.defn(no_thread_cancel_exception=True)
    def prove_moves(self, proof: MoveProof) -> MoveChecks:
        """Every assertion of the exit contract of moves, on the cluster as it is now."""
        step = proof.step
        clients = self._clusters.open(step.token.cluster)
        plan = load_moves(clients, step)

        def look() -> tuple[Check, ...]:
            snapshot = clients.kafka.snapshot()
            checks = [exit_contract.replicas_as_planned(snapshot, plan.moves)] if proof.as_planned else []
            checks += kept(clients, step.token, snapshot, plan, proof.our_rates_bytes_per_s)
            return (*checks, *(exit_contract.is_empty(snapshot, broker) for broker in plan.leaving))

        return MoveChecks(checks=proven(look))
