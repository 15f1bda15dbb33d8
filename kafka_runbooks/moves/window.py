"""The sliding window of moves: from a frozen plan and an observation, what to start, what to cancel, or why to wait.

As soon as one move ends the next one starts, as in Cruise Control's executor. `decide` is pure and has no memory: every poll
recomputes everything from the cluster and the ledger. So a worker may die between any two requests and a controller failover may
lose reassignments (they are then simply not in flight), and the plan still ends the same.

Invariants, which `invariants.check_invariants` asserts of every decision by code of its own:

1. **Ownership.** Nothing is submitted over a reassignment in progress. Only this run's own are cancelled, and only where the
   destination is dead or the target isn't the plan's. One started by someone else is waited for.
2. **Soundness.** Only moves of the plan that are left start: from the replicas that they were planned from, onto live brokers,
   from a leader, once, and none takes a partition's last good replica. A topic that was deleted, or made again under its name,
   is left alone.
3. **Limits.** What starts keeps every broker, as destination and as source (the leader: a new replica fetches from it), and the
   cluster within `MoveLimits`. A move larger than a limit of bytes runs alone.
4. **Disks.** No destination gets more than it has free.
5. **Min ISR.** Nothing starts while a partition with all its brokers up is under its min ISR, but what repairs one that can't
   wait; limits are halved while one is under it, or at it and lags (Cruise Control's ConcurrencyAdjuster, off by default there).
   What a dead broker or a failed log directory shrank doesn't count: it must not stop the moves that repair it.
6. **Batches.** A move starts in the first unfinished batch or the next. One that can't wait starts in any, if its destinations
   have space for it and for everything else that is left to arrive on them: so it leaves nothing before it without space.
7. **Change windows.** Nothing starts in a closed one, nor what can't end before it closes.
8. **Approval.** Nothing starts once the plan has drifted or a destination is dead: the rest must be approved again. What came
   since is planned for at the end.
9. **Honesty.** Done means every partition is where the plan wants it. Idle without being done has a reason.

Ordering rule: a move to give up is cancelled first, then its replicas are put back in order (which cancelling loses), and only
when none of this run's reassignments is in flight is the rest re-planned. Requests of one decision may be sent in any order, in
part, and again.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from kafka_runbooks.models.cluster import ClusterSnapshot, Partition, Reassignment, TopicPartition
from kafka_runbooks.models.inputs import MoveLimits
from kafka_runbooks.models.moves import Move, MovePlan
from kafka_runbooks.models.urgency import Urgency
from kafka_runbooks.moves.admission import TOO_LATE, Admission, Observation, admit
from kafka_runbooks.moves.drift import added_partitions, is_expected, moved_elsewhere
from kafka_runbooks.safety.availability import min_isr_margin, min_isr_of
from kafka_runbooks.safety.urgency import urgency


@dataclass(frozen=True)
class Hold:
    """Why nothing new starts."""

    reason: str
    resumes_when: str
    blocking: tuple[str, ...] = ()


@dataclass(frozen=True)
class WindowDecision:
    """What to do now."""

    submit: tuple[Move, ...] = ()
    cancel: tuple[Move, ...] = ()
    """This run's reassignments to take back."""
    restore: tuple[Move, ...] = ()
    """Cancelled before: their replicas need the order that they were planned from."""
    in_flight: tuple[Move, ...] = ()
    """This run's, without those to cancel."""
    arrived: frozenset[TopicPartition] = frozenset()
    is_done: bool = False
    gone: frozenset[TopicPartition] = frozenset()
    """Partitions of the plan that don't exist any more, or whose topic is another one under the same name: left alone."""
    drift: tuple[str, ...] = ()
    """What changed about the plan's partitions since it was made."""
    added: tuple[str, ...] = ()
    """Partitions that the plan should have covered and doesn't know: they are planned for once it is carried out."""
    drifted: frozenset[TopicPartition] = frozenset()
    """Partitions of the plan that someone else has moved."""
    lost: tuple[int, ...] = ()
    """Dead destinations."""
    must_replan: bool = False
    """None of this run's reassignments is in flight any more, and the rest can't be done as planned."""
    hold: Hold | None = None
    limits: MoveLimits = field(default_factory=MoveLimits)
    """Those in force."""


@dataclass
class _Moves:
    """The plan's moves by where they stand."""

    left: list[Move] = field(default_factory=list)
    urgent: dict[TopicPartition, Urgency] = field(default_factory=dict)
    """Partitions of those that are left which can't wait for their copy."""
    in_flight: list[Move] = field(default_factory=list)
    external: list[Move] = field(default_factory=list)
    """Their partitions are being reassigned by someone else."""
    cancel: list[Move] = field(default_factory=list)
    restore: list[Move] = field(default_factory=list)
    arrived: set[TopicPartition] = field(default_factory=set)
    gone: frozenset[TopicPartition] = frozenset()
    added: list[str] = field(default_factory=list)
    drift: list[str] = field(default_factory=list)
    drifted: set[TopicPartition] = field(default_factory=set)
    lost: set[int] = field(default_factory=set)

    @property
    def needs_plan(self) -> bool:
        return bool(self.drift or self.lost)

    @property
    def is_carried_out(self) -> bool:
        """Nothing of the plan is left, in flight, or has to be taken back."""
        return self.is_quiet and not (self.left or self.external or self.needs_plan)

    @property
    def is_quiet(self) -> bool:
        """None of this run's reassignments is in flight or has to be taken back."""
        return not (self.in_flight or self.cancel or self.restore)


def decide(plan: MovePlan, observation: Observation, limits: MoveLimits) -> WindowDecision:
    """The decision for one observation; the module says by which rules."""
    moves = _classify(plan, observation)
    under, at = guard(observation.snapshot, observation.reassignments.values())
    in_force = limits.halved() if at or under else limits
    window = observation.change_window
    admission = Admission([], {})
    if not moves.needs_plan and (window is None or window.is_open):
        others = [*moves.external, *moves.cancel]
        admission = admit(
            moves.left, moves.in_flight, others, observation, in_force, urgent=moves.urgent, only_repairs=bool(under)
        )
    return WindowDecision(
        submit=tuple(admission.admitted),
        cancel=tuple(moves.cancel),
        restore=tuple(moves.restore),
        in_flight=tuple(moves.in_flight),
        arrived=frozenset(moves.arrived),
        gone=moves.gone,
        is_done=moves.is_carried_out and not moves.added,
        drift=tuple(moves.drift),
        added=tuple(moves.added),
        drifted=frozenset(moves.drifted),
        lost=tuple(sorted(moves.lost)),
        must_replan=(moves.needs_plan and moves.is_quiet and not moves.external) or (moves.is_carried_out and bool(moves.added)),
        hold=_why_held(moves, admission, under, observation),
        limits=in_force,
    )


def _classify(plan: MovePlan, observation: Observation) -> _Moves:
    found = _Moves(added=added_partitions(plan, observation.snapshot), gone=plan.gone(observation.snapshot))
    for move in plan.moves:
        reassignment = observation.reassignments.get(move.name)
        if move.name in found.gone:
            # Submitted as the topic was deleted, it may have hit the one that was made again under its name.
            if reassignment is not None and is_own(reassignment, observation.submitted):
                found.cancel.append(move)
            continue
        partition = observation.partitions[move.name]
        if reassignment is not None:
            if not is_own(reassignment, observation.submitted):
                found.external.append(move)
            elif set(reassignment.target) != set(move.after) or observation.dead & set(reassignment.adding):
                found.cancel.append(move)
                found.lost |= observation.dead & set(reassignment.adding)
            else:
                found.in_flight.append(move)
        elif partition.replicas == move.after:
            found.arrived.add(move.name)
        elif not is_expected(move, partition.replicas, observation.submitted):
            found.drifted.add(move.name)
            found.drift.append(moved_elsewhere(move, partition.replicas))
        elif dead := observation.dead & set(move.arriving):
            found.lost |= dead
            if set(partition.replicas) == set(move.before) and partition.replicas != move.before:
                found.restore.append(move)
        else:
            found.left.append(move)
            if partition.lags or len(partition.replicas) == 1:
                minimum = min_isr_of(observation.snapshot, move.topic)
                copies = max(len(partition.replicas), len(move.after))
                how = urgency(partition, minimum, observation.snapshot.live_broker_ids, copies)
                if how is not Urgency.NONE and not set(partition.replicas).issuperset(move.after):
                    found.urgent[move.name] = how
    return found


def is_own(reassignment: Reassignment, submitted: Mapping[TopicPartition, tuple[int, ...]]) -> bool:
    """Whether this run submitted a reassignment in progress. One of the same partition to other brokers is someone else's."""
    return reassignment.name in submitted and set(submitted[reassignment.name]) == set(reassignment.target)


def guard(snapshot: ClusterSnapshot, reassignments: Iterable[Reassignment]) -> tuple[list[Partition], list[Partition]]:
    """Partitions under, and lagging at, their min ISR although every replica's broker is up.

    Replicas that a reassignment is adding are not expected to be in sync yet and don't count as lagging. A replica on a log
    directory that failed doesn't lag either: like a dead broker's it is broken, and must not stop the moves that repair it.
    """
    adding = {reassignment.name: set(reassignment.adding) for reassignment in reassignments}
    live = snapshot.live_broker_ids
    under, at = [], []
    for partition in snapshot.lagging:
        standing = tuple(broker for broker in partition.replicas if broker not in adding.get(partition.name, ()))
        broken = not live.issuperset(standing) or set(standing).intersection(partition.offline)
        if not broken and not set(standing).issubset(partition.in_sync):
            settled = partition._replace(replicas=standing)
            margin = min_isr_margin(settled, min_isr_of(snapshot, partition.topic), live)
            if margin < 0:
                under.append(partition)
            elif margin == 0:
                at.append(partition)
    return under, at


def _why_held(moves: _Moves, admission: Admission, under: list[Partition], observation: Observation) -> Hold | None:
    if moves.needs_plan:
        return _why_replanned(moves)
    if moves.is_carried_out and moves.added:
        names = tuple(moves.added[:20])
        return Hold(f"what came since the plan was made is planned for: {'; '.join(names[:3])}", "a new plan", names)
    left, window = len(moves.left), observation.change_window
    if under and left:
        names = tuple(str(partition.name) for partition in under[:20])
        only = "no new move starts" if not moves.urgent else "only moves start that repair partitions which can't wait"
        return Hold(
            f"{len(under)} partitions are below min.insync.replicas although all their brokers are up ({', '.join(names[:5])}): "
            f"{only}",
            "their replicas are in sync again: check the brokers' load, or lower the throttle",
            names,
        )
    if window is not None and left and not window.is_open:
        return Hold(f"{window.reason}: {left} moves wait, the {len(moves.in_flight)} in flight go on", window.resumes_when)
    if moves.in_flight or admission.admitted:
        return None
    if window is not None and TOO_LATE in admission.blocked:
        largest = max(admission.blocked[TOO_LATE], key=lambda move: move.copied_bytes)
        return Hold(
            f"{window.reason}: none of {left} moves would end before it closes; {largest.name} is {largest.copied_bytes} bytes",
            window.resumes_when,
        )
    if moves.external:
        names = tuple(str(move.name) for move in moves.external[:20])
        return Hold(
            f"{len(moves.external)} of the plan's partitions are being reassigned by someone else ({', '.join(names[:5])})",
            "their reassignments end, or are cancelled where they were started",
            names,
        )
    for reason, blocked in admission.blocked.items():
        names = tuple(str(move.name) for move in blocked[:20])
        return Hold(f"{len(blocked)} moves can't start ({', '.join(names[:5])}): {reason}", f"no longer: {reason}", names)
    return None


def _why_replanned(moves: _Moves) -> Hold:
    if moves.lost:
        cause = f"broker {', '.join(map(str, sorted(moves.lost)))} is dead"
    else:
        cause = f"the plan no longer fits the cluster: {'; '.join(moves.drift[:3])}"
    unfinished = len(moves.in_flight) + len(moves.cancel) + len(moves.external)
    if not unfinished:
        return Hold(f"{cause}; the rest must be re-planned", "a new plan", tuple(moves.drift[:20]))
    return Hold(
        f"{cause}: nothing new starts until the moves in flight have ended; then the rest is re-planned",
        f"{unfinished} moves in flight end",
        tuple(moves.drift[:20]),
    )
