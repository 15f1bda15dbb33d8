"""Which node is the one that a broker ran on, now that nodes come and go under the same names.

Pure. A machine that is replaced under its old name is a place to land on; a kubelet that registers again makes a Node with
another uid on the machine that was there before, with its disks. Where neither can be told from the other, a person has to.
"""

from collections.abc import Sequence

from kafka_runbooks.models.kubernetes import BrokerPlace, BrokerPod, Claim, Node


def is_node_of(node: Node, place: BrokerPlace) -> bool | None:
    """Whether the broker's disks are on this node; None where that can't be told."""
    if node.uid == place.node_uid:
        return True
    is_same = node.machine.is_same(place.machine)
    if is_same is None:
        return None if node.name == place.node else False
    return is_same


def may_be_lost_node(node: Node, place: BrokerPlace) -> bool:
    """Whether a broker that lost its disks must not come back here."""
    found = is_node_of(node, place)
    return not place.node_is_gone if found is None else found


def why_node_is_not_gone(nodes: Sequence[Node], place: BrokerPlace) -> tuple[str, str] | None:
    """None if the broker's node is gone as far as Kubernetes knows: no object, another machine, or NotReady.

    Returns:
        The reason and the remedy.
    """
    for node in nodes:
        is_same = is_node_of(node, place)
        if is_same is False or not node.is_ready:
            continue
        if node.uid == place.node_uid:
            return f"node {node.name} is Ready", "power the node off, or abort and use node_state returns"
        if is_same:
            return (
                f"node {node.name} is Ready: the same machine as before, registered again, so its disks may be there",
                "power the node off, or abort and use node_state returns",
            )
        return (
            f"node {node.name} is Ready, and can't be told from the one that broker {place.broker_id} ran on, with its disks",
            "abort, look at the machine, and start again: with node_is_gone if its disks are lost, else with node_state returns",
        )
    return None


def runs_elsewhere(pods: Sequence[BrokerPod], nodes: Sequence[Node], place: BrokerPlace) -> bool:
    """Whether the broker's pod is on another node than before."""
    by_name = {node.name: node for node in nodes}
    return any(
        pod.name == place.pod
        and not pod.is_terminating
        and pod.node in by_name
        and not may_be_lost_node(by_name[pod.node], place)
        for pod in pods
    )


def must_make_way(pod: BrokerPod, claims: Sequence[Claim | None], nodes: Sequence[Node], place: BrokerPlace) -> bool:
    """Whether the broker's pod is bound to the lost node or to lost disks, so that only its deletion lets another one start.

    A pod of another uid that is on another machine recovers there, whatever the machine's name.

    Args:
        claims: the pod's, None for each that doesn't exist.
    """
    is_of_lost_disks = any(claim is None or claim.is_terminating or claim.uid in place.claim_uids for claim in claims)
    if pod.node is None:
        return is_of_lost_disks
    node = next((node for node in nodes if node.name == pod.node), None)
    if node is None:
        return pod.node == place.node
    if pod.uid == place.pod_uid and is_of_lost_disks:
        return True
    return is_node_of(node, place) is True
