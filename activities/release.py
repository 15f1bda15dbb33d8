"""Removes what a run has set, however it ends, and what earlier runs have left."""

from collections.abc import Callable
from datetime import UTC, datetime

from temporalio.client import WorkflowExecutionStatus
from temporalio.service import RPCError, RPCStatusCode

from activities import ledgers
from activities.permits import ensure_held
from activities.step import Steps, heartbeating, step
from kafka_runbooks.clients import store
from kafka_runbooks.models.ledger import Ledger
from kafka_runbooks.models.messages import Released, Token
from kafka_runbooks.throttle import expiry


class ReleaseActivities(Steps):
    """Removing what runs have set, as their ledgers say."""

    @step
    def release(self, token: Token) -> Released:
        """Remove everything that this run's ledger lists."""
        clients = self._open(token.cluster)
        with heartbeating():
            ledger = store.load(clients.kubernetes, ledgers.name_of(token.run_id), Ledger)
            if ledger is None:
                return Released()
            ensure_held(self._link, token)
            return ledgers.release(clients.kafka, clients.kubernetes, ledger, clients.kafka.snapshot().live_broker_ids)

    @step
    def clear_leftovers(self, token: Token) -> Released:
        """Remove what other runs left: ledgers whose owner's run has closed, or that Temporal no longer knows."""
        return self._clear(token, lambda ledger: ledger.owner.run_id != token.run_id and not self._is_open(ledger))

    @step
    def clear_expired(self, token: Token) -> Released:
        """The same for expired leases only: a run that closed a moment ago may still be cleaning up."""

        def may_clear(ledger: Ledger) -> bool:
            state = expiry.RunState.OPEN if self._is_open(ledger) else expiry.RunState.CLOSED
            (verdict,) = expiry.judge([ledger], token.cluster, datetime.now(UTC), {str(ledger.owner): state})
            return verdict.sweep

        return self._clear(token, may_clear)

    def _clear(self, token: Token, may_clear: Callable[[Ledger], bool]) -> Released:
        clients = self._open(token.cluster)
        removed: list[str] = []
        left: list[str] = []
        with heartbeating():
            live = clients.kafka.snapshot().live_broker_ids
            for name in clients.kubernetes.records(store.LEDGER):
                ledger = store.load(clients.kubernetes, name, Ledger)
                if ledger is None or not may_clear(ledger):
                    continue
                ensure_held(self._link, token)
                released = ledgers.release(clients.kafka, clients.kubernetes, ledger, live)
                removed += [f"{ledger.owner}: {line}" for line in released.given_back]
                left += [f"{ledger.owner}: {line}" for line in released.left_behind]
        return Released(given_back=tuple(removed[:100]), left_behind=tuple(left[:100]))

    def _is_open(self, ledger: Ledger) -> bool:
        """Whether the owner's run is open. One that Temporal no longer knows (retention) is not."""

        async def status() -> WorkflowExecutionStatus | None:
            handle = self._link.client.get_workflow_handle(ledger.owner.workflow_id, run_id=ledger.owner.run_id)
            return (await handle.describe()).status

        try:
            return self._link.call(status()) == WorkflowExecutionStatus.RUNNING
        except RPCError as error:
            if error.status == RPCStatusCode.NOT_FOUND:
                return False
            raise
