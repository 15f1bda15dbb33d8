"""Whether the cluster still fits a plan."""

from kafka_runbooks.models.cluster import ClusterSnapshot
from kafka_runbooks.models.replacement import ReplacementPlan


def drift(plan: ReplacementPlan, snapshot: ClusterSnapshot) -> list[str]:
    """What changed about the broker's partitions since the plan was made, one line each; empty where nothing did.

    A topic that was deleted is no drift: there is less to do. A moved partition that already is where the plan wants it
    isn't either.
    """
    now = {partition.name: partition.replicas for partition in snapshot.partitions}
    planned = {partition.name: partition for partition in plan.partitions}
    changes = [
        f"{name}: replicas are {list(now[name])}, planned from {list(partition.before)}"
        for name, partition in planned.items()
        if name in now and now[name] not in (partition.before, partition.after)
    ]
    changes += [
        f"{partition.name}: new on the broker"
        for partition in snapshot.on_broker(plan.broker_id)
        if partition.name not in planned
    ]
    return changes
