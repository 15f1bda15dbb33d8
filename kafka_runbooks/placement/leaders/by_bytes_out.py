"""Preferred leaders balanced by bytes out: consumers read from leaders, and a change of leader copies nothing.

A broker's bytes out are those of the partitions of which it is the preferred leader. Choosing leaders by weight is makespan
scheduling with restricted machines, which is NP-hard, so this is a local search: the broker furthest from the average hands
over a leadership, or swaps two, as long as that brings the loads closer (the sum of their squares falls, so it terminates).
Only where replica sets prevent a balance are replicas moved first, each weighing an equal share of its partition
(`problem.pose`).

Fetches by followers aren't counted: they follow bytes in, which the measure `bytes in` balances.
"""

import numpy as np

from kafka_runbooks.placement.arrays import Flags, Floats, Indices, Ints, sum_by

BALANCED = 0.0005
"""Spread relative to the average at which the search ends."""
STEPS_PER_BROKER = 500


def served(sets: Indices, bytes_out: Ints, brokers: int) -> Ints:
    """B: bytes per second that each broker serves as preferred leader."""
    first = sets[:, 0]
    return sum_by(first[first >= 0], bytes_out[first >= 0], brokers)


def spread(load: Ints, targets: Flags) -> float:
    """Highest minus lowest of the target brokers, in bytes per second."""
    at = load[targets]
    return float(at.max() - at.min()) if len(at) else 0.0


def best_spread(bytes_out: Ints, brokers: int) -> float:
    """A spread that no choice of leaders beats: one broker leads the busiest partition, and the others share the rest."""
    if brokers < 2 or not len(bytes_out):
        return 0.0
    busiest = int(bytes_out.max())
    return max(0.0, busiest - (int(bytes_out.sum()) - busiest) / (brokers - 1))


def balance(sets: Indices, rows: Ints, eligible: Flags, bytes_out: Ints, others: Ints) -> Indices:
    """Choose leaders so that bytes out are balanced.

    Args:
        sets: P x W, the current leader first.
        rows: the partitions whose leader may be chosen.
        eligible: P x W, replicas that may lead; a row without any keeps its first replica.
        bytes_out: P, bytes per second consumed.
        others: B, bytes per second that each broker serves for other partitions.

    Returns:
        One broker (index) per row of `rows`.
    """
    members, weight = sets[rows], bytes_out[rows].astype(np.float64)
    may: Flags = eligible[rows] & (members >= 0)
    may[~may.any(axis=1), 0] = True
    leader = np.where(may[:, 0], members[:, 0], members[np.arange(len(rows)), may.argmax(axis=1)])
    search = _Search(members, may, weight, leader, others.astype(np.float64))
    involved = np.unique(members[may & (members >= 0)])
    search.run(involved)
    return search.leader.astype(np.int32)


class _Search:
    """Loads are whole numbers in doubles: exact up to 9 PB/s, so that every machine computes the same differences."""

    def __init__(self, members: Indices, may: Flags, weight: Floats, leader: Indices, load: Floats) -> None:
        self.members, self.may, self.weight, self.leader, self.load = members, may, weight, leader, load
        held = leader >= 0
        np.add.at(self.load, leader[held], weight[held])

    def run(self, brokers: Indices) -> None:
        stuck: set[int] = set()
        for _ in range(STEPS_PER_BROKER * max(1, len(brokers))):
            at = self.load[brokers]
            mean = at.mean() if len(at) else 0.0
            if not len(at) or at.max() - at.min() <= BALANCED * mean:
                return
            order = brokers[np.lexsort((brokers, -np.abs(at - mean)))].tolist()
            worst = next((b for b in order if b not in stuck), None)
            if worst is None:
                return
            touched = self._help(worst)
            stuck = stuck - touched if touched else stuck | {worst}

    def _help(self, broker: int) -> set[int]:
        """Hand one leadership to or from this broker, or swap two; returns the brokers that changed."""
        give = np.nonzero(self.leader == broker)[0]
        take = np.nonzero((self.leader != broker) & (self.may & (self.members == broker)).any(axis=1))[0]
        # Each row of these is one leadership (partition, from, to).
        slots, columns = np.nonzero(self.may[give] & (self.members[give] != broker))
        moves = np.concatenate([give[slots], take])
        sources = np.concatenate([np.full(len(slots), broker), self.leader[take]])
        targets = np.concatenate([self.members[give[slots], columns], np.full(len(take), broker)])
        weight = self.weight[moves]
        gain = weight * (self.load[sources] - self.load[targets] - weight)
        best = int(np.argmax(gain)) if len(gain) else -1
        if best >= 0 and gain[best] > 0:
            self._move(int(moves[best]), int(targets[best]))
            return {int(sources[best]), int(targets[best])}
        return self._swap(broker, moves, sources, targets, weight)

    def _swap(self, broker: int, moves: Ints, sources: Ints, targets: Ints, weight: Floats) -> set[int]:
        out = sources == broker
        best: tuple[float, int, int, int] | None = None
        for other in np.unique(targets[out]).tolist():
            away, back = moves[out & (targets == other)], moves[~out & (sources == other)]
            if not len(away) or not len(back):
                continue
            gap = self.load[broker] - self.load[other]
            back = back[np.argsort(self.weight[back], kind="stable")]
            # The leadership to swap that brings the net change nearest to half the gap.
            wanted = self.weight[away] - gap / 2
            near = np.clip(np.searchsorted(self.weight[back], wanted), 0, len(back) - 1)
            for pick in (near, np.maximum(near - 1, 0)):
                net = self.weight[away] - self.weight[back[pick]]
                gain = net * (gap - net)
                at = int(np.argmax(gain))
                if gain[at] > 0 and (best is None or gain[at] > best[0]):
                    best = (float(gain[at]), int(away[at]), int(back[pick[at]]), other)
        if best is None:
            return set()
        _, away_row, back_row, other = best
        self._move(away_row, other)
        self._move(back_row, broker)
        return {broker, other}

    def _move(self, row: int, broker: int) -> None:
        old = int(self.leader[row])
        if old >= 0:
            self.load[old] -= self.weight[row]
        self.load[broker] += self.weight[row]
        self.leader[row] = broker
