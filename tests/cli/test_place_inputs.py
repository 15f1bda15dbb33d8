"""A live cluster through the Kafka Protocol becomes a snapshot: sizes, in-sync replicas, reassignments in progress."""

from typing import Any

import pytest

from kafka_runbooks.cli import place_inputs
from kafka_runbooks.models.cluster import Broker, ClusterSnapshot, LogDirectory, Partition, Reassignment, Replica, ReplicaSizes
from kafka_runbooks.placement import planners, snapshots
from kafka_runbooks.placement.errors import InFlight, InvalidRequest


class ReadOnlyKafka:
    """The reading half of the Protocol, with fixed answers."""

    def __init__(self, sizes: ReplicaSizes, moving: tuple[Reassignment, ...] = ()) -> None:
        self.sizes, self.moving = sizes, moving

    def snapshot(self) -> ClusterSnapshot:
        brokers = tuple(Broker(id=b, host=f"b{b}", port=9092, rack=rack) for b, rack in ((1, "a"), (2, "b"), (3, "c")))
        partitions = (
            Partition(topic="t", partition=0, leader=1, replicas=(1, 2), in_sync=(1, 2)),
            Partition(topic="t", partition=1, leader=9, replicas=(9, 2), in_sync=(2,)),
        )
        return ClusterSnapshot(cluster_id="c", brokers=brokers, partitions=partitions, minimum_in_sync={"t": 1})

    def replica_sizes(self, broker_ids: Any) -> ReplicaSizes:
        assert list(broker_ids) == [1, 2, 3]
        return self.sizes

    def reassignments(self) -> tuple[Reassignment, ...]:
        return self.moving


SIZES = ReplicaSizes(size_bytes={Replica("t", 0, 1): 100, Replica("t", 0, 2): 90, Replica("t", 1, 2): 50})


def snapshot_of(kafka: ReadOnlyKafka, capacity: int = 0) -> Any:
    return place_inputs.live_snapshot(kafka, capacity)  # type: ignore[arg-type]


def test_sizes_are_the_largest_replicas_and_lost_brokers_are_replaced() -> None:
    snapshot = snapshot_of(ReadOnlyKafka(SIZES), 1000)
    assert [p.size for p in snapshot.partitions] == [100, 50]
    assert {b.id: b.free for b in snapshot.brokers} == {1: 900, 2: 860, 3: 1000}
    plan = planners.rebuild(snapshots.from_snapshot(snapshot), [1, 2, 3], planners.Options(leaders="keep"))
    assert [(p.partition, set(p.replicas)) for p in plan.reassignment().partitions] == [(1, {2, 3})]
    assert plan.moved_bytes == 50


def test_without_capacities_used_bytes_are_balanced() -> None:
    assert planners.rebalance(snapshots.from_snapshot(snapshot_of(ReadOnlyKafka(SIZES)))).measure == "used bytes"


def test_disks_are_as_the_brokers_report() -> None:
    told = SIZES.model_copy(update={"total_bytes": {1: 1000, 2: 2000, 3: 1000}, "usable_bytes": {1: 890, 2: 1850, 3: 990}})
    snapshot = snapshot_of(ReadOnlyKafka(told))
    assert [(b.capacity, b.free) for b in snapshot.brokers] == [(1000, 890), (2000, 1850), (1000, 990)]
    cluster = snapshots.from_snapshot(snapshot)
    assert cluster.unexplained_bytes[:3].tolist() == [10, 10, 10], "used by files that are no replica: each has its own size"
    assert planners.rebalance(cluster).measure == "utilisation"
    assert [b.capacity for b in snapshot_of(ReadOnlyKafka(told), 5000).brokers] == [5000] * 3, "the command line takes precedence"


def test_log_directories_are_as_the_brokers_report() -> None:
    told = SIZES.model_copy(
        update={
            "total_bytes": {1: 1000, 2: 2000, 3: 500},
            "usable_bytes": {1: 890, 2: 1850, 3: 490},
            "directories": {
                2: (
                    LogDirectory(path="/a", total_bytes=1000, usable_bytes=900),
                    LogDirectory(path="/b", total_bytes=1000, usable_bytes=950),
                ),
                3: (
                    LogDirectory(path="/a", total_bytes=500, usable_bytes=490),
                    LogDirectory(path="/b", error="KafkaStorageError"),
                ),
            },
        }
    )
    cluster = snapshots.from_snapshot(snapshot_of(ReadOnlyKafka(told)))
    assert (
        cluster.keeps_only.tolist() == [False, False, True, False]
        and "brokers [3] have failed log directories" in cluster.remarks[0]
    )
    assert cluster.largest_bytes is not None and cluster.largest_bytes[1] == 950 and "brokers [2]" in cluster.remarks[1]


def test_a_broker_that_does_not_answer_is_not_taken_as_empty() -> None:
    with pytest.raises(InvalidRequest, match=r"brokers \[3\] did not report"):
        snapshot_of(ReadOnlyKafka(SIZES.model_copy(update={"unanswered_broker_ids": (3,)})))


def test_a_reassignment_in_progress_is_recognised() -> None:
    moving = Reassignment(topic="t", partition=0, replicas=(3, 1, 2), adding=(3,), removing=(1,))
    cluster = snapshots.from_snapshot(snapshot_of(ReadOnlyKafka(SIZES, (moving,))))
    with pytest.raises(InFlight):
        planners.rebalance(cluster)
    assert cluster.ids(cluster.on_target().replicas[0]) == [3, 2]
