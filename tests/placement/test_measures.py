"""What else can be level: replica counts, bytes in, each topic's spread."""

import numpy as np

from benchmarks import placement as benchmark
from benchmarks.placement_generator import Shape, generate
from kafka_runbooks.placement import planners, snapshots
from kafka_runbooks.placement.arrays import Cluster, loads
from kafka_runbooks.placement.planners import Options
from tests.placement import builders


def generated(shape: Shape) -> Cluster:
    return benchmark.cluster_of(generate(shape))


def test_replica_counts_over_racks_of_unequal_size() -> None:
    """Replication 3 over 3 racks of 8, 8 and 7 brokers: each rack holds 1,000 replicas, which is 125 or at least 142 a broker."""
    observed = generated(Shape("rebalance", (8, 8, 7), 1000, seed=5))
    plan = planners.rebuild(observed, observed.broker_ids.tolist(), Options(measure="replica count"), force=True)
    assert not builders.problems(plan, observed.broker_ids.tolist())
    assert plan.best_possible_spread == 143 - 125
    assert plan.spread_after <= 143 - 125 + 1
    assert plan.lower_bound_bytes <= plan.moved_bytes


def test_bytes_in_are_levelled_at_few_bytes_copied() -> None:
    base = generated(Shape("rebalance", (5, 5, 5), 900, seed=6))
    rng = np.random.Generator(np.random.PCG64(6))
    rows = range(base.partition_count)
    observed = snapshots.build(
        brokers=[(int(b), base.rack_names[r], int(c), int(c), True)
                 for b, r, c in zip(base.broker_ids, base.racks, base.capacity_bytes * 3, strict=True)],
        names=[base.name(row) for row in rows],
        replicas=[base.ids(base.replicas[row]) for row in rows],
        sizes=base.size_bytes.tolist(),
        bytes_in=rng.integers(0, 1_000_000, base.partition_count).tolist(),
    )  # fmt: skip
    plan = planners.rebalance(observed, Options(measure="bytes in"))
    assert observed.bytes_in is not None and plan.measure == "bytes in"
    after = loads(plan.after, observed.bytes_in, observed.broker_count)
    assert (after.max() - after.min()) / after.mean() < 0.006
    assert plan.lower_bound_bytes <= plan.moved_bytes
    assert not builders.problems(plan, observed.broker_ids.tolist())


def test_each_topic_is_spread_over_its_brokers() -> None:
    observed = generated(Shape("rebalance", (4, 4, 4), 240, seed=7, partitions_per_topic=40))
    plan = planners.spread_topics(observed)
    assert not builders.problems(plan, observed.broker_ids.tolist())
    for topic in range(len(observed.topics)):
        rows = plan.after[observed.topic == topic]
        held = np.bincount(rows[rows >= 0], minlength=12)
        assert held.max() - held.min() <= 1


def test_sizes_to_come() -> None:
    observed = generated(Shape("rebalance", (3, 3, 3), 100, seed=8))
    plain, doubled = (planners.decommission(observed, [1001], Options(size_factor=f, measure="used bytes")) for f in (1.0, 1.2))
    assert abs(doubled.moved_bytes - 1.2 * plain.moved_bytes) < 1000
