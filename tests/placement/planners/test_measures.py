"""What can be balanced besides utilisation: replica counts, bytes in and out, each topic's spread."""

import time
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks import placement as benchmark
from benchmarks.placement_generator import Shape, generate
from kafka_runbooks.placement import planners, snapshots
from kafka_runbooks.placement.arrays import Cluster, loads
from kafka_runbooks.placement.errors import InvalidRequest
from kafka_runbooks.placement.leaders import by_bytes_out
from kafka_runbooks.placement.planners import Options
from tests.examples import examples
from tests.placement import builders
from tests.placement.strategies import clusters


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


def test_bytes_in_are_balanced_at_few_bytes_copied() -> None:
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


def test_two_thousand_topics_are_spread_in_seconds_for_the_fewest_bytes() -> None:
    observed = generated(Shape("rebalance", (10, 10, 10), 20_000, seed=3, partitions_per_topic=10))
    start = time.process_time()
    plan = planners.spread_topics(observed)
    assert time.process_time() - start < 10
    assert plan.spread_after == plan.best_possible_spread == 0, "30 replicas over 30 brokers"
    assert plan.moved_bytes == plan.lower_bound_bytes > 0


def test_topics_are_spread_as_far_as_racks_of_unequal_size_allow() -> None:
    """40 replicas in each rack: 5 on each of 8 brokers, 6 or 7 on each of 6."""
    observed = generated(Shape("rebalance", (8, 8, 6), 240, seed=3, partitions_per_topic=40))
    plan = planners.spread_topics(observed)
    assert not builders.problems(plan, observed.broker_ids.tolist())
    assert plan.spread_after == 2 and 1 < plan.best_possible_spread <= 2


def test_spreading_keeps_to_its_bytes() -> None:
    observed = generated(Shape("rebalance", (4, 4, 4), 240, seed=7, partitions_per_topic=40))
    whole = planners.spread_topics(observed)
    half = planners.spread_topics(observed, Options(max_moved_bytes=whole.moved_bytes // 2))
    assert whole.moved_bytes // 4 < half.moved_bytes <= whole.moved_bytes // 2
    assert half.spread_after <= whole.spread_before


def test_sizes_to_come() -> None:
    observed = generated(Shape("rebalance", (3, 3, 3), 100, seed=8))
    plain, doubled = (planners.decommission(observed, [1001], Options(size_factor=f, measure="used bytes")) for f in (1.0, 1.2))
    assert abs(doubled.moved_bytes - 1.2 * plain.moved_bytes) < 1000


def consumed(base: Cluster, seed: int, bytes_out: Sequence[int] | None = None) -> Cluster:
    rng = np.random.Generator(np.random.PCG64(seed))
    random = np.rint(np.exp(rng.normal(12, 1, base.partition_count))).astype(np.int64)
    return replace(base, bytes_out=random if bytes_out is None else np.array(bytes_out, dtype=np.int64))


def test_bytes_out_are_balanced_by_choosing_leaders() -> None:
    observed = consumed(generated(Shape("rebalance", (5, 5, 5), 900, seed=6, popularity=0.1)), 6)
    assert observed.bytes_out is not None
    plan = planners.rebalance(observed, Options(measure="bytes out"))
    out = by_bytes_out.served(plan.after, observed.bytes_out, observed.broker_count)
    assert plan.moved_bytes == 0 and plan.summary().levelled == "bytes out"
    assert plan.spread_after == out.max() - out.min() <= 0.005 * out.mean() < plan.spread_before / 20
    same = planners.balance_leaders(observed, Options(measure="bytes out"))
    assert np.array_equal(same.after, plan.after)


def test_bytes_out_move_replicas_where_leaders_alone_cannot_balance_them() -> None:
    observed = consumed(generated(Shape("rebalance", (5, 5, 5), 900, seed=6, replication=(1,))), 6)
    assert observed.bytes_out is not None
    plan = planners.rebalance(observed, Options(measure="bytes out"))
    out = by_bytes_out.served(plan.after, observed.bytes_out, observed.broker_count)
    assert plan.moved_bytes > 0 and out.max() - out.min() <= 0.006 * out.mean()
    assert not builders.problems(plan, observed.broker_ids.tolist())


def test_out_of_sync_replicas_do_not_lead_for_the_sake_of_bytes_out() -> None:
    base = builders.cluster(
        {("t", p): [1, 2] for p in range(8)}, {1: ("a", 9), 2: ("b", 9)}, in_sync=[[1, 2], [1]] + [[1, 2]] * 6
    )
    observed = consumed(base, 0, [1, 100, 1, 1, 1, 1, 1, 94])
    plan = planners.balance_leaders(observed, Options(measure="bytes out"))
    assert builders.after(plan)["t", 1] == [1, 2]
    assert plan.spread_after == 0 and plan.best_possible_spread == 0


@settings(max_examples=examples(60), deadline=None)
@given(cluster=clusters(offline=False), data=st.data())
def test_no_single_change_of_leader_would_balance_bytes_out_further(cluster: Cluster, data: st.DataObject) -> None:
    weights = data.draw(
        st.lists(st.integers(0, 1000), min_size=cluster.partition_count, max_size=cluster.partition_count).filter(any)
    )
    plan = planners.balance_leaders(consumed(cluster, 0, weights), Options(measure="bytes out"))
    out = by_bytes_out.served(plan.after, np.array(weights), cluster.broker_count)
    assert plan.spread_after >= plan.best_possible_spread
    if plan.spread_after <= by_bytes_out.BALANCED * out.sum() / cluster.broker_count:
        return
    for weight, members in zip(weights, plan.after.tolist(), strict=True):
        for other in (b for b in members[1:] if b >= 0):
            assert weight == 0 or out[members[0]] - out[other] <= weight


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (Options(measure="bytes in"), "no partition of the snapshot has bytes_in"),
        (Options(measure="bytes out"), "no partition of the snapshot has bytes_out"),
    ],
)
def test_an_unknown_measure_is_refused(options: Options, words: str) -> None:
    with pytest.raises(InvalidRequest, match=words):
        planners.rebalance(generated(Shape("rebalance", (3, 3, 3), 60)), options)


def test_bytes_out_are_not_balanced_with_fixed_leaders() -> None:
    observed = consumed(generated(Shape("rebalance", (3, 3, 3), 60)), 1)
    with pytest.raises(InvalidRequest, match="leaders: bytes out are balanced by choosing leaders"):
        planners.rebalance(observed, Options(measure="bytes out", leaders="keep"))
    with pytest.raises(InvalidRequest, match="by_share"):
        planners.balance_leaders(observed, Options(measure="bytes out"), by_share=True)
