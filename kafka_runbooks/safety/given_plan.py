"""An assignment that an operator brings, taken at its word: what planners promise and it may break, for a person to acknowledge.

Pure: from the assignment and the observed cluster to reasons, one for each rule and topic.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence

from kafka_runbooks.models.cluster import ClusterSnapshot, TopicPartition
from kafka_runbooks.models.moves import Move, MovePlan
from kafka_runbooks.models.results import Reason
from kafka_runbooks.safety.availability import by_topic, listed


def taken_at_its_word(plan: MovePlan, snapshot: ClusterSnapshot) -> Iterator[Reason]:
    """What an operator's assignment would do to replication factors: planners keep them, or are asked for another one."""
    fewer = [move for move in plan.moves if len(move.after) < len(move.before)]
    yield from _each_topic("fewer-replicas", fewer, "it would have fewer replicas than now", "give as many replicas as now")
    yield from _mixed_replication_factor(plan, snapshot)


def less_spread(plan: MovePlan, snapshot: ClusterSnapshot) -> Iterator[Reason]:
    """Sets that would span fewer racks, or lie less evenly on them.

    A replica whose rack isn't known counts for none: it is on a broker that is down, on a cluster that doesn't tell of those.
    """
    racks = {broker: rack or f"(broker {broker})" for broker, rack in snapshot.racks.items()}
    apart, uneven = [], []
    for move in plan.moves:
        before, after = _shares(move.before, racks), _shares(move.after, racks)
        if len(after) < min(len(before), len(move.after)):
            apart.append(move)
        elif _unevenness(after) > max(1, _unevenness(before)):
            uneven.append(move)
    yield from _each_topic("fewer-racks", apart, "its replicas would span fewer racks than now", "spread them over racks")
    yield from _each_topic(
        "uneven-racks", uneven, "its replicas would lie less evenly on racks than now", "spread them over racks"
    )


def _mixed_replication_factor(plan: MovePlan, snapshot: ClusterSnapshot) -> Iterator[Reason]:
    """Topics whose partitions have one number of replicas now, and would not."""
    after = {move.name: len(move.after) for move in plan.moves}
    factors: dict[str, tuple[set[int], set[int]]] = {topic: (set(), set()) for topic in {move.topic for move in plan.moves}}
    for partition in snapshot.partitions:
        if partition.topic in factors:
            now, then = factors[partition.topic]
            now.add(len(partition.replicas))
            then.add(after.get(partition.name, len(partition.replicas)))
    for topic, (now, then) in sorted(factors.items()):
        if len(then) > max(1, len(now)):
            yield Reason(
                name=f"mixed-replication-factor:{topic}",
                message=f"topic {topic}: its partitions would have {', '.join(map(str, sorted(then)))} replicas",
                remedy="give every partition of it the same number, or acknowledge with acknowledged_risks "
                f'["mixed-replication-factor:{topic}"]',
                can_be_acknowledged=True,
            )


def leaves_its_map(
    moves: Iterable[tuple[TopicPartition, Sequence[int], Sequence[int]]], map_of: Mapping[int, str]
) -> list[Reason]:
    """Partitions (name, replicas before, after) that an assignment leads onto brokers of a map where they have no replica."""
    found: dict[str, tuple[list[int], set[str]]] = {}
    for name, before, after in moves:
        here = {map_of[broker] for broker in before if broker in map_of}
        there = {map_of[broker] for broker in after if broker in map_of} - here
        if here and there:
            numbers, maps = found.setdefault(name.topic, ([], set()))
            numbers.append(name.partition)
            maps.update(there)
    return [
        Reason(
            name=f"another-map:{topic}",
            message=f"topic {topic}, partition {listed(sorted(numbers))}: replicas would be on brokers of map "
            f"{', '.join(sorted(maps))}, which has none of it",
            remedy=f'keep it on its map\'s brokers, or acknowledge with acknowledged_risks ["another-map:{topic}"]',
            can_be_acknowledged=True,
        )
        for topic, (numbers, maps) in sorted(found.items())
    ]


def _each_topic(name: str, moves: Sequence[Move], what: str, remedy: str) -> Iterator[Reason]:
    for topic, numbers in by_topic(moves).items():
        yield Reason(
            name=f"{name}:{topic}",
            message=f"topic {topic}, partition {listed(numbers)}: {what}",
            remedy=f'{remedy}, or acknowledge with acknowledged_risks ["{name}:{topic}"]',
            can_be_acknowledged=True,
        )


def _shares(brokers: Sequence[int], racks: Mapping[int, str]) -> Counter[str]:
    """How many of the replicas each rack holds."""
    return Counter(racks[broker] for broker in brokers if broker in racks)


def _unevenness(shares: Counter[str]) -> int:
    """How many more replicas the fullest rack holds than the emptiest of those that hold any."""
    return max(shares.values(), default=0) - min(shares.values(), default=0)
