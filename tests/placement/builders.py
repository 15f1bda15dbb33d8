"""Small clusters for tests: brokers as (id, rack, free bytes), sets as lists of ids."""

from collections.abc import Mapping, Sequence

import numpy as np

from kafka_runbooks.placement import snapshots
from kafka_runbooks.placement.arrays import Cluster
from kafka_runbooks.placement.plan import Plan
from kafka_runbooks.placement.verify import rules

Sets = Mapping[tuple[str, int], Sequence[int]]

M1: Sets = {("t", 0): [1001, 1002], ("t", 1): [1002, 1001], ("t", 2): [1003, 1004, 1001], ("t", 3): [1004, 1003, 1002]}
M2: Sets = {
    ("t", 0): [1001, 1002],
    ("t", 1): [1002, 1001],
    ("t", 2): [1003, 1004],
    **{("t", p): [1004, 1003] for p in range(3, 7)},
}
M4: Sets = {
    ("t", 0): [1004, 1003], ("t", 1): [1003, 1004], ("t", 2): [1001, 1002],
    ("t", 3): [1003, 1002], ("t", 4): [1001, 1003], ("t", 5): [1002, 1001],
}  # fmt: skip
B4: Mapping[int, tuple[str | None, int]] = {1001: ("a", 100), 1002: ("b", 200), 1003: ("c", 300), 1004: ("a", 400)}
B7: Mapping[int, tuple[str | None, int]] = {
    1001: ("a", 100), 1002: ("b", 200), 1003: ("c", 300), 1004: ("a", 400), 1005: ("b", 400), 1006: ("c", 400), 1007: ("a", 400),
}  # fmt: skip
S = {0: 1000, 1: 1500, 2: 2000, 3: 2500, 4: 2200, 5: 4000}


def cluster(
    sets: Sets,
    brokers: Mapping[int, tuple[str | None, int]] = B4,
    sizes: Mapping[int, int] | None = None,
    *,
    capacity: int = 100_000,
    dead: Sequence[int] = (),
    in_sync: Sequence[Sequence[int] | None] | None = None,
) -> Cluster:
    """A cluster; `sizes` by partition number, `brokers` as (rack, free bytes)."""
    names = list(sets)
    return snapshots.build(
        brokers=[(b, rack, capacity, free, b not in dead) for b, (rack, free) in brokers.items()],
        names=names,
        replicas=[sets[name] for name in names],
        sizes=[(sizes or {}).get(name[1], 0) for name in names],
        in_sync=in_sync,
    )


def after(plan: Plan) -> dict[tuple[str, int], list[int]]:
    """Every partition's replicas after a plan."""
    rows = range(plan.cluster.partition_count)
    return {(t, p): ids for t, p, ids in snapshots.assignments(plan.cluster, plan.after, rows)}


def problems(plan: Plan, brokers: Sequence[int], replication: int | None = None, min_racks: int | None = None) -> list[str]:
    """Findings of the independent rules about a plan's assignment; what has no live in-sync replica must be as it was."""
    known = rules.facts(plan.cluster)
    planned = after(plan)
    lost = {plan.cluster.name(int(row)) for row in np.nonzero(~plan.cluster.in_sync.any(axis=1))[0]}
    moved = [
        f"{name}: has no live in-sync replica, and is moved" for name in lost & {plan.cluster.name(int(r)) for r in plan.changed}
    ]
    return moved + rules.check_assignment(
        known,
        {name: row for name, row in planned.items() if name not in lost},
        brokers=brokers,
        replication=replication,
        min_racks=min_racks,
    )
