"""Drift: what changed about a plan's partitions since the plan was made, so that it no longer fits the cluster.

A deleted topic isn't drift: there is less to do. Nor is one that was made again under its name, for it is another topic. Neither
is a partition that already is where the plan wants it, nor what this run's own reassignments leave behind. Replicas moved by
someone else make the rest of the plan void: it must be planned again, and approved again. Partitions that were added don't: what
was approved is carried out, and they are planned for afterwards.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping

from kafka_runbooks.models.cluster import ClusterSnapshot, TopicPartition
from kafka_runbooks.models.moves import MovePlan
from kafka_runbooks.models.plans import PlannedPartition
from kafka_runbooks.models.replacement import ReplacementPlan


def drift(plan: ReplacementPlan, snapshot: ClusterSnapshot) -> list[str]:
    """Every change to the partitions of the brokers that come back or are replaced; empty where there is none."""
    now = snapshot.by_name
    planned = {partition.name: partition for partition in plan.partitions}
    changed = [
        moved_elsewhere(partition, now[name].replicas)
        for name, partition in planned.items()
        if name in now and now[name].replicas not in (partition.before, partition.after)
    ]
    return [*changed, *_new_on(plan.broker_ids, planned, snapshot)]


def added_partitions(plan: MovePlan, snapshot: ClusterSnapshot) -> list[str]:
    """Partitions that exist only since the plan was made, and that it should have covered: those on brokers that it empties, or
    else those of the topics that it moves."""
    planned = {move.name for move in plan.moves}
    if plan.leaving:
        return list(_new_on(plan.leaving, planned - plan.gone(snapshot), snapshot))
    renewed = snapshot.renewed_topics(plan.topic_ids)
    counts = {topic: len(snapshot.by_topic.get(topic, ())) for topic in plan.partition_counts}
    return [
        f"topic {topic}: {counts[topic]} partitions, {count} when it was planned"
        for topic, count in sorted(plan.partition_counts.items())
        if counts[topic] > count and topic not in renewed
    ]


def is_expected(
    planned: PlannedPartition, replicas: tuple[int, ...], submitted: Mapping[TopicPartition, tuple[int, ...]]
) -> bool:
    """Whether a partition that isn't being reassigned is as it was planned from, or as this run's reassignment left it.

    A cancelled reassignment leaves the replicas of before in another order. One that has just ended may be shown by a broker that
    still knows both sets, because brokers learn of a change only after the controller has answered.

    Args:
        planned: the partition in the plan.
        replicas: those it has now.
        submitted: this run's reassignments, by the ledger.
    """
    if replicas == planned.before:
        return True
    before, after = set(planned.before), set(planned.after)
    return planned.name in submitted and set(replicas) in (before, after, before | after)


def moved_elsewhere(planned: PlannedPartition, replicas: tuple[int, ...]) -> str:
    """The drift of one partition: its replicas now and those it was planned from."""
    return f"{planned.name}: replicas are {list(replicas)}, planned from {list(planned.before)}"


def _new_on(brokers: Iterable[int], planned: Collection[TopicPartition], snapshot: ClusterSnapshot) -> Iterator[str]:
    """Partitions on brokers that the plan empties or refills, which it doesn't know."""
    watched = set(brokers)
    there = {partition for broker in watched for partition in snapshot.on_broker(broker)}
    for partition in sorted(there):
        if partition.name not in planned:
            yield f"{partition.name}: new on broker {min(watched.intersection(partition.replicas))}"
