"""What a plan means while it runs: for disks, for brokers, and if another broker fails as well."""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence

from kafka_runbooks.models.cluster import ClusterSnapshot, TopicPartition
from kafka_runbooks.models.moves import Move, MovePlan
from kafka_runbooks.models.placement import PlacementSummary
from kafka_runbooks.models.plans import BatchWhatIf, BrokerWhatIf
from kafka_runbooks.safety.availability import min_isr_margin, min_isr_of

SHOWN_BROKERS = 50
SHOWN_STATES = 50


def intermediate_states(snapshot: ClusterSnapshot, brokers: Collection[int]) -> tuple[str, ...]:
    """For every other live broker: the partitions that would refuse acks=all writes or have no in-sync copy if it failed too.

    Args:
        snapshot: the cluster now, whether or not `brokers` are still up.
        brokers: those that are down, or are about to be.
    """
    gone = set(brokers)
    live = snapshot.live_broker_ids - gone
    refusing: Counter[int] = Counter()
    offline: Counter[int] = Counter()
    for partition in snapshot.partitions:
        in_sync = [broker for broker in partition.in_sync if broker in live]
        if min_isr_margin(partition, min_isr_of(snapshot, partition.topic), live) == 0:
            refusing.update(in_sync)
        if len(in_sync) == 1 and gone.intersection(partition.replicas):
            offline.update(in_sync)
    return tuple(
        f"if broker {other} fails too: {refusing[other]} more partitions refuse acks=all writes, "
        f"{offline[other]} have no in-sync copy"
        for other in sorted({*refusing, *offline})
    )[:SHOWN_STATES]


def changed_brokers(moves: Sequence[Move]) -> set[int]:
    """Every broker that has a replica of the moves, before or after."""
    return {broker for move in moves for broker in (*move.before, *move.after)}


def sent_bytes(moves: Sequence[Move], leaders: Mapping[TopicPartition, int | None]) -> dict[int, int]:
    """Leader -> bytes that it sends: a new replica fetches from the leader."""
    sent: dict[int, int] = {}
    for move in moves:
        leader = leaders.get(move.name)
        if leader is not None and move.arriving:
            sent[leader] = sent.get(leader, 0) + move.copied_bytes
    return sent


def batches(
    plan: MovePlan, figures: PlacementSummary, leaders: Mapping[TopicPartition, int | None], rate_bytes_per_s: int
) -> list[BatchWhatIf]:
    """Each batch while it runs: both copies exist until the last of its partitions is in sync."""
    used = {broker.id: broker.used_bytes_before for broker in figures.brokers}
    capacity = {broker.id: broker.capacity_bytes for broker in figures.brokers}
    grouped: dict[int, list[Move]] = {}
    for move in plan.moves:
        grouped.setdefault(move.batch, []).append(move)
    found = []
    for _, batch in sorted(grouped.items()):
        for move in batch:
            for broker in move.arriving:
                used[broker] = used.get(broker, 0) + move.size_bytes
        sent = sent_bytes(batch, leaders)
        fullest = max(used, key=lambda broker: (used[broker] / (capacity.get(broker) or 1), -broker), default=None)
        found.append(
            BatchWhatIf(
                partitions=len(batch),
                copied_bytes=sum(move.copied_bytes for move in batch),
                fullest_broker_id=fullest,
                fullest_bytes=used[fullest] if fullest is not None else 0,
                seconds=round(max(sent.values(), default=0) / rate_bytes_per_s, 1),
            )
        )
        for move in batch:
            for broker in move.before:
                if broker not in move.after:
                    used[broker] = used.get(broker, 0) - move.size_bytes
    return found


def brokers(plan: MovePlan, figures: PlacementSummary) -> tuple[BrokerWhatIf, ...]:
    """The brokers that change most, before and after, by id."""
    arriving: dict[int, int] = {}
    for move in plan.moves:
        for broker_id in move.arriving:
            arriving[broker_id] = arriving.get(broker_id, 0) + move.size_bytes
    changed = sorted(
        figures.brokers,
        key=lambda broker: (
            -abs(broker.used_bytes_after - broker.used_bytes_before),
            -abs(broker.leaders_after - broker.leaders_before),
            broker.id,
        ),
    )
    return tuple(
        BrokerWhatIf(
            broker_id=broker.id,
            used_bytes_before=broker.used_bytes_before,
            used_bytes_after=broker.used_bytes_after,
            replicas_before=broker.replicas_before,
            replicas_after=broker.replicas_after,
            leaders_before=broker.leaders_before,
            leaders_after=broker.leaders_after,
            arriving_bytes=arriving.get(broker.id, 0),
        )
        for broker in sorted(changed[:SHOWN_BROKERS], key=lambda broker: broker.id)
    )
