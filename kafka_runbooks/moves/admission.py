"""Admission: which of the moves that are left may start now.

A move is admitted if its destinations and its source are below their limits, if the disks hold both copies, and if it ends before
the change window closes. Moves are taken in the plan's order, and one that doesn't fit is passed over. The exception is a move
larger than a limit, which runs alone: the brokers that it needs take nothing else until it has started, or smaller moves would
keep it waiting for ever.

Moves of partitions that can't wait (`safety.urgency`) come before all others, whatever their batch, and their brokers take
nothing else until they have started.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from kafka_runbooks.models.cluster import ClusterSnapshot, Partition, Reassignment, TopicPartition
from kafka_runbooks.models.inputs import MoveLimits
from kafka_runbooks.models.moves import Move
from kafka_runbooks.models.urgency import Urgency
from kafka_runbooks.safety.urgency import is_repaired_by_moving

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


def admit(
    left: list[Move],
    in_flight: list[Move],
    others: list[Move],
    observation: Observation,
    limits: MoveLimits,
    *,
    urgent: Mapping[TopicPartition, Urgency] | None = None,
    only_repairs: bool = False,
) -> Admission:
    """Choose the moves to start.

    Args:
        left: moves that have not started, in the plan's order.
        in_flight: this run's moves in progress.
        others: moves that are neither, but not done: their batches count as unfinished.
        observation: the cluster now.
        limits: those in force.
        urgent: partitions of those that are left which can't wait.
        only_repairs: of these, only what repairs them may start, and nothing else.
    """
    capacity = _Capacity(observation, limits)
    for move in in_flight:
        partition = observation.partitions[move.name]
        adding = observation.reassignments[move.name].adding
        capacity.add(move, [broker for broker in adding if broker not in partition.in_sync], partition.leader)
    last_batch = 1 + min((move.batch for move in (*left, *in_flight, *others)), default=0)
    admission = Admission([], {})
    first = _urgent_first(left, urgent or {}, last_batch, observation, only_repairs=only_repairs)
    held_back = []
    for move in first:
        if not _admit_one(move, observation, capacity, admission):
            held_back.append(move)
    for move in held_back:
        partition = observation.partitions[move.name]
        arriving = _arriving(move, partition)
        if not capacity.cluster_has_room(move, arriving):
            return admission
        capacity.reserve_brokers(arriving, partition.leader)
    if only_repairs:
        return admission
    instant, taken = 0, {move.name for move in first}
    for move in left:
        if move.batch > last_batch:
            break
        if taken and move.name in taken:
            continue
        partition = observation.partitions[move.name]
        arriving = _arriving(move, partition)
        if not arriving and instant >= INSTANT_AT_ONCE:
            continue
        if _admit_one(move, observation, capacity, admission):
            instant += not arriving
        elif _is_beyond(move.size_bytes * len(arriving), limits.bytes_at_once):
            break  # It runs alone in the cluster: nothing may start before it.
        elif _is_beyond(move.size_bytes, limits.bytes_in_per_broker) or _is_beyond(
            move.size_bytes * len(arriving), limits.bytes_out_per_broker
        ):
            capacity.reserve_brokers(arriving, partition.leader)
    return admission


def _admit_one(move: Move, observation: Observation, capacity: "_Capacity", admission: Admission) -> bool:
    """Admit a move, or note why it is blocked; False where only the limits keep it from starting."""
    partition = observation.partitions[move.name]
    arriving = _arriving(move, partition)
    if move.name in observation.refused:
        admission.blocked.setdefault(f"the controller refuses it ({observation.refused[move.name]})", []).append(move)
    elif not arriving and not leaves_a_good_replica(move, partition, observation.snapshot.live_broker_ids):
        admission.blocked.setdefault("no live in-sync replica would be left of it", []).append(move)
    elif not arriving:
        admission.admitted.append(move)
    elif reason := capacity.why_blocked(move, arriving, partition.leader):
        admission.blocked.setdefault(reason, []).append(move)
    elif capacity.has_room(move, arriving, partition.leader):
        capacity.add(move, arriving, partition.leader)
        capacity.reserve_bytes(move, arriving)
        admission.admitted.append(move)
    else:
        return False
    return True


def _urgent_first(
    left: list[Move],
    urgent: Mapping[TopicPartition, Urgency],
    last_batch: int,
    observation: Observation,
    *,
    only_repairs: bool,
) -> list[Move]:
    """The moves that come before all others, the most urgent first; of a later batch only those that leave the rest its space."""
    if not urgent:
        return []
    live = observation.snapshot.live_broker_ids
    found = [move for move in left if move.name in urgent]
    if only_repairs:
        found = [move for move in found if is_repaired_by_moving(observation.partitions[move.name], live)]
    if any(move.batch > last_batch for move in found):
        owed: Counter[int] = Counter()
        for move in left:
            for broker in _arriving(move, observation.partitions[move.name]):
                owed[broker] += move.size_bytes
        tight = {broker for broker, free in observation.headroom_bytes.items() if owed[broker] > free}
        found = [move for move in found if move.batch <= last_batch or tight.isdisjoint(move.arriving)]
    return sorted(found, key=lambda move: urgent[move.name])


def _arriving(move: Move, partition: Partition) -> list[int]:
    return [broker for broker in move.after if broker not in partition.replicas]


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
            return f"broker {full[0]} has no space for it yet, or none below max_utilisation"
        if self._left_bytes is not None and move.size_bytes * len(arriving) > self._left_bytes:
            return TOO_LATE
        return None

    def has_room(self, move: Move, arriving: list[int], leader: int | None) -> bool:
        """Whether the limits allow a move that isn't blocked."""
        limits, sent = self._limits, move.size_bytes * len(arriving)
        return (
            leader is not None
            and self.cluster_has_room(move, arriving)
            and not self._reserved.intersection([leader, *arriving])
            and all(
                self._arriving.has_room(broker, move.size_bytes, limits.moves_in_per_broker, limits.bytes_in_per_broker)
                for broker in arriving
            )
            and self._sending.has_room(leader, sent, limits.moves_out_per_broker, limits.bytes_out_per_broker)
        )

    def cluster_has_room(self, move: Move, arriving: list[int]) -> bool:
        limits, sent = self._limits, move.size_bytes * len(arriving)
        return self._cluster.has_room(_CLUSTER, sent, limits.moves_at_once, limits.bytes_at_once)

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
