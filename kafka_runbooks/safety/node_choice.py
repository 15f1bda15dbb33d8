"""The nodes on which brokers are to be scheduled: free ones of their own map, in their own rack where there is one.

Pure. Racks guarantee that the replicas of a partition are in different zones. A broker that moves to another rack breaks this for
every partition it holds, so an operator has to allow it. Brokers that come back together are given their nodes together: as many
as possible in their own racks, then as many as possible at all. The scheduler binds the pods; what is known here is that each of
them has a place before its disk is given up.
"""

from collections.abc import Mapping, Sequence

from kafka_runbooks.models.kubernetes import BrokerPlace, BrokerPod, Node
from kafka_runbooks.models.messages import NodeChoice
from kafka_runbooks.safety.lost_node import may_be_lost_node


def choose_nodes(
    places: Sequence[BrokerPlace], nodes: Sequence[Node], pods: Sequence[BrokerPod], *, disks_are_lost: bool
) -> dict[int, NodeChoice]:
    """A free, Ready, uncordoned node of its map for each broker; `node` is None for those that there is none left for.

    The same for whichever broker it is asked, so that brokers which are asked for one by one don't get the same node.

    Args:
        places: the brokers that are not on a node yet.
        disks_are_lost: the node that a broker ran on is not a candidate; a new machine of the same name is.
    """
    own = {place.broker_id for place in places}
    free = free_nodes(nodes, [pod for pod in pods if pod.broker_id not in own])
    fitting = {
        place.broker_id: [
            node for node in free if node.map == place.map and not (disks_are_lost and may_be_lost_node(node, place))
        ]
        for place in sorted(places, key=lambda place: place.broker_id)
    }
    by_id = {place.broker_id: place for place in places}
    near = {
        broker_id: [node.name for node in found if node.zone == by_id[broker_id].rack] for broker_id, found in fitting.items()
    }
    chosen = _matched(near)
    far = {
        broker_id: [node.name for node in found if node.name not in chosen.values()]
        for broker_id, found in fitting.items()
        if broker_id not in chosen
    }
    chosen |= _matched(far)
    by_name = {node.name: node for node in free}
    return {
        broker_id: _choice(place, by_name[chosen[broker_id]] if broker_id in chosen else None)
        for broker_id, place in by_id.items()
    }


def free_nodes(nodes: Sequence[Node], pods: Sequence[BrokerPod]) -> list[Node]:
    """Ready, uncordoned nodes that carry none of these pods, by name."""
    taken = {pod.node for pod in pods if pod.node is not None}
    return [
        node
        for node in sorted(nodes, key=lambda node: node.name)
        if node.is_ready and not node.is_cordoned and node.name not in taken
    ]


def _choice(place: BrokerPlace, node: Node | None) -> NodeChoice:
    if node is None:
        return NodeChoice(node=None, rack=None)
    is_elsewhere = node.zone != place.rack
    return NodeChoice(
        node=node.name, rack=node.zone, in_other_rack=is_elsewhere, rack_is_unknown=is_elsewhere and place.rack is None
    )


def _matched(candidates: Mapping[int, Sequence[str]]) -> dict[int, str]:
    """As many brokers as possible with a node each (augmenting paths)."""
    holder: dict[str, int] = {}

    def place(broker_id: int, seen: set[str]) -> bool:
        for node in candidates[broker_id]:
            if node in seen:
                continue
            seen.add(node)
            if node not in holder or place(holder[node], seen):
                holder[node] = broker_id
                return True
        return False

    for broker_id in candidates:
        place(broker_id, set())
    return {broker_id: node for node, broker_id in holder.items()}
