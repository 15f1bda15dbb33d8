"""The exit contract on the live cluster: what a plan promises, and what every runbook promises, asserted after the last step."""

import time

from activities import ledgers, plan_store
from activities.step import Steps, poll, step
from kafka_runbooks.clients import store
from kafka_runbooks.clients.clusters import ClusterClients
from kafka_runbooks.models.ledger import Ledger
from kafka_runbooks.models.messages import ProofRequest
from kafka_runbooks.models.plans import Plan
from kafka_runbooks.models.results import Check
from kafka_runbooks.safety import exit_contract

PROOF_PATIENCE_SECONDS = 10.0
"""Metadata comes from any broker, and may lag behind what ended a moment ago."""
READY_PATIENCE_SECONDS = 60.0
"""A pod is Ready only after the kubelet's next probe of the agent."""


class ExitContractActivities(Steps):
    """The proof that a runbook is done."""

    @step
    def prove_exit_contract(self, proof: ProofRequest) -> tuple[Check, ...]:
        """Every check of the exit contract, on the cluster as it is now; observed again for as long as one may lag."""
        clients = self._open(proof.step.token.cluster)
        plan = plan_store.load_for(clients.kubernetes, proof.step)
        began = time.monotonic()

        def observe() -> tuple[Check, ...] | None:
            checks = _checks(clients, plan, proof)
            broken = {check.name for check in checks if not check.passed}
            patience = READY_PATIENCE_SECONDS if broken == {exit_contract.ONE_READY_POD} else PROOF_PATIENCE_SECONDS
            return checks if not broken or time.monotonic() - began > patience else None

        return poll(observe, soon=True)


def _checks(clients: ClusterClients, plan: Plan, proof: ProofRequest) -> tuple[Check, ...]:
    snapshot, promises = clients.kafka.snapshot(), plan.promises
    ledger = store.load(clients.kubernetes, ledgers.name_of(proof.step.token.run_id), Ledger)
    rated = [broker for broker in proof.our_rates_bytes_per_s if broker in snapshot.live_broker_ids]
    checks = [exit_contract.replicas_in_sync(snapshot, broker) for broker in promises.in_sync_brokers]
    if promises.exact_assignment and proof.as_planned:
        checks.append(exit_contract.replicas_as_planned(snapshot, plan.planned))
    checks += [
        exit_contract.in_sync_no_worse(snapshot, plan.planned),
        exit_contract.preferred_leaders_lead(snapshot, plan.planned),
        exit_contract.no_reassignment_of_ours(clients.kafka.reassignments(), ledger),
        exit_contract.no_throttle_of_ours(
            ledger,
            plan,
            clients.kafka.throttled_replicas({one.topic for one in plan.planned}),
            clients.kafka.throttle_rates(rated),
            proof.our_rates_bytes_per_s,
        ),
    ]
    checks += [exit_contract.is_empty(snapshot, broker) for broker in promises.empty_brokers]
    if promises.place is not None:
        place, pods = promises.place, clients.kubernetes.broker_pods()
        checks += exit_contract.one_ready_pod(pods, clients.kubernetes.nodes(), place)
        names = next((pod.claims for pod in pods if pod.name == place.pod), tuple(claim.name for claim in place.claims))
        claims = {name: clients.kubernetes.claim(name) for name in names}
        checks.append(exit_contract.claims_are_sound(claims, place, disk_is_lost=promises.on_new_disk))
    return tuple(checks)
