"""The library's objects as our models.

Labels are set by anyone who may, so one that makes no sense is its object's problem: it counts as absent and is logged.
"""

import logging
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from kafka_runbooks.models import labels
from kafka_runbooks.models.kubernetes import (
    BrokerPod,
    Claim,
    ControllerPod,
    DisruptionBudget,
    KafkaPod,
    Machine,
    Node,
    SecretMount,
    StatefulSet,
)

log = logging.getLogger(__name__)

REVISION = "controller-revision-hash"
"""Kubernetes' label on a StatefulSet's pods: the revision of the template that they were made from."""


STUCK = {
    "CrashLoopBackOff",
    "CreateContainerConfigError",
    "CreateContainerError",
    "ErrImageNeverPull",
    "ErrImagePull",
    "ImageInspectError",
    "ImagePullBackOff",
    "InvalidImageName",
    "RunContainerError",
}
"""What a container waits for that doesn't pass by itself, in the kubelet's words."""


def broker_pod(pod: Any, ids: Mapping[str, int]) -> BrokerPod:
    """A broker's pod.

    Args:
        pod: a V1Pod.
        ids: the broker ID of each pod name, for a pod that isn't labelled yet.
    """
    meta = pod.metadata
    label = number((meta.labels or {}).get(labels.BROKER_ID), f"pod {meta.name}: label {labels.BROKER_ID}")
    return BrokerPod(
        **_kafka_pod(pod),
        broker_id=label if label is not None else ids.get(meta.name),
        map=(meta.labels or {}).get(labels.MAP),
        # The StatefulSet controller names a template's volume like the template, and its claim `<template>-<pod>`.
        claims=tuple(
            volume.persistent_volume_claim.claim_name
            for volume in pod.spec.volumes or []
            if volume.persistent_volume_claim is not None
            and volume.persistent_volume_claim.claim_name == f"{volume.name}-{meta.name}"
        ),
        force_ready=(meta.annotations or {}).get(labels.FORCE_READY),
    )


def controller_pod(pod: Any) -> ControllerPod:
    """The pod of a controller that is no broker, from a V1Pod. Its id is that of ordinal 0 plus its own ordinal."""
    meta = pod.metadata
    where = f"pod {meta.name}: annotation {labels.FIRST_CONTROLLER_ID}"
    first = number((meta.annotations or {}).get(labels.FIRST_CONTROLLER_ID), where)
    ordinal = meta.name.rpartition("-")[2]
    return ControllerPod(**_kafka_pod(pod), node_id=first + int(ordinal) if first is not None and ordinal.isdecimal() else None)


def ensemble_pod(pod: Any) -> KafkaPod:
    """The pod of a ZooKeeper ensemble's member, from a V1Pod."""
    return KafkaPod(**_kafka_pod(pod, labels.ZOOKEEPER))


def _kafka_pod(pod: Any, container: str = labels.KAFKA_CONTAINER) -> dict[str, Any]:
    """What every pod of Kafka's has."""
    meta, spec, status = pod.metadata, pod.spec, pod.status
    scheduled = _condition(status.conditions, "PodScheduled")
    ready = _condition(status.conditions, "Ready")
    kafka = next((one for one in status.container_statuses or [] if one.name == container), None)
    running = kafka.state.running if kafka is not None and kafka.state is not None else None
    return {
        "name": meta.name,
        "uid": meta.uid,
        "stateful_set": next((owner.name for owner in meta.owner_references or [] if owner.kind == "StatefulSet"), ""),
        "node": spec.node_name,
        "scheduled_at": scheduled.last_transition_time if scheduled is not None and scheduled.status == "True" else None,
        "pod_ip": status.pod_ip,
        "phase": status.phase or "Pending",
        "is_ready": ready is not None and ready.status == "True",
        "is_terminating": meta.deletion_timestamp is not None,
        "why_pending": _why_pending(spec, status),
        "revision": (meta.labels or {}).get(REVISION),
        "started_at": running.started_at if running is not None else None,
        "restarts": kafka.restart_count if kafka is not None else 0,
        "stuck": _why_stuck(status),
        "secrets": _secrets(spec, container),
        "quorum_tls": _quorum_tls(spec),
        "is_controller": (meta.labels or {}).get(labels.ROLES) in (labels.CONTROLLER, labels.BROKER_AND_CONTROLLER),
    }


def _secrets(spec: Any, container: str) -> tuple[SecretMount, ...]:
    """The Secrets in the file system of a container."""
    sources = {volume.name: volume.secret for volume in spec.volumes or [] if volume.secret is not None}
    kafka = next((one for one in spec.containers if one.name == container), None)
    return tuple(
        SecretMount(
            secret=sources[mount.name].secret_name,
            path=mount.mount_path,
            is_sub_path=bool(mount.sub_path or mount.sub_path_expr),
            files={item.path: item.key for item in sources[mount.name].items or []},
        )
        for mount in (kafka.volume_mounts or [] if kafka is not None else [])
        if mount.name in sources
    )


def _quorum_tls(spec: Any) -> str | None:
    """How a member connects to the others, of a V1PodSpec."""
    member = next((one for one in spec.containers if one.name == labels.ZOOKEEPER), None)
    values = [one.value for one in (member.env or [] if member is not None else []) if one.name == labels.QUORUM_TLS]
    return values[-1] if values else None


def node(found: Any) -> Node:
    """A node, from a V1Node."""
    meta = found.metadata
    marks = meta.labels or {}
    ready = _condition(found.status.conditions, "Ready")
    is_ready = ready is not None and ready.status == "True"
    info = found.status.node_info
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
        broker_id=number(marks.get(labels.BROKER_ID), f"node {meta.name}: label {labels.BROKER_ID}"),
        machine=Machine(
            machine_id=(info.machine_id or None) if info else None,
            system_uuid=(info.system_uuid or None) if info else None,
            provider_id=found.spec.provider_id or None,
        ),
        created_at=meta.creation_timestamp,
        taints=tuple(taint.key for taint in found.spec.taints or []),
    )


def nodes(found: Iterable[Any]) -> tuple[Node, ...]:
    """All nodes. A UUID or provider ID that several of them report identifies none of them (firmware has such defects)."""
    made = [node(one) for one in sorted(found, key=lambda one: str(one.metadata.name))]
    uuids = Counter(one.machine.system_uuid for one in made)
    providers = Counter(one.machine.provider_id for one in made)
    return tuple(
        one.model_copy(
            update={
                "machine": Machine(
                    machine_id=one.machine.machine_id,
                    system_uuid=one.machine.system_uuid if uuids[one.machine.system_uuid] == 1 else None,
                    provider_id=one.machine.provider_id if providers[one.machine.provider_id] == 1 else None,
                )
            }
        )
        for one in made
    )


def stateful_set(found: Any) -> StatefulSet:
    """A StatefulSet, from a V1StatefulSet."""
    spec = found.spec
    policy, own = spec.persistent_volume_claim_retention_policy, _marks(found.metadata)
    return StatefulSet(
        name=found.metadata.name,
        version=found.metadata.resource_version,
        replicas=spec.replicas,
        first_ordinal=(spec.ordinals.start or 0) if spec.ordinals else 0,
        claim_templates=tuple(template.metadata.name for template in spec.volume_claim_templates or []),
        deletes_claims=policy is not None and policy.when_scaled == "Delete",
        update_revision=_update_revision(found),
        update_strategy=(spec.update_strategy.type if spec.update_strategy is not None else None) or "RollingUpdate",
        marks=own,
        has_brokers=labels.MAP in own,
        readiness=_readiness(spec.template),
        marks_pods=own.items() <= _marks(None if spec.template is None else spec.template.metadata).items(),
        quorum_tls=_quorum_tls(spec.template.spec) if spec.template is not None and spec.template.spec is not None else None,
    )


def _marks(metadata: Any) -> dict[str, str]:
    """Those labels of a StatefulSet, or of its template, by which runbooks find things."""
    found = (metadata.labels if metadata is not None else None) or {}
    return {key: found[key] for key in (labels.CLUSTER, labels.MAP, labels.ROLES) if key in found}


def _readiness(template: Any) -> str | None:
    """Port and path that the readiness probe of Kafka's container asks."""
    containers = template.spec.containers if template is not None and template.spec is not None else []
    kafka = next((one for one in containers if one.name == labels.KAFKA_CONTAINER), None)
    probe = kafka.readiness_probe.http_get if kafka is not None and kafka.readiness_probe is not None else None
    return None if probe is None else f"{probe.port}{probe.path}"


def _update_revision(found: Any) -> str | None:
    """Of the newest template, unless the StatefulSet controller hasn't observed it yet: then it is an older one's."""
    status = found.status
    if status is None or (status.observed_generation or 0) < (found.metadata.generation or 0):
        return None
    revision: str | None = status.update_revision
    return revision


def disruption_budget(found: Any) -> DisruptionBudget:
    """A PodDisruptionBudget, from a V1PodDisruptionBudget. One that Kubernetes hasn't looked at yet allows none."""
    status = found.status
    return DisruptionBudget(
        name=found.metadata.name,
        selected_pods=status.expected_pods if status is not None else 0,
        allowed_disruptions=status.disruptions_allowed if status is not None else 0,
    )


def claim(found: Any, volume: Any) -> Claim:
    """A claim, from a V1PersistentVolumeClaim and the V1PersistentVolume that it is bound to, or None."""
    zones = () if volume is None else _zones(volume)
    return Claim(
        name=found.metadata.name,
        uid=found.metadata.uid,
        is_terminating=found.metadata.deletion_timestamp is not None,
        volume=found.spec.volume_name,
        volume_nodes=() if volume is None else nodes_of_volume(volume),
        volume_zone=zones[0] if len(zones) == 1 else None,
    )


def own_annotations(annotations: Mapping[str, str] | None) -> dict[str, str]:
    """Those of an object's annotations that are ours, without the domain that their names begin with."""
    prefix = f"{labels.DOMAIN}/"
    return {key.removeprefix(prefix): value for key, value in (annotations or {}).items() if key.startswith(prefix)}


def number(text: str | None, where: str) -> int | None:
    """A label's number; None where it has none."""
    if text is None:
        return None
    try:
        return int(text)
    except ValueError:
        log.warning("%s is %r, which is no number", where, text)
        return None


def nodes_of_volume(volume: Any) -> tuple[str, ...]:
    """The nodes that a local V1PersistentVolume is bound to; none for a network volume, even one bound to a zone."""
    return _required(volume, labels.HOSTNAME)


def _zones(volume: Any) -> tuple[str, ...]:
    label = (volume.metadata.labels or {}).get(labels.ZONE)
    return (label,) if label else _required(volume, labels.ZONE)


def _required(volume: Any, key: str) -> tuple[str, ...]:
    """The values of a node label that the volume's affinity accepts."""
    affinity = volume.spec.node_affinity
    terms = affinity.required.node_selector_terms if affinity and affinity.required else []
    return tuple(
        value
        for term in terms
        for expression in term.match_expressions or []
        if expression.key == key and expression.operator == "In"
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


def _why_stuck(status: Any) -> str | None:
    """The first container that waits for what doesn't come by itself, and how its last process ended."""
    for one in [*(status.init_container_statuses or []), *(status.container_statuses or [])]:
        waiting = one.state.waiting if one.state is not None else None
        if waiting is not None and waiting.reason in STUCK:
            ended = one.last_state.terminated if one.last_state is not None else None
            last = "" if ended is None else f"; it ended with exit code {ended.exit_code} ({ended.reason})"
            return f"{one.name}: {waiting.reason}: {waiting.message or ''}".rstrip(": ") + last
    return None


def _condition(conditions: Any, kind: str) -> Any:
    return next((condition for condition in conditions or [] if condition.type == kind), None)
