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
from activities.errors import PermitLost, PlannerDefect
from activities.looks import Look
from activities.permits import Fence
from activities.step import Link, Reporter
from activities.throttle import Throttling
from kafka_runbooks.clients.clusters import ClusterClients
from kafka_runbooks.models.cluster import ClusterSnapshot, Partition, Reassignment, ReplicaSizes, TopicPartition
from kafka_runbooks.models.ledger import Ledger, OwnedReassignment
from kafka_runbooks.models.messages import StepRequest
from kafka_runbooks.models.moves import Move, MovePlan
from kafka_runbooks.models.status import Progress
from kafka_runbooks.moves import change_windows
from kafka_runbooks.moves.admission import ChangeWindowState, Observation
from kafka_runbooks.moves.invariants import MoveInvariantBroken, check_invariants
from kafka_runbooks.moves.progress import CopyProgress, EtaError, Pace, copied, copies, headroom
from kafka_runbooks.moves.refusals import Refusals
from kafka_runbooks.moves.waits import why_moves_wait
from kafka_runbooks.moves.window import WindowDecision, decide
from kafka_runbooks.safety.urgency import urgent_among

DEAD_SECONDS = 60.0
"""A destination that is down for this long, together with its node or its pod, is given up."""
RESTART_SECONDS = 900.0
"""The same for one whose pod is on a Ready node: it is restarting, and may have to recover its logs."""
SETTLED_POLLS = 3
"""In a rollback, stale metadata shows a partition where it was before it began to move, as if it had arrived. An arrival counts
only if it is observed this often in a row."""
GONE_SHOWN = 20
STILL_SECONDS = 60.0
"""No arriving byte for this long, although moves are in flight, is reported."""


class Mover:
    """One attempt at a plan."""

    def __init__(self, clients: ClusterClients, link: Link, request: StepRequest, plan: MovePlan) -> None:
        self._clients = clients
        self._request = request
        self._plan = plan
        self._fence = Fence(link, request.token)
        self._throttling = Throttling(clients, link, request.token, plan.throttle)
        self._reporter = Reporter.current()
        self._copied = CopyProgress(plan, is_rollback=request.is_rollback)
        self._pace = Pace()
        self._eta = EtaError()
        self._refusals = Refusals()
        self._sizes: ReplicaSizes | None = None
        self._down_since: dict[int, float] = {}
        self._arrived_polls: Counter[TopicPartition] = Counter()

    def advance(self) -> tuple[WindowDecision, Progress]:
        """Observe, decide, act and report, once."""
        kafka = self._clients.kafka
        # Reassignments first: one that ends between the two calls is then observed as ended, not as lost.
        moving = {move.name: move for move in kafka.reassignments()}
        ledger = ledgers.read(self._clients.kubernetes, self._request.token)
        ours = {owned.name: owned.after for owned in ledger.reassignments}
        moves = [move for move in self._plan.moves if move.name in ours or move.name in moving]
        # In a rollback, arrivals count by how often they were observed: each time anew.
        look = Look(self._clients, moves, is_whole=self._request.is_rollback)
        while True:
            observation, decision = self._decide(look, moving, ours)
            if look.suffices(decision, self._plan.moves):
                break
        if self._request.is_rollback and decision.drifted:
            # Partitions that others moved since stay: the rollback leaves them alone, and the exit contract names them.
            self._plan = self._plan.without(decision.drifted)
            decision = decide(self._plan, observation, self._plan.limits)
        snapshot, partitions, sizes = observation.snapshot, observation.partitions, self._known_sizes(look)
        try:
            check_invariants(self._plan, observation, self._plan.limits, decision)
        except MoveInvariantBroken as error:
            raise PlannerDefect(f"a decision broke a rule of moves, and was not carried out: {error}") from error
        self._arrived_polls = Counter({name: self._arrived_polls[name] + 1 for name in decision.arrived})
        in_flight = {move.name for move in (*decision.in_flight, *decision.submit)}
        self._sizes = sizes
        self._copied.observe(partitions, decision.arrived, in_flight, decision.gone, sizes)
        if set(sizes.unanswered_broker_ids) & snapshot.live_broker_ids:
            self._report(decision, snapshot, sizes)  # At once: the act waits for the silent broker too.
        try:
            self._act(decision, ledger, snapshot, look.sizes)
        finally:
            # A look whose act fails is still a look, and is shown.
            progress = self._report(decision, snapshot, sizes)
        return decision, progress

    def _decide(
        self, look: Look, moving: Mapping[TopicPartition, Reassignment], ours: Mapping[TopicPartition, tuple[int, ...]]
    ) -> tuple[Observation, WindowDecision]:
        partitions, sizes = look.snapshot.by_name, self._known_sizes(look)
        own = [move for move in self._plan.moves if move.name in moving and move.name in ours]
        left = sum(copied(move, partitions.get(move.name), sizes)[1] for move in own)
        observation = Observation(
            look.snapshot,
            moving,
            ours,
            self._dead(look.snapshot),
            headroom(self._plan, moving, partitions, sizes),
            None if self._request.is_rollback else self._change_window(left),
            self._refusals.held(time.monotonic()),
        )
        return observation, decide(self._plan, observation, self._plan.limits)

    def _known_sizes(self, look: Look) -> ReplicaSizes:
        """What is on the disks; of a broker that is silent, what it said last."""
        return look.sizes.filled_from(self._sizes)

    def _change_window(self, in_flight_bytes: int) -> ChangeWindowState | None:
        """Whether moves may start, and how much can still be copied before the window closes. A rollback waits for none."""
        if not self._plan.change_windows:
            return None
        now = datetime.now(UTC)
        opening = change_windows.opening_at(self._plan.change_windows, now)
        unblocks = f"it opens{f' at {opening.opens_at:%a %H:%M} UTC' if opening.opens_at else ''}, or an abort"
        if opening.closes_at is None or not opening.is_open:
            return ChangeWindowState(opening.is_open, None, opening.reason, unblocks)
        rate = self._pace.bytes_per_s or self._throttling.rate_bytes_per_s
        left = int(rate * (opening.closes_at - now).total_seconds()) - in_flight_bytes
        return ChangeWindowState(True, max(0, left), opening.reason, unblocks)

    def _dead(self, snapshot: ClusterSnapshot) -> frozenset[int]:
        """Brokers that have been down for so long that they are not expected back soon."""
        if self._plan.waits_for_destinations:
            return frozenset()
        now, down = time.monotonic(), {broker for move in self._plan.moves for broker in move.arriving} - snapshot.live_broker_ids
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

    def _act(self, decision: WindowDecision, ledger: Ledger, snapshot: ClusterSnapshot, sizes: ReplicaSizes) -> None:
        """Throttle what moves and what will, then submit. Every change is written ahead and may be interrupted."""
        partitions = snapshot.by_name
        copying = copies([*decision.in_flight, *decision.submit], partitions)
        if decision.submit:
            self._fence.check()
            owned = [
                OwnedReassignment(
                    topic=move.topic,
                    partition=move.partition,
                    before=move.before,
                    after=move.after,
                    topic_id=self._plan.topic_ids.get(move.topic),
                )
                for move in decision.submit
            ]
            names = {move.name for move in owned} | self._settled(decision.arrived)
            kept = [move for move in ledger.reassignments if move.name not in names]
            reassignments = tuple(sorted([*kept, *owned], key=lambda move: move.name))
            ledgers.write(self._clients.kubernetes, ledger.model_copy(update={"reassignments": reassignments}))
        if copying:
            live, leaving = snapshot.live_broker_ids, self._plan.leaving
            adding = {move.name: move.arriving for move in (*decision.in_flight, *decision.submit)}
            urgency = urgent_among((copy.partition for copy in copying), snapshot, adding)
            self._throttling.adapt(
                copying, live, expected_down=leaving, followers=snapshot.followers, urgency=urgency, sizes=sizes
            )
        if decision.submit and copying:
            self._throttling.take(copying, snapshot.live_broker_ids)
        held_back = self._refusals.held(time.monotonic())
        targets: dict[TopicPartition, Sequence[int] | None] = dict.fromkeys((move.name for move in decision.cancel), None)
        targets.update({move.name: move.before for move in decision.restore})
        targets = {name: target for name, target in targets.items() if name not in held_back}
        targets.update({move.name: move.after for move in decision.submit})
        if not targets:
            return
        self._fence.check()
        refused = self._clients.kafka.alter_reassignments(targets)
        try:
            self._fence.ask()
        except PermitLost as error:
            # Fenced between the check and the submission: another run may have cleared the ledger before this arrived.
            raise PermitLost(f"{error}; {self._take_back(decision.submit, partitions)}") from error
        # A topic deleted just now needs no move; the next poll observes it.
        refused = {name: why for name, why in refused.items() if "UnknownTopic" not in why}
        self._refusals.note(targets, refused, time.monotonic())

    def _take_back(self, submitted: Sequence[Move], partitions: Mapping[TopicPartition, Partition]) -> str:
        """Undo what was just submitted without a right to; what became of it."""
        kafka = self._clients.kafka
        kept = kafka.alter_reassignments(dict.fromkeys((move.name for move in submitted), None))
        back = [move.name for move in submitted if move.name not in kept]
        kept |= kafka.alter_reassignments({name: partitions[name].replicas for name in back})
        if not kept:
            return f"{len(submitted)} reassignments that it had just submitted were taken back"
        refused = ", ".join(f"{name}: {why}" for name, why in list(kept.items())[:3])
        return f"{len(kept)} reassignments that it had just submitted go on; the controller refuses to take them back: {refused}"

    def _report(self, decision: WindowDecision, snapshot: ClusterSnapshot, sizes: ReplicaSizes) -> Progress:
        now, done, left = time.monotonic(), self._copied.done_bytes, self._copied.left_bytes
        self._pace.observe(now, done + len(decision.arrived))
        eta = self._pace.seconds_left(left)
        silent = set(sizes.unanswered_broker_ids) & snapshot.live_broker_ids
        held = decision.hold or why_moves_wait(decision.in_flight, snapshot, silent)
        waiting = None
        if held is not None:
            waiting = self._reporter.waiting(held.reason, held.resumes_when, held.blocking)
        elif decision.in_flight and self._pace.still_for_seconds(now) > STILL_SECONDS:
            names = tuple(str(move.name) for move in decision.in_flight[:20])
            waiting = self._reporter.waiting(
                f"nothing arrived for {self._pace.still_for_seconds(now):.0f} s: {', '.join(names[:5])}",
                "their destinations fetch again: check the brokers' logs, network and disks",
                names,
            )
        progress = Progress(
            done_bytes=done,
            total_bytes=done + left,
            done_partitions=len(decision.arrived),
            total_partitions=len(self._plan.moves) - len(decision.gone),
            rate_bytes_per_s=self._pace.bytes_per_s,
            eta_seconds=eta,
            throttle_bytes_per_s=self._throttling.rate_bytes_per_s,
            highest_throttle_bytes_per_s=self._throttling.highest_bytes_per_s,
            waiting=waiting,
            note=self._note(decision, sizes) + self._eta.observe(now, eta),
            gone=tuple(sorted(map(str, decision.gone))[:GONE_SHOWN]),
            gone_partitions=len(decision.gone),
        )
        self._reporter.report(progress)
        return progress

    def _note(self, decision: WindowDecision, sizes: ReplicaSizes) -> str:
        notes = [f"{len(decision.in_flight) + len(decision.submit)} in flight", f"throttle: {self._throttling.reason}"]
        if decision.limits != self._plan.limits:
            notes.append("limits halved: a partition is at its min.insync.replicas")
        if refused := self._refusals.describe(decision.arrived | decision.gone):
            notes.append(refused)
        if old := sizes.old_broker_ids:
            notes.append(f"sizes of broker {', '.join(map(str, old))} are from its last answer")
        for broker in sorted(sizes.directories):
            if offline := sizes.offline_directories(broker):
                notes.append(f"broker {broker}: log directory {', '.join(one.path for one in offline)} is offline")
        if decision.added:
            notes.append(f"planned for once this is done: {'; '.join(decision.added[:3])}")
        return "; ".join(notes)
