"""The rack rule: how many replicas of a set each rack has.

A set spans as many racks as it can, or as are required of it. One that has at least two replicas more than there are racks must
also be spread evenly, which spanning them all doesn't imply: of four replicas in two racks each has two, for three and one lose
two at once with the wrong rack. Shares then differ by one at most, except where a rack has too few brokers. That is: with the
smallest `most` for which all replicas find room if each rack takes up to `most` (or all of its brokers), each rack has `most` or
one less, or all of its brokers.

Sets are judged by how many of their replicas are misplaced, and no move may raise that.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from kafka_runbooks.placement.arrays import Flags, Indices, Ints, distinct_racks


@dataclass(frozen=True)
class RackRules:
    """What is asked of each set (P), over the racks of the brokers (B)."""

    rack_of: Indices
    """B."""
    brokers_in_rack: Ints
    """By rack: brokers that may hold replicas."""
    replication: Ints
    """P."""
    required: Ints
    """P: distinct racks that a set must span."""
    most: Ints
    """P: the most replicas of a set that a rack may have, where that must be even; 0 elsewhere."""


def rack_rules(rack_of: Indices, brokers_in_rack: Ints, replication: Ints, min_racks: int | None) -> RackRules:
    """The rules for sets of these sizes; `min_racks` None: as many racks as a set can span."""
    required = np.minimum(replication, int((brokers_in_rack > 0).sum()))
    if min_racks:
        required = np.minimum(required, min(min_racks, len(rack_of)))
    return RackRules(rack_of, brokers_in_rack, replication, required, _most(replication, required, brokers_in_rack))


def _most(replication: Ints, required: Ints, brokers_in_rack: Ints) -> Ints:
    sizes = brokers_in_rack[brokers_in_rack > 0]
    found = np.zeros(len(replication), dtype=np.int64)
    crowded = (required == len(sizes)) & (replication >= len(sizes) + 2)
    for factor in np.unique(replication[crowded]).tolist():
        most = next((n for n in range(1, factor + 1) if int(np.minimum(sizes, n).sum()) >= factor), 0)
        found[crowded & (replication == factor)] = most
    return found


def misplaced(rules: RackRules, sets: Indices, rows: Ints | None = None) -> Ints:
    """P: how many replicas of each full set are in the wrong rack.

    Args:
        rules: the rack rules.
        sets: P x W, or as many rows as `rows` has.
        rows: which partitions they are; None: all.
    """
    rack_of = rules.rack_of
    required, most = (rules.required, rules.most) if rows is None else (rules.required[rows], rules.most[rows])
    wrong: Ints = np.maximum(required - distinct_racks(sets, rack_of), 0)
    crowded = np.nonzero(most)[0]
    if not len(crowded):
        return wrong
    at = np.where(sets[crowded] >= 0, rack_of[np.maximum(sets[crowded], 0)], -1)
    over = np.zeros(len(crowded), dtype=np.int64)
    under = over.copy()
    for rack, size in enumerate(rules.brokers_in_rack.tolist()):
        share = (at == rack).sum(axis=1)
        over += np.maximum(share - np.minimum(most[crowded], size), 0)
        under += np.maximum(np.minimum(most[crowded] - 1, size) - share, 0)
    wrong[crowded] = np.maximum(over, under)
    return wrong


class RackRule:
    """The rule for one set at a time, in plain integers."""

    def __init__(self, rules: RackRules) -> None:
        self.racks: list[int] = rules.rack_of.tolist()
        self.required: list[int] = rules.required.tolist()
        self.most: list[int] = rules.most.tolist()
        self.size: list[int] = rules.brokers_in_rack.tolist()
        self.replication: list[int] = rules.replication.tolist()
        self._used = [rack for rack, size in enumerate(self.size) if size]

    def closed(self, row: int, members: Sequence[int]) -> set[int]:
        """Racks that the next replica of a set must avoid."""
        left = self.replication[row] - len(members)
        if not self.most[row]:
            racks = {self.racks[b] for b in members}
            return racks if self.required[row] - len(racks) >= left else set()
        share = Counter(self.racks[b] for b in members)
        least, most = self._bounds(row)
        under = sum(max(0, least[rack] - share[rack]) for rack in self._used)
        bound = least if under >= left else most
        return {rack for rack in self._used if share[rack] >= bound[rack]}

    def may_enter(self, row: int, members: Sequence[int], source: int, rack: int) -> bool:
        """Whether the replica on `source` may go to a broker of `rack`."""
        if rack == self.racks[source]:
            return True
        others = [b for b in members if b != source]
        before = self._wrong(row, Counter(self.racks[b] for b in members))
        return self._wrong(row, Counter([rack, *(self.racks[b] for b in others)])) <= before

    def droppable(self, row: int, members: Sequence[int]) -> list[int]:
        """Those members of a set that is too large, or uneven, whose rack can spare one; all if none can."""
        share = Counter(self.racks[b] for b in members)
        if not self.most[row]:
            need = min(self.required[row], len(share))
            spare = {rack for rack, count in share.items() if len(share) - (count == 1) >= need}
            return [b for b in members if self.racks[b] in spare]
        least, most = self._bounds(row)
        for bound in (most, least):
            found = [b for b in members if share[self.racks[b]] > bound[self.racks[b]]]
            if found:
                return found
        return list(members)

    def missing(self, row: int, members: Sequence[int]) -> int:
        """How many members must go for what is still to be placed to complete a set that follows the rule."""
        share = Counter(self.racks[b] for b in members)
        left = max(0, self.replication[row] - len(members))
        if not self.most[row]:
            return max(0, self.required[row] - len(share) - left)
        least, most = self._bounds(row)
        over = sum(max(0, share[rack] - most[rack]) for rack in self._used)
        under = sum(max(0, least[rack] - share[rack]) for rack in self._used)
        return max(over, under - left)

    def _bounds(self, row: int) -> tuple[list[int], list[int]]:
        most = self.most[row]
        return [min(most - 1, size) for size in self.size], [min(most, size) for size in self.size]

    def _wrong(self, row: int, share: "Counter[int]") -> int:
        if not self.most[row]:
            return max(0, self.required[row] - len(share))
        least, most = self._bounds(row)
        over = sum(max(0, share[rack] - most[rack]) for rack in self._used)
        return max(over, sum(max(0, least[rack] - share[rack]) for rack in self._used))


def needs_room(rules: RackRules, kept: Indices, open_slots: Ints) -> Flags:
    """P: partitions whose kept replicas may be no part of a set that follows the rule."""
    return np.asarray((distinct_racks(kept, rules.rack_of) + open_slots < rules.required) | (rules.most > 0))
