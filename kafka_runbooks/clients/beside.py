"""What the agent beside a broker needs of the world, and no more: its own pod and node, the ids' ConfigMap, cluster metadata."""

from typing import Any

from confluent_kafka.admin import AdminClient
from kubernetes import client

from kafka_runbooks.clients.kafka import mapped as kafka_mapped
from kafka_runbooks.clients.kubernetes import connect, event_body, mapped
from kafka_runbooks.models import labels
from kafka_runbooks.models.cluster import Partition

TIMEOUT_SECONDS = 5


class PodApi:
    """The agent's pod, its node, and the ConfigMap in which broker ids are given out."""

    def __init__(self, namespace: str, pod: str) -> None:
        self._namespace = namespace
        self._pod = pod
        self._core: Any = client.CoreV1Api(connect())

    def read_ids(self, cluster: str) -> tuple[dict[str, int], str | None]:
        """Pod name -> broker id, and the version to write against (None: there is no ConfigMap yet)."""
        name = f"{labels.BROKER_IDS_CONFIG_MAP_PREFIX}{cluster}"
        with mapped(name):
            try:
                found = self._core.read_namespaced_config_map(name, self._namespace, _request_timeout=TIMEOUT_SECONDS)
            except client.ApiException as error:
                if error.status == 404:
                    return {}, None
                raise
        return {pod: int(broker_id) for pod, broker_id in (found.data or {}).items()}, found.metadata.resource_version

    def write_ids(self, cluster: str, ids: dict[str, int], version: str | None) -> None:
        """Write if nobody else has since.

        Raises:
            Conflict: somebody has.
        """
        name = f"{labels.BROKER_IDS_CONFIG_MAP_PREFIX}{cluster}"
        body: dict[str, Any] = {
            "metadata": {"name": name, "labels": {labels.CLUSTER: cluster}},
            "data": {pod: str(broker_id) for pod, broker_id in sorted(ids.items())},
        }
        with mapped(name):
            if version is None:
                self._core.create_namespaced_config_map(self._namespace, body, _request_timeout=TIMEOUT_SECONDS)
            else:
                body["metadata"]["resourceVersion"] = version
                self._core.replace_namespaced_config_map(name, self._namespace, body, _request_timeout=TIMEOUT_SECONDS)

    def zone(self, node: str) -> str | None:
        with mapped(f"node {node}"):
            found = self._core.read_node(node, _request_timeout=TIMEOUT_SECONDS)
        return (found.metadata.labels or {}).get(labels.ZONE)

    def label(self, node: str, broker_id: int) -> None:
        """Put the id on pod and node, and take it off nodes that the broker has left."""
        mark = {"metadata": {"labels": {labels.BROKER_ID: str(broker_id)}}}
        with mapped(f"label {self._pod}"):
            self._core.patch_namespaced_pod(self._pod, self._namespace, mark, _request_timeout=TIMEOUT_SECONDS)
            self._core.patch_node(node, mark, _request_timeout=TIMEOUT_SECONDS)
            selector = f"{labels.BROKER_ID}={broker_id}"
            for other in self._core.list_node(label_selector=selector, _request_timeout=TIMEOUT_SECONDS).items:
                if other.metadata.name != node:
                    unmark = {"metadata": {"labels": {labels.BROKER_ID: None}}}
                    self._core.patch_node(other.metadata.name, unmark, _request_timeout=TIMEOUT_SECONDS)

    def force_ready(self) -> str | None:
        """The break-glass annotation's raw text."""
        with mapped(self._pod):
            found = self._core.read_namespaced_pod(self._pod, self._namespace, _request_timeout=TIMEOUT_SECONDS)
        return (found.metadata.annotations or {}).get(labels.FORCE_READY)

    def event(self, reason: str, message: str) -> None:
        with mapped("event"):
            self._core.create_namespaced_event(
                self._namespace,
                event_body(self._namespace, self._pod, reason, message, warning=True),
                _request_timeout=TIMEOUT_SECONDS,
            )


class Metadata:
    """Cluster metadata through the broker beside us; one client, kept."""

    def __init__(self, bootstrap_servers: str) -> None:
        self._admin = AdminClient(
            {"bootstrap.servers": bootstrap_servers, "socket.timeout.ms": 5_000, "client.id": "kafka-runbooks-agent"}
        )

    def look(self) -> tuple[frozenset[int], list[Partition]]:
        """Brokers that are registered, and every partition."""
        with kafka_mapped("metadata"):
            found = self._admin.list_topics(timeout=TIMEOUT_SECONDS)
        partitions = [
            Partition(
                topic=topic.topic,
                partition=one.id,
                leader=one.leader if one.leader >= 0 else None,
                replicas=tuple(one.replicas),
                in_sync=tuple(one.isrs),
            )
            for topic in found.topics.values()
            for one in topic.partitions.values()
        ]
        return frozenset(found.brokers), partitions
