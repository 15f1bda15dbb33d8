"""Least privilege: each ServiceAccount may do what its client's calls need, and nothing more.

The calls are read from the source, so that a call without a right, or a right without a call, fails here and not on a cluster.
"""

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from kubernetes.client import AppsV1Api, CertificatesV1Api, CoreV1Api, PolicyV1Api

from kafka_runbooks.clients.certificates import kubernetes as signing_requests
from kafka_runbooks.clients.certificates.settings import CertificatesSettings
from kafka_runbooks.clients.kubernetes import agent, api, secrets, server_ids
from kafka_runbooks.clients.kubernetes import rights as rights_
from kafka_runbooks.models import rights as models

MANIFESTS = Path(__file__).parents[2] / "deploy" / "kubernetes"
VERBS = {"read": "get", "list": "list", "create": "create", "replace": "update", "patch": "patch", "delete": "delete"}
GROUPS = {"": CoreV1Api, "apps": AppsV1Api, "certificates.k8s.io": CertificatesV1Api, "policy": PolicyV1Api}
SUBRESOURCES = ("scale", "approval", "log")
Right = tuple[str, str, str, str]
"""Kind of role, API group, resource, verb."""

CALL = re.compile(rf"({'|'.join(VERBS)})_(namespaced_)?(\w+)")


def calls(module: Path) -> set[str]:
    """The requests to the API that a module's source makes."""
    names = {node.attr for node in ast.walk(ast.parse(module.read_text())) if isinstance(node, ast.Attribute)} - {"close"}
    return {name for name in names if not name.startswith("_") and any(hasattr(group, name) for group in GROUPS.values())}


def right(call: str) -> Right:
    """What a method such as `list_namespaced_pod` needs."""
    match = CALL.fullmatch(call)
    assert match is not None, f"{call}: which right does it need?"
    verb, namespaced, kind = match.groups()
    group = next(name for name, methods in GROUPS.items() if hasattr(methods, call))
    below = next((f"/{one}" for one in SUBRESOURCES if kind.endswith(f"_{one}")), "")
    kind = kind[: len(kind) - len(below)].replace("_", "") + "s"
    return "Role" if namespaced else "ClusterRole", group, kind + below, VERBS[verb]


def rules(manifest: str, account: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """The rules of the roles of an account, which its bindings name, each with its kind of role."""
    documents: list[dict[str, Any]] = list(yaml.safe_load_all((MANIFESTS / manifest).read_text()))
    bindings = [one for one in documents if one["kind"] in ("RoleBinding", "ClusterRoleBinding")]
    bound = {
        (one["roleRef"]["kind"], one["roleRef"]["name"])
        for one in bindings
        if any(subject["kind"] == "ServiceAccount" and subject["name"] == account for subject in one["subjects"])
    }
    for document in documents:
        if (document["kind"], document["metadata"]["name"]) in bound:
            for rule in document["rules"]:
                yield document["kind"], rule


def granted(manifest: str, account: str) -> Iterator[tuple[Right, str | None]]:
    """The rights of an account, each with the one object that it is for, or None."""
    for kind, rule in rules(manifest, account):
        for group in rule["apiGroups"]:
            for resource in rule["resources"]:
                for verb in rule["verbs"]:
                    for name in rule.get("resourceNames", [None]):
                        yield (kind, group, resource, verb), name


WORKER = "kafka-runbooks-worker"
APPROVING: Right = ("ClusterRole", "certificates.k8s.io", "signers", "approve")
"""What an approval needs beside the right to its request."""


@pytest.mark.parametrize(
    ("manifest", "account", "modules", "beside"),
    [
        ("base/kafka-access.yaml", WORKER, (api, secrets), set()),
        ("issuers/signing-requests.yaml", WORKER, (signing_requests,), {APPROVING}),
        ("kafka/access.yaml", "kafka-broker", (agent,), set()),
        ("zookeeper/access.yaml", "zookeeper", (server_ids,), set()),
    ],
    ids=["worker", "signing requests", "agent", "member"],
)
def test_rights_are_those_that_the_calls_need(manifest: str, account: str, modules: tuple[Any, ...], beside: set[Right]) -> None:
    needed = {right(call) for module in modules for call in calls(Path(module.__file__))}
    rights = list(granted(manifest, account))
    assert needed and {one for one, _ in rights} == needed | beside
    assert len(rights) == len(set(rights)), "a right is granted twice"


def kind_of(right: models.Right) -> str:
    return "ClusterRole" if right.namespace is None else "Role"


def test_the_rights_that_doctor_asks_for_are_those_that_are_granted() -> None:
    asked = [(kind_of(one), one.group, one.resource, one.verb) for one in rights_.of_worker("kafka")]
    of_secrets = {right for right, _ in granted("base/kafka-access.yaml", WORKER) if right[2] == "secrets"}
    assert set(asked) == {right for right, _ in granted("base/kafka-access.yaml", WORKER)} - of_secrets
    assert len(asked) == len(set(asked))


def test_the_rights_of_issuers_and_secrets_that_doctor_asks_for_are_those_that_are_granted() -> None:
    ca_file = Path("/etc/ca.crt")
    settings = CertificatesSettings.model_validate(
        {
            "issuer": "ours",
            "issuers": {
                "ours": {"kind": "private", "secret": "kafka-ca"},
                "next": {"kind": "private", "secret": "kafka-ca-next"},
                "signer": {"kind": "kubernetes", "signer": "example.com/kafka", "ca_file": ca_file, "approves": True},
                "manager": {"kind": "cert-manager", "issuer": "kafka", "ca_file": ca_file},
                "managers": {"kind": "cert-manager", "issuer": "kafka", "ca_file": ca_file, "issuer_kind": "ClusterIssuer"},
            },
            "clients": {"worker": {"secret": "kafka-runbooks/kafka-runbooks-tls"}, "agent": {"secret": "kafka-agent-tls"}},
        }
    )
    nodes = ("kafka-controller-tls", "kafka-events-tls", "kafka-checks-tls")
    asked = {
        ((kind_of(one), one.group, one.resource, one.verb), one.name)
        for one in rights_.for_certificates(settings, "kafka", nodes)
    }
    of_issuers = [*granted("issuers/signing-requests.yaml", WORKER), *granted("issuers/cert-manager.yaml", WORKER)]
    of_secrets = [one for one in granted("base/kafka-access.yaml", WORKER) if one[0][2] == "secrets"]
    assert asked == {*of_issuers, *of_secrets}


def test_of_cert_manager_the_worker_reaches_its_own_requests_and_reads_issuers() -> None:
    """Custom objects' calls don't say in their names what they are about; `test_cert_manager.py` needs each of these rights."""
    assert {right for right, _ in granted("issuers/cert-manager.yaml", WORKER)} == {
        *(("Role", "cert-manager.io", "certificaterequests", verb) for verb in ("create", "get", "delete")),
        ("Role", "cert-manager.io", "issuers", "get"),
        ("ClusterRole", "cert-manager.io", "clusterissuers", "get"),
    }
    users = {path.name for path in Path(api.__file__).parents[2].rglob("*.py") if "CustomObjectsApi" in path.read_text()}
    assert users == {"cert_manager.py"}


def test_all_calls_are_in_these_modules() -> None:
    folder = Path(api.__file__).parent
    elsewhere = {path for path in folder.parent.rglob("*.py") if calls(path)}
    ours = {folder / name for name in ("api.py", "secrets.py", "agent.py", "server_ids.py")}
    assert elsewhere == {*ours, Path(str(signing_requests.__file__))}


def test_the_worker_reaches_secrets_by_name_only_and_changes_no_ca() -> None:
    rights = [(verb, name) for (_, _, resource, verb), name in granted("base/kafka-access.yaml", WORKER) if resource == "secrets"]
    changed = {"kafka-controller-tls", "kafka-events-tls", "kafka-checks-tls", "kafka-agent-tls", "kafka-runbooks-tls"}
    assert {name for verb, name in rights if verb == "get"} == changed | {"kafka-ca", "kafka-ca-next"}
    assert {name for verb, name in rights if verb == "patch"} == changed
    assert {verb for verb, _ in rights} == {"get", "patch"}


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        ("list_namespaced_pod", ("Role", "", "pods", "list")),
        ("replace_namespaced_config_map", ("Role", "", "configmaps", "update")),
        ("patch_namespaced_stateful_set_scale", ("Role", "apps", "statefulsets/scale", "patch")),
        (
            "patch_certificate_signing_request_approval",
            ("ClusterRole", "certificates.k8s.io", "certificatesigningrequests/approval", "patch"),
        ),
        ("read_persistent_volume", ("ClusterRole", "", "persistentvolumes", "get")),
    ],
)
def test_a_right_follows_from_the_call(call: str, expected: Right) -> None:
    assert right(call) == expected


def test_a_controller_s_agent_reads_pods_and_writes_its_entry_of_the_register() -> None:
    """What `AgentKubernetes.pod_uid` and `add_entries` need; `tests/lab/test_tls.py` sees the entries."""
    assert set(granted("kafka/access.yaml", "kafka-controller")) == {
        (("Role", "", "pods", "get"), None),
        (("Role", "", "configmaps", "patch"), "kafka-broker-ids-lab"),
    }


def test_a_member_s_agent_reaches_one_config_map() -> None:
    documents = list(yaml.safe_load_all((MANIFESTS / "zookeeper/access.yaml").read_text()))
    (shipped,) = (one["metadata"]["name"] for one in documents if one["kind"] == "ConfigMap")
    assert {name for _, name in granted("zookeeper/access.yaml", "zookeeper")} == {shipped} == {"zookeeper-ids-lab"}


def test_an_agent_reaches_one_config_map_its_own_pod_and_its_own_node() -> None:
    documents = list(yaml.safe_load_all((MANIFESTS / "kafka/access.yaml").read_text()))
    shipped = [one["metadata"]["name"] for one in documents if one["kind"] == "ConfigMap"]
    (role,) = (one for one in documents if one["kind"] == "Role" and one["metadata"]["name"] == "kafka-broker")
    (rule,) = (rule for rule in role["rules"] if rule["resources"] == ["configmaps"])
    assert rule["resourceNames"] == shipped == ["kafka-broker-ids-lab"], "it can't create it, so it is deployed"
    (policy,) = (one for one in documents if one["kind"] == "ValidatingAdmissionPolicy")
    (binding,) = (one for one in documents if one["kind"] == "ValidatingAdmissionPolicyBinding")
    patched = {resource for (_, _, resource, verb), _ in granted("kafka/access.yaml", "kafka-broker") if verb == "patch"}
    (matched,) = policy["spec"]["matchConstraints"]["resourceRules"]
    assert {*matched["resources"], "configmaps"} == patched and policy["spec"]["failurePolicy"] == "Fail"
    assert binding["spec"] == {"policyName": policy["metadata"]["name"], "validationActions": ["Deny"]}
    account = "system:serviceaccount:kafka:kafka-broker"
    (condition,) = policy["spec"]["matchConditions"]
    starts, ends = re.findall(r'"(.+?)"', condition["expression"])
    assert account.startswith(starts) and account.endswith(ends)
