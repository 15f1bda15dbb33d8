"""The Kubernetes API as the worker uses it: brokers' pods, claims, volumes and nodes, and the records kept in ConfigMaps.

Deletes carry the uid that was observed, so that a successor of the same name is never hit. Every call has a timeout, and nothing
here watches: watches and idle connections can hang silently.
"""

import base64
import json
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any

from kubernetes import client

from kafka_runbooks.clients.errors import Conflict
from kafka_runbooks.clients.kubernetes import handshake_log, objects, register, rights
from kafka_runbooks.clients.kubernetes.connection import Connection, mapped
from kafka_runbooks.clients.protocols import Record
from kafka_runbooks.models import labels
from kafka_runbooks.models.certificates import ClientHandshake, TlsFiles
from kafka_runbooks.models.kubernetes import (
    ApiServer,
    BrokerPod,
    Claim,
    ConfigMap,
    ControllerPod,
    DisruptionBudget,
    FileChanges,
    KafkaPod,
    LastStart,
    Node,
    StatefulSet,
)
from kafka_runbooks.models.rights import Right

TIMEOUT_SECONDS = 10
RECORD_KIND = f"{labels.DOMAIN}/record"
METADATA_ONLY = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"
"""The form of a list in which objects come without their content."""


LATELY_SECONDS = 3600
LOG_BYTES = 50_000_000
LOG_TIMEOUT_SECONDS = 60


class KubernetesApi:
    """`protocols.Kubernetes` for one cluster; may be used by several threads."""

    def __init__(self, cluster: str, namespace: str, connection: Connection | None = None) -> None:
        self._cluster = cluster
        self._namespace = namespace
        self._connection = connection or Connection()

    @property
    def _core(self) -> Any:
        return client.CoreV1Api(self._connection.client())

    @property
    def _apps(self) -> Any:
        return client.AppsV1Api(self._connection.client())

    @property
    def _policy(self) -> Any:
        return client.PolicyV1Api(self._connection.client())

    def broker_pods(self) -> tuple[BrokerPod, ...]:
        ids = self.broker_ids()
        return tuple(objects.broker_pod(pod, ids) for pod in self._pods(f"{labels.MAP},{labels.ROLES}!={labels.CONTROLLER}"))

    def controller_pods(self) -> tuple[ControllerPod, ...]:
        return tuple(objects.controller_pod(pod) for pod in self._pods(f"{labels.ROLES}={labels.CONTROLLER}"))

    def ensemble_pods(self) -> tuple[KafkaPod, ...]:
        return tuple(objects.ensemble_pod(pod) for pod in self._pods(f"{labels.COMPONENT}={labels.ZOOKEEPER}"))

    def _pods(self, selector: str) -> list[Any]:
        with mapped("list pods"):
            found = self._core.list_namespaced_pod(
                self._namespace, label_selector=f"{labels.CLUSTER}={self._cluster},{selector}", _request_timeout=TIMEOUT_SECONDS
            )
        return sorted(found.items, key=lambda pod: str(pod.metadata.name))

    def stateful_sets(self) -> tuple[StatefulSet, ...]:
        found = self._stateful_sets(f"{labels.CLUSTER}={self._cluster}")
        items = [item for item in found if {labels.MAP, labels.ROLES} & (item.metadata.labels or {}).keys()]
        return tuple(objects.stateful_set(item) for item in items)

    def ensemble_sets(self) -> tuple[StatefulSet, ...]:
        found = self._stateful_sets(f"{labels.CLUSTER}={self._cluster},{labels.COMPONENT}={labels.ZOOKEEPER}")
        return tuple(objects.stateful_set(item) for item in found)

    def _stateful_sets(self, selector: str) -> list[Any]:
        with mapped("list StatefulSets"):
            found = self._apps.list_namespaced_stateful_set(
                self._namespace, label_selector=selector, _request_timeout=TIMEOUT_SECONDS
            )
        return sorted(found.items, key=lambda item: str(item.metadata.name))

    def scale(self, stateful_set: StatefulSet, replicas: int) -> None:
        body = {"metadata": {"resourceVersion": stateful_set.version}, "spec": {"replicas": replicas}}
        with mapped(f"scale StatefulSet {stateful_set.name}", missing_ok=True):
            self._apps.patch_namespaced_stateful_set_scale(
                stateful_set.name, self._namespace, body, _request_timeout=TIMEOUT_SECONDS
            )
            return
        raise Conflict(f"StatefulSet {stateful_set.name} was deleted")

    def broker_ids(self) -> dict[str, int]:
        return register.broker_ids(self._register())

    def last_starts(self) -> dict[str, LastStart]:
        return register.last_starts(self._register())

    def file_changes(self) -> dict[str, FileChanges]:
        return register.file_changes(self._register())

    def tls_files(self) -> dict[str, TlsFiles]:
        of_members = self._data_of(labels.SERVER_IDS_CONFIG_MAP_PREFIX + self._cluster)
        return register.tls_files({**of_members, **self._register()})

    def sync_files(self, pod: str, uid: str) -> None:
        wanted_at = datetime.now(UTC).isoformat(timespec="milliseconds")
        body = {"metadata": {"uid": uid, "annotations": {labels.FILES_WANTED_AT: wanted_at}}}
        with mapped(f"annotate pod {pod}", missing_ok=True):
            try:
                self._core.patch_namespaced_pod(pod, self._namespace, body, _request_timeout=TIMEOUT_SECONDS)
            except client.ApiException as error:
                # It is another pod of that name, whose UID can't be changed to this one; it was made with the newest files.
                if error.status != HTTPStatus.UNPROCESSABLE_ENTITY:
                    raise

    def client_handshakes(self, pod: str) -> tuple[ClientHandshake, ...] | None:
        log = ""
        with mapped(f"log of pod {pod}", missing_ok=True):
            log = self._core.read_namespaced_pod_log(
                pod,
                self._namespace,
                container=labels.KAFKA_CONTAINER,
                since_seconds=LATELY_SECONDS,
                limit_bytes=LOG_BYTES,
                _request_timeout=LOG_TIMEOUT_SECONDS,
            )
        return handshake_log.handshakes(log or "")

    def disruption_budgets(self) -> tuple[DisruptionBudget, ...]:
        with mapped("list PodDisruptionBudgets"):
            found = self._policy.list_namespaced_pod_disruption_budget(self._namespace, _request_timeout=TIMEOUT_SECONDS)
        return tuple(objects.disruption_budget(item) for item in sorted(found.items, key=lambda item: str(item.metadata.name)))

    def _register(self) -> Mapping[str, str]:
        return self._data_of(register.name_of(self._cluster))

    def _data_of(self, name: str) -> Mapping[str, str]:
        """What a ConfigMap holds; nothing if there is none."""
        found = None
        with mapped(f"ConfigMap {name}", missing_ok=True):
            found = self._core.read_namespaced_config_map(name, self._namespace, _request_timeout=TIMEOUT_SECONDS)
        return {} if found is None else found.data or {}

    def nodes(self) -> tuple[Node, ...]:
        with mapped("list nodes"):
            found = self._core.list_node(_request_timeout=TIMEOUT_SECONDS)
        return objects.nodes(found.items)

    def claim(self, name: str) -> Claim | None:
        found = None
        with mapped(f"claim {name}", missing_ok=True):
            found = self._core.read_namespaced_persistent_volume_claim(name, self._namespace, _request_timeout=TIMEOUT_SECONDS)
        if found is None:
            return None
        volume = None
        if found.spec.volume_name:
            with mapped(f"volume {found.spec.volume_name}", missing_ok=True):
                volume = self._core.read_persistent_volume(found.spec.volume_name, _request_timeout=TIMEOUT_SECONDS)
        return objects.claim(found, volume)

    def delete_claim(self, name: str, uid: str) -> None:
        claim = self.claim(name)
        if claim is not None and claim.uid == uid:
            with mapped(f"delete claim {name}", missing_ok=True):
                self._core.delete_namespaced_persistent_volume_claim(
                    name, self._namespace, body=_precondition(uid), _request_timeout=TIMEOUT_SECONDS
                )
        # Even if the claim is gone already: whoever deleted it may have died before deleting its volume.
        self._delete_local_volumes(uid)

    def _delete_local_volumes(self, claim_uid: str) -> None:
        """Delete the volumes bound to this claim and to one node: once the node is gone, nothing else would reclaim them."""
        with mapped("list volumes"):
            found = self._core.list_persistent_volume(_request_timeout=TIMEOUT_SECONDS)
        for volume in found.items:
            claim = volume.spec.claim_ref
            if claim is not None and claim.uid == claim_uid and objects.nodes_of_volume(volume):
                with mapped(f"delete volume {volume.metadata.name}", missing_ok=True):
                    self._core.delete_persistent_volume(volume.metadata.name, _request_timeout=TIMEOUT_SECONDS)

    def delete_pod(self, name: str, uid: str, *, force: bool) -> None:
        body = _precondition(uid)
        if force:
            body.grace_period_seconds = 0
        with mapped(f"delete pod {name}", missing_ok=True):
            self._core.delete_namespaced_pod(name, self._namespace, body=body, _request_timeout=TIMEOUT_SECONDS)

    def cordon(self, node: str, uid: str, owner: str) -> None:
        self._change_cordon(node, uid, is_cordoned=True, owner=owner, unless=lambda found: bool(found.spec.unschedulable))

    def uncordon(self, node: str, uid: str, owner: str) -> None:
        def is_not_ours(found: Any) -> bool:
            return (found.metadata.annotations or {}).get(labels.CORDON_OWNER) != owner

        self._change_cordon(node, uid, is_cordoned=False, owner=None, unless=is_not_ours)

    def _change_cordon(self, node: str, uid: str, *, is_cordoned: bool, owner: str | None, unless: Callable[[Any], bool]) -> None:
        """Change the node, unless it is gone or `unless` holds for it."""
        found = self._node(node, uid)
        if found is None or unless(found):
            return
        metadata = {"annotations": {labels.CORDON_OWNER: owner}, "resourceVersion": found.metadata.resource_version}
        body = {"metadata": metadata, "spec": {"unschedulable": is_cordoned or None}}
        with mapped(f"{'cordon' if is_cordoned else 'uncordon'} {node}", missing_ok=True):
            self._core.patch_node(node, body, _request_timeout=TIMEOUT_SECONDS)

    def clear_broker_label(self, node: str, uid: str) -> None:
        found = self._node(node, uid)
        if found is None or labels.BROKER_ID not in (found.metadata.labels or {}):
            return
        metadata = {"labels": {labels.BROKER_ID: None}, "resourceVersion": found.metadata.resource_version}
        with mapped(f"clear the label of node {node}", missing_ok=True):
            self._core.patch_node(node, {"metadata": metadata}, _request_timeout=TIMEOUT_SECONDS)

    def _node(self, node: str, uid: str) -> Any:
        """The node, unless it is gone; one that was given its name since is another one."""
        found = None
        with mapped(f"node {node}", missing_ok=True):
            found = self._core.read_node(node, _request_timeout=TIMEOUT_SECONDS)
        return found if found is not None and found.metadata.uid == uid else None

    def denied(self, asked: Iterable[Right]) -> tuple[Right, ...]:
        return rights.denied(self._connection, asked)

    def server(self) -> ApiServer:
        return rights.server(self._connection)

    def definitions(self, kind: str) -> tuple[ConfigMap, ...]:
        with mapped(f"list definitions of {kind}"):
            found = self._core.list_namespaced_config_map(
                self._namespace,
                label_selector=f"{labels.CLUSTER}={self._cluster},{labels.DEFINITIONS}={kind}",
                _request_timeout=TIMEOUT_SECONDS,
            )
            return tuple(
                ConfigMap(
                    name=one.metadata.name,
                    uid=one.metadata.uid,
                    data=one.data or {},
                    annotations=one.metadata.annotations or {},
                )
                for one in sorted(found.items, key=lambda one: str(one.metadata.name))
            )

    def tell(self, config_map: ConfigMap, reason: str, message: str, *, is_warning: bool) -> None:
        now = datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
        name = f"{config_map.name[:150]}.{config_map.uid}.{reason.lower()}"
        said = {"message": message, "lastTimestamp": now, "type": "Warning" if is_warning else "Normal"}
        is_there = False
        with mapped(f"event {reason}", missing_ok=True):
            self._core.patch_namespaced_event(name, self._namespace, said, _request_timeout=TIMEOUT_SECONDS)
            is_there = True
        if is_there:
            return
        about = {"apiVersion": "v1", "kind": "ConfigMap", "namespace": self._namespace}
        body = {
            **said,
            "metadata": {"name": name, "namespace": self._namespace},
            "involvedObject": {**about, "name": config_map.name, "uid": config_map.uid},
            "reason": reason,
            "source": {"component": "kafka-runbooks"},
            "firstTimestamp": now,
            "count": 1,
        }
        with mapped(f"event {reason}"):
            self._core.create_namespaced_event(self._namespace, body, _request_timeout=TIMEOUT_SECONDS)

    def read_record(self, name: str) -> Record | None:
        found = None
        with mapped(f"record {name}", missing_ok=True):
            found = self._core.read_namespaced_config_map(name, self._namespace, _request_timeout=TIMEOUT_SECONDS)
        if found is None:
            return None
        # A ConfigMap made with `kubectl create configmap --from-file plan.json` has its text under `data`.
        text = {key: value.encode() for key, value in (found.data or {}).items()}
        parts = text | {key: base64.b64decode(value) for key, value in (found.binary_data or {}).items()}
        return Record(parts, found.metadata.resource_version, objects.own_annotations(found.metadata.annotations))

    def write_record(
        self,
        name: str,
        kind: str,
        parts: Mapping[str, bytes],
        summary: str,
        version: str | None,
        annotations: Mapping[str, str],
    ) -> str:
        metadata = {
            "name": name,
            "labels": {labels.CLUSTER: self._cluster, RECORD_KIND: kind},
            "annotations": {f"{labels.DOMAIN}/{key}": value for key, value in annotations.items()},
            "resourceVersion": version,
        }
        body = {
            "metadata": metadata,
            "data": {"summary": summary},
            "binaryData": {key: base64.b64encode(value).decode() for key, value in parts.items()},
        }
        with mapped(f"record {name}", missing_ok=version is not None):
            if version is None:
                written = self._core.create_namespaced_config_map(self._namespace, body, _request_timeout=TIMEOUT_SECONDS)
            else:
                written = self._core.replace_namespaced_config_map(name, self._namespace, body, _request_timeout=TIMEOUT_SECONDS)
            return str(written.metadata.resource_version)
        raise Conflict(f"record {name} was deleted")

    def delete_record(self, name: str, version: str | None = None) -> None:
        body = client.V1DeleteOptions(preconditions=client.V1Preconditions(resource_version=version))
        with mapped(f"record {name}", missing_ok=True):
            self._core.delete_namespaced_config_map(name, self._namespace, body=body, _request_timeout=TIMEOUT_SECONDS)

    def records(self, kind: str) -> dict[str, Mapping[str, str]]:
        with mapped("list records"):
            found = self._core.list_namespaced_config_map(
                self._namespace,
                label_selector=f"{labels.CLUSTER}={self._cluster},{RECORD_KIND}={kind}",
                _headers={"Accept": METADATA_ONLY},
                _request_timeout=TIMEOUT_SECONDS,
                _preload_content=False,  # The library has no type for it, and an empty list is null.
            )
            items = json.loads(found.read())["items"] or []
        by_name = {str(item["metadata"]["name"]): item["metadata"].get("annotations") for item in items}
        return {name: objects.own_annotations(annotations) for name, annotations in sorted(by_name.items())}


def _precondition(uid: str) -> Any:
    return client.V1DeleteOptions(preconditions=client.V1Preconditions(uid=uid))
