"""Removes what a run has set, however it ends, and what earlier runs have left.

What earlier runs left never keeps a run from starting: a ledger that can't be read, a broker that is silent, a change that is
refused is named and passed over, and the whole takes a minute at most.
"""

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from temporalio.client import WorkflowExecutionStatus
from temporalio.service import RPCError, RPCStatusCode

from activities import ledgers, overrides, plan_store, removal
from activities.permits import Fence
from activities.step import Steps, heartbeating, step
from kafka_runbooks.clients import store
from kafka_runbooks.clients.clusters import ClusterClients
from kafka_runbooks.clients.errors import ClientError, Unreachable
from kafka_runbooks.models.ledger import Owner
from kafka_runbooks.models.messages import Released, Token
from kafka_runbooks.throttle import expiry
from kafka_runbooks.throttle.expiry import RunState, Verdict

CLEAR_SECONDS = 60.0
PATIENCE_SECONDS, PAUSE_SECONDS = 20.0, 2.0
"""How long a run tries to remove what is left only because somebody doesn't answer: a controller that has just changed, say."""
ANSWER_SECONDS = 5.0
SHOWN = 100


class ReleaseActivities(Steps):
    """Removing what runs have set, as their ledgers say."""

    @step
    def release(self, token: Token) -> Released:
        """Remove everything that this run's ledger lists, and its throttle overrides."""
        clients = self._open(token.cluster)
        with heartbeating():
            fence, released = Fence(self._link, token), Released()
            deadline = time.monotonic() + PATIENCE_SECONDS
            while ledger := ledgers.load(clients.kubernetes, ledgers.name_of(token.run_id)):
                fence.check()
                again = removal.release(clients.kafka, clients.kubernetes, fence, ledger, _live(clients))
                released = again.model_copy(
                    update={"given_back": (*released.given_back, *again.given_back), "rates": {**released.rates, **again.rates}}
                )
                if not again.is_unanswered or time.monotonic() > deadline:
                    break
                time.sleep(PAUSE_SECONDS)
            # Last: what is still in flight obeys them until it is cancelled.
            overrides.forget(clients.kubernetes, token.run_id)
            return released

    @step
    def clear_leftovers(self, token: Token) -> Released:
        """Remove what other runs left: those that have closed, and those that Temporal doesn't know and whose lease is over."""
        return self._clear(token, only_expired=False)

    @step
    def clear_expired(self, token: Token) -> Released:
        """The same for expired leases only: a run that closed a moment ago may still be cleaning up."""
        return self._clear(token, only_expired=True)

    def _clear(self, token: Token, *, only_expired: bool) -> Released:
        clients = self._open(token.cluster)
        with heartbeating():
            sweep = _Sweep(clients, Fence(self._link, token), token, self._state, only_expired=only_expired)
            sweep.ledgers()
            sweep.overrides()
            sweep.plans()
            return Released(given_back=tuple(sweep.removed[:SHOWN]), left_behind=tuple(sweep.left[:SHOWN]))

    def _state(self, owner: Owner) -> RunState:
        """Whether a run is open, as far as this Temporal server can tell."""
        client = self._link.client
        if owner.namespace and owner.namespace != client.namespace:
            return RunState.ELSEWHERE

        async def status() -> WorkflowExecutionStatus | None:
            handle = client.get_workflow_handle(owner.workflow_id, run_id=owner.run_id)
            return (await handle.describe(rpc_timeout=timedelta(seconds=ANSWER_SECONDS))).status

        try:
            is_open = self._link.call(status(), ANSWER_SECONDS + 1) == WorkflowExecutionStatus.RUNNING
        except RPCError as error:
            return RunState.NOT_FOUND if error.status == RPCStatusCode.NOT_FOUND else RunState.UNKNOWN
        except TimeoutError:
            return RunState.UNKNOWN
        return RunState.OPEN if is_open else RunState.CLOSED


class _Sweep:
    """One pass over the records of other runs."""

    def __init__(
        self, clients: ClusterClients, fence: Fence, token: Token, state: Callable[[Owner], RunState], *, only_expired: bool
    ) -> None:
        self._clients = clients
        self._fence = fence
        self._token = token
        self._state = state
        self._only_expired = only_expired
        self._deadline = time.monotonic() + CLEAR_SECONDS
        self._silent: set[int] = set()
        self._kept_runs = {token.run_id}
        """Runs whose ledger stays: they may still be at work."""
        self.removed: list[str] = []
        self.left: list[str] = []

    def ledgers(self) -> None:
        """What other runs' ledgers list."""
        live: frozenset[int] | None = None
        for name in self._clients.kubernetes.records(store.LEDGER):
            if name == ledgers.name_of(self._token.run_id):
                continue
            if time.monotonic() > self._deadline:
                self.left.append(f"{name}: there was no time for it; ClearLeftovers looks again")
                continue
            try:
                ledger = ledgers.load(self._clients.kubernetes, name)
                if ledger is None:
                    continue
                verdict = self._judge(ledger.owner, ledger.cluster)
                if not verdict.sweep:
                    self._kept_runs.add(ledger.owner.run_id)
                    continue
                if live is None:
                    live = _live(self._clients)
                released = removal.release(self._clients.kafka, self._clients.kubernetes, self._fence, ledger, live, self._silent)
            except ClientError as error:
                self.left.append(str(error))
                continue
            self.removed += [f"{ledger.owner}: {line}" for line in released.given_back]
            self.left += [f"{ledger.owner}: {line}" for line in released.left_behind]

    def overrides(self) -> None:
        """Throttle overrides of runs that have ended."""
        for name in self._clients.kubernetes.records(store.OVERRIDES):
            try:
                kept = overrides.load(self._clients.kubernetes, name)
                if kept is None or kept.owner.run_id in self._kept_runs or not self._judge(kept.owner, kept.cluster).sweep:
                    continue
                self._fence.check()
                store.remove(self._clients.kubernetes, name)
            except ClientError as error:
                self.left.append(str(error))
                continue
            self.removed += [f"{kept.owner}: throttle override {override}" for override in kept.overrides]

    def plans(self) -> None:
        """Plans that nobody has used for long, and parts of records that nobody names."""

        def may_go(owner: Owner | None) -> bool:
            if owner is None:
                return True
            is_kept = owner.run_id == self._token.run_id or self._state(owner) in (RunState.OPEN, RunState.UNKNOWN)
            return not is_kept and expiry.has_expired(owner, datetime.now(UTC))

        try:
            old = plan_store.remove_old(self._clients.kubernetes, self._fence, may_go)
            for kind in store.KINDS:
                store.remove_stray_parts(self._clients.kubernetes, kind)
        except ClientError as error:
            self.left.append(str(error))
            return
        if old:
            self.removed.append(f"{len(old)} plans that no run has used for {plan_store.KEPT_FOR.days} days")

    def _judge(self, owner: Owner, cluster: str) -> Verdict:
        state = self._state(owner)
        verdict = expiry.judge(owner, cluster, self._token.cluster, datetime.now(UTC), state, only_expired=self._only_expired)
        # An open run, and one that has just closed, clean up themselves: nothing to say.
        if not verdict.sweep and state not in (RunState.OPEN, RunState.CLOSED):
            self.left.append(verdict.why)
        return verdict


def _live(clients: ClusterClients) -> frozenset[int] | None:
    """The brokers that are registered; None where Kafka doesn't answer."""
    try:
        return clients.kafka.snapshot().live_broker_ids
    except Unreachable:
        return None
