"""The node on which a broker is to be scheduled: a free one of its own map, in its own rack if there is one.

Pure. Racks guarantee that the replicas of a partition are in different zones. A broker that moves to another rack breaks this for
every partition it holds, so an operator has to allow it.
"""

from collections.abc import Sequence

from kafka_runbooks.models.kubernetes import BrokerPlace, BrokerPod, Node
from kafka_runbooks.models.messages import NodeChoice
from kafka_runbooks.safety.lost_node import may_be_lost_node


def choose_node(
    place: BrokerPlace, nodes: Sequence[Node], pods: Sequence[BrokerPod], *, disk_is_lost: bool, is_confirmed: bool
) -> NodeChoice:
    """A free, Ready, uncordoned node of the broker's map; `node` is None where there is none at all.

    Args:
        disk_is_lost: the node that it ran on is not a candidate; a new machine of the same name is.
        is_confirmed: a person said that the old node doesn't come back.
    """
    taken = {pod.node for pod in pods if pod.node is not None and pod.broker_id != place.broker_id}
    free = [
        node
        for node in sorted(nodes, key=lambda node: node.name)
        if node.map == place.map
        and node.is_ready
        and not node.is_cordoned
        and node.name not in taken
        and not (disk_is_lost and may_be_lost_node(node, place, is_confirmed=is_confirmed))
    ]
    same_rack = [node for node in free if node.zone == place.rack]
    if same_rack:
        return NodeChoice(node=same_rack[0].name, rack=same_rack[0].zone)
    if free:
        return NodeChoice(node=free[0].name, rack=free[0].zone, in_other_rack=True, rack_is_unknown=place.rack is None)
    return NodeChoice(node=None, rack=None)
