"""Preflight reports every reason at once, and only those."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from kafka_runbooks.models.cluster import Broker, ClusterSnapshot, Partition, Reassignment
from kafka_runbooks.models.inputs import NodeState, ReplaceBrokerInput
from kafka_runbooks.models.kubernetes import BrokerPlace, BrokerPod, Node
from kafka_runbooks.models.results import Reason
from kafka_runbooks.safety import availability
from kafka_runbooks.safety.replacement import (
    find_broker,
    needs_return,
    reasons_not_to_replace,
    unacknowledged_risks,
    unknown_zone,
    why_nothing_to_do,
)


def snapshot(live: list[int], *partitions: Partition) -> ClusterSnapshot:
    return ClusterSnapshot(
        cluster_id="c",
        brokers=tuple(Broker(id=broker, host="h", port=9092, rack=f"zone-{broker % 3}") for broker in live),
        partitions=partitions,
        minimum_in_sync={partition.topic: 2 for partition in partitions},
    )


def part(topic: str, number: int, replicas: list[int], in_sync: list[int]) -> Partition:
    return Partition(
        topic=topic, partition=number, leader=in_sync[0] if in_sync else None, replicas=tuple(replicas), in_sync=tuple(in_sync)
    )


def asks(**more: object) -> ReplaceBrokerInput:
    return ReplaceBrokerInput.model_validate({"cluster": "lab", "requester": "me", "broker_id": 1, **more})


POD = BrokerPod(name="events-0", uid="u", broker_id=1, map="events", stateful_set="events", claims=("data-events-0",), node="a")
NODE = Node(name="a", uid="n", zone="zone-1", map="events", instance_type="small", is_ready=False)


def test_all_reasons_come_at_once() -> None:
    view = snapshot([1, 2, 3], part("single", 0, [1], [1]), part("only", 4, [1, 2], [1]), part("fine", 0, [1, 2, 3], [2, 3]))
    found = reasons_not_to_replace(asks(), 1, None, NODE.model_copy(update={"is_ready": True}), view, ())
    found += unacknowledged_risks(asks(), [1], view)
    assert [reason.name for reason in found] == ["no-pod", "broker-is-up", "data-loss:only", "data-loss:single"]
    assert [reason.can_be_acknowledged for reason in found] == [False, False, True, True]
    assert all(reason.remedy for reason in found)


def test_an_acknowledged_risk_is_no_reason_but_another_topic_s_is() -> None:
    view = snapshot([2], part("single", 0, [1], [1]), part("other", 1, [1], []))
    found = unacknowledged_risks(asks(acknowledged_risks=["data-loss:single"]), [1], view)
    assert [reason.name for reason in found] == ["data-loss:other"]


def test_a_disk_that_returns_asks_for_nothing() -> None:
    view = snapshot([2], part("single", 0, [1], [1]))
    assert reasons_not_to_replace(asks(node_state="returns"), 1, POD, NODE, view, ()) == []
    assert unacknowledged_risks(asks(node_state="returns"), [1], view) == []


def test_substitution_names_what_is_in_the_way() -> None:
    view = snapshot([1, 2], part("t", 0, [1, 2], [1, 2]), part("u", 0, [1, 3], [1]))
    foreign = Reassignment(topic="u", partition=0, replicas=(1, 3, 4), adding=(4,), removing=(3,))
    found = reasons_not_to_replace(asks(replacement_broker_id=2), 1, POD, NODE, view, [foreign])
    assert [reason.name for reason in found] == ["two-replicas:t", "foreign-reassignment"]
    found = reasons_not_to_replace(asks(replacement_broker_id=9), 1, POD, NODE, view, [])
    assert [(reason.name, reason.is_bad_input) for reason in found] == [("unknown-replacement", True)]
    found = reasons_not_to_replace(asks(replacement_broker_id=3), 1, POD, NODE, view, [])
    assert (found[0].name, found[0].is_bad_input) == ("replacement-is-down", False)


def test_what_is_lost_with_several_disks_is_more_than_with_each_of_them() -> None:
    view = snapshot([1, 2, 3], part("pair", 0, [1, 2], [1, 2]), part("safe", 0, [1, 2, 3], [1, 2, 3]))
    assert unacknowledged_risks(asks(), [1], view) == unacknowledged_risks(asks(), [2], view) == []
    (risk,) = unacknowledged_risks(asks(), [1, 2], view)
    assert risk.name == "data-loss:pair" and "broker 1, 2" in risk.message


def test_the_broker_is_found_by_id_or_by_node() -> None:
    ids = {"events-0": 1, "events-1": 2}
    assert find_broker(1, "lab", [POD], [NODE], ids, {}) == 1
    assert find_broker("a", "lab", [POD], [NODE], ids, {}) == 1
    labelled = NODE.model_copy(update={"broker_id": 2})
    assert find_broker("a", "lab", [], [labelled], ids, {}) == 2
    unknown = find_broker(7, "lab", [POD], [NODE], ids, {})
    assert isinstance(unknown, Reason) and "broker_ids: 7" in unknown.message and "1, 2" in unknown.remedy
    assert isinstance(find_broker("a", "lab", [], [], ids, {}), Reason)
    unlabelled = find_broker(1, "lab", [], [NODE], {}, {})
    assert isinstance(unlabelled, Reason) and "`kafka-runbooks doctor lab`" in unlabelled.remedy


def test_of_a_zone_only_those_are_meant_whose_node_is_gone_or_that_are_not_in_sync() -> None:
    place, view = BrokerPlace(broker_id=1, pod="events-0", node="a", node_uid="n"), snapshot([2], part("t", 0, [1, 2], [2]))
    back = snapshot([1, 2], part("t", 0, [1, 2], [2]))
    ready = NODE.model_copy(update={"is_ready": True})
    assert needs_return(NodeState.LOST, place, [NODE], view) and needs_return(NodeState.LOST, place, [], view)
    assert not needs_return(NodeState.LOST, place, [ready], view), "its broker restarts there"
    assert not needs_return(NodeState.LOST, place, [NODE], back), "it is up"
    assert needs_return(NodeState.RETURNS, place, [ready], back)
    assert not needs_return(NodeState.RETURNS, place, [ready], snapshot([1, 2], part("t", 0, [1, 2], [1, 2])))
    assert unknown_zone("a", {"a", "b"}) is None
    unknown = unknown_zone("d", {"b", "a"})
    assert unknown is not None and unknown.is_bad_input and "a, b" in unknown.remedy


def test_a_broker_that_is_well_needs_nothing() -> None:
    view = snapshot([1, 2], part("t", 0, [1, 2], [1, 2]))
    ready, node = POD.model_copy(update={"is_ready": True}), NODE.model_copy(update={"is_ready": True})
    assert why_nothing_to_do(asks(node_state="returns"), 1, ready, node, view)
    assert why_nothing_to_do(asks(node_state="lost"), 1, ready, node, view) is None
    assert why_nothing_to_do(asks(node_state="returns"), 1, ready, node, snapshot([1, 2], part("t", 0, [1, 2], [2]))) is None
    assert why_nothing_to_do(asks(replacement_broker_id=3), 1, ready, node, snapshot([1], part("t", 0, [2], [2])))


@st.composite
def snapshots(draw: st.DrawFn) -> ClusterSnapshot:
    brokers = draw(st.lists(st.integers(1, 5), unique=True, min_size=1))
    partitions = []
    for number in range(draw(st.integers(0, 6))):
        replicas = draw(st.lists(st.integers(1, 5), unique=True, min_size=1, max_size=3))
        in_sync = [broker for broker in replicas if draw(st.booleans())]
        partitions.append(part("t", number, replicas, in_sync))
    return snapshot(brokers, *partitions)


@given(snapshots(), st.integers(1, 5))
def test_data_loss_is_named_exactly_where_no_other_live_in_sync_copy_is(view: ClusterSnapshot, broker_id: int) -> None:
    alone = {partition.name for partition in availability.only_copy_on(view, [broker_id])}
    for partition in view.partitions:
        others = (set(partition.in_sync) & view.live_broker_ids) - {broker_id}
        assert (partition.name in alone) == (broker_id in partition.replicas and not others)


@given(snapshots(), st.sets(st.integers(1, 5)))
def test_more_brokers_away_never_help(view: ClusterSnapshot, away: set[int]) -> None:
    before = {partition.name for partition in availability.under_min_isr(view)}
    assert before <= {partition.name for partition in availability.under_min_isr(view, away)}


def test_inputs_say_what_is_wrong() -> None:
    wrong: list[tuple[dict[str, object], str]] = [
        ({"broker_id": None}, "exactly one of broker_ids, nodes and zone"),
        ({"node": "a"}, "exactly one of broker_ids, nodes and zone"),
        ({"broker_ids": [1, 2]}, "broker_id or broker_ids, not both"),
        ({"broker_id": None, "zone": "a", "replacement_broker_id": 3}, "takes the place of one broker"),
        ({"broker_id": [1, 1]}, "one appears twice"),
        ({"replacement_broker_id": 1}, "replacement_broker_id"),
        ({"throttel": {}}, "throttel"),
        ({"throttle": {"mode": "fixed", "rate_bytes_per_s": 0}}, "rate_bytes_per_s"),
        ({"throttle": {"mode": "adapt", "floor_bytes_per_s": 2_000, "ceiling_bytes_per_s": 1_000}}, "ceiling_bytes_per_s"),
        ({"node_state": "gone"}, "node_state"),
        ({"requester": "  "}, "requester"),
    ]
    for bad, word in wrong:
        with pytest.raises(ValidationError, match=word):
            asks(**bad)
    assert asks().node_state is NodeState.LOST
