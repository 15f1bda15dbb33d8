"""What counts as drift of a plan, and what doesn't."""

from dataclasses import replace

from kafka_runbooks.models.cluster import Broker, ClusterSnapshot, Partition
from kafka_runbooks.models.kubernetes import BrokerPlace
from kafka_runbooks.models.plans import PlannedPartition
from kafka_runbooks.models.replacement import ReplacementPlan
from kafka_runbooks.moves.drift import added_partitions, drift, is_expected
from tests.moves.simulated import move, name, plan_of


def snapshot(replicas: dict[int, tuple[int, ...]]) -> ClusterSnapshot:
    return ClusterSnapshot(
        cluster_id="c",
        brokers=tuple(Broker(id=broker, host="h", port=1) for broker in range(1, 6)),
        partitions=tuple(
            Partition(topic="t", partition=number, leader=row[0], replicas=row, in_sync=row) for number, row in replicas.items()
        ),
        minimum_in_sync={"t": 1},
    )


REPLACEMENT = ReplacementPlan(
    cluster="c",
    kind="ReplaceBroker",
    title="",
    places=(BrokerPlace(broker_id=1, pod="events-0"),),
    replacement_broker_id=4,
    partitions=tuple(
        PlannedPartition(topic="t", partition=number, before=(1, 2), after=(4, 2), size_bytes=1) for number in (0, 1, 2)
    ),
    steps=(),
    made_at="2026-01-01T00:00:00+00:00",
)


def test_a_replacement_drifts_by_what_was_moved_or_added() -> None:
    assert drift(REPLACEMENT, snapshot({0: (1, 2), 1: (4, 2), 7: (2, 3)})) == [], (
        "one is deleted, one has arrived, one is another's"
    )
    assert drift(REPLACEMENT, snapshot({0: (1, 3), 1: (2, 1), 2: (1, 2), 7: (2, 1)})) == [
        "t-0: replicas are [1, 3], planned from [1, 2]",
        "t-1: replicas are [2, 1], planned from [1, 2]",
        "t-7: new on broker 1",
    ]


def test_moves_drift_by_partitions_that_they_should_have_covered() -> None:
    plan = plan_of(move(0, (1, 2), (3, 2)), move(1, (1, 2), (3, 2)), leaving=(1,))
    assert added_partitions(plan, snapshot({0: (1, 2), 1: (1, 2)})) == []
    assert added_partitions(plan, snapshot({0: (1, 2)})) == [], "fewer is less to do"
    grown = snapshot({0: (1, 2), 1: (1, 2), 5: (2, 1), 6: (2, 3)})
    assert added_partitions(plan, grown) == ["t-5: new on broker 1"], "elsewhere they don't matter to brokers that are emptied"
    stays = plan.model_copy(update={"leaving": ()})
    assert added_partitions(stays, grown) == ["topic t: 4 partitions, 2 when it was planned"]
    again = replace(grown, topic_ids={"t": "second"})
    assert added_partitions(stays, again) == [], "another topic under the same name"
    assert added_partitions(plan.inverse(), grown) == [], "the way back covers only what the plan did"


def test_what_this_run_leaves_behind_is_expected() -> None:
    one, own = move(0, (1, 2), (3, 2)), {name(0): (3, 2)}
    assert is_expected(one, (1, 2), {})
    own_states: list[tuple[int, ...]] = [(2, 1), (3, 2), (2, 3), (3, 2, 1)]
    for replicas in own_states:
        assert is_expected(one, replicas, own)
        assert not is_expected(one, replicas, {})
    others: list[tuple[int, ...]] = [(1, 4), (1,), (1, 2, 3, 4)]
    for replicas in others:
        assert not is_expected(one, replicas, own)
