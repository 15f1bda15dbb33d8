"""What leaders were evacuated from where, kept beside the cluster, so that they come back exactly as they were.

The plan of an evacuation grows with the cluster and outlives its run: it is kept as a record of its own, by the brokers that were
evacuated. A second evacuation of the same brokers adds to it; what somebody moved meanwhile is left out on the way back.
"""

import hashlib
from collections.abc import Sequence

from activities.observing import View
from kafka_runbooks.clients import store
from kafka_runbooks.clients.clusters import ClusterClients
from kafka_runbooks.models.moves import MovePlan, by_name
from kafka_runbooks.models.placement import PartitionAssignment, ReassignmentMap
from kafka_runbooks.placement.errors import InvalidRequest

EVACUATION = "evacuation"


def name_of(brokers: Sequence[int]) -> str:
    return f"kafka-runbooks-evacuation-{hashlib.sha256(repr(sorted(brokers)).encode()).hexdigest()[:16]}"


def remember(clients: ClusterClients, brokers: Sequence[int], plan: MovePlan) -> None:
    """Keep the orders of before, ahead of the change."""
    name = name_of(brokers)
    known = store.load(clients.kubernetes, name, MovePlan)
    if known is not None:
        now = {partition.name: partition.replicas for partition in clients.kafka.snapshot().partitions}
        planned = by_name(plan.moves)
        standing = [move for move in known.moves if now.get(move.name) == move.after and move.name not in planned]
        plan = plan.model_copy(update={"moves": (*plan.moves, *standing)})
    store.save(clients.kubernetes, EVACUATION, name, plan, f"{plan.title}: {len(plan.moves)} partitions' order of before")


def way_back(clients: ClusterClients, view: View, brokers: Sequence[int]) -> ReassignmentMap:
    """The orders of before, of what is still as the evacuation left it.

    :raises InvalidRequest: nothing is known of an evacuation of these brokers
    """
    known = store.load(clients.kubernetes, name_of(brokers), MovePlan)
    if known is None:
        raise InvalidRequest(f"brokers: no evacuation of exactly the brokers {sorted(brokers)} is known")
    now = {partition.name: partition.replicas for partition in view.snapshot.partitions}
    return ReassignmentMap(
        partitions=tuple(
            PartitionAssignment(topic=move.topic, partition=move.partition, replicas=move.before)
            for move in known.moves
            if now.get(move.name) == move.after
        )
    )


def forget(clients: ClusterClients, brokers: Sequence[int]) -> None:
    store.remove(clients.kubernetes, name_of(brokers))
