from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from kafka_runbooks.models.kubernetes import BrokerPlace, BrokerPod, Machine, Node
from kafka_runbooks.models.messages import NodeChoice
from kafka_runbooks.safety.node_choice import choose_nodes

PLACE = BrokerPlace(broker_id=1, pod="events-0", node="a", node_uid="uid-a", map="events", rack="zone-a")


def node(name: str, zone: str, **more: object) -> Node:
    base = {"name": name, "uid": f"uid-{name}", "zone": zone, "map": "events", "instance_type": "small", "is_ready": True}
    return Node.model_validate({**base, **more})


def pod(name: str, broker_id: int, on: str) -> BrokerPod:
    return BrokerPod(name=name, uid="u", broker_id=broker_id, map="events", stateful_set="events", node=on)


def choose_node(place: BrokerPlace, nodes: Sequence[Node], pods: Sequence[BrokerPod], *, disk_is_lost: bool) -> NodeChoice:
    return choose_nodes([place], nodes, pods, disks_are_lost=disk_is_lost)[place.broker_id]


def gone(place: BrokerPlace) -> BrokerPlace:
    """Its node doesn't come back: a person said so."""
    return place.model_copy(update={"node_is_gone": True})


def test_the_same_rack_wins() -> None:
    nodes = [node("a", "zone-a", is_ready=False), node("b", "zone-b"), node("d", "zone-a")]
    choice = choose_node(PLACE, nodes, [], disk_is_lost=True)
    assert (choice.node, choice.rack, choice.in_other_rack) == ("d", "zone-a", False)


def test_taken_cordoned_foreign_and_lost_nodes_are_no_choice() -> None:
    nodes = [node("a", "zone-a"), node("b", "zone-a", is_cordoned=True), node("c", "zone-a"), node("d", "zone-a", map="checks")]
    choice = choose_node(PLACE, nodes, [pod("events-1", 2, "c")], disk_is_lost=True)
    assert choice.node is None
    assert choose_node(PLACE, nodes, [pod("events-1", 2, "c")], disk_is_lost=False).node == "a"


def test_another_rack_is_said() -> None:
    choice = choose_node(PLACE, [node("e", "zone-b")], [], disk_is_lost=True)
    assert (choice.node, choice.rack, choice.in_other_rack) == ("e", "zone-b", True)


def test_a_new_machine_of_the_old_name_is_a_choice_and_the_old_one_is_none() -> None:
    place = PLACE.model_copy(update={"machine": Machine(system_uuid="hw-1")})
    new = node("a", "zone-a", uid="other", machine=Machine(system_uuid="hw-2"))
    assert choose_node(place, [new], [], disk_is_lost=True).node == "a"
    again = node("a", "zone-a", uid="other", machine=Machine(system_uuid="hw-1"))
    assert choose_node(gone(place), [again], [], disk_is_lost=True).node is None


def test_a_node_that_cannot_be_told_from_the_old_one_is_a_choice_once_a_person_said_so() -> None:
    unclear = node("a", "zone-a", uid="other")
    assert choose_node(PLACE, [unclear], [], disk_is_lost=True).node is None
    assert choose_node(gone(PLACE), [unclear], [], disk_is_lost=True).node == "a"


def test_a_rack_that_nobody_knows_is_not_called_another_one() -> None:
    unknown = PLACE.model_copy(update={"rack": None})
    choice = choose_node(unknown, [node("d", "zone-a")], [], disk_is_lost=True)
    assert choice.in_other_rack and choice.rack_is_unknown
    without_zones = node("d", "zone-a").model_copy(update={"zone": None})
    assert not choose_node(unknown, [without_zones], [], disk_is_lost=True).in_other_rack


def lost(broker_id: int, rack: str | None, map_name: str = "events") -> BrokerPlace:
    return BrokerPlace(broker_id=broker_id, pod=f"{map_name}-{broker_id}", node=f"old-{broker_id}", map=map_name, rack=rack)


def test_brokers_that_come_back_together_get_different_nodes_and_their_own_racks_first() -> None:
    places = [lost(1, "zone-a"), lost(2, "zone-a"), lost(3, "zone-b"), lost(4, "zone-b", "checks")]
    nodes = [node("n1", "zone-b"), node("n2", "zone-a"), node("n3", "zone-c"), node("n4", "zone-a", map="checks")]
    chosen = choose_nodes(places, nodes, [], disks_are_lost=True)
    assert {broker_id: choice.node for broker_id, choice in chosen.items()} == {1: "n2", 2: "n3", 3: "n1", 4: "n4"}
    assert {broker_id for broker_id, choice in chosen.items() if choice.in_other_rack} == {2, 4}
    one_less = choose_nodes(places, nodes[1:], [], disks_are_lost=True)
    assert {broker_id: choice.node for broker_id, choice in one_less.items()} == {1: "n2", 2: "n3", 3: None, 4: "n4"}


@given(st.lists(st.sampled_from("abc"), max_size=7), st.lists(st.sampled_from("abc"), max_size=7))
def test_no_node_is_given_twice_and_none_stays_free_while_a_broker_has_none(racks: list[str], zones: list[str]) -> None:
    places = [lost(number, rack) for number, rack in enumerate(racks)]
    nodes = [node(f"n{number}", zone) for number, zone in enumerate(zones)]
    chosen = choose_nodes(places, nodes, [], disks_are_lost=True)
    given_nodes = [choice.node for choice in chosen.values() if choice.node is not None]
    assert len(set(given_nodes)) == len(given_nodes) == min(len(places), len(nodes))
    near = sum(choice.node is not None and not choice.in_other_rack for choice in chosen.values())
    assert near == sum(min(racks.count(zone), zones.count(zone)) for zone in "abc")
