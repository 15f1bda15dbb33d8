"""The sliding window: from a frozen plan and what is seen now, what to start, what to take back, or why to wait.

Pure, and without memory: each look decides anew from the cluster and the ledger. So a worker may die between any two lines, a
controller failover may lose what was submitted (it is then simply not in flight), and the end is the same. As soon as one move
ends the next one starts; Cruise Control's executor slides likewise. The rules:

- At most so many moves and bytes arrive on, and are sent by, each broker and the cluster (`MoveLimits`). The sender is the
  leader: a new replica fetches from it. A single partition beyond a limit of bytes goes alone.
- Moves start in the order of the plan's batches; the batch after the first unfinished one may begin, no later one.
- Min-ISR guard, on always (Cruise Control's ConcurrencyAdjuster, which ships disabled): a partition below its min.insync.replicas
  with no offline replica stops new moves, one that has shrunk to it halves the limits. Whatever shrank because a broker is down
  doesn't count: it must not stop the very moves that repair it.
- Somebody else's reassignment is waited for, never cancelled. Ours is cancelled where its destination is dead or where it leads
  elsewhere than the plan does.
- What the plan didn't foresee (drift, a dead destination) lets in flight what is in flight, starts nothing, and asks for a new
  plan.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from kafka_runbooks.models.cluster import ClusterSnapshot, Partition, Reassignment, TopicPartition
from kafka_runbooks.models.inputs import MoveLimits
from kafka_runbooks.models.moves import Move, MovePlan
from kafka_runbooks.moves.admission import TOO_LATE, ChangeWindowState, Seen, fitting


@dataclass(frozen=True)
class Hold:
    """Why nothing new starts."""

    reason: str
    resumes_when: str
    blocking: tuple[str, ...] = ()


@dataclass(frozen=True)
class Decision:
    """What to do now. `submit`, `cancel` and `restore` may be done in any order, and again."""

    submit: tuple[Move, ...] = ()
    cancel: tuple[Move, ...] = ()
    """Ours, to be taken back."""
    restore: tuple[Move, ...] = ()
    """Taken back already; their replicas need the order of before (a cancelled reassignment loses it)."""
    in_flight: tuple[Move, ...] = ()
    """Ours, on the way (those to cancel not included)."""
    arrived: frozenset[TopicPartition] = frozenset()
    is_done: bool = False
    drift: tuple[str, ...] = ()
    """What changed about the plan's partitions since it was made."""
    drifted: frozenset[TopicPartition] = frozenset()
    """Partitions of the plan that somebody else has moved meanwhile."""
    lost: tuple[int, ...] = ()
    """Dead destinations."""
    must_replan: bool = False
    """Nothing of ours is on the way any more, and the rest can't be done as planned."""
    hold: Hold | None = None
    limits: MoveLimits = field(default_factory=MoveLimits)
    """Those in force."""


def decide(plan: MovePlan, seen: Seen, limits: MoveLimits) -> Decision:
    """One look's decision."""
    now = {partition.name: partition for partition in seen.snapshot.partitions}
    live = seen.snapshot.live_broker_ids
    left: list[Move] = []
    cancel: list[Move] = []
    restore: list[Move] = []
    in_flight: list[Move] = []
    foreign: list[Move] = []
    arrived: set[TopicPartition] = set()
    drift = list(_grown(plan, seen.snapshot))
    lost: set[int] = set()
    drifted: set[TopicPartition] = set()
    for move in plan.moves:
        partition = now.get(move.name)
        if partition is None:
            continue  # The topic was deleted: there is less to do.
        moving = seen.reassignments.get(move.name)
        if moving is not None:
            if not is_ours(moving, seen.ours):
                foreign.append(move)
            elif set(moving.target) != set(move.after) or seen.dead & set(moving.adding):
                cancel.append(move)
                lost |= seen.dead & set(moving.adding)
            else:
                in_flight.append(move)
        elif partition.replicas == move.after:
            arrived.add(move.name)
        elif not _is_expected(partition.replicas, move, seen.ours):
            drifted.add(move.name)
            drift.append(f"{move.name}: replicas are {list(partition.replicas)}, planned from {list(move.before)}")
        elif dead := seen.dead & set(move.arriving):
            lost |= dead
            if set(partition.replicas) == set(move.before) and partition.replicas != move.before:
                restore.append(move)
        else:
            left.append(move)

    under, at = guard(seen.snapshot, seen.reassignments.values())
    in_force = limits.halved() if at else limits
    needs_plan = bool(drift or lost)
    submit: list[Move] = []
    blocked: dict[str, list[Move]] = {}
    window = seen.change_window
    if not needs_plan and not under and (window is None or window.is_open):
        submit, blocked = fitting(left, in_flight, [*foreign, *cancel], now, live, seen, in_force)
    is_quiet = not (in_flight or cancel or restore)
    return Decision(
        submit=tuple(submit),
        cancel=tuple(cancel),
        restore=tuple(restore),
        in_flight=tuple(in_flight),
        arrived=frozenset(arrived),
        is_done=is_quiet and not (left or foreign or needs_plan),
        drift=tuple(drift),
        drifted=frozenset(drifted),
        lost=tuple(sorted(lost)),
        must_replan=needs_plan and is_quiet and not foreign,
        hold=_why(drift, lost, under, foreign, blocked, len(in_flight) + len(submit), len(left), window),
        limits=in_force,
    )


def is_ours(moving: Reassignment, ours: Mapping[TopicPartition, tuple[int, ...]]) -> bool:
    """Whether a reassignment in progress is the one that we submitted. The same partition on the way elsewhere isn't."""
    return moving.name in ours and set(ours[moving.name]) == set(moving.target)


def guard(snapshot: ClusterSnapshot, reassignments: Iterable[Reassignment]) -> tuple[list[Partition], list[Partition]]:
    """Partitions below, and shrunk to, their min.insync.replicas although every replica's broker is up."""
    adding = {moving.name: set(moving.adding) for moving in reassignments}
    live = snapshot.live_broker_ids
    under, at = [], []
    for partition in snapshot.partitions:
        minimum = snapshot.minimum_in_sync.get(partition.topic, 1)
        standing = [broker for broker in partition.replicas if broker not in adding.get(partition.name, ())]
        missing = [broker for broker in standing if broker not in partition.in_sync]
        if not missing or len(standing) < minimum or any(broker not in live for broker in missing):
            continue
        if len(partition.in_sync) < minimum:
            under.append(partition)
        elif len(partition.in_sync) == minimum:
            at.append(partition)
    return under, at


def _grown(plan: MovePlan, snapshot: ClusterSnapshot) -> Iterable[str]:
    """Partitions that came since the plan was made, where it should have had a say about them."""
    counts = Counter(partition.topic for partition in snapshot.partitions)
    for topic, count in sorted(plan.partition_counts.items()):
        if counts[topic] > count:
            yield f"topic {topic}: {counts[topic]} partitions, {count} when it was planned"
    if plan.leaving:
        planned, leaving = {move.name for move in plan.moves}, set(plan.leaving)
        for partition in snapshot.partitions:
            if partition.name not in planned and leaving & set(partition.replicas):
                yield f"{partition.name}: new on broker {min(leaving & set(partition.replicas))}"


def _is_expected(replicas: tuple[int, ...], move: Move, ours: Mapping[TopicPartition, tuple[int, ...]]) -> bool:
    """As planned from; or one of ours that was taken back, whose order is another until it is restored; or one that has just
    ended, seen by a broker that still knows both sets (brokers learn of a change after the controller has answered).
    """
    if replicas == move.before:
        return True
    before, after = set(move.before), set(move.after)
    return move.name in ours and set(replicas) in (before, after, before | after)


def _why(
    drift: list[str],
    lost: set[int],
    under: list[Partition],
    foreign: list[Move],
    blocked: Mapping[str, list[Move]],
    moving: int,
    left: int,
    window: ChangeWindowState | None,
) -> Hold | None:
    if lost or drift:
        what = (
            f"broker {', '.join(map(str, sorted(lost)))} is dead" if lost else f"the plan no longer fits: {'; '.join(drift[:3])}"
        )
        if not moving and not foreign:
            return Hold(f"{what}; the rest must be planned anew", "a new plan", tuple(drift[:20]))
        return Hold(
            f"{what}: nothing new starts until what is in flight has ended; then the rest is planned anew",
            f"{moving + len(foreign)} moves in flight end",
            tuple(drift[:20]),
        )
    if under and left:
        names = tuple(str(partition.name) for partition in under[:20])
        return Hold(
            f"{len(under)} partitions are below min.insync.replicas although all their brokers are up ({', '.join(names[:5])}): "
            "no new move starts",
            "their replicas are in sync again: look at the brokers' load, or lower the throttle",
            names,
        )
    if window is not None and left and not window.is_open:
        return Hold(f"{window.why}: {left} moves wait, {moving} are in flight and end", window.resumes_when)
    if moving:
        return None
    if window is not None and TOO_LATE in blocked:
        largest = max(blocked[TOO_LATE], key=lambda move: move.copied_bytes)
        return Hold(
            f"{window.why}: none of {left} moves would end before it closes; {largest.name} is {largest.copied_bytes} bytes",
            window.resumes_when,
        )
    if foreign:
        names = tuple(str(move.name) for move in foreign[:20])
        return Hold(
            f"{len(foreign)} of the plan's partitions are being reassigned by somebody else ({', '.join(names[:5])})",
            "their reassignments end, or are cancelled where they were started",
            names,
        )
    for reason, moves in blocked.items():
        names = tuple(str(move.name) for move in moves[:20])
        return Hold(f"{len(moves)} moves can't start ({', '.join(names[:5])}): {reason}", f"no longer: {reason}", names)
    return None
