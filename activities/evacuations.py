"""Which leaders were evacuated from where, kept beside the cluster, so that they return exactly as they were.

The plan of an evacuation grows with the cluster and outlives its run: it is kept as a record of its own, by the brokers that were
evacuated. A second evacuation of the same brokers adds to it; partitions that others have moved since are left out when the
leaders return.
"""

import hashlib
from collections.abc import Sequence

from kafka_runbooks.clients import store
from kafka_runbooks.clients.clusters import ClusterClients
from kafka_runbooks.models.moves import MovePlan


def name_of(brokers: Sequence[int]) -> str:
    return f"kafka-runbooks-evacuation-{hashlib.sha256(repr(sorted(brokers)).encode()).hexdigest()[:16]}"


def remember(clients: ClusterClients, brokers: Sequence[int], plan: MovePlan) -> None:
    """Store the previous replica orders, before they are changed."""
    known = recall(clients, brokers)
    if known is not None:
        snapshot = clients.kafka.snapshot()
        now = {partition.name: partition.replicas for partition in snapshot.partitions}
        left_out = {move.name for move in plan.moves} | known.gone(snapshot)
        standing = [move for move in known.moves if now.get(move.name) == move.after and move.name not in left_out]
        topic_ids = {**known.topic_ids, **plan.topic_ids}
        plan = plan.model_copy(update={"moves": (*plan.moves, *standing), "topic_ids": topic_ids})
    summary = f"{plan.title}: {len(plan.moves)} partitions' order of before"
    store.save(clients.kubernetes, store.EVACUATION, name_of(brokers), plan, summary)


def recall(clients: ClusterClients, brokers: Sequence[int]) -> MovePlan | None:
    """The evacuation of exactly these brokers; None where none is known."""
    return store.load(clients.kubernetes, name_of(brokers), MovePlan)


def forget(clients: ClusterClients, brokers: Sequence[int]) -> None:
    store.remove(clients.kubernetes, name_of(brokers))
