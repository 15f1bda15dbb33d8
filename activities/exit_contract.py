"""The exit contract on the live cluster: what a plan promises, and what every runbook promises, asserted after the last step."""

import time

from activities import ledgers, overrides, plan_store
from activities.in_parallel import for_each
from activities.step import Steps, poll, step
from kafka_runbooks.clients.clusters import ClusterClients
from kafka_runbooks.clients.errors import Refused
from kafka_runbooks.models.messages import ProofRequest
from kafka_runbooks.models.plans import Plan
from kafka_runbooks.models.results import Check
from kafka_runbooks.safety import exit_contract, lost_node

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
        looked_at: list[float] = []

        def observe() -> tuple[Check, ...] | None:
            checks = _checks(clients, plan, proof)
            looked_at.append(time.monotonic())
            broken = {check.name for check in checks if not check.passed}
            patience = (
                READY_PATIENCE_SECONDS
                if broken <= {exit_contract.ONE_READY_POD, exit_contract.MADE_ANEW}
                else PROOF_PATIENCE_SECONDS
            )
            # From the end of the first look: on a large cluster one look takes longer than metadata may lag.
            return checks if not broken or looked_at[-1] - looked_at[0] > patience else None

        return poll(observe, soon=True)


def _checks(clients: ClusterClients, plan: Plan, proof: ProofRequest) -> tuple[Check, ...]:
    snapshot, promises = clients.kafka.snapshot(), plan.promises
    gone = plan.gone(snapshot)
    planned = [partition for partition in plan.planned if partition.name not in gone]
    checks = [exit_contract.replicas_in_sync(snapshot, broker) for broker in promises.in_sync_brokers]
    if promises.exact_assignment and proof.as_planned:
        checks.append(exit_contract.replicas_as_planned(snapshot, planned, gone))
    if (promises.topics or promises.deleted_topics) and proof.as_planned:
        configs = clients.kafka.topic_configs({one.name for one in promises.topics}).own
        checks.append(exit_contract.topics_as_planned(snapshot, configs, promises.topics, promises.deleted_topics))
    checks += [
        exit_contract.in_sync_no_worse(snapshot, planned),
        exit_contract.preferred_leaders_lead(snapshot, planned),
        exit_contract.no_reassignment_of_ours(clients.kafka.reassignments(), plan, is_rollback=proof.step.is_rollback),
        exit_contract.no_throttle_of_ours(plan, _leftovers(clients, plan, proof, snapshot.live_broker_ids), proof.our_rates),
    ]
    checks += [exit_contract.is_empty(snapshot, broker) for broker in promises.empty_brokers]
    checks += [exit_contract.leads_nothing(snapshot, broker) for broker in promises.leaderless_brokers]
    quorum = clients.kafka.metadata_quorum() if promises.without_vote else None
    checks += [exit_contract.has_no_vote(quorum, node) for node in promises.without_vote]
    if promises.restarted_pods and proof.as_planned:
        found = (*clients.kubernetes.broker_pods(), *clients.kubernetes.controller_pods())
        checks.append(exit_contract.made_anew(found, clients.kubernetes.stateful_sets(), promises.restarted_pods))
    if promises.restarted_members and proof.as_planned:
        pods_of_members, sets = clients.kubernetes.ensemble_pods(), clients.kubernetes.ensemble_sets()
        checks.append(exit_contract.made_anew(pods_of_members, sets, promises.restarted_members))
    if promises.restarted_members and clients.zookeeper is not None:
        checks.append(exit_contract.ensemble_in_sync(clients.zookeeper.ensemble()))
    if promises.finalised_features:
        live = snapshot.live_broker_ids
        checks.append(exit_contract.features_finalised(clients.kafka.features(live), live, promises.in_sync_brokers))
    if promises.ended_pods and proof.as_planned:
        found = (*clients.kubernetes.broker_pods(), *clients.kubernetes.controller_pods())
        checks.append(exit_contract.have_ended(found, promises.ended_pods))
    pods, nodes = (clients.kubernetes.broker_pods(), clients.kubernetes.nodes()) if promises.places else ((), ())
    for place in promises.places:
        checks += exit_contract.one_ready_pod(pods, nodes, place)
        names = next((pod.claims for pod in pods if pod.name == place.pod), tuple(claim.name for claim in place.claims))
        claims = {name: clients.kubernetes.claim(name) for name in names}
        # On another machine a claim may be the same, and its disk new: a local volume is bound to the node's name.
        is_elsewhere = lost_node.runs_elsewhere(pods, nodes, place)
        checks.append(exit_contract.claims_are_sound(claims, place, disk_is_lost=promises.on_new_disks and not is_elsewhere))
    return tuple(checks)


def _leftovers(clients: ClusterClients, plan: Plan, proof: ProofRequest, live: frozenset[int]) -> exit_contract.Leftovers:
    """What the cluster says of it, not what the run remembers; a broker that is silent doesn't hide the others."""
    run_id = proof.step.token.run_id
    rates, silent = for_each(proof.our_rates.keys() & live, lambda broker: clients.kafka.throttle_rates([broker])[broker])
    records: list[str] = []
    try:
        ledger = ledgers.load(clients.kubernetes, ledgers.name_of(run_id))
        records += ledger.describe() if ledger is not None else ()
        kept = overrides.load(clients.kubernetes, overrides.name_of(run_id))
        records += [f"throttle override: {override}" for override in kept.overrides] if kept is not None else []
    except Refused as error:
        records.append(str(error))
    return exit_contract.Leftovers(
        lists=clients.kafka.throttled_replicas({one.topic for one in plan.planned}),
        rates=rates,
        silent=tuple(silent),
        cordoned_nodes=tuple(node.name for node in clients.kubernetes.nodes() if run_id in (node.cordoned_by or "")),
        records=tuple(records),
    )
