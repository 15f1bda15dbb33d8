"""The fewest rounds, and the shortest time, that any order of some nodes' restarts takes. Never above the best there is.

What forces rounds apart: nodes of which any two conflict (a clique of the conflict graph, found greedily); a partition that lets
s of its k brokers go at once, which takes k/s rounds; limits of how many nodes go at once. And where a set splits into parts such
that every node of one conflicts with every node of the others, no round has nodes of two parts, so their bounds add up: zones
whose brokers hold each other's replicas are such parts. A part that splits into sets without conflicts between them takes as long
as the longest. Seconds are bounded likewise, a round being as long as its slowest node and no round shorter than the fastest.
"""

from collections.abc import Sequence
from math import ceil
from typing import NamedTuple

import numpy as np

from kafka_runbooks.models.restarts import KafkaNode, RestartLimits
from kafka_runbooks.safety.capacities import Capacities

CLIQUES_TRIED = 32


class Bound(NamedTuple):
    """Of the rounds of some nodes, and of the seconds that they take together."""

    rounds: int = 0
    seconds: float = 0.0

    def __or__(self, other: "Bound") -> "Bound":
        return Bound(max(self.rounds, other.rounds), max(self.seconds, other.seconds))


def lower_bound(
    members: Sequence[int],
    conflicts: np.ndarray,
    capacities: Capacities,
    nodes: Sequence[KafkaNode],
    limits: RestartLimits,
    seconds: np.ndarray,
) -> Bound:
    """Of nodes that are given by their index.

    Args:
        members: those to restart, all of which can.
        conflicts: node x node, those that can't go together.
        capacities: before the first of them restarts.
        nodes: all, in the order of the indexes.
        limits: as the operator gave them.
        seconds: node -> how long its restart takes.
    """
    return _Bounds(conflicts, capacities, nodes, limits, seconds).of(np.array(members, dtype=np.int64))


class _Bounds:
    def __init__(
        self,
        conflicts: np.ndarray,
        capacities: Capacities,
        nodes: Sequence[KafkaNode],
        limits: RestartLimits,
        seconds: np.ndarray,
    ) -> None:
        self._conflicts, self._capacities, self._nodes, self._limits, self._seconds = (
            conflicts,
            capacities,
            nodes,
            limits,
            seconds,
        )

    def of(self, members: np.ndarray) -> Bound:
        if len(members) == 0:
            return Bound()
        own = self._conflicts[np.ix_(members, members)]
        bound = self._alone(members, own)
        apart = _components(~own)
        if len(apart) > 1:
            parts = [self.of(members[part]) for part in apart]
            return bound | Bound(sum(part.rounds for part in parts), sum(part.seconds for part in parts))
        beside = [members[part] for part in _components(own)]
        maps = sorted({self._nodes[member].map or "" for member in members})
        if len(maps) > 1:
            beside += [members[[(self._nodes[member].map or "") == name for member in members]] for name in maps]
        for part in beside:
            if len(part) < len(members):
                bound |= self.of(part)
        return bound

    def _alone(self, members: np.ndarray, own: np.ndarray) -> Bound:
        """Without taking the set apart."""
        seconds = self._seconds[members]
        bound = Bound(1, float(seconds.max()))
        for clique in _cliques(own, seconds):
            bound |= Bound(len(clique), float(seconds[clique].sum()))
        at_once = [self._limits.at_once]
        names = {self._nodes[member].map for member in members}
        if len(names) == 1 and None not in names:
            at_once.append(self._limits.at_once_per_map)
        most = min((limit for limit in at_once if limit is not None), default=None)
        if most is not None:
            # Without other limits nothing is shorter than the slowest ones together, then the next slowest ones.
            bound |= Bound(ceil(len(members) / most), float(np.sort(seconds)[::-1][::most].sum()))
        bound |= self._of_rows(members)
        return bound | Bound(0, bound.rounds * float(seconds.min()))

    def _of_rows(self, members: np.ndarray) -> Bound:
        capacities = self._capacities
        rows = len(capacities.kept)
        k, time = np.zeros(rows), np.zeros(rows)
        for member in members:
            places = capacities.places(int(member))
            lowered = capacities.row_of[places][capacities.counts[places]]
            k[lowered] += 1
            time[lowered] += self._seconds[member]
        # A row that can spare none at all has none of the members, for they can all restart.
        spare = np.maximum(capacities.most_at_once(), 1)
        return Bound(int(np.ceil(k / spare).max(initial=0)), float((time / spare).max(initial=0.0)))


def _cliques(conflicts: np.ndarray, seconds: np.ndarray) -> list[list[int]]:
    """Some in which any two conflict, grown from the nodes with most conflicts and from the slowest ones."""
    degree = conflicts.sum(axis=1)
    starts = [*np.argsort(-degree, kind="stable")[:CLIQUES_TRIED], *np.argsort(-seconds, kind="stable")[:CLIQUES_TRIED]]
    found = []
    for start in dict.fromkeys(int(one) for one in starts):
        clique, candidates = [start], conflicts[start].copy()
        while candidates.any():
            among = conflicts[:, candidates].sum(axis=1)
            best = int(np.where(candidates, among, -1).argmax())
            clique.append(best)
            candidates &= conflicts[best]
        found.append(clique)
    return found


def _components(edges: np.ndarray) -> list[np.ndarray]:
    """Connected parts of a graph, each in order."""
    unseen, found = np.ones(len(edges), dtype=bool), []
    for start in range(len(edges)):
        if not unseen[start]:
            continue
        part = np.zeros(len(edges), dtype=bool)
        front = part.copy()
        front[start] = True
        while front.any():
            part |= front
            front = edges[front].any(axis=0) & ~part
        unseen &= ~part
        found.append(np.flatnonzero(part))
    return found
