"""The best possible spread, exactly, for small clusters: a mixed-integer program solved by HiGHS.

The relaxation allows fractional replicas; here each is on a broker or not. Binary x[p, b]: partition p has a replica on broker b.
The search is limited by nodes, not by time, so that every machine proves the same or gives up at the same point. It runs only on
request (`Options.prove`), for a proof may take seconds.
"""

from typing import Any

import highspy
import numpy as np

from kafka_runbooks.placement.arrays import NONE, Indices, loads
from kafka_runbooks.placement.bounds import highs
from kafka_runbooks.placement.problem import Problem

MOST_CHOICES = 300
"""Partitions x brokers up to which a proof is tried; beyond, it takes longer than an operator would wait."""
MOST_NODES = 20_000


def best_spread(problem: Problem, kept: Indices, *, moves_allowed: bool) -> float | None:
    """The smallest spread of any assignment; None where it wasn't proven within the limits.

    Args:
        problem: the problem.
        kept: P x W, the replicas that stay.
        moves_allowed: whether they may move at a cost; otherwise they are fixed.
    """
    brokers = np.nonzero(problem.allowed)[0].tolist()
    rows = np.nonzero(problem.scope & (problem.weight > 0))[0].tolist()
    if not rows or not brokers or len(rows) * len(brokers) > MOST_CHOICES:
        return None
    cluster = problem.cluster
    fixed = problem.base + loads(kept[~problem.scope], problem.weight[~problem.scope], cluster.broker_count)
    had = (cluster.replicas != NONE).sum(axis=1)
    program = highs.silent(MOST_NODES)

    # Levels relative to the mean, so that the numbers of the program are near 1 in any unit.
    total = float(fixed[brokers].sum() + (problem.weight[rows] * problem.replication[rows]).sum())
    mean = max(total / float(problem.width[brokers].sum()), 1e-12)
    count = len(rows) * len(brokers)
    lowest, highest = count, count + 1
    for i in range(count):
        row, broker = rows[i // len(brokers)], brokers[i % len(brokers)]
        low, high = 0.0, 1.0
        members = kept[row].tolist()
        if not moves_allowed:
            falls = had[row] > problem.replication[row]
            if falls:
                high = float(broker in cluster.replicas[row].tolist())
            elif broker in members:
                low = 1.0
        program.addVar(low, high)
        program.changeColIntegrality(i, highspy.HighsVarType.kInteger)
    for cost in (-1.0, 1.0):
        program.addVar(-highspy.kHighsInf, highspy.kHighsInf)
        program.changeColCost(program.getNumCol() - 1, cost)

    for i, row in enumerate(rows):
        own = np.arange(len(brokers), dtype=np.int32) + i * len(brokers)
        factor = float(problem.replication[row])
        program.addRow(factor, factor, len(own), own, np.ones(len(own)))
        _racks(program, problem, brokers, own, row)
    for j, broker in enumerate(brokers):
        column = np.arange(len(rows), dtype=np.int32) * len(brokers) + j
        share = problem.weight[rows] / (problem.width[broker] * mean)
        level = float(fixed[broker] / (problem.width[broker] * mean))
        for edge, low, high in ((lowest, -level, highspy.kHighsInf), (highest, -highspy.kHighsInf, -level)):
            program.addRow(low, high, len(column) + 1, np.append(column, edge).astype(np.int32), np.append(share, -1.0))
        if cluster.capacity_bytes[broker] > 0:
            room = float(cluster.capacity_bytes[broker] - cluster.unexplained_bytes[broker])
            held = loads(kept[~problem.scope], cluster.size_bytes[~problem.scope], cluster.broker_count)
            scale = max(room, 1.0)
            program.addRow(
                -highspy.kHighsInf, (room - float(held[broker])) / scale, len(column), column, cluster.size_bytes[rows] / scale
            )
    program.run()
    if program.getModelStatus() != highspy.HighsModelStatus.kOptimal:
        return None
    return max(0.0, float(program.getInfo().objective_function_value)) * mean


def _racks(solver: Any, problem: Problem, brokers: list[int], own: Indices, row: int) -> None:
    """Require as many racks as the set must span: one variable per rack, at most 1 and at most the replicas in it."""
    racks = problem.cluster.racks[brokers]
    names, required, most = np.unique(racks), int(problem.required_racks[row]), int(problem.most_in_rack[row])
    if most:
        for rack in names.tolist():
            inside = own[racks == rack]
            solver.addRow(
                float(min(most - 1, len(inside))), float(min(most, len(inside))), len(inside), inside, np.ones(len(inside))
            )
        return
    if required <= 1:
        return
    used = []
    for rack in names.tolist():
        solver.addVar(0.0, 1.0)
        variable = solver.getNumCol() - 1
        used.append(variable)
        inside = own[racks == rack]
        solver.addRow(
            -highspy.kHighsInf,
            0.0,
            len(inside) + 1,
            np.append(inside, variable).astype(np.int32),
            np.append(-np.ones(len(inside)), 1.0),
        )
    solver.addRow(float(required), highspy.kHighsInf, len(used), np.array(used, dtype=np.int32), np.ones(len(used)))
