"""The register of an ensemble's server IDs: annotations of one ConfigMap, which outlive pods, nodes and disks.

The agents beside the members write it. Under `server-id.kafka-runbooks.io/<pod>` it has the pod's ID, and under
`empty-disk.kafka-runbooks.io/<pod>` that the pod may begin with an empty disk, once. Its data tell what the pods' TLS files hold,
as the register of brokers does (`register`).
"""

import json
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from kubernetes import client

from kafka_runbooks.clients.errors import Refused
from kafka_runbooks.clients.kubernetes.connection import Connection, mapped
from kafka_runbooks.models import labels

TIMEOUT_SECONDS = 5


class ServerIds(NamedTuple):
    """What the register says. `version` is what a change must be based on."""

    ids: Mapping[str, int]
    """Pod -> server ID."""
    may_be_empty: frozenset[str]
    """Pods that may begin with an empty disk."""
    version: str


class ServerIdRegister:
    """The register of one ensemble.

    Args:
        pod_uid: of the pod beside whose member this runs; one that only gives IDs needs none.
    """

    def __init__(self, namespace: str, cluster: str, connection: Connection | None = None, *, pod_uid: str = "") -> None:
        self._pod_uid = pod_uid
        self._namespace = namespace
        self._name = labels.SERVER_IDS_CONFIG_MAP_PREFIX + cluster
        self._connection = connection or Connection()

    def read(self) -> ServerIds:
        """What is in it.

        Raises:
            Refused: there is no register (it is deployed with the ensemble), or an ID in it isn't a number.
        """
        found = None
        with mapped(f"ConfigMap {self._name}", missing_ok=True):
            found = json.loads(self._core.read_namespaced_config_map(self._name, self._namespace, **_RAW).data)
        if found is None:
            raise Refused(f"ConfigMap {self._name} doesn't exist in namespace {self._namespace}: create it, empty")
        annotations: dict[str, str] = found["metadata"].get("annotations") or {}
        given = _below(annotations, labels.SERVER_ID)
        if wrong := [f"{pod} has {text!r}" for pod, text in given.items() if not text.isdecimal()]:
            raise Refused(f"ConfigMap {self._name}: {', '.join(wrong)}, which is not a server ID; correct the annotation")
        return ServerIds(
            {pod: int(text) for pod, text in given.items()},
            frozenset(_below(annotations, labels.EMPTY_DISK)),
            found["metadata"]["resourceVersion"],
        )

    def add(self, ids: Mapping[str, int], may_be_empty: Iterable[str], version: str) -> None:
        """Give IDs, if nobody has changed the register since `version`.

        Raises:
            Conflict: somebody has; read again.
        """
        given: dict[str, str | None] = {labels.SERVER_ID + pod: str(server_id) for pod, server_id in ids.items()}
        self._annotate(given | {labels.EMPTY_DISK + pod: "allowed" for pod in may_be_empty}, {"resourceVersion": version})

    def begun(self, pod: str) -> None:
        """The pod has begun: from now on an empty disk is a lost one. Only the pod itself writes this."""
        self._annotate({labels.EMPTY_DISK + pod: None}, {})

    def pod_uid(self) -> str:
        """This pod's; its own rights don't let it ask."""
        return self._pod_uid

    def add_entries(self, cluster: str, entries: Mapping[str, str], version: str | None) -> None:
        """Add or change what pods tell of themselves, each under its own name; see `AgentKubernetes.add_entries`."""
        with mapped(f"ConfigMap {self._name}"):
            body = {"metadata": {} if version is None else {"resourceVersion": version}, "data": dict(entries)}
            self._core.patch_namespaced_config_map(self._name, self._namespace, body, **_RAW)

    def _annotate(self, annotations: Mapping[str, str | None], condition: Mapping[str, str]) -> None:
        with mapped(f"ConfigMap {self._name}"):
            body = {"metadata": {**condition, "annotations": dict(annotations)}}
            self._core.patch_namespaced_config_map(self._name, self._namespace, body, **_RAW)

    @property
    def _core(self) -> Any:
        return client.CoreV1Api(self._connection.client())


_RAW: dict[str, Any] = {"_request_timeout": TIMEOUT_SECONDS, "_preload_content": False}


def _below(annotations: Mapping[str, str], prefix: str) -> dict[str, str]:
    return {key.removeprefix(prefix): value for key, value in sorted(annotations.items()) if key.startswith(prefix)}
