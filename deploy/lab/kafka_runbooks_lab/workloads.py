"""The lab's workloads: the manifests that users deploy, plus an overlay, applied together and then awaited."""

import json
import re
from enum import StrEnum
from pathlib import Path
from typing import Any

from kafka_runbooks_lab import network, nodes, packages, paths
from kafka_runbooks_lab.builds import Built
from kafka_runbooks_lab.errors import LabError

OVERLAY, PLAINTEXT_OVERLAY = paths.LAB / "overlay", paths.LAB / "plaintext"
ZOOKEEPER_OVERLAY = paths.LAB / "zookeeper"


class Flavour(StrEnum):
    """Where Kafka keeps its metadata."""

    KRAFT = "kraft"
    ZOOKEEPER = "zookeeper"

    @property
    def overlay(self) -> Path:
        return ZOOKEEPER_OVERLAY if self is Flavour.ZOOKEEPER else OVERLAY

    @property
    def groups(self) -> tuple[str, ...]:
        """The node groups that have a node in each zone."""
        return ("zookeeper", "events", "checks") if self is Flavour.ZOOKEEPER else ("events", "checks")


def fill_in(manifests: str, built: Built) -> str:
    """Replace the overlay's @placeholders@ by this host's folders and the lab's addresses."""
    java = packages.java_home()
    values = {
        "CHECKOUT": paths.CHECKOUT,
        "COREDNS": built.coredns.resolve(),
        "DNS": network.DNS,
        "HOST": network.HOST,
        "JARS": built.jars.resolve(),
        "JAVA_CONFIG": (java / "conf/net.properties").resolve().parent,
        "JAVA_HOME": java,
        # A mount path may occur once in a container, and /usr is there already.
        "PYTHON": paths.PYTHON if Path("/usr") != paths.PYTHON else Path("/usr/lib"),
        "TEMPORAL": network.TEMPORAL,
        "VENV": paths.VENV,
    }
    for name, value in values.items():
        manifests = manifests.replace(f"@{name}@", str(value))
    if left := re.search(r"@[A-Z_]+@", manifests):
        raise LabError(f"the lab's overlay has an unknown placeholder: {left[0]}")
    return manifests


def volume(node: nodes.Node) -> dict[str, Any]:
    """The PersistentVolume of a node's disk, as the local volume provisioner of the Kubernetes project makes them.

    The annotation tells Kubernetes that an external provisioner deletes and cleans a released volume; see `volumes`.
    """
    terms = [{"matchExpressions": [{"key": "kubernetes.io/hostname", "operator": "In", "values": [node.name]}]}]
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {
            "name": volume_name(node),
            "annotations": {"pv.kubernetes.io/provisioned-by": f"local-volume-provisioner-{node.name}"},
        },
        "spec": {
            "capacity": {"storage": "100Gi"},
            "accessModes": ["ReadWriteOnce"],
            "persistentVolumeReclaimPolicy": "Delete",
            "storageClassName": "local",
            "local": {"path": nodes.DISK},
            "nodeAffinity": {"required": {"nodeSelectorTerms": terms}},
        },
    }


def volume_name(node: nodes.Node) -> str:
    return f"local-{node.name}"


def has_volume(node: nodes.Node) -> bool:
    """Broker nodes have a disk to claim; the system node has none."""
    return node.group != "system"


def joined(manifests: str, secrets: list[dict[str, Any]], volumes: list[dict[str, Any]]) -> str:
    """All in the order in which it is applied. Secrets come early: a pod that doesn't find its own looks again only later."""
    documents = manifests.split("\n---\n")
    namespaces = [document for document in documents if "\nkind: Namespace\n" in document]
    rest = [document for document in documents if document not in namespaces]
    return "\n---\n".join([*namespaces, *map(json.dumps, secrets), *rest, *map(json.dumps, volumes)])
