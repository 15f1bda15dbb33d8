"""The spread that no map beats, exactly, for clusters small enough: a mixed-integer program solved by HiGHS.

`bounds` lets replicas be cut in pieces; here each is on a broker or not. Binary x[p, b]: partition p has a replica on broker b.
The search is limited by nodes, not by time, so that every machine proves the same or gives up at the same point. It is asked for
(`Options.prove`), for a proof may take seconds.
"""

import os
import sys
from typing import Any

import highspy
import numpy as np

from kafka_runbooks.placement.arrays import NONE, Indices, loads
from kafka_runbooks.placement.problem import Problem

MOST_CHOICES = 300
"""Partitions x brokers up to which the program is tried; beyond, proofs take longer than an operator waits."""
MOST_NODES = 20_000


def best_spread(problem: Problem, kept: Indices, *, moves_allowed: bool) -> float | None:
    """The smallest spread of any map, or None where it wasn't proven within the limits.

    :param kept: replicas that stay (`keeping.keep`); without `moves_allowed` they stay for good
    """
    brokers = np.nonzero(problem.allowed)[0].tolist()
    rows = np.nonzero(problem.scope & (problem.weight > 0))[0].tolist()
    if not rows or not brokers or len(rows) * len(brokers) > MOST_CHOICES:
        return None
    cluster = problem.cluster
    fixed = problem.base + loads(kept[~problem.scope], problem.weight[~problem.scope], cluster.broker_count)
    had = (cluster.replicas != NONE).sum(axis=1)
    program = solver(MOST_NODES)

    # Levels relative to the mean, so that the program's numbers are near 1 whatever the unit.
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
        _racks(program, problem, brokers, own, int(problem.spread[row]))
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


def solver(most_nodes: int) -> Any:
    """A silent solver of one thread. Its constructor prints a banner to standard output, which may be somebody's JSON."""
    make: Any = highspy.Highs
    sys.stdout.flush()
    kept = os.dup(1)
    try:
        with open(os.devnull, "wb") as nowhere:
            os.dup2(nowhere.fileno(), 1)
            made = make()
    finally:
        os.dup2(kept, 1)
        os.close(kept)
    for option, value in (("output_flag", False), ("threads", 1), ("mip_max_nodes", most_nodes), ("mip_rel_gap", 0.0),
                          ("mip_abs_gap", 1e-9)):  # fmt: skip
        made.setOptionValue(option, value)
    return made


def _racks(solver: Any, problem: Problem, brokers: list[int], own: "np.typing.NDArray[np.int32]", spread: int) -> None:
    """At least `spread` racks: one variable per rack, at most 1 and at most the replicas in it."""
    racks = problem.cluster.racks[brokers]
    names = np.unique(racks)
    if spread <= 1:
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
    solver.addRow(float(spread), highspy.kHighsInf, len(used), np.array(used, dtype=np.int32), np.ones(len(used)))
