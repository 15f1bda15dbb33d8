"""Throttle leases: what to set on brokers and topics, and what to take back, so that what others set survives.

Kafka throttles replication by two things together (KIP-73): a rate on each broker, and on each topic a list of the
`partition:broker` replicas that count against it. One without the other does nothing. Both are shared: another tool or a
person may have set them before us, or change them under us. The rules here:

- A rate that somebody else set stays; our traffic obeys it. We set a rate only where there is none or where it is ours.
- List entries are added one by one, never `*`; on release exactly those that we added go.
- What was ours but reads differently now has been taken over by somebody: it is theirs, and we leave it.
"""

from collections.abc import Iterable, Mapping, Sequence

from kafka_runbooks.models.cluster import Partition, ThrottledReplicas, ThrottleRates
from kafka_runbooks.models.ledger import EntryLease, RateLease

EVERY_REPLICA = "*"
NO_RATES = ThrottleRates()


def entries_for(moves: Iterable[tuple[Partition, Sequence[int]]], live: frozenset[int]) -> dict[str, EntryLease]:
    """The list entries that throttle exactly this copying.

    Args:
        moves: partitions, each with the brokers that its data arrives on.
        live: brokers that are up. Every live replica is a source, not only the leader: leadership moves during a copy.

    Returns:
        Topic -> entries, sorted by partition and broker.
    """
    leader: dict[str, set[tuple[int, int]]] = {}
    follower: dict[str, set[tuple[int, int]]] = {}
    for partition, destinations in moves:
        sources = [broker for broker in partition.replicas if broker in live and broker not in destinations]
        leader.setdefault(partition.topic, set()).update((partition.partition, broker) for broker in sources)
        follower.setdefault(partition.topic, set()).update((partition.partition, broker) for broker in destinations)
    return {topic: EntryLease(leader=_entries(leader[topic]), follower=_entries(follower[topic])) for topic in sorted(leader)}


def sources_of(moves: Iterable[tuple[Partition, Sequence[int]]], live: frozenset[int]) -> tuple[int, ...]:
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


def add_entries(observed: ThrottledReplicas, wanted: EntryLease) -> tuple[ThrottledReplicas, EntryLease]:
    """The topic's lists with our entries added, and which of them are really ours (not there before).

    A list that is `*` already throttles every replica and is left as it is.
    """
    leader, our_leader = _added(observed.leader, wanted.leader)
    follower, our_follower = _added(observed.follower, wanted.follower)
    return ThrottledReplicas(leader=leader, follower=follower), EntryLease(leader=our_leader, follower=our_follower)


def remove_entries(observed: ThrottledReplicas, ours: EntryLease) -> ThrottledReplicas:
    """The topic's lists without our entries; everything else keeps its order."""
    return ThrottledReplicas(leader=_removed(observed.leader, ours.leader), follower=_removed(observed.follower, ours.follower))


def rates_to_take(
    observed: Mapping[int, ThrottleRates], held: Mapping[int, RateLease], rate_bytes_per_s: int
) -> dict[int, RateLease]:
    """The leases with which every observed broker sends at most `rate_bytes_per_s`; foreign rates are left out.

    Args:
        observed: the rates set on each live source itself.
        held: leases that we hold already.
    """
    leases = {}
    for broker_id, rates in sorted(observed.items()):
        lease = held.get(broker_id)
        if lease is None and rates.leader_bytes_per_s is not None:
            continue
        if lease is not None and not still_ours(rates, lease):
            continue
        previous = lease.previous if lease else rates
        ours = ThrottleRates(leader_bytes_per_s=rate_bytes_per_s, follower_bytes_per_s=rates.follower_bytes_per_s)
        is_set_by_us = lease is not None and rates.leader_bytes_per_s in our_rates(lease)
        leases[broker_id] = RateLease(previous=previous, ours=ours, earlier=rates if is_set_by_us else None)
    return leases


def still_ours(observed: ThrottleRates, lease: RateLease) -> bool:
    """Whether the leader rate is as we set it, or as it was before (a crash came between writing ahead and setting)."""
    return observed.leader_bytes_per_s in {*our_rates(lease), lease.previous.leader_bytes_per_s}


def our_rates(lease: RateLease) -> frozenset[int | None]:
    """The leader rates that are on the broker if we set them: the last one, and the one before where setting it failed."""
    earlier = lease.earlier.leader_bytes_per_s if lease.earlier is not None else lease.ours.leader_bytes_per_s
    return frozenset({lease.ours.leader_bytes_per_s, earlier})


def rates_to_give_back(observed: Mapping[int, ThrottleRates], held: Mapping[int, RateLease]) -> dict[int, ThrottleRates]:
    """What to set on each observed broker that still has the rate we set; brokers that somebody took over are left out."""
    return {
        broker_id: ThrottleRates(
            leader_bytes_per_s=lease.previous.leader_bytes_per_s, follower_bytes_per_s=observed[broker_id].follower_bytes_per_s
        )
        for broker_id, lease in sorted(held.items())
        if broker_id in observed
        and observed[broker_id].leader_bytes_per_s in our_rates(lease)
        and observed[broker_id].leader_bytes_per_s != lease.previous.leader_bytes_per_s
    }


def foreign_rates(observed: Mapping[int, ThrottleRates], held: Mapping[int, RateLease]) -> dict[int, int]:
    """Broker -> leader rate (bytes per second) that somebody else set and that our traffic will obey."""
    return {
        broker_id: rates.leader_bytes_per_s
        for broker_id, rates in sorted(observed.items())
        if rates.leader_bytes_per_s is not None and (broker_id not in held or not still_ours(rates, held[broker_id]))
    }


def _entries(pairs: set[tuple[int, int]]) -> tuple[str, ...]:
    return tuple(f"{partition}:{broker}" for partition, broker in sorted(pairs))


def _split(text: str) -> list[str]:
    return [entry for entry in (part.strip() for part in text.split(",")) if entry]


def _added(observed: str, wanted: Sequence[str]) -> tuple[str, tuple[str, ...]]:
    present = _split(observed)
    if EVERY_REPLICA in present:
        return observed, ()
    known = set(present)
    ours = tuple(entry for entry in wanted if entry not in known)
    return ",".join([*present, *ours]), ours


def _removed(observed: str, ours: Sequence[str]) -> str:
    gone = set(ours)
    return ",".join(entry for entry in _split(observed) if entry not in gone)
