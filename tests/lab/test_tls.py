"""The lab's Kafka takes nobody without a certificate, and what becomes of a Secret that changes under a running pod."""

import json
import os
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from kafka_runbooks_lab import acls
from kafka_runbooks_lab.lab import Lab

from tests.lab import runs

LISTENERS = {
    "kafka-events-0.kafka-events": (9092, 9091),
    "kafka-controller-1.kafka-controller": (9093,),
}


def test_no_listener_takes_who_has_no_certificate(lab: Lab) -> None:
    """With TLS 1.3 it shows at the first read."""
    code = """
import json, ssl, sys
from socket import create_connection
found = {}
for where, ports in json.loads(sys.argv[1]).items():
    host = where + '.kafka.svc.cluster.local'
    for port in ports:
        context = ssl.create_default_context(cafile=kafka_python()['ssl_cafile'])
        said = []
        for own in (None, kafka_python()['ssl_certfile']):
            if own: context.load_cert_chain(own)
            with context.wrap_socket(create_connection((host, port), 10), server_hostname=host) as link:
                link.settimeout(2)
                try: said.append(str(link.recv(1)))
                except TimeoutError: said.append('waits for a request')
                except ssl.SSLError as error: said.append(error.reason)
        found[port] = said
print(json.dumps(found))
"""
    found = json.loads(runs.kafka(lab, code, json.dumps(LISTENERS)))
    assert sorted(found) == ["9091", "9092", "9093"]
    for said in found.values():
        assert said == ["SSLV3_ALERT_BAD_CERTIFICATE", "waits for a request"]


def test_worker_and_agent_have_their_acls_and_no_others(lab: Lab) -> None:
    code = """
import json
from confluent_kafka.admin import AclBindingFilter, AclOperation, AclPermissionType, AdminClient
from confluent_kafka.admin import ResourcePatternType, ResourceType
admin = AdminClient(librdkafka())
anything = AclBindingFilter(ResourceType.ANY, None, ResourcePatternType.ANY, None, None, AclOperation.ANY, AclPermissionType.ANY)
acls = admin.describe_acls(anything).result(20)
print(json.dumps([[acl.principal, acl.restype.name, acl.name, acl.operation.name] for acl in acls]))
"""
    found = {tuple(acl) for acl in json.loads(runs.kafka(lab, code))}
    expected = {(acl.principal, acl.restype.name, acl.name, acl.operation.name) for acl in acls.of_script()}
    assert {acl for acl in found if acl[0] in acls.PRINCIPALS.values()} == expected


@pytest.fixture
def secret(lab: Lab) -> Iterator[str]:
    """A Secret `file: old`, and a pod of its name with it in /whole and, by a subPath, as /single."""
    name = f"mounts-{uuid.uuid4().hex[:8]}"
    mounts = [{"name": "tls", "mountPath": "/whole"}, {"name": "tls", "mountPath": "/single", "subPath": "file"}]
    container = {
        "name": "sleep",
        "image": "localhost/lab:1",
        "imagePullPolicy": "Never",
        "command": ["/bin.pause/busybox", "env", f"MOUNTS={name}", "/bin.pause/busybox", "sleep", "3600"],
        "volumeMounts": mounts,
    }
    metadata = {"name": name, "namespace": "kafka"}
    spec = {
        "containers": [container],
        "volumes": [{"name": "tls", "secret": {"secretName": name}}],
        "terminationGracePeriodSeconds": 0,
    }
    made = [
        {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": {"file": "old"}},
        {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec},
    ]
    lab.kubectl("apply", "-f", "-", input=json.dumps({"apiVersion": "v1", "kind": "List", "items": made}))
    try:
        lab.kubectl("-n", "kafka", "wait", "--for=condition=Ready", f"pod/{name}", "--timeout=60s")
        yield name
    finally:
        lab.kubectl("-n", "kafka", "delete", f"pod/{name}", f"secret/{name}", "--wait=false")


def root_of(name: str) -> Path:
    """The file system of the pod's process, as it sees it."""
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if f"MOUNTS={name}".encode() in (folder / "environ").read_bytes().split(b"\0"):
                return folder / "root"
        except OSError:
            continue
    raise AssertionError(f"no process of {name}")


def test_a_changed_secret_reaches_a_whole_mount_at_once_after_an_annotation_and_a_sub_path_never(lab: Lab, secret: str) -> None:
    """By itself the kubelet looks every minute or so. All files of a Secret change together: a link is replaced."""
    root = root_of(secret)
    assert (root / "whole/file").read_text() == (root / "single").read_text() == "old"
    before = os.readlink(root / "whole/..data")
    lab.kubectl("-n", "kafka", "patch", "secret", secret, "-p", json.dumps({"stringData": {"file": "new", "other": "new"}}))
    lab.kubectl("-n", "kafka", "annotate", "pod", secret, f"test/changed={time.time()}")
    runs.eventually("the changed Secret", 20, lambda: (root / "whole/file").read_text() == "new")
    assert (root / "whole/other").read_text() == "new" and os.readlink(root / "whole/..data") != before
    assert (root / "single").read_text() == "old"


def test_agents_of_brokers_and_controllers_tell_which_certificates_are_in_the_files(lab: Lab) -> None:
    register = json.loads(lab.kubectl("-n", "kafka", "get", "configmap", "kafka-broker-ids-lab", "-o", "json"))["data"]
    for pod in ("kafka-events-1", "kafka-controller-0"):
        entry = json.loads(register[f"{pod}.tls"])
        uid = lab.kubectl("-n", "kafka", "get", "pod", pod, "-o", "jsonpath={.metadata.uid}")
        paths = {f"/etc/kafka-tls/{pod}.pem", f"/etc/kafka-tls/{pod}.ca.pem"}
        assert entry["pod_uid"] == uid and set(entry["sha256"]) == paths and entry["started_with"] == entry["sha256"]
        assert "unusable" not in entry
