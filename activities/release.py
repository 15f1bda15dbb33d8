"""The end of every run, however it ends: what was set is given back, and what must hold is looked at on the live cluster."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from temporalio import activity
from temporalio.client import WorkflowExecutionStatus
from temporalio.service import RPCError, RPCStatusCode

from activities import ledgers
from activities.exit_contract import kept, proven
from activities.permits import ensure_held
from activities.replacement import load_frozen
from activities.step import Link, alive
from kafka_runbooks.clients import store
from kafka_runbooks.clients.clusters import Clusters
from kafka_runbooks.models.base import Model
from kafka_runbooks.models.ledger import Ledger
from kafka_runbooks.models.messages import Released, StepRequest, Token
from kafka_runbooks.models.plans import ReplacementPlan
from kafka_runbooks.models.results import Check
from kafka_runbooks.safety import exit_contract
from kafka_runbooks.throttle import expiry


class ProofRequest(Model):
    """What the exit contract is proven for."""

    step: StepRequest
    our_rates_bytes_per_s: dict[int, int]


class EndingActivities:
    def __init__(self, clusters: Clusters, link: Link) -> None:
        self._clusters = clusters
        self._link = link

    @activity.defn(no_thread_cancel_exception=True)
    def give_back(self, token: Token) -> Released:
        """Take back everything that this run's ledger says."""
        clients = self._clusters.open(token.cluster)
        with alive():
            ledger = store.load(clients.kubernetes, ledgers.name_of(token.run_id), Ledger)
            if ledger is None:
                return Released()
            ensure_held(self._link, token)
            return ledgers.give_back(clients.kafka, clients.kubernetes, ledger, clients.kafka.snapshot().live_broker_ids)

    @activity.defn(no_thread_cancel_exception=True)
    def clear_leftovers(self, token: Token) -> Released:
        """Take back what other runs left: ledgers whose owner's run has closed, or that Temporal has forgotten."""
        return self._clear(token, lambda ledger: ledger.owner.run_id != token.run_id and not self._runs(ledger))

    @activity.defn(no_thread_cancel_exception=True)
    def sweep_expired(self, token: Token) -> Released:
        """Of that, only what is past its lease: a run that was closed a moment ago may still be giving back."""

        def may(ledger: Ledger) -> bool:
            state = expiry.RunState.OPEN if self._runs(ledger) else expiry.RunState.CLOSED
            (verdict,) = expiry.judge([ledger], token.cluster, datetime.now(UTC), {str(ledger.owner): state})
            return verdict.sweep

        return self._clear(token, may)

    def _clear(self, token: Token, may: Callable[[Ledger], bool]) -> Released:
        clients = self._clusters.open(token.cluster)
        given: list[str] = []
        left: list[str] = []
        with alive():
            live = clients.kafka.snapshot().live_broker_ids
            for name in clients.kubernetes.records(store.LEDGER):
                ledger = store.load(clients.kubernetes, name, Ledger)
                if ledger is None or not may(ledger):
                    continue
                ensure_held(self._link, token)
                released = ledgers.give_back(clients.kafka, clients.kubernetes, ledger, live)
                given += [f"{ledger.owner}: {line}" for line in released.given_back]
                left += [f"{ledger.owner}: {line}" for line in released.left_behind]
        return Released(given_back=tuple(given[:100]), left_behind=tuple(left[:100]))

    def _runs(self, ledger: Ledger) -> bool:
        """Whether the owner still works. One that Temporal has forgotten (retention) doesn't."""

        async def status() -> Any:
            handle = self._link.client.get_workflow_handle(ledger.owner.workflow_id, run_id=ledger.owner.run_id)
            return (await handle.describe()).status

        try:
            return bool(self._link.call(status()) == WorkflowExecutionStatus.RUNNING)
        except RPCError as error:
            if error.status == RPCStatusCode.NOT_FOUND:
                return False
            raise

    @activity.defn(no_thread_cancel_exception=True)
    def prove_exit(self, proof: ProofRequest) -> tuple[Check, ...]:
        """Every assertion of the exit contract, on the cluster as it is now."""
        step = proof.step
        clients = self._clusters.open(step.token.cluster)
        plan = load_frozen(clients, step.plan, ReplacementPlan)

        def look() -> tuple[Check, ...]:
            snapshot = clients.kafka.snapshot()
            checks = [
                exit_contract.replicas_in_sync(snapshot, plan.destination),
                *kept(clients, step.token, snapshot, plan, proof.our_rates_bytes_per_s),
            ]
            if plan.replacement_broker_id is not None:
                checks.append(exit_contract.replicas_moved(snapshot, plan.broker_id))
            else:
                checks += exit_contract.one_ready_pod(clients.kubernetes.broker_pods(), clients.kubernetes.nodes(), step.place)
                claim = clients.kubernetes.claim(step.place.claim)
                checks.append(exit_contract.claim_is_sound(claim, step.place, disk_is_lost=plan.copies_everything))
            return tuple(checks)

        return proven(look)
