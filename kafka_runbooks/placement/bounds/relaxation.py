"""LP relaxation: replicas may be fractional, and only what each broker and each rack must and may hold remains of the problem.

Every assignment is also a solution of the relaxation, so what the relaxation can't reach, no assignment can. Racks matter most:
where a set must span all racks, each rack's sum is bounded from both sides. With replication 3 over 3 racks no byte ever
leaves its rack, and racks of unequal capacity can't be balanced with each other.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from kafka_runbooks.placement.arrays import NONE, Floats, Indices, Ints, loads, sum_by
from kafka_runbooks.placement.problem import Problem, open_slots

HALVINGS = 64
"""Steps of a bisection over levels: beyond the resolution of a double."""


@dataclass(frozen=True)
class Relaxation:
    """The problem without partitions: what each allowed broker holds and could hold, what each rack must and may hold.

    Arrays by allowed broker (in order of index) or by rack (dense, 0..R-1).
    """

    width: Floats
    rack: Ints
    kept: Ints
    """Load that stays unless it is moved at a cost."""
    least: Ints
    most: Ints
    rack_least: Ints
    rack_most: Ints
    placed: int
    """Load that must be newly placed, wherever the rules allow."""
    huge: int
    """Weight of the heaviest partition; its replicas; and whether each rack must hold one."""
    huge_replicas: int
    huge_everywhere: bool
    base: Ints
    heavy_holder: Ints
    """Replicas so heavy that they alone lift their broker above the average level: their broker; and their weight."""
    heavy_weight: Ints

    @property
    def total(self) -> int:
        return int(self.kept.sum()) + self.placed

    @cached_property
    def best_levels(self) -> tuple[float, float]:
        """(highest reachable lowest level, lowest reachable highest level): no assignment's levels lie strictly between.

        The two don't constrain each other in the relaxation, so their difference bounds the spread of any assignment.
        """
        if not len(self.width):
            return 0.0, 0.0
        top = float((self.total + 1) / self.width.min()) + 1.0
        bottom = float(min(0.0, (self.least / self.width).min()))
        lowest, _ = _search(lambda level: _reaches_up(self, level), bottom, top)
        _, highest = _search(lambda level: not _holds_below(self, level), bottom, top)
        return lowest, highest

    def by_rack(self, values: Ints) -> Ints:
        return sum_by(self.rack, values, len(self.rack_least))


def relax(problem: Problem, kept: Indices, *, moves_allowed: bool, heavy_stay: bool = False) -> Relaxation:
    """Relax a problem.

    Args:
        problem: the problem. kept: P x W, the replicas that stay. moves_allowed: whether kept replicas may move at a cost;
        otherwise they are fixed. heavy_stay: fix replicas so heavy that they alone lift their broker above the average. This
        is no longer a bound, but what a
            plan does that spends its bytes elsewhere.
    """
    cluster, weight = problem.cluster, problem.weight
    brokers = np.nonzero(problem.allowed)[0]
    count = cluster.broker_count
    slots = open_slots(problem, kept)
    scope = problem.scope
    fixed = problem.base + loads(kept[~scope], weight[~scope], count)
    kept_load = problem.base + loads(kept, weight, count)
    everything = int(weight[scope].sum())
    # Where the replication factor goes down, the choice of the replica to drop costs nothing.
    surplus = scope & ((cluster.replicas != NONE).sum(axis=1) > problem.replication)
    stays = scope & ~surplus
    least = fixed if moves_allowed else fixed + loads(kept[stays], weight[stays], count)
    own = loads(kept[stays], weight[stays], count) + loads(cluster.replicas[surplus], weight[surplus], count)
    placeable = int(weight[scope & (slots > 0)].sum())
    most = fixed + (everything if moves_allowed else np.minimum(own + placeable, everything))
    names, rack = np.unique(cluster.racks[brokers], return_inverse=True)
    size_of = np.bincount(rack, minlength=len(names))
    rf, required, w = problem.replication[scope], problem.required_racks[scope], weight[scope]
    base_of = sum_by(rack, fixed[brokers], len(names))
    rack_least, rack_most = base_of.copy(), base_of.copy()
    for r in range(len(names)):
        at_least = np.maximum((required == len(names)).astype(np.int64), rf - (len(brokers) - size_of[r]))
        at_most = np.minimum(rf - np.maximum(required, 1) + 1, size_of[r])
        even = problem.most_in_rack[scope]
        at_least = np.where(even > 0, np.maximum(at_least, np.minimum(even - 1, size_of[r])), at_least)
        at_most = np.where(even > 0, np.minimum(at_most, np.minimum(even, size_of[r])), at_most)
        rack_least[r] += int((w * np.minimum(at_least, at_most)).sum())
        rack_most[r] += int((w * at_most).sum())
    if problem.within_racks and moves_allowed and not slots.any():
        rack_least = rack_most = sum_by(rack, kept_load[brokers], len(names))
    heaviest = int(np.argmax(w)) if len(w) else 0
    average = float(kept_load[brokers].sum() + int((weight * slots).sum())) / float(problem.width[brokers].sum())
    holder, heavy = _heavy(problem, kept, fixed, brokers, average)
    if heavy_stay:
        least = least.copy()
        np.maximum.at(least, brokers[holder], fixed[brokers[holder]] + heavy)
    return Relaxation(
        width=problem.width[brokers],
        rack=rack.astype(np.int64),
        kept=kept_load[brokers],
        least=least[brokers],
        most=most[brokers],
        rack_least=rack_least,
        rack_most=rack_most,
        placed=int((weight * slots).sum()),
        huge=int(w[heaviest]) if len(w) else 0,
        huge_replicas=int(rf[heaviest]) if len(w) else 0,
        huge_everywhere=bool(len(w) and required[heaviest] == len(names) and rf[heaviest] == len(names)),
        base=fixed[brokers],
        heavy_holder=holder,
        heavy_weight=heavy,
    )


def _heavy(problem: Problem, kept: Indices, fixed: Ints, brokers: Ints, average: float) -> tuple[Ints, Ints]:
    lightest = float((average * problem.width[brokers] - fixed[brokers]).min())
    rows = np.nonzero(problem.scope & (problem.weight > max(0.0, lightest)))[0]
    at, slots = np.nonzero(kept[rows] >= 0)
    held, weight = kept[rows[at], slots].astype(np.int64), problem.weight[rows[at]]
    heavy = fixed[held] + weight > average * problem.width[held]
    return np.searchsorted(brokers, held[heavy]).astype(np.int64), weight[heavy]


def _search(holds: Callable[[float], bool], low: float, high: float) -> tuple[float, float]:
    """The last level where `holds` is true and the first where it isn't; it is true below some level and false above."""
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if holds(middle) else (low, middle)
    return low, high


def _reaches_up(relaxed: Relaxation, level: float) -> bool:
    """Whether every broker can be at `level` or above."""
    want = np.ceil(level * relaxed.width).astype(np.int64)
    if (relaxed.most < want).any():
        return False
    floor = np.maximum(relaxed.least, want)
    need = relaxed.by_rack(floor)
    # A huge partition lifts some broker far above the level; that load is missing elsewhere.
    surplus = np.maximum(0, relaxed.base + relaxed.huge - floor)
    if relaxed.huge_everywhere:
        need = need + np.array([surplus[relaxed.rack == r].min() for r in range(len(need))], dtype=np.int64)
    if (need > relaxed.rack_most).any():
        return False
    total = int(np.maximum(need, relaxed.rack_least).sum())
    if not relaxed.huge_everywhere and relaxed.huge_replicas:
        total = max(total, int(need.sum()) + int(np.sort(surplus)[: relaxed.huge_replicas].sum()))
    return total <= relaxed.total


def _holds_below(relaxed: Relaxation, level: float) -> bool:
    """Whether everything fits with every broker at `level` or below."""
    want = np.floor(level * relaxed.width).astype(np.int64)
    if (relaxed.least > want).any():
        return False
    room_for_huge = want >= relaxed.base + relaxed.huge
    if int(room_for_huge.sum()) < relaxed.huge_replicas:
        return False
    if relaxed.huge_everywhere and len(np.unique(relaxed.rack[room_for_huge])) < len(relaxed.rack_least):
        return False
    room = relaxed.by_rack(np.minimum(relaxed.most, want))
    if (room < relaxed.rack_least).any():
        return False
    return int(np.minimum(room, relaxed.rack_most).sum()) >= relaxed.total
