"""Throttle leases: what to set on brokers and topics, and what to remove, so that settings made by others survive.

Kafka throttles replication by two things together (KIP-73): a rate on each broker, and on each topic a list of the
`partition:broker` replicas that count against it. One without the other does nothing. Both are shared: another tool or a
person may have set them before the run, or may change them during it. The rules:

- An external rate, one that someone else set, stays, and the run's traffic obeys it. A run sets a rate only where there is none,
  or where the present one is its own. That holds at every level: a rate for the whole cluster, dynamic or in the brokers' files,
  is obeyed too, although one on the broker would take precedence.
- List entries are added one by one, never `*`; release removes exactly the entries that the run added.
- A setting of the run that has another value now was changed by someone else since, and is left alone.
"""

import math
from collections.abc import Collection, Iterable, Mapping, Sequence

from kafka_runbooks.models.cluster import Direction, Partition, ThrottledReplicas, ThrottleRates, TopicPartition
from kafka_runbooks.models.ledger import EntryLease, RateLease
from kafka_runbooks.models.moves import Copy
from kafka_runbooks.models.throttles import Rate, Rates

EVERY_REPLICA = "*"
NO_RATES = ThrottleRates()


def entries_for(
    moves: Iterable[Copy], live: frozenset[int], beside: Collection[tuple[TopicPartition, int]] = ()
) -> dict[str, EntryLease]:
    """The list entries that throttle exactly these copies.

    Args:
        moves: partitions, each with the brokers that receive its data.
        live: brokers that are up. Every live replica is a source, not only the leader: leadership moves during a copy.
        beside: copies that are left out (`throttle.urgent`). A source's entry holds all that is fetched of its partition, so
            none of that partition is listed; at other destinations their own entries still hold it.

    Returns:
        Topic -> entries, sorted by partition and broker.
    """
    leader: dict[str, set[tuple[int, int]]] = {}
    follower: dict[str, set[tuple[int, int]]] = {}
    unlisted, copied_beside = {name for name, _ in beside}, set(beside)
    for partition, destinations in moves:
        sources = [broker for broker in partition.replicas if broker in live and broker not in destinations]
        if partition.name in unlisted:
            sources = []
        held = [broker for broker in destinations if (partition.name, broker) not in copied_beside]
        leader.setdefault(partition.topic, set()).update((partition.partition, broker) for broker in sources)
        follower.setdefault(partition.topic, set()).update((partition.partition, broker) for broker in held)
    return {topic: EntryLease(leader=_entries(leader[topic]), follower=_entries(follower[topic])) for topic in sorted(leader)}


def catching_up(partitions: Iterable[Partition], brokers: Collection[int]) -> list[Copy]:
    """What brokers copy without a reassignment: every partition on which some of them are not in sync."""
    lagging = (
        Copy(partition, tuple(broker for broker in partition.replicas if broker in brokers and broker not in partition.in_sync))
        for partition in partitions
    )
    return [copy for copy in lagging if copy.destinations]


def with_other_fetchers(moves: Iterable[Copy], live: frozenset[int]) -> list[Copy]:
    """The copies, and what other live brokers catch up of the same partitions.

    A source's entry throttles every replica of the partition that isn't in sync: also one that has just restarted.
    """
    found = []
    for partition, destinations in moves:
        others = (broker for broker in partition.replicas if broker in live and broker not in partition.in_sync)
        found.append(Copy(partition, tuple(dict.fromkeys([*destinations, *others]))))
    return found


def flowing(moves: Iterable[Copy], live: frozenset[int]) -> list[Copy]:
    """The copies whose data can flow: some broker that they arrive on is up."""
    return [copy for copy in moves if live.intersection(copy.destinations)]


def held_by_a_broker_that_is_down(
    moves: Iterable[Copy], live: frozenset[int], expected_down: Collection[int] = ()
) -> dict[tuple[Direction, int], frozenset[int]]:
    """Who takes part in copying partitions of which another broker, which is down, has a replica -> those brokers.

    All others share nothing with it.
    """
    found: dict[tuple[Direction, int], set[int]] = {}
    for partition, destinations in moves:
        copy = [Copy(partition, destinations)]
        down = down_beside(copy, live).difference(expected_down)
        if down:
            for source in sources_of(copy, live):
                found.setdefault((Direction.LEADER, source), set()).update(down)
            for destination in destinations_of(copy, live):
                found.setdefault((Direction.FOLLOWER, destination), set()).update(down)
    return {key: frozenset(down) for key, down in found.items()}


def down_beside(moves: Iterable[Copy], live: frozenset[int]) -> frozenset[int]:
    """Brokers that are down and hold replicas of what is copied: fewer sources are left, and each serves more."""
    return frozenset(
        broker
        for partition, destinations in moves
        for broker in partition.replicas
        if broker not in live and broker not in destinations
    )


def sources_of(moves: Iterable[Copy], live: frozenset[int]) -> tuple[int, ...]:
    """The live brokers that any of this data may come from."""
    return tuple(
        sorted(
            {
                broker
                for partition, arriving in moves
                for broker in partition.replicas
                if broker in live and broker not in arriving
            }
        )
    )


def destinations_of(moves: Iterable[Copy], live: frozenset[int]) -> tuple[int, ...]:
    """The live brokers that receive any of this data."""
    return tuple(sorted({broker for _, arriving in moves for broker in arriving if broker in live}))


def add_entries(observed: ThrottledReplicas, wanted: EntryLease) -> tuple[ThrottledReplicas, EntryLease]:
    """The topic's lists with the wanted entries added, and the added ones: the run's own, not present before.

    A list that is `*` already throttles every replica and is left as it is.
    """
    leader, added_leader = _added(observed.leader, wanted.leader)
    follower, added_follower = _added(observed.follower, wanted.follower)
    return ThrottledReplicas(leader=leader, follower=follower), EntryLease(leader=added_leader, follower=added_follower)


def entries_to_remove(held: Mapping[str, EntryLease], moving: Collection[TopicPartition]) -> dict[str, EntryLease]:
    """The run's entries of partitions that no longer move: topic -> entries.

    While they are in the lists, what in-sync followers of these partitions fetch uses up the rate of those that still move.
    """
    still = {(name.topic, str(name.partition)) for name in moving}

    def done(topic: str, entries: Sequence[str]) -> tuple[str, ...]:
        return tuple(entry for entry in entries if (topic, entry.split(":")[0]) not in still)

    found = {
        topic: EntryLease(leader=done(topic, lease.leader), follower=done(topic, lease.follower)) for topic, lease in held.items()
    }
    return {topic: lease for topic, lease in found.items() if lease.leader or lease.follower}


def entries_beside(held: Mapping[str, EntryLease], beside: Collection[tuple[TopicPartition, int]]) -> dict[str, EntryLease]:
    """The run's entries that hold these copies back: topic -> entries.

    They stay in the ledger while they are out of the lists: whoever puts them back needs no record first.
    """
    unlisted: dict[str, set[str]] = {}
    followers = {(name.topic, f"{name.partition}:{destination}") for name, destination in beside}
    for name, _ in beside:
        unlisted.setdefault(name.topic, set()).add(str(name.partition))
    found = {
        topic: EntryLease(
            leader=tuple(entry for entry in held[topic].leader if entry.split(":")[0] in partitions),
            follower=tuple(entry for entry in held[topic].follower if (topic, entry) in followers),
        )
        for topic, partitions in unlisted.items()
        if topic in held
    }
    return {topic: lease for topic, lease in found.items() if lease.leader or lease.follower}


def holds(held: Mapping[str, EntryLease], name: TopicPartition, source: int, destination: int) -> bool:
    """Whether the run's own entries hold a copy, on both sides: those of others, and `*`, it can't leave out."""
    lease = held.get(name.topic, EntryLease())
    return f"{name.partition}:{source}" in lease.leader and f"{name.partition}:{destination}" in lease.follower


def only_held(wanted: Mapping[str, EntryLease], held: Mapping[str, EntryLease]) -> dict[str, EntryLease]:
    """Those of some entries that the ledger has: they may be set without another record."""
    return {
        topic: EntryLease(
            leader=tuple(entry for entry in lease.leader if entry in held[topic].leader),
            follower=tuple(entry for entry in lease.follower if entry in held[topic].follower),
        )
        for topic, lease in wanted.items()
        if topic in held
    }


def remove_entries(observed: ThrottledReplicas, own: EntryLease) -> ThrottledReplicas:
    """The topic's lists without the run's entries; all others keep their order."""
    return ThrottledReplicas(leader=_removed(observed.leader, own.leader), follower=_removed(observed.follower, own.follower))


def without_entries(held: Mapping[str, EntryLease], gone: Mapping[str, EntryLease]) -> dict[str, EntryLease]:
    """The run's entries less some of them; a topic without any is left out."""
    left = {}
    for topic, lease in held.items():
        removed = gone.get(topic, EntryLease())
        still = EntryLease(
            leader=tuple(entry for entry in lease.leader if entry not in removed.leader),
            follower=tuple(entry for entry in lease.follower if entry not in removed.follower),
        )
        if still.leader or still.follower:
            left[topic] = still
    return left


def rates_to_take(
    observed: Mapping[int, ThrottleRates],
    held: Mapping[int, RateLease],
    wanted: Mapping[int, ThrottleRates] | int,
    *,
    inherited: Mapping[int, ThrottleRates] | None = None,
    lowest_bytes_per_s: int | None = None,
) -> dict[int, RateLease]:
    """The leases that hold every observed broker at the wanted rates; external rates are left out, per direction.

    Args:
        observed: the rates set on each live broker itself.
        held: leases that the run holds already.
        wanted: bytes per second by broker; None in a direction leaves that direction as it is. A number: the leader
            rate of every broker.
        inherited: rates for the whole cluster: the run takes no rate where one is set, and its own are never above it.
        lowest_bytes_per_s: what the run may fall back to without a record.
    """
    leases = {}
    for broker_id, rates in sorted(observed.items()):
        want = ThrottleRates(leader_bytes_per_s=wanted) if isinstance(wanted, int) else wanted.get(broker_id, NO_RATES)
        lease = _take(rates, (inherited or {}).get(broker_id, NO_RATES), held.get(broker_id), want)
        if lease is not None:
            leases[broker_id] = lease.model_copy(update={"lowest_bytes_per_s": lowest_bytes_per_s})
    return leases


def _take(observed: ThrottleRates, inherited: ThrottleRates, held: RateLease | None, want: ThrottleRates) -> RateLease | None:
    directions, changed = [], False
    previous, ours, earlier = {}, {}, {}
    for direction in Direction:
        current, wanted, bound = observed.of(direction), want.of(direction), inherited.of(direction)
        previous[direction] = ours[direction] = current
        if wanted is not None and bound is not None:
            wanted = min(wanted, bound)
        if held is not None and direction in held.directions:
            directions.append(direction)
            previous[direction], ours[direction] = held.previous.of(direction), held.ours.of(direction)
            if wanted is not None and is_unchanged(observed, held, direction):
                ours[direction], changed = wanted, True
                if current in rates_possibly_set(held, direction):
                    earlier[direction] = current
        elif wanted is not None and current is None and bound is None:
            directions.append(direction)
            ours[direction], changed = wanted, True
    if not changed:
        return None
    return RateLease(
        previous=_rates(previous), ours=_rates(ours), earlier=_rates(earlier) if earlier else None, directions=tuple(directions)
    )


def rates_to_set(observed: ThrottleRates, lease: RateLease) -> ThrottleRates:
    """What to set on a broker after taking this lease: the leased directions as wanted, the others as they are."""
    return _rates(
        {
            direction: lease.ours.of(direction)
            if direction in lease.directions and is_unchanged(observed, lease, direction)
            else observed.of(direction)
            for direction in Direction
        }
    )


def is_unchanged(observed: ThrottleRates, lease: RateLease, direction: Direction = Direction.LEADER) -> bool:
    """Whether the rate is the lease's, or the one before it (after a crash between writing the ledger and setting the rate)."""
    return observed.of(direction) in {*rates_possibly_set(lease, direction), lease.previous.of(direction)}


def rates_possibly_set(lease: RateLease, direction: Direction = Direction.LEADER) -> frozenset[int | None]:
    """The rates that the run may have set: the last one, the one before if setting the last failed, and the lowest."""
    ours = lease.ours.of(direction)
    earlier = None if lease.earlier is None else lease.earlier.of(direction)
    return frozenset(ours if rate is None else rate for rate in (ours, earlier, lease.lowest_bytes_per_s))


def lowest_rates(observed: ThrottleRates, lease: RateLease, wanted: ThrottleRates) -> ThrottleRates:
    """What to set on a broker without a record: the lowest where the run's rate should fall, else what is there."""
    lowest = lease.lowest_bytes_per_s

    def of(direction: Direction) -> int | None:
        current, want = observed.of(direction), wanted.of(direction)
        if direction not in lease.directions or current not in rates_possibly_set(lease, direction):
            return current
        is_too_high = lowest is not None and current is not None and want is not None and want < current and lowest < current
        return lowest if is_too_high else current

    return _rates({direction: of(direction) for direction in Direction})


def is_lower(new: ThrottleRates, old: ThrottleRates) -> bool:
    """Whether the new rates let through less, or as much: no rate at all lets through everything."""

    def allows(rates: ThrottleRates, direction: Direction) -> float:
        rate = rates.of(direction)
        return math.inf if rate is None else rate

    return all(allows(new, direction) <= allows(old, direction) for direction in Direction)


def rates_to_restore(observed: Mapping[int, ThrottleRates], held: Mapping[int, RateLease]) -> dict[int, ThrottleRates]:
    """What to set on each observed broker that still has a rate of the run; rates changed by others since are left alone."""
    restored = {}
    for broker_id, lease in sorted(held.items()):
        if broker_id not in observed:
            continue
        rates = observed[broker_id]
        after = _rates(
            {
                direction: lease.previous.of(direction)
                if direction in lease.directions and rates.of(direction) in rates_possibly_set(lease, direction)
                else rates.of(direction)
                for direction in Direction
            }
        )
        if after != rates:
            restored[broker_id] = after
    return restored


def rates_in_force(held: Mapping[int, RateLease]) -> Rates:
    """The rates of the run's leases, to resume from."""

    def leased(direction: Direction) -> dict[int, Rate]:
        rates = {broker: lease.ours.of(direction) for broker, lease in held.items() if direction in lease.directions}
        return {broker: Rate(bytes_per_s=rate, why="in force already") for broker, rate in rates.items() if rate is not None}

    return Rates(leader=leased(Direction.LEADER), follower=leased(Direction.FOLLOWER))


def as_rates(found: Mapping[int, ThrottleRates]) -> Rates:
    """Rates that are on brokers, as the controller has them."""

    def of(direction: Direction) -> dict[int, Rate]:
        rates = {broker: one.of(direction) for broker, one in found.items()}
        return {broker: Rate(bytes_per_s=rate) for broker, rate in rates.items() if rate is not None}

    return Rates(leader=of(Direction.LEADER), follower=of(Direction.FOLLOWER))


def foreign_rates(
    observed: Mapping[int, ThrottleRates], held: Mapping[int, RateLease], direction: Direction = Direction.LEADER
) -> dict[int, int]:
    """Broker -> external rate (bytes per second), set by someone else, that the run's traffic will obey."""
    found = {}
    for broker_id, rates in sorted(observed.items()):
        rate, lease = rates.of(direction), held.get(broker_id)
        is_own = lease is not None and direction in lease.directions and is_unchanged(rates, lease, direction)
        if rate is not None and not is_own:
            found[broker_id] = rate
    return found


def _rates(by_direction: Mapping[Direction, int | None]) -> ThrottleRates:
    return ThrottleRates(
        leader_bytes_per_s=by_direction.get(Direction.LEADER), follower_bytes_per_s=by_direction.get(Direction.FOLLOWER)
    )


def _entries(pairs: set[tuple[int, int]]) -> tuple[str, ...]:
    return tuple(f"{partition}:{broker}" for partition, broker in sorted(pairs))


def _split(text: str) -> list[str]:
    return [entry for entry in (part.strip() for part in text.split(",")) if entry]


def _added(observed: str, wanted: Sequence[str]) -> tuple[str, tuple[str, ...]]:
    present = _split(observed)
    if EVERY_REPLICA in present:
        return observed, ()
    known = set(present)
    added = tuple(entry for entry in wanted if entry not in known)
    return ",".join([*present, *added]), added


def _removed(observed: str, own: Sequence[str]) -> str:
    gone = set(own)
    return ",".join(entry for entry in _split(observed) if entry not in gone)
