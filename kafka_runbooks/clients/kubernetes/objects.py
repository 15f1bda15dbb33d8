"""The library's objects as our models."""

from collections.abc import Mapping
from typing import Any

from kafka_runbooks.models import labels
from kafka_runbooks.models.kubernetes import BrokerPod, Node

DATA_VOLUME = "data"


def broker_pod(pod: Any, ids: Mapping[str, int]) -> BrokerPod:
    """A broker's pod.

    Args:
        pod: a V1Pod.
        ids: the broker ID of each pod name, for a pod that isn't labelled yet.
    """
    meta, spec, status = pod.metadata, pod.spec, pod.status
    label = (meta.labels or {}).get(labels.BROKER_ID)
    claims = [volume.persistent_volume_claim.claim_name for volume in spec.volumes or [] if volume.name == DATA_VOLUME]
    owner = next((owner.name for owner in meta.owner_references or [] if owner.kind == "StatefulSet"), "")
    ready = _condition(status.conditions, "Ready")
    return BrokerPod(
        name=meta.name,
        uid=meta.uid,
        broker_id=int(label) if label is not None else ids.get(meta.name),
        map=(meta.labels or {}).get(labels.MAP),
        stateful_set=owner,
        claim=claims[0] if claims else f"{DATA_VOLUME}-{meta.name}",
        node=spec.node_name,
        pod_ip=status.pod_ip,
        phase=status.phase or "Pending",
        is_ready=ready is not None and ready.status == "True",
        is_terminating=meta.deletion_timestamp is not None,
        why_pending=_why_pending(spec, status),
        force_ready=(meta.annotations or {}).get(labels.FORCE_READY),
    )


def node(found: Any) -> Node:
    """A node, from a V1Node."""
    meta = found.metadata
    marks = meta.labels or {}
    ready = _condition(found.status.conditions, "Ready")
    is_ready = ready is not None and ready.status == "True"
    broker_id = marks.get(labels.BROKER_ID)
    return Node(
        name=meta.name,
        uid=meta.uid,
        zone=marks.get(labels.ZONE),
        map=marks.get(labels.MAP),
        instance_type=marks.get(labels.INSTANCE_TYPE),
        is_ready=is_ready,
        not_ready_since=ready.last_transition_time if ready is not None and not is_ready else None,
        is_cordoned=bool(found.spec.unschedulable),
        cordoned_by=(meta.annotations or {}).get(labels.CORDON_OWNER),
        broker_id=int(broker_id) if broker_id is not None else None,
    )


def nodes_of_volume(volume: Any) -> tuple[str, ...]:
    """The nodes that a local V1PersistentVolume is bound to; none for a network volume, even one bound to a zone."""
    affinity = volume.spec.node_affinity
    terms = affinity.required.node_selector_terms if affinity and affinity.required else []
    return tuple(
        value
        for term in terms
        for expression in term.match_expressions or []
        if expression.key == labels.HOSTNAME and expression.operator == "In"
        for value in expression.values or []
    )


def _why_pending(spec: Any, status: Any) -> str | None:
    """Why the pod isn't scheduled, or what its first waiting container waits for."""
    scheduled = _condition(status.conditions, "PodScheduled")
    if spec.node_name is None and scheduled is not None:
        message: str | None = scheduled.message
        return message
    containers = [*(status.init_container_statuses or []), *(status.container_statuses or [])]
    waiting = (one.state.waiting for one in containers if one.state)
    return next((f"{state.reason}: {state.message or ''}".rstrip(": ") for state in waiting if state is not None), None)


def _condition(conditions: Any, kind: str) -> Any:
    return next((condition for condition in conditions or [] if condition.type == kind), None)
