"""One attempt at a plan of moves: observe, decide by the pure window (`moves.window`), act, report progress.

It keeps no essential state: each reassignment is written into the ledger before it is submitted, its list entries and rates
are set before data can flow, and the attempt after a crash, a pause or a controller failover resumes from the observed state of
the cluster and the ledger.
"""

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from activities import ledgers
from activities.errors import PermitLost, PlannerDefect, ReassignmentRefused
from activities.permits import Fence, ensure_held
from activities.step import Link, Reporter
from activities.throttle import Throttling
from kafka_runbooks.clients.clusters import ClusterClients
from kafka_runbooks.models.cluster import ClusterSnapshot, Reassignment, ReplicaSizes, TopicPartition
from kafka_runbooks.models.ledger import Ledger, OwnedReassignment
from kafka_runbooks.models.messages import StepRequest
from kafka_runbooks.models.moves import MovePlan
from kafka_runbooks.models.status import Progress
from kafka_runbooks.moves import change_windows
from kafka_runbooks.moves.admission import ChangeWindowState, Observation
from kafka_runbooks.moves.invariants import MoveInvariantBroken, check_invariants
from kafka_runbooks.moves.progress import EtaError, Pace, arrived_bytes, copies, headroom
from kafka_runbooks.moves.window import WindowDecision, decide

DEAD_SECONDS = 60.0
"""A destination that is down for this long, together with its node or its pod, is given up."""
RESTART_SECONDS = 900.0
"""The same for one whose pod is on a Ready node: it is restarting, and may have to recover its logs."""
SETTLED_POLLS = 3
"""In a rollback, stale metadata shows a partition where it was before it began to move, as if it had arrived. An arrival counts
only if it is observed this often in a row."""
STILL_SECONDS = 60.0
"""No arriving byte for this long, although moves are in flight, is reported."""


class Mover:
    """One attempt at a plan."""

    def __init__(self, clients: ClusterClients, link: Link, request: StepRequest, plan: MovePlan) -> None:
        self._clients = clients
        self._link = link
        self._request = request
        self._plan = plan
        self._throttling = Throttling(clients, link, request.token, plan.throttle)
        self._reporter = Reporter.current()
        self._pace = Pace()
        self._eta = EtaError()
        self._down_since: dict[int, float] = {}
        self._arrived_polls: Counter[TopicPartition] = Counter()

    def advance(self) -> tuple[WindowDecision, Progress]:
        """Observe, decide, act and report, once."""
        kafka = self._clients.kafka
        # Reassignments first: one that ends between the two calls is then observed as ended, not as lost.
        moving = {move.name: move for move in kafka.reassignments()}
        snapshot = kafka.snapshot()
        ledger = ledgers.read(self._clients.kubernetes, self._request.token)
        ours = {owned.name: owned.after for owned in ledger.reassignments}
        destinations = {broker for move in self._plan.moves for broker in move.arriving} & snapshot.live_broker_ids
        sizes = kafka.replica_sizes(sorted(destinations)) if destinations else ReplicaSizes(size_bytes={})
        window = None if self._request.is_rollback else self._change_window(ours, moving, sizes)
        observation = Observation(snapshot, moving, ours, self._dead(snapshot), headroom(self._plan, moving, sizes), window)
        decision = decide(self._plan, observation, self._plan.limits)
        if self._request.is_rollback and decision.drifted:
            # Partitions that others moved since stay: the rollback leaves them alone, and the exit contract names them.
            self._plan = self._plan.without(decision.drifted)
            decision = decide(self._plan, observation, self._plan.limits)
        try:
            check_invariants(self._plan, observation, self._plan.limits, decision)
        except MoveInvariantBroken as error:
            raise PlannerDefect(f"a decision broke a rule of moves, and was not carried out: {error}") from error
        self._arrived_polls = Counter({name: self._arrived_polls[name] + 1 for name in decision.arrived})
        self._act(decision, ledger, snapshot, moving)
        return decision, self._report(decision, snapshot, moving, sizes)

    def _change_window(
        self,
        ours: Mapping[TopicPartition, tuple[int, ...]],
        moving: Mapping[TopicPartition, Reassignment],
        sizes: ReplicaSizes,
    ) -> ChangeWindowState | None:
        """Whether moves may start, and how much can still be copied before the window closes. A rollback waits for none."""
        if not self._plan.change_windows:
            return None
        now = datetime.now(UTC)
        opening = change_windows.opening_at(self._plan.change_windows, now)
        unblocks = f"it opens{f' at {opening.opens_at:%a %H:%M} UTC' if opening.opens_at else ''}, or an abort"
        if opening.closes_at is None or not opening.is_open:
            return ChangeWindowState(opening.is_open, None, opening.reason, unblocks)
        rate = self._pace.bytes_per_s or self._throttling.rate_bytes_per_s
        in_flight = sum(
            move.copied_bytes - arrived_bytes(move, moving, sizes)
            for move in self._plan.moves
            if move.name in moving and move.name in ours
        )
        left = int(rate * (opening.closes_at - now).total_seconds()) - in_flight
        return ChangeWindowState(True, max(0, left), opening.reason, unblocks)

    def _dead(self, snapshot: ClusterSnapshot) -> frozenset[int]:
        """Brokers that have been down for so long that they are not expected back soon."""
        if self._plan.waits_for_destinations:
            return frozenset()
        down, now = set(snapshot.down_broker_ids), time.monotonic()
        down |= {broker for move in self._plan.moves for broker in move.arriving} - snapshot.live_broker_ids
        self._down_since = {broker: self._down_since.get(broker, now) for broker in down}
        away = {broker: now - since for broker, since in self._down_since.items() if now - since >= DEAD_SECONDS}
        restarting = self._on_ready_nodes() if away else frozenset()
        return frozenset(broker for broker, seconds in away.items() if broker not in restarting or seconds >= RESTART_SECONDS)

    def _on_ready_nodes(self) -> frozenset[int]:
        """Brokers whose pods are on nodes where the kubelet can restart them."""
        ready = {node.name for node in self._clients.kubernetes.nodes() if node.is_ready}
        pods = self._clients.kubernetes.broker_pods()
        return frozenset(
            pod.broker_id for pod in pods if pod.broker_id is not None and pod.node in ready and not pod.is_terminating
        )

    def _settled(self, arrived: frozenset[TopicPartition]) -> set[TopicPartition]:
        """The moves that can be dropped from the ledger: a partition that is elsewhere and not in it was moved by others."""
        return {name for name in arrived if not self._request.is_rollback or self._arrived_polls[name] >= SETTLED_POLLS}

    def _act(
        self,
        decision: WindowDecision,
        ledger: Ledger,
        snapshot: ClusterSnapshot,
        moving: Mapping[TopicPartition, Reassignment],
    ) -> None:
        """Throttle what moves and what will, then submit. Every change is written ahead and may be interrupted."""
        partitions = {partition.name: partition for partition in snapshot.partitions}
        copying = copies([*decision.in_flight, *decision.submit], partitions)
        if decision.submit:
            ensure_held(self._link, self._request.token)
            owned = [
                OwnedReassignment(topic=move.topic, partition=move.partition, before=move.before, after=move.after)
                for move in decision.submit
            ]
            names = {move.name for move in owned} | self._settled(decision.arrived)
            kept = [move for move in ledger.reassignments if move.name not in names]
            reassignments = tuple(sorted([*kept, *owned], key=lambda move: move.name))
            ledgers.write(self._clients.kubernetes, ledger.model_copy(update={"reassignments": reassignments}))
        if copying:
            held = bool(snapshot.down_broker_ids - set(self._plan.leaving))
            self._throttling.adapt(copying, snapshot.live_broker_ids, hold_at_floor=held, partitions=snapshot.partitions)
        if decision.submit and copying:
            # Rates are adapted only every few seconds; new moves must be throttled from their start.
            written = ledgers.read(self._clients.kubernetes, self._request.token)
            ledgers.throttle(
                self._clients.kafka,
                self._clients.kubernetes,
                Fence(self._link, self._request.token),
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
        ensure_held(self._link, self._request.token)
        refused = self._clients.kafka.alter_reassignments(targets)
        try:
            ensure_held(self._link, self._request.token)
        except PermitLost:
            # Fenced between the check and the submission: another run may have cleared the ledger before this arrived.
            self._clients.kafka.alter_reassignments(dict.fromkeys((move.name for move in decision.submit), None))
            self._clients.kafka.alter_reassignments({move.name: partitions[move.name].replicas for move in decision.submit})
            raise
        # A topic deleted just now needs no move; the next poll observes it.
        refused = {name: why for name, why in refused.items() if "UnknownTopic" not in why}
        if refused:
            name, why = next(iter(sorted(refused.items())))
            raise ReassignmentRefused(f"{len(refused)} reassignments were refused: {name}: {why}")

    def _report(
        self,
        decision: WindowDecision,
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
        self._pace.observe(now, done + len(decision.arrived))
        left = self._plan.total_bytes - done
        eta = self._pace.seconds_left(left)
        waiting = None
        if decision.hold is not None:
            waiting = self._reporter.waiting(decision.hold.reason, decision.hold.resumes_when, decision.hold.blocking)
        elif decision.in_flight and self._pace.still_for_seconds(now) > STILL_SECONDS:
            names = tuple(str(move.name) for move in decision.in_flight[:20])
            waiting = self._reporter.waiting(
                f"nothing arrived for {self._pace.still_for_seconds(now):.0f} s: {', '.join(names[:5])}",
                "their destinations fetch again: check the brokers' logs, network and disks",
                names,
            )
        note = f"{len(decision.in_flight) + len(decision.submit)} in flight; throttle: {self._throttling.reason}"
        if decision.limits != self._plan.limits:
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
            note=note + self._eta.observe(now, eta),
        )
        self._reporter.report(progress)
        return progress
