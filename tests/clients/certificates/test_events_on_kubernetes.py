"""Events on ConfigMaps with definitions, on a real API server, with the rights of the deployed worker."""

import json
from typing import Any

import pytest

from kafka_runbooks.clients.kubernetes import KubernetesApi
from kafka_runbooks.models import labels
from tests.clients.certificates.local_kubernetes import LocalKubernetes

pytestmark = pytest.mark.timeout(2_400)  # the first one may have to build what it starts


def said(api_server: LocalKubernetes) -> list[dict[str, Any]]:
    selector = "involvedObject.kind=ConfigMap,involvedObject.name=topics-web"
    found = api_server.kubectl("get", "events", "-n", "kafka", "--field-selector", selector, "-o", "json")
    events: list[dict[str, Any]] = json.loads(found)["items"]
    return events


def test_the_same_reason_again_takes_the_place_of_the_former_event(api_server: LocalKubernetes) -> None:
    marks = {labels.CLUSTER: "main", labels.DEFINITIONS: labels.TOPICS}
    metadata = {"name": "topics-web", "namespace": "kafka", "labels": marks}
    api_server.apply({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"topics.yaml": "topics: []"}})
    kubernetes = KubernetesApi("main", "kafka", api_server.connection())
    (config_map,) = kubernetes.definitions(labels.TOPICS)
    kubernetes.tell(config_map, "TopicsMissing", "events.a", is_warning=False)
    kubernetes.tell(config_map, "TopicsMissing", "events.b" * 128, is_warning=False)
    kubernetes.tell(config_map, "InvalidDefinition", "topics.yaml:1: is wrong", is_warning=True)
    found = {one["reason"]: (one["message"], one["type"]) for one in said(api_server)}
    assert found == {
        "TopicsMissing": ("events.b" * 128, "Normal"),
        "InvalidDefinition": ("topics.yaml:1: is wrong", "Warning"),
    }
    described = api_server.kubectl("describe", "configmap", "topics-web", "-n", "kafka")
    assert "kafka-runbooks" in described and "topics.yaml:1: is wrong" in described
    api_server.kubectl("delete", "configmap", "topics-web", "-n", "kafka")
