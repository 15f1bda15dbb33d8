"""What one look of the mover asks the cluster: about what moves now, and about what it decides to act on, before it does.

The rest of the cluster is what the worker's runs know of it in common (`clients.snapshots`): at most `LOOK_SECONDS` old in a
look, `ACT_SECONDS` in one that starts a move. Whatever is submitted, cancelled or put back is looked at first: its topic as of
now, the disks of its brokers. That a plan is carried out, or no longer fits, is decided on the whole cluster as of now.
"""

from collections.abc import Iterable

from kafka_runbooks.clients.clusters import ClusterClients
from kafka_runbooks.models.cluster import ClusterSnapshot, Replica, ReplicaSizes
from kafka_runbooks.models.moves import Move
from kafka_runbooks.moves.waits import replicas_that_matter
from kafka_runbooks.moves.window import WindowDecision

LOOK_SECONDS = 30.0
ACT_SECONDS = 15.0
ROUNDS = 3
"""A decision on what is newly seen may be another one; after so many, everything of the plan is looked at."""


class Look:
    """One look, which sees more as long as a decision needs more."""

    def __init__(self, clients: ClusterClients, moves: Iterable[Move], *, is_whole: bool = False) -> None:
        self._clients = clients
        self._topics: set[str] = set()
        self._replicas: set[Replica] = set()
        self._rounds = 0
        self._is_whole = is_whole
        self.sizes = ReplicaSizes(size_bytes={})
        self.snapshot: ClusterSnapshot
        if is_whole:
            self.snapshot = clients.snapshots.now()
        self._see(moves, LOOK_SECONDS)

    def suffices(self, decision: WindowDecision, plan: Iterable[Move]) -> bool:
        """Whether everything that a decision needs was looked at; if not, it is now, and the decision must be made again."""
        is_final = decision.is_done or decision.must_replan or bool(decision.drift)
        if is_final and not self._is_whole:
            self._is_whole = True
            self.snapshot = self._clients.snapshots.now()
            return False
        acts = (*decision.submit, *decision.cancel, *decision.restore)
        if all(self._has_seen(move) for move in acts):
            return True
        self._rounds += 1
        self._see(acts if self._rounds < ROUNDS else (*acts, *plan), ACT_SECONDS)
        return False

    def _see(self, moves: Iterable[Move], at_most_seconds: float) -> None:
        moves = list(moves)
        if not self._is_whole:
            self._topics.update(move.topic for move in moves)
            self.snapshot = self._clients.snapshots.with_topics(self._topics, at_most_seconds)
        asked = {replica for move in moves for replica in self._replicas_of(move)} - self._replicas
        self._replicas |= asked
        silent = self.sizes.unanswered_broker_ids
        if asked := {replica for replica in asked if replica.broker_id not in silent}:
            self.sizes = self.sizes.with_more(self._clients.kafka.sizes_of(asked))

    def _has_seen(self, move: Move) -> bool:
        return (self._is_whole or move.topic in self._topics) and self._replicas.issuperset(self._replicas_of(move))

    def _replicas_of(self, move: Move) -> set[Replica]:
        live = self.snapshot.live_broker_ids
        return {replica for replica in replicas_that_matter(move, self.snapshot.by_name) if replica.broker_id in live}
