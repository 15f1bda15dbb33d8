"""The Kubernetes API as the agent beside a broker uses it: its pod, its node, and the ConfigMap that assigns broker IDs.

Answers stay JSON: parsing them into the library's models would cost more than all else that the agent does.
"""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from kubernetes import client

from kafka_runbooks.clients.errors import Conflict, Refused
from kafka_runbooks.clients.kubernetes.connection import connect, mapped
from kafka_runbooks.models import labels

TIMEOUT_SECONDS = 5


class AgentKubernetes:
    """The API for one broker's pod."""

    def __init__(self, namespace: str, pod: str) -> None:
        self._namespace = namespace
        self._pod = pod
        self._pod_uid: str | None = None
        with mapped("connect"):
            self._core: Any = client.CoreV1Api(connect())

    def force_ready(self) -> str | None:
        """The break-glass annotation on this pod, or None."""
        with mapped(f"pod {self._pod}"):
            pod = _json(self._core.read_namespaced_pod(self._pod, self._namespace, **_RAW))
        self._pod_uid = pod["metadata"]["uid"]
        annotation: str | None = pod["metadata"].get("annotations", {}).get(labels.FORCE_READY)
        return annotation

    def event(self, name: str, reason: str, message: str, *, warning: bool) -> None:
        """Emit an event on this pod under the given name; a second one of the same name is dropped."""
        now = datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
        pod = {"kind": "Pod", "apiVersion": "v1", "name": self._pod, "namespace": self._namespace}
        if self._pod_uid is not None:
            pod["uid"] = self._pod_uid  # without it `kubectl describe pod` doesn't show the event
        body = {
            "metadata": {"name": f"{self._pod}.{name}", "namespace": self._namespace},
            "involvedObject": pod,
            "reason": reason,
            "message": message[:1000],
            "type": "Warning" if warning else "Normal",
            "source": {"component": "kafka-runbooks"},
            "firstTimestamp": now,
            "lastTimestamp": now,
            "count": 1,
        }
        try:
            with mapped(f"event {reason}"):
                self._core.create_namespaced_event(self._namespace, body, **_RAW)
        except Conflict:
            return

    def zone(self, node: str) -> str | None:
        with mapped(f"node {node}"):
            found = _json(self._core.read_node(node, **_RAW))
        zone: str | None = found["metadata"].get("labels", {}).get(labels.ZONE)
        return zone

    def label(self, node: str, broker_id: int) -> None:
        """Label this pod and its node with the broker ID, and remove the label from other nodes, which the broker has left."""
        mark = {"metadata": {"labels": {labels.BROKER_ID: str(broker_id)}}}
        with mapped(f"label pod {self._pod}"):
            self._core.patch_namespaced_pod(self._pod, self._namespace, mark, **_RAW)
        with mapped(f"label node {node}"):
            self._core.patch_node(node, mark, **_RAW)
        with mapped("list nodes"):
            marked = _json(self._core.list_node(label_selector=f"{labels.BROKER_ID}={broker_id}", **_RAW))
        for other in (item["metadata"]["name"] for item in marked["items"]):
            if other != node:
                with mapped(f"clear the label of node {other}"):
                    self._core.patch_node(other, {"metadata": {"labels": {labels.BROKER_ID: None}}}, **_RAW)

    def broker_ids(self, cluster: str) -> tuple[dict[str, int], str | None]:
        """The assigned IDs by pod name, and the version that a change must be based on (None: there is no ConfigMap).

        Raises:
            Refused: an entry isn't a number; assigning IDs beside it could assign one twice.
        """
        name = labels.BROKER_IDS_CONFIG_MAP_PREFIX + cluster
        found = None
        with mapped(f"ConfigMap {name}", missing_ok=True):
            found = _json(self._core.read_namespaced_config_map(name, self._namespace, **_RAW))
        if found is None:
            return {}, None
        ids = {}
        for pod, value in (found.get("data") or {}).items():
            try:
                ids[pod] = int(value)
            except ValueError:
                raise Refused(f"ConfigMap {name}: {pod} has {value!r}, which is not a broker ID; correct it") from None
        return ids, found["metadata"]["resourceVersion"]

    def write_broker_ids(self, cluster: str, ids: Mapping[str, int], version: str | None) -> None:
        """Replace the ConfigMap if it still has this version (None: create it).

        Raises:
            Conflict: another pod was faster; read again.
        """
        name = labels.BROKER_IDS_CONFIG_MAP_PREFIX + cluster
        metadata: dict[str, Any] = {"name": name, "labels": {labels.CLUSTER: cluster}}
        body = {"metadata": metadata, "data": {pod: str(broker_id) for pod, broker_id in sorted(ids.items())}}
        with mapped(f"ConfigMap {name}"):
            if version is None:
                self._core.create_namespaced_config_map(self._namespace, body, **_RAW)
            else:
                metadata["resourceVersion"] = version
                self._core.replace_namespaced_config_map(name, self._namespace, body, **_RAW)


_RAW: dict[str, Any] = {"_request_timeout": TIMEOUT_SECONDS, "_preload_content": False}


def _json(response: Any) -> dict[str, Any]:
    answer: dict[str, Any] = json.loads(response.data)
    return answer
