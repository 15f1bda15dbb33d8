"""One API server for all of these tests."""

from collections.abc import Iterator

import pytest

from tests.clients.certificates.local_kubernetes import ROOT, LocalKubernetes, local_kubernetes

MANIFESTS = ROOT / "deploy" / "kubernetes"


@pytest.fixture(scope="package")
def api_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalKubernetes]:
    """With the worker's rights as they are deployed."""
    with local_kubernetes(tmp_path_factory.mktemp("kubernetes")) as kubernetes:
        for manifest in ("base/namespace.yaml", "base/kafka-access.yaml", "issuers"):
            kubernetes.kubectl("apply", "-f", str(MANIFESTS / manifest))
        yield kubernetes
