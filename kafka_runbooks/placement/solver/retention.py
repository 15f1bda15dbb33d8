"""Which observed replicas stay: the first step of any plan, which determines the bytes that must move.

A replica stays in place unless its broker is lost, leaving or outside the map; or the replication factor goes down (the replicas
kept are live, in sync, in different racks, and on the emptier brokers); or the set spans fewer racks than it can and only a move
repairs that. Every slot emptied here costs a copy that no valid assignment avoids.
"""

from math import lcm

import numpy as np

from kafka_runbooks.placement.arrays import NONE, Indices, distinct_racks
from kafka_runbooks.placement.problem import Problem, open_slots


def keep(problem: Problem, sets: Indices | None = None) -> Indices:
    """P x W: the replicas that stay, each in its slot; NONE elsewhere. Rows out of scope are returned unchanged."""
    cluster = problem.cluster
    rows = cluster.replicas if sets is None else sets
    allowed = (rows >= 0) & problem.allowed[np.maximum(rows, 0)]
    kept: Indices = np.where(problem.scope[:, None] & ~allowed, NONE, rows).astype(np.int32)
    _drop_surplus(problem, kept)
    _make_room_for_racks(problem, kept)
    return kept


def _drop_surplus(problem: Problem, kept: Indices) -> None:
    """Remove replicas from sets that are larger than the replication factor, heaviest partition first.

    Every undecided partition counts on each of its brokers with the share that will stay on average, so that early decisions
    anticipate later ones.
    """
    cluster = problem.cluster
    have = (kept != NONE).sum(axis=1)
    rows = np.nonzero(problem.scope & (have > problem.replication))[0]
    if not len(rows):
        return
    scale = lcm(*range(1, kept.shape[1] + 1))
    width = problem.width.tolist()
    expected: list[int] = [int(base) * scale for base in problem.base]
    staying = np.where(have > problem.replication, problem.replication, have)
    share = problem.weight * (staying * scale // np.maximum(have, 1))
    for slot in range(kept.shape[1]):
        column = kept[:, slot]
        part = np.zeros(cluster.broker_count, dtype=np.int64)
        np.add.at(part, column[column >= 0], share[column >= 0])
        expected = [a + b for a, b in zip(expected, part.tolist(), strict=True)]

    racks: list[int] = cluster.racks.tolist()
    order = rows[np.argsort(-problem.weight[rows], kind="stable")]
    for row in order.tolist():
        brokers = [b for b in kept[row].tolist() if b >= 0]
        synced = {b for b, s in zip(cluster.replicas[row].tolist(), cluster.in_sync[row].tolist(), strict=True) if s}
        weight, wanted, required = int(problem.weight[row]), int(problem.replication[row]), int(problem.required_racks[row])
        while len(brokers) > wanted:
            count = len(brokers)
            need = min(required, len({racks[b] for b in brokers}))
            fine = [b for b in brokers if len({racks[c] for c in brokers if c != b}) >= need]
            gone = max(fine, key=lambda b: (b not in synced, expected[b] / width[b], b))
            brokers.remove(gone)
            before, after = weight * (wanted * scale // count), weight * (wanted * scale // (count - 1))
            expected[gone] -= before
            for broker in brokers:
                expected[broker] += after - before
        stays = set(brokers)
        kept[row] = [b if b in stays else NONE for b in kept[row].tolist()]


def _make_room_for_racks(problem: Problem, kept: Indices) -> None:
    """Empty slots of sets that would otherwise span fewer racks than they can; the preferred leader is the last to go."""
    racks: list[int] = problem.cluster.racks.tolist()
    reach = distinct_racks(kept, problem.cluster.racks) + open_slots(problem, kept)
    for row in np.nonzero(problem.scope & (reach < problem.required_racks))[0].tolist():
        missing = int(problem.required_racks[row] - reach[row])
        seen: set[int] = set()
        duplicates = []
        for slot, broker in enumerate(kept[row].tolist()):
            if broker >= 0 and racks[broker] in seen:
                duplicates.append(slot)
            seen.add(racks[broker] if broker >= 0 else -1)
        for slot in duplicates[-missing:]:
            kept[row, slot] = NONE
