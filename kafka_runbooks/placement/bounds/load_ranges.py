"""Load ranges and what they cost: the smallest spread that rack and size rules allow, and the bytes that a given spread requires.

Both come from the relaxation in which replicas may be fractional, while brokers and racks hold no more and no less than the rules
allow. A *window* is a lowest and a highest level (load over width). For a window:

- a broker above it gives at least its excess, a broker below it takes at least what it lacks;
- each rack's sum stays between what it must and what it may hold;
- load in = load out + newly placed load. Anything beyond what brokers below the window take costs bytes.
"""

from dataclasses import dataclass

import numpy as np

from kafka_runbooks.placement.arrays import Indices, Ints, sum_by
from kafka_runbooks.placement.bounds.relaxation import HALVINGS, Relaxation
from kafka_runbooks.placement.problem import Problem

NARROWINGS = 40
"""Steps of a ternary search: to a ten-millionth of the initial interval."""


def best_spread(relaxed: Relaxation) -> float:
    """A spread that no assignment beats."""
    lowest, highest = relaxed.best_levels
    return max(0.0, highest - lowest)


@dataclass(frozen=True)
class Exchange:
    """What a window requires of the racks: the least load that must enter and leave each."""

    arrivals: Ints
    departures: Ints
    evictions: int = 0
    """Load that must leave brokers, counting what makes room for the heaviest replica that must be evicted."""

    @property
    def moved(self) -> int:
        """Load that must move in all."""
        return max(int(self.arrivals.sum()), self.evictions)


def exchange(relaxed: Relaxation, lowest: float, highest: float) -> Exchange | None:
    """The least load that must move for all levels to lie in the window; None: no assignment has such levels."""
    ceiling = np.floor(highest * relaxed.width).astype(np.int64)
    # A replica that doesn't fit under the ceiling of its broker must leave it, and the gap may have to be filled.
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
        # Wherever it goes, that broker must make room for it.
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
    """Adjust the racks' net arrivals to the sum that must be placed, raising the emptiest or lowering the fullest racks."""
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
    for _ in range(HALVINGS):
        middle = (floor + ceiling) / 2
        total = int(at(middle).sum())
        floor, ceiling = (middle, ceiling) if total <= relaxed.placed else (floor, middle)
        if total == relaxed.placed:
            break
    net = at(floor)
    for r in range(len(net)):
        step = min(relaxed.placed - int(net.sum()), int(high[r] - net[r]))
        net[r] += max(0, step)
    return net


def cheapest_window(relaxed: Relaxation, spread: float) -> tuple[float, float, Exchange] | None:
    """(lowest, highest, exchange) of the window of this spread that needs the least load moved.

    The cost of a window is convex in its position, so a ternary search finds it.
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
    """The load that any assignment with this spread (or a smaller one) must move."""
    # Two bytes wider: levels of a real assignment are ratios of integers, and rounding must not make the search miss its window.
    found = cheapest_window(relaxed, spread + 1e-9 + 2 / float(relaxed.width.min(initial=np.inf)))
    return relaxed.placed if found is None else max(relaxed.placed, found[2].moved)


def smallest_spread_within(relaxed: Relaxation, budget: int) -> float:
    """The smallest spread whose window requires no more load to move than `budget`."""
    low, high = best_spread(relaxed), float((relaxed.kept / relaxed.width).max() - (relaxed.kept / relaxed.width).min()) + 1e-9
    high = max(low, high)
    for _ in range(NARROWINGS):
        middle = (low + high) / 2
        found = cheapest_window(relaxed, middle)
        low, high = (low, middle) if found is not None and found[2].moved <= budget else (middle, high)
    return high


def least_bytes_shed(problem: Problem, relaxed: Relaxation, kept: Indices, spread: float) -> int:
    """Bytes that must move where load isn't bytes: each broker sheds its excess with the replicas that weigh most per byte."""
    found = cheapest_window(relaxed, spread + 1e-9)
    if found is None:
        return 0
    # Regardless of the window's position, every broker sheds at least its excess over the highest possible window.
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
