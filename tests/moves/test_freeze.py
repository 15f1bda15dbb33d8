"""Every plan that a runbook carries out is verified before it is frozen: the whole map, and each batch after the others."""

from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pytest

from kafka_runbooks.models.cluster import Broker, ClusterSnapshot, Partition, Replica, ReplicaSizes
from kafka_runbooks.models.inputs import DecommissionInput, MoveInput, MoveLimits, RebalanceInput, SetReplicationFactorInput
from kafka_runbooks.models.moves import MovePlan
from kafka_runbooks.models.placement import PartitionAssignment, ReassignmentMap
from kafka_runbooks.moves import planning
from kafka_runbooks.moves.freeze import freeze, verify
from kafka_runbooks.moves.planning import ClusterObservation, PlannerResult
from kafka_runbooks.placement import snapshots
from kafka_runbooks.placement.errors import PlannerDefect
from kafka_runbooks.placement.planners import given

NOW = datetime(2026, 1, 1, tzinfo=UTC)
RACKS = {1: "a", 2: "b", 3: "c", 4: "a", 5: "b", 6: "c"}
COMMON = {"cluster": "c", "requester": "r"}


def observed(count: int = 12, size_bytes: int = 1_000, disk_bytes: int = 100_000) -> ClusterObservation:
    """Partitions on brokers 1-3, none on brokers 4-6."""
    partitions = tuple(
        Partition(
            topic="t",
            partition=number,
            leader=1 + number % 3,
            replicas=(1 + number % 3, 1 + (number + 1) % 3),
            in_sync=(1 + number % 3, 1 + (number + 1) % 3),
        )
        for number in range(count)
    )
    brokers = tuple(Broker(id=broker, host="h", port=1, rack=rack) for broker, rack in RACKS.items())
    snapshot = ClusterSnapshot(cluster_id="c", brokers=brokers, partitions=partitions, minimum_in_sync={"t": 1})
    on_disk = {Replica("t", one.partition, broker): size_bytes for one in partitions for broker in one.replicas}
    used = {broker: sum(size for replica, size in on_disk.items() if replica.broker_id == broker) for broker in RACKS}
    sizes = ReplicaSizes(
        size_bytes=on_disk,
        total_bytes=dict.fromkeys(RACKS, disk_bytes),
        usable_bytes={broker: disk_bytes - used[broker] for broker in RACKS},
    )
    cluster = snapshots.from_snapshot(snapshots.observed(snapshot, sizes, ()))
    return ClusterObservation(snapshot, sizes, (), {}, cluster)


def rebalanced(at: ClusterObservation) -> tuple[MoveInput, PlannerResult]:
    request = RebalanceInput(**COMMON, limits=MoveLimits(moves_in_per_broker=1, moves_out_per_broker=1))
    return request, planning.rebalance(at, request)


def frozen(at: ClusterObservation) -> MovePlan:
    request, result = rebalanced(at)
    return freeze(at, request, "Rebalance", result, NOW)


def test_a_sound_plan_is_frozen_in_batches() -> None:
    at = observed(count=90)
    plan = frozen(at)
    assert len({move.batch for move in plan.moves}) > 1 and plan.total_bytes > 0
    verify(plan, at.cluster)


@pytest.mark.parametrize(
    ("after", "rule"),
    [
        ((4, 4), "not a replica list"),
        ((), "not a replica list"),
        ((4,), "2 replicas before, 1 after"),
        ((4, 99), "to dead or unknown brokers"),
        ((1, 4), "spans 1 racks"),
    ],
)
def test_a_broken_batch_is_refused_with_its_rule(after: tuple[int, ...], rule: str) -> None:
    plan = frozen(observed())
    last = plan.moves[-1]
    wrong = plan.model_copy(update={"moves": (*plan.moves[:-1], replace(last, after=after))})
    with pytest.raises(PlannerDefect, match=f"batch {last.batch}: .*{rule}"):
        verify(wrong, observed().cluster)


def test_a_batch_is_judged_from_where_the_last_one_ends() -> None:
    """Two batches that fit one after the other don't fit if nothing left in between."""
    at = observed(disk_bytes=9_000)
    plan = frozen(at)
    verify(plan, at.cluster)
    everything = [replace(plan.moves[0], partition=number, after=(4, 5), batch=number) for number in range(12)]
    with pytest.raises(PlannerDefect, match="batch 9: broker 4: 10000 of 9000 bytes while both copies exist"):
        verify(plan.model_copy(update={"moves": tuple(everything)}), at.cluster)


def test_a_planner_s_bad_map_never_becomes_a_plan() -> None:
    at = observed()
    request, result = rebalanced(at)
    after = result.plan.after.copy()
    after[0] = after[0][0]
    with pytest.raises(PlannerDefect, match="a broker twice"):
        freeze(at, request, "Rebalance", replace(result, plan=replace(result.plan, after=after)), NOW)


def test_a_planner_that_touches_what_nobody_asked_for_is_refused() -> None:
    at = observed()
    request, result = rebalanced(at)
    none = np.zeros(at.cluster.partition_count, dtype=np.bool_)
    narrowed = replace(result.plan, areas=tuple((none, brokers) for _, brokers in result.plan.areas))
    with pytest.raises(PlannerDefect, match="changed, but in no map"):
        freeze(at, request, "Rebalance", replace(result, plan=narrowed), NOW)


def test_a_lower_replication_factor_is_no_defect_where_it_was_asked_for() -> None:
    at = observed()
    request = SetReplicationFactorInput(**COMMON, topics=("t",), replication_factor=1)
    plan = freeze(at, request, "SetReplicationFactor", planning.replication_factor(at, request), NOW)
    assert {len(move.after) for move in plan.moves} == {1}
    with pytest.raises(PlannerDefect, match="2 replicas before, 1 after"):
        verify(plan, at.cluster)


def test_what_has_no_in_sync_copy_keeps_its_replicas_and_is_a_reason() -> None:
    """It is not so already, and no word of an operator makes the copies that lack records complete."""
    at = observed()
    lost = at.snapshot.partitions[0]._replace(in_sync=(), leader=None)
    snapshot = replace(at.snapshot, partitions=(lost, *at.snapshot.partitions[1:]))
    at = replace(at, snapshot=snapshot, cluster=snapshots.from_snapshot(snapshots.observed(snapshot, at.sizes, ())))
    request = SetReplicationFactorInput(**COMMON, topics=("t",), replication_factor=1)
    result = planning.replication_factor(at, request)
    assert 0 not in result.plan.changed.tolist()
    (reason,) = result.reasons
    assert "(t-0)" in reason.message and not reason.can_be_acknowledged
    assert not planning.replication_factor(at, request.model_copy(update={"replication_factor": 2})).reasons


def test_what_an_operator_chose_is_judged_for_structure_and_space_alone() -> None:
    at = observed()
    request = DecommissionInput(**COMMON, brokers=(1,))
    fewer_racks = ReassignmentMap(partitions=(PartitionAssignment(topic="t", partition=0, replicas=(1, 4)),))
    result = PlannerResult(given(at.cluster, fewer_racks), "given", "", is_given=True)
    plan = freeze(at, request, "RunPlan", result, NOW)
    assert plan.checks_racks and [move.after for move in plan.moves] == [(1, 4)]
    twice = plan.model_copy(update={"moves": (replace(plan.moves[0], after=(4, 4)),)})
    with pytest.raises(PlannerDefect, match="not a replica list"):
        verify(twice, at.cluster, is_given=True)
