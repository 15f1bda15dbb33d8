"""The way from ZooKeeper to KRaft on a lab of its own, under checked traffic: back from its middle, then to its end.

The lab's manifests are those of `deploy/kubernetes/kafka-zookeeper/migration`, applied when the runbook asks for them.
"""

import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from kafka_runbooks_lab import builds, nodes, workloads
from kafka_runbooks_lab.errors import Unsupported
from kafka_runbooks_lab.lab import Lab
from kafka_runbooks_lab.workloads import ZOOKEEPER_OVERLAY, Flavour

from tests.lab import runs
from tests.lab.conftest import KEEP, cannot, say
from tests.lab.host import Host
from tests.lab.runs import ask, checked_traffic, eventually, fresh, holds, intact, kafka, leftovers, runbook, watched
from tests.lab.test_rolling_restart import BROKERS, CONTROLLERS, topic, uids, waits

__all__ = ["topic"]

# tests/workflows/test_migrate_to_kraft_on_kafka.py is the same without Kubernetes.
pytestmark = [pytest.mark.timeout(1200), pytest.mark.soak]

LEGS = {
    "plain": ("../mode",),
    "controllers": ("../brokers", "1-controllers"),
    "brokers": ("../brokers", "1-controllers", "2-brokers"),
    "kraft": ("../brokers", "1-controllers", "3-kraft"),
    "end": ("../brokers", "1-controllers", "3-kraft", "4-end"),
}
MIGRATES, ROLES = "zookeeper.metadata.migration.enable", "process.roles"


@pytest.fixture(scope="module")
def lab(host_before: Host | None) -> Iterator[Lab]:
    """A lab of this flavour, which is none any more afterwards: so none that is up is taken for it."""
    lab = Lab(say)
    if lab.is_up() and (KEEP or host_before is None):
        pytest.skip("a lab that stays up isn't migrated")
    lab.down()
    try:
        lab.up(flavour=Flavour.ZOOKEEPER)
    except Unsupported as error:
        cannot(str(error))
    try:
        yield lab
    finally:
        if not KEEP:
            lab.down()


def cluster_id(lab: Lab) -> str:
    code = "from confluent_kafka.admin import AdminClient\n"
    return kafka(lab, code + "print(AdminClient(librdkafka()).list_topics(timeout=20).cluster_id)").strip()


def apply(lab: Lab, leg: str, folder: Path) -> None:
    """What an operator applies for a leg, on the lab: its overlay, with other components, and the cluster's own id."""
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(ZOOKEEPER_OVERLAY, folder)
    kustomization = yaml.safe_load((folder / "kustomization.yaml").read_text())

    def relative(path: Path) -> str:
        return os.path.relpath(path.resolve(), folder.resolve())

    kustomization["resources"] = [relative(ZOOKEEPER_OVERLAY / one) for one in kustomization["resources"]]
    migration = ZOOKEEPER_OVERLAY.parents[1] / "kubernetes" / "kafka-zookeeper" / "migration"
    kustomization["components"] = [relative(migration / one) for one in ("../worker", *LEGS[leg])]
    own = {"name": "kafka-config", "namespace": "kafka", "behavior": "merge", "literals": [f"cluster-id={cluster_id(lab)}"]}
    kustomization["configMapGenerator"].append(own)
    (folder / "kustomization.yaml").write_text(yaml.safe_dump(kustomization))
    built = replace(builds.where(), jars=builds.ensure_zookeeper_mode(say))
    manifests = workloads.fill_in(lab.kubectl("kustomize", str(folder)), built)
    lab.kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", input=manifests)


def take_controllers_away(lab: Lab) -> None:
    """Their StatefulSet and their disks."""
    lab.kubectl("-n", "kafka", "delete", "statefulset", "kafka-controller")
    lab.kubectl("-n", "kafka", "wait", "--for=delete", *(f"pod/{one}" for one in CONTROLLERS), "--timeout=90s")
    for node in nodes.known():
        shutil.rmtree(node.var / "lib" / "kafka-controllers", ignore_errors=True)


def asks(run: str, begins: str, seconds: float = 300) -> str:
    """What is asked at a gate."""
    status = runs.until_status(
        run, lambda one: one["phase"] == "gate" and begins in ((one["waiting"] or {}).get("reason") or ""), seconds
    )
    return str(status["waiting"]["reason"])


def start(lab: Lab, **fields: Any) -> str:
    run = fresh()
    runs.start(run, ask(reason="test", **fields), "MigrateToKraft")
    return run


def to_the_third_leg(lab: Lab, run: str, folder: Path) -> None:
    waits(run, "no pod of a controller")
    apply(lab, "controllers", folder)
    waits(run, f"{MIGRATES} in its file is as it was started with", 300)
    apply(lab, "brokers", folder)
    waits(run, f"{ROLES} in its file is as it was started with", 500)


def give_the_brokers_certificate(lab: Lab) -> None:
    """To the worker, for ZooKeeper: without it the way back is barred, and no leg begins."""
    refused = runbook("plan", "migrate-to-kraft", "--cluster", "lab", "--reason", "test")
    assert "no-right-to-give-back" in refused.stdout + refused.stderr, refused
    found = json.loads(lab.kubectl("-n", "kafka", "get", "secret", "kafka-zookeeper-tls", "-o", "json"))["data"]
    patch = json.dumps({"data": found})
    lab.kubectl("-n", "kafka-runbooks", "patch", "secret", "kafka-runbooks-zookeeper-tls", "--type=merge", "-p", patch)

    def may() -> bool:
        said = runbook("plan", "migrate-to-kraft", "--cluster", "lab", "--reason", "test")
        return "no-right-to-give-back" not in said.stdout + said.stderr

    eventually("the worker has the certificate", 180, may)


def acls(lab: Lab) -> str:
    """Every ACL."""
    code = """
from confluent_kafka.admin import *
kinds = ResourceType.ANY, None, ResourcePatternType.ANY, None, None, AclOperation.ANY, AclPermissionType.ANY
admin = AdminClient(librdkafka())
print("\\n".join(sorted(map(str, admin.describe_acls(AclBindingFilter(*kinds)).result(30)))))
"""
    return kafka(lab, code)


def test_back_from_the_middle_of_the_third_leg(lab: Lab, topic: str, tmp_path: Path) -> None:
    give_the_brokers_certificate(lab)
    before, known = uids(lab), acls(lab)
    assert known.count("User:") > 3
    with checked_traffic(lab, f"{topic}.traffic") as traffic, watched(lab) as seen:
        run = start(lab)
        to_the_third_leg(lab, run, tmp_path / "overlay")
        second = uids(lab)
        assert all(second[pod] != before[pod] for pod in BROKERS)
        apply(lab, "kraft", tmp_path / "overlay")
        eventually("the third leg has begun", 240, lambda: any(uids(lab).get(pod) != second[pod] for pod in BROKERS))
        runs.update(run, "abort")
        assert runs.outcome(run, 300)["outcome"] == "aborted"
        run = start(lab, back=True)
        waits(run, f"{ROLES} in its file is as it was started with", 300)
        apply(lab, "brokers", tmp_path / "overlay")
        waits(run, "of a controller is still there", 400)
        take_controllers_away(lab)
        waits(run, f"{MIGRATES} in its file is as it was started with", 300)
        apply(lab, "plain", tmp_path / "overlay")
        holds(runs.outcome(run, 700))
    intact(traffic)
    assert seen["below"] == [] and seen["samples"] > 100, seen
    assert acls(lab) == known and leftovers(lab) == {}
    assert not set(CONTROLLERS) & uids(lab).keys()


def test_to_the_end(lab: Lab, topic: str, tmp_path: Path) -> None:
    known = acls(lab)
    with checked_traffic(lab, f"{topic}.traffic") as traffic, watched(lab) as seen:
        run = start(lab, wait_for_approval=True)
        assert "StatefulSet of three KRaft controllers" in asks(run, "leg 1 of 4")
        runs.update(run, "approve")
        waits(run, "no pod of a controller")
        apply(lab, "controllers", tmp_path / "overlay")
        asks(run, "leg 2 of 4")
        runs.update(run, "approve")
        apply(lab, "brokers", tmp_path / "overlay")
        asks(run, "leg 3 of 4", 500)
        runs.update(run, "approve")
        apply(lab, "kraft", tmp_path / "overlay")
        assert "there is no way back to ZooKeeper after this" in asks(run, "leg 4 of 4", 500)
        before = uids(lab)
        runs.update(run, "approve")
        apply(lab, "end", tmp_path / "overlay")
        holds(runs.outcome(run, 500))
    intact(traffic)
    assert seen["below"] == [] and seen["samples"] > 100, seen
    assert {pod for pod, uid in uids(lab).items() if before.get(pod) != uid} == set(CONTROLLERS)
    assert acls(lab) == known and leftovers(lab) == {}
    lab.kubectl("-n", "kafka", "scale", "statefulset", "zookeeper", "--replicas=0")
    eventually("the ensemble is gone", 90, lambda: not any(pod.startswith("zookeeper") for pod in uids(lab)))
    assert "KRaft mode" in runbook("doctor", "lab").stdout
    done = runbook("plan", "rolling-restart", "--cluster", "lab", "--reason", "test")
    assert done.returncode == 0 and "9" in done.stdout, done.stdout + done.stderr
