"""The Kubernetes API as the agent beside a broker uses it: its pod, its node, and the register of broker IDs.

Answers stay JSON: parsing them into the library's models would cost more than all else that the agent does.
"""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from kubernetes import client

from kafka_runbooks.clients.errors import Conflict, Refused
from kafka_runbooks.clients.kubernetes import register
from kafka_runbooks.clients.kubernetes.connection import connect, mapped
from kafka_runbooks.models import labels
from kafka_runbooks.models.kubernetes import LastStart, Machine

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
        annotation: str | None = self._read_pod().get("annotations", {}).get(labels.FORCE_READY)
        return annotation

    def pod_uid(self) -> str:
        """This pod's; asked for once, for the agent lives in it."""
        return str(self._pod_uid or self._read_pod()["uid"])

    def _read_pod(self) -> dict[str, Any]:
        """The pod's metadata."""
        with mapped(f"pod {self._pod}"):
            metadata: dict[str, Any] = _json(self._core.read_namespaced_pod(self._pod, self._namespace, **_RAW))["metadata"]
        self._pod_uid = metadata["uid"]
        return metadata

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

    def start_on(self, node: str) -> LastStart:
        """What is to be recorded of a broker that starts on this node."""
        with mapped(f"node {node}"):
            found = _json(self._core.read_node(node, **_RAW))
        info = found.get("status", {}).get("nodeInfo", {})
        return LastStart(
            rack=found["metadata"].get("labels", {}).get(labels.ZONE),
            node=node,
            node_uid=found["metadata"]["uid"],
            machine=Machine(
                machine_id=info.get("machineID") or None,
                system_uuid=info.get("systemUUID") or None,
                provider_id=found.get("spec", {}).get("providerID") or None,
            ),
        )

    def label(self, node: str, broker_id: int) -> None:
        """Label this pod and its node with the broker ID. Runbooks clear the label of a node that the broker has left."""
        mark = {"metadata": {"labels": {labels.BROKER_ID: str(broker_id)}}}
        with mapped(f"label pod {self._pod}"):
            self._core.patch_namespaced_pod(self._pod, self._namespace, mark, **_RAW)
        with mapped(f"label node {node}"):
            self._core.patch_node(node, mark, **_RAW)

    def entries(self, cluster: str) -> tuple[dict[str, str], str]:
        """The register's entries, and the version that a change must be based on.

        Raises:
            Refused: there is no register; it is deployed with the cluster, since a right to create can't be limited to one name.
        """
        name = register.name_of(cluster)
        found = None
        with mapped(f"ConfigMap {name}", missing_ok=True):
            found = _json(self._core.read_namespaced_config_map(name, self._namespace, **_RAW))
        if found is None:
            raise Refused(f"ConfigMap {name} doesn't exist in namespace {self._namespace}: create it, empty")
        return found.get("data") or {}, found["metadata"]["resourceVersion"]

    def add_entries(self, cluster: str, entries: Mapping[str, str], version: str | None) -> None:
        """Add or change entries of the register if it still has this version, or (None) those that nobody else writes.

        Raises:
            Conflict: another pod was faster; read again.
        """
        name = register.name_of(cluster)
        with mapped(f"ConfigMap {name}"):
            body = {"metadata": {} if version is None else {"resourceVersion": version}, "data": dict(entries)}
            self._core.patch_namespaced_config_map(name, self._namespace, body, **_RAW)


_RAW: dict[str, Any] = {"_request_timeout": TIMEOUT_SECONDS, "_preload_content": False}


def _json(response: Any) -> dict[str, Any]:
    answer: dict[str, Any] = json.loads(response.data)
    return answer
