from kafka_runbooks.models.kubernetes import BrokerPlace, BrokerPod, Machine, Node
from kafka_runbooks.safety.node_choice import choose_node

PLACE = BrokerPlace(broker_id=1, pod="events-0", node="a", node_uid="uid-a", map="events", rack="zone-a")


def node(name: str, zone: str, **more: object) -> Node:
    base = {"name": name, "uid": f"uid-{name}", "zone": zone, "map": "events", "instance_type": "small", "is_ready": True}
    return Node.model_validate({**base, **more})


def pod(name: str, broker_id: int, on: str) -> BrokerPod:
    return BrokerPod(name=name, uid="u", broker_id=broker_id, map="events", stateful_set="events", node=on)


def test_the_same_rack_wins() -> None:
    nodes = [node("a", "zone-a", is_ready=False), node("b", "zone-b"), node("d", "zone-a")]
    choice = choose_node(PLACE, nodes, [], disk_is_lost=True, is_confirmed=False)
    assert (choice.node, choice.rack, choice.in_other_rack) == ("d", "zone-a", False)


def test_taken_cordoned_foreign_and_lost_nodes_are_no_choice() -> None:
    nodes = [node("a", "zone-a"), node("b", "zone-a", is_cordoned=True), node("c", "zone-a"), node("d", "zone-a", map="checks")]
    choice = choose_node(PLACE, nodes, [pod("events-1", 2, "c")], disk_is_lost=True, is_confirmed=False)
    assert choice.node is None
    assert choose_node(PLACE, nodes, [pod("events-1", 2, "c")], disk_is_lost=False, is_confirmed=False).node == "a"


def test_another_rack_is_said() -> None:
    choice = choose_node(PLACE, [node("e", "zone-b")], [], disk_is_lost=True, is_confirmed=False)
    assert (choice.node, choice.rack, choice.in_other_rack) == ("e", "zone-b", True)


def test_a_new_machine_of_the_old_name_is_a_choice_and_the_old_one_is_none() -> None:
    place = PLACE.model_copy(update={"machine": Machine(system_uuid="hw-1")})
    new = node("a", "zone-a", uid="other", machine=Machine(system_uuid="hw-2"))
    assert choose_node(place, [new], [], disk_is_lost=True, is_confirmed=False).node == "a"
    again = node("a", "zone-a", uid="other", machine=Machine(system_uuid="hw-1"))
    assert choose_node(place, [again], [], disk_is_lost=True, is_confirmed=True).node is None


def test_a_node_that_cannot_be_told_from_the_old_one_is_a_choice_once_a_person_said_so() -> None:
    unclear = node("a", "zone-a", uid="other")
    assert choose_node(PLACE, [unclear], [], disk_is_lost=True, is_confirmed=False).node is None
    assert choose_node(PLACE, [unclear], [], disk_is_lost=True, is_confirmed=True).node == "a"


def test_a_rack_that_nobody_knows_is_not_called_another_one() -> None:
    unknown = PLACE.model_copy(update={"rack": None})
    choice = choose_node(unknown, [node("d", "zone-a")], [], disk_is_lost=True, is_confirmed=False)
    assert choice.in_other_rack and choice.rack_is_unknown
    without_zones = node("d", "zone-a").model_copy(update={"zone": None})
    assert not choose_node(unknown, [without_zones], [], disk_is_lost=True, is_confirmed=False).in_other_rack
