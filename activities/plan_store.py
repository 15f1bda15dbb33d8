"""Frozen plans, kept beside the cluster: a step carries out the plan that was approved, or fails for good.

A plan is several megabytes on a large cluster, so it stays for two weeks, to be looked at, and the newest hundred at most.
"""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import TypeVar

from activities.errors import PlanGone
from activities.ledgers import owner_of
from activities.permits import Fence
from kafka_runbooks.catalogue import RUNBOOKS
from kafka_runbooks.clients import store
from kafka_runbooks.clients.protocols import Kubernetes
from kafka_runbooks.models.ledger import Owner
from kafka_runbooks.models.messages import StepRequest, Token
from kafka_runbooks.models.moves import MovePlan
from kafka_runbooks.models.plans import Plan, PlanReference, reference_to
from kafka_runbooks.models.replacement import ReplacementPlan

KEPT_FOR = timedelta(days=14)
MOST_KEPT = 100

Frozen = TypeVar("Frozen", bound=Plan)


def save(kubernetes: Kubernetes, plan: Plan, token: Token) -> PlanReference:
    """Keep a plan. The same state of the cluster gives the same plan, so a retry overwrites an identical one."""
    reference = reference_to(plan)
    summary = f"{plan.title}: {len(plan.planned)} partitions, {plan.total_bytes} bytes; run {token.workflow_id}/{token.run_id}"
    store.save(kubernetes, store.PLAN, reference.plan_id, plan, summary, owner=owner_of(token))
    return reference


def remove_old(kubernetes: Kubernetes, fence: Fence, may_go: Callable[[Owner | None], bool]) -> tuple[str, ...]:
    """Delete plans that were written too long ago, and the oldest beyond `MOST_KEPT`; returns their names.

    Args:
        may_go: whether the run that a plan was made for has ended.
    """
    kept = sorted(store.written(kubernetes, store.PLAN), key=lambda one: one.at, reverse=True)
    now, removed = datetime.now(UTC), []
    for number, one in enumerate(kept):
        if (number >= MOST_KEPT or now - one.at > KEPT_FOR) and may_go(one.owner):
            fence.check()
            store.remove(kubernetes, one.name)
            removed.append(one.name)
    return tuple(removed)


def load(kubernetes: Kubernetes, reference: PlanReference) -> Plan:
    """The frozen plan.

    Raises:
        PlanGone: it is not in the store, or is not what was approved.
    """
    model = RUNBOOKS[reference.kind].plan
    if model is None:
        raise PlanGone(f"{reference.kind} has no plans")
    return load_as(kubernetes, reference, model)


def load_for(kubernetes: Kubernetes, step: StepRequest) -> Plan:
    """What a step carries out: the frozen plan, or its inverse in a rollback.

    Raises:
        PlanGone: the plan is not in the store, or is not what was approved.
    """
    return load_moves(kubernetes, step) if step.is_rollback else load(kubernetes, step.plan)


def load_moves(kubernetes: Kubernetes, step: StepRequest) -> MovePlan:
    """The moves of a step that moves data; their inverse in a rollback.

    Raises:
        PlanGone: the plan is not in the store, or is not what was approved.
    """
    plan = load(kubernetes, step.plan)
    moves = plan.as_moves() if isinstance(plan, ReplacementPlan) else plan
    if not isinstance(moves, MovePlan):
        raise PlanGone(f"{step.plan.kind}'s plans move no data")
    return moves.inverse() if step.is_rollback else moves


def load_as(kubernetes: Kubernetes, reference: PlanReference, model: type[Frozen]) -> Frozen:
    """The frozen plan, for steps that need the fields of their own runbook's plan.

    Raises:
        PlanGone: it is not in the store, or is not what was approved.
    """
    plan = store.load(kubernetes, reference.plan_id, model)
    if plan is None or plan.sha256() != reference.sha256:
        raise PlanGone(f"plan {reference.plan_id} is gone or is not the one approved")
    return plan
