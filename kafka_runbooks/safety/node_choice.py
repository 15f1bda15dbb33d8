"""The node on which a broker is to be scheduled: a free one of its own map, in its own rack if there is one.

Pure. Racks guarantee that the replicas of a partition are in different zones. A broker that moves to another rack breaks this for
every partition it holds, so an operator has to allow it.
"""

from collections.abc import Sequence

from kafka_runbooks.models.kubernetes import BrokerPlace, BrokerPod, Node
from kafka_runbooks.models.messages import NodeChoice


def choose_node(place: BrokerPlace, nodes: Sequence[Node], pods: Sequence[BrokerPod], *, old_node_is_gone: bool) -> NodeChoice:
    """A free, Ready, uncordoned node of the broker's map; `node` is None where there is none at all.

    Args:
        old_node_is_gone: the node that it ran on is not a candidate.
    """
    taken = {pod.node for pod in pods if pod.node is not None and pod.broker_id != place.broker_id}
    free = [
        node
        for node in sorted(nodes, key=lambda node: node.name)
        if node.map == place.map
        and node.is_ready
        and not node.is_cordoned
        and node.name not in taken
        and not (old_node_is_gone and node.name == place.node)
    ]
    same_rack = [node for node in free if node.zone == place.rack]
    if same_rack:
        return NodeChoice(node=same_rack[0].name, rack=same_rack[0].zone)
    if free:
        return NodeChoice(node=free[0].name, rack=free[0].zone, in_other_rack=True)
    return NodeChoice(node=None, rack=None)


def why_node_is_not_gone(node: Node | None, known_uid: str | None) -> str | None:
    """None if the node is gone as far as Kubernetes knows: no object, another one of the same name, or NotReady."""
    if node is None or (known_uid is not None and node.uid != known_uid):
        return None
    return f"node {node.name} is Ready" if node.is_ready else None
