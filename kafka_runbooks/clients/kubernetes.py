"""The Kubernetes API for one cluster's namespace: brokers' pods, claims, nodes, and our records.

Deletes carry the uid that was looked at, so that what came anew under the same name is never hit. Every call has a timeout:
watches and idle connections hang silently, so nothing here watches.
"""

import base64
import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

from kubernetes import client, config
from kubernetes.client.rest import ApiException
from kubernetes.config import ConfigException
from urllib3.exceptions import HTTPError

from kafka_runbooks.clients.errors import Conflict, Refused, Unreachable
from kafka_runbooks.models import labels
from kafka_runbooks.models.kubernetes import BrokerPod, Claim, Node, StatefulSet

TIMEOUT_SECONDS = 10
RECORD_KIND = f"{labels.DOMAIN}/record"
DATA_VOLUME = "data"


def connect() -> Any:
    """An API client: in a pod its ServiceAccount's, else the kubeconfig's."""
    try:
        config.load_incluster_config()
    except ConfigException:
        config.load_kube_config()
    return client.ApiClient()


class KubernetesApi:
    """`protocols.Kubernetes` for one cluster; may be used by several threads."""

    def __init__(self, cluster: str, namespace: str) -> None:
        self._cluster = cluster
        self._namespace = namespace
        self._lock = threading.Lock()
        self._api: Any = None

    @property
    def _core(self) -> Any:
        return client.CoreV1Api(self._connected())

    @property
    def _apps(self) -> Any:
        return client.AppsV1Api(self._connected())

    def _connected(self) -> Any:
        with self._lock:
            if self._api is None:
                with mapped("connect"):
                    self._api = connect()
            return self._api

    def broker_pods(self) -> tuple[BrokerPod, ...]:
        ids = self.broker_ids()
        with mapped("list pods"):
            found = self._core.list_namespaced_pod(
                self._namespace, label_selector=f"{labels.CLUSTER}={self._cluster},{labels.MAP}", _request_timeout=TIMEOUT_SECONDS
            )
        return tuple(_broker_pod(pod, ids) for pod in sorted(found.items, key=lambda pod: pod.metadata.name))

    def stateful_sets(self) -> tuple[StatefulSet, ...]:
        with mapped("list StatefulSets"):
            found = self._apps.list_namespaced_stateful_set(
                self._namespace, label_selector=f"{labels.CLUSTER}={self._cluster},{labels.MAP}", _request_timeout=TIMEOUT_SECONDS
            )
        return tuple(
            StatefulSet(name=item.metadata.name, version=item.metadata.resource_version, replicas=item.spec.replicas)
            for item in sorted(found.items, key=lambda item: str(item.metadata.name))
        )

    def scale(self, stateful_set: StatefulSet, replicas: int) -> None:
        body = {"metadata": {"resourceVersion": stateful_set.version}, "spec": {"replicas": replicas}}
        with mapped(f"scale StatefulSet {stateful_set.name}"):
            self._apps.patch_namespaced_stateful_set(stateful_set.name, self._namespace, body, _request_timeout=TIMEOUT_SECONDS)

    def broker_ids(self) -> dict[str, int]:
        name = f"{labels.BROKER_IDS_CONFIG_MAP_PREFIX}{self._cluster}"
        try:
            with mapped(f"config map {name}"):
                found = self._core.read_namespaced_config_map(name, self._namespace, _request_timeout=TIMEOUT_SECONDS)
        except _Gone:
            return {}
        return {pod: int(broker_id) for pod, broker_id in sorted((found.data or {}).items())}

    def nodes(self) -> tuple[Node, ...]:
        with mapped("list nodes"):
            found = self._core.list_node(_request_timeout=TIMEOUT_SECONDS)
        return tuple(_node(node) for node in sorted(found.items, key=lambda node: node.metadata.name))

    def claim(self, name: str) -> Claim | None:
        try:
            with mapped(f"claim {name}"):
                found = self._core.read_namespaced_persistent_volume_claim(
                    name, self._namespace, _request_timeout=TIMEOUT_SECONDS
                )
        except _Gone:
            return None
        volume = found.spec.volume_name
        return Claim(
            name=name,
            uid=found.metadata.uid,
            is_terminating=found.metadata.deletion_timestamp is not None,
            volume=volume,
            volume_nodes=self._volume_nodes(volume) if volume else (),
        )

    def _volume_nodes(self, volume: str) -> tuple[str, ...]:
        try:
            with mapped(f"volume {volume}"):
                found = self._core.read_persistent_volume(volume, _request_timeout=TIMEOUT_SECONDS)
        except _Gone:
            return ()
        return _nodes_of(found)

    def delete_claim(self, name: str, uid: str) -> None:
        claim = self.claim(name)
        if claim is not None and claim.uid == uid:
            try:
                with mapped(f"delete claim {name}"):
                    self._core.delete_namespaced_persistent_volume_claim(
                        name, self._namespace, body=_precondition(uid), _request_timeout=TIMEOUT_SECONDS
                    )
            except _Gone:
                pass
        # Also where the claim is gone already: whoever deleted it may have died before its volume's turn.
        self._delete_local_volumes(uid)
        if claim is not None and claim.uid != uid:
            raise Conflict(f"claim {name} is another one by now")

    def _delete_local_volumes(self, claim_uid: str) -> None:
        """Volumes bound to this very claim and to one node: nothing else would ever reclaim them once that node is gone."""
        with mapped("list volumes"):
            found = self._core.list_persistent_volume(_request_timeout=TIMEOUT_SECONDS)
        for volume in found.items:
            claim = volume.spec.claim_ref
            if claim is None or claim.uid != claim_uid or not _nodes_of(volume):
                continue
            try:
                with mapped(f"delete volume {volume.metadata.name}"):
                    self._core.delete_persistent_volume(volume.metadata.name, _request_timeout=TIMEOUT_SECONDS)
            except _Gone:
                continue

    def delete_pod(self, name: str, uid: str, *, force: bool) -> None:
        body = _precondition(uid)
        if force:
            body.grace_period_seconds = 0
        try:
            with mapped(f"delete pod {name}"):
                self._core.delete_namespaced_pod(name, self._namespace, body=body, _request_timeout=TIMEOUT_SECONDS)
        except _Gone:
            return

    def cordon(self, node: str, owner: str) -> None:
        try:
            with mapped(f"node {node}"):
                found = self._core.read_node(node, _request_timeout=TIMEOUT_SECONDS)
            if found.spec.unschedulable:
                return
            with mapped(f"cordon {node}"):
                self._core.patch_node(
                    node,
                    {
                        "metadata": {
                            "annotations": {labels.CORDON_OWNER: owner},
                            "resourceVersion": found.metadata.resource_version,
                        },
                        "spec": {"unschedulable": True},
                    },
                    _request_timeout=TIMEOUT_SECONDS,
                )
        except _Gone:
            return

    def uncordon(self, node: str, owner: str) -> None:
        try:
            with mapped(f"node {node}"):
                found = self._core.read_node(node, _request_timeout=TIMEOUT_SECONDS)
            if (found.metadata.annotations or {}).get(labels.CORDON_OWNER) != owner:
                return
            with mapped(f"uncordon {node}"):
                self._core.patch_node(
                    node,
                    {
                        "metadata": {
                            "annotations": {labels.CORDON_OWNER: None},
                            "resourceVersion": found.metadata.resource_version,
                        },
                        "spec": {"unschedulable": None},
                    },
                    _request_timeout=TIMEOUT_SECONDS,
                )
        except _Gone:
            return

    def record_event(self, pod: str, reason: str, message: str, *, warning: bool = False) -> None:
        body = event_body(self._namespace, pod, reason, message, warning=warning)
        with mapped(f"event on {pod}"):
            try:
                found = self._core.read_namespaced_pod(pod, self._namespace, _request_timeout=TIMEOUT_SECONDS)
                body["involvedObject"]["uid"] = found.metadata.uid  # `kubectl describe pod` shows no event without it
            except ApiException as error:
                if error.status != 404:
                    raise
            self._core.create_namespaced_event(self._namespace, body, _request_timeout=TIMEOUT_SECONDS)

    def read_record(self, name: str) -> Mapping[str, bytes] | None:
        try:
            with mapped(f"record {name}"):
                found = self._core.read_namespaced_config_map(name, self._namespace, _request_timeout=TIMEOUT_SECONDS)
        except _Gone:
            return None
        # What people bring (`kubectl create configmap --from-file plan.json`) is text, and under `data`.
        text = {key: value.encode() for key, value in (found.data or {}).items()}
        return text | {key: base64.b64decode(value) for key, value in (found.binary_data or {}).items()}

    def write_record(self, name: str, kind: str, parts: Mapping[str, bytes], summary: str) -> None:
        body = {
            "metadata": {"name": name, "labels": {labels.CLUSTER: self._cluster, RECORD_KIND: kind}},
            "data": {"summary": summary},
            "binaryData": {key: base64.b64encode(value).decode() for key, value in parts.items()},
        }
        try:
            with mapped(f"record {name}"):
                self._core.replace_namespaced_config_map(name, self._namespace, body, _request_timeout=TIMEOUT_SECONDS)
        except _Gone:
            with mapped(f"record {name}"):
                self._core.create_namespaced_config_map(self._namespace, body, _request_timeout=TIMEOUT_SECONDS)

    def delete_record(self, name: str) -> None:
        try:
            with mapped(f"record {name}"):
                self._core.delete_namespaced_config_map(name, self._namespace, _request_timeout=TIMEOUT_SECONDS)
        except _Gone:
            return

    def records(self, kind: str) -> tuple[str, ...]:
        with mapped("list records"):
            found = self._core.list_namespaced_config_map(
                self._namespace,
                label_selector=f"{labels.CLUSTER}={self._cluster},{RECORD_KIND}={kind}",
                _request_timeout=TIMEOUT_SECONDS,
            )
        return tuple(sorted(item.metadata.name for item in found.items))


class _Gone(Refused):
    """404."""


@contextmanager
def mapped(what: str) -> Iterator[None]:
    """Turn the library's errors into ours; the body of an error may hold objects, so only its reason is kept."""
    try:
        yield
    except ApiException as error:
        message = f"{what}: {error.status} {error.reason} {_message(error.body)}".strip()
        if error.status == 404:
            raise _Gone(message) from error
        if error.status == 409:
            raise Conflict(message) from error
        if error.status in (400, 401, 403, 405, 422):
            raise Refused(message) from error
        raise Unreachable(message) from error
    except (HTTPError, OSError) as error:
        raise Unreachable(f"{what}: {type(error).__name__}") from error
    except ConfigException as error:
        raise Refused(f"{what}: {error}") from error


def event_body(namespace: str, pod: str, reason: str, message: str, *, warning: bool) -> dict[str, Any]:
    """An event on a pod, as `kubectl describe pod` shows it."""
    now = datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
    return {
        "metadata": {"generateName": f"{pod}-", "namespace": namespace},
        "involvedObject": {"kind": "Pod", "apiVersion": "v1", "name": pod, "namespace": namespace},
        "reason": reason,
        "message": message[:1000],
        "type": "Warning" if warning else "Normal",
        "source": {"component": "kafka-runbooks"},
        "firstTimestamp": now,
        "lastTimestamp": now,
        "count": 1,
    }


def _message(body: Any) -> str:
    try:
        return str(json.loads(body)["message"])[:300]
    except (TypeError, ValueError, KeyError):
        return ""


def _nodes_of(volume: Any) -> tuple[str, ...]:
    """The nodes that a local volume is bound to; none for one that the network reaches, though it be bound to a zone."""
    affinity = volume.spec.node_affinity
    terms = affinity.required.node_selector_terms if affinity and affinity.required else []
    return tuple(
        value
        for term in terms
        for expression in term.match_expressions or []
        if expression.key == labels.HOSTNAME and expression.operator == "In"
        for value in expression.values or []
    )


def _precondition(uid: str) -> Any:
    return client.V1DeleteOptions(preconditions=client.V1Preconditions(uid=uid))


def _condition(conditions: Any, kind: str) -> Any:
    return next((condition for condition in conditions or [] if condition.type == kind), None)


def _broker_pod(pod: Any, ids: Mapping[str, int]) -> BrokerPod:
    meta, spec, status = pod.metadata, pod.spec, pod.status
    labelled = (meta.labels or {}).get(labels.BROKER_ID)
    broker_id = int(labelled) if labelled is not None else ids.get(meta.name)
    claims = [volume.persistent_volume_claim.claim_name for volume in spec.volumes or [] if volume.name == DATA_VOLUME]
    owner = next((owner.name for owner in meta.owner_references or [] if owner.kind == "StatefulSet"), "")
    ready, scheduled = _condition(status.conditions, "Ready"), _condition(status.conditions, "PodScheduled")
    why = None
    if spec.node_name is None and scheduled is not None:
        why = scheduled.message
    else:
        states = [
            one.state.waiting
            for one in [*(status.init_container_statuses or []), *(status.container_statuses or [])]
            if one.state
        ]
        why = next((f"{state.reason}: {state.message or ''}".rstrip(": ") for state in states if state is not None), None)
    return BrokerPod(
        name=meta.name,
        uid=meta.uid,
        broker_id=broker_id,
        map=(meta.labels or {}).get(labels.MAP),
        stateful_set=owner,
        claim=claims[0] if claims else f"{DATA_VOLUME}-{meta.name}",
        node=spec.node_name,
        pod_ip=status.pod_ip,
        phase=status.phase or "Pending",
        is_ready=ready is not None and ready.status == "True",
        is_terminating=meta.deletion_timestamp is not None,
        why_pending=why,
        force_ready=(meta.annotations or {}).get(labels.FORCE_READY),
    )


def _node(node: Any) -> Node:
    meta = node.metadata
    marks = meta.labels or {}
    ready = _condition(node.status.conditions, "Ready")
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
        is_cordoned=bool(node.spec.unschedulable),
        cordoned_by=(meta.annotations or {}).get(labels.CORDON_OWNER),
        broker_id=int(broker_id) if broker_id is not None else None,
    )
