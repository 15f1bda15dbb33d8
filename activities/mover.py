"""One attempt at a plan of moves: look, decide by the pure window (`placement.window`), act, tell how far it is.

It remembers nothing that matters: each reassignment is written into the ledger before it is submitted, its list entries and rates
are set before data can flow, and whoever comes after a crash, a pause or a controller failover looks at the cluster and at the
ledger and goes on.
"""

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from temporalio.exceptions import ApplicationError

from activities import ledgers
from activities.catch_up import brokers_down
from activities.permits import ensure_held
from activities.step import Link, Reporter
from activities.throttle import Throttling
from kafka_runbooks.clients.clusters import ClusterClients
from kafka_runbooks.models.cluster import ClusterSnapshot, Partition, Reassignment, Replica, ReplicaSizes, TopicPartition
from kafka_runbooks.models.ledger import Ledger, OwnedReassignment
from kafka_runbooks.models.messages import MoveStep
from kafka_runbooks.models.moves import Move, MovePlan
from kafka_runbooks.models.status import Progress
from kafka_runbooks.moves import change_windows
from kafka_runbooks.moves.admission import ChangeWindowState, Seen
from kafka_runbooks.moves.progress import Pace
from kafka_runbooks.moves.window import Decision, decide

DEAD_SECONDS = 60.0
"""A destination that is away for so long, with its node or its pod, is given up."""
RESTART_SECONDS = 900.0
"""One whose pod is on a Ready node restarts: it recovers its logs, and is waited for so much longer."""
SETTLED_LOOKS = 3
"""On the way back, a broker with old metadata shows a partition where it was before it began to move, as if it had arrived. That
is believed if it is told so often in turn."""
STILL_SECONDS = 60.0
"""No byte arrives for so long although moves are in flight: that is said."""


class Mover:
    """One attempt at a plan."""

    def __init__(self, clients: ClusterClients, link: Link, step: MoveStep, plan: MovePlan) -> None:
        self._clients = clients
        self._link = link
        self._step = step
        self._plan = plan
        self._throttling = Throttling(clients, link, step.token, step.throttle)
        self._reporter = Reporter(link, step.token)
        self._pace = Pace()
        self._eta = EtaError()
        self._down_since: dict[int, float] = {}
        self._arrived_looks: Counter[TopicPartition] = Counter()

    def look(self) -> tuple[Decision, Progress]:
        """Look, decide, act."""
        kafka = self._clients.kafka
        # Reassignments first: one that ends between the two looks is then seen as ended, not as lost.
        moving = {move.name: move for move in kafka.reassignments()}
        snapshot = kafka.snapshot()
        ledger = ledgers.read(self._clients.kubernetes, self._step.token)
        ours = {owned.name: owned.after for owned in ledger.reassignments}
        destinations = {broker for move in self._plan.moves for broker in move.arriving} & snapshot.live_broker_ids
        sizes = kafka.replica_sizes(sorted(destinations)) if destinations else ReplicaSizes(size_bytes={})
        window = None if self._step.is_rollback else self._change_window(ours, moving, sizes)
        seen = Seen(snapshot, moving, ours, self._dead(snapshot), headroom(self._plan, moving, sizes), window)
        decision = decide(self._plan, seen, self._step.limits)
        if self._step.is_rollback and decision.drifted:
            # What somebody else moved meanwhile is theirs: the way back leaves it, and the exit contract names it.
            self._plan = self._plan.without(decision.drifted)
            decision = decide(self._plan, seen, self._step.limits)
        self._arrived_looks = Counter({name: self._arrived_looks[name] + 1 for name in decision.arrived})
        self._act(decision, ledger, snapshot, moving)
        return decision, self._report(decision, snapshot, moving, sizes)

    def _change_window(
        self,
        ours: Mapping[TopicPartition, tuple[int, ...]],
        moving: Mapping[TopicPartition, Reassignment],
        sizes: ReplicaSizes,
    ) -> ChangeWindowState | None:
        """What the windows say, and how much can still be copied before they close. An abort with rollback waits for none."""
        if not self._step.change_windows:
            return None
        now = datetime.now(UTC)
        opening = change_windows.look(self._step.change_windows, now)
        unblocks = f"it opens{f' at {opening.opens_at:%a %H:%M} UTC' if opening.opens_at else ''}, or an abort"
        if opening.closes_at is None or not opening.is_open:
            return ChangeWindowState(opening.is_open, None, opening.why, unblocks)
        rate = self._pace.bytes_per_s or self._throttling.rate_bytes_per_s
        in_flight = sum(
            move.copied_bytes - arrived_bytes(move, moving, sizes)
            for move in self._plan.moves
            if move.name in moving and move.name in ours
        )
        left = int(rate * (opening.closes_at - now).total_seconds()) - in_flight
        return ChangeWindowState(True, max(0, left), opening.why, unblocks)

    def _dead(self, snapshot: ClusterSnapshot) -> frozenset[int]:
        """Brokers that have been away from look to look for so long that nobody expects them back soon."""
        if self._step.is_replacement:
            return frozenset()
        down, now = brokers_down(snapshot), time.monotonic()
        down |= {broker for move in self._plan.moves for broker in move.arriving} - snapshot.live_broker_ids
        self._down_since = {broker: self._down_since.get(broker, now) for broker in down}
        away = {broker: now - since for broker, since in self._down_since.items() if now - since >= DEAD_SECONDS}
        restarting = self._on_ready_nodes() if away else frozenset()
        return frozenset(broker for broker, seconds in away.items() if broker not in restarting or seconds >= RESTART_SECONDS)

    def _on_ready_nodes(self) -> frozenset[int]:
        """Brokers whose pods are where a kubelet can start them again."""
        ready = {node.name for node in self._clients.kubernetes.nodes() if node.is_ready}
        pods = self._clients.kubernetes.broker_pods()
        return frozenset(
            pod.broker_id for pod in pods if pod.broker_id is not None and pod.node in ready and not pod.is_terminating
        )

    def _settled(self, arrived: frozenset[TopicPartition]) -> set[TopicPartition]:
        """Those that can be struck out of the ledger: what is not in it any more and elsewhere, somebody else has moved."""
        return {name for name in arrived if not self._step.is_rollback or self._arrived_looks[name] >= SETTLED_LOOKS}

    def _act(
        self,
        decision: Decision,
        ledger: Ledger,
        snapshot: ClusterSnapshot,
        moving: Mapping[TopicPartition, Reassignment],
    ) -> None:
        """Throttle what moves and what will, then submit. Every change is written ahead and may be broken off."""
        partitions = {partition.name: partition for partition in snapshot.partitions}
        copying = copies([*decision.in_flight, *decision.submit], partitions)
        if decision.submit:
            ensure_held(self._link, self._step.token)
            owned = [
                OwnedReassignment(topic=move.topic, partition=move.partition, before=move.before, after=move.after)
                for move in decision.submit
            ]
            names = {move.name for move in owned} | self._settled(decision.arrived)
            kept = [move for move in ledger.reassignments if move.name not in names]
            reassignments = tuple(sorted([*kept, *owned], key=lambda move: move.name))
            ledgers.write(self._clients.kubernetes, ledger.model_copy(update={"reassignments": reassignments}))
        if copying:
            held = bool(brokers_down(snapshot) - set(self._plan.leaving))
            self._throttling.look(copying, snapshot.live_broker_ids, hold_at_floor=held, partitions=snapshot.partitions)
        if decision.submit and copying:
            # The adapting look is due only now and then; what starts now is throttled now.
            written = ledgers.read(self._clients.kubernetes, self._step.token)
            ledgers.throttle(
                self._clients.kafka,
                self._clients.kubernetes,
                written,
                copying,
                snapshot.live_broker_ids,
                self._throttling.wanted(copying, snapshot.live_broker_ids),
            )
        targets: dict[TopicPartition, Sequence[int] | None] = dict.fromkeys((move.name for move in decision.cancel), None)
        targets.update({move.name: move.before for move in decision.restore})
        targets.update({move.name: move.after for move in decision.submit})
        if not targets:
            return
        ensure_held(self._link, self._step.token)
        refused = self._clients.kafka.alter_reassignments(targets)
        try:
            ensure_held(self._link, self._step.token)
        except ApplicationError:
            # Fenced off between asking and submitting: whoever cleared our ledger may have looked before this arrived.
            self._clients.kafka.alter_reassignments(dict.fromkeys((move.name for move in decision.submit), None))
            self._clients.kafka.alter_reassignments({move.name: partitions[move.name].replicas for move in decision.submit})
            raise
        # A topic that was deleted just now is less to do; the next look sees it.
        refused = {name: why for name, why in refused.items() if "UnknownTopic" not in why}
        if refused:
            name, why = next(iter(sorted(refused.items())))
            raise ApplicationError(f"{len(refused)} reassignments were refused: {name}: {why}", type="ReassignmentRefused")

    def _report(
        self,
        decision: Decision,
        snapshot: ClusterSnapshot,
        moving: Mapping[TopicPartition, Reassignment],
        sizes: ReplicaSizes,
    ) -> Progress:
        gone = {move.name for move in self._plan.moves} - {partition.name for partition in snapshot.partitions}
        done = sum(
            move.copied_bytes if move.name in decision.arrived or move.name in gone else arrived_bytes(move, moving, sizes)
            for move in self._plan.moves
        )
        now = time.monotonic()
        self._pace.look(now, done + len(decision.arrived))
        left = self._plan.total_bytes - done
        eta = self._pace.seconds_left(left)
        waiting = None
        if decision.hold is not None:
            waiting = self._reporter.waiting(decision.hold.reason, decision.hold.resumes_when, decision.hold.blocking)
        elif decision.in_flight and self._pace.still_for_seconds(now) > STILL_SECONDS:
            names = tuple(str(move.name) for move in decision.in_flight[:20])
            waiting = self._reporter.waiting(
                f"nothing arrived for {self._pace.still_for_seconds(now):.0f} s: {', '.join(names[:5])}",
                "their destinations fetch again: look at the brokers' logs, network and disks",
                names,
            )
        note = f"{len(decision.in_flight) + len(decision.submit)} in flight; throttle: {self._throttling.why}"
        if decision.limits != self._step.limits:
            note += "; limits halved: a partition is at its min.insync.replicas"
        progress = Progress(
            done_bytes=done,
            total_bytes=self._plan.total_bytes,
            done_partitions=len(decision.arrived) + len(gone),
            total_partitions=len(self._plan.moves),
            rate_bytes_per_s=self._pace.bytes_per_s,
            eta_seconds=eta,
            throttle_bytes_per_s=self._throttling.rate_bytes_per_s,
            highest_throttle_bytes_per_s=self._throttling.highest_bytes_per_s,
            waiting=waiting,
            note=note + self._eta.look(now, eta),
        )
        self._reporter.report(progress)
        return progress


class EtaError:
    """How far off the time left was that was told first: a figure that is known to err by half is read otherwise."""

    def __init__(self) -> None:
        self._told: tuple[float, float] | None = None

    def look(self, at_seconds: float, eta_seconds: float | None) -> str:
        """In words: `; first said 120 s, now 150 s in all (+25 %)`; empty where nothing was told yet."""
        if eta_seconds is None:
            return ""
        if self._told is None:
            if eta_seconds > 0:
                self._told = (at_seconds, eta_seconds)
            return ""
        began, first = self._told
        total = at_seconds - began + eta_seconds
        return f"; first said {first:.0f} s, now {total:.0f} s in all ({(total - first) / first:+.0%})"


def copies(moves: Sequence[Move], partitions: Mapping[TopicPartition, Partition]) -> list[tuple[Partition, Sequence[int]]]:
    """Partitions with the brokers that their data arrives on; those that copy nothing are left out."""
    found: list[tuple[Partition, Sequence[int]]] = []
    for move in moves:
        partition = partitions[move.name]
        arriving = [broker for broker in move.after if broker not in move.before]
        late = [broker for broker in arriving if broker not in partition.in_sync]
        if late:
            found.append((partition, tuple(late)))
    return found


def arrived_bytes(move: Move, moving: Mapping[TopicPartition, Reassignment], sizes: ReplicaSizes) -> int:
    """Bytes of a move that are on its destinations; 0 where it isn't in flight."""
    if move.name not in moving:
        return 0
    return sum(
        min(move.size_bytes, sizes.size_bytes.get(Replica(move.topic, move.partition, broker), 0)) for broker in move.arriving
    )


def headroom(plan: MovePlan, moving: Mapping[TopicPartition, Reassignment], sizes: ReplicaSizes) -> dict[int, int]:
    """Free bytes of the destinations that tell them, less what is on its way there and has not arrived."""
    free = dict(sizes.usable_bytes)
    for move in plan.moves:
        if move.name in moving:
            for broker in move.arriving:
                if broker in free:
                    there = sizes.size_bytes.get(Replica(move.topic, move.partition, broker), 0)
                    free[broker] -= max(0, move.size_bytes - there)
    return free
