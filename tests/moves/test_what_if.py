"""A second failure: what it costs, by example and against the definition."""

from hypothesis import given
from hypothesis import strategies as st

from kafka_runbooks.models.cluster import ClusterSnapshot
from kafka_runbooks.moves.what_if import intermediate_states
from kafka_runbooks.safety.availability import under_min_isr
from tests.safety.builders import cluster, clusters, part


def test_each_other_broker_is_named_with_what_its_failure_costs() -> None:
    snapshot = cluster(part((1, 2, 3), (1, 2, 3)), part((1, 2), (1, 2), 1), part((3, 4), (3, 4), 2), minimum=2)
    assert intermediate_states(snapshot, [1]) == (
        "if broker 2 fails too: 1 more partitions refuse acks=all writes, 1 have no in-sync copy",
        "if broker 3 fails too: 2 more partitions refuse acks=all writes, 0 have no in-sync copy",
        "if broker 4 fails too: 1 more partitions refuse acks=all writes, 0 have no in-sync copy",
    )


def test_nothing_is_said_of_a_failure_that_costs_nothing() -> None:
    assert intermediate_states(cluster(part((1, 2, 3), (1, 2, 3)), minimum=1), [1]) == ()


@given(clusters(), st.integers(1, 9))
def test_it_agrees_with_the_definition(snapshot: ClusterSnapshot, broker: int) -> None:
    expected = []
    for other in sorted(snapshot.live_broker_ids - {broker}):
        refusing = len(under_min_isr(snapshot, [broker, other])) - len(under_min_isr(snapshot, [broker]))
        gone = [
            one
            for one in snapshot.partitions
            if broker in one.replicas
            and other in one.in_sync
            and not (set(one.in_sync) & snapshot.live_broker_ids) - {broker, other}
        ]
        if refusing or gone:
            expected.append(
                f"if broker {other} fails too: {refusing} more partitions refuse acks=all writes, "
                f"{len(gone)} have no in-sync copy"
            )
    assert intermediate_states(snapshot, [broker]) == tuple(expected)
