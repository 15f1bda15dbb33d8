"""Clusters for hypothesis: small, and unusual in every way that planners must handle."""

from hypothesis import strategies as st

from kafka_runbooks.placement import snapshots
from kafka_runbooks.placement.arrays import Cluster


@st.composite
def clusters(draw: st.DrawFn, *, roomy: bool = True, offline: bool = True, most_partitions: int = 24) -> Cluster:
    """A cluster of 2-9 brokers in 1-4 racks (or none with a rack), mixed replication factors, empty and large partitions."""
    count = draw(st.integers(2, 9))
    rack_names: list[str | None] = ["a", "b", "c", "d"] if draw(st.booleans()) else [None]
    racks = [draw(st.sampled_from(rack_names)) for _ in range(count)]
    ids = [1 + b for b in range(count)]
    partitions = draw(st.integers(1, most_partitions))
    sets, sizes = [], []
    for _ in range(partitions):
        factor = draw(st.integers(1, min(count, 4)))
        row = draw(st.permutations(ids))[:factor]
        if offline and draw(st.integers(0, 15)) == 0:
            row = [-1, *row[1:]]
        sets.append(list(row))
        sizes.append(draw(st.sampled_from([0, 1, 7, 10, 13, 40, 100])))
    used = {b: sum(size for row, size in zip(sets, sizes, strict=True) if b in row) for b in ids}
    brokers = []
    for b, rack in zip(ids, racks, strict=True):
        spare = draw(st.integers(0, 400)) if not roomy else sum(sizes) * 4 + 100
        capacity = used[b] + spare + draw(st.integers(1, 100))
        brokers.append((b, rack, capacity, capacity - used[b], True))
    topics = draw(st.integers(1, 3))
    names = [(f"t{p % topics}", p // topics) for p in range(partitions)]
    return snapshots.build(brokers, names, sets, sizes)
