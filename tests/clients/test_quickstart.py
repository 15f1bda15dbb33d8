"""Steps 4 and 6 of docs/quickstart.md on a real API server: its lines are `doctor`'s, and restart nothing.

Kubernetes makes the pods and looks after the PodDisruptionBudget; there is no kubelet, and no Kafka. With both:
tests/lab/test_quickstart.py.
"""

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from kafka_runbooks.clients.kubernetes import KubernetesApi, rights
from kafka_runbooks.models import labels
from kafka_runbooks.safety import conventions
from kafka_runbooks.safety.conventions import Objects
from tests import quickstart
from tests.clients.certificates.local_kubernetes import LocalKubernetes, local_kubernetes, wait_until
from tests.quickstart import Shell, filled_in, lines

PODS = ("shop-controller-0", "shop-kafka-0", "shop-kafka-1", "shop-kafka-2")


@pytest.fixture(scope="module")
def api_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalKubernetes]:
    """With the controllers that make pods, and no other Kafka than `shop.yaml`."""
    with local_kubernetes(tmp_path_factory.mktemp("kubernetes")) as kubernetes:
        kubernetes.spawn(
            "kube-controller-manager",
            f"--kubeconfig={kubernetes.kubeconfig('manager')}",
            "--controllers=statefulset-controller,disruption-controller",
            "--leader-elect=false",
            "--secure-port=0",
        )
        shop = quickstart.SHOP.read_text().replace("@FIRST_NODE@", "node-0")
        kubernetes.kubectl("apply", "-f", "-", input=re.sub("@([A-Z_]+)@", r"/\1", shop))
        wait_until("pods", lambda: set(uids(kubernetes)) == set(PODS))
        for number, pod in enumerate(PODS):
            node = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": f"node-{number}", "labels": {labels.ZONE: "a"}}}
            kubernetes.apply(node)
            bind = {"apiVersion": "v1", "kind": "Binding", "metadata": {"name": pod}, "target": {"name": f"node-{number}"}}
            binding = f"/api/v1/namespaces/shop/pods/{pod}/binding"
            kubernetes.kubectl("create", "--raw", binding, "-f", "-", input=json.dumps(bind))
        yield kubernetes


def uids(kubernetes: LocalKubernetes) -> dict[str, str]:
    pods = json.loads(kubernetes.kubectl("-n", "shop", "get", "pods", "-o", "json"))["items"]
    return {pod["metadata"]["name"]: pod["metadata"]["uid"] for pod in pods}


def faults(api: KubernetesApi) -> dict[str, str]:
    """What `doctor` finds in the cluster's objects, with what mends it."""
    found = Objects(
        cluster="shop",
        namespace="shop",
        stateful_sets=api.stateful_sets(),
        brokers=api.broker_pods(),
        controllers=api.controller_pods(),
        nodes=api.nodes(),
        budgets=api.disruption_budgets(),
    )
    return {check.fault: check.remedy or "" for check in conventions.check(found) if check.fault}


def test_the_page_s_lines_are_those_that_doctor_gives(api_server: LocalKubernetes, tmp_path: Path) -> None:
    api = KubernetesApi("shop", "shop", api_server.connection())
    shell = Shell(tmp_path, api_server.kubectl_argv())
    shutil.copytree(quickstart.ROOT / "deploy" / "kubernetes", tmp_path / "deploy" / "kubernetes")
    shell.run(lines("4. Run the worker")[0])
    for manifest in ("namespace", "kafka-access"):
        shell.run(f"kubectl apply -f deploy/kubernetes/base/{manifest}.yaml")
    wait_until("the worker's rights", lambda: api.denied(rights.of_worker("shop")) == ())

    before, told, unsaid = uids(api_server), faults(api), []
    assert len(told) == 2, told  # No brokers, no controllers: of more it can't know yet.
    for line in lines("6. Label your cluster"):
        if line.startswith("kubectl "):
            if not any(line in filled_in(remedy) for remedy in told.values()):
                unsaid.append(line)
            shell.run(line)
            told |= faults(api)
    # These two do for all brokers at once what doctor says of each.
    ids, nodes = unsaid
    assert ids.startswith("kubectl -n shop patch configmap kafka-broker-ids-shop ") and nodes.startswith("kubectl label node ")
    assert any("patch configmap kafka-broker-ids-shop" in remedy for remedy in told.values()), told
    assert any(remedy.startswith(f"kubectl label node node-1 {labels.MAP}=main") for remedy in told.values()), told

    wait_until("the PodDisruptionBudget", lambda: len(faults(api)) == 1)
    (left,) = faults(api).items()
    assert "readiness says nothing of replicas" in left[0] and '"Add the agent"' in left[1]
    assert {pod.name: pod.broker_id for pod in api.broker_pods()} == {f"shop-kafka-{n}": n for n in range(3)}
    assert [pod.node_id for pod in api.controller_pods()] == [100]
    assert uids(api_server) == before, "Kubernetes has made a pod anew"
