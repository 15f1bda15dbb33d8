"""Which brokers are meant, and every reason not to replace them now, all at once, each with its remedy.

Pure: from the request and the observed cluster to reasons. An operator who was woken up gets the whole list the first time.
"""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime

from pydantic import ValidationError

from kafka_runbooks.models.cluster import ClusterSnapshot, Reassignment
from kafka_runbooks.models.force_ready import ForceReady
from kafka_runbooks.models.inputs import NodeState, ReplaceBrokerInput
from kafka_runbooks.models.kubernetes import BrokerPlace, BrokerPod, Claim, LastStart, Machine, Node
from kafka_runbooks.models.results import Reason
from kafka_runbooks.safety.availability import by_topic, listed, out_of_sync, risks_of_losing
from kafka_runbooks.safety.lost_node import why_node_is_not_gone
from kafka_runbooks.safety.moves import foreign_reassignments

BROKER_IS_UP = "broker-is-up"


def find_broker(
    named: int | str,
    cluster: str,
    pods: Sequence[BrokerPod],
    nodes: Sequence[Node],
    broker_ids: Mapping[str, int],
    last_starts: Mapping[str, LastStart],
) -> int | Reason:
    """The broker that an id, or the name of the node it ran on, means; or why none can be identified.

    Args:
        broker_ids: pod name -> broker id, as assigned.
        last_starts: pod name -> where it started last.
    """
    known = sorted(set(broker_ids.values()) | {pod.broker_id for pod in pods if pod.broker_id is not None})
    if isinstance(named, int):
        if named in known:
            return named
        return Reason(
            name="unknown-broker",
            message=f"broker_ids: {named} has no pod in cluster {cluster}",
            remedy=f"give one of {', '.join(map(str, known))}"
            if known
            else f"no pod is known at all: `kafka-runbooks doctor {cluster}` says which labels are missing",
            is_bad_input=True,
        )
    for pod in pods:
        if pod.node == named and pod.broker_id is not None:
            return pod.broker_id
    for node in nodes:
        if node.name == named and node.broker_id is not None:
            return node.broker_id
    elsewhere = {pod.name for pod in pods if pod.node is not None}
    started = [
        broker_ids[pod] for pod, last in last_starts.items() if last.node == named and pod in broker_ids.keys() - elsewhere
    ]
    if len(started) == 1:
        return started[0]
    return Reason(
        name="unknown-node",
        message=f"nodes: no broker is known to run on {named!r}"
        + (f"; brokers {', '.join(map(str, sorted(started)))} started there last" if started else ""),
        remedy="give broker_ids instead",
        is_bad_input=True,
    )


def unknown_zone(zone: str, racks: Collection[str]) -> Reason | None:
    """A reason if no broker is, or was, in the zone.

    Args:
        racks: every rack that is known.
    """
    if zone in racks:
        return None
    return Reason(
        name="unknown-zone",
        message=f"zone: no broker is known to be in {zone!r}",
        remedy=f"give one of {', '.join(sorted(racks))}",
        is_bad_input=True,
    )


def needs_return(node_state: NodeState, place: BrokerPlace, nodes: Sequence[Node], snapshot: ClusterSnapshot) -> bool:
    """Whether a broker of a zone is meant: its node is gone or, where its disk comes back, it isn't up and in sync."""
    is_up = place.broker_id in snapshot.live_broker_ids
    if node_state is NodeState.RETURNS:
        return not is_up or bool(out_of_sync(snapshot, place.broker_id))
    return not is_up and why_node_is_not_gone(nodes, place) is None


def reasons_not_to_replace(
    request: ReplaceBrokerInput,
    broker_id: int,
    pod: BrokerPod | None,
    node: Node | None,
    snapshot: ClusterSnapshot,
    reassignments: Sequence[Reassignment],
) -> list[Reason]:
    """All reasons against one broker that was found.

    Args:
        pod, node: where it runs or last ran, as far as the objects still exist.
    """
    if request.replacement_broker_id is not None:
        return _against_substitution(request.replacement_broker_id, broker_id, snapshot, reassignments)
    return _against_return(request, broker_id, pod, node, snapshot)


def unacknowledged_risks(request: ReplaceBrokerInput, brokers: Collection[int], snapshot: ClusterSnapshot) -> list[Reason]:
    """What is lost for good with the disks of all these brokers together, and nobody has acknowledged yet.

    A disk that comes back loses nothing, nor does a broker whose replicas are moved away.
    """
    if request.node_state is not NodeState.LOST or request.replacement_broker_id is not None:
        return []
    return [risk for risk in risks_of_losing(snapshot, brokers) if risk.name not in request.acknowledged_risks]


def _against_return(
    request: ReplaceBrokerInput, broker_id: int, pod: BrokerPod | None, node: Node | None, snapshot: ClusterSnapshot
) -> list[Reason]:
    reasons = []
    if pod is None:
        reasons.append(
            Reason(
                name="no-pod",
                message=f"broker {broker_id} has no pod: its StatefulSet doesn't ask for one",
                remedy="scale the StatefulSet back, or give replacement_broker_id",
            )
        )
    if request.node_state is NodeState.LOST and broker_id in snapshot.live_broker_ids and node is not None and node.is_ready:
        reasons.append(
            Reason(
                name=BROKER_IS_UP,
                message=f"broker {broker_id} is up and its node {node.name} is Ready, yet node_state says its disk is lost",
                remedy='stop the node first, or use node_state "returns", or move its replicas with replacement_broker_id',
            )
        )
    return reasons


def _against_substitution(
    replacement: int, broker_id: int, snapshot: ClusterSnapshot, reassignments: Sequence[Reassignment]
) -> list[Reason]:
    reasons = []
    if replacement not in snapshot.live_broker_ids:
        is_known = replacement in snapshot.registered_broker_ids | snapshot.down_broker_ids
        reasons.append(
            Reason(
                name="replacement-is-down" if is_known else "unknown-replacement",
                message=f"replacement_broker_id: broker {replacement} is {'down' if is_known else 'unknown to the cluster'}",
                remedy=f"give a live one: {', '.join(map(str, sorted(snapshot.live_broker_ids - {broker_id})))}",
                is_bad_input=not is_known,
            )
        )
    both = [partition for partition in snapshot.on_broker(broker_id) if replacement in partition.replicas]
    reasons += [
        Reason(
            name=f"two-replicas:{topic}",
            message=f"topic {topic}, partition {listed(numbers)}: broker {replacement} has a replica already; "
            "two replicas of a partition can't be on one broker",
            remedy="give a broker that holds none of these partitions",
        )
        for topic, numbers in by_topic(both).items()
    ]
    offline = [partition for partition in snapshot.on_broker(broker_id) if partition.leader is None]
    reasons += [
        Reason(
            name=f"no-leader:{topic}",
            message=f"topic {topic}, partition {listed(numbers)}: no leader, so there is nothing to copy from",
            remedy=f"bring broker {broker_id} back first (leave out replacement_broker_id)",
        )
        for topic, numbers in by_topic(offline).items()
    ]
    ours = {partition.name for partition in snapshot.on_broker(broker_id)}
    return reasons + foreign_reassignments([moving for moving in reassignments if moving.name in ours])


def why_nothing_to_do(
    request: ReplaceBrokerInput, broker_id: int, pod: BrokerPod | None, node: Node | None, snapshot: ClusterSnapshot
) -> str | None:
    """Why a broker needs no replacement; None where it does."""
    if request.replacement_broker_id is not None:
        if any(True for _ in snapshot.on_broker(broker_id)):
            return None
        return f"broker {broker_id} holds no replicas"
    is_well = pod is not None and pod.is_ready and node is not None and node.is_ready and not node.is_cordoned
    if request.node_state is NodeState.RETURNS and is_well and not out_of_sync(snapshot, broker_id):
        return f"broker {broker_id} is up, Ready and 100 % in sync"
    return None


def place_of(
    broker_id: int,
    name: str,
    pod: BrokerPod | None,
    claims: Sequence[Claim],
    nodes: Sequence[Node],
    snapshot: ClusterSnapshot,
    last: LastStart | None,
) -> BrokerPlace:
    """Where a broker runs or ran, as far as it is known.

    Args:
        name: its pod's, which may be gone.
        claims: the pod's, as far as they exist.
        last: where it started last, which tells its node from a later one of the same name, and its rack when the node is gone.
    """
    volume_nodes = [node for claim in claims for node in claim.volume_nodes]
    node_name = (pod.node if pod else None) or next(iter(volume_nodes), None) or (last.node if last else None)
    node = next((node for node in nodes if node.name == node_name), None)
    node_uid, machine = None, Machine()
    if last is not None and last.node == node_name:
        node_uid, machine = last.node_uid, last.machine
    elif node is not None and not _is_newer(node, pod):
        node_uid, machine = node.uid, node.machine
    zones = {claim.volume_zone for claim in claims} - {None}
    is_its_node = node is not None and node.uid == node_uid
    return BrokerPlace(
        broker_id=broker_id,
        pod=name,
        pod_uid=pod.uid if pod else None,
        claims=tuple(claims),
        node=node_name,
        node_uid=node_uid,
        machine=machine,
        map=pod.map if pod else None,
        rack=snapshot.racks.get(broker_id)
        or (last.rack if last else None)
        or (node.zone if node is not None and is_its_node else None)
        or (zones.pop() if len(zones) == 1 else None),
    )


def _is_newer(node: Node, pod: BrokerPod | None) -> bool:
    """Whether the node's object was made after the pod was bound to its name: then it is another object."""
    return pod is not None and pod.scheduled_at is not None and node.created_at is not None and node.created_at > pod.scheduled_at


def forced_ready(pods: Sequence[BrokerPod], now: datetime) -> list[str]:
    """Pods whose readiness is being forced: Kubernetes calls them Ready whether or not their replicas are in sync."""
    found = []
    for pod in pods:
        try:
            force = None if pod.force_ready is None else ForceReady.model_validate_json(pod.force_ready)
        except ValidationError:
            continue
        if force is not None and force.expires_at > now:
            until = f"{force.expires_at:%Y-%m-%dT%H:%M:%SZ}"
            found.append(f"{pod.name}: readiness is forced until {until} by {force.owner}: {force.reason}")
    return found
