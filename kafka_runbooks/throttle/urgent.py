"""Urgent data first: which copies are left out of the throttled replica lists, so that no rate holds them.

A partition that refuses writes is an outage, and one that hangs by a single copy is close to a loss; a rate for what can wait
must not prolong either. Kafka throttles only the replicas that are listed (`ReplicationQuotaManager.isThrottled`, asked on both
sides for every fetch), so an urgent copy is left out: the partition's leader entries and the follower entry of one destination,
that which lacks least. It is enough to end the emergency; then the partition goes back, and with it its other copies.

What isn't listed can't be held to a rate, only chosen. So each broker has a *budget of bytes* for each direction: what may be
copied beside its lists until the next look. It comes from a budget of bytes per second, and so bounds the average:

- At most the room that the broker's capacity leaves, by the same measured headroom as for rates, less what the rest needs. The
  throttle's ceiling doesn't bound it: that is for what can wait.
- It begins at an eighth of the room and doubles at each look at which request times were in bounds and it was used: within four
  looks it is known whether clients feel it.
- As soon as request times are out of bounds, or aren't known, it is nothing: every urgent copy goes back into the lists, where
  the rate falls as usual. It begins anew, at an eighth, once a minute has passed without that.
- While nothing new is known, what is left out stays so, and nothing more is.

The first copy may be of any size, or a large partition would be held for ever. It is one partition, of which a follower fetches
`replica.fetch.max.bytes` (1 MB) at a time.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

from kafka_runbooks.models.cluster import TopicPartition
from kafka_runbooks.models.throttles import Budget
from kafka_runbooks.models.urgency import Urgency
from kafka_runbooks.throttle.feasibility import Copying
from kafka_runbooks.throttle.latency_guard import Latency

START_SHARE = 0.125
"""Of the room, to begin with."""
GROWTH = 2
PAUSE = timedelta(minutes=1)
"""After request times were out of bounds. A large copy that slows clients down does so for a tenth of the time at most."""


class Beside(NamedTuple):
    """A copy that is left out of the lists."""

    name: TopicPartition
    destination: int


class Candidate(NamedTuple):
    """An urgent copy that could be left out of the lists."""

    name: TopicPartition
    urgency: Urgency
    source: int
    destination: int
    left_bytes: int
    """What the destination lacks."""
    sent_bytes: int
    """What the source would send of this partition without a throttle: to brokers that no list of the run holds too."""

    @property
    def beside(self) -> Beside:
        return Beside(self.name, self.destination)


def budget(before: Budget, room_bytes_per_s: float | None, latency: Latency, *, is_used: bool, at: datetime) -> Budget:
    """The next budget of one broker in one direction.

    Args:
        before: the one before.
        room_bytes_per_s: what its capacity leaves beside clients, other replication, and the rate; None: not known.
        latency: its request times against their limits.
        is_used: whether copies were left out of its lists since the last look.
        at: the time of this look.
    """
    if latency is Latency.SLOW:
        return Budget(slow_at=at)
    is_paused = before.slow_at is not None and abs(at - before.slow_at) < PAUSE
    if latency is Latency.UNKNOWN or room_bytes_per_s is None or room_bytes_per_s <= 0 or is_paused:
        return Budget(slow_at=before.slow_at)
    if latency is Latency.UNSURE:
        return before.model_copy(update={"bytes_per_s": int(min(room_bytes_per_s, before.bytes_per_s)), "may_grow": False})
    grown = max(room_bytes_per_s * START_SHARE, before.bytes_per_s * (GROWTH if is_used else 1))
    return Budget(bytes_per_s=int(min(room_bytes_per_s, grown)), may_grow=True, slow_at=before.slow_at)


def candidates(
    copying: Iterable[Copying],
    own: Mapping[TopicPartition, Collection[int]],
    urgency: Mapping[TopicPartition, Urgency],
    live: Collection[int],
    already: Collection[Beside] = (),
) -> tuple[Candidate, ...]:
    """One copy of each urgent partition: the one that is left out already, else the one that lacks least.

    Args:
        copying: what is copied, to any broker.
        own: the destinations that the run's lists hold; data also goes to others of `copying`.
        urgency: of the urgent partitions.
        live: brokers that are up.
        already: the copies that are left out now.
    """
    found = []
    for one in copying:
        how = urgency.get(one.name, Urgency.NONE)
        if how is Urgency.NONE:
            continue
        left = {broker: size for broker, size in one.left_bytes.items() if broker in live}
        held = own.get(one.name, ())
        mine = [broker for broker in left if broker in held]
        if not mine:
            continue
        chosen = min(mine, key=lambda broker: (Beside(one.name, broker) not in already, left[broker], broker))
        beside = sum(size for broker, size in left.items() if broker not in held)
        found.append(Candidate(one.name, how, one.leader, chosen, left[chosen], left[chosen] + beside))
    return tuple(found)


def choose(
    wanted: Iterable[Candidate],
    out_of: Mapping[int, Budget],
    into: Mapping[int, Budget],
    seconds: float,
    already: Collection[Beside] = (),
) -> tuple[Candidate, ...]:
    """The copies to leave out of the lists until the next look, within each source's and each destination's budget.

    Those that refuse writes come first, then what is left out already, then what lacks least: it ends soonest.

    Args:
        wanted: one candidate for each urgent partition.
        out_of: by source. A broker without a budget gets nothing.
        into: by destination.
        seconds: until the next look.
        already: the copies that are left out now. They stay while the budgets cover them.
    """
    sent: Counter[int] = Counter()
    received: Counter[int] = Counter()
    chosen: list[Candidate] = []

    def order(one: Candidate) -> tuple[Urgency, bool, int, TopicPartition]:
        return one.urgency, one.beside not in already, one.left_bytes, one.name

    for one in sorted(wanted, key=order):
        sends, receives = out_of.get(one.source, Budget()), into.get(one.destination, Budget())
        may_be = sends.bytes_per_s > 0 and receives.bytes_per_s > 0
        if one.beside not in already:
            may_be = may_be and sends.may_grow and receives.may_grow
        # The first one of a broker may have any size.
        fits_out = one.source not in sent or sent[one.source] + one.sent_bytes <= sends.bytes_per_s * seconds
        fits_in = one.destination not in received or received[one.destination] + one.left_bytes <= receives.bytes_per_s * seconds
        if may_be and fits_out and fits_in:
            sent[one.source] += one.sent_bytes
            received[one.destination] += one.left_bytes
            chosen.append(one)
    return tuple(chosen)


def describe(urgency: Mapping[TopicPartition, Urgency], chosen: Collection[Candidate], why_held: Sequence[str] = ()) -> str:
    """`3 partitions refuse writes: copied first, not throttled`; empty where nothing is urgent.

    Args:
        urgency: of the urgent partitions among what is copied.
        chosen: the copies that are left out of the lists.
        why_held: why the others are not.
    """
    counts = Counter(urgency.values())
    refusing, hanging = counts[Urgency.REFUSES_WRITES], counts[Urgency.ONE_COPY]
    parts = []
    if refusing:
        parts.append(f"{_partitions(refusing)} {'refuses' if refusing == 1 else 'refuse'} writes")
    if hanging:
        parts.append(f"{hanging if parts else _partitions(hanging)} {'hangs' if hanging == 1 else 'hang'} by one in-sync copy")
    if not parts:
        return ""
    why = f" ({', '.join(dict.fromkeys(why_held))})" if why_held else ""
    if len(chosen) >= refusing + hanging:
        return f"{', '.join(parts)}: copied first, not throttled"
    if chosen:
        return f"{', '.join(parts)}: copied first, {len(chosen)} of them not throttled now{why}"
    return f"{', '.join(parts)}: throttled like the rest{why}"


def _partitions(count: int) -> str:
    return f"{count} partition{'' if count == 1 else 's'}"
