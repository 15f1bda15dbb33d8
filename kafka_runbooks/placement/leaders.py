"""Who leads: the first replica of each set is the preferred leader, and reordering a set costs no bytes.

Choosing leaders so that brokers lead equally many is an *optimal semi-matching* (Harvey, Ladner, Lovász, Tamir, 2006):
partitions are tasks, brokers machines, a replica an allowed pair. An assignment is optimal if and only if no path of partitions,
each handing its leadership to another of its replicas, leads from a broker to one that leads at least two fewer; then no
assignment has a smaller maximum, a larger minimum, or a smaller sum of any convex function. So: hand over directly while that
helps, then follow paths, shortest first, until there is none. topicmappr's optimiser is O(P²) and ends up to 2 off each fair
share.
"""

from collections import deque
from collections.abc import Iterable

import numpy as np

from kafka_runbooks.placement.arrays import Flags, Indices, Ints


def balance(sets: Indices, rows: Ints, eligible: Flags, brokers: int, standing: Ints | None = None) -> Indices:
    """Leader (broker index) of each row so that leaderships are as level as the replica sets allow; few change.

    :param sets: P x W, the current leader first
    :param rows: the partitions whose leader may be chosen
    :param eligible: P x W, replicas that may lead; a row without any keeps its first replica
    :param standing: B, leaderships that other partitions already give each broker
    :returns: one broker per row of `rows`
    """
    load: list[int] = [0] * brokers if standing is None else standing.tolist()
    choices: list[list[int]] = []
    leader: list[int] = []
    chosen, flags = sets[rows].tolist(), eligible[rows].tolist()
    for members, fine in zip(chosen, flags, strict=True):
        may = [b for b, ok in zip(members, fine, strict=True) if ok and b >= 0]
        may = may or [next(b for b in members if b >= 0)]
        choices.append(may)
        # The current leader stays where it may; a lost one is replaced by the least burdened.
        first = may[0] if may[0] == members[0] else min(may, key=lambda b: (load[b], b))
        leader.append(first)
        load[first] += 1
    _hand_over(choices, leader, load)
    _follow_paths(choices, leader, load, brokers)
    return np.array(leader, dtype=np.int32)


def _hand_over(choices: list[list[int]], leader: list[int], load: list[int]) -> None:
    changed = True
    while changed:
        changed = False
        for partition, may in enumerate(choices):
            current = leader[partition]
            ceiling = load[current] - 2
            best = current
            for broker in may:
                if load[broker] <= ceiling and (best == current or load[broker] < load[best]):
                    best = broker
            if best != current:
                leader[partition] = best
                load[current] -= 1
                load[best] += 1
                changed = True


def _follow_paths(choices: list[list[int]], leader: list[int], load: list[int], brokers: int) -> None:
    """Shift along alternating paths until no broker reaches one that leads two fewer."""
    if not leader or max(load) - min(load) <= 1:
        return
    led: list[set[int]] = [set() for _ in range(brokers)]
    for partition, broker in enumerate(leader):
        led[broker].add(partition)
    settled: set[int] = set()
    while True:
        source = max((b for b in range(brokers) if b not in settled and led[b]), key=lambda b: (load[b], -b), default=None)
        if source is None:
            return
        came: dict[int, tuple[int, int]] = {}
        seen, queue, target = {source}, deque([source]), None
        while queue and target is None:
            broker = queue.popleft()
            for partition in sorted(led[broker]):
                for other in choices[partition]:
                    if other not in seen:
                        seen.add(other)
                        came[other] = (broker, partition)
                        queue.append(other)
                        if load[other] <= load[source] - 2:
                            target = other
                            break
                if target is not None:
                    break
        if target is None:
            # Nothing that is reachable from here leads so few that a path to it would help, and no later shift changes that.
            settled |= seen
            continue
        end = target
        while end != source:
            broker, partition = came[end]
            led[broker].remove(partition)
            led[end].add(partition)
            leader[partition] = end
            end = broker
        load[source] -= 1
        load[target] += 1


def lead(sets: Indices, rows: Ints, leader: Indices) -> Indices:
    """The sets with each row's leader moved to the front; the other replicas keep their order."""
    front = sets.copy()
    picked = sets[rows]
    order = np.argsort(picked != leader[:, None], axis=1, kind="stable")
    front[rows] = np.take_along_axis(picked, order, axis=1)
    return front


def counts(sets: Indices, brokers: int) -> Ints:
    """B: partitions whose preferred leader each broker is."""
    first = sets[:, 0]
    led: Ints = np.bincount(first[first >= 0], minlength=brokers).astype(np.int64)
    return led


def evacuate(sets: Indices, rows: Ints, leaving: Iterable[int], eligible: Flags, brokers: int) -> tuple[Indices, Ints]:
    """Take the preferred leadership of `rows` off some brokers, onto the other replicas, as level as they allow.

    :returns: the sets, and the rows where only leaving or ineligible brokers hold replicas (left as they are)
    """
    away = np.isin(sets, np.fromiter(leaving, dtype=np.int64))
    affected = rows[away[rows, 0]]
    fine = eligible & ~away & (sets >= 0)
    possible = fine[affected].any(axis=1)
    movable = affected[possible]
    others = np.ones(len(sets), dtype=np.bool_)
    others[movable] = False
    leader = balance(sets, movable, fine, brokers, counts(sets[others], brokers))
    return lead(sets, movable, leader), affected[~possible]
