"""The exit contract on the live cluster: what all runbooks that copy data promise, and how long a proof may be late."""

import time
from collections.abc import Callable, Mapping

from activities import ledgers
from activities.step import looks
from kafka_runbooks.clients import store
from kafka_runbooks.clients.clusters import ClusterClients
from kafka_runbooks.models.cluster import ClusterSnapshot
from kafka_runbooks.models.ledger import Ledger
from kafka_runbooks.models.messages import Token
from kafka_runbooks.models.moves import MovePlan
from kafka_runbooks.models.plans import ReplacementPlan
from kafka_runbooks.models.results import Check
from kafka_runbooks.safety import exit_contract

PROOF_PATIENCE_SECONDS = 10.0
READY_PATIENCE_SECONDS = 60.0


def kept(
    clients: ClusterClients,
    token: Token,
    snapshot: ClusterSnapshot,
    plan: ReplacementPlan | MovePlan,
    our_rates_bytes_per_s: Mapping[int, int],
) -> list[Check]:
    """What every runbook that copies data promises: nothing is worse than it was, and nothing of ours is left."""
    planned = plan.partitions if isinstance(plan, ReplacementPlan) else plan.moves
    ledger = store.load(clients.kubernetes, ledgers.name_of(token.run_id), Ledger)
    rated = [broker for broker in our_rates_bytes_per_s if broker in snapshot.live_broker_ids]
    return [
        exit_contract.in_sync_no_worse(snapshot, planned),
        exit_contract.preferred_leaders_lead(snapshot, planned),
        exit_contract.no_reassignment_of_ours(clients.kafka.reassignments(), ledger),
        exit_contract.no_throttle_of_ours(
            ledger,
            plan,
            clients.kafka.throttled_replicas({one.topic for one in planned}),
            clients.kafka.throttle_rates(rated),
            our_rates_bytes_per_s,
        ),
    ]


def proven(look: Callable[[], tuple[Check, ...]]) -> tuple[Check, ...]:
    """Look until everything holds, or for so long as a check may be late.

    Any broker is asked, and one may not have heard yet of what ended a moment ago; a pod is Ready once the kubelet has asked the
    agent again.
    """
    began = time.monotonic()
    for _ in looks(1.0):
        checks = look()
        broken = {check.name for check in checks if not check.passed}
        patience = READY_PATIENCE_SECONDS if broken == {exit_contract.ONE_READY_POD} else PROOF_PATIENCE_SECONDS
        if not broken or time.monotonic() - began > patience:
            return checks
    raise AssertionError("looks never end by themselves")
