"""What a live cluster's observation costs on its way into a planner: there are 200,000 partitions in a large one."""

import tracemalloc

from kafka_runbooks.models.cluster import Broker, ClusterSnapshot, Partition, Replica, ReplicaSizes
from kafka_runbooks.placement import snapshots

COUNT = 5_000
MOST_BYTES_EACH = 400
"""As pydantic models they were 1,500."""


def test_an_observed_partition_takes_little_memory() -> None:
    partitions = tuple(
        Partition(topic="t", partition=number, leader=1001, replicas=(1001, 1002), in_sync=(1001, 1002))
        for number in range(COUNT)
    )
    brokers = tuple(Broker(id=broker, host="h", port=1, rack="a") for broker in (1001, 1002))
    snapshot = ClusterSnapshot(cluster_id="c", brokers=brokers, partitions=partitions, minimum_in_sync={"t": 1})
    sizes = ReplicaSizes(size_bytes={Replica("t", number, 1001): 1_000_000 for number in range(COUNT)})
    tracemalloc.start()
    try:
        observed = snapshots.observed(snapshot, sizes, ())
        taken, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(observed.partitions) == COUNT and taken < MOST_BYTES_EACH * COUNT
    assert snapshots.from_snapshot(observed).partition_count == COUNT
