"""A node is known by its uid and its machine, never by its name."""

from datetime import UTC, datetime, timedelta

import pytest

from kafka_runbooks.models.cluster import Broker, ClusterSnapshot
from kafka_runbooks.models.kubernetes import BrokerPlace, BrokerPod, Claim, LastStart, Machine, Node
from kafka_runbooks.safety.lost_node import is_node_of, must_make_way, runs_elsewhere, why_node_is_not_gone
from kafka_runbooks.safety.replacement import place_of

OLD = Machine(machine_id="installed-1", system_uuid="hw-1", provider_id="cloud://1")
NEW = Machine(machine_id="installed-2", system_uuid="hw-2", provider_id="cloud://2")
CLAIM = Claim(name="data-events-0", uid="claim-1", volume="v", volume_nodes=("a",))
PLACE = BrokerPlace(
    broker_id=1, pod="events-0", pod_uid="pod-1", claims=(CLAIM,), node="a", node_uid="uid-a", machine=OLD, map="events", rack="z"
)
WHEN = datetime(2026, 1, 1, tzinfo=UTC)


def node(uid: str = "uid-a", machine: Machine = OLD, **more: object) -> Node:
    base = {"name": "a", "uid": uid, "zone": "z", "map": "events", "instance_type": "small", "is_ready": True, "machine": machine}
    return Node.model_validate({**base, **more})


def pod(uid: str = "pod-1", on: str | None = "a", **more: object) -> BrokerPod:
    base = {
        "name": "events-0",
        "uid": uid,
        "broker_id": 1,
        "map": "events",
        "stateful_set": "events",
        "claims": ["data-events-0"],
    }
    return BrokerPod.model_validate({**base, "node": on, **more})


@pytest.mark.parametrize(
    ("mine", "its", "expected"),
    [
        (OLD, OLD, True),
        (OLD, NEW, False),
        (OLD, Machine(), None),
        (Machine(), Machine(), None),
        (OLD, OLD.model_copy(update={"machine_id": "installed-2"}), None),  # installed anew: its disks may be empty
        (OLD, OLD.model_copy(update={"provider_id": "cloud://2"}), False),
        (Machine(machine_id="image"), Machine(machine_id="image"), None),  # images are cloned with it
        (Machine(system_uuid="hw-1"), OLD, True),
    ],
)
def test_one_machine_or_another(mine: Machine, its: Machine, expected: bool | None) -> None:
    assert mine.is_same(its) is expected and its.is_same(mine) is expected


def test_gone_means_no_object_or_another_machine_or_not_ready() -> None:
    assert why_node_is_not_gone([], PLACE) is None
    assert why_node_is_not_gone([node(is_ready=False)], PLACE) is None
    assert why_node_is_not_gone([node("uid-b", NEW)], PLACE) is None
    assert why_node_is_not_gone([node("uid-b", NEW), node(name="b", uid="uid-c", machine=Machine())], PLACE) is None
    assert why_node_is_not_gone([node()], PLACE) == (
        "node a is Ready",
        "power the node off, or abort and use node_state returns",
    )


def test_a_kubelet_that_registers_again_is_not_gone_whatever_name_it_takes() -> None:
    for name in ("a", "a-again"):
        found = why_node_is_not_gone([node("uid-b", OLD, name=name)], PLACE)
        assert found is not None and "the same machine as before" in found[0]


def test_a_person_is_asked_where_it_cannot_be_told() -> None:
    found = why_node_is_not_gone([node("uid-b", Machine())], PLACE)
    assert found is not None and "can't be told" in found[0] and "node_is_gone" in found[1]


def test_a_pod_that_recovers_on_a_new_machine_of_the_old_name_is_left_alone() -> None:
    fresh = Claim(name="data-events-0", uid="claim-2", volume="v2", volume_nodes=("a",))
    nodes = [node("uid-b", NEW)]
    assert not must_make_way(pod("pod-2"), [fresh], nodes, PLACE)
    assert runs_elsewhere([pod("pod-2")], nodes, PLACE)
    assert not must_make_way(pod("pod-2"), [fresh], [node("uid-b", Machine())], PLACE)
    assert not runs_elsewhere([pod("pod-2")], [node("uid-b", Machine())], PLACE), "nobody can tell"
    assert runs_elsewhere([pod("pod-2")], [node("uid-b", Machine())], PLACE.model_copy(update={"node_is_gone": True})), (
        "a person has"
    )


@pytest.mark.parametrize(
    ("found", "claim", "nodes"),
    [
        (pod(), CLAIM, [node(is_ready=False)]),
        (pod("pod-2"), CLAIM, [node(is_ready=False)]),  # bound before the cordon
        (pod(), CLAIM, []),  # the Node object is gone, the pod isn't collected yet
        (pod(), CLAIM.model_copy(update={"is_terminating": True}), [node("uid-b", NEW)]),  # bound to the name, and to lost disks
        (pod("pod-2", None), CLAIM.model_copy(update={"is_terminating": True}), []),
        (pod("pod-2", None), None, []),
    ],
)
def test_a_pod_that_is_bound_to_what_is_lost_makes_way(found: BrokerPod, claim: Claim | None, nodes: list[Node]) -> None:
    assert must_make_way(found, [claim], nodes, PLACE)


def test_an_unscheduled_pod_with_new_claims_stays() -> None:
    new = Claim(name="data-events-0", uid="claim-2")
    assert not must_make_way(pod("pod-2", None), [new], [], PLACE)


def view(*brokers: Broker) -> ClusterSnapshot:
    return ClusterSnapshot(cluster_id="c", brokers=brokers, partitions=(), minimum_in_sync={})


def test_a_place_is_that_of_the_last_start_also_when_all_objects_are_gone() -> None:
    last = LastStart(rack="zone-a", node="a", node_uid="uid-a", machine=OLD)
    place = place_of(1, "events-0", pod("pod-2", None), [CLAIM], [], view(), last)
    assert (place.node, place.node_uid, place.machine, place.rack) == ("a", "uid-a", OLD, "zone-a")
    assert place.claim_uids == {"claim-1"}
    replaced = place_of(1, "events-0", pod(), [CLAIM], [node("uid-b", NEW, zone="zone-b")], view(), last)
    assert (replaced.node_uid, replaced.rack) == ("uid-a", "zone-a")
    assert is_node_of(node("uid-b", NEW), replaced) is False


def test_without_a_record_a_node_made_after_the_pod_was_bound_is_another_one() -> None:
    bound = pod(scheduled_at=WHEN)
    before, after = node(created_at=WHEN - timedelta(hours=1)), node("uid-b", NEW, created_at=WHEN + timedelta(hours=1))
    assert place_of(1, "events-0", bound, [CLAIM], [before], view(), None).node_uid == "uid-a"
    assert place_of(1, "events-0", bound, [CLAIM], [after], view(), None).node_uid is None


def test_the_rack_comes_from_the_volume_where_nothing_else_is_left() -> None:
    zoned = Claim(name="data-events-0", uid="claim-1", volume="v", volume_zone="zone-a")
    assert place_of(1, "events-0", pod("pod-2", None), [zoned], [], view(), None).rack == "zone-a"
