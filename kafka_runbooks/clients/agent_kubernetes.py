"""The Kubernetes API as the agent beside a broker uses it: its pod, its node, and the ConfigMap that gives out broker ids.

Answers stay JSON: the library's models would cost the agent more than everything else it does.
"""

import json
from collections.abc import Mapping
from typing import Any

from kubernetes import client
from kubernetes.client.rest import ApiException

from kafka_runbooks.clients.errors import Conflict, Refused
from kafka_runbooks.clients.kubernetes import connect, event_body, mapped
from kafka_runbooks.models import labels

TIMEOUT_SECONDS = 5


class AgentKubernetes:
    """One pod's view of the API, with the rights of its ServiceAccount."""

    def __init__(self, namespace: str, pod: str) -> None:
        self._namespace = namespace
        self._pod = pod
        self._pod_uid: str | None = None
        with mapped("connect"):
            self._core: Any = client.CoreV1Api(connect())

    def force_ready(self) -> str | None:
        """The break-glass annotation on this pod, as it stands."""
        with mapped(f"pod {self._pod}"):
            pod = _json(self._core.read_namespaced_pod(self._pod, self._namespace, **_RAW))
        self._pod_uid = pod["metadata"]["uid"]
        annotation: str | None = pod["metadata"].get("annotations", {}).get(labels.FORCE_READY)
        return annotation

    def event(self, name: str, reason: str, message: str, *, warning: bool) -> None:
        """An event on this pod under a name of its own: said already is said once."""
        body = event_body(self._namespace, self._pod, reason, message, warning=warning)
        body["metadata"] = {"name": f"{self._pod}.{name}", "namespace": self._namespace}
        if self._pod_uid is not None:
            body["involvedObject"]["uid"] = self._pod_uid  # without it `kubectl describe pod` doesn't show the event
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
        """Mark this pod and its node with the id, and take the mark from any other node: the broker has left it."""
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
        """Pod name -> id as given out so far, and the version that a change must be based on (None: there is no ConfigMap).

        Raises:
            Refused: an entry that isn't a number; giving out ids beside it could give one twice.
        """
        name = labels.BROKER_IDS_CONFIG_MAP_PREFIX + cluster
        try:
            with mapped(f"ConfigMap {name}"):
                found = _json(self._core.read_namespaced_config_map(name, self._namespace, **_RAW))
        except Refused as error:
            if isinstance(error.__cause__, ApiException) and error.__cause__.status == 404:
                return {}, None
            raise
        ids = {}
        for pod, value in (found.get("data") or {}).items():
            try:
                ids[pod] = int(value)
            except ValueError:
                raise Refused(f"ConfigMap {name}: {pod} has {value!r}, which is no broker id; correct it") from None
        return ids, found["metadata"]["resourceVersion"]

    def write_broker_ids(self, cluster: str, ids: Mapping[str, int], version: str | None) -> None:
        """Replace the ConfigMap if it still has this version (None: create it).

        Raises:
            Conflict: somebody else was faster; read again.
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
