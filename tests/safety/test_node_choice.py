from kafka_runbooks.models.kubernetes import BrokerPlace, BrokerPod, Node
from kafka_runbooks.safety.node_choice import choose_node, why_node_is_not_gone

PLACE = BrokerPlace(broker_id=1, pod="events-0", claim="data-events-0", node="a", node_uid="uid-a", map="events", rack="zone-a")


def node(name: str, zone: str, **more: object) -> Node:
    base = {"name": name, "uid": f"uid-{name}", "zone": zone, "map": "events", "instance_type": "small", "is_ready": True}
    return Node.model_validate({**base, **more})


def pod(name: str, broker_id: int, on: str) -> BrokerPod:
    return BrokerPod(name=name, uid="u", broker_id=broker_id, map="events", stateful_set="events", claim="c", node=on)


def test_the_same_rack_wins() -> None:
    nodes = [node("a", "zone-a", is_ready=False), node("b", "zone-b"), node("d", "zone-a")]
    choice = choose_node(PLACE, nodes, [], old_node_is_gone=True)
    assert (choice.node, choice.rack, choice.in_other_rack) == ("d", "zone-a", False)


def test_taken_cordoned_foreign_and_lost_nodes_are_no_choice() -> None:
    nodes = [node("a", "zone-a"), node("b", "zone-a", is_cordoned=True), node("c", "zone-a"), node("d", "zone-a", map="checks")]
    choice = choose_node(PLACE, nodes, [pod("events-1", 2, "c")], old_node_is_gone=True)
    assert choice.node is None
    assert choose_node(PLACE, nodes, [pod("events-1", 2, "c")], old_node_is_gone=False).node == "a"


def test_another_rack_is_said() -> None:
    choice = choose_node(PLACE, [node("e", "zone-b")], [], old_node_is_gone=True)
    assert (choice.node, choice.rack, choice.in_other_rack) == ("e", "zone-b", True)


def test_gone_means_no_object_another_object_or_not_ready() -> None:
    assert why_node_is_not_gone(None, "uid-a") is None
    assert why_node_is_not_gone(node("a", "zone-a", uid="other"), "uid-a") is None
    assert why_node_is_not_gone(node("a", "zone-a", is_ready=False), "uid-a") is None
    assert why_node_is_not_gone(node("a", "zone-a"), "uid-a") == "node a is Ready"
