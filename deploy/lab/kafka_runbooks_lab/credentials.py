"""Who has which certificate in the lab: Secrets for pods, files for clients outside of them.

`kafka-ca` is the authority itself, as cert-manager keeps one; whoever issues certificates later takes it from there. A ZooKeeper
ensemble has an authority of its own, `zookeeper-ca`.
"""

from typing import Any

from kafka_runbooks_lab import connection
from kafka_runbooks_lab.authority import Authority, Leaf

_BROKER_SETS = ("kafka-events", "kafka-checks")
_CONTROLLERS = "kafka-controller"
_PODS_WITH_CERTIFICATE = 9
"""Of each StatefulSet: more than there are, so that a pod that is added by scaling finds its files."""
MEMBERS = tuple(f"zookeeper-{number}.zookeeper.kafka.svc.cluster.local" for number in range(3))
_BOOTSTRAP_NAME = connection.BOOTSTRAP.rpartition(":")[0]


def make(*, plaintext: bool) -> list[dict[str, Any]]:
    """A new authority with everybody's certificates: manifests of Secrets. With TLS, writes the files of clients, too."""
    authority = Authority("the lab's certificate authority")
    if not plaintext:
        _write_files(authority)
    secrets = [_of_pods(authority, name, "kafka-broker", _BOOTSTRAP_NAME) for name in _BROKER_SETS]
    secrets.append(_of_pods(authority, _CONTROLLERS, "kafka-controller"))
    secrets.append(_of_client(authority, "kafka", "kafka-agent-tls", authority.leaf("kafka-agent")))
    secrets.append(_of_client(authority, "kafka-runbooks", "kafka-runbooks-tls", authority.leaf("kafka-runbooks")))
    secrets.append(_of_client(authority, "kafka", "kafka-ca", Leaf(authority.certificate, authority.key)))
    return secrets


def of_ensemble() -> list[dict[str, Any]]:
    """The authority of a ZooKeeper ensemble with everybody's certificates: likewise."""
    authority = Authority("the lab's ensemble")
    connection.certificate_file(connection.ENSEMBLE).write_text(authority.leaf(connection.ENSEMBLE).both)
    connection.ENSEMBLE_CA_FILE.write_text(authority.certificate)
    secrets = [
        _of_client(authority, "kafka", "zookeeper-tls", members := authority.leaf("zookeeper", *MEMBERS)),
        _of_client(authority, "kafka", "kafka-zookeeper-tls", brokers := authority.leaf("kafka-broker")),
        _of_client(authority, "kafka-runbooks", "kafka-runbooks-zookeeper-tls", authority.leaf("kafka-runbooks")),
        _of_client(authority, "kafka", "zookeeper-ca", Leaf(authority.certificate, authority.key)),
    ]
    for secret, leaf in zip(secrets, (members, brokers), strict=False):
        secret["stringData"]["tls-combined.pem"] = leaf.both  # What Java reads.
    return secrets


def _write_files(authority: Authority) -> None:
    connection.FOLDER.mkdir(mode=0o700, exist_ok=True)
    for who in (connection.ADMIN, connection.TRAFFIC):
        own = connection.certificate_file(who)
        own.write_text(authority.leaf(who).both)
        connection.java_file(who).write_text(
            f"security.protocol=SSL\nssl.keystore.type=PEM\nssl.keystore.location={own}\n"
            f"ssl.truststore.type=PEM\nssl.truststore.location={connection.CA_FILE}\n"
        )
    connection.CA_FILE.write_text(authority.certificate)


def _of_pods(authority: Authority, stateful_set: str, common_name: str, *names: str) -> dict[str, Any]:
    """For each pod, its keystore and its truststore."""
    data = {}
    for number in range(_PODS_WITH_CERTIFICATE):
        pod = f"{stateful_set}-{number}"
        data[f"{pod}.pem"] = authority.leaf(common_name, f"{pod}.{stateful_set}.kafka.svc.cluster.local", *names).both
        data[f"{pod}.ca.pem"] = authority.certificate
    return _secret("kafka", f"{stateful_set}-tls", "Opaque", data)


def _of_client(authority: Authority, namespace: str, name: str, leaf: Leaf) -> dict[str, Any]:
    data = {"ca.crt": authority.certificate, "tls.crt": leaf.certificate, "tls.key": leaf.key}
    return _secret(namespace, name, "kubernetes.io/tls", data)


def _secret(namespace: str, name: str, kind: str, data: dict[str, str]) -> dict[str, Any]:
    metadata = {"name": name, "namespace": namespace}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "type": kind, "stringData": data}
