"""Preferred leaders balanced by count; the first replica of a set is its preferred leader, and reordering a set copies nothing.

Choosing leaders so that brokers lead equally many is an *optimal semi-matching* (Harvey, Ladner, Lovász, Tamir, 2006):
partitions are tasks, brokers machines, a replica an allowed pair. A matching is optimal if and only if no alternating path, of
partitions that each hand their leadership to another of their replicas, goes from a broker to one that leads at least two fewer;
then no other has a smaller maximum, a larger minimum, or a smaller sum of any convex function. So: hand over directly while that
helps, then follow alternating paths, shortest first, until there are none. topicmappr's optimiser is O(P²) and ends up to 2 off
each fair share.
"""

from collections import deque
from collections.abc import Iterable
from math import lcm

import numpy as np

from kafka_runbooks.placement.arrays import NONE, Flags, Indices, Ints, leader_counts, with_leaders, would_lead
from kafka_runbooks.placement.leaders.handovers import Leaderships, settle_at_the_mean


def balance(
    sets: Indices, rows: Ints, eligible: Flags, brokers: int, others: Ints | None = None, before: Indices | None = None
) -> Indices:
    """Choose leaders so that leaderships are as even as the replica sets allow, with few changes.

    Args:
        sets: P x W, in preference order.
        rows: the partitions whose leader may be chosen.
        eligible: P x W, replicas that may lead; a row without any keeps its first replica.
        brokers: number of brokers.
        others: B, leaderships that each broker has from other partitions.
        before: P, the leader until now; None: the first of the set.

    Returns:
        One broker (index) per row of `rows`.
    """
    load = [0] * brokers if others is None else others.tolist()
    leaderships = _start(sets, rows, eligible, load, 1, None if before is None else before[rows])
    settle_at_the_mean(leaderships, np.unique(leaderships.members[leaderships.may]))
    return _proven(leaderships)


def balance_by_share(sets: Indices, rows: Ints, eligible: Flags, brokers: int) -> Indices:
    """Like `balance`, but each broker leads its fair share of its replicas: the sum of 1/RF over them, rounded up or down.

    This is what topicmappr's leader/follower ratio aims at; integral flows make it always possible. A whole share is met exactly:
    loads count in halves, and a broker with a fractional share ends half a leadership above or below it.
    """
    # Exact fractions: a common multiple of the set sizes instead of floats.
    sizes = (sets[rows] >= 0).sum(axis=1)
    scale = lcm(*range(1, sets.shape[1] + 1))
    share = [0] * brokers
    for members, size in zip(sets[rows].tolist(), sizes.tolist(), strict=True):
        for broker in members:
            if broker >= 0:
                share[broker] += scale // size
    start = [-(2 * (s // scale) + (1 if s % scale else 0)) for s in share]
    leaderships = _start(sets, rows, eligible, start, 2, None)
    leaderships.settle(-1, 1)
    return _proven(leaderships)


def _start(sets: Indices, rows: Ints, eligible: Flags, load: list[int], step: int, before: Indices | None) -> Leaderships:
    members = sets[rows]
    may: Flags = eligible[rows] & (members >= 0)
    may[~may.any(axis=1), 0] = True
    stays = may[:, 0] if before is None else may[:, 0] & (members[:, 0] == before)
    first: Indices = np.where(stays, members[:, 0], NONE).astype(np.int32)
    return Leaderships(members, may, first, load, step)


def _proven(leaderships: Leaderships) -> Indices:
    """The leaders, once no alternating path is left that would make leaderships more even."""
    load, step = leaderships.load, leaderships.step
    if max(load, default=0) - min(load, default=0) > step:
        members, may = leaderships.members.tolist(), leaderships.may.tolist()
        choices = [[b for b, ok in zip(row, fine, strict=True) if ok] for row, fine in zip(members, may, strict=True)]
        _follow_paths(choices, leaderships.leader, load, step)
    return np.array(leaderships.leader, dtype=np.int32)


def _follow_paths(choices: list[list[int]], leader: list[int], load: list[int], step: int) -> None:
    """Hand over along alternating paths until none goes to a broker that leads two fewer."""
    led: list[set[int]] = [set() for _ in load]
    for partition, broker in enumerate(leader):
        led[broker].add(partition)
    settled: set[int] = set()
    while True:
        source = max((b for b in range(len(load)) if b not in settled and led[b]), key=lambda b: (load[b], -b), default=None)
        if source is None:
            return
        came = _path(choices, led, load, source, load[source] - step - 1)
        target = next(reversed(came), None)
        if target is None or load[target] > load[source] - step - 1:
            # No broker reachable from here leads few enough for a path to help, and no later change alters that.
            settled |= {source, *came}
            continue
        end = target
        while end != source:
            broker, partition = came[end]
            led[broker].remove(partition)
            led[end].add(partition)
            leader[partition] = end
            end = broker
        load[source] -= step
        load[target] += step


def _path(
    choices: list[list[int]], led: list[set[int]], load: list[int], source: int, ceiling: int
) -> dict[int, tuple[int, int]]:
    """Breadth-first search: broker -> (its predecessor, the partition handed over); the first at or below `ceiling` is last."""
    came: dict[int, tuple[int, int]] = {}
    queue = deque([source])
    while queue:
        broker = queue.popleft()
        for partition in sorted(led[broker]):
            for other in choices[partition]:
                if other != source and other not in came:
                    came[other] = (broker, partition)
                    queue.append(other)
                    if load[other] <= ceiling:
                        return came
    return came


def evacuate(
    sets: Indices, rows: Ints, leaving: Iterable[int], eligible: Flags, leads: Indices, brokers: int
) -> tuple[Indices, Ints]:
    """Move the leadership of `rows` off some brokers onto other replicas, as evenly as they allow.

    A broker leads what it leads now, what it is the preferred leader of, and what it would be elected for because the replicas
    before it are dead or lag behind.

    Returns:
        The sets, and the rows left unchanged, where only leaving or ineligible brokers hold replicas.
    """
    gone = np.fromiter(leaving, dtype=np.int64)
    away = np.isin(sets, gone)
    elected = would_lead(sets, eligible)
    # Where another live in-sync replica is preferred already, an election is enough.
    affected = rows[(away[:, 0] | np.isin(elected, gone) | (np.isin(leads, gone) & (elected != sets[:, 0])))[rows]]
    fine = eligible & ~away & (sets >= 0)
    possible = fine[affected].any(axis=1)
    movable = affected[possible]
    others = np.ones(len(sets), dtype=np.bool_)
    others[movable] = False
    leader = balance(sets, movable, fine, brokers, leader_counts(sets[others], brokers))
    return with_leaders(sets, movable, leader), affected[~possible]
