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
    """What planners promise, and an assignment that an operator brings may break: each for a person to acknowledge."""
    racks = {broker: rack or f"(broker {broker})" for broker, rack in snapshot.racks.items()}
    fewer = [move for move in plan.moves if len(move.after) < len(move.before)]
    apart = [move for move in plan.moves if _racks(move.after, racks) < min(_racks(move.before, racks), len(move.after))]
    # A rack that is lost is said already.
    uneven = [
        move for move in plan.moves if move not in apart and _unevenness(move.after, racks) > _unevenness(move.before, racks)
    ]
    yield from _each_topic("fewer-replicas", fewer, "it would have fewer replicas than now", "give as many replicas as now")
    yield from _each_topic("fewer-racks", apart, "its replicas would span fewer racks than now", "spread them over racks")
    yield from _each_topic(
        "uneven-racks", uneven, "one rack would hold more of its replicas than others, more so than now", "spread them over racks"
    )
    yield from _mixed_replication_factor(plan, snapshot)


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


def _unevenness(brokers: Sequence[int], racks: Mapping[int, str]) -> int:
    """How many more replicas the fullest rack holds than the emptiest of those that hold any."""
    shares = Counter(racks.get(broker, f"(broker {broker})") for broker in brokers).values()
    return max(shares, default=0) - min(shares, default=0)


def _racks(brokers: Sequence[int], racks: Mapping[int, str]) -> int:
    return len({racks.get(broker, f"(broker {broker})") for broker in brokers})
