"""The annotation that makes a kubelet bring a pod's files, on a real API server, with the rights of the deployed worker."""

import json
from collections.abc import Iterator

import pytest
from kubernetes.client import CoreV1Api
from kubernetes.client.rest import ApiException

from kafka_runbooks.clients.kubernetes import KubernetesApi
from kafka_runbooks.models import labels
from tests.clients.certificates.local_kubernetes import LocalKubernetes, wait_until

pytestmark = pytest.mark.timeout(2_400)  # the first one may have to build what it starts

POD = "kafka-events-7"


@pytest.fixture
def uid(api_server: LocalKubernetes) -> Iterator[str]:
    """Of a pod that no node runs."""
    container = {"name": "kafka", "image": "kafka:1"}
    metadata = {"name": POD, "namespace": "kafka", "annotations": {"theirs": "1"}}
    api_server.apply({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": {"containers": [container]}})
    yield str(api_server.kubectl("get", "pod", POD, "-n", "kafka", "-o", "jsonpath={.metadata.uid}"))
    api_server.kubectl("delete", "pod", POD, "-n", "kafka", "--now")


def annotations(api_server: LocalKubernetes) -> dict[str, str]:
    found: dict[str, str] = json.loads(api_server.kubectl("get", "pod", POD, "-n", "kafka", "-o", "json"))["metadata"][
        "annotations"
    ]
    return {key: value for key, value in found.items() if not key.startswith("kubectl")}


def test_a_pod_is_annotated_again_each_time_and_another_of_its_name_is_left_alone(api_server: LocalKubernetes, uid: str) -> None:
    kubernetes = KubernetesApi("main", "kafka", api_server.connection())
    kubernetes.sync_files(POD, uid)
    first = annotations(api_server)
    assert first.keys() == {"theirs", labels.FILES_WANTED_AT}
    kubernetes.sync_files(POD, uid)
    second = annotations(api_server)
    assert second[labels.FILES_WANTED_AT] > first[labels.FILES_WANTED_AT], "a pod that doesn't change isn't looked at"
    kubernetes.sync_files(POD, "another uid")
    kubernetes.sync_files("gone", uid)
    assert annotations(api_server) == second


CHANGES = {
    "image": {"spec": {"containers": [{"name": "kafka", "image": "kafka:2"}]}},
    "label": {"metadata": {"labels": {labels.BROKER_ID: "1"}}},
    "annotation": {"metadata": {"annotations": {labels.FORCE_READY: "{}"}}},
    "annotation of others": {"metadata": {"annotations": {"theirs": None}}},
}


def test_the_worker_may_change_nothing_else_of_a_pod(api_server: LocalKubernetes, uid: str) -> None:
    api = CoreV1Api(api_server.connection().client())

    def is_denied(change: object) -> bool:
        try:
            api.patch_namespaced_pod(POD, "kafka", change, dry_run="All")
        except ApiException as error:
            return "may change only the annotation" in str(error.body)
        return False

    # The API server takes note of a policy a moment after it was made.
    wait_until("the policy", lambda: is_denied(CHANGES["image"]), 60)
    assert [what for what, change in CHANGES.items() if not is_denied(change)] == []
