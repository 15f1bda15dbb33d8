"""Admission: which of the moves that are left may start now.

A move is admitted if its destinations and its source are below their limits, if the disks hold both copies, and if it ends before
the change window closes. Moves are taken in the plan's order, and one that doesn't fit is passed over. The exception is a move
larger than a limit, which runs alone: the brokers that it needs take nothing else until it has started, or smaller moves would
keep it waiting for ever.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from kafka_runbooks.models.cluster import ClusterSnapshot, Partition, Reassignment, TopicPartition
from kafka_runbooks.models.inputs import MoveLimits
from kafka_runbooks.models.moves import Move

INSTANT_AT_ONCE = 200
"""Moves that copy nothing and end at once: how many of them go into one request to the controller."""

TOO_LATE = "it would not end before the change window closes"


@dataclass(frozen=True)
class ChangeWindowState:
    """The change window at one time. Moves in flight go on when it closes; one that can't end before is not started."""

    is_open: bool
    left_bytes: int | None
    """Bytes that can still be copied before it closes, at the current rate and less what is in flight. None: it doesn't close."""
    reason: str
    resumes_when: str


@dataclass(frozen=True)
class Observation:
    """The cluster at one time, with what the decision needs besides: reassignments, the ledger, disks, the change window."""

    snapshot: ClusterSnapshot
    reassignments: Mapping[TopicPartition, Reassignment] = field(default_factory=dict)
    """Every one in progress, whoever started it."""
    submitted: Mapping[TopicPartition, tuple[int, ...]] = field(default_factory=dict)
    """This run's own by the ledger, which is written before a request is sent: partition -> its target."""
    dead: frozenset[int] = frozenset()
    """Brokers that have been down too long to be waited for. One that restarts is not live, but not dead either."""
    headroom_bytes: Mapping[int, int] = field(default_factory=dict)
    """Free bytes of brokers, less what is still to arrive. A broker that isn't listed is assumed to have enough."""
    change_window: ChangeWindowState | None = None
    """None: moves may start at any time."""
    refused: Mapping[TopicPartition, str] = field(default_factory=dict)
    """Partitions whose reassignment the controller refused a short while ago -> its reason. They are not asked for now."""

    @property
    def partitions(self) -> Mapping[TopicPartition, Partition]:
        return self.snapshot.by_name


class Admission(NamedTuple):
    """The moves to start, and those held back by something other than the limits: reason -> moves."""

    admitted: list[Move]
    blocked: dict[str, list[Move]]


def admit(left: list[Move], in_flight: list[Move], others: list[Move], observation: Observation, limits: MoveLimits) -> Admission:
    """Choose the moves to start.

    Args:
        left: moves that have not started, in the plan's order.
        in_flight: this run's moves in progress.
        others: moves that are neither, but not done: their batches count as unfinished.
        observation: the cluster now.
        limits: those in force.
    """
    capacity = _Capacity(observation, limits)
    for move in in_flight:
        partition = observation.partitions[move.name]
        adding = observation.reassignments[move.name].adding
        capacity.add(move, [broker for broker in adding if broker not in partition.in_sync], partition.leader)
    first_batch = min((move.batch for move in (*left, *in_flight, *others)), default=0)
    admission = Admission([], {})
    instant = 0
    for move in left:
        if move.batch > first_batch + 1:
            break
        partition = observation.partitions[move.name]
        arriving = [broker for broker in move.after if broker not in partition.replicas]
        if move.name in observation.refused:
            admission.blocked.setdefault(f"the controller refuses it ({observation.refused[move.name]})", []).append(move)
        elif not arriving and not leaves_a_good_replica(move, partition, observation.snapshot.live_broker_ids):
            admission.blocked.setdefault("no live in-sync replica would be left of it", []).append(move)
        elif not arriving:
            if instant < INSTANT_AT_ONCE:
                instant += 1
                admission.admitted.append(move)
        elif reason := capacity.why_blocked(move, arriving, partition.leader):
            admission.blocked.setdefault(reason, []).append(move)
        elif capacity.has_room(move, arriving, partition.leader):
            capacity.add(move, arriving, partition.leader)
            capacity.reserve_bytes(move, arriving)
            admission.admitted.append(move)
        elif _is_beyond(move.size_bytes * len(arriving), limits.bytes_at_once):
            break  # It runs alone in the cluster: nothing may start before it.
        elif _is_beyond(move.size_bytes, limits.bytes_in_per_broker) or _is_beyond(
            move.size_bytes * len(arriving), limits.bytes_out_per_broker
        ):
            capacity.reserve_brokers(arriving, partition.leader)
    return admission


def leaves_a_good_replica(move: Move, partition: Partition, live: Collection[int]) -> bool:
    """Whether a move that copies nothing keeps a replica with the data: Kafka lets the last in-sync one be removed."""
    if set(move.after) == set(partition.replicas):
        return True
    return any(broker in live and broker in partition.in_sync for broker in move.after)


class _Load:
    """Moves and bytes in flight, by broker."""

    def __init__(self) -> None:
        self.moves: Counter[int] = Counter()
        self.bytes: Counter[int] = Counter()

    def add(self, broker: int, size_bytes: int) -> None:
        self.moves[broker] += 1
        self.bytes[broker] += size_bytes

    def has_room(self, broker: int, size_bytes: int, most_moves: int, most_bytes: int | None) -> bool:
        """For one more. The only one may have any size."""
        if self.moves[broker] == 0:
            return True
        return self.moves[broker] < most_moves and (most_bytes is None or self.bytes[broker] + size_bytes <= most_bytes)


_CLUSTER = -1


class _Capacity:
    """What destinations, sources, the cluster, disks and the change window still take."""

    def __init__(self, observation: Observation, limits: MoveLimits) -> None:
        self._limits = limits
        self._live = observation.snapshot.live_broker_ids
        self._arriving, self._sending, self._cluster = _Load(), _Load(), _Load()
        self._headroom = dict(observation.headroom_bytes)
        self._left_bytes = None if observation.change_window is None else observation.change_window.left_bytes
        self._reserved: set[int] = set()
        """Brokers kept free for a move that runs alone."""

    def why_blocked(self, move: Move, arriving: list[int], leader: int | None) -> str | None:
        """What keeps a move from starting whatever the limits are."""
        if down := [broker for broker in arriving if broker not in self._live]:
            return f"broker {down[0]} is down"
        if leader is None:
            return "it has no leader: there is nothing to copy from"
        if full := [broker for broker in arriving if self._headroom.get(broker, move.size_bytes) < move.size_bytes]:
            return f"broker {full[0]} has no space for it yet"
        if self._left_bytes is not None and move.size_bytes * len(arriving) > self._left_bytes:
            return TOO_LATE
        return None

    def has_room(self, move: Move, arriving: list[int], leader: int | None) -> bool:
        """Whether the limits allow a move that isn't blocked."""
        limits, sent = self._limits, move.size_bytes * len(arriving)
        return (
            leader is not None
            and not self._reserved.intersection([leader, *arriving])
            and all(
                self._arriving.has_room(broker, move.size_bytes, limits.moves_in_per_broker, limits.bytes_in_per_broker)
                for broker in arriving
            )
            and self._sending.has_room(leader, sent, limits.moves_out_per_broker, limits.bytes_out_per_broker)
            and self._cluster.has_room(_CLUSTER, sent, limits.moves_at_once, limits.bytes_at_once)
        )

    def add(self, move: Move, arriving: list[int], leader: int | None) -> None:
        """Count a move against the limits."""
        for broker in arriving:
            self._arriving.add(broker, move.size_bytes)
        if arriving:
            self._cluster.add(_CLUSTER, move.size_bytes * len(arriving))
            if leader is not None:
                self._sending.add(leader, move.size_bytes * len(arriving))

    def reserve_bytes(self, move: Move, arriving: list[int]) -> None:
        """Count a move that starts now against the disks and the change window."""
        if self._left_bytes is not None:
            self._left_bytes -= move.size_bytes * len(arriving)
        for broker in arriving:
            if broker in self._headroom:
                self._headroom[broker] -= move.size_bytes

    def reserve_brokers(self, arriving: Iterable[int], leader: int | None) -> None:
        """Keep a move's brokers free until it can run alone."""
        self._reserved.update(arriving)
        if leader is not None:
            self._reserved.add(leader)


def _is_beyond(size_bytes: int, limit: int | None) -> bool:
    return limit is not None and size_bytes > limit
