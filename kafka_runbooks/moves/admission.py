"""Which moves fit now: limits per broker and direction, disks that hold both copies, and what ends before a change window closes.

Moves are taken in the plan's order. One that doesn't fit is passed over, but for a partition that must go alone: the brokers that
it waits for take nothing else meanwhile, or small ones would slip in before it for ever.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from kafka_runbooks.models.cluster import ClusterSnapshot, Partition, Reassignment, TopicPartition
from kafka_runbooks.models.inputs import MoveLimits
from kafka_runbooks.models.moves import Move

INSTANT_AT_ONCE = 200
"""Moves that copy nothing and end at once: so many go in one request to the controller."""


@dataclass(frozen=True)
class ChangeWindowState:
    """What the change windows say at one look. In flight goes on when one closes; what can't end before is not started."""

    is_open: bool
    left_bytes: int | None
    """Bytes that can still be copied before it closes, at the rate so far and less what is in flight. None: it doesn't close."""
    why: str
    resumes_when: str


@dataclass(frozen=True)
class Seen:
    """The world at one look."""

    snapshot: ClusterSnapshot
    reassignments: Mapping[TopicPartition, Reassignment] = field(default_factory=dict)
    """Every one in progress, ours or not."""
    ours: Mapping[TopicPartition, tuple[int, ...]] = field(default_factory=dict)
    """What the ledger says we submitted: partition -> its target."""
    dead: frozenset[int] = frozenset()
    """Brokers that have been down for so long that nobody expects them back soon; one that restarts is only not live."""
    headroom_bytes: Mapping[int, int] = field(default_factory=dict)
    """Free bytes of brokers, less what is still to arrive; a broker that isn't here is taken to have enough."""
    change_window: ChangeWindowState | None = None
    """None: moves may start at any time."""


def arriving_on(move: Move, partition: Partition) -> list[int]:
    """Brokers that a move would still copy to."""
    return [broker for broker in move.after if broker not in partition.replicas]


class Load:
    """Moves and bytes on the way, by broker."""

    def __init__(self) -> None:
        self.moves: Counter[int] = Counter()
        self.bytes: Counter[int] = Counter()

    def add(self, broker: int, size_bytes: int) -> None:
        self.moves[broker] += 1
        self.bytes[broker] += size_bytes

    def has_room(self, broker: int, size_bytes: int, most_moves: int, most_bytes: int | None) -> bool:
        """For one more; alone it may have any size."""
        if self.moves[broker] == 0:
            return True
        return self.moves[broker] < most_moves and (most_bytes is None or self.bytes[broker] + size_bytes <= most_bytes)


CLUSTER = -1
TOO_LATE = "it would not end before the change window closes"


def fitting(
    left: list[Move],
    in_flight: list[Move],
    others: list[Move],
    now: Mapping[TopicPartition, Partition],
    live: frozenset[int],
    seen: Seen,
    limits: MoveLimits,
) -> tuple[list[Move], dict[str, list[Move]]]:
    """The moves to start, and those that can't for a reason other than the limits."""
    arriving_load, sending_load, whole = Load(), Load(), Load()

    def count(move: Move, arriving: Iterable[int], leader: int | None) -> None:
        brokers = list(arriving)
        for broker in brokers:
            arriving_load.add(broker, move.size_bytes)
        if brokers:
            whole.add(CLUSTER, move.size_bytes * len(brokers))
            if leader is not None:
                sending_load.add(leader, move.size_bytes * len(brokers))

    for move in in_flight:
        partition = now[move.name]
        late = [broker for broker in seen.reassignments[move.name].adding if broker not in partition.in_sync]
        count(move, late, partition.leader)
    headroom = dict(seen.headroom_bytes)
    left_bytes = None if seen.change_window is None else seen.change_window.left_bytes
    first_batch = min((move.batch for move in (*left, *in_flight, *others)), default=0)
    submit: list[Move] = []
    blocked: dict[str, list[Move]] = {}
    instant = 0
    reserved: set[int] = set()
    """Brokers that wait to be free for a partition that must go alone."""
    for move in left:
        if move.batch > first_batch + 1:
            break
        partition = now[move.name]
        arriving = arriving_on(move, partition)
        if not arriving:
            if instant < INSTANT_AT_ONCE:
                instant += 1
                submit.append(move)
            continue
        leader, sent = partition.leader, move.size_bytes * len(arriving)
        if down := [broker for broker in arriving if broker not in live]:
            blocked.setdefault(f"broker {down[0]} is down", []).append(move)
            continue
        if leader is None:
            blocked.setdefault("it has no leader: there is nothing to copy from", []).append(move)
            continue
        if full := [broker for broker in arriving if headroom.get(broker, move.size_bytes) < move.size_bytes]:
            blocked.setdefault(f"broker {full[0]} has no space for it yet", []).append(move)
            continue
        if left_bytes is not None and sent > left_bytes:
            blocked.setdefault(TOO_LATE, []).append(move)
            continue
        has_room = (
            not reserved & {leader, *arriving}
            and all(
                arriving_load.has_room(broker, move.size_bytes, limits.moves_in_per_broker, limits.bytes_in_per_broker)
                for broker in arriving
            )
            and sending_load.has_room(leader, sent, limits.moves_out_per_broker, limits.bytes_out_per_broker)
            and whole.has_room(CLUSTER, sent, limits.moves_at_once, limits.bytes_at_once)
        )
        if has_room:
            count(move, arriving, leader)
            left_bytes = None if left_bytes is None else left_bytes - sent
            for broker in arriving:
                if broker in headroom:
                    headroom[broker] -= move.size_bytes
            submit.append(move)
        elif limits.bytes_at_once is not None and sent > limits.bytes_at_once:
            break  # It must go alone: nothing may slip in before it for ever.
        elif _is_beyond(move.size_bytes, limits.bytes_in_per_broker) or _is_beyond(sent, limits.bytes_out_per_broker):
            reserved |= {leader, *arriving}
    return submit, blocked


def _is_beyond(size_bytes: int, limit: int | None) -> bool:
    return limit is not None and size_bytes > limit
