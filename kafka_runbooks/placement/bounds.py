"""What no plan can beat: the smallest spread that rack and size rules allow, and the bytes that a given spread must cost.

Both come from relaxations: replicas may be cut in pieces, but every broker and every rack holds no more and no less than the
rules let it. What the relaxation can't reach, no map can.

A *window* is a lowest and a highest level (load over width). For a window:

- a broker above it gives away at least its excess, a broker below it takes at least what it lacks;
- a rack takes part in every set whose spread equals the number of racks, so its sum is bounded from both sides (`RackRange`):
  with replication 3 over 3 racks no byte ever leaves its rack, and racks of unequal capacity can't be level with each other;
- bytes in = bytes out + what is placed anew. Everything beyond what brokers below the window take costs.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from kafka_runbooks.placement.arrays import NONE, Floats, Indices, Ints, loads, sum_by
from kafka_runbooks.placement.keeping import open_slots
from kafka_runbooks.placement.problems import Problem

STEPS = 64
"""Halvings in a search over levels: beyond the resolution of a double."""
NARROWINGS = 40
"""Steps of a ternary search: to a ten-millionth of where it started."""


@dataclass(frozen=True)
class Relaxation:
    """The problem without partitions: per allowed broker what it has and could have, per rack what it must and may hold.

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
    """Load that must be placed anew, wherever the rules allow."""
    huge: int
    """Weight of the heaviest partition, its replicas and whether each rack must hold one."""
    huge_replicas: int
    huge_everywhere: bool
    base: Ints
    heavy_holder: Ints
    """Replicas so heavy that they alone lift their broker above the average level: the broker, and the weight."""
    heavy_weight: Ints

    @property
    def total(self) -> int:
        return int(self.kept.sum()) + self.placed

    @cached_property
    def best_levels(self) -> tuple[float, float]:
        """(highest reachable lowest level, lowest reachable highest level): no map's levels lie strictly between.

        The two don't constrain each other in the relaxation, so their difference bounds the spread of any map.
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


def relax(problem: Problem, kept: Indices, *, moves_allowed: bool) -> Relaxation:
    """Relax a problem. Without `moves_allowed` only what must be placed can go anywhere: kept replicas stay for good."""
    cluster, weight = problem.cluster, problem.weight
    brokers = np.nonzero(problem.allowed)[0]
    count = cluster.broker_count
    slots = open_slots(problem, kept)
    scope = problem.scope
    fixed = problem.base + loads(kept[~scope], weight[~scope], count)
    kept_load = problem.base + loads(kept, weight, count)
    everything = int(weight[scope].sum())
    # Where the replication factor goes down, which replica goes is a choice, and costs nothing.
    surplus = scope & ((cluster.replicas != NONE).sum(axis=1) > problem.replication)
    stays = scope & ~surplus
    least = fixed if moves_allowed else fixed + loads(kept[stays], weight[stays], count)
    own = loads(kept[stays], weight[stays], count) + loads(cluster.replicas[surplus], weight[surplus], count)
    placeable = int(weight[scope & (slots > 0)].sum())
    most = fixed + (everything if moves_allowed else np.minimum(own + placeable, everything))
    names, rack = np.unique(cluster.racks[brokers], return_inverse=True)
    size_of = np.bincount(rack, minlength=len(names))
    rf, spread, w = problem.replication[scope], problem.spread[scope], weight[scope]
    base_of = sum_by(rack, fixed[brokers], len(names))
    rack_least, rack_most = base_of.copy(), base_of.copy()
    for r in range(len(names)):
        at_least = np.maximum((spread == len(names)).astype(np.int64), rf - (len(brokers) - size_of[r]))
        at_most = np.minimum(rf - np.maximum(spread, 1) + 1, size_of[r])
        rack_least[r] += int((w * np.minimum(at_least, at_most)).sum())
        rack_most[r] += int((w * at_most).sum())
    if problem.within_racks and moves_allowed and not slots.any():
        rack_least = rack_most = sum_by(rack, kept_load[brokers], len(names))
    heaviest = int(np.argmax(w)) if len(w) else 0
    average = float(kept_load[brokers].sum() + int((weight * slots).sum())) / float(problem.width[brokers].sum())
    holder, heavy = _heavy(problem, kept, fixed, brokers, average)
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
        huge_everywhere=bool(len(w) and spread[heaviest] == len(names) and rf[heaviest] == len(names)),
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


def best_spread(relaxed: Relaxation) -> float:
    """The spread that no map beats."""
    lowest, highest = relaxed.best_levels
    return max(0.0, highest - lowest)


def _search(holds: Callable[[float], bool], low: float, high: float) -> tuple[float, float]:
    """The last level where `holds` is true and the first where it isn't, holds being true below some level."""
    for _ in range(STEPS):
        middle = (low + high) / 2
        low, high = (middle, high) if holds(middle) else (low, middle)
    return low, high


def _reaches_up(relaxed: Relaxation, level: float) -> bool:
    """Whether every broker can be at `level` or above."""
    want = np.floor(level * relaxed.width).astype(np.int64)
    if (relaxed.most < want).any():
        return False
    floor = np.maximum(relaxed.least, want)
    need = relaxed.by_rack(floor)
    # A huge partition lifts some broker far above the level, and that weight is missing elsewhere.
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
    want = np.ceil(level * relaxed.width).astype(np.int64)
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


@dataclass(frozen=True)
class Exchange:
    """What a window makes the racks do: load that must leave and enter each, at least."""

    arrivals: Ints
    departures: Ints
    evictions: int = 0
    """Load that must leave brokers, counting what makes room for the heaviest replica that must be evicted."""

    @property
    def moved(self) -> int:
        return max(int(self.arrivals.sum()), self.evictions)


def exchange(relaxed: Relaxation, lowest: float, highest: float) -> Exchange | None:
    """The least load that must move into brokers for all levels to lie in the window; None: no map has such levels."""
    ceiling = np.floor(highest * relaxed.width).astype(np.int64)
    # A replica that doesn't fit under the ceiling of its broker must leave it, and what it leaves may have to be filled up.
    too_heavy = relaxed.base[relaxed.heavy_holder] + relaxed.heavy_weight > ceiling[relaxed.heavy_holder]
    evicted = sum_by(relaxed.heavy_holder[too_heavy], relaxed.heavy_weight[too_heavy], len(relaxed.width))
    floor = np.ceil(lowest * relaxed.width).astype(np.int64)
    lacking = relaxed.by_rack(np.maximum(0, floor - (relaxed.kept - evicted)))
    leaving = np.maximum(0, np.maximum(evicted, relaxed.kept - ceiling))
    excess = relaxed.by_rack(leaving)
    evictions = 0
    if too_heavy.any():
        weight = int(relaxed.heavy_weight[too_heavy].max())
        fits = relaxed.base + weight <= ceiling
        # Wherever it goes, that broker gives way for it.
        room = np.maximum(0, relaxed.kept + weight - ceiling) - leaving
        evictions = int(leaving.sum()) + (int(room[fits].min()) if fits.any() else 0)
    held = relaxed.by_rack(relaxed.kept)
    low = np.maximum(relaxed.rack_least, _rack_sums(relaxed, lowest, up=False)) - held
    high = np.minimum(relaxed.rack_most, _rack_sums(relaxed, highest, up=True)) - held
    if (low > high).any() or low.sum() > relaxed.placed or high.sum() < relaxed.placed:
        return None
    net = np.clip(lacking - excess, low, high)
    net = _pour(relaxed, net, low, high, held)
    arrivals = np.maximum(lacking, excess + net)
    return Exchange(arrivals, arrivals - net, evictions)


def _rack_sums(relaxed: Relaxation, level: float, *, up: bool) -> Ints:
    if up:
        return relaxed.by_rack(np.minimum(relaxed.most, np.floor(level * relaxed.width).astype(np.int64)))
    return relaxed.by_rack(np.maximum(relaxed.least, np.ceil(level * relaxed.width).astype(np.int64)))


def _pour(relaxed: Relaxation, net: Ints, low: Ints, high: Ints, held: Ints) -> Ints:
    """Bring the racks' net arrivals to the sum that has to be placed, raising the emptiest or lowering the fullest racks."""
    missing = relaxed.placed - int(net.sum())
    if missing == 0:
        return net
    width = np.zeros(len(net))
    np.add.at(width, relaxed.rack, relaxed.width)

    def at(level: float) -> Ints:
        wanted = np.floor(level * width).astype(np.int64) - held
        raised: Ints = np.clip(np.maximum(net, wanted) if missing > 0 else np.minimum(net, wanted), low, high)
        return raised

    floor, ceiling = float(((held + low) / width).min()) - 1.0, float(((held + high) / width).max()) + 1.0
    for _ in range(STEPS):
        middle = (floor + ceiling) / 2
        floor, ceiling = (middle, ceiling) if int(at(middle).sum()) <= relaxed.placed else (floor, middle)
    net = at(floor)
    for r in range(len(net)):
        step = min(relaxed.placed - int(net.sum()), int(high[r] - net[r]))
        net[r] += max(0, step)
    return net


def cheapest_window(relaxed: Relaxation, spread: float) -> tuple[float, float, Exchange] | None:
    """(lowest, highest, exchange) of the window of this spread that needs the least load moved.

    What a window costs is convex in its position, so a ternary search finds it.
    """
    lowest, highest = relaxed.best_levels
    low, high = highest - spread, lowest
    if high < low:
        if low - high > 1e-9:
            return None
        low = high

    best: tuple[float, float, Exchange] | None = None

    def cost(at: float) -> int:
        nonlocal best
        found = exchange(relaxed, at, at + spread)
        if found is None:
            return 2**62
        if best is None or found.moved < best[2].moved:
            best = (at, at + spread, found)
        return found.moved

    cost(low), cost(high)
    for _ in range(NARROWINGS):
        left, right = low + (high - low) / 3, high - (high - low) / 3
        if cost(left) <= cost(right):
            high = right
        else:
            low = left
    return best


def least_moved(relaxed: Relaxation, spread: float) -> int:
    """The load that any map with this spread (or a smaller one) must move."""
    # A hair wider: the levels of a real map are ratios of integers, and rounding must not make its own window impossible.
    found = cheapest_window(relaxed, spread + 1e-9)
    return relaxed.placed if found is None else max(relaxed.placed, found[2].moved)


def smallest_spread_within(relaxed: Relaxation, budget: int) -> float:
    """The smallest spread whose window needs no more load moved than `budget`."""
    low, high = best_spread(relaxed), float((relaxed.kept / relaxed.width).max() - (relaxed.kept / relaxed.width).min()) + 1e-9
    high = max(low, high)
    for _ in range(40):
        middle = (low + high) / 2
        found = cheapest_window(relaxed, middle)
        low, high = (low, middle) if found is not None and found[2].moved <= budget else (middle, high)
    return high


def least_bytes_shed(problem: Problem, relaxed: Relaxation, kept: Indices, spread: float) -> int:
    """Bytes that must move where weight isn't bytes: each broker sheds its excess with the replicas that weigh most per byte."""
    found = cheapest_window(relaxed, spread + 1e-9)
    if found is None:
        return 0
    # Whatever the window's position, no broker can be asked for less than at the highest window possible.
    highest = relaxed.best_levels[0] + spread
    brokers = np.nonzero(problem.allowed)[0]
    shed = 0
    for i, broker in enumerate(brokers.tolist()):
        excess = int(relaxed.kept[i]) - int(np.floor(highest * relaxed.width[i] + 1e-9))
        if excess <= 0:
            continue
        rows = np.nonzero((kept == broker).any(axis=1) & problem.scope & (problem.weight > 0))[0]
        weight, size = problem.weight[rows], problem.cluster.size_bytes[rows]
        order = np.argsort(size / weight, kind="stable")
        reach = np.cumsum(weight[order])
        whole = int(np.searchsorted(reach, excess))
        shed += int(size[order][:whole].sum())
        if whole < len(order):
            rest = excess - (int(reach[whole - 1]) if whole else 0)
            shed += int(size[order][whole]) * rest // int(weight[order][whole])
    return shed
