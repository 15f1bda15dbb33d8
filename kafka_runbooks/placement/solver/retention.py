"""Which observed replicas stay: the first step of any plan, which determines the bytes that must move.

A replica stays in place unless its broker is lost, leaving or outside the map; or the replication factor goes down (the replicas
kept are live, in sync, in different racks, and on the emptier brokers); or the set spans fewer racks than it can and only a move
repairs that. Every slot emptied here costs a copy that no valid assignment avoids.
"""

from math import lcm

import numpy as np

from kafka_runbooks.placement.arrays import NONE, Indices
from kafka_runbooks.placement.problem import Problem, open_slots
from kafka_runbooks.placement.racks import RackRule, needs_room


def keep(problem: Problem, sets: Indices | None = None) -> Indices:
    """P x W: the replicas that stay, each in its slot; NONE elsewhere. Rows out of scope are returned unchanged."""
    cluster = problem.cluster
    rows = cluster.replicas if sets is None else sets
    allowed = (rows >= 0) & problem.stays[np.maximum(rows, 0)]
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

    rule = RackRule(problem.rack_rules)
    order = rows[np.argsort(-problem.weight[rows], kind="stable")]
    for row in order.tolist():
        brokers = [b for b in kept[row].tolist() if b >= 0]
        synced = {b for b, s in zip(cluster.replicas[row].tolist(), cluster.in_sync[row].tolist(), strict=True) if s}
        weight, wanted = int(problem.weight[row]), int(problem.replication[row])
        while len(brokers) > wanted:
            count = len(brokers)
            fine = rule.droppable(row, brokers)
            if synced.intersection(brokers) == {*fine}:
                # The last in-sync replicas: what the others hold may lack records.
                fine = [b for b in brokers if b not in synced] or fine
            gone = max(fine, key=lambda b: (b not in synced, expected[b] / width[b], b))
            brokers.remove(gone)
            before, after = weight * (wanted * scale // count), weight * (wanted * scale // (count - 1))
            expected[gone] -= before
            for broker in brokers:
                expected[broker] += after - before
        stays = set(brokers)
        kept[row] = [b if b in stays else NONE for b in kept[row].tolist()]


def _make_room_for_racks(problem: Problem, kept: Indices) -> None:
    """Empty slots of sets that couldn't be completed by the rack rule; in-sync replicas and the preferred leader go last."""
    rows = np.nonzero(problem.scope & needs_room(problem.rack_rules, kept, open_slots(problem, kept)))[0]
    if not len(rows):
        return
    rule, cluster = RackRule(problem.rack_rules), problem.cluster
    for row in rows.tolist():
        synced = {b for b, s in zip(cluster.replicas[row].tolist(), cluster.in_sync[row].tolist(), strict=True) if s}
        members = {broker: slot for slot, broker in enumerate(kept[row].tolist()) if broker >= 0}
        while rule.missing(row, list(members)) > 0:
            gone = max(rule.droppable(row, list(members)), key=lambda b: (b not in synced, members[b]))
            kept[row, members.pop(gone)] = NONE
